"""Operations that read a window of frames: convolutions and pools.

Time (axis 0) needs no padding here; frequency is padded inside. Integers are multiplied and summed
in float64, which holds them exactly; float32 in the order of the reference kernels' loops (``sums``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tcnstream.compiler.operations.convolution import ConvolutionOptions
from tcnstream.compiler.operations.pool import PoolOptions
from tcnstream.compiler.spatial import SpatialOptions
from tcnstream.engines.reference.kernels.context import (
    Doubles,
    Ints,
    KernelContext,
    Reals,
    as_frames,
    has_wide_sums,
    is_quantized,
    kernel,
    scale_of,
    weight_zero_point,
    zero_point_of,
)
from tcnstream.engines.reference.kernels.dense import dense_rescale, unsigned_scales
from tcnstream.engines.reference.kernels.fixed_point import (
    activation_range,
    clip_floats,
    clip_to_output,
    divide_truncating,
    integer_range,
    multiply,
    multiply_wide,
    quantize_multiplier,
    wrap_int32,
)
from tcnstream.engines.reference.kernels.sums import add_products
from tcnstream.engines.signed import WEIGHTS
from tcnstream.tflite.graph import Array, Tensor


def operands(context: KernelContext) -> tuple[Reals, Reals]:
    """The input and the weights without their zero points, for ``add_products``."""
    x, weights = context.array(0), context.array(1)
    if not is_quantized(context.tensor(0)):
        return x.astype(np.float32, copy=False), weights.astype(np.float32, copy=False)
    centred = x.astype(np.float64) - zero_point_of(context, context.tensor(0))
    return centred, weights.astype(np.float64) - weight_zero_point(context)


def channel_scales(context: KernelContext) -> Doubles:
    """Real multiplier from accumulator to output, one per output channel (or one for all)."""
    weights = context.tensor(1).quantization
    if weights is None:
        raise context.unsupported("integer activations and weights without quantization")
    if context.tensor(1).dtype == WEIGHTS:
        return unsigned_scales(context, weights)
    input_scale = np.float64(scale_of(context, context.tensor(0)))
    return input_scale * weights.scale.astype(np.float64) / np.float64(scale_of(context, context.output))


def finish(context: KernelContext, sums: Reals) -> tuple[Array, ...]:
    """Bias, rescaling, fused activation: from accumulators (..., channels) to the output."""
    bias = context.optional(2)
    if not is_quantized(context.output):
        values = sums if bias is None else sums + bias.astype(np.float32)
        return (as_frames(context, clip_floats(values, context.activation)),)
    accumulators = sums.astype(np.int64)
    if bias is not None:
        accumulators = accumulators + bias.astype(np.int64)
    if context.options(ConvolutionOptions).dense:
        scaled = dense_rescale(context, accumulators)
    elif has_wide_sums(context):
        scaled = multiply_wide(accumulators, *quantize_multiplier(channel_scales(context)))
    else:
        scaled = multiply(wrap_int32(accumulators), *quantize_multiplier(channel_scales(context)))
    return (as_frames(context, clip_to_output(context, scaled + zero_point_of(context, context.output))),)


def pad_frequency(context: KernelContext, x: Reals, fill: float) -> Reals:
    """Axis 1 of ``x`` (t, F, C) with the node's frequency padding."""
    options = context.options(SpatialOptions)
    widths = (0, 0), (options.pad_f_begin, options.pad_f_end), (0, 0)
    padded: Reals = np.pad(x, widths, constant_values=fill)
    return padded


def taps(
    context: KernelContext,
    x: Reals,
    kernel: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
    within: tuple[int, int] | None = None,
) -> Iterator[tuple[int, int, Reals]]:
    """For every kernel element, what it reads: (t index, f index, (n_frames, F_out, C)).

    ``kernel`` and ``dilation`` are (time, frequency). With ``within``, the frames that are signal, elements that read
    nothing but padding are left out.
    """
    (kernel_t, kernel_f), (dilation_t, dilation_f) = kernel, dilation
    stride_t, stride_f = context.node.window.stride, context.options(SpatialOptions).stride_f
    frequencies = context.output.shape[0]
    elements_t, elements_f = range(kernel_t), range(kernel_f)
    if within is not None:
        options = context.options(SpatialOptions)
        bins = options.pad_f_begin, x.shape[1] - options.pad_f_end
        elements_t = _reaching(within, kernel_t, dilation_t, stride_t, context.n_frames)
        elements_f = _reaching(bins, kernel_f, dilation_f, stride_f, frequencies)
    for i in elements_t:
        frames = x[i * dilation_t :: stride_t][: context.n_frames]
        for k in elements_f:
            yield i, k, frames[:, k * dilation_f :: stride_f][:, :frequencies]


def _reaching(signal: tuple[int, int], kernel: int, dilation: int, stride: int, windows: int) -> range:
    """The elements of a kernel that any of so many windows puts on a place of ``signal``."""
    begin, end = signal
    first = max(0, begin - (windows - 1) * stride)
    return range(-(-first // dilation), min(kernel, -(-end // dilation)))


def _dilation(context: KernelContext) -> tuple[int, int]:
    options = context.options(ConvolutionOptions)
    return options.dilation_t, options.dilation_f


@kernel("CONV_2D")
def conv_2d(context: KernelContext) -> tuple[Array, ...]:
    """x (t, F, C), weights (O, kt, kf, C / groups), bias (O,) -> (n_frames, F_out, O).

    Source: ``reference_integer_ops::ConvPerChannel``, ``reference_ops::Conv``.
    """
    x, weights = operands(context)
    x = pad_frequency(context, x, 0.0)
    channels_out, kernel_t, kernel_f, depth = weights.shape
    groups = x.shape[-1] // depth
    grouped_weights = weights.reshape(groups, channels_out // groups, kernel_t, kernel_f, depth)
    sums: Reals = np.zeros((groups, context.n_frames * context.output.shape[0], channels_out // groups), x.dtype)
    for i, k, read in taps(context, x, (kernel_t, kernel_f), _dilation(context)):
        grouped = read.reshape(-1, groups, depth).transpose(1, 0, 2)
        sums = add_products(sums, grouped, grouped_weights[:, :, i, k].transpose(0, 2, 1))
    return finish(context, sums.transpose(1, 0, 2).reshape(context.n_frames, -1, channels_out))


@kernel("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(context: KernelContext) -> tuple[Array, ...]:
    """x (t, F, C), weights (kt, kf, C * multiplier), bias -> (n_frames, F_out, C * multiplier).

    Source: ``reference_integer_ops::DepthwiseConvPerChannel``.
    """
    x, weights = operands(context)
    x = pad_frequency(context, x, 0.0)
    kernel_t, kernel_f, channels_out = weights.shape
    spread: Reals = np.repeat(x, channels_out // x.shape[-1], axis=-1)
    sums: Reals = np.zeros((context.n_frames, context.output.shape[0], channels_out), x.dtype)
    for i, k, read in taps(context, spread, (kernel_t, kernel_f), _dilation(context)):
        sums = sums + read * weights[i, k]
    return finish(context, sums)


@kernel("TRANSPOSE_CONV")
def transpose_conv(context: KernelContext) -> tuple[Array, ...]:
    """x (t, F, C), weights (O, kt, kf, C), bias -> (n_frames, F_out, O).

    Output frame j is the sum over input frames i and kernel elements k with i * up + k - pad = j.
    Source: ``reference_integer_ops::TransposeConv``.
    """
    x, weights = operands(context)
    channels_out, kernel_t, kernel_f, _ = weights.shape
    options = context.options(ConvolutionOptions)
    up, stride_f = context.node.window.up, options.stride_f
    pad_t = kernel_t - 1 - context.node.window.pad_begin
    pad_f = options.pad_f_begin
    frequencies = context.output.shape[0]
    sums: Reals = np.zeros((context.n_frames, frequencies, channels_out), x.dtype)
    into_t = (np.arange(x.shape[0]) + context.first_input_frame) * up - pad_t - context.first_frame
    into_f = np.arange(x.shape[1]) * stride_f - pad_f
    # From the last kernel element on, so that the oldest input frame is added first.
    for i in reversed(range(kernel_t)):
        read_t = np.flatnonzero((into_t + i >= 0) & (into_t + i < context.n_frames))
        for k in reversed(range(kernel_f)):
            read_f = np.flatnonzero((into_f + k >= 0) & (into_f + k < frequencies))
            into = np.ix_(into_t[read_t] + i, into_f[read_f] + k)
            sums[into] = add_products(sums[into], x[np.ix_(read_t, read_f)], weights[:, i, k].T)
    return finish(context, sums)


def _pooled(context: KernelContext) -> tuple[int, int]:
    options = context.options(PoolOptions)
    return options.filter_t, options.filter_f


def _inside(context: KernelContext) -> Reals:
    """1 where arrays[0] with its frequency padding is signal, 0 in padding: (t, F, 1)."""
    begin, end = context.valid
    inside = np.zeros((context.array(0).shape[0], context.array(0).shape[1], 1))
    inside[begin:end] = 1.0
    return pad_frequency(context, inside, 0.0)


@kernel("MAX_POOL_2D")
def max_pool_2d(context: KernelContext) -> tuple[Array, ...]:
    """x (t, F, C) -> (n_frames, F_out, C), the greatest of the window's signal.

    Source: ``reference_ops::MaxPool``, ``reference_integer_ops::MaxPool``.
    """
    x = pad_frequency(context, context.array(0).astype(np.float64), 0.0)
    lowest = _lowest(context.tensor(0))
    masked = np.where(_inside(context) > 0, x, lowest)
    best = np.full((context.n_frames, context.output.shape[0], context.output.shape[-1]), lowest)
    for _, _, read in taps(context, masked, _pooled(context), within=context.valid):
        # as std::max(best, value): a NaN is never greater
        best = np.where(best < read, read, best)
    return (as_frames(context, _clip_pool(context, best)),)


@kernel("AVERAGE_POOL_2D")
def average_pool_2d(context: KernelContext) -> tuple[Array, ...]:
    """x (t, F, C) -> (n_frames, F_out, C), the mean of the window's signal, padding not counted.

    Source: ``reference_ops::AveragePool``, ``reference_integer_ops::AveragePool`` (whose rounding
    of a half goes away from zero of the raw integers, the zero point included).
    """
    wide = np.float64 if is_quantized(context.output) else np.float32
    x = pad_frequency(context, context.array(0).astype(wide), 0.0)
    inside = _inside(context)
    sums = np.zeros((context.n_frames, context.output.shape[0], context.output.shape[-1]), wide)
    for _, _, read in taps(context, np.where(inside > 0, x, wide(0.0)), _pooled(context), within=context.valid):
        sums += read
    counts = np.zeros((context.n_frames, context.output.shape[0], 1))
    for _, _, read in taps(context, inside, _pooled(context), within=context.valid):
        counts += read
    if not is_quantized(context.output):
        return (as_frames(context, clip_floats(sums / counts.astype(wide), context.activation)),)
    total, count = sums.astype(np.int64), counts.astype(np.int64)
    half = count // 2
    if context.options(PoolOptions).halves_up:
        return (as_frames(context, clip_to_output(context, (total + half) // count)),)
    mean: Ints = divide_truncating(np.where(total > 0, total + half, total - half), count)
    return (as_frames(context, clip_to_output(context, mean)),)


def _lowest(tensor: Tensor) -> float:
    if is_quantized(tensor):
        return float(integer_range(tensor.dtype)[0])
    return float(np.finfo(np.float32).min)


def _clip_pool(context: KernelContext, values: Doubles) -> Array:
    if not is_quantized(context.output):
        return clip_floats(values, context.activation)
    least, greatest = activation_range(context, context.activation, context.output)
    return np.clip(values, least, greatest)
