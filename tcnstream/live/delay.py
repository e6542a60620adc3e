"""How long an event takes: from the arrival of the sample that made it final until the sinks have it."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

PER_OCTAVE = 4
SHORTEST_S = 2.0**-17
"""The first bin ends there, 7.6 µs; each following one is a fourth of an octave wide."""
BINS = 25 * PER_OCTAVE


def upper_s(bin: int) -> float:
    """Where a bin ends."""
    return float(SHORTEST_S * 2.0 ** (bin / PER_OCTAVE))


_ENDS_S = [upper_s(bin) for bin in range(BINS - 1)]
"""The last bin has no end."""


class Bins(msgspec.Struct, frozen=True):
    """``counts`` of the bins from ``first`` on, so that both ends are not empty; times in milliseconds."""

    first: int
    counts: list[int]
    count: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


class Delay:
    """A histogram on a logarithmic scale: 100 numbers, whatever is measured."""

    def __init__(self) -> None:
        self._counts = [0] * BINS
        self._worst_s = 0.0

    def took(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(_ENDS_S, seconds)] += 1
        if seconds > self._worst_s:
            self._worst_s = seconds

    def bins(self) -> Bins:
        """A percentile is the upper end of its bin, so that it is at most 19 % too much and never too little."""
        counts = list(self._counts)
        filled = [bin for bin, count in enumerate(counts) if count]
        if not filled:
            return Bins(0, [], 0, 0.0, 0.0, 0.0)
        total, worst_s = sum(counts), self._worst_s
        percentiles = [min(worst_s, upper_s(_bin_of(counts, part * total))) for part in (0.5, 0.99)]
        p50_ms, p99_ms, worst_ms = (round(each * 1e3, 3) for each in (*percentiles, worst_s))
        return Bins(filled[0], counts[filled[0] : filled[-1] + 1], total, p50_ms, p99_ms, worst_ms)


def _bin_of(counts: list[int], rank: float) -> int:
    seen = 0
    for bin, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return bin
    raise AssertionError("the rank is at most the sum")
