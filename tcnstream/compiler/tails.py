"""How many of the newest input frames say all that a stream remembers.

A layer's ring holds frames that depend on a bounded stretch of the input. Whoever pushes that stretch into a new stream
fills every ring with the same values; only the count of frames differs. The stretch must begin where strides divide, so
that every layer's phase is the same, and lie past the left edge, so that no padding is left in what is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.plan import SAME_FRAME, Plan, Window
from tcnstream.compiler.timing import counts, oldest_needed, settled_frames, timings


@dataclass(frozen=True)
class Tail:
    """From ``least`` input frames on a stream is rebuilt from its newest ones, where strides, which repeat every
    ``period`` frames, agree."""

    least: int
    period: int

    def frames(self, pushed_frames: int) -> int:
        """How many of the newest input frames rebuild a stream that has had so many: all, near the start."""
        if pushed_frames < self.least:
            return pushed_frames
        return self.least + (pushed_frames - self.least) % self.period

    @property
    def most_frames(self) -> int:
        """What ``frames`` gives at most."""
        return self.least + self.period - 1


@lru_cache(maxsize=64)
def tail_of(plan: Plan) -> Tail | None:
    """The Tail of a plan's streams; None if something depends on all of the past."""
    facts = timings(plan)
    if plan.states or any(timing is not None and timing.unbounded for timing in facts):
        return None
    whole = _first_whole(plan)
    start, period = settled_frames(plan)
    bound = start + period
    while True:
        n = np.arange(bound + period)
        sound = _is_sound(plan, whole, n, period, [0 if t is None else int(period * t.rate) for t in facts])
        if sound[bound:].all():
            unsound = np.flatnonzero(~sound)
            return Tail(int(unsound[-1]) + 1 if len(unsound) else 0, period)
        bound *= 2


def _first_whole(plan: Plan) -> list[int]:
    """For every tensor its first frame that no left edge touches, its own or that of a tensor before it."""
    whole = [0] * len(plan.tensors)
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        first = max((whole[i] for i in sources), default=0)
        if node.window is not SAME_FRAME:
            first = _first_reading_from(node.window, first)
        for o in node.outputs:
            whole[o] = first
    return whole


def _first_reading_from(window: Window, first: int) -> int:
    """The first output frame that reads no input frame before ``first``; the inverse of ``timing.first_read``."""
    return max(0, -(-(window.up * (first - 1) + window.pad_begin + 1) // window.stride))


def _is_sound(
    plan: Plan, whole: list[int], n: npt.NDArray[np.int64], period: int, grown: list[int]
) -> npt.NDArray[np.bool_]:
    """Whether, after ``n`` input frames, all that is remembered is whole, and as much as a period later."""
    have, later = counts(plan, n, ended=False), counts(plan, n + period, ended=False)
    oldest, oldest_later = oldest_needed(plan, have), oldest_needed(plan, later)
    sound = np.ones(len(n), bool)
    for i in (i for i, tensor in enumerate(plan.tensors) if tensor.data is None):
        sound &= (oldest[i] >= whole[i]) | (oldest[i] == have[i])
        sound &= (later[i] - have[i] == grown[i]) & (later[i] - oldest_later[i] == have[i] - oldest[i])
    return sound
