"""Functions of one element: activations and elementary functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tcnstream.compiler.operations.activation import GeluOptions, SlopeOptions
from tcnstream.engines.reference.kernels.context import (
    Doubles,
    Ints,
    Kernel,
    KernelContext,
    as_frames,
    ints_without_zero_point,
    is_quantized,
    kernel,
    scale_of,
    zero_point_of,
)
from tcnstream.engines.reference.kernels.fixed_point import (
    CLIPS,
    INT32_MAX,
    activation_range,
    checked_log2,
    divide_truncating,
    integer_range,
    multiply,
    quantize_multiplier,
    rounding_shift_right,
    wrap_int32,
)
from tcnstream.engines.reference.kernels.gemmlowp import inverse_square_root
from tcnstream.engines.reference.kernels.gemmlowp16 import high_mul16
from tcnstream.engines.reference.kernels.tables import (
    Floats,
    Function,
    apply_table,
    in_float32,
    logistic_of,
    sigmoid_table,
)
from tcnstream.tflite.graph import Array


def _real(context: KernelContext, function: Function) -> tuple[Array, ...]:
    """``function`` of float32 values, computed in float64 and rounded once."""
    with np.errstate(all="ignore"):
        return (as_frames(context, function(context.array(0).astype(np.float64)).astype(np.float32)),)


def _logistic_float32(x: Floats) -> Floats:
    one = np.float32(1)
    return one / (one + in_float32(np.exp)(-x))


def _input_multiplier_int16(context: KernelContext, exact_left_shifts: tuple[int, ...]) -> tuple[int, int]:
    """(multiplier, left shift) that bring an int16 input to the table's scale; multiplier 0: a power of two."""
    scale = scale_of(context, context.tensor(0))
    exponent = checked_log2(scale)
    if exponent is not None and 12 + exponent in exact_left_shifts:
        return 0, 12 + exponent
    multiplier, left_shift = float(scale) * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and left_shift <= 30:
        left_shift += 1
        multiplier *= 2.0
    return int(multiplier), left_shift


def _interpolated_sigmoid(
    context: KernelContext, exact_left_shifts: tuple[int, ...], fraction_bits: int, saturated: int
) -> tuple[Ints, Ints]:
    """An int16 input on the sigmoid table's scale, and the table's value at its magnitude."""
    multiplier, left_shift = _input_multiplier_int16(context, exact_left_shifts)
    if multiplier == 0:
        multiplier, left_shift = 3 << left_shift, 0
    half = 1 << (left_shift - 1) if left_shift > 0 else 0
    x = wrap_int32(context.array(0).astype(np.int64) * multiplier + half) >> left_shift
    table, place = sigmoid_table(), np.abs(x) >> fraction_bits
    index = np.minimum(place, 254)
    base = table[index]
    value = (base << fraction_bits) + (np.abs(x) & ((1 << fraction_bits) - 1)) * (table[index + 1] - base)
    return x, np.where(place >= 255, saturated, value)


@kernel("LOGISTIC")
def logistic(context: KernelContext) -> tuple[Array, ...]:
    """1 / (1 + exp(-x)). Source: ``SigmoidPrepare``, ``integer_ops/logistic.h`` (int16)."""
    if not is_quantized(context.output):
        return _real(context, logistic_of)
    if context.output.dtype == np.int8:
        return apply_table(context, _logistic_float32)
    x, value = _interpolated_sigmoid(context, (0,), 9, 0x7FFF << 10)
    rounded = np.where(x >= 0, value + (1 << 9), (1 << 25) - value + (1 << 9) - 1)
    return (as_frames(context, rounded >> 10),)


@kernel("TANH")
def tanh(context: KernelContext) -> tuple[Array, ...]:
    """Hyperbolic tangent, 2 * sigmoid(2 * x) - 1 for int16. Source: ``TanhPrepare``, ``integer_ops/tanh.h``."""
    if not is_quantized(context.output):
        return _real(context, np.tanh)
    if context.output.dtype == np.int8:
        return apply_table(context, in_float32(np.tanh))
    x, value = _interpolated_sigmoid(context, (0, 1), 8, 0xFFFF << 8)
    rounded = np.where(x >= 0, value - (1 << 23) + (1 << 7), -value + (1 << 23) + (1 << 7) - 1)
    return (as_frames(context, rounded >> 8),)


@kernel("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
def clipped(context: KernelContext) -> tuple[Array, ...]:
    """x within the range that the kind names; the multiplier is a float32. Source: ``QuantizedReluX``."""
    activation = context.node.kind
    if not is_quantized(context.output):
        low, high = CLIPS[activation]
        return (as_frames(context, np.clip(context.array(0).astype(np.float32), np.float32(low), high)),)
    real = scale_of(context, context.tensor(0)) / scale_of(context, context.output)
    scaled = multiply(ints_without_zero_point(context, 0), *quantize_multiplier(real))
    least, greatest = activation_range(context, activation, context.output)
    return (as_frames(context, np.clip(scaled + zero_point_of(context, context.output), least, greatest)),)


def _two_slopes(context: KernelContext, negative: Ints) -> tuple[Array, ...]:
    """x rescaled where it is not negative, ``negative`` (scaled, without zero point) elsewhere."""
    x = ints_without_zero_point(context, 0)
    identity = scale_of(context, context.tensor(0)) / scale_of(context, context.output)
    scaled = np.where(x >= 0, multiply(x, *quantize_multiplier(identity)), negative)
    least, greatest = integer_range(context.output.dtype)
    return (as_frames(context, np.clip(scaled + zero_point_of(context, context.output), least, greatest)),)


@kernel("LEAKY_RELU")
def leaky_relu(context: KernelContext) -> tuple[Array, ...]:
    """x, or alpha * x where x is negative. Source: ``leaky_relu.h``; real multipliers are float32."""
    alpha = np.float32(context.options(SlopeOptions).alpha)
    if not is_quantized(context.output):
        x = context.array(0).astype(np.float32)
        return (as_frames(context, np.where(x > 0, x, x * alpha)),)
    real = scale_of(context, context.tensor(0)) * alpha / scale_of(context, context.output)
    multiplier, shift = quantize_multiplier(real)
    scaled = multiply(ints_without_zero_point(context, 0), np.abs(multiplier), shift)
    return _two_slopes(context, scaled * np.sign(multiplier))


@kernel("PRELU")
def prelu(context: KernelContext) -> tuple[Array, ...]:
    """x, or alpha * x where x is negative; alpha broadcasts. Source: ``prelu.h``."""
    if not is_quantized(context.output):
        x, alpha = context.array(0).astype(np.float32), context.array(1).astype(np.float32)
        return (as_frames(context, np.where(x >= 0, x, x * alpha)),)
    if context.output.dtype != np.int8:
        raise context.unsupported(f"{context.output.dtype}")
    real = (
        scale_of(context, context.tensor(0)) * scale_of(context, context.tensor(1)) / scale_of(context, context.output)
    )
    product = wrap_int32(ints_without_zero_point(context, 0) * ints_without_zero_point(context, 1))
    return _two_slopes(context, multiply(product, *quantize_multiplier(real)))


def _multiplier_int16(real: np.float32) -> tuple[int, int]:
    """A fixed-point multiplier cut to 16 bits, and its exponent."""
    multiplier, exponent = (int(part) for part in quantize_multiplier(real))
    return (32767 if multiplier >= INT32_MAX - (1 << 15) else (multiplier + (1 << 15)) >> 16), exponent


def _hard_swish_multipliers(context: KernelContext) -> tuple[tuple[int, int], tuple[int, int]]:
    """Multiplier and exponent from the input, 7 bits finer, to the output's scale and to that of the gate."""
    fine_scale = np.float32(1.0 / 128.0) * scale_of(context, context.tensor(0))
    to_output = _multiplier_int16(fine_scale / scale_of(context, context.output))
    return to_output, _multiplier_int16(fine_scale / np.float32(3.0 / 32768.0))


def _beyond_shifts(facts: KernelContext) -> str | None:
    """The product is shifted right, as 16 bits are."""
    (_, exponent), _ = _hard_swish_multipliers(facts)
    if facts.output.dtype != np.int8 or -15 <= exponent <= 0:
        return None
    return f"has an output scale {scale_of(facts, facts.output):g} far from that of its input"


@kernel("HARD_SWISH", undefined=_beyond_shifts)
def hard_swish(context: KernelContext) -> tuple[Array, ...]:
    """x * relu6(x + 3) / 6. Source: ``hard_swish.h``, 16-bit fixed point for int8."""
    if not is_quantized(context.output):
        x = context.array(0).astype(np.float32)
        with np.errstate(all="ignore"):
            return (as_frames(context, x * np.clip(x + np.float32(3), 0, 6) / np.float32(6)),)
    if context.output.dtype != np.int8:
        raise context.unsupported(f"{context.output.dtype}")
    (output_multiplier, output_exponent), (gate_multiplier, gate_exponent) = _hard_swish_multipliers(context)
    fine = ints_without_zero_point(context, 0) << 7
    value = high_mul16(fine, output_multiplier)
    gate = np.clip(fine << max(gate_exponent - 1, 0), -32768, 32767)
    gate = high_mul16(gate, gate_multiplier)
    gate = np.clip(gate << 1, -32768, 32767) if gate_exponent > 0 else rounding_shift_right(gate, -gate_exponent)
    gate = (gate + (1 << 15)) >> 1
    product = np.minimum(divide_truncating(gate * value, 1 << 15), 32767)
    result = rounding_shift_right(product, -output_exponent) + zero_point_of(context, context.output)
    return (as_frames(context, np.clip(result, -128, 127)),)


def _elu_float32(x: Floats) -> Floats:
    return np.where(x < 0, in_float32(np.expm1)(x), x)


@kernel("ELU")
def elu(context: KernelContext) -> tuple[Array, ...]:
    """x, or exp(x) - 1 where x is negative."""
    if not is_quantized(context.output):
        return _real(context, lambda x: np.where(x < 0, np.expm1(x), x))
    return apply_table(context, TABLED[elu](context))


# NumPy has no error function
_erfc_of_objects = np.frompyfunc(math.erfc, 1, 1)


def _erfc(x: Doubles) -> Doubles:
    return np.asarray(_erfc_of_objects(x), dtype=np.float64)


def _gelu(x: Doubles) -> Doubles:
    return 0.5 * x * _erfc(-x * math.sqrt(0.5))


def _gelu_approximate(x: Doubles) -> Doubles:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _gelu_float32(x: Floats) -> Floats:
    half, slope = np.float32(0.5), np.float32(-math.sqrt(0.5))
    return half * x * _erfc((x * slope).astype(np.float64)).astype(np.float32)


def _gelu_approximate_float32(x: Floats) -> Floats:
    half, one, cubic = np.float32(0.5), np.float32(1), np.float32(0.044715)
    inner = np.float32(math.sqrt(2.0 / math.pi)) * (x + cubic * x * x * x)
    return half * x * (one + in_float32(np.tanh)(inner))


@kernel("GELU")
def gelu(context: KernelContext) -> tuple[Array, ...]:
    """x * Phi(x), or its tanh approximation with ``approximate``. Source: ``gelu.h``."""
    if not is_quantized(context.output):
        return _real(context, _gelu_approximate if context.options(GeluOptions).approximate else _gelu)
    return apply_table(context, TABLED[gelu](context))


@kernel("ABS")
def absolute(context: KernelContext) -> tuple[Array, ...]:
    """|x|. Source: ``elementwise.cc``; the integer form rescales only if the scales differ."""
    if not is_quantized(context.output):
        return (as_frames(context, np.abs(context.array(0))),)
    magnitude = np.abs(ints_without_zero_point(context, 0))
    input_scale, output_scale = scale_of(context, context.tensor(0)), scale_of(context, context.output)
    if input_scale != output_scale:
        magnitude = multiply(magnitude, *quantize_multiplier(input_scale / output_scale))
    least, greatest = integer_range(context.output.dtype)
    return (as_frames(context, np.clip(magnitude + zero_point_of(context, context.output), least, greatest)),)


@kernel("NEG")
def neg(context: KernelContext) -> tuple[Array, ...]:
    """-x; quantized integers are negated raw, as the reference kernel does."""
    return (as_frames(context, np.negative(context.array(0))),)


@kernel("SIGN")
def sign(context: KernelContext) -> tuple[Array, ...]:
    """-1, 0 or 1, of real numbers or plain integers."""
    if is_quantized(context.output):
        raise context.unsupported(f"quantized {context.output.dtype}")
    return (as_frames(context, np.sign(context.array(0))),)


@kernel("EXP")
def exp(context: KernelContext) -> tuple[Array, ...]:
    """e**x."""
    if not is_quantized(context.output):
        return _real(context, np.exp)
    return apply_table(context, TABLED[exp](context))


@kernel("LOG")
def log(context: KernelContext) -> tuple[Array, ...]:
    """Natural logarithm; for integers what is not positive gives the least output."""
    if not is_quantized(context.output):
        return _real(context, np.log)
    return apply_table(context, TABLED[log](context))


def _log_float32(context: KernelContext) -> Callable[[Floats], Floats]:
    scale, zero_point = scale_of(context, context.output), zero_point_of(context, context.output)
    least = np.float32(integer_range(context.output.dtype)[0] - zero_point) * scale
    return lambda x: np.where(x <= 0, least, in_float32(np.log)(x))


@kernel("RSQRT")
def rsqrt(context: KernelContext) -> tuple[Array, ...]:
    """1 / sqrt(x). Source: ``elementwise.cc``: int8 in fixed point, int16 by table.

    The reference kernel stops at integers below zero; here they give the greatest output.
    """
    if not is_quantized(context.output):
        return _real(context, lambda x: 1.0 / np.sqrt(x))
    output_scale = scale_of(context, context.output)
    if context.output.dtype == np.int16:
        return apply_table(context, TABLED[rsqrt](context))
    # std::sqrt of a float is a float, the product with the output's scale as well
    product = np.sqrt(scale_of(context, context.tensor(0))) * output_scale
    multiplier, shift = quantize_multiplier(1.0 / np.float64(product))
    x = ints_without_zero_point(context, 0)
    inverse, inverse_shift = inverse_square_root(np.maximum(x, 1))
    scaled = multiply(multiply(np.ones_like(x), inverse, inverse_shift + 20), multiplier, shift - 20)
    result = np.clip(scaled + zero_point_of(context, context.output), -128, 127)
    return (as_frames(context, np.where(x <= 0, 127, result)),)


def _rsqrt_float32(context: KernelContext) -> Callable[[Floats], Floats]:
    most = np.float32(32767) * scale_of(context, context.output)
    return lambda x: np.where(x <= 0, most, np.float32(1) / np.sqrt(x))


TABLED: Mapping[Kernel, Callable[[KernelContext], Callable[[Floats], Floats]]] = {
    elu: lambda context: _elu_float32,
    gelu: lambda context: _gelu_approximate_float32 if context.options(GeluOptions).approximate else _gelu_float32,
    exp: lambda context: in_float32(np.exp),
    log: _log_float32,
    rsqrt: _rsqrt_float32,
}
"""The kernels whose function int16 looks up between 513 entries."""


def _real_function(function: Function) -> Kernel:
    """A kernel that the reference has for float32 alone."""

    def computed(context: KernelContext) -> tuple[Array, ...]:
        if context.output.dtype != np.float32:
            raise context.unsupported(f"{context.output.dtype}")
        return _real(context, function)

    return computed


kernel("SQRT")(_real_function(np.sqrt))
kernel("SQUARE")(_real_function(np.square))
kernel("SIN")(_real_function(np.sin))
kernel("COS")(_real_function(np.cos))
kernel("FLOOR")(_real_function(np.floor))
kernel("CEIL")(_real_function(np.ceil))
kernel("ROUND")(_real_function(np.rint))
