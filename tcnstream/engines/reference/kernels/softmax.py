"""Normalisation over the last axis: SOFTMAX, LOG_SOFTMAX, L2_NORMALIZATION."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tcnstream.compiler.operations.activation import SoftmaxOptions
from tcnstream.engines.reference.kernels.context import (
    Ints,
    KernelContext,
    as_frames,
    ints_without_zero_point,
    is_quantized,
    kernel,
    scale_of,
)
from tcnstream.engines.reference.kernels.fixed_point import (
    INT32_MIN,
    count_leading_zeros,
    high_mul,
    integer_range,
    multiply,
    quantize_multiplier,
    rounding_shift_right,
    saturating_shift,
    wrap_int32,
)
from tcnstream.engines.reference.kernels.gemmlowp import (
    exp_on_negative_values,
    inverse_square_root,
    log_of_at_least_one,
    reciprocal,
)
from tcnstream.engines.reference.kernels.tables import look_up_int16, table_int16
from tcnstream.tflite.graph import Array

_MOST_SQUARES = ((1 << 29) - 1) // 255**2
"""Squares of int8 values without their zero point that add up to less than 2**29, as ``inverse_square_root`` needs."""


def _beyond_multipliers(facts: KernelContext) -> str | None:
    """Differences are brought to 26 fraction bits by a multiplier of more than 1, shifted left by less than 31."""
    options = facts.node.options
    beta = options.beta if isinstance(options, SoftmaxOptions) else 1.0
    real = np.float64(np.float32(beta)) * np.float64(scale_of(facts, facts.tensor(0)))
    if facts.output.dtype == np.int8:
        fits = bool(1 < real * (1 << 26) < 1 << 30)
    else:
        fits = bool(abs(real) / (10.0 / 65535.0) < 1 << 30)
    if fits:
        return None
    return f"has an input scale {scale_of(facts, facts.tensor(0)):g}"


@kernel("SOFTMAX", undefined=_beyond_multipliers)
def softmax(context: KernelContext) -> tuple[Array, ...]:
    """Softmax over the last axis; ``beta`` scales the input. Source: ``softmax.h``."""
    beta = context.options(SoftmaxOptions).beta
    if not is_quantized(context.tensor(0)):
        x = context.array(0).astype(np.float64)
        with np.errstate(all="ignore"):
            powers = np.exp((x - x.max(axis=-1, keepdims=True)) * beta)
            return (as_frames(context, (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)),)
    if context.tensor(0).dtype == np.int16:
        return _softmax_int16(context, beta)
    x = context.array(0).astype(np.int64)
    difference = x - x.max(axis=-1, keepdims=True)
    multiplier, left_shift, radius = _scaling(context, beta)
    counted = difference >= -radius
    scaled = high_mul(wrap_int32(difference << left_shift), multiplier)
    powers = exp_on_negative_values(np.where(counted, scaled, 0), integer_bits=5)
    total = np.where(counted, saturating_shift(powers, -12), 0).sum(axis=-1, keepdims=True)
    inverse, bits_over_unit = reciprocal(total, 12)
    least, greatest = integer_range(context.output.dtype)
    places = bits_over_unit + 31 - 8 * context.output.dtype.itemsize
    result = rounding_shift_right(high_mul(inverse, powers), places) + least
    return (as_frames(context, np.where(counted, np.clip(result, least, greatest), least)),)


def _scaling(context: KernelContext, beta: float) -> tuple[int, int, int]:
    """``PreprocessSoftmaxScaling`` to Q5.26: multiplier, left shift, greatest difference that counts."""
    real = min(
        np.float64(np.float32(beta)) * np.float64(scale_of(context, context.tensor(0))) * (1 << 26),
        float((1 << 31) - 1),
    )
    multiplier, left_shift = (int(part) for part in quantize_multiplier(real))
    radius = int(np.floor(31.0 * (1 << 26) / (1 << left_shift)))
    return multiplier, left_shift, radius


@lru_cache(maxsize=1)
def _softmax_tables() -> tuple[Ints, Ints]:
    span = np.float64(65535)
    exp = table_int16(np.float64(10.0) / span, 32767, np.float64(2.0) / span, 0, np.exp)
    inverse = table_int16(np.float64(1.0) / span, -32768, np.float64(2.0) / span, 0, lambda x: 1.0 / (1.0 + x))
    return exp, inverse


def _softmax_int16(context: KernelContext, beta: float) -> tuple[Array, ...]:
    """``SoftmaxInt16``: exp and 1 / (1 + x) by interpolated tables."""
    exp_table, inverse_table = _softmax_tables()
    scale = np.float64(scale_of(context, context.tensor(0)) * np.float32(beta)) / (10.0 / 65535.0)
    x = context.array(0).astype(np.int64)
    difference = x - x.max(axis=-1, keepdims=True)
    scaled = multiply(difference, *quantize_multiplier(scale)) + 32767
    powers = look_up_int16(np.clip(scaled, -32768, 32767), exp_table)
    total = powers.sum(axis=-1, keepdims=True)
    headroom_plus_one = count_leading_zeros(total)
    shifted = ((total << (headroom_plus_one - 1)) + (1 << 13)) >> 14
    inverse = look_up_int16(np.clip(shifted - (1 << 15) - (1 << 16), -32768, 32767), inverse_table)
    places = 31 - headroom_plus_one
    result = (powers * inverse + (np.int64(1) << (places - 1))) >> places
    return (as_frames(context, np.clip(result, 0, 32767)),)


@kernel("LOG_SOFTMAX", undefined=_beyond_multipliers)
def log_softmax(context: KernelContext) -> tuple[Array, ...]:
    """log(softmax(x)) over the last axis. Source: ``integer_ops/log_softmax.h``."""
    if not is_quantized(context.tensor(0)):
        x = context.array(0).astype(np.float64)
        with np.errstate(all="ignore"):
            shifted = x - x.max(axis=-1, keepdims=True)
            logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
            return (as_frames(context, logarithms.astype(np.float32)),)
    if context.tensor(0).dtype != np.int8:
        raise context.unsupported(f"{context.tensor(0).dtype}")
    multiplier, left_shift, radius = _scaling(context, 1.0)
    inverse, inverse_shift = quantize_multiplier((1 << (31 - left_shift)) / float(multiplier))
    raw = context.array(0).astype(np.int64)
    difference = raw - raw.max(axis=-1, keepdims=True)
    counted = difference >= -radius
    scaled = multiply(np.where(counted, difference, 0), multiplier, left_shift)
    powers = saturating_shift(exp_on_negative_values(scaled, integer_bits=5), -12)
    log_of_sum = log_of_at_least_one(np.where(counted, powers, 0).sum(axis=-1, keepdims=True), 12, 5)
    least = np.maximum(-radius - 1, multiply(log_of_sum + INT32_MIN, inverse, inverse_shift))
    result = np.clip(rounding_shift_right(wrap_int32(scaled - log_of_sum), 22) + 127, -128, 127)
    return (as_frames(context, np.where(difference > least, result, -128)),)


@kernel("L2_NORMALIZATION")
def l2_normalization(context: KernelContext) -> tuple[Array, ...]:
    """int8 vectors along the last axis, each divided by its length. Source: ``integer_ops/l2normalization.h``."""
    if context.output.dtype != np.int8 or context.array(0).shape[-1] > _MOST_SQUARES:
        raise context.unsupported(f"{context.output.dtype} and {context.array(0).shape[-1]} values")
    x = ints_without_zero_point(context, 0)
    inverse, shift = inverse_square_root((x * x).sum(axis=-1, keepdims=True))
    return (as_frames(context, np.clip(multiply(x, inverse, shift + 7), -128, 127)),)
