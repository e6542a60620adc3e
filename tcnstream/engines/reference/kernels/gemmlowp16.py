"""Functions of 16-bit fixed-point numbers as gemmlowp defines them (``fixedpoint/fixedpoint.h``).

Qm.n below means an int16 with m integer bits and n = 15 - m fraction bits, held in int64 arrays.
"""

from __future__ import annotations

import numpy as np

from tcnstream.engines.reference.kernels.context import Ints
from tcnstream.engines.reference.kernels.fixed_point import divide_truncating, rounding_shift_right

_ONE = 32767
_EXP_OF_MINUS_POWERS_OF_TWO = {-2: 25520, -1: 19875, 0: 12055, 1: 4435, 2: 600, 3: 11, 4: 0}
"""exp(-2**k) as Q0.15, rounded from gemmlowp's Q0.31."""


def high_mul16(a: Ints, b: Ints | int) -> Ints:
    """``SaturatingRoundingDoublingHighMul`` of int16 values."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(divide_truncating(nudged, 1 << 15), 32767)


def _left(x: Ints, places: int) -> Ints:
    """``SaturatingRoundingMultiplyByPOT``."""
    saturated: Ints = np.clip(x << places, -32768, 32767)
    return saturated


def _wrap16(x: Ints) -> Ints:
    return x.astype(np.int16).astype(np.int64)


def exp_on_negative_values16(a: Ints, integer_bits: int) -> Ints:
    """exp(a) as Q0.15 for a <= 0 in Q(integer_bits)."""
    fraction_bits = 15 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    within = (a & (quarter - 1)) - quarter
    x = _left(within, integer_bits) + (1 << 12)
    x2 = high_mul16(x, x)
    x3, x4 = high_mul16(x2, x), high_mul16(x2, x2)
    tail = rounding_shift_right(_wrap16(high_mul16(_wrap16(rounding_shift_right(x4, 2) + x3), 10923) + x2), 1)
    result = np.clip(28918 + high_mul16(_wrap16(x + tail), 28918), -32768, 32767)
    remainder = _wrap16(within - a)
    for exponent, factor in _EXP_OF_MINUS_POWERS_OF_TWO.items():
        if integer_bits > exponent:
            taken = (remainder & (1 << (fraction_bits + exponent))) != 0
            result = np.where(taken, high_mul16(result, factor), result)
    if integer_bits > 5:
        result = np.where(a < -(1 << (fraction_bits + 5)), 0, result)
    return np.where(a == 0, _ONE, result)


def _newton(a: Ints) -> Ints:
    """2 / (1 + a) as Q2.13 for Q0.15 a in [0, 1]: three Newton-Raphson steps."""
    half_denominator = (a + _ONE + 1) >> 1
    x = _wrap16(23130 + high_mul16(half_denominator, -15420))
    for _ in range(3):
        error = _wrap16((1 << 13) - high_mul16(half_denominator, x))
        x = _wrap16(x + _left(high_mul16(x, error), 2))
    return x


def logistic16(a: Ints, integer_bits: int) -> Ints:
    """1 / (1 + exp(-a)) as Q0.15 for a in Q(integer_bits)."""
    positive = _left(_newton(exp_on_negative_values16(-np.abs(a), integer_bits)), 1)
    return np.where(a == 0, 1 << 14, np.where(a > 0, positive, _ONE - positive))


def tanh16(a: Ints, integer_bits: int) -> Ints:
    """tanh(a) as Q0.15 for a in Q(integer_bits)."""
    x = _newton(exp_on_negative_values16(-np.abs(a), integer_bits + 1))
    positive = _left(_wrap16(x - (1 << 13)), 2)
    return np.where(a == 0, 0, np.where(a > 0, positive, -positive))
