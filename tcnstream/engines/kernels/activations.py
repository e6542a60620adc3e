"""Functions of one tensor: activations, elementary functions, softmax.

int8 functions are tables of 256 entries that TFLite fills in float32; int16 ones interpolate
between 513 entries (``tflite/kernels/internal/common.h``, ``LUTPopulate``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.engines.kernels.call import (
    Call,
    Doubles,
    Ints,
    as_frames,
    ints_without_zero_point,
    is_quantized,
    scale_of,
    zero_point_of,
)
from tcnstream.engines.kernels.fixed_point import (
    CLIPS,
    INT32_MAX,
    INT32_MIN,
    activation_range,
    count_leading_zeros,
    divide_truncating,
    high_mul,
    integer_range,
    multiply,
    quantize_multiplier,
    round_half_away,
    rounding_shift_right,
    saturating_shift,
    wrap_int32,
)
from tcnstream.engines.kernels.gemmlowp import (
    exp_on_negative_values,
    inverse_square_root,
    log_of_at_least_one,
    reciprocal,
)
from tcnstream.graph import Array

Function = Callable[[Doubles], Doubles]
Floats = npt.NDArray[np.float32]


def _real(call: Call, function: Function) -> tuple[Array, ...]:
    """``function`` of float32 values, computed in float64 and rounded once."""
    with np.errstate(all="ignore"):
        return (as_frames(call, function(call.array(0).astype(np.float64)).astype(np.float32)),)


def _in_float32(function: Function) -> Callable[[Floats], Floats]:
    """The correctly rounded float32 form of a function, as a good C library has it."""
    return lambda x: function(x.astype(np.float64)).astype(np.float32)


def _table(call: Call, function: Callable[[Floats], Floats]) -> tuple[Array, ...]:
    """``LUTPopulate`` and the look-up: 256 entries for int8, interpolation between 513 for int16."""
    if call.output.dtype == np.int16:
        source, target = call.tensor(0), call.output
        entries = table_int16(
            scale_of(call, source),
            zero_point_of(call, source),
            scale_of(call, target),
            zero_point_of(call, target),
            function,
        )
        return (as_frames(call, look_up_int16(call.array(0).astype(np.int64), entries)),)
    output_scale = scale_of(call, call.output)
    every_input = np.arange(-128, 128)
    dequantized = scale_of(call, call.tensor(0)) * (every_input - zero_point_of(call, call.tensor(0))).astype(
        np.float32
    )
    with np.errstate(all="ignore"):
        rescaled = round_half_away(function(dequantized) * (np.float32(1) / output_scale))
    table = np.clip(rescaled + zero_point_of(call, call.output), -128, 127).astype(np.int64)
    return (as_frames(call, table[call.array(0).astype(np.int64) + 128]),)


def logistic_of(x: Doubles) -> Doubles:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


def _logistic_float32(x: Floats) -> Floats:
    one = np.float32(1)
    return one / (one + _in_float32(np.exp)(-x))


@lru_cache(maxsize=1)
def sigmoid_table() -> Ints:
    """sigmoid(i / 24) as unsigned 0.16 numbers, the table behind int16 LOGISTIC and TANH.

    Each entry is lifted by half of the error that interpolation makes in the middle of its step,
    which is how TFLite's ``sigmoid_table_uint16`` was made; its last entry is saturated.
    """
    i = np.arange(256, dtype=np.float64)
    here, middle, following = (logistic_of((i + part) / 24) * 65536 for part in (0.0, 0.5, 1.0))
    table = np.rint(here + (middle - (here + following) / 2) / 2).astype(np.int64)
    table[-1] = 65535
    return table


def _input_multiplier_int16(call: Call, exact_left_shifts: tuple[int, ...]) -> tuple[int, int]:
    """(multiplier, left shift) that bring an int16 input to the table's scale; multiplier 0: a power of two."""
    scale = scale_of(call, call.tensor(0))
    log2 = np.log(scale) * np.float32(1.0 / np.log(2.0))
    nearest = float(round_half_away(log2))
    left_shift = 12 + int(nearest)
    if abs(float(log2) - nearest) < 1e-3 and left_shift in exact_left_shifts:
        return 0, left_shift
    multiplier, left_shift = float(scale) * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and left_shift <= 30:
        left_shift += 1
        multiplier *= 2.0
    return int(multiplier), left_shift


def logistic(call: Call) -> tuple[Array, ...]:
    """1 / (1 + exp(-x)). Source: ``SigmoidPrepare``, ``integer_ops/logistic.h`` (int16)."""
    if not is_quantized(call.output):
        return _real(call, logistic_of)
    if call.output.dtype == np.int8:
        return _table(call, _logistic_float32)
    multiplier, left_shift = _input_multiplier_int16(call, (0,))
    if multiplier == 0:
        multiplier, left_shift = 3 << left_shift, 0
    half = 1 << (left_shift - 1) if left_shift > 0 else 0
    x = wrap_int32(call.array(0).astype(np.int64) * multiplier + half) >> left_shift
    table = sigmoid_table()
    magnitude = np.abs(x)
    index = np.minimum(magnitude >> 9, 254)
    base = table[index]
    result = (base << 9) + (magnitude & 0x1FF) * (table[index + 1] - base)
    result = np.where(magnitude >> 9 >= 255, 0x7FFF << 10, result)
    result = np.where(x >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1)
    return (as_frames(call, result >> 10),)


def tanh(call: Call) -> tuple[Array, ...]:
    """Hyperbolic tangent. Source: ``TanhPrepare``, ``integer_ops/tanh.h`` (int16)."""
    if not is_quantized(call.output):
        return _real(call, np.tanh)
    if call.output.dtype == np.int8:
        return _table(call, _in_float32(np.tanh))
    multiplier, left_shift = _input_multiplier_int16(call, (0, 1))
    if multiplier == 0:
        multiplier, left_shift = 3 << left_shift, 0
    half = 1 << (left_shift - 1) if left_shift > 0 else 0
    x = wrap_int32(call.array(0).astype(np.int64) * multiplier + half) >> left_shift
    table = sigmoid_table()
    magnitude = np.abs(x)
    index = np.minimum(magnitude >> 8, 254)
    base = table[index]
    result = (base << 8) + (magnitude & 0xFF) * (table[index + 1] - base)
    result = np.where(magnitude >> 8 >= 255, 0xFFFF << 8, result)
    result = np.where(x >= 0, result - (1 << 23) + (1 << 7), -result + (1 << 23) + (1 << 7) - 1)
    return (as_frames(call, result >> 8),)


def softmax(call: Call) -> tuple[Array, ...]:
    """Softmax over the last axis; ``beta`` scales the input. Source: ``softmax.h``."""
    beta = call.number("beta", 1.0)
    if not is_quantized(call.tensor(0)):
        x = call.array(0).astype(np.float64)
        with np.errstate(all="ignore"):
            powers = np.exp((x - x.max(axis=-1, keepdims=True)) * beta)
            return (as_frames(call, (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)),)
    if call.tensor(0).dtype == np.int16:
        return _softmax_int16(call, beta)
    x = call.array(0).astype(np.int64)
    difference = x - x.max(axis=-1, keepdims=True)
    multiplier, left_shift, radius = softmax_scaling(call, beta)
    counted = difference >= -radius
    scaled = high_mul(wrap_int32(difference << left_shift), multiplier)
    powers = exp_on_negative_values(np.where(counted, scaled, 0), integer_bits=5)
    total = np.where(counted, saturating_shift(powers, -12), 0).sum(axis=-1, keepdims=True)
    inverse, bits_over_unit = reciprocal(total, 12)
    least, greatest = integer_range(call.output.dtype)
    places = bits_over_unit + 31 - 8 * call.output.dtype.itemsize
    result = rounding_shift_right(high_mul(inverse, powers), places) + least
    return (as_frames(call, np.where(counted, np.clip(result, least, greatest), least)),)


def softmax_scaling(call: Call, beta: float) -> tuple[int, int, int]:
    """``PreprocessSoftmaxScaling`` to Q5.26: multiplier, left shift, greatest difference that counts."""
    real = min(
        np.float64(np.float32(beta)) * np.float64(scale_of(call, call.tensor(0))) * (1 << 26), float((1 << 31) - 1)
    )
    multiplier, left_shift = (int(part) for part in quantize_multiplier(real))
    radius = int(np.floor(31.0 * (1 << 26) / (1 << left_shift)))
    return multiplier, left_shift, radius


def table_int16(
    input_scale: Any, input_zero_point: int, output_scale: Any, output_zero_point: int, function: Callable[[Any], Any]
) -> Ints:
    """``LUTPopulateInt16`` in the precision of ``input_scale`` (float32 or float64): 513 entries."""
    kind = type(input_scale)
    low, high = input_scale * kind(-32768 - input_zero_point), input_scale * kind(32767 - input_zero_point)
    output_low = output_scale * kind(-32768 - output_zero_point)
    output_high = output_scale * kind(32767 - output_zero_point)
    step = (high - low) / kind(512)
    half_step = step / kind(2)
    scaling = kind(65536) / (output_high - output_low)
    i = np.arange(512).astype(kind)
    with np.errstate(all="ignore"):
        sample = round_half_away(function(low + i * step) * scaling).astype(kind)
        middle = round_half_away(function(low + i * step + half_step) * scaling)
        interpolated = round_half_away((function(low + (i + kind(1)) * step) * scaling + sample) / kind(2))
        bias = round_half_away((interpolated - middle) / 2)
        last = round_half_away(function(np.array([high])) * scaling)
        entries: Doubles = np.concatenate([sample - bias, last])
    # where infinity meets infinity, C's conversion of NaN leaves 0 in the low bits
    return np.clip(np.nan_to_num(entries, nan=0.0), -32768, 32767).astype(np.int64)


def look_up_int16(values: Ints, table: Ints) -> Ints:
    """``LUTLookup``: linear interpolation with 7 fraction bits."""
    index, offset = 256 + (values >> 7), values & 0x7F
    base = table[index]
    slope = _wrap_int16(table[index + 1] - base)
    return _wrap_int16(base + ((slope * offset + 64) >> 7))


def _wrap_int16(x: Ints) -> Ints:
    return x.astype(np.int16).astype(np.int64)


@lru_cache(maxsize=1)
def _softmax_tables() -> tuple[Ints, Ints]:
    span = np.float64(65535)
    exp = table_int16(np.float64(10.0) / span, 32767, np.float64(2.0) / span, 0, np.exp)
    inverse = table_int16(np.float64(1.0) / span, -32768, np.float64(2.0) / span, 0, lambda x: 1.0 / (1.0 + x))
    return exp, inverse


def _softmax_int16(call: Call, beta: float) -> tuple[Array, ...]:
    """``SoftmaxInt16``: exp and 1 / (1 + x) by interpolated tables."""
    exp_table, inverse_table = _softmax_tables()
    scale = np.float64(scale_of(call, call.tensor(0)) * np.float32(beta)) / (10.0 / 65535.0)
    x = call.array(0).astype(np.int64)
    difference = x - x.max(axis=-1, keepdims=True)
    scaled = multiply(difference, *quantize_multiplier(scale)) + 32767
    powers = look_up_int16(np.clip(scaled, -32768, 32767), exp_table)
    total = powers.sum(axis=-1, keepdims=True)
    headroom_plus_one = count_leading_zeros(total)
    shifted = ((total << (headroom_plus_one - 1)) + (1 << 13)) >> 14
    inverse = look_up_int16(np.clip(shifted - (1 << 15) - (1 << 16), -32768, 32767), inverse_table)
    places = 31 - headroom_plus_one
    result = (powers * inverse + (np.int64(1) << (places - 1))) >> places
    return (as_frames(call, np.clip(result, 0, 32767)),)


def log_softmax(call: Call) -> tuple[Array, ...]:
    """log(softmax(x)) over the last axis. Source: ``integer_ops/log_softmax.h``."""
    if not is_quantized(call.tensor(0)):
        x = call.array(0).astype(np.float64)
        with np.errstate(all="ignore"):
            shifted = x - x.max(axis=-1, keepdims=True)
            logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
            return (as_frames(call, logarithms.astype(np.float32)),)
    if call.tensor(0).dtype != np.int8:
        raise call.unsupported(f"{call.tensor(0).dtype}")
    multiplier, left_shift, radius = softmax_scaling(call, 1.0)
    inverse, inverse_shift = quantize_multiplier((1 << (31 - left_shift)) / float(multiplier))
    raw = call.array(0).astype(np.int64)
    difference = raw - raw.max(axis=-1, keepdims=True)
    counted = difference >= -radius
    scaled = multiply(np.where(counted, difference, 0), multiplier, left_shift)
    powers = saturating_shift(exp_on_negative_values(scaled, integer_bits=5), -12)
    log_of_sum = log_of_at_least_one(np.where(counted, powers, 0).sum(axis=-1, keepdims=True), 12, 5)
    least = np.maximum(-radius - 1, multiply(log_of_sum + INT32_MIN, inverse, inverse_shift))
    result = np.clip(rounding_shift_right(wrap_int32(scaled - log_of_sum), 22) + 127, -128, 127)
    return (as_frames(call, np.where(difference > least, result, -128)),)


def _clipped(call: Call, activation: str) -> tuple[Array, ...]:
    """RELU and its kin as operations of their own; their multiplier is a float32. Source: ``QuantizedReluX``."""
    if not is_quantized(call.output):
        low, high = CLIPS[activation]
        return (as_frames(call, np.clip(call.array(0).astype(np.float32), np.float32(low), high)),)
    real = scale_of(call, call.tensor(0)) / scale_of(call, call.output)
    scaled = multiply(ints_without_zero_point(call, 0), *quantize_multiplier(real))
    least, greatest = activation_range(call, activation, call.output)
    return (as_frames(call, np.clip(scaled + zero_point_of(call, call.output), least, greatest)),)


def relu(call: Call) -> tuple[Array, ...]:
    """max(x, 0)."""
    return _clipped(call, "RELU")


def relu6(call: Call) -> tuple[Array, ...]:
    """x between 0 and 6."""
    return _clipped(call, "RELU6")


def relu_n1_to_1(call: Call) -> tuple[Array, ...]:
    """x between -1 and 1."""
    return _clipped(call, "RELU_N1_TO_1")


def relu_0_to_1(call: Call) -> tuple[Array, ...]:
    """x between 0 and 1."""
    return _clipped(call, "RELU_0_TO_1")


def _two_slopes(call: Call, negative: Ints) -> tuple[Array, ...]:
    """x rescaled where it is not negative, ``negative`` (scaled, without zero point) elsewhere."""
    x = ints_without_zero_point(call, 0)
    identity = scale_of(call, call.tensor(0)) / scale_of(call, call.output)
    scaled = np.where(x >= 0, multiply(x, *quantize_multiplier(identity)), negative)
    least, greatest = integer_range(call.output.dtype)
    return (as_frames(call, np.clip(scaled + zero_point_of(call, call.output), least, greatest)),)


def leaky_relu(call: Call) -> tuple[Array, ...]:
    """x, or alpha * x where x is negative. Source: ``leaky_relu.h``; real multipliers are float32."""
    alpha = np.float32(call.number("alpha", 0.0))
    if not is_quantized(call.output):
        x = call.array(0).astype(np.float32)
        return (as_frames(call, np.where(x > 0, x, x * alpha)),)
    real = scale_of(call, call.tensor(0)) * alpha / scale_of(call, call.output)
    multiplier, shift = quantize_multiplier(real)
    scaled = multiply(ints_without_zero_point(call, 0), np.abs(multiplier), shift)
    return _two_slopes(call, scaled * np.sign(multiplier))


def prelu(call: Call) -> tuple[Array, ...]:
    """x, or alpha * x where x is negative; alpha broadcasts. Source: ``prelu.h``."""
    if not is_quantized(call.output):
        x, alpha = call.array(0).astype(np.float32), call.array(1).astype(np.float32)
        return (as_frames(call, np.where(x >= 0, x, x * alpha)),)
    if call.output.dtype != np.int8:
        raise call.unsupported(f"{call.output.dtype}")
    real = scale_of(call, call.tensor(0)) * scale_of(call, call.tensor(1)) / scale_of(call, call.output)
    product = wrap_int32(ints_without_zero_point(call, 0) * ints_without_zero_point(call, 1))
    return _two_slopes(call, multiply(product, *quantize_multiplier(real)))


def _high_mul_int16(a: Ints, b: int) -> Ints:
    """gemmlowp's ``SaturatingRoundingDoublingHighMul`` of int16 values."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(divide_truncating(nudged, 1 << 15), 32767)


def _multiplier_int16(real: np.float32) -> tuple[int, int]:
    """A fixed-point multiplier cut to 16 bits, and its exponent."""
    multiplier, exponent = (int(part) for part in quantize_multiplier(real))
    return (32767 if multiplier >= INT32_MAX - (1 << 15) else (multiplier + (1 << 15)) >> 16), exponent


def hard_swish(call: Call) -> tuple[Array, ...]:
    """x * relu6(x + 3) / 6. Source: ``hard_swish.h``, 16-bit fixed point for int8."""
    if not is_quantized(call.output):
        x = call.array(0).astype(np.float32)
        with np.errstate(all="ignore"):
            return (as_frames(call, x * np.clip(x + np.float32(3), 0, 6) / np.float32(6)),)
    if call.output.dtype != np.int8:
        raise call.unsupported(f"{call.output.dtype}")
    fine_scale = np.float32(1.0 / 128.0) * scale_of(call, call.tensor(0))
    output_multiplier, output_exponent = _multiplier_int16(fine_scale / scale_of(call, call.output))
    gate_multiplier, gate_exponent = _multiplier_int16(fine_scale / np.float32(3.0 / 32768.0))
    fine = ints_without_zero_point(call, 0) << 7
    value = _high_mul_int16(fine, output_multiplier)
    gate = np.clip(fine << max(gate_exponent - 1, 0), -32768, 32767)
    gate = _high_mul_int16(gate, gate_multiplier)
    gate = np.clip(gate << 1, -32768, 32767) if gate_exponent > 0 else rounding_shift_right(gate, -gate_exponent)
    gate = (gate + (1 << 15)) >> 1
    product = np.minimum(divide_truncating(gate * value, 1 << 15), 32767)
    result = rounding_shift_right(product, -output_exponent) + zero_point_of(call, call.output)
    return (as_frames(call, np.clip(result, -128, 127)),)


def _elu_float32(x: Floats) -> Floats:
    return np.where(x < 0, _in_float32(np.expm1)(x), x)


def elu(call: Call) -> tuple[Array, ...]:
    """x, or exp(x) - 1 where x is negative."""
    if not is_quantized(call.output):
        return _real(call, lambda x: np.where(x < 0, np.expm1(x), x))
    return _table(call, _elu_float32)


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
    return half * x * (one + _in_float32(np.tanh)(inner))


def gelu(call: Call) -> tuple[Array, ...]:
    """x * Phi(x), or its tanh approximation with ``approximate``. Source: ``gelu.h``."""
    approximate = call.flag("approximate")
    if not is_quantized(call.output):
        return _real(call, _gelu_approximate if approximate else _gelu)
    return _table(call, _gelu_approximate_float32 if approximate else _gelu_float32)


def absolute(call: Call) -> tuple[Array, ...]:
    """|x|. Source: ``elementwise.cc``; the integer form rescales only if the scales differ."""
    if not is_quantized(call.output):
        return (as_frames(call, np.abs(call.array(0))),)
    magnitude = np.abs(ints_without_zero_point(call, 0))
    input_scale, output_scale = scale_of(call, call.tensor(0)), scale_of(call, call.output)
    if input_scale != output_scale:
        magnitude = multiply(magnitude, *quantize_multiplier(input_scale / output_scale))
    least, greatest = integer_range(call.output.dtype)
    return (as_frames(call, np.clip(magnitude + zero_point_of(call, call.output), least, greatest)),)


def neg(call: Call) -> tuple[Array, ...]:
    """-x; quantized integers are negated raw, as the reference kernel does."""
    return (as_frames(call, np.negative(call.array(0))),)


def sign(call: Call) -> tuple[Array, ...]:
    """-1, 0 or 1, of real numbers or plain integers."""
    if is_quantized(call.output):
        raise call.unsupported(f"quantized {call.output.dtype}")
    return (as_frames(call, np.sign(call.array(0))),)


def exp(call: Call) -> tuple[Array, ...]:
    """e**x."""
    if not is_quantized(call.output):
        return _real(call, np.exp)
    return _table(call, _in_float32(np.exp))


def log(call: Call) -> tuple[Array, ...]:
    """Natural logarithm; for integers what is not positive gives the least output."""
    if not is_quantized(call.output):
        return _real(call, np.log)
    scale, zero_point = scale_of(call, call.output), zero_point_of(call, call.output)
    least = np.float32(integer_range(call.output.dtype)[0] - zero_point) * scale
    return _table(call, lambda x: np.where(x <= 0, least, _in_float32(np.log)(x)))


def rsqrt(call: Call) -> tuple[Array, ...]:
    """1 / sqrt(x). Source: ``elementwise.cc``: int8 in fixed point, int16 by table.

    The reference kernel stops at integers below zero; here they give the greatest output.
    """
    if not is_quantized(call.output):
        return _real(call, lambda x: 1.0 / np.sqrt(x))
    output_scale = scale_of(call, call.output)
    if call.output.dtype == np.int16:
        most = np.float32(32767) * output_scale
        return _table(call, lambda x: np.where(x <= 0, most, np.float32(1) / np.sqrt(x)))
    # std::sqrt of a float is a float, the product with the output's scale as well
    product = np.sqrt(scale_of(call, call.tensor(0))) * output_scale
    multiplier, shift = quantize_multiplier(1.0 / np.float64(product))
    x = ints_without_zero_point(call, 0)
    inverse, inverse_shift = inverse_square_root(np.maximum(x, 1))
    scaled = multiply(multiply(np.ones_like(x), inverse, inverse_shift + 20), multiplier, shift - 20)
    result = np.clip(scaled + zero_point_of(call, call.output), -128, 127)
    return (as_frames(call, np.where(x <= 0, 127, result)),)


def real_function(function: Function) -> Callable[[Call], tuple[Array, ...]]:
    """A kernel that the reference has for float32 alone."""

    def kernel(call: Call) -> tuple[Array, ...]:
        if call.output.dtype != np.float32:
            raise call.unsupported(f"{call.output.dtype}")
        return _real(call, function)

    return kernel
