"""What the keyed operator costs in embedded Flink (thread mode, one slot), and how long a row takes at half load.

    python -m benchmarks.bench_flink                   # in tests/, with the extra flink

Costs are processor time of the Java process, which Python runs in. Needs a machine without other work.
"""

from __future__ import annotations

import argparse
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.datastream import FlatMapFunction, MapFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.number_seq import NumberSequenceSource

from benchmarks.bench_fleet import RATE_HZ, chunk_of, recording
from tcnstream.fleet import Keyed
from tcnstream.fleet.flink import TcnProcess, configure
from tcnstream.fleet.keyed import Emitted, FramesRow

MESSAGES = Types.TUPLE([Types.STRING(), Types.LONG(), Types.PRIMITIVE_ARRAY(Types.BYTE())])
NOTED = "<3q"
"""Of a row: its key, its number (of the segment, or of its first frame), and when it came out in nanoseconds."""
WARM_UP_S = 10.0
"""In which the keys' pipelines are made; no row of it counts for latency."""


@dataclass(frozen=True)
class Load:
    """``keys`` streams of ``chunks`` chunks each; in ``real_time``, or else as fast as it goes."""

    keys: int
    frames: int
    chunks: int
    real_time: bool = False

    @property
    def interval_s(self) -> float:
        """Between two elements of all keys."""
        return self.frames / RATE_HZ / self.keys

    @property
    def seconds(self) -> float:
        """Of signal, all keys together."""
        return self.keys * self.chunks * self.frames / RATE_HZ


class Play(FlatMapFunction):  # type: ignore[misc]  # PyFlink has no types
    """Plays the keys' chunks in turn. In real time each is due at a moment, which one that was late does not shift."""

    def __init__(self, load: Load, began: Path) -> None:
        self._load, self._began = load, began

    def open(self, runtime_context: Any) -> None:
        self._x = recording()[:, 0]
        self._began_s: float | None = None

    def flat_map(self, value: int) -> Iterator[tuple[str, int, bytes]]:
        load = self._load
        if load.real_time:
            if self._began_s is None:
                self._began_s = time.monotonic()
                self._began.write_text(repr(self._began_s))
            time.sleep(max(0.0, self._began_s + value * load.interval_s - time.monotonic()))
        key, seq = value % load.keys, value // load.keys
        yield str(key), seq, chunk_of(self._x, key, seq, load.frames).tobytes()


class Note(MapFunction):  # type: ignore[misc]
    """Notes when each row came out."""

    def __init__(self, noted: Path) -> None:
        self._noted = noted

    def open(self, runtime_context: Any) -> None:
        self._file = self._noted.open("wb")

    def close(self) -> None:
        self._file.close()

    def map(self, value: Any) -> int:
        self._file.write(struct.pack(NOTED, int(value[0]), value[2], time.monotonic_ns()))
        return 1


class Count(MapFunction):  # type: ignore[misc]
    def map(self, value: Any) -> int:
        return 1


def run(load: Load, emit: Emitted | None, folder: Path) -> float:
    """Processor seconds of a job, without the operator where ``emit`` is None; ``folder`` takes what it notes."""
    configuration = configure(Configuration(), checkpoints=f"file://{folder}/checkpoints")
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    environment.set_parallelism(1)
    numbers = NumberSequenceSource(0, load.keys * load.chunks - 1)
    source = environment.from_source(numbers, WatermarkStrategy.no_watermarks(), "numbers", Types.LONG())
    played = source.flat_map(Play(load, folder / "began"), MESSAGES)
    keyed = played.key_by(lambda message: message[0], key_type=Types.STRING())
    if emit is None:
        rows = keyed.map(Count(), Types.LONG())
    else:
        process = TcnProcess("ecg", rate_hz=RATE_HZ, units="mV", emit=emit)
        rows = keyed.process(process, process.output_type).map(Note(folder / "noted"), Types.LONG())
    rows.filter(lambda one: one == 0).print()
    before_s = java_s()
    environment.execute("bench")
    return java_s() - before_s


def java_s() -> float:
    """Processor time of this process's children so far."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    ticks = 0
    for child in children:
        user, system = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def streams_per_core(load: Load, folder: Path) -> float:
    """Of the whole job with frames out; prints that, the same with segments, and the operator alone."""
    run(replace(load, chunks=load.chunks // 4), "segments", folder)  # Java compiles what runs often
    segments_s, frames_s, beside_s = (run(load, emit, folder) for emit in ("segments", "frames", None))
    for what, cpu_s in (
        ("segments, whole job", segments_s),
        ("segments, operator alone", segments_s - beside_s),
        ("frames, whole job", frames_s),
    ):
        print(f"Flink, {what:24} {load.frames:4} samples {load.seconds / cpu_s:7,.0f} streams per core", flush=True)
    return load.seconds / frames_s


def latencies_ms(load: Load, folder: Path) -> npt.NDArray[np.float64]:
    """From the moment an element is due to the row of frames that it makes final, for each element behind the warm-up.

    Raises RuntimeError where an element's row is missing.
    """
    run(load, "frames", folder)
    seq_of = {first_frame: seq for seq, first_frame in enumerate(first_frames(load)) if first_frame is not None}
    began_s, made = float((folder / "began").read_text()), 0
    found = []
    for key, first_frame, out_ns in struct.iter_unpack(NOTED, (folder / "noted").read_bytes()):
        seq = seq_of.get(first_frame)
        if seq is None:  # of the end of the input
            continue
        made += 1
        due_s = (seq * load.keys + key) * load.interval_s
        if due_s >= WARM_UP_S:
            found.append((out_ns * 1e-9 - began_s - due_s) * 1e3)
    if made != len(seq_of) * load.keys:
        raise RuntimeError(f"{made} rows for {len(seq_of) * load.keys} elements that make one")
    return np.array(found)


def first_frames(load: Load) -> Iterator[int | None]:
    """Of the row that each chunk of a key makes; None of one that makes none."""
    keyed, state = Keyed("ecg", rate_hz=RATE_HZ, units="mV", emit="frames"), None
    for seq in range(load.chunks):
        state, rows = keyed.step("0", state, [(seq, np.zeros(load.frames, np.float32))])
        yield next((row.first_frame for row in rows if isinstance(row, FramesRow)), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--chunks", type=int, default=600, help="of each key; many, since a job's start counts too")
    parser.add_argument("--paced-s", type=float, default=60.0, help="at half load, behind the warm-up")
    told = parser.parse_args()
    for frames in (25, 250):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            streams = streams_per_core(Load(told.keys, frames, told.chunks), folder)
            paced = int((WARM_UP_S + told.paced_s) * RATE_HZ) // frames
            half = Load(max(1, round(streams / 2)), frames, paced, real_time=True)
            ms = latencies_ms(half, folder)
        p50, p99 = np.percentile(ms, (50, 99))
        print(
            f"Flink, frames, half load of {half.keys} streams, {frames} samples: p50 {p50:.0f} ms, p99 {p99:.0f} ms, "
            f"most {ms.max():.0f} ms of {len(ms):,} rows; load average {os.getloadavg()[0]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
