"""What is done about missing frames: begin anew behind them, or fill them in and say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from tcnstream.live.blocks import Lost, Samples

Policy: TypeAlias = Literal["reset", "hold", "interpolate"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
MOST_FILLED_S = 60.0
"""The longest gap that the daemon fills in: it is made as one array, and what is longer is no signal any more."""


@dataclass(frozen=True)
class GapRule:
    """``policy`` up to ``limit_s``; a longer gap always begins a new epoch."""

    policy: Policy = "reset"
    limit_s: float = 0.0

    def done(self, lost: Lost, rate_hz: float, last: Samples | None) -> Policy:
        """What is to be done about ``lost``; there is nothing to hold before the first sample."""
        fits = lost.frames <= self.limit_s * rate_hz + 1e-6
        return self.policy if fits and last is not None else "reset"


def fill(policy: Policy, frames: int, last: Samples, first: Samples) -> Samples:
    """``frames`` samples (frames, channels) between ``last`` and ``first``, each (channels,)."""
    return fill_part(policy, frames, last, first, 0, frames)


def fill_part(policy: Policy, frames: int, last: Samples, first: Samples, begin: int, end: int) -> Samples:
    """Those from ``begin`` up to ``end`` of what ``fill`` returns."""
    if policy == "hold":
        return np.repeat(last[None], end - begin, axis=0)
    weights = (np.arange(begin + 1, end + 1, dtype=np.float64) / (frames + 1))[:, None]
    return np.asarray(last + (first.astype(np.float64) - last) * weights, np.float32)


def overlap_s(filled: Sequence[tuple[float, float]], start_s: float, end_s: float) -> float:
    """Seconds of ``start_s`` .. ``end_s`` that lie in filled stretches."""
    return sum((max(0.0, min(end_s, end) - max(start_s, begin)) for begin, end in filled), 0.0)
