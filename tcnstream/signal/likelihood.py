"""Which label a frame belongs to, and how likely that is, with the same bits on every machine.

NumPy's exponential differs between processors in the last bit. This one is plain IEEE arithmetic in one order, here and
in the compiled core, and probabilities are counted in ``PARTS``: their sums are exact, in whatever order and pieces.
"""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import numpy.typing as npt

from tcnstream.engines.native import real as native

PARTS = 1 << 40
"""Of a probability of 1."""

_LARGEST_EXPONENT = 700.0
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""fdlibm's two parts of ln 2: small integers times the first are exact."""
_LOG2_E = 1.4426950408889634
_MOST_LIKELY = 256.0
_LONGEST_FRAMES = 1 << 13
"""Of a run: its sums stay within 64 bits."""

Floats = npt.NDArray[np.float64]


def label_runs(
    frames: npt.NDArray[np.float32], labels: int, background: int, probabilities: bool
) -> list[tuple[int, ...]]:
    """Neighbouring frames (n, values) of one label, in order: (label, how many, sums over them).

    A frame's label is the first one of the largest ``labels`` values. The sums are, in PARTS, how likely the label is,
    and, for each value behind the labels, how likely that mark is; 0 in runs of ``background``. A long run comes in
    pieces. Values are logits, or ``probabilities`` already. What is no number has the probability 0.
    """
    quick = native.label_runs(frames, *rules_of(labels, background, probabilities))
    if quick is not None:
        return quick
    values = frames.astype(np.float64)
    numbers = frames[:, :labels].argmax(axis=1)
    with np.errstate(invalid="ignore"):
        likely = [values[np.arange(len(values)), numbers] if probabilities else _softmax(values[:, :labels], numbers)]
        for mark in values[:, labels:].T:
            likely.append(mark if probabilities else 1.0 / (1.0 + exponential(-mark)))
    parts = [np.where(numbers == background, 0, _in_parts(column)) for column in likely]
    runs, begin = [], 0
    for label, same in groupby(numbers.tolist()):
        end = begin + len(list(same))
        while begin < end:
            stop = min(end, begin + _LONGEST_FRAMES)
            runs.append((label, stop - begin, *(int(column[begin:stop].sum()) for column in parts)))
            begin = stop
    return runs


def rules_of(labels: int, background: int, probabilities: bool) -> tuple[int, int, bool, float, int]:
    """The numbers by which the compiled core makes runs."""
    return labels, background, probabilities, float(PARTS), _LONGEST_FRAMES


def exponential(x: Floats) -> Floats:
    """e to the power of ``x``, within -700 and 700: the Taylor series over half of ln 2, times a power of two."""
    x = np.clip(x, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
    k = np.rint(x * _LOG2_E)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    total = np.zeros_like(x)
    for n in range(13, -1, -1):
        total = total * r + 1 / math.factorial(n)
    scaled: Floats = np.ldexp(total, np.nan_to_num(k).astype(np.int32))
    return scaled


def _softmax(values: Floats, best: npt.NDArray[np.int64]) -> Floats:
    """At its largest, where the exponential is 1."""
    total = np.zeros(len(values))
    for column in range(values.shape[1]):
        total = total + exponential(values[:, column] - values[np.arange(len(values)), best])
    return 1.0 / total


def _in_parts(likely: Floats) -> npt.NDArray[np.int64]:
    bounded = np.clip(np.nan_to_num(likely, nan=0.0), -_MOST_LIKELY, _MOST_LIKELY)
    parts: npt.NDArray[np.int64] = np.rint(bounded * PARTS).astype(np.int64)
    return parts
