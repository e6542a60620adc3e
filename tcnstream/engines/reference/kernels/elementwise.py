"""Element by element: arithmetic with broadcasting, comparisons, selection, changes of type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tcnstream.compiler.operations.elementwise import SumOptions
from tcnstream.engines.reference.kernels.context import (
    Ints,
    KernelContext,
    Undefined,
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


def _unquantized(context: KernelContext, function: Pair) -> tuple[Array, ...]:
    """``function`` on float32 (computed in float64, rounded once) or on plain integers (wrapping)."""
    a, b = context.array(0), context.array(1)
    if context.output.dtype == np.float32:
        with np.errstate(all="ignore"):
            return (
                as_frames(
                    context, clip_floats(function(a.astype(np.float64), b.astype(np.float64)), context.activation)
                ),
            )
    plain: Ints = np.asarray(function(a.astype(np.int64), b.astype(np.int64)), dtype=np.int64)
    return (as_frames(context, _clip_plain(context, plain)),)


def _clip_plain(context: KernelContext, values: Ints) -> Ints:
    """Fused activation of integers that are not quantized."""
    limits = {"RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}.get(context.activation)
    wrapped = values.astype(context.output.dtype).astype(np.int64)
    return wrapped if limits is None else np.clip(wrapped, *limits)


def _common_scale(context: KernelContext, left_shift: int) -> tuple[Ints, Ints, np.float64]:
    """Both operands on the scale of ``2 * max(scales) / 2**left_shift``, and that double maximum."""
    scales = [np.float64(scale_of(context, context.tensor(position))) for position in (0, 1)]
    twice_max = np.float64(2 * max(scales))
    scaled = [
        multiply(ints_without_zero_point(context, position) << left_shift, *quantize_multiplier(scale / twice_max))
        for position, scale in enumerate(scales)
    ]
    return scaled[0], scaled[1], twice_max


def _add_or_subtract(context: KernelContext, function: Pair) -> tuple[Array, ...]:
    if not is_quantized(context.output):
        return _unquantized(context, function)
    if (exponents := _powers_of_two(context)) is not None:
        return _add_or_subtract_shifted(context, function, exponents)
    left_shift = 15 if context.output.dtype == np.int16 else 20
    a, b, twice_max = _common_scale(context, left_shift)
    output_scale = np.float64(scale_of(context, context.output))
    multiplier = quantize_multiplier(twice_max / ((1 << left_shift) * output_scale))
    total = multiply(function(a, b), *multiplier) + zero_point_of(context, context.output)
    return (as_frames(context, clip_to_output(context, total)),)


def _powers_of_two(context: KernelContext) -> list[int] | None:
    """The exponents of both operands' scales and the output's, where int16 is added as old converters say."""
    if context.output.dtype != np.int16 or not context.options(SumOptions).pot_scale_int16:
        return None
    tensors = (context.tensor(0), context.tensor(1), context.output)
    exponents = [checked_log2(scale_of(context, tensor)) for tensor in tensors]
    return None if None in exponents else [e for e in exponents if e is not None]


def _add_or_subtract_shifted(context: KernelContext, function: Pair, exponents: list[int]) -> tuple[Array, ...]:
    """The int16 form of old converters for scales that are powers of two: one operand is shifted, none rescaled."""
    right = [exponents[-1] - exponent for exponent in exponents[:2]]
    a, b = (rounding_shift_right(context.array(i).astype(np.int64), right[i]) for i in (0, 1))
    return (as_frames(context, clip_to_output(context, function(a, b))),)


def _on_common_scale(left_shift: int, powers: int) -> Undefined:
    """Operands shifted left and brought to twice the greater scale; what is then made of them has ``powers`` of it."""

    def find(facts: KernelContext) -> str | None:
        twice = np.float64(2 * max(scale_of(facts, facts.tensor(position)) for position in (0, 1)))
        shift = powers * (left_shift if facts.output.dtype != np.int16 or powers > 1 else 15)
        ratio = twice**powers / (np.float64(1 << shift) * np.float64(scale_of(facts, facts.output)))
        return None if ratio < 1 else f"has an output scale {scale_of(facts, facts.output):g} far below its operands'"

    return find


def _sum_undefined(facts: KernelContext) -> str | None:
    exponents = _powers_of_two(facts)
    if exponents is not None and exponents[-1] != max(exponents[:2]):
        return f"shifts neither operand of scales 2**{exponents[0]} and 2**{exponents[1]} to 2**{exponents[2]}"
    return _on_common_scale(20, 1)(facts)


@kernel("ADD", undefined=_sum_undefined)
def add(context: KernelContext) -> tuple[Array, ...]:
    """x + y with broadcasting. Source: ``add.cc`` (operands are shifted left by 20, int16 by 15)."""
    return _add_or_subtract(context, np.add)


@kernel("SUB", undefined=_sum_undefined)
def sub(context: KernelContext) -> tuple[Array, ...]:
    """x - y with broadcasting. Source: ``sub.cc``."""
    return _add_or_subtract(context, np.subtract)


@kernel("MUL")
def mul(context: KernelContext) -> tuple[Array, ...]:
    """x * y with broadcasting. Source: ``mul.cc``, whose real multiplier is a float32."""
    if not is_quantized(context.output):
        return _unquantized(context, np.multiply)
    real = (
        scale_of(context, context.tensor(0)) * scale_of(context, context.tensor(1)) / scale_of(context, context.output)
    )
    product = wrap_int32(ints_without_zero_point(context, 0) * ints_without_zero_point(context, 1))
    scaled = multiply(product, *quantize_multiplier(real)) + zero_point_of(context, context.output)
    return (as_frames(context, clip_to_output(context, scaled)),)


@kernel("DIV")
def div(context: KernelContext) -> tuple[Array, ...]:
    """x / y with broadcasting; a divisor that stands for zero is undefined. Source: ``div.h``."""
    if context.output.dtype == np.float32:
        return _unquantized(context, np.divide)
    if not is_quantized(context.output):
        return _unquantized(context, divide_truncating)
    real = scale_of(context, context.tensor(0)) / (
        scale_of(context, context.tensor(1)) * scale_of(context, context.output)
    )
    multiplier, shift = quantize_multiplier(real)
    a, b = np.broadcast_arrays(ints_without_zero_point(context, 0), ints_without_zero_point(context, 1))
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
    return (as_frames(context, clip_to_output(context, result + zero_point_of(context, context.output))),)


@kernel("FLOOR_DIV")
def floor_div(context: KernelContext) -> tuple[Array, ...]:
    """The greatest integer that x / y is not below, of raw integers too; a divisor of 0 is undefined.

    Source: ``floor_div.cc``, which divides in double whatever the type.
    """
    with np.errstate(all="ignore"):
        floored = np.floor(context.array(0).astype(np.float64) / context.array(1).astype(np.float64))
        if context.output.dtype == np.float32:
            return (as_frames(context, floored.astype(np.float32)),)
    return (as_frames(context, np.nan_to_num(floored, posinf=0.0, neginf=0.0).astype(np.int64)),)


@kernel("FLOOR_MOD")
def floor_mod(context: KernelContext) -> tuple[Array, ...]:
    """What floor division leaves, with the sign of the divisor. Source: ``floor_mod.cc``."""
    x, y = context.array(0), context.array(1)
    with np.errstate(all="ignore"):
        rest = np.fmod(x, y)
        return (as_frames(context, np.where((rest != 0) & (np.less(y, 0) != np.less(rest, 0)), rest + y, rest)),)


@kernel("MAXIMUM")
def maximum(context: KernelContext) -> tuple[Array, ...]:
    """The greater of x and y, raw integers for quantized tensors. Source: ``maximum_minimum.h``."""
    a, b = context.array(0), context.array(1)
    return (as_frames(context, np.where(np.greater(a, b), a, b)),)


@kernel("MINIMUM")
def minimum(context: KernelContext) -> tuple[Array, ...]:
    """The lesser of x and y, raw integers for quantized tensors. Source: ``maximum_minimum.h``."""
    a, b = context.array(0), context.array(1)
    return (as_frames(context, np.where(np.less(a, b), a, b)),)


@kernel("SQUARED_DIFFERENCE", undefined=_on_common_scale(7, 2))
def squared_difference(context: KernelContext) -> tuple[Array, ...]:
    """(x - y)**2 with broadcasting. Source: ``squared_difference.cc`` (left shift 7)."""
    if not is_quantized(context.output):
        return _unquantized(context, lambda a, b: (a - b) ** 2)
    a, b, twice_max = _common_scale(context, 7)
    output_scale = np.float64(scale_of(context, context.output))
    multiplier = quantize_multiplier(twice_max * twice_max / ((1 << 14) * output_scale))
    scaled = multiply((a - b) ** 2, *multiplier) + zero_point_of(context, context.output)
    return (as_frames(context, clip_to_output(context, scaled)),)


@kernel("POW")
def power(context: KernelContext) -> tuple[Array, ...]:
    """x ** y with broadcasting, float32 or int32. Source: ``pow.cc``."""
    if is_quantized(context.output):
        raise context.unsupported("quantized integers")
    return _unquantized(context, np.power if context.output.dtype.kind == "f" else _integer_power)


def _integer_power(base: Ints, exponent: Ints) -> Ints:
    """Below an exponent of 0, where TFLite ends the run, the real power without its fraction; of 0 it is 0."""
    whole = np.power(base, np.where(exponent < 0, np.abs(exponent) % 2, exponent))
    return np.where((exponent < 0) & (np.abs(base) != 1), 0, whole)


@kernel("QUANTIZE")
def quantize(context: KernelContext) -> tuple[Array, ...]:
    """float32 -> integer, or integer -> integer of another scale.

    What is too large saturates, NaN gives the least integer. Source: ``reference_ops::AffineQuantize``
    (which, beyond 2**31 steps, leaves C's rules) and ``Requantize``.
    """
    source, target = context.tensor(0), context.output
    least, greatest = integer_range(target.dtype)
    if source.dtype == np.float32:
        with np.errstate(all="ignore"):
            real = round_half_away(context.array(0).astype(np.float32) / scale_of(context, target))
        whole = np.nan_to_num(real, nan=-np.inf) + zero_point_of(context, target)
        return (as_frames(context, np.clip(whole, least, greatest)),)
    scale = np.float64(scale_of(context, source)) / np.float64(scale_of(context, target))
    scaled = multiply(ints_without_zero_point(context, 0), *quantize_multiplier(scale))
    return (as_frames(context, np.clip(scaled + zero_point_of(context, target), least, greatest)),)


@kernel("DEQUANTIZE")
def dequantize(context: KernelContext) -> tuple[Array, ...]:
    """Integer or float16 -> float32. Source: ``reference_ops::Dequantize``."""
    source = context.tensor(0)
    if source.dtype == np.float16:
        return (as_frames(context, context.array(0).astype(np.float32)),)
    return (
        as_frames(
            context, ints_without_zero_point(context, 0).astype(np.float64) * np.float64(scale_of(context, source))
        ),
    )


@kernel("CAST")
def cast(context: KernelContext) -> tuple[Array, ...]:
    """Plain change of type, without scales; a real number beyond the integers is saturated."""
    values, target = context.array(0), context.output.dtype
    if np.issubdtype(values.dtype, np.floating) and np.issubdtype(target, np.integer):
        least, greatest = integer_range(target)
        real = values.astype(np.float64)
        whole = np.clip(np.nan_to_num(np.trunc(real), nan=greatest), least, greatest)
        # float64 cannot hold the greatest int64
        return (as_frames(context, np.where(whole >= greatest, greatest, whole.astype(target))),)
    with np.errstate(over="ignore"):
        return (as_frames(context, values.astype(target)),)


def _compare(function: Pair, kind: str, scaled: tuple[str, ...]) -> None:
    """The kernel of a comparison: quantized operands of ``scaled`` types are brought to one scale, others not.

    Source: ``comparisons.cc``: shifted left by 8 and multiplied by their scales, rounded.
    """

    def is_scaled(context: KernelContext) -> bool:
        return is_quantized(context.tensor(0)) and context.tensor(0).dtype.name in scaled

    def undefined(facts: KernelContext) -> str | None:
        for tensor in (facts.tensor(0), facts.tensor(1)) if is_scaled(facts) else ():
            if quantize_multiplier(scale_of(facts, tensor))[1] > 0:
                return f"compares at a scale of {scale_of(facts, tensor):g}, and takes scales below 1"
        return None

    @kernel(kind, undefined=undefined)
    def compared(context: KernelContext) -> tuple[Array, ...]:
        if not is_scaled(context):
            return (as_frames(context, function(context.array(0), context.array(1))),)
        a, b = (
            multiply(
                ints_without_zero_point(context, i) << 8, *quantize_multiplier(scale_of(context, context.tensor(i)))
            )
            for i in (0, 1)
        )
        return (as_frames(context, function(a, b)),)


_compare(np.equal, "EQUAL", scaled=("int8", "int16"))
_compare(np.not_equal, "NOT_EQUAL", scaled=("int8", "int16"))
_compare(np.less, "LESS", scaled=("int8",))
_compare(np.less_equal, "LESS_EQUAL", scaled=("int8",))
_compare(np.greater, "GREATER", scaled=("int8",))
_compare(np.greater_equal, "GREATER_EQUAL", scaled=("int8",))


@kernel("LOGICAL_AND")
def logical_and(context: KernelContext) -> tuple[Array, ...]:
    """x and y."""
    return (as_frames(context, np.logical_and(context.array(0), context.array(1))),)


@kernel("LOGICAL_OR")
def logical_or(context: KernelContext) -> tuple[Array, ...]:
    """x or y."""
    return (as_frames(context, np.logical_or(context.array(0), context.array(1))),)


@kernel("LOGICAL_NOT")
def logical_not(context: KernelContext) -> tuple[Array, ...]:
    """not x."""
    return (as_frames(context, np.logical_not(context.array(0))),)


@kernel("SELECT", "SELECT_V2")
def select(context: KernelContext) -> tuple[Array, ...]:
    """y where the condition x holds, else z; all broadcast; quantized values are copied raw."""
    return (as_frames(context, np.where(context.array(0).astype(bool), context.array(1), context.array(2))),)
