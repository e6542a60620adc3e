"""Which label a frame belongs to, and how likely that is, with the same bits on every machine.

NumPy's exponential differs between processors in the last bit. This one is plain IEEE arithmetic in one order, here and
in the compiled core, and probabilities are counted in ``PARTS``: their sums are exact, in whatever order and pieces.
"""

from __future__ import annotations

import math

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

Floats = npt.NDArray[np.float64]


def labelled(
    frames: npt.NDArray[np.float32], labels: int, background: int, probabilities: bool
) -> tuple[list[int], list[list[int]]]:
    """Of each frame (n, values) the label, which is the first one of the largest ``labels`` values, and in PARTS how
    likely it is, 0 for that of ``background``; then, for each value behind the labels, how likely that mark is.

    Values are logits, or ``probabilities`` already. What is no number has the probability 0.
    """
    quick = native.labelled(frames, labels, background, probabilities, PARTS)
    if quick is not None:
        best, *columns = quick
        return best, columns
    values = frames.astype(np.float64)
    numbers = frames[:, :labels].argmax(axis=1)
    with np.errstate(invalid="ignore"):
        likely = [values[np.arange(len(values)), numbers] if probabilities else _softmax(values[:, :labels], numbers)]
        likely[0] = np.where(numbers == background, 0.0, likely[0])
        for mark in values[:, labels:].T:
            likely.append(mark if probabilities else 1.0 / (1.0 + exponential(-mark)))
    return numbers.tolist(), [_in_parts(column) for column in likely]


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


def _in_parts(likely: Floats) -> list[int]:
    bounded = np.clip(np.nan_to_num(likely, nan=0.0), -_MOST_LIKELY, _MOST_LIKELY)
    parts: list[int] = np.rint(bounded * PARTS).astype(np.int64).tolist()
    return parts
