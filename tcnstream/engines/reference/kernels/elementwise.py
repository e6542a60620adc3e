"""Element by element: arithmetic with broadcasting, comparisons, selection, changes of type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tcnstream.compiler.operations.elementwise import SumOptions
from tcnstream.engines.reference.kernels.call import (
    Call,
    Ints,
    Kernel,
    as_frames,
    ints_without_zero_point,
    is_quantized,
    kernel,
    scale_of,
    zero_point_of,
)
from tcnstream.engines.reference.kernels.fixed_point import (
    checked_log2,
    clip_floats,
    clip_to_output,
    count_leading_zeros,
    divide_truncating,
    high_mul,
    integer_range,
    multiply,
    quantize_multiplier,
    round_half_away,
    rounding_shift_right,
    wrap_int32,
)
from tcnstream.engines.reference.kernels.gemmlowp import reciprocal
from tcnstream.tflite.graph import Array

Pair = Callable[[Any, Any], Any]


def _unquantized(call: Call, function: Pair) -> tuple[Array, ...]:
    """``function`` on float32 (computed in float64, rounded once) or on plain integers (wrapping)."""
    a, b = call.array(0), call.array(1)
    if call.output.dtype == np.float32:
        with np.errstate(all="ignore"):
            return (
                as_frames(call, clip_floats(function(a.astype(np.float64), b.astype(np.float64)), call.activation)),
            )
    plain: Ints = np.asarray(function(a.astype(np.int64), b.astype(np.int64)), dtype=np.int64)
    return (as_frames(call, _clip_plain(call, plain)),)


def _clip_plain(call: Call, values: Ints) -> Ints:
    """Fused activation of integers that are not quantized."""
    limits = {"RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}.get(call.activation)
    wrapped = values.astype(call.output.dtype).astype(np.int64)
    return wrapped if limits is None else np.clip(wrapped, *limits)


def _common_scale(call: Call, left_shift: int) -> tuple[Ints, Ints, np.float64]:
    """Both operands on the scale of ``2 * max(scales) / 2**left_shift``, and that double maximum."""
    scales = [np.float64(scale_of(call, call.tensor(position))) for position in (0, 1)]
    twice_max = np.float64(2 * max(scales))
    scaled = [
        multiply(ints_without_zero_point(call, position) << left_shift, *quantize_multiplier(scale / twice_max))
        for position, scale in enumerate(scales)
    ]
    return scaled[0], scaled[1], twice_max


def _add_or_subtract(call: Call, function: Pair) -> tuple[Array, ...]:
    if not is_quantized(call.output):
        return _unquantized(call, function)
    if call.output.dtype == np.int16 and call.options(SumOptions).pot_scale_int16:
        tensors = (call.tensor(0), call.tensor(1), call.output)
        exponents = [checked_log2(scale_of(call, tensor)) for tensor in tensors]
        if None not in exponents:
            return _add_or_subtract_shifted(call, function, [e for e in exponents if e is not None])
    left_shift = 15 if call.output.dtype == np.int16 else 20
    a, b, twice_max = _common_scale(call, left_shift)
    output_scale = np.float64(scale_of(call, call.output))
    multiplier = quantize_multiplier(twice_max / ((1 << left_shift) * output_scale))
    total = multiply(function(a, b), *multiplier) + zero_point_of(call, call.output)
    return (as_frames(call, clip_to_output(call, total)),)


def _add_or_subtract_shifted(call: Call, function: Pair, exponents: list[int]) -> tuple[Array, ...]:
    """The int16 form of old converters for scales that are powers of two: one operand is shifted, none rescaled."""
    right = [exponents[-1] - exponent for exponent in exponents[:2]]
    if min(right) != 0:
        raise call.unsupported(f"power-of-two scales 2**{exponents}")
    a, b = (rounding_shift_right(call.array(i).astype(np.int64), right[i]) for i in (0, 1))
    return (as_frames(call, clip_to_output(call, function(a, b))),)


@kernel("ADD")
def add(call: Call) -> tuple[Array, ...]:
    """x + y with broadcasting. Source: ``add.cc`` (operands are shifted left by 20, int16 by 15)."""
    return _add_or_subtract(call, np.add)


@kernel("SUB")
def sub(call: Call) -> tuple[Array, ...]:
    """x - y with broadcasting. Source: ``sub.cc``."""
    return _add_or_subtract(call, np.subtract)


@kernel("MUL")
def mul(call: Call) -> tuple[Array, ...]:
    """x * y with broadcasting. Source: ``mul.cc``, whose real multiplier is a float32."""
    if not is_quantized(call.output):
        return _unquantized(call, np.multiply)
    real = scale_of(call, call.tensor(0)) * scale_of(call, call.tensor(1)) / scale_of(call, call.output)
    product = wrap_int32(ints_without_zero_point(call, 0) * ints_without_zero_point(call, 1))
    scaled = multiply(product, *quantize_multiplier(real)) + zero_point_of(call, call.output)
    return (as_frames(call, clip_to_output(call, scaled)),)


@kernel("DIV")
def div(call: Call) -> tuple[Array, ...]:
    """x / y with broadcasting; a divisor that stands for zero is undefined. Source: ``div.h``."""
    if call.output.dtype == np.float32:
        return _unquantized(call, np.divide)
    if not is_quantized(call.output):
        return _unquantized(call, divide_truncating)
    real = scale_of(call, call.tensor(0)) / (scale_of(call, call.tensor(1)) * scale_of(call, call.output))
    multiplier, shift = quantize_multiplier(real)
    a, b = np.broadcast_arrays(ints_without_zero_point(call, 0), ints_without_zero_point(call, 1))
    a, b = np.where(b < 0, -a, a), np.maximum(np.abs(b), 1)
    inverse, bits_over_unit = reciprocal(b, 31)
    headroom = count_leading_zeros(np.where(a < 0, ~a, a)) - 1
    quotient = high_mul(wrap_int32(a << headroom), inverse)
    scaled = high_mul(quotient, multiplier)
    places = bits_over_unit + headroom - shift
    # Beyond 31 the reference kernel leaves C's rules: processors shift by the low five bits and its
    # rounding mask is -1. Small quotients saturate by that, and 0 becomes 1.
    beyond = (scaled >> (places & 31)) + (scaled >= 0)
    result = np.where(places > 31, beyond, rounding_shift_right(scaled, np.minimum(places, 31)))
    return (as_frames(call, clip_to_output(call, result + zero_point_of(call, call.output))),)


@kernel("MAXIMUM")
def maximum(call: Call) -> tuple[Array, ...]:
    """The greater of x and y, raw integers for quantized tensors. Source: ``maximum_minimum.h``."""
    a, b = call.array(0), call.array(1)
    return (as_frames(call, np.where(np.greater(a, b), a, b)),)


@kernel("MINIMUM")
def minimum(call: Call) -> tuple[Array, ...]:
    """The lesser of x and y, raw integers for quantized tensors. Source: ``maximum_minimum.h``."""
    a, b = call.array(0), call.array(1)
    return (as_frames(call, np.where(np.less(a, b), a, b)),)


@kernel("SQUARED_DIFFERENCE")
def squared_difference(call: Call) -> tuple[Array, ...]:
    """(x - y)**2 with broadcasting. Source: ``squared_difference.cc`` (left shift 7)."""
    if not is_quantized(call.output):
        return _unquantized(call, lambda a, b: (a - b) ** 2)
    a, b, twice_max = _common_scale(call, 7)
    output_scale = np.float64(scale_of(call, call.output))
    multiplier = quantize_multiplier(twice_max * twice_max / ((1 << 14) * output_scale))
    scaled = multiply((a - b) ** 2, *multiplier) + zero_point_of(call, call.output)
    return (as_frames(call, clip_to_output(call, scaled)),)


@kernel("POW")
def power(call: Call) -> tuple[Array, ...]:
    """x ** y with broadcasting, float32 or int32. Source: ``pow.cc``."""
    if is_quantized(call.output):
        raise call.unsupported("quantized integers")
    return _unquantized(call, np.power)


@kernel("QUANTIZE")
def quantize(call: Call) -> tuple[Array, ...]:
    """float32 -> integer, or integer -> integer of another scale.

    What is too large saturates, NaN gives the least integer. Source: ``reference_ops::AffineQuantize``
    (which, beyond 2**31 steps, leaves C's rules) and ``Requantize``.
    """
    source, target = call.tensor(0), call.output
    least, greatest = integer_range(target.dtype)
    if source.dtype == np.float32:
        with np.errstate(all="ignore"):
            real = round_half_away(call.array(0).astype(np.float32) / scale_of(call, target))
        whole = np.nan_to_num(real, nan=-np.inf) + zero_point_of(call, target)
        return (as_frames(call, np.clip(whole, least, greatest)),)
    scale = np.float64(scale_of(call, source)) / np.float64(scale_of(call, target))
    scaled = multiply(ints_without_zero_point(call, 0), *quantize_multiplier(scale))
    return (as_frames(call, np.clip(scaled + zero_point_of(call, target), least, greatest)),)


@kernel("DEQUANTIZE")
def dequantize(call: Call) -> tuple[Array, ...]:
    """Integer or float16 -> float32. Source: ``reference_ops::Dequantize``."""
    source = call.tensor(0)
    if source.dtype == np.float16:
        return (as_frames(call, call.array(0).astype(np.float32)),)
    return (as_frames(call, ints_without_zero_point(call, 0).astype(np.float64) * np.float64(scale_of(call, source))),)


@kernel("CAST")
def cast(call: Call) -> tuple[Array, ...]:
    """Plain change of type, without scales; a real number beyond the integers is saturated."""
    values, target = call.array(0), call.output.dtype
    if np.issubdtype(values.dtype, np.floating) and np.issubdtype(target, np.integer):
        least, greatest = integer_range(target)
        real = values.astype(np.float64)
        whole = np.clip(np.nan_to_num(np.trunc(real), nan=greatest), least, greatest)
        # float64 cannot hold the greatest int64
        return (as_frames(call, np.where(whole >= greatest, greatest, whole.astype(target))),)
    with np.errstate(over="ignore"):
        return (as_frames(call, values.astype(target)),)


def _compared(function: Pair, *scaled_types: str) -> Kernel:
    """Quantized operands of ``scaled_types`` are brought to one scale, all others compared as they are.

    Source: ``comparisons.cc``: shifted left by 8 and multiplied by their scales, rounded.
    """

    def compared(call: Call) -> tuple[Array, ...]:
        first = call.tensor(0)
        if not is_quantized(first) or first.dtype.name not in scaled_types:
            return (as_frames(call, function(call.array(0), call.array(1))),)
        a, b = (
            multiply(ints_without_zero_point(call, i) << 8, *quantize_multiplier(scale_of(call, call.tensor(i))))
            for i in (0, 1)
        )
        return (as_frames(call, function(a, b)),)

    return compared


kernel("EQUAL")(_compared(np.equal, "int8", "int16"))
kernel("NOT_EQUAL")(_compared(np.not_equal, "int8", "int16"))
kernel("LESS")(_compared(np.less, "int8"))
kernel("LESS_EQUAL")(_compared(np.less_equal, "int8"))
kernel("GREATER")(_compared(np.greater, "int8"))
kernel("GREATER_EQUAL")(_compared(np.greater_equal, "int8"))


@kernel("LOGICAL_AND")
def logical_and(call: Call) -> tuple[Array, ...]:
    """x and y."""
    return (as_frames(call, np.logical_and(call.array(0), call.array(1))),)


@kernel("LOGICAL_OR")
def logical_or(call: Call) -> tuple[Array, ...]:
    """x or y."""
    return (as_frames(call, np.logical_or(call.array(0), call.array(1))),)


@kernel("LOGICAL_NOT")
def logical_not(call: Call) -> tuple[Array, ...]:
    """not x."""
    return (as_frames(call, np.logical_not(call.array(0))),)


@kernel("SELECT", "SELECT_V2")
def select(call: Call) -> tuple[Array, ...]:
    """y where the condition x holds, else z; all broadcast; quantized values are copied raw."""
    return (as_frames(call, np.where(call.array(0).astype(bool), call.array(1), call.array(2))),)
