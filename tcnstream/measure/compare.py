"""What counts as equal, and how a signal is cut into chunks: the one rule of ``verify``, the tests and the boards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tcnstream.tflite.graph import Array

Bools: TypeAlias = npt.NDArray[np.bool_]

FLOAT_TOLERANCE = 1e-5
"""Largest |a - b| / max(1, |b|) between float arithmetic in two orders; integers must be identical."""

_LARGEST_CHUNKS = (3, 17, 160)


def agrees(got: Array, expected: Array, tolerance: float = FLOAT_TOLERANCE, *, by_frame: bool = False) -> Bools:
    """Element by element whether ``got`` is ``expected``, arrays of one shape.

    Integers must be identical. Floats may be ``tolerance * max(1, |expected|)`` apart; a NaN agrees with a NaN, an
    infinity with the same infinity. ``by_frame``: the size is that of the largest value of the frame, along axis 0,
    for a bin of a spectrum is a sum over samples that may cancel, and as exact as the frame is large.
    """
    if expected.dtype.kind != "f":
        return np.asarray(got == expected)
    a, b = got.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        close = np.isfinite(b) & (np.abs(a - b) <= tolerance * np.maximum(1, _sizes(b, by_frame)))
    return np.asarray(close | (a == b) | (np.isnan(a) & np.isnan(b)))


def _sizes(values: npt.NDArray[np.float64], by_frame: bool) -> npt.NDArray[np.float64]:
    sizes = np.abs(values)
    if by_frame and sizes.ndim > 1:
        sizes = np.max(sizes, axis=tuple(range(1, sizes.ndim)), keepdims=True, initial=0, where=np.isfinite(sizes))
    return sizes


def first_difference(
    got: Array, expected: Array, tolerance: float = FLOAT_TOLERANCE, *, by_frame: bool = False
) -> int | None:
    """The first frame, counted along axis 0 of two arrays of one shape, in which a value does not agree."""
    differs = ~agrees(got, expected, tolerance, by_frame=by_frame)
    wrong = differs.any(axis=tuple(range(1, differs.ndim)))
    return int(np.argmax(wrong)) if wrong.any() else None


def distance(got: Array, expected: Array) -> float:
    """The largest |got - expected| over the frames that both have; where either is NaN does not count."""
    n = min(len(got), len(expected))
    with np.errstate(invalid="ignore"):
        apart = np.abs(got[:n].astype(np.float64) - expected[:n].astype(np.float64))
    return float(np.max(apart, initial=0.0, where=~np.isnan(apart)))


def chunk_sizes(frames: int, rng: np.random.Generator, largest: int | None = None) -> list[int]:
    """Random chunk sizes that add up to ``frames``, 0 and 1 among them; none is above ``largest``."""
    sizes = [0, min(1, frames), 0]
    left = frames - sizes[1]
    while left > 0:
        most = int(rng.choice([*_LARGEST_CHUNKS, left]))
        sizes.append(int(rng.integers(0, min(most, left, largest or left) + 1)))
        left -= sizes[-1]
    return sizes


def chunks(
    signal: Sequence[Array], sizes: Sequence[int], input_steps: Sequence[int] | None = None
) -> Iterator[tuple[Array, ...]]:
    """The signal, an array (frames, *frame_shape) per input, cut into chunks of these sizes, as views.

    Sizes count steps: ``input_steps`` are the frames of each input in one, as of a Model; None: one of each.
    """
    steps = input_steps or (1,) * len(signal)
    begin = 0
    for n in sizes:
        yield tuple(x[begin * step : (begin + n) * step] for x, step in zip(signal, steps, strict=True))
        begin += n
