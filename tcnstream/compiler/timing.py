"""When a frame can be computed and what it depends on: arithmetic over ``Window``, folds over a Plan.

Everything here is counting. ``counts`` is a pure function of how many input frames have arrived, so
edges, odd chunks, strides and joins need no special cases anywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from tcnstream.compiler.plan import SAME_FRAME, Node, Plan, Window
from tcnstream.errors import NotStreamableError

_MOST_PHASES = 1 << 16
"""Rates of real models repeat within a few frames; a hostile file must not make us list millions."""


_REMEMBER_ALL = ("TIME_CUMULATIVE", "STATEFUL_GRAPH")


def first_read(window: Window, j: int) -> int:
    """The oldest input frame that output frame ``j`` reads; negative in the left padding."""
    return -((window.pad_begin - window.stride * j) // window.up)


def last_read(window: Window, j: int) -> int:
    """The newest input frame that output frame ``j`` reads; may lie past the end, in the padding."""
    return (window.stride * j - window.pad_begin + window.extent - 1) // window.up


def last_awaited(window: Window, j: int) -> int:
    """The input frame with which output frame ``j`` is sure: beyond what it reads where the end is cut off."""
    cut_off = -min(window.pad_end or 0, 0)
    return (window.stride * j - window.pad_begin + window.extent - 1 + cut_off) // window.up


def frames_while_open(window: Window, n: int) -> int:
    """Output frames that ``n`` input frames allow while more may come."""
    if n == 0 or (window.edge == "reflect" and n <= window.pad_begin):
        return 0
    if window.edge == "symmetric" and n < window.pad_begin:
        return 0
    cut_off = min(window.pad_end or 0, 0)
    return max(0, (window.up * n + window.pad_begin + cut_off - window.extent) // window.stride + 1)


def frames_at_end(window: Window, n: int) -> int:
    """Output frames of a whole signal of ``n`` input frames."""
    if n == 0:
        return 0
    if window.pad_end is None:
        return -(-n // window.stride)
    return max(0, (window.up * n + window.pad_begin + window.pad_end - window.extent) // window.stride + 1)


def oldest_kept(window: Window, j: int, n: int) -> int:
    """The oldest of ``n`` input frames that output frames from ``j`` on will read."""
    if window.edge in ("reflect", "symmetric"):
        if j == 0:
            return 0
        mirrored = n - max(window.pad_end or 0, 0) - (1 if window.edge == "reflect" else 0)
        return max(0, min(j - window.pad_begin, mirrored))
    return max(0, first_read(window, j))


def counts(plan: Plan, n: int, ended: bool) -> list[int]:
    """Frames of every tensor that ``n`` input frames allow (0 for constants)."""
    have = [0] * len(plan.tensors)
    for i in plan.inputs:
        have[i] = n
    rule = frames_at_end if ended else frames_while_open
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        m = min([have[i] for i in sources])
        if node.window is not SAME_FRAME:
            m = rule(node.window, m)
        for o in node.outputs:
            have[o] = m
    return have


def oldest_needed(plan: Plan, have: list[int]) -> list[int]:
    """For every tensor the oldest of its ``have`` frames that some node will still read."""
    needed = list(have)
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        j = have[node.outputs[0]]
        for i in sources:
            oldest = j if node.window is SAME_FRAME else oldest_kept(node.window, j, have[i])
            if oldest < needed[i]:
                needed[i] = oldest
    return needed


@dataclass(frozen=True)
class Timing:
    """How a tensor hangs on the model's input.

    Frame j depends on input frames ``oldest(j) .. newest(j)`` and is there with input frame ``due(j)``,
    which is later where the file cuts frames off the end: until then it could be one of those. All
    three advance by ``step`` input frames per frame and repeat with ``period`` frames. ``unbounded``
    marks a tensor that depends on all of the past (a cumulative policy, a model with its own state);
    ``oldest`` is then only what its window would be without that.
    """

    step: Fraction
    period: int
    oldest_by_phase: tuple[int, ...]
    newest_by_phase: tuple[int, ...]
    due_by_phase: tuple[int, ...]
    unbounded: bool = False

    def oldest(self, j: int) -> int:
        return self.oldest_by_phase[j % self.period] + int(self.step * (j - j % self.period))

    def newest(self, j: int) -> int:
        return self.newest_by_phase[j % self.period] + int(self.step * (j - j % self.period))

    def due(self, j: int) -> int:
        return self.due_by_phase[j % self.period] + int(self.step * (j - j % self.period))

    @property
    def rate(self) -> Fraction:
        """Frames of this tensor per input frame."""
        return 1 / self.step

    @property
    def delay(self) -> int:
        """Input frames by which frame j trails its own place, floor(step * j), in the input."""
        return max(self.due(j) - math.floor(self.step * j) for j in range(self.period))

    @property
    def receptive_field(self) -> int | None:
        """Input frames that one frame depends on, from the oldest to the newest; None if unbounded."""
        if self.unbounded:
            return None
        return max(self.newest(j) - self.oldest(j) + 1 for j in range(self.period))


def timings(plan: Plan) -> list[Timing | None]:
    """The Timing of every tensor, as a fold over the nodes (None for constants)."""
    known: list[Timing | None] = [None] * len(plan.tensors)
    for i in plan.inputs:
        known[i] = Timing(Fraction(1), 1, (0,), (0,), (0,))
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        combined = _through(node, [t for i in sources if (t := known[i]) is not None])
        for o in node.outputs:
            known[o] = combined
    return known


def _through(node: Node, sources: list[Timing]) -> Timing:
    window = node.window
    if window is SAME_FRAME and len(sources) == 1 and node.kind not in _REMEMBER_ALL:
        return sources[0]
    if len(rates := sorted({s.rate for s in sources})) > 1:
        raise NotStreamableError(
            f"`{node.kind}` (op {node.index}, `{node.label}`) joins tensors of {' and '.join(map(str, rates))} frames"
            " per input frame, which only meet in a window of one length. End the model before it, or replace it in"
            " training."
        )
    step = sources[0].step * window.stride / window.up
    source_period = math.lcm(*(s.period for s in sources))
    period = window.up * source_period // math.gcd(window.up * source_period, window.stride)
    if period > _MOST_PHASES:
        raise NotStreamableError(
            f"`{node.kind}` (op {node.index}, `{node.label}`) makes a rate that repeats only every {period} frames,"
            f" more than {_MOST_PHASES}; use strides and up-sampling factors with common divisors"
        )
    return Timing(
        step,
        period,
        tuple(min(s.oldest(first_read(window, j)) for s in sources) for j in range(period)),
        tuple(max(s.newest(last_read(window, j)) for s in sources) for j in range(period)),
        tuple(max(s.due(last_awaited(window, j)) for s in sources) for j in range(period)),
        any(s.unbounded for s in sources) or node.kind in _REMEMBER_ALL,
    )


def settled_frames(plan: Plan) -> tuple[int, int]:
    """(start, period): from ``start`` input frames on, what is remembered repeats every ``period`` of them."""
    known = [t for t in timings(plan) if t is not None]
    period = math.lcm(*(int(t.period * t.step) for t in known))
    # Past the look-ahead of every tensor, a crop at the start among it, and past its receptive field.
    settled = max(max(t.due(0), 0) + t.due(0) - t.oldest(0) for t in known)
    return (2 * settled // period + 2) * period, period


def most_kept(plan: Plan, input_frames: Iterable[int]) -> list[int]:
    """For every tensor the most frames that must be remembered after any of these numbers of input frames."""
    most = [0] * len(plan.tensors)
    for n in input_frames:
        have = counts(plan, n, ended=False)
        kept = (h - o for h, o in zip(have, oldest_needed(plan, have), strict=True))
        most = [max(m, k) for m, k in zip(most, kept, strict=True)]
    return most


def steady_frames(plan: Plan) -> list[int]:
    """For every tensor the most frames that must be remembered between two pushes in the middle of a signal."""
    start, period = settled_frames(plan)
    return most_kept(plan, range(start, start + period))
