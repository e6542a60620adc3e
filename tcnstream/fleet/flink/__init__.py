"""Apache Flink: a model as a keyed process function (extra ``flink``, and a Java of version 17).

    environment = StreamExecutionEnvironment.get_execution_environment(configure(Configuration()))
    process = TcnProcess("ecg", rate_hz=250, units="mV", idle_s=300)
    rows = messages.key_by(lambda message: message[0]).process(process, process.output_type)

Flink owns keys, order, checkpoints, rescaling and backpressure. ``Keyed`` is called with each message and the state of
its key, which is a ``ValueState`` of bytes: rollback and rescaling need nothing else.
``python -m tcnstream.fleet.flink JOB.toml`` is a whole job.
"""

from tcnstream.fleet.flink.process import FRAMES, SEGMENTS, TcnProcess, configure, last_two

__all__ = ["FRAMES", "SEGMENTS", "TcnProcess", "configure", "last_two"]
