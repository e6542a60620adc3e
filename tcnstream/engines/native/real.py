"""The arithmetic around a plan in the compiled core, for all engines: one call where NumPy takes ten.

Every function returns None where there is no core, or for arrays that it does not take; the caller then computes the
same in NumPy, bit for bit.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tcnstream.engines.base import QuickPush
from tcnstream.engines.native.core import load_core
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array

_REAL = np.dtype(np.float32)


@functools.cache
def _core() -> Any:
    try:
        return load_core()
    except EngineError:
        return None


def quantize(x: Array, dtype: np.dtype[np.generic], scale: float, zero_point: int) -> Array | None:
    """As ``TensorSpec.quantize``; None also where there is a NaN."""
    core = _core()
    made: Array | None = None if core is None else core.quantize(x, dtype, scale, zero_point)
    return made


def dequantize(y: Array, scale: float, zero_point: int) -> npt.NDArray[np.float32] | None:
    """As ``TensorSpec.dequantize``."""
    core = _core()
    made: npt.NDArray[np.float32] | None = None if core is None else core.dequantize(y, _REAL, scale, zero_point)
    return made


def is_finite(x: Array) -> bool | None:
    """Whether float32 ``x`` has neither infinity nor NaN."""
    core = _core()
    all_are: bool | None = None if core is None else core.finite(x)
    return all_are


def filtered(
    x: Array, steps: npt.NDArray[np.float64], memory: npt.NDArray[np.float64], begins: bool
) -> npt.NDArray[np.float32] | None:
    """As ``signal.filters.FilterChain.push``: float32 (n, channels) through the steps; ``memory`` moves on."""
    core = _core()
    made: npt.NDArray[np.float32] | None = None if core is None else core.filter(x, steps, memory, _REAL, begins)
    return made


def label_runs(
    frames: npt.NDArray[np.float32], labels: int, background: int, probabilities: bool, parts: float, longest: int
) -> list[tuple[int, ...]] | None:
    """As ``signal.likelihood.label_runs``."""
    core = _core()
    runs: list[tuple[int, ...]] | None = (
        None if core is None else core.runs(frames, labels, background, probabilities, parts, longest)
    )
    return runs


class Chain(Protocol):
    """All that a pipeline does with a chunk, in one call; its filters' memory is the array that it was made with."""

    def push(self, x: Any, begins: bool, /) -> Any:
        """The runs, or the real numbers (n, values), that float32 (n, channels) makes possible; None, and nothing has
        moved, for what is not taken so. ``begins``: x is the first of a signal."""

    def kept(self, least: int, period: int, /) -> tuple[int, bytes, bytes] | None:
        """How many frames the stream has had, the newest of them that rebuild it, where its Tail has these numbers, and
        the filters' memory. None for what was not kept, and after the end."""


def chain(
    quick: QuickPush,
    channels: int,
    factor: float,
    steps: npt.NDArray[np.float64],
    memory: npt.NDArray[np.float64],
    answer: tuple[float, int],
    label_rules: tuple[int, int, bool, float, int] | None,
) -> Chain | None:
    """``quick`` between the filters of a card and labels; ``answer`` is the output's scale and zero point.

    ``label_rules`` are the numbers that follow the frames in ``label_runs``; None gives real numbers.
    """
    core = _core()
    if core is None or not isinstance(quick, core.Push):
        return None
    try:
        made: Chain = core.Chain(quick, channels, factor, steps, memory, _REAL, *answer, *(label_rules or ()))
    except ValueError:  # of numbers that it does not take
        return None
    return made
