"""Integer arithmetic of the TFLite reference kernels, vectorised: multipliers, rounding, ranges.

All functions take and return int64 arrays; where TFLite computes in int32 the values are int32
values. Sources: ``tflite/kernels/internal/{common.cc,quantization_util.cc}``,
``tflite/kernels/kernel_util.cc`` of LiteRT and gemmlowp's ``fixedpoint.h``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.plan import UNBOUNDED
from tcnstream.engines.reference.kernels.context import Doubles, Ints, KernelContext, Reals, scale_of, zero_point_of
from tcnstream.tflite.graph import Tensor

INT32_MIN = -(1 << 31)
INT32_MAX = (1 << 31) - 1


def round_half_away(values: npt.ArrayLike) -> Doubles:
    """C's ``round``: the nearest integer, halves away from zero."""
    x = np.asarray(values, dtype=np.float64)
    whole = np.trunc(x)
    # x - whole is exact, x + 0.5 is not
    return np.asarray(whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0.0), dtype=np.float64)


def wrap_int32(x: Ints) -> Ints:
    """What an int32 register keeps of ``x``."""
    return x.astype(np.int32).astype(np.int64)


def quantize_multiplier(real: npt.ArrayLike) -> tuple[Ints, Ints]:
    """``QuantizeMultiplier``: real = multiplier * 2**(shift - 31), multiplier an int32."""
    fraction, exponent = np.frexp(np.asarray(real, dtype=np.float64))
    multiplier = round_half_away(fraction * (1 << 31)).astype(np.int64)
    shift = exponent.astype(np.int64)
    carried = multiplier == 1 << 31
    multiplier = np.where(carried, multiplier // 2, multiplier)
    shift = np.where(carried, shift + 1, shift)
    tiny = shift < -31
    return np.where(tiny, 0, multiplier), np.where(tiny, 0, shift)


def high_mul(a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
    """gemmlowp's ``SaturatingRoundingDoublingHighMul`` of int32 values."""
    a64, b64 = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    product = a64 * b64
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    # C divides towards zero
    quotient = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))
    return np.minimum(quotient, INT32_MAX)


def rounding_shift_right(x: Ints, exponent: npt.ArrayLike) -> Ints:
    """gemmlowp's ``RoundingDivideByPOT``: x / 2**exponent to nearest, halves away from zero."""
    places = np.asarray(exponent, dtype=np.int64)
    mask = (np.int64(1) << places) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> places) + ((x & mask) > threshold), dtype=np.int64)


def saturating_shift(x: Ints, exponent: int) -> Ints:
    """gemmlowp's ``SaturatingRoundingMultiplyByPOT`` of int32 values."""
    if exponent <= 0:
        return rounding_shift_right(x, -exponent)
    limit = (1 << (31 - exponent)) - 1
    shifted = np.where(x > limit, INT32_MAX, np.where(x < -limit, INT32_MIN, x << exponent))
    return shifted.astype(np.int64)


def multiply(x: Ints, multiplier: npt.ArrayLike, shift: npt.ArrayLike) -> Ints:
    """``MultiplyByQuantizedMultiplier`` of int32 values; it rounds twice."""
    shift64 = np.asarray(shift, dtype=np.int64)
    left, right = np.maximum(shift64, 0), np.maximum(-shift64, 0)
    return rounding_shift_right(high_mul(wrap_int32(x << left), multiplier), right)


def multiply_wide(x: Ints, multiplier: npt.ArrayLike, shift: npt.ArrayLike) -> Ints:
    """``MultiplyByQuantizedMultiplier`` of int64 values; it keeps 15 bits of the multiplier."""
    whole = np.asarray(multiplier, dtype=np.int64)
    reduced = np.where(whole < 0x7FFF0000, (whole + (1 << 15)) >> 16, 0x7FFF)
    places = 15 - np.asarray(shift, dtype=np.int64)
    return wrap_int32((x * reduced + (np.int64(1) << (places - 1))) >> places)


def divide_truncating(a: Ints, b: npt.ArrayLike) -> Ints:
    """C's integer division: towards zero."""
    divisor = np.asarray(b, dtype=np.int64)
    quotient = np.abs(a) // np.abs(divisor)
    return np.where((a < 0) != (divisor < 0), -quotient, quotient)


def count_leading_zeros(x: Ints) -> Ints:
    """Leading zeros of the uint32 in ``x``; 32 for 0."""
    _, bits = np.frexp(x.astype(np.float64))
    return 32 - bits.astype(np.int64)


def checked_log2(scale: np.float32) -> int | None:
    """``CheckedLog2``: the exponent of a power of two, within a thousandth; None for other scales."""
    log2 = np.log(scale) * np.float32(1.0 / np.log(2.0))
    nearest = float(round_half_away(log2))
    return int(nearest) if abs(float(log2) - nearest) < 1e-3 else None


def integer_range(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """The least and the greatest value of an integer type."""
    info = np.iinfo(np.dtype(dtype.str))
    return int(info.min), int(info.max)


CLIPS = {"RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}
"""Range of the clipping activations. TFLite's range functions ignore every other fused activation."""


def activation_range(context: KernelContext, activation: str, output: Tensor) -> tuple[int, int]:
    """``CalculateActivationRangeQuantized``: the output integers that a fused activation allows."""
    least, greatest = integer_range(output.dtype)
    if activation not in CLIPS:
        return least, greatest
    low, high = CLIPS[activation]
    scale, zero_point = scale_of(context, output), zero_point_of(context, output)
    least = max(least, zero_point + _steps(low, scale))
    if high is not None:
        greatest = min(greatest, zero_point + _steps(high, scale))
    return least, greatest


def _steps(real: float, scale: np.float32) -> int:
    """``real`` as a number of steps, which has no end for the smallest of scales."""
    with np.errstate(over="ignore"):
        steps = np.clip(np.float64(np.float32(real) / scale), INT32_MIN, INT32_MAX)
    return int(round_half_away(steps))


def clip_to_output(context: KernelContext, values: Ints) -> Ints:
    """``values`` (zero point included) within the range of the output and of its fused activation."""
    least, greatest = activation_range(context, context.activation, context.output)
    return np.minimum(np.maximum(values, least), greatest)


def clip_floats(values: Reals, activation: str) -> npt.NDArray[np.float32]:
    """``values`` rounded to float32 and within ``float_range``."""
    low, high = float_range(activation)
    with np.errstate(over="ignore"):
        rounded: npt.NDArray[np.float32] = values.astype(np.float32)
    return np.minimum(np.maximum(rounded, np.float32(low)), np.float32(high))


def float_range(activation: str) -> tuple[float, float]:
    """``CalculateActivationRange`` for float32: unless unbounded, infinities become the largest finite number."""
    if activation == UNBOUNDED:
        return -math.inf, math.inf
    low, high = CLIPS.get(activation, (None, None))
    limits = np.finfo(np.float32)
    return float(limits.min if low is None else low), float(limits.max if high is None else high)
