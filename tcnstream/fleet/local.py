"""The keyed operator without an engine: ``python -m tcnstream.fleet.local`` plays one recording as many patients.

Every key gets the recording from another place on, in chunks, some of them twice and one of them never, as a broker
delivers them. What comes out is what a job on a cluster would write.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tcnstream.errors import TcnStreamError
from tcnstream.fleet.keyed import Keyed, SegmentRow
from tcnstream.live.blocks import Samples
from tcnstream.opened import open_input, open_model
from tcnstream.signal.sources.base import ReadOptions

_RECORDING = Path(__file__).resolve().parent.parent / "data" / "ecg.csv"
_STEP_FRAMES = 997


@dataclass(frozen=True)
class Played:
    """What came out: segments by label, and the processor time of ``Keyed.step`` alone."""

    keys: int
    signal_s: float
    cpu_s: float
    segments: Counter[str]
    state_bytes: int

    @property
    def streams_per_core(self) -> float:
        """How many live streams one core keeps up with."""
        return self.signal_s / self.cpu_s


def play(keyed: Keyed, recording: Samples, rate_hz: float, *, keys: int, chunk_frames: int, seconds: float) -> Played:
    """``keys`` streams of ``recording`` (n, channels), each ``seconds`` long, in turn through ``keyed``."""
    states: list[bytes | None] = [None] * keys
    found: Counter[str] = Counter()
    cpu_s = 0.0
    chunks = int(seconds * rate_hz) // chunk_frames
    for seq in range(chunks):
        for key in range(keys):
            messages = list(_delivered(recording, key, seq, chunk_frames))
            began_s = time.process_time()
            states[key], rows = keyed.step(key, states[key], messages)
            cpu_s += time.process_time() - began_s
            found.update(row.label for row in rows if isinstance(row, SegmentRow))
    size = max(len(state) for state in states if state is not None)
    return Played(keys, keys * chunks * chunk_frames / rate_hz, cpu_s, found, size)


def _delivered(recording: Samples, key: int, seq: int, frames: int) -> Iterator[tuple[int, Samples]]:
    """What the broker hands over: every tenth key loses chunk 40, and some chunks come twice."""
    if key % 10 == 3 and seq == 40:
        return
    at = (key * _STEP_FRAMES + seq * frames) % max(1, len(recording) - frames)
    for _ in range(2 if (key + seq) % 17 == 5 else 1):
        yield seq, recording[at : at + frames]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tcnstream.fleet.local", description="A fleet on one core.")
    parser.add_argument("model", nargs="?", default="ecg", help="a shipped name, a .tflite file or a card")
    parser.add_argument("recording", nargs="?", default=str(_RECORDING), help="what every patient plays")
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--chunk-frames", type=int, default=25, help="samples in a message")
    parser.add_argument("--seconds", type=float, default=60.0, help="of signal for each patient")
    told = parser.parse_args(arguments)
    try:
        if min(told.patients, told.chunk_frames) < 1 or not told.seconds * 1e9 >= 1:
            raise TcnStreamError("--patients, --chunk-frames and --seconds are above 0")
        opened = open_model(told.model)
        source = open_input(opened, told.recording, ReadOptions())
        if source.rate_hz is None:
            raise TcnStreamError(f"{told.recording} does not say its rate; give a WAV, EDF, WFDB or CSV file that does")
        recording = np.concatenate([part for part in source.chunks if isinstance(part, np.ndarray)])
        keyed = Keyed(told.model, rate_hz=source.rate_hz, units=source.units or None)
        played = play(
            keyed,
            recording,
            source.rate_hz,
            keys=told.patients,
            chunk_frames=told.chunk_frames,
            seconds=told.seconds,
        )
    except (TcnStreamError, OSError) as error:
        print(f"tcnstream: {error}", file=sys.stderr)
        return 2
    for label, count in sorted(played.segments.items()):
        print(f"{count:9,} {label}")
    print(f"{played.signal_s:9,.0f} s of signal of {played.keys} patients in {played.cpu_s:.2f} s of one core")
    print(f"{played.streams_per_core:9,.0f} live streams per core at {told.chunk_frames} samples a message")
    print(f"{played.state_bytes:9,} bytes of state a patient")
    return 0


if __name__ == "__main__":
    sys.exit(main())
