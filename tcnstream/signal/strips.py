"""What a picture of a recording shows, whoever draws it: strips of its trace below each other, a colour a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcnstream.signal.segments import Segment

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette: told apart by people with any colour vision, and on a grey print."""
PLAIN = "#8a8f98"
MOST_POINTS = 6000
"""Of a strip; more than the picture has columns."""


def thinned(signal: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Positions and values (m,) that draw the same line as ``signal`` (n,): the extremes of MOST_POINTS / 2 parts."""
    at = np.arange(len(signal))
    if len(signal) <= MOST_POINTS:
        return at, signal
    parts = np.array_split(at, MOST_POINTS // 2)
    ends = [sorted((int(part[signal[part].argmin()]), int(part[signal[part].argmax()]))) for part in parts]
    at = np.array(ends).ravel()
    return at, signal[at]


@dataclass(frozen=True)
class Strip:
    """A stretch of the recording: its trace (points,) and, by label, the stretches of time that a label covers."""

    begin_s: float
    end_s: float
    times: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]
    low: float
    high: float
    covered: Mapping[str, Sequence[tuple[float, float]]]

    def coloured(self, label: str) -> npt.NDArray[np.float32]:
        """The trace where ``label`` covers it, NaN elsewhere."""
        inside = np.zeros(len(self.times), bool)
        for start_s, end_s in self.covered[label]:
            inside |= (self.times >= start_s) & (self.times <= end_s)
        return np.where(inside, self.values, np.float32(np.nan))


@dataclass(frozen=True)
class Plot:
    """What is drawn, whoever draws it: strips below each other, a colour a label."""

    strips: Sequence[Strip]
    colours: Mapping[str, str]
    units: str
    title: str
    tick_s: float

    def legend(self, label: str) -> str:
        return label.upper() if len(label.split()[0]) <= 3 else label


def make_strip(
    signal: npt.NDArray[np.float32],
    rate_hz: float,
    segments: Sequence[Segment],
    labels: Sequence[str],
    begin_s: float,
    end_s: float,
    one_scale: bool,
) -> Strip:
    """The strip from ``begin_s`` to ``end_s``, as high as its own values or, with ``one_scale``, as all of them."""
    first = round(begin_s * rate_hz)
    at, shown = thinned(signal[first : round(end_s * rate_hz) + 1])
    scaled_by = signal if one_scale or not len(shown) else shown
    low, high = (float(scaled_by.min()), float(scaled_by.max())) if len(scaled_by) else (0.0, 0.0)
    middle, half = (high + low) / 2, max((high - low) / 2, 1e-6) * 1.1
    here = [s for s in segments if s.end_s > begin_s and s.start_s < end_s]
    covered = {label: [(s.start_s, s.end_s) for s in here if s.label == label] for label in labels}
    return Strip(begin_s, end_s, (first + at) / rate_hz, shown, middle - half, middle + half, covered)
