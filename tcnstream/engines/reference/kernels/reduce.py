"""Reductions of a frame's axes, and the same arithmetic for windows of frames.

A policy that replaces a mean over all time asks ``mean_of`` or ``mean_from_sum`` for exactly the
number that TFLite's operation would give for that many frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import AxisOptions
from tcnstream.engines.reference.kernels.context import Ints, KernelContext, as_frames, is_quantized, kernel
from tcnstream.engines.reference.kernels.fixed_point import (
    divide_truncating,
    integer_range,
    multiply,
    multiply_wide,
    quantize_multiplier,
    wrap_int32,
)
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array, Quantization, Tensor


def _parameters(tensor: Tensor) -> tuple[np.float64, int]:
    quantization: Quantization | None = tensor.quantization
    if quantization is None:
        raise EngineError(f"Tensor {tensor.name!r} holds integers without a scale; convert the model again.")
    return np.float64(quantization.scale.flat[0]), int(quantization.zero_point.flat[0])


def mean_from_sum(
    total: Array, count: int, tensor_in: Tensor, tensor_out: Tensor, statistic: Statistic = Statistic.MEAN
) -> Array:
    """MEAN (or SUM) from the sum of ``count`` raw values.

    ``total`` is int64 for integer tensors, float64 for real ones; the result has its shape and the
    output's dtype. Integers: the count is folded into the fixed-point multiplier, rounded down
    (``reference_ops::QuantizedMeanOrSum``), so that a mean of n differs from the mean of means.
    """
    if np.issubdtype(tensor_out.dtype, np.floating):
        real = np.asarray(total, dtype=np.float64)
        with np.errstate(all="ignore"):
            return (real / count if statistic is Statistic.MEAN else real).astype(tensor_out.dtype)
    whole: Ints = np.asarray(total, dtype=np.int64)
    if not is_quantized(tensor_in):
        return (divide_truncating(whole, count) if statistic is Statistic.MEAN else whole).astype(tensor_out.dtype)
    input_scale, input_zero_point = _parameters(tensor_in)
    output_scale, output_zero_point = _parameters(tensor_out)
    multiplier, shift = (int(part) for part in quantize_multiplier(input_scale / output_scale))
    if statistic is Statistic.MEAN:
        places = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << places) // count, shift - places
    shifted = wrap_int32(wrap_int32(whole) - input_zero_point * count)
    least, greatest = integer_range(tensor_out.dtype)
    return np.clip(multiply(shifted, multiplier, shift) + output_zero_point, least, greatest).astype(tensor_out.dtype)


def _product_of(values: Array, axes: tuple[int, ...], tensor_in: Tensor, tensor_out: Tensor) -> Array:
    """``QuantizedReduceProd``: every step is rescaled, so the order (row by row) is part of the result."""
    input_scale, input_zero_point = _parameters(tensor_in)
    output_scale, output_zero_point = _parameters(tensor_out)
    kept = tuple(axis for axis in range(values.ndim) if axis not in axes)
    shape = tuple(values.shape[axis] for axis in kept)
    factors = values.astype(np.int64).transpose(*kept, *axes).reshape(*shape, -1) - input_zero_point
    scaling = quantize_multiplier(input_scale / np.power(output_scale, 1.0 / factors.shape[-1]))
    product = factors[..., 0]
    for i in range(1, factors.shape[-1]):
        product = multiply_wide(product * factors[..., i], *scaling)
    least, greatest = integer_range(tensor_out.dtype)
    return np.clip(multiply_wide(product, *scaling) + output_zero_point, least, greatest).astype(tensor_out.dtype)


def mean_of(
    values: Array, axes: tuple[int, ...], tensor_in: Tensor, tensor_out: Tensor, statistic: Statistic = Statistic.MEAN
) -> Array:
    """The statistic of ``values`` over ``axes``, which disappear.

    The arithmetic is the reference kernels' for as many values as there are, whatever the axes mean;
    the result has the output's dtype.
    """
    unique = tuple(sorted({axis % values.ndim for axis in axes}))
    real = np.issubdtype(values.dtype, np.floating)
    if statistic.adds:
        total = np.asarray(values.sum(axis=unique, dtype=np.float64 if real else np.int64))
        return mean_from_sum(total, math.prod(values.shape[axis] for axis in unique), tensor_in, tensor_out, statistic)
    if statistic is Statistic.PRODUCT:
        if is_quantized(tensor_in):
            return _product_of(values, unique, tensor_in, tensor_out)
        wide = values.astype(np.float64 if real else np.int64)
        with np.errstate(all="ignore"):
            return np.asarray(np.multiply.reduce(wide, axis=unique)).astype(tensor_out.dtype)
    limits = np.finfo(np.float32) if real else np.iinfo(np.dtype(values.dtype.str))
    # fmax and fmin pass over NaN, as (in > current) ? in : current does
    if statistic is Statistic.MAXIMUM:
        return np.asarray(np.fmax.reduce(values, axis=unique, initial=limits.min)).astype(tensor_out.dtype)
    return np.asarray(np.fmin.reduce(values, axis=unique, initial=limits.max)).astype(tensor_out.dtype)


@kernel(*(statistic.value for statistic in Statistic))
def reduced(context: KernelContext) -> tuple[Array, ...]:
    """A statistic over ``axes`` of a frame, never time."""
    options = context.options(StatisticOptions)
    return (
        as_frames(
            context, mean_of(context.array(0), options.axes, context.tensor(0), context.output, options.statistic)
        ),
    )


def _extreme(context: KernelContext, function: Callable[..., Ints], passed_over: float) -> tuple[Array, ...]:
    """The first place of the extreme along ``axis``, NaN passed over."""
    values = context.array(0)
    if np.issubdtype(values.dtype, np.floating):
        values = np.where(np.isnan(values.astype(np.float32)), passed_over, values)
    return (as_frames(context, function(values, axis=context.options(AxisOptions).axis)),)


@kernel("ARG_MAX")
def arg_max(context: KernelContext) -> tuple[Array, ...]:
    """The first place of the greatest value."""
    return _extreme(context, np.argmax, -np.inf)


@kernel("ARG_MIN")
def arg_min(context: KernelContext) -> tuple[Array, ...]:
    """The first place of the least value."""
    return _extreme(context, np.argmin, np.inf)
