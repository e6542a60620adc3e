"""A Flink job that plays patients at a pace, for ``benchmarks.fleet_kills``: chunks come twice, and some never."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from helpers.paths import ECG
from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.common.serialization import Encoder
from pyflink.datastream import FlatMapFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.file_system import FileSink, RollingPolicy
from pyflink.datastream.connectors.number_seq import NumberSequenceSource

from tcnstream.fleet.flink import TcnProcess, configure
from tcnstream.signal.sources import open_recording

RATE_HZ = 360.0
CHUNK_FRAMES = 90
MESSAGES = Types.TUPLE([Types.STRING(), Types.LONG(), Types.PRIMITIVE_ARRAY(Types.BYTE())])


@cache
def recording() -> npt.NDArray[np.float32]:
    return np.concatenate([chunk for chunk in open_recording(ECG).chunks if isinstance(chunk, np.ndarray)])[:, 0]


def messages(number: int, patients: int) -> Iterator[tuple[str, int, npt.NDArray[np.float32]]]:
    """The ``number``-th chunk of all patients' chunks, in turn: none, one or two messages."""
    patient, seq = number % patients, number // patients
    if patient % 10 == 3 and seq == 40:
        return
    at = (patient * 997 + seq * CHUNK_FRAMES) % (len(recording()) - CHUNK_FRAMES)
    for _ in range(2 if (patient + seq) % 17 == 5 else 1):
        yield f"patient {patient}", seq, recording()[at : at + CHUNK_FRAMES]


class Play(FlatMapFunction):  # type: ignore[misc]  # PyFlink has no types
    """At a pace, until the file ``hurry`` is there."""

    def __init__(self, patients: int, per_s: float, hurry: Path) -> None:
        self._patients, self._pause_s, self._hurry = patients, 1 / per_s, hurry

    def flat_map(self, value: int) -> Iterator[tuple[str, int, bytes]]:
        if not self._hurry.exists():
            time.sleep(self._pause_s)
        for key, seq, samples in messages(value, self._patients):
            yield key, seq, samples.tobytes()


def line(row: Any) -> str:
    return json.dumps(list(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, required=True)
    parser.add_argument("--chunks", type=int, required=True)
    parser.add_argument("--per-s", type=float, required=True, help="chunks a second, of all patients together")
    parser.add_argument("--hurry", type=Path, required=True, help="from the moment that this file is there: no pace")
    parser.add_argument("--out", required=True)
    parser.add_argument("--checkpoints", required=True)
    told = parser.parse_args()
    configuration = configure(Configuration(), checkpoints=f"file://{told.checkpoints}", interval_s=1.5)
    configuration.set_string("restart-strategy.type", "fixed-delay")
    configuration.set_string("restart-strategy.fixed-delay.attempts", "1000")
    configuration.set_string("restart-strategy.fixed-delay.delay", "200 ms")
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    numbers = NumberSequenceSource(0, told.patients * told.chunks - 1)
    source = environment.from_source(numbers, WatermarkStrategy.no_watermarks(), "numbers", Types.LONG())
    played = (
        source.set_parallelism(1).flat_map(Play(told.patients, told.per_s, told.hurry), MESSAGES).set_parallelism(1)
    )
    process = TcnProcess("ecg", rate_hz=RATE_HZ, units="mV")
    keyed = played.key_by(lambda message: message[0], key_type=Types.STRING())
    rows = keyed.process(process, process.output_type).name("tcn").uid("tcn").map(line, Types.STRING())
    sink = FileSink.for_row_format(told.out, Encoder.simple_string_encoder())
    rows.sink_to(sink.with_rolling_policy(RollingPolicy.on_checkpoint_rolling_policy()).build())
    environment.execute("patients")


if __name__ == "__main__":
    # Workers find functions by the module's own name.
    from benchmarks import fleet_job

    fleet_job.main()
