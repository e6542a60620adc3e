"""Matrix products over the last axis of a frame."""

from __future__ import annotations

import numpy as np

from tcnstream.compiler.operations.dense import MatrixOptions
from tcnstream.engines.reference.kernels.context import (
    Doubles,
    Ints,
    KernelContext,
    as_frames,
    has_wide_sums,
    is_quantized,
    kernel,
    quantization_of,
    scale_of,
    weight_zero_point,
    zero_point_of,
)
from tcnstream.engines.reference.kernels.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    clip_floats,
    clip_to_output,
    integer_range,
    multiply,
    multiply_wide,
    quantize_multiplier,
    round_half_away,
    wrap_int32,
)
from tcnstream.engines.reference.kernels.sums import add_products
from tcnstream.tflite.graph import Array, Quantization


def unsigned_scales(context: KernelContext, weights: Quantization) -> Doubles:
    """Real multipliers from accumulators to outputs as the kernels for uint8 have them: of a float32 product.

    Source: ``GetQuantizedConvolutionMultipler``.
    """
    product = (scale_of(context, context.tensor(0)) * weights.scale).astype(np.float64)
    return product / np.float64(scale_of(context, context.output))


def dense_rescale(context: KernelContext, accumulators: Ints) -> Ints:
    """FULLY_CONNECTED's step from accumulators (..., out) to output integers without zero point.

    LiteRT's reference kernels multiply by the real scale and round once; TFLite Micro's go through
    a fixed-point multiplier, which rounds twice (int16: keeps 15 bits of it).
    Source: ``integer_ops/fully_connected.h``; TFLM: ``fully_connected_common.cc``.
    """
    weights = quantization_of(context, context.tensor(1))
    input_scale, output_scale = scale_of(context, context.tensor(0)), scale_of(context, context.output)
    scales: Doubles = np.float64(input_scale) * weights.scale.astype(np.float64) / np.float64(output_scale)
    if not has_wide_sums(context):
        accumulators = wrap_int32(accumulators)
    if context.rounding == "litert":
        rounded = round_half_away(accumulators.astype(np.float64) * scales)
        return np.clip(rounded, INT32_MIN, INT32_MAX).astype(np.int64)
    if not weights.per_channel:
        scales = (input_scale * weights.scale).astype(np.float64) / np.float64(output_scale)
    multiplier, shift = quantize_multiplier(scales)
    if context.output.dtype == np.int16:
        return multiply_wide(accumulators, multiplier, shift)
    return multiply(wrap_int32(accumulators), multiplier, shift)


def _beyond_sums(facts: KernelContext) -> str | None:
    """Sums are multiplied by the real scale and then converted to an int32."""
    weights, x, bias = quantization_of(facts, facts.tensor(1)), facts.tensor(0), facts.optional(2)
    least, greatest = integer_range(x.dtype)
    farthest = max(abs(limit - zero_point_of(facts, x)) for limit in (least, greatest))
    matrix = np.abs(facts.array(1).astype(np.float64) - weight_zero_point(facts))
    most = matrix.reshape(len(matrix), -1).sum(axis=1) * farthest
    if bias is not None:
        most = most + np.abs(bias.astype(np.float64))
    scales = np.float64(scale_of(facts, x)) * weights.scale / np.float64(scale_of(facts, facts.output))
    if (most * scales > INT32_MAX).any():
        return f"may give {(most * scales).max():.0f} steps of its output, more than 32 bits hold"
    if facts.output.dtype == np.int16 and not has_wide_sums(facts) and (most > INT32_MAX).any():
        return f"may sum up {most.max():.0f}, more than the 32 bits that the file says"
    return None


@kernel("FULLY_CONNECTED", undefined=_beyond_sums)
def fully_connected(context: KernelContext) -> tuple[Array, ...]:
    """x (t, ..., in), weights (out, in), bias (out,) or absent -> (n_frames, ..., out).

    Per-tensor weights may have a zero point; per-channel ones are symmetric by specification and
    their zero points are not read.
    """
    x = context.tensor(0)
    rows, matrix = context.array(0), context.array(1)
    rows = rows.reshape(-1, matrix.shape[1])
    bias = context.optional(2)
    if not is_quantized(x):
        sums = add_products(
            np.zeros((len(rows), len(matrix)), np.float32), rows.astype(np.float32), matrix.T.astype(np.float32)
        )
        values = sums if bias is None else sums + bias.astype(np.float32)
        return (as_frames(context, clip_floats(values, context.activation)),)
    centred_rows = rows.astype(np.float64) - zero_point_of(context, x)
    centred_matrix = matrix.astype(np.float64) - weight_zero_point(context)
    # float64 holds these integers exactly
    accumulators = (centred_rows @ centred_matrix.T).astype(np.int64)
    if bias is not None:
        accumulators = accumulators + bias.astype(np.int64)
    scaled = dense_rescale(context, accumulators)
    return (as_frames(context, clip_to_output(context, scaled + zero_point_of(context, context.output))),)


@kernel("BATCH_MATMUL")
def batch_matmul(context: KernelContext) -> tuple[Array, ...]:
    """x (t, ..., n, k) times a constant (..., k, m); ``adj_x`` / ``adj_y`` transpose the last two axes.

    A frame of rank 1 is a row: (t, k) times (k, m). Source: ``batch_matmul.h``; the integer form
    goes through a fixed-point multiplier (float32 product of the scales) and rounds twice.
    """
    x, y = context.array(0), context.array(1)
    quantized = is_quantized(context.tensor(0))
    a = x.astype(np.float64) - (zero_point_of(context, context.tensor(0)) if quantized else 0)
    b = y.astype(np.float64) - (weight_zero_point(context) if quantized else 0)
    options = context.options(MatrixOptions)
    a = np.swapaxes(a, -1, -2) if options.adj_x else a
    b = np.swapaxes(b, -1, -2) if options.adj_y else b
    product = a @ b
    if not quantized:
        with np.errstate(over="ignore"):
            return (as_frames(context, product.astype(np.float32)),)
    accumulators = product.astype(np.int64)
    scales = scale_of(context, context.tensor(0)) * scale_of(context, context.tensor(1))
    real = np.float64(scales) / np.float64(scale_of(context, context.output))
    rescale = multiply_wide if context.output.dtype == np.int16 else multiply
    scaled = rescale(accumulators, *quantize_multiplier(real))
    return (as_frames(context, clip_to_output(context, scaled + zero_point_of(context, context.output))),)
