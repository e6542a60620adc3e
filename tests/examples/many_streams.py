"""Many streams of one model in one process: a ward with as many beds as you say.

    python many_streams.py 64

Every bed has its own clock, and memory of its own. One call a tick pushes all of them; the engine reads the network's
weights once for several lanes. Here the beds play the shipped recording from different places.
"""

from __future__ import annotations

import sys
from importlib.resources import files

import numpy as np

import tcnstream
from tcnstream.signal.sources import open_recording

RATE_HZ = 360
TICK = RATE_HZ // 10


def main(beds: int) -> None:
    recording = open_recording(files("tcnstream") / "data" / "ecg.csv")
    signal = np.concatenate(list(recording.chunks))
    pool = tcnstream.PipelinePool("ecg", lanes=beds, rate_hz=RATE_HZ, units="mV")
    beats = dict.fromkeys(pool.lanes, 0)

    def count(waves_of_lanes: list[list[tcnstream.Segment]]) -> None:
        for lane, waves in zip(pool.lanes, waves_of_lanes, strict=True):
            beats[lane] += sum(wave.label == "qrs" for wave in waves)

    for tick in range(100):  # ten seconds
        chunks: list[np.ndarray | None] = [signal[TICK * (tick + bed) :][:TICK] for bed in range(beds)]
        if tick % 10 == 9:
            chunks[0] = None  # bed 0 has nothing new this time
        count(pool.push(chunks))

    pool.leave(beds - 1)  # the last patient goes home ...
    bed = pool.join(start_s=10.0)  # ... and the next one takes the lane
    beats[bed] = 0
    count(pool.push([signal[:TICK] for _ in pool.lanes]))
    count(pool.flush())
    for lane, number in beats.items():
        print(f"bed {lane}: {number} beats")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
