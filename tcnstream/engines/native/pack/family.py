"""int8 weights in the order in which a family of processors multiplies them; ``Fours`` says which."""

from __future__ import annotations

import numpy as np

from tcnstream.engines.native.layout.codes import Family
from tcnstream.engines.native.layout.file import FAMILY_ALIGNMENT
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.tflite.graph import Array

BLOCK_BYTES = {Family.DSP: 4, Family.HELIUM: 16}
"""Bytes of weights of one output that the processor takes at once, with int8 activations."""
INT16_BLOCK_BYTES = {Family.DSP: 4, Family.HELIUM: 8}
"""The same with int16 activations."""

_LIMIT = 1 << 30
_FOURS = 4
_HELIUM_LANES = (0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15)
"""Channels as they stand in four vectors of words after two widenings, each into even and odd ones."""


def is_short(weights: Array, axes: tuple[int, ...], bias: Array, shifts: Array) -> bool:
    """Whether accumulators stay below 2**30 for every input, and every shift goes right.

    ``bias`` are int64 with the input's zero point folded in, ``axes`` those over which ``weights`` are summed.
    """
    w = weights.astype(np.int64)
    greatest = bias + np.maximum(127 * w, -128 * w).sum(axis=axes)
    least = bias + np.minimum(127 * w, -128 * w).sum(axis=axes)
    return bool(np.less(shifts, 0).all() and np.less(greatest, _LIMIT).all() and np.greater(least, -_LIMIT).all())


def upper_half_multipliers(weights: Array, bias: Array, multiplier: Array, shift: Array) -> Array | None:
    """Multipliers (outputs,) of int16 outputs: each is ``(accumulator * multiplier + 2**31) >> 32``.

    The same bits as the reference's product of 64 bits with 15 bits of the multiplier. None where an accumulator may
    not fit 32 bits, or a shift leaves no such multiplier. ``weights`` are (outputs, kt, kf, C), ``bias`` (outputs,).
    """
    w = weights.astype(np.int64)
    greatest = bias + np.maximum(32767 * w, -32768 * w).sum(axis=(1, 2, 3))
    least = bias + np.minimum(32767 * w, -32768 * w).sum(axis=(1, 2, 3))
    limit = 1 << 31
    if greatest.max() >= limit or least.min() < -limit or shift.max() > -1 or shift.min() < -17:
        return None
    wide = multiplier.astype(np.int64)
    reduced = np.where(wide < 0x7FFF0000, (wide + (1 << 15)) >> 16, 0x7FFF)
    return reduced << (17 + shift.astype(np.int64))


def packed_int16(
    family: Family, weights: Array, groups: int, bias: Array, multiplier: Array, shift: Array
) -> bytes | None:
    """A convolution (O, kt, kf, C) of int16 activations for a family; None where it stays in panels."""
    multipliers = upper_half_multipliers(weights, bias, multiplier, shift)
    if groups != 1 or multipliers is None:
        return None
    return _convolution(family, INT16_BLOCK_BYTES[family], weights, bias, multipliers, np.zeros_like(shift))


def packed_for(
    family: Family, kind: Kind, weights: Array, channels: int, groups: int, bias: Array, multiplier: Array, shift: Array
) -> bytes | None:
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
    return _convolution(family, BLOCK_BYTES[family], weights, bias, multiplier, shift)


def _convolution(
    family: Family, block_bytes: int, weights: Array, bias: Array, multiplier: Array, shift: Array
) -> bytes:
    rows = _padded(_padded(weights.reshape(len(weights), -1), 1, _FOURS), 0, _FOURS)  # (outputs, taps * channels)
    fours = rows.reshape(-1, _FOURS, rows.shape[1])
    whole = rows.shape[1] // block_bytes * block_bytes
    blocks = fours[:, :, :whole].reshape(len(fours), _FOURS, -1, block_bytes).transpose(0, 2, 1, 3)
    in_order = np.concatenate([blocks.reshape(len(fours), -1), fours[:, :, whole:].reshape(len(fours), -1)], axis=1)
    return _fours(family, in_order, _FOURS, list(range(_FOURS)), bias, multiplier, shift)


def _fours(
    family: Family, weights: Array, at_once: int, lanes: list[int], bias: Array, multiplier: Array, shift: Array
) -> bytes:
    """``Fours.weights``: the columns, and the weights behind them."""

    def spread(values: Array, dtype: type) -> bytes:
        padded = _padded(values.astype(dtype), 0, at_once).reshape(-1, at_once)
        return np.ascontiguousarray(padded[:, lanes]).tobytes()

    places = shift if family == Family.HELIUM else np.negative(shift)
    columns = spread(bias, np.int32) + spread(multiplier, np.int32) + spread(places, np.int8)
    return columns + bytes(-len(columns) % FAMILY_ALIGNMENT) + np.ascontiguousarray(weights, np.int8).tobytes()


def _padded(values: Array, axis: int, multiple: int) -> Array:
    """Zeros behind the values, up to a multiple."""
    rest = [(0, 0)] * values.ndim
    rest[axis] = (0, -values.shape[axis] % multiple)
    return np.pad(values, rest)
