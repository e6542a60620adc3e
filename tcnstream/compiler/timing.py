"""When a frame can be computed and what it depends on: arithmetic over ``Window``, folds over a Plan.

Everything here is counting. ``counts`` is a pure function of how many input frames have arrived, so
edges, odd chunks, strides and joins need no special cases anywhere else.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.operations import operation
from tcnstream.compiler.plan import SAME_FRAME, Node, Plan, Window
from tcnstream.errors import NotStreamableError

_MOST_PHASES = 1 << 16
_MOST_PERIOD = 1 << 18
"""Rates of real models repeat within a few frames; a hostile file must not make us list or count millions."""

Count = TypeVar("Count", int, npt.NDArray[np.int64])
"""A number of frames, or many of them that are counted at once."""

_COUNTS_AT_ONCE = 1 << 14


def first_read(window: Window, j: Count) -> Count:
    """The oldest input frame that output frame ``j`` reads; negative in the left padding."""
    return -((window.pad_begin - window.stride * j) // window.up)


def last_read(window: Window, j: int) -> int:
    """The newest input frame that output frame ``j`` reads; may lie past the end, in the padding."""
    return (window.stride * j - window.pad_begin + window.extent - 1) // window.up


def last_awaited(window: Window, j: int) -> int:
    """The input frame with which output frame ``j`` is sure: beyond what it reads where the end is cut off."""
    cut_off = -min(window.pad_end or 0, 0)
    return (window.stride * j - window.pad_begin + window.extent - 1 + cut_off) // window.up


# The rules below hold for one number of frames and, element by element, for an array of them.


def _at_least_zero(n: Count) -> Count:
    return n * (n > 0)


def _least(a: Count, b: Count) -> Count:
    return a + (b - a) * (b < a)


def frames_mirrored(window: Window) -> int:
    """Frames of the input that must be there before the first output frame: those that a mirrored edge shows."""
    if window.is_mirrored:
        return window.pad_begin + (window.edge == "reflect")
    return 0


def shortest_mirrored(window: Window) -> int:
    """Frames of the shortest signal that is long enough for both mirrored edges; 0 without such edges."""
    if window.is_mirrored:
        return max(window.pad_begin, window.pad_end or 0, 0) + (window.edge == "reflect")
    return 0


def frames_while_open(window: Window, n: Count) -> Count:
    """Output frames that ``n`` input frames allow while more may come."""
    cut_off = min(window.pad_end or 0, 0)
    frames = (window.up * n + window.pad_begin + cut_off - window.extent) // window.stride + 1
    return _at_least_zero(frames) * (n >= max(1, frames_mirrored(window)))


def frames_at_end(window: Window, n: Count) -> Count:
    """Output frames of a whole signal of ``n`` input frames."""
    if window.pad_end is None:
        return -(-n // window.stride)
    frames = (window.up * n + window.pad_begin + window.pad_end - window.extent) // window.stride + 1
    return _at_least_zero(frames) * (n > 0)


def oldest_kept(window: Window, j: Count, n: Count) -> Count:
    """The oldest of ``n`` input frames that output frames from ``j`` on will read."""
    if window.is_mirrored:
        mirrored = n - max(window.pad_end or 0, 0) - (1 if window.edge == "reflect" else 0)
        return _at_least_zero(_least(j - window.pad_begin, mirrored)) * (j > 0)
    oldest = first_read(window, j)
    if window.edge == "hold" and (window.pad_end or 0) > 0:
        oldest = _least(oldest, n - 1)
    return _at_least_zero(oldest)


def at_edge(places: npt.NDArray[np.int64], n: int, window: Window) -> npt.NDArray[np.int64]:
    """The frames of 0 .. n - 1 that stand at ``places`` within and beyond a signal of ``n`` frames.

    Beyond it: mirrored on the edge frame (reflect) or between it and its image (symmetric), the edge frame (hold), or
    -1 for padding.
    """
    if window.edge == "fill":
        return np.where((places >= 0) & (places < n), places, -1)
    if window.edge == "hold":
        return np.clip(places, 0, n - 1)
    between = 1 if window.edge == "symmetric" else 0
    left = np.where(places < 0, -places - between, places)
    return np.where(left >= n, 2 * (n - 1) - left + between, left)


def counts(plan: Plan, n: Count, ended: bool) -> list[Count]:
    """Frames of every tensor that ``n`` input frames allow (0 for constants)."""
    have = [n * 0] * len(plan.tensors)
    for i in plan.inputs:
        have[i] = n
    rule = frames_at_end if ended else frames_while_open
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        m = functools.reduce(_least, [have[i] for i in sources])
        if node.window is not SAME_FRAME:
            m = rule(node.window, m)
        for o in node.outputs:
            have[o] = m
    return have


def oldest_needed(plan: Plan, have: list[Count]) -> list[Count]:
    """For every tensor the oldest of its ``have`` frames that some node will still read."""
    needed = list(have)
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        j = have[node.outputs[0]]
        for i in sources:
            oldest = j if node.window is SAME_FRAME else oldest_kept(node.window, j, have[i])
            needed[i] = _least(needed[i], oldest)
    for read, written in plan.states.items():
        needed[written] = _least(needed[written], _at_least_zero(have[read] - 1))
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
        return self._at(self.oldest_by_phase, j)

    def newest(self, j: int) -> int:
        return self._at(self.newest_by_phase, j)

    def due(self, j: int) -> int:
        return self._at(self.due_by_phase, j)

    def _at(self, by_phase: tuple[int, ...], j: int) -> int:
        phase = j % self.period
        return by_phase[phase] + self.step.numerator * (j - phase) // self.step.denominator

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
    if window is SAME_FRAME and len(sources) == 1 and not operation(node.kind).remembers_all:
        return sources[0]
    step = sources[0].step
    if any(s.step != step for s in sources):
        rates = sorted({s.rate for s in sources})
        raise NotStreamableError(
            f"`{node.kind}` (op {node.index}, `{node.label}`) joins tensors of {' and '.join(map(str, rates))} frames"
            " per input frame, which only meet in a window of one length. End the model before it, or replace it in"
            " training.",
            node.index,
        )
    if window.stride != window.up:
        step *= Fraction(window.stride, window.up)
    source_period = math.lcm(*(s.period for s in sources))
    period = window.up * source_period // math.gcd(window.up * source_period, window.stride)
    if period > _MOST_PHASES:
        raise NotStreamableError(
            f"`{node.kind}` (op {node.index}, `{node.label}`) makes a rate that repeats only every {period} frames,"
            f" more than {_MOST_PHASES}; use strides and up-sampling factors with common divisors"
        )
    if period * step > _MOST_PERIOD:
        raise NotStreamableError(
            f"`{node.kind}` (op {node.index}, `{node.label}`) gives a frame for so many that all repeats only every"
            f" {period * step} input frames, more than {_MOST_PERIOD}; use smaller strides"
        )
    return Timing(
        step,
        period,
        tuple(min(s.oldest(first_read(window, j)) for s in sources) for j in range(period)),
        tuple(max(s.newest(last_read(window, j)) for s in sources) for j in range(period)),
        tuple(max(s.due(last_awaited(window, j)) for s in sources) for j in range(period)),
        any(s.unbounded for s in sources) or operation(node.kind).remembers_all,
    )


def settled_frames(plan: Plan) -> tuple[int, int]:
    """(start, period): from ``start`` input frames on, what is remembered repeats every ``period`` of them."""
    facts = timings(plan)
    known = [t for t in facts if t is not None]
    period = math.lcm(*(int(t.period * t.step) for t in known))
    # Past the look-ahead of every tensor, a crop at the start among it, and past its receptive field.
    settled = max(max(t.due(0), 0) + t.due(0) - t.oldest(0) for t in known)
    # Past the frames that mirrored edges show, at the start or at the end, which no look-ahead tells of.
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        shown = shortest_mirrored(node.window)
        for timing in (facts[i] for i in sources if shown):
            assert timing is not None
            settled = max(settled, timing.due(shown - 1) + 1)
    return (2 * settled // period + 2) * period, period


def most_kept(plan: Plan, input_frames: range) -> list[int]:
    """For every tensor the most frames that must be remembered after any of these numbers of input frames."""
    most = np.zeros(len(plan.tensors), np.int64)
    for begin in range(input_frames.start, input_frames.stop, _COUNTS_AT_ONCE):
        n = np.arange(begin, min(begin + _COUNTS_AT_ONCE, input_frames.stop))
        have = counts(plan, n, ended=False)
        kept = [(h - o).max() for h, o in zip(have, oldest_needed(plan, have), strict=True)]
        most = np.maximum(most, kept)
    return [int(frames) for frames in most]


def steady_frames(plan: Plan) -> list[int]:
    """For every tensor the most frames that must be remembered between two pushes in the middle of a signal."""
    start, period = settled_frames(plan)
    return most_kept(plan, range(start, start + period))


def remembered_frames(plan: Plan) -> list[int]:
    """For every tensor the most frames that must outlive a push, at any time of the stream."""
    if not any(_bursts(node.window) for node in plan.nodes):
        # at the left edge every count is clamped upwards, so less waits there than in the middle
        return steady_frames(plan)
    start, period = settled_frames(plan)
    return most_kept(plan, range(1, start + period))


def _bursts(window: Window) -> bool:
    """Whether frames come at once at the left edge: mirrored ones, or padding that needs no signal."""
    return window.is_mirrored or window.pad_begin + min(window.pad_end or 0, 0) >= window.extent
