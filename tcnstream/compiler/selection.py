"""Which frames an index along time reads, as a window: converters spell padding, repetition and framing as a gather."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.plan import Edge, Window
from tcnstream.compiler.timing import at_edge

Index = npt.NDArray[np.int64]


def repeats(index: Index, frames: int) -> int:
    """How often each of ``frames`` frames is repeated by ``index``, one behind the other; 0 if it is anything else."""
    times = len(index) // frames
    return times if np.array_equal(index, np.repeat(np.arange(frames), max(1, times))) else 0


def selected(index: Index, frames: int) -> Window | None:
    """The window by which frame j of the output is frame ``index[j]`` of ``frames``; None if there is none.

    Frames at a fixed stride, or all of them with mirrored or repeated ones before and after.
    """
    steps = np.diff(index)
    stride = max(1, int(np.bincount(steps[steps > 0]).argmax())) if (steps > 0).any() else 1
    plain = Window(stride=stride, pad_begin=-int(index[0]))
    edges: tuple[Edge, ...] = ("reflect", "symmetric", "hold")
    padded = [
        Window(pad_begin=before, edge=edge)
        for edge in edges
        for before in {int(index[0]), int(index[0]) + 1, int(np.argmax(index != index[0])) - 1}
        if stride == 1 and before >= 0
    ]
    for window in (plain, *padded):
        places = window.stride * np.arange(len(index)) - window.pad_begin
        if np.array_equal(at_edge(places, frames, window), index):
            return replace(window, pad_end=int(places[-1]) + 1 - frames)
    return None


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
