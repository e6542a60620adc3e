"""Which frames an index along time reads, as a window.

Converters spell padding, repetition, framing and interpolation as gathers, and as pieces that are put together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.plan import Edge, Window
from tcnstream.compiler.timing import at_edge

Index = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

OUTSIDE = -1
"""What an index has for a frame of padding."""

_MOST_PHASES = 64
_ROUNDING = 1e-5
"""By how much a weight of a table, which a converter computes in float32 from a place in the window, may be off."""


def repeated(index: Index, frames: int) -> tuple[int, Window | None]:
    """How often each of ``frames`` frames is repeated by ``index``, one behind the other; 0 if it is anything else.

    And the window by which the frames of ``index`` are picked from the repeated ones, None if they are those.
    """
    times, left = divmod(len(index), frames)
    if times > 1 and not left and np.array_equal(index, np.repeat(np.arange(frames), times)):
        return times, None
    for times, begin in _repetitions(index, frames):
        places = np.arange(len(index)) - begin
        for edge in _EDGES:
            window = Window(pad_begin=begin, pad_end=len(index) - begin - times * frames, edge=edge)
            # Padding stands at -1, and -1 // times is -1.
            if _may_show(window, places, times * frames) and np.array_equal(
                at_edge(places, times * frames, window) // times, index
            ):
                return times, window
    return 0, None


def _repetitions(index: Index, frames: int) -> Iterator[tuple[int, int]]:
    """How often frames may be repeated, and how many places stand before the first; by runs that no edge touches."""
    starts = np.flatnonzero(np.diff(index, prepend=OUTSIDE - 1))
    lengths = np.diff(starts)
    inner = np.arange(1, len(lengths))
    inner = inner[index[starts[inner]] != OUTSIDE]
    if len(inner):
        times = int(np.bincount(lengths[inner]).argmax())
        start = int(starts[inner[lengths[inner] == times][0]])
        if 1 < times <= _MOST_PHASES:
            yield times, start - times * int(index[start])
    times = round(len(index) / frames)
    if 1 < times <= _MOST_PHASES:
        yield from ((times, begin) for begin in range(1 - times, times))


_UNMIRRORED: tuple[Edge, ...] = ("fill", "hold")
_EDGES: tuple[Edge, ...] = (*_UNMIRRORED, "reflect", "symmetric")


def selected(index: Index, frames: int) -> Window | None:
    """The window by which frame j of the output is frame ``index[j]`` of ``frames``; None if there is none.

    Frames at a fixed stride, or all of them with padding before and after.
    """
    steps = np.diff(index)
    stride = max(1, int(np.bincount(steps[steps > 0]).argmax())) if (steps > 0).any() else 1
    first = int(np.argmax(index != OUTSIDE))
    begins = [stride * first - int(index[first])]
    if stride == 1:
        begins += [int(index[0]), int(index[0]) + 1, int(np.argmax(index != index[0])) - 1]
    for begin in begins:
        for edge in _EDGES:
            window = Window(stride=stride, pad_begin=begin, edge=edge)
            places = stride * np.arange(len(index)) - begin
            if _may_show(window, places, frames) and np.array_equal(at_edge(places, frames, window), index):
                window = replace(window, pad_end=int(places[-1]) + 1 - frames)
                return replace(window, edge="fill") if _within(places, frames) == len(index) else window
    return None


def _within(places: Index, frames: int) -> int:
    return int(((places >= 0) & (places < frames)).sum())


def _may_show(window: Window, places: Index, frames: int) -> bool:
    """Whether ``places`` may be frames and their edges: a crop has none before it to be shown.

    Where more is mirrored than is there, and that not all, it is the window that is turned around.
    """
    within = _within(places, frames)
    return (window.pad_begin >= 0 or window.edge == "fill") and (within == frames or 2 * within > len(places))


def interpolated(index: Index, weights: Weights, frames: int) -> tuple[npt.NDArray[np.float32], Window] | None:
    """The filter by which output frame j is the sum of ``weights[j, k]`` times frame ``index[j, k]`` of ``frames``.

    Beyond the ends the first and the last frame count. Weights (up, taps) as of a TIME_RESAMPLE, and its window; None
    where the weights do not repeat, or differ at the edges.
    """
    for rate in _rates(len(index), frames):
        found = _filter(index, weights, frames, rate.numerator, rate.denominator)
        if found is not None:
            return found
    return None


def _rates(outputs: int, frames: int) -> Iterator[Fraction]:
    """Output frames per frame: by the lengths of both, and by the distances between their ends."""
    rates = [Fraction(outputs, frames)]
    if min(outputs, frames) > 1:
        rates.append(Fraction(outputs - 1, frames - 1))
    nearest = Fraction(round(outputs / frames)) if outputs >= frames else 1 / Fraction(round(frames / outputs))
    for rate in dict.fromkeys((*rates, nearest)):
        if max(rate.numerator, rate.denominator) <= _MOST_PHASES:
            yield rate


def _filter(
    index: Index, weights: Weights, frames: int, up: int, stride: int
) -> tuple[npt.NDArray[np.float32], Window] | None:
    """The filter of ``up`` sets of weights that advances by ``stride`` places on the line of ``up`` places a frame."""
    outputs = len(index)
    places = stride * np.arange(outputs)
    phases, bases = places % up, places // up
    weighty = np.abs(weights) > _ROUNDING
    offsets = np.where(weighty, index - bases[:, None], 0)
    # Each set from a row in the middle, which no edge has touched.
    rows = [np.flatnonzero(phases == phase) for phase in range(up)]
    if any(len(found) < 3 for found in rows):
        return None
    middle = np.array([found[len(found) // 2] for found in rows])
    if not weighty[middle].any():
        return None
    used, ahead = weighty[middle], offsets[middle]
    least, most = int(ahead[used].min()), int(ahead[used].max())
    if most - least >= _MOST_PHASES:
        return None
    spread = np.zeros((up, most - least + 1))
    row, column = np.nonzero(used)
    np.add.at(spread, (row, ahead[row, column] - least), weights[middle][row, column])
    if not _repeats(index, weights, spread, bases + least, phases, frames):
        return None
    phase, tap = np.nonzero(np.abs(spread) > _ROUNDING)
    begin = int((phase - up * (tap + least)).max())
    extent = int((up * (tap + least) - phase).max()) + begin + 1
    sets = np.zeros((up, -(-extent // up)), np.float32)
    # Set s meets a first frame that lies s places behind the first place of the window.
    behind = up * (tap + least) - phase + begin
    sets[behind % up, behind // up] = spread[phase, tap]
    pad_end = (outputs - 1) * stride + extent - begin - up * frames
    return sets, Window(up=up, stride=stride, extent=extent, pad_begin=begin, pad_end=pad_end, edge="hold")


def _repeats(index: Index, weights: Weights, spread: Weights, firsts: Index, phases: Index, frames: int) -> bool:
    """Whether every row is the set of its phase, over frames from ``firsts`` on; beyond the ends the edge frames."""
    taps = spread.shape[1]
    span = taps + int(weights.shape[1])
    base = np.clip(firsts, 0, max(0, frames - span))
    expected = np.zeros((len(index), span))
    read = np.clip(firsts[:, None] + np.arange(taps), 0, frames - 1) - base[:, None]
    if read.max() >= span:
        return False
    rows = np.arange(len(index))[:, None]
    np.add.at(expected, (np.broadcast_to(rows, read.shape), read), spread[phases])
    within = index - base[:, None]
    counts = np.abs(weights) > 0
    if ((within < 0) | (within >= span))[counts].any():
        return False
    stated = np.zeros((len(index), span))
    np.add.at(stated, (np.broadcast_to(rows, within.shape), np.where(counts, within, 0)), np.where(counts, weights, 0))
    return bool((np.abs(stated - expected) <= _ROUNDING).all())


def framed(index: Index, frames: int) -> Window | None:
    """The window by which output frame j is the frames ``index[j]`` side by side; None if there is none.

    ``index`` is (m, extent).
    """
    count, extent = index.shape
    stride = int(index[1, 0] - index[0, 0]) if count > 1 else extent
    begin = int(index[0, 0])
    if stride < 1 or not np.array_equal(index, begin + stride * np.arange(count)[:, None] + np.arange(extent)):
        return None
    end = begin + (count - 1) * stride + extent
    return Window(stride=stride, extent=extent, pad_begin=-begin, pad_end=end - frames)
