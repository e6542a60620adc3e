"""int8 weights in the order in which a family of processors multiplies them; ``layout.Conv`` says which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tcnstream.engines.native.layout import Family, Kind
from tcnstream.tflite.graph import Array

BLOCK_BYTES = {Family.DSP: 4, Family.HELIUM: 16}
"""Bytes of weights of one output that the processor takes at once."""

_LIMIT = 1 << 30
_FOURS = 4
_HELIUM_LANES = (0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15)
"""Channels as they stand in four vectors of words after two widenings, each into even and odd ones."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """The arrays of ``layout.Fours``."""

    weights: bytes
    columns: bytes


def is_short(weights: Array, axes: tuple[int, ...], bias: Array, shifts: Array) -> bool:
    """Whether accumulators stay below 2**30 for every input, and every shift goes right.

    ``bias`` are int64 with the input's zero point folded in, ``axes`` those over which ``weights`` are summed.
    """
    w = weights.astype(np.int64)
    greatest = bias + np.maximum(127 * w, -128 * w).sum(axis=axes)
    least = bias + np.minimum(127 * w, -128 * w).sum(axis=axes)
    return bool(np.less(shifts, 0).all() and np.less(greatest, _LIMIT).all() and np.greater(least, -_LIMIT).all())


def packed_for(
    family: Family, kind: Kind, weights: Array, channels: int, groups: int, bias: Array, multiplier: Array, shift: Array
) -> Arrays | None:
    """A convolution (O, kt, kf, C) or a depthwise one (1, kt, kf, C) for a family; None where it stays in panels.

    ``is_short`` holds for it; ``bias``, ``multiplier`` and ``shift`` are (outputs,).
    """
    if kind == Kind.DEPTHWISE:
        matrix = weights.reshape(-1, weights.shape[3])  # (taps, outputs)
        pairs = matrix[: len(matrix) // 2 * 2].reshape(-1, 2, matrix.shape[1])
        # Two products of -128 * -128 do not fit 16 bits.
        if matrix.shape[1] != channels or (family == Family.HELIUM and (pairs == -128).all(axis=1).any()):
            return None
        at_once = 16 if family == Family.HELIUM else _FOURS
        groups_of = _padded(matrix, 1, at_once).reshape(len(matrix), -1, at_once).transpose(1, 0, 2)
        lanes = _HELIUM_LANES if family == Family.HELIUM else range(_FOURS)
        return _fours(family, groups_of, at_once, list(lanes), bias, multiplier, shift)
    if groups != 1:
        return None
    rows = _padded(weights.reshape(len(weights), -1), 1, BLOCK_BYTES[family])  # (outputs, taps * channels)
    blocks = _padded(rows, 0, _FOURS).reshape(-1, _FOURS, rows.shape[1] // BLOCK_BYTES[family], BLOCK_BYTES[family])
    return _fours(family, blocks.transpose(0, 2, 1, 3), _FOURS, list(range(_FOURS)), bias, multiplier, shift)


def _fours(
    family: Family, weights: Array, at_once: int, lanes: list[int], bias: Array, multiplier: Array, shift: Array
) -> Arrays:
    def spread(values: Array, dtype: type) -> bytes:
        padded = _padded(values.astype(dtype), 0, at_once).reshape(-1, at_once)
        return np.ascontiguousarray(padded[:, lanes]).tobytes()

    places = shift if family == Family.HELIUM else np.negative(shift)
    columns = spread(bias, np.int32) + spread(multiplier, np.int32) + spread(places, np.int8)
    return Arrays(np.ascontiguousarray(weights, np.int8).tobytes(), columns)


def _padded(values: Array, axis: int, multiple: int) -> Array:
    """Zeros behind the values, up to a multiple."""
    rest = [(0, 0)] * values.ndim
    rest[axis] = (0, -values.shape[axis] % multiple)
    return np.pad(values, rest)
