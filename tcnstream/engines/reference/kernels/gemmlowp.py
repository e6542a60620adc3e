"""Functions of 32-bit fixed-point numbers as gemmlowp defines them (``fixedpoint/fixedpoint.h``).

Qm.n below means an int32 with m integer bits and n = 31 - m fraction bits, held in int64 arrays.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tcnstream.engines.reference.kernels.context import Ints
from tcnstream.engines.reference.kernels.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    count_leading_zeros,
    divide_truncating,
    high_mul,
    rounding_shift_right,
    saturating_shift,
    wrap_int32,
)

_EXP_MINUS_ONE_EIGHTH = 1895147668
_ONE_THIRD = 715827883
_EXP_OF_MINUS_POWERS_OF_TWO = {
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}
"""exp(-2**k) as Q0.31."""


def _exp_between_negative_quarter_and_zero(a: Ints) -> Ints:
    """exp(a) for Q0.31 a in [-1/4, 0): Taylor of degree 4 around -1/8."""
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4 = high_mul(x2, x2)
    tail = saturating_shift(high_mul(saturating_shift(x4, -2) + x3, _ONE_THIRD) + x2, -1)
    return high_mul(_EXP_MINUS_ONE_EIGHTH, x + tail) + _EXP_MINUS_ONE_EIGHTH


def exp_on_negative_values(a: Ints, integer_bits: int) -> Ints:
    """exp(a) as Q0.31 for a <= 0 in Q(integer_bits)."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    within = (a & (quarter - 1)) - quarter
    result = _exp_between_negative_quarter_and_zero(saturating_shift(within, integer_bits))
    remainder = within - a
    for exponent, factor in _EXP_OF_MINUS_POWERS_OF_TWO.items():
        if integer_bits > exponent:
            taken = (remainder & (1 << (fraction_bits + exponent))) != 0
            result = np.where(taken, high_mul(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def one_over_one_plus_x(a: Ints) -> Ints:
    """1 / (1 + a) as Q0.31 for Q0.31 a in [0, 1]: three Newton-Raphson steps."""
    half_denominator = (a + INT32_MAX + 1) >> 1
    x = 1515870810 + high_mul(half_denominator, -1010580540)
    for _ in range(3):
        error = (1 << 29) - high_mul(half_denominator, x)
        x = x + saturating_shift(high_mul(x, error), 2)
    return saturating_shift(x, 1)


def reciprocal(x: Ints, integer_bits: int) -> tuple[Ints, Ints]:
    """TFLite's ``GetReciprocal``: 1 / x as Q0.31 and the bits by which x exceeds a unit."""
    headroom_plus_one = count_leading_zeros(x)
    bits_over_unit = integer_bits - headroom_plus_one
    shifted = wrap_int32((x << headroom_plus_one) - (1 << 31))
    return one_over_one_plus_x(shifted), bits_over_unit


def log_of_at_least_one(x: Ints, integer_bits: int, output_bits: int) -> Ints:
    """log(x) as Q(output_bits) for x >= 1 in Q(integer_bits).

    Source: ``log_x_for_x_greater_than_or_equal_to_1_impl`` in TFLite's ``common.h``.
    """
    sum_bits = output_bits + 1
    root_half, fourth_root_half = 1518500250, 1805811301
    quarter = rounding_shift_right(np.asarray(1 << 29, dtype=np.int64), sum_bits)

    zeros_a = count_leading_zeros(x)
    r_a = _shift_saturating(high_mul(_shift_saturating(x, zeros_a - 1), root_half), np.int64(1))
    power_a = _clamp(_shift_saturating(integer_bits - zeros_a, np.int64(31 - sum_bits)) + quarter)
    zeros_b = count_leading_zeros(high_mul(x, root_half)) - 1
    r_b = _shift_saturating(x, zeros_b)
    power_b = _clamp(_shift_saturating(integer_bits - zeros_b, np.int64(31 - sum_bits)) - quarter)

    r = np.minimum(r_a, r_b)
    power = np.maximum(power_a, power_b)
    total = r + fourth_root_half
    p = divide_truncating(total + np.where(total >= 0, 1, -1), 2)
    q = wrap_int32(2 * (r - fourth_root_half))
    q2 = high_mul(q, q)
    numerator = high_mul(q, r) + high_mul(high_mul(q, q2), 117049297)
    denominator = high_mul(p, wrap_int32(1057819769 + q + high_mul(127690142, q2))) + high_mul(638450708, q)
    ratio = high_mul(saturating_shift(numerator, -sum_bits), one_over_one_plus_x(denominator))
    return saturating_shift(wrap_int32(high_mul(power, 1488522236) + ratio), sum_bits - output_bits)


def _clamp(x: Ints) -> Ints:
    return np.clip(x, INT32_MIN, INT32_MAX)


def _shift_saturating(x: Ints, places: npt.ArrayLike) -> Ints:
    """``SaturatingRoundingMultiplyByPOTParam`` for exponents that are not negative."""
    exponent = np.asarray(places, dtype=np.int64)
    limit = (np.int64(1) << (31 - exponent)) - 1
    shifted = np.where(x > limit, INT32_MAX, np.where(x < -limit, INT32_MIN, x << exponent))
    return np.where(exponent == 0, x, shifted)


def inverse_square_root(x: Ints) -> tuple[Ints, Ints]:
    """``GetInvSqrtQuantizedMultiplierExp``: 1 / sqrt(x) as multiplier and shift, for 1 <= x < 2**29."""
    pairs = (count_leading_zeros(x) - 1) // 2 - 1
    shift = 11 - pairs
    scaled = (x << (2 * pairs)) >> 1
    half = saturating_shift(scaled, -1)
    root = np.full(x.shape, 1 << 28, dtype=np.int64)
    for _ in range(5):
        cube = saturating_shift(high_mul(high_mul(root, root), root), 6)
        root = saturating_shift(high_mul((1 << 28) + (1 << 27), root) - high_mul(half, cube), 3)
    root = high_mul(root, 1518500250)
    root = np.where(shift < 0, wrap_int32(root << np.maximum(-shift, 0)), root)
    return np.where(x <= 1, INT32_MAX, root), np.where(x <= 1, 0, -np.maximum(shift, 0))
