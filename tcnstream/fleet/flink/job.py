"""A whole Flink job, said in a file: messages from Kafka or files, rows to Kafka or files, exactly once.

    python -m tcnstream.fleet.flink JOB.toml

A message is a JSON object with ``key``, ``seq`` and ``samples``; a row one with the columns of SegmentRow.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from py4j.protocol import Py4JJavaError
from pyflink.common import Configuration, Duration, Types, WatermarkStrategy
from pyflink.common.serialization import Encoder, SimpleStringSchema
from pyflink.datastream import DataStream, FlatMapFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.file_system import (
    FileSink,
    FileSource,
    OutputFileConfig,
    RollingPolicy,
    StreamFormat,
)
from pyflink.util.java_utils import load_java_class

from tcnstream.errors import StreamError, TcnStreamError
from tcnstream.fleet.flink.process import SEGMENTS, TcnProcess, configure
from tcnstream.live.gaps import Policy

_GATEWAY = "PYFLINK_GATEWAY_PORT"

_KAFKA_CLASS = "org.apache.flink.connector.kafka.source.KafkaSource"
_CONNECTOR = (
    "download flink-sql-connector-kafka-5.0.0-2.2.jar (Maven Central, org.apache.flink), or a newer one, "
    'into the folder where this runs, and name it in the job: jars = ["flink-sql-connector-kafka-5.0.0-2.2.jar"]'
)


class Files(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="files", frozen=True):
    """JSON Lines in a folder. Without ``watch_s`` a source ends with its files; else it looks for new ones so often.

    All messages of a key must lie in one file, in order: files are read side by side.
    """

    path: str
    watch_s: float | None = None


class Kafka(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="kafka", frozen=True):
    """A topic whose partitions go by key, so that a key's messages keep their order. Its connector is in ``jars``."""

    servers: str
    topic: str
    group: str = "tcnstream"


class CheckpointsTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``path``: a folder (``file:///...``) or an object store that Flink knows (``s3://...``)."""

    path: str
    interval_s: float = 10.0


class Job(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``flink`` are options of Flink by their own names, which stand over those of ``configure``."""

    source: Files | Kafka
    sink: Files | Kafka
    model: str = "ecg"
    rate_hz: float | None = None
    units: str | None = None
    gain: float = 1.0
    on_gap: Policy = "reset"
    limit_s: float = 0.04
    seq_counts: Literal["chunks", "frames"] = "chunks"
    most_lost_frames: int = 1_000_000
    idle_s: float | None = None
    takes_over: str | None = None
    name: str = "tcnstream"
    parallelism: int = 1
    checkpoints: CheckpointsTable | None = None
    jars: list[str] = []
    flink: dict[str, str] = {}


class _Message(msgspec.Struct):
    key: str
    seq: Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]  # a larger one has no place in Java's long
    samples: list[float | list[float]]


_DECODER = msgspec.json.Decoder(_Message)


MESSAGES = Types.TUPLE([Types.STRING(), Types.LONG(), Types.INT(), Types.PRIMITIVE_ARRAY(Types.BYTE())])


class Read(FlatMapFunction):  # type: ignore[misc]  # PyFlink has no types
    """A line -> (key, sequence number, channels, float32 bytes); what is no message is counted, and left out."""

    def open(self, runtime_context: Any) -> None:
        self._refused = runtime_context.get_metrics_group().add_group("tcnstream").counter("refused")

    def flat_map(self, value: str) -> Iterator[tuple[str, int, int, bytes]]:
        try:
            message = _DECODER.decode(value)
            samples = np.array(message.samples, "<f4")
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            self._refused.inc()
            return
        yield message.key, message.seq, 1 if samples.ndim == 1 else samples.shape[1], samples.tobytes()


def message_of(element: tuple[str, int, int, bytes]) -> tuple[int, Any]:
    """(sequence number, samples (n, channels)) of what Read makes."""
    _, seq, channels, samples = element
    return seq, np.frombuffer(samples, "<f4").reshape(-1, channels)


def read_job(path: Path) -> Job:
    """The job in a file. Raises StreamError for what is no job, naming the key, or cannot be read."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Job)
    except OSError as error:
        raise StreamError(f"the job {path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StreamError(f"{path}: {error}") from error


def build(job: Job, environment: StreamExecutionEnvironment) -> None:
    """Puts the job's graph into ``environment``. Raises as TcnProcess."""
    process = TcnProcess(
        job.model,
        idle_s=job.idle_s,
        message=message_of,
        on_error="drop",
        on_gap=job.on_gap,
        limit_s=job.limit_s,
        seq_counts=job.seq_counts,
        most_lost_frames=job.most_lost_frames,
        rate_hz=job.rate_hz,
        units=job.units,
        gain=job.gain,
        takes_over=job.takes_over,
    )
    lines = environment.from_source(_source(job.source), WatermarkStrategy.no_watermarks(), "messages")
    messages = lines.flat_map(Read(), MESSAGES).name("read").uid("read")
    keyed = messages.key_by(lambda message: message[0], key_type=Types.STRING())
    rows = keyed.process(process, SEGMENTS).name(job.model).uid("tcnstream")
    _to_sink(rows.map(_line, Types.STRING()).name("write").uid("write"), job.sink)


def environment_of(job: Job) -> StreamExecutionEnvironment:
    """Where the job runs: here, or on the cluster whose ``flink run`` started this.

    Raises StreamError for a jar or, where the job runs here, a folder that is not there or cannot be written, and for
    rows that no checkpoint would ever commit.
    """
    for jar in job.jars:
        if not Path(jar).is_file():
            raise StreamError(f"jars names {jar}, and there is no such file; {_CONNECTOR}")
    endless = not isinstance(job.source, Files) or job.source.watch_s is not None
    if job.checkpoints is None and (endless or isinstance(job.sink, Kafka)):
        raise StreamError("rows become final with checkpoints, and this job has none: add [checkpoints] with path")
    if _GATEWAY not in os.environ:
        _refuse_bad_places(job)
    configuration = Configuration()
    if job.checkpoints is None:
        configure(configuration)
    else:
        configure(configuration, checkpoints=job.checkpoints.path, interval_s=job.checkpoints.interval_s)
    if _GATEWAY not in os.environ:  # not started by ``flink run``: one process here is the whole cluster
        configuration.set_string("taskmanager.numberOfTaskSlots", str(job.parallelism))
        configuration.set_string("restart-strategy.type", "none")
    for name, value in job.flink.items():
        configuration.set_string(name, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    environment.set_parallelism(job.parallelism)
    environment.add_jars(*(Path(jar).absolute().as_uri() for jar in job.jars))
    if Kafka in (type(job.source), type(job.sink)):
        try:
            load_java_class(_KAFKA_CLASS)
        except Py4JJavaError:
            raise StreamError(f"Flink comes without its Kafka connector; {_CONNECTOR}") from None
    return environment


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tcnstream.fleet.flink", description="A job, until it ends.")
    parser.add_argument("job", type=Path, help="a file such as job.toml")
    path = parser.parse_args(arguments).job
    try:
        job = read_job(path)
        environment = environment_of(job)
        build(job, environment)
        environment.execute(job.name)
    except (TcnStreamError, OSError) as error:
        print(f"tcnstream: {error}", file=sys.stderr)
        return 2
    except Py4JJavaError as error:
        print(f"tcnstream: Flink: {_cause(error)}", file=sys.stderr)
        return 2
    return 0


def _source(source: Files | Kafka) -> Any:
    if isinstance(source, Kafka):
        from pyflink.datastream.connectors.kafka import KafkaOffsetsInitializer, KafkaSource

        return (
            KafkaSource.builder()
            .set_bootstrap_servers(source.servers)
            .set_topics(source.topic)
            .set_group_id(source.group)
            .set_starting_offsets(KafkaOffsetsInitializer.earliest())
            .set_value_only_deserializer(SimpleStringSchema())
            .build()
        )
    files = FileSource.for_record_stream_format(StreamFormat.text_line_format(), _address(source.path))
    if source.watch_s is not None:
        files = files.monitor_continuously(Duration.of_millis(max(1, round(source.watch_s * 1000))))
    return files.build()


def _to_sink(lines: DataStream, sink: Files | Kafka) -> None:
    if isinstance(sink, Kafka):
        from pyflink.datastream.connectors.kafka import KafkaRecordSerializationSchema, KafkaSink

        schema = (
            KafkaRecordSerializationSchema.builder()
            .set_topic(sink.topic)
            .set_value_serialization_schema(SimpleStringSchema())
            .build()
        )
        made = (
            KafkaSink.builder()
            .set_bootstrap_servers(sink.servers)
            .set_record_serializer(schema)
            .set_delivery_guarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .set_transactional_id_prefix(sink.group)
            .build()
        )
    else:
        made = (
            FileSink.for_row_format(_address(sink.path), Encoder.simple_string_encoder())
            .with_rolling_policy(RollingPolicy.on_checkpoint_rolling_policy())
            .with_output_file_config(OutputFileConfig.builder().with_part_suffix(".jsonl").build())
            .build()
        )
    lines.sink_to(made).name("rows").uid("rows")


def _refuse_bad_places(job: Job) -> None:
    """What Flink would say in a page of Java, and some of it only after minutes."""
    if isinstance(job.source, Files) and (folder := _here(job.source.path)) is not None and not folder.exists():
        raise StreamError(f"source.path names {folder}, and there is no such file or folder")
    written = {"checkpoints.path": None if job.checkpoints is None else job.checkpoints.path}
    if isinstance(job.sink, Files):
        written["sink.path"] = job.sink.path
    for name, address in written.items():
        folder = None if address is None else _here(address)
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise StreamError(f"{name} names {folder}, which cannot be written to: {error.strerror}") from error


def _here(address: str) -> Path | None:
    """The path on this machine; None of another kind of address."""
    scheme, separator, rest = address.rpartition("://")
    return Path(rest).absolute() if not separator or scheme == "file" else None


def _line(row: Mapping[str, Any]) -> str:
    return msgspec.json.encode(dict(zip(SEGMENTS.get_field_names(), row, strict=True))).decode()


def _address(path: str) -> str:
    return path if "://" in path else Path(path).absolute().as_uri()


def _cause(error: Py4JJavaError) -> str:
    """The innermost reason, which a Java trace says last."""
    causes = [line for line in str(error).splitlines() if line.startswith("Caused by: ")]
    return (causes[-1].removeprefix("Caused by: ") if causes else str(error.java_exception)).strip()
