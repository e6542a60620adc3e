"""Patients whose chunks get lost and come twice, for jobs of the fleet, and what should come of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from helpers.paths import ECG
from tcnstream.fleet import Keyed, Row
from tcnstream.signal.sources import open_recording

RATE_HZ = 360.0
CHUNK_FRAMES = 90


def messages(file: int) -> Iterator[tuple[str, int, npt.NDArray[np.float32]]]:
    """Three patients side by side; one loses a chunk, all get some twice."""
    x = np.concatenate([chunk for chunk in open_recording(ECG).chunks if isinstance(chunk, np.ndarray)])[:, 0]
    for seq in range(40):
        for patient in range(3):
            at = (3 * file + patient) * 500 + seq * CHUNK_FRAMES
            if (patient, seq) != (1, 20):
                for _ in range(2 if (seq + patient) % 17 == 5 else 1):
                    yield f"bed {file}.{patient}", seq, x[at : at + CHUNK_FRAMES]


def expected() -> list[dict[str, Any]]:
    """What one Keyed gives for all of it, ends included."""
    keyed, states, rows = Keyed("ecg", rate_hz=RATE_HZ, units="mV"), dict[str, bytes](), list[Row]()
    for file in range(2):
        for key, seq, samples in messages(file):
            states[key], made = keyed.step(key, states.get(key), [(seq, samples)])
            rows += made
    for key, state in states.items():
        rows += keyed.end(key, state)[1]
    assert keyed.counts.gaps == 2 and keyed.counts.duplicates > 5
    return sorted((asdict(row) for row in rows), key=identity)


def identity(row: dict[str, Any]) -> tuple[str, int, int]:
    return row["key"], row["epoch"], row["number"]
