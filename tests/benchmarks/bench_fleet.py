"""What the keyed operator costs beside the bare pool, in one run, in processor time.

    python -m benchmarks.bench_fleet                   # in tests/

Ratios hold on a machine with other work, streams per core only on one without.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from helpers.paths import ECG

import tcnstream
from tcnstream import Pipeline
from tcnstream.fleet import Keyed
from tcnstream.pipeline import PipelinePool
from tcnstream.signal.sources import open_recording

RATE_HZ = 250.0
STEP_FRAMES = 997


def recording() -> npt.NDArray[np.float32]:
    """(n, 1) mV, taken for 250 Hz."""
    return np.concatenate([chunk for chunk in open_recording(ECG).chunks if isinstance(chunk, np.ndarray)])


def chunk_of(x: npt.NDArray[Any], key: int, seq: int, frames: int) -> npt.NDArray[Any]:
    at = (key * STEP_FRAMES + seq * frames) % (len(x) - frames)
    return x[at : at + frames]


def costs(keys: int, frames: int, seconds: float) -> None:
    x, chunks = recording(), int(seconds * RATE_HZ) // frames
    model = tcnstream.load("ecg")
    quantized = model.inputs[0].quantize(np.clip(x, -0.8, 0.8))
    pool = model.pool(lanes=keys)
    pipelines = PipelinePool("ecg", keys, rate_hz=RATE_HZ, units="mV")
    alone = [Pipeline("ecg", rate_hz=RATE_HZ, units="mV") for _ in range(keys)]

    def bare(seq: int) -> None:
        pool.push(np.array([chunk_of(quantized, key, seq, frames) for key in range(keys)]))

    def piped(seq: int) -> None:
        pipelines.push([chunk_of(x, key, seq, frames) for key in range(keys)])

    def in_turn(seq: int) -> None:
        for key in range(keys):
            alone[key].push(chunk_of(x, key, seq, frames))

    def keyed(emit: Any) -> Callable[[int], None]:
        operator = Keyed("ecg", rate_hz=RATE_HZ, units="mV", emit=emit)
        states: list[bytes | None] = [None] * keys

        def step(seq: int) -> None:
            for key in range(keys):
                states[key], _ = operator.step(key, states[key], [(seq, chunk_of(x, key, seq, frames))])

        return step

    works = {
        "bare pool": bare,
        "pool of pipelines": piped,
        "pipelines in turn": in_turn,
        "Keyed, frames": keyed("frames"),
        "Keyed, segments": keyed("segments"),
    }
    spent = dict.fromkeys(works, 0.0)
    for seq in range(chunks):  # in turn, so that other work on the machine slows all of them
        for name, work in works.items():
            began_s = time.process_time()
            work(seq)
            spent[name] += time.process_time() - began_s
    for name, cpu_s in spent.items():
        streams = keys * chunks * frames / RATE_HZ / cpu_s
        print(f"{name:18} {frames:4} samples {streams:7,.0f} streams per core {cpu_s / spent['bare pool']:5.2f} x bare")


def rebuilding() -> None:
    x, hot = recording(), Keyed("ecg", rate_hz=RATE_HZ, units="mV")
    cold, state = Keyed("ecg", rate_hz=RATE_HZ, units="mV", cached=0), None
    for seq in range(200):
        state, _ = hot.step("bed", state, [(seq, chunk_of(x, 0, seq, 25))])
    began_s = time.process_time()
    for _ in range(200):
        cold.step("bed", state, [(200, x[:25])])
    print(f"a step of a stream that is rebuilt first {(time.process_time() - began_s) / 200 * 1e3:5.2f} ms")
    print(f"a state {len(state or b''):26,} bytes")


def archive(records: int = 64, frames: int = 7500, times: int = 5) -> None:
    """Recordings of half a minute in an Arrow batch, beside a pipeline that takes them one by one."""
    import pyarrow as pa

    from tcnstream.fleet.arrow import segment_batches

    x = recording()[:, 0]
    signals = [chunk_of(x, key, 0, frames) for key in range(records)]
    columns = {
        "id": [f"record {key}" for key in range(records)],
        "signal": pa.array(signals, pa.list_(pa.float32())),
        "rate_hz": [RATE_HZ] * records,
    }
    batch, segment = pa.RecordBatch.from_pydict(columns), segment_batches("ecg", units="mV")
    pipeline = Pipeline("ecg", rate_hz=RATE_HZ, units="mV")

    def bare() -> None:
        for signal in signals:
            pipeline.reset()
            pipeline.push(signal)
            pipeline.flush()

    spent = [0.0, 0.0]
    for _ in range(1 + times):
        for k, work in enumerate((bare, lambda: segment(batch))):
            began_s = time.process_time()
            work()
            spent[k] += time.process_time() - began_s
    print(f"a record of an archive in Arrow batches {spent[1] / spent[0]:6.2f} x a pipeline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0, help="of signal for each key")
    told = parser.parse_args()
    for frames in (25, 250):
        costs(told.keys, frames, told.seconds)
    rebuilding()
    archive()


if __name__ == "__main__":
    main()
