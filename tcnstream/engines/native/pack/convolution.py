"""Convolutions and dense layers: weights in panels, biases, scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tcnstream.compiler.operations.convolution import TRANSPOSE_CONV, ConvolutionOptions
from tcnstream.compiler.operations.dense import BATCH_MATMUL, FULLY_CONNECTED, MatrixOptions
from tcnstream.compiler.operations.time import ResampleOptions
from tcnstream.engines.native.layout.arguments import (
    MOST_IN_FOURS,
    MOST_INTERPOLATED,
    Axis,
    Conv,
    Fours,
    Interpolate,
    Rescale,
)
from tcnstream.engines.native.layout.codes import Family
from tcnstream.engines.native.layout.file import ALIGNMENT
from tcnstream.engines.native.layout.functions import ConvOp, ResampleOp
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack.context import Context, Frequency, Packed, frequency, packs, range_or_zero
from tcnstream.engines.native.pack.family import is_short, packed_for, packed_int16
from tcnstream.engines.reference.kernels.context import (
    has_wide_sums,
    is_quantized,
    quantization_of,
    scale_of,
    weight_zero_point,
    zero_point_of,
)
from tcnstream.engines.reference.kernels.fixed_point import float_range, quantize_multiplier
from tcnstream.engines.signed import WEIGHTS
from tcnstream.tflite.graph import Array


def panels(outputs: int) -> list[int]:
    """Widths of the panels in which a convolution's outputs stand."""
    widths = []
    while outputs > 0:
        widths.append(16 if outputs > 12 else 8 if outputs > 4 else 4)
        outputs -= widths[-1]
    return widths


def _spread(values: Array, groups: int) -> Array:
    """Per-output values (outputs,) padded per group to whole panels."""
    per_group = values.reshape(groups, -1)
    total = sum(panels(per_group.shape[1]))
    padded = np.zeros((groups, total), values.dtype)
    padded[:, : per_group.shape[1]] = per_group
    return padded.reshape(-1)


def _conv_weights(weights: Array, groups: int, fours: bool) -> bytes:
    """(O, kt, kf, depth) as panels: (taps, depth, w), or (taps, depth / 4, w, 4) for integers."""
    outputs, kt, kf, depth = weights.shape
    parts = []
    for group in weights.reshape(groups, outputs // groups, kt * kf, depth):
        begin = 0
        for width in panels(outputs // groups):
            panel = np.zeros((width, kt * kf, -(-depth // 4) * 4 if fours else depth), weights.dtype)
            rows = group[begin : begin + width]
            panel[: len(rows), :, :depth] = rows
            if fours:
                parts.append(panel.reshape(width, kt * kf, -1, 4).transpose(1, 2, 0, 3).tobytes())
            else:
                parts.append(panel.transpose(1, 2, 0).tobytes())
            begin += width
    return b"".join(parts)


def _exact_scale(scales: Array) -> tuple[Array, Array]:
    """float64 scales as mantissa * 2**exponent with an integer mantissa of 53 bits."""
    fraction, exponent = np.frexp(scales.astype(np.float64))
    return np.ldexp(fraction, 53).astype(np.int64), (exponent - 53).astype(np.int32)


def _rescale(context: Context, outputs: int) -> tuple[Rescale, Array, Array]:
    """How accumulators become outputs: the kind, and multiplier and shift per output."""
    facts = context.facts
    weights = quantization_of(facts, facts.tensor(1))
    dense = context.node.kind_in_file == FULLY_CONNECTED.kind
    scales = np.float64(scale_of(facts, facts.tensor(0))) * weights.scale.astype(np.float64)
    scales = scales / np.float64(scale_of(facts, facts.output))
    if dense and facts.rounding == "tflm" and not weights.per_channel:
        product = (scale_of(facts, facts.tensor(0)) * weights.scale).astype(np.float64)
        scales = product / np.float64(scale_of(facts, facts.output))
    unsigned = facts.tensor(1).dtype == WEIGHTS and not dense
    if unsigned or context.node.kind == BATCH_MATMUL.kind:
        product = (scale_of(facts, facts.tensor(0)) * weights.scale).astype(np.float64)
        scales = product / np.float64(scale_of(facts, facts.output))
    scales = np.broadcast_to(scales.reshape(-1), (outputs,))
    if dense and facts.rounding == "litert":
        mantissa, exponent = _exact_scale(scales)
        return Rescale.EXACT, mantissa, exponent
    multiplier, shift = quantize_multiplier(scales)
    rescale = Rescale.WIDE if has_wide_sums(facts) else Rescale.TWICE
    return rescale, multiplier.astype(np.int32), shift.astype(np.int32)


def _weights_of(context: Context) -> Array:
    """The weights; integer ones must stand for themselves: with a zero point they become int16, for ``_in_parts``."""
    facts = context.facts
    weights = facts.array(1)
    if not is_quantized(facts.tensor(0)):
        return weights.astype(np.float32)
    if weights.dtype == WEIGHTS:
        narrow = weights.astype(np.int8)
        return narrow if np.array_equal(narrow, weights) else weights
    if weights.dtype != np.int8:
        raise context.unsupported(f"{weights.dtype} weights")
    zero_point = weight_zero_point(facts)
    return weights.astype(np.int16) - np.int16(zero_point) if zero_point else weights


def _in_parts(context: Context, weights: Array) -> Array:
    """Weights (O, kt, 1, depth) beyond int8 as sums of int8 ones, which are taps of one and the same place."""
    if weights.shape[2] != 1 or context.node.kind == TRANSPOSE_CONV.kind:
        raise context.unsupported("weights that have a zero point")
    parts: list[Array] = []
    rest = weights.astype(np.int64)
    while rest.any() or not parts:
        part = np.clip(rest, -128, 127)
        parts.append(part.astype(np.int8))
        rest = rest - part
    return np.concatenate(parts, axis=2)


def _convolution(
    context: Context,
    kind: Kind,
    weights: Array,
    channels: int,
    groups: int,
    places: tuple[int, int],
    frequency: Frequency,
    sets: Sequence[Array] = (),
) -> Packed:
    """CONV and its kin: weights (O, kt, kf, depth), or (1, kt, kf, O) for DEPTHWISE.

    ``places`` are those of the frequency axis, in and out. ``sets`` are those of RESAMPLE, each like ``weights``.
    """
    facts = context.facts
    depthwise = kind == Kind.DEPTHWISE
    if weights.dtype == np.int16:
        weights, frequency = _in_parts(context, weights), frequency._replace(dilation=0)
    outputs, kt, kf = (weights.shape[3] if depthwise else weights.shape[0]), weights.shape[1], weights.shape[2]
    options = context.node.options
    dilation_t = options.dilation_t if isinstance(options, ConvolutionOptions) else 1
    bias = facts.optional(2)
    quantized = is_quantized(facts.tensor(0))
    zero_in = zero_point_of(facts, facts.tensor(0)) if quantized else 0
    axis = None
    if kind == Kind.TRANSPOSE_CONV or (*places, kf, frequency.pad_begin) != (1, 1, 1, 0):
        axis = Axis(
            taps_f=kf,
            dilation_f=frequency.dilation,
            stride_f=frequency.stride,
            pad_f=frequency.pad_begin,
            f_in=places[0],
            f_out=places[1],
            edge_f=np.full(channels, zero_in, facts.tensor(0).dtype if quantized else np.float32).tobytes(),
        )
    dtype = facts.tensor(0).dtype
    sums = None
    bias_u8: bytes | None = None
    multiplier: bytes | None = None
    shift: bytes | None = None
    rescale, zero_out, low, high = Rescale.FLOAT, 0, 0, 0
    spread = (lambda v: v) if depthwise else (lambda v: _spread(v, groups))
    if quantized:
        if dtype not in (np.int8, np.int16) or facts.output.dtype != dtype:
            raise context.unsupported(f"{dtype} input and {facts.output.dtype} output")
        zero_out = zero_point_of(facts, facts.output)
        low, high = range_or_zero(facts)
        axes = (0, 1, 2) if depthwise else (1, 2, 3)
        sums = weights.astype(np.int64).sum(axis=axes)
        whole = (np.zeros(outputs, np.int64) if bias is None else bias.astype(np.int64)) - zero_in * sums
        rescale, multipliers, shifts = _rescale(context, outputs)
        if dtype == np.int8 and rescale == Rescale.TWICE and is_short(weights, axes, whole, shifts):
            rescale = Rescale.SHORT
        in_fours = None
        narrow = max(kt * kf, dilation_t, channels, outputs) <= MOST_IN_FOURS
        if context.family != Family.PORTABLE and kind in (Kind.CONV, Kind.DEPTHWISE) and not sets and narrow:
            if rescale == Rescale.SHORT:
                in_fours = packed_for(context.family, kind, weights, channels, groups, whole, multipliers, shifts)
            elif dtype == np.int16 and rescale == Rescale.WIDE and kind == Kind.CONV:
                in_fours = packed_int16(context.family, weights, groups, whole, multipliers, shifts)
        if in_fours is not None:
            fours = Fours(
                taps=kt * kf,
                dilation_t=dilation_t,
                channels=channels,
                outputs=outputs,
                weights=in_fours,
                zero_out=zero_out,
                low=low,
                high=high,
                has_axis=axis is not None,
            )
            return Packed(kind, context.streams, fours, ConvOp.FOURS, taps=kt * kf, behind=axis)
        multiplier, shift = spread(multipliers).tobytes(), spread(shifts).tobytes()
        if dtype == np.int8:
            bias_bytes = spread(whole.astype(np.int32)).tobytes()
            if context.family == Family.PORTABLE:
                bias_u8 = spread((whole - 128 * sums).astype(np.int32)).tobytes()
        else:
            bias_bytes = spread(whole).tobytes()
    else:
        bias_bytes = spread(np.zeros(outputs, np.float32) if bias is None else bias.astype(np.float32)).tobytes()
    low_f, high_f = (-math.inf, math.inf) if sets else float_range(facts.activation)
    packed = [
        np.ascontiguousarray(w).tobytes() if depthwise else _conv_weights(w, groups, fours=quantized)
        for w in sets or (weights,)
    ]
    set_bytes = len(packed[0]) + (-len(packed[0]) % ALIGNMENT if sets else 0)
    arguments = Conv(
        taps_t=kt,
        taps_f=kf,
        dilation_t=dilation_t,
        channels=channels,
        groups=groups,
        outputs=outputs,
        weights=b"".join(one.ljust(set_bytes, b"\0") for one in packed),
        bias=bias_bytes,
        bias_u8=bias_u8,
        multiplier=multiplier,
        shift=shift,
        rescale=rescale,
        zero_out=zero_out,
        low=low,
        high=high,
        has_axis=axis is not None,
        low_f=low_f,
        high_f=high_f,
    )
    return Packed(kind, context.streams, arguments, ConvOp.PANELS, taps=kt * kf, behind=axis)


@packs("CONV_2D")
def _conv_2d(context: Context) -> Packed:
    weights = _weights_of(context)
    f_in, channels = context.node.views[0]
    groups = channels // weights.shape[3]
    places = (f_in, context.target.shape[0])
    return _convolution(context, Kind.CONV, weights, channels, groups, places, frequency(context))


@packs("DEPTHWISE_CONV_2D")
def _depthwise(context: Context) -> Packed:
    weights = _weights_of(context)
    f_in, channels = context.node.views[0]
    places = (f_in, context.target.shape[0])
    return _convolution(context, Kind.DEPTHWISE, weights[None], channels, channels, places, frequency(context))


@packs("TRANSPOSE_CONV")
def _transpose_conv(context: Context) -> Packed:
    weights = _weights_of(context)
    f_in, channels = context.node.views[0]
    if context.node.window.pad_begin >= weights.shape[1]:
        raise context.unsupported("padding beyond its kernel")
    places = (f_in, context.target.shape[0])
    return _convolution(context, Kind.TRANSPOSE_CONV, weights, channels, 1, places, frequency(context))


@packs("TIME_RESAMPLE")
def _resample(context: Context) -> Packed:
    if context.source.dtype != np.float32:
        return _interpolate(context)
    weights = _weights_of(context)  # (up, taps, channels, filters)
    up, taps, channels, filters = weights.shape
    separable = context.node.options_of(ResampleOptions).separable
    if separable:
        sets, groups = weights.reshape(up, 1, taps, 1, channels * filters), channels
    else:
        sets, groups = weights.transpose(0, 3, 1, 2)[:, :, :, None], 1
    kind = Kind.DEPTHWISE if separable else Kind.CONV
    packed = _convolution(context, kind, sets[0], channels, groups, (1, 1), Frequency(), sets=tuple(sets))
    return replace(packed, kind=Kind.RESAMPLE, op=ResampleOp.DEPTHWISE if separable else ResampleOp.CONV)


def _interpolate(context: Context) -> Packed:
    """Between integers; the weights are the same for all channels."""
    weights = context.facts.array(1)[:, :, 0, 0].astype(np.int16)
    if context.source.dtype not in (np.int8, np.int16) or weights.shape[1] > MOST_INTERPOLATED:
        raise context.unsupported(f"{context.source.dtype} frames between {weights.shape[1]} others")
    arguments = Interpolate(taps=weights.shape[1], weights=np.ascontiguousarray(weights).tobytes())
    return Packed(Kind.INTERPOLATE, context.streams, arguments)


@packs("FULLY_CONNECTED")
def _fully_connected(context: Context) -> Packed:
    weights = _weights_of(context)
    outputs, depth = weights.shape
    rows = math.prod(context.node.views[0]) // depth
    return _convolution(context, Kind.CONV, weights.reshape(outputs, 1, 1, depth), depth, 1, (rows, rows), Frequency())


@packs("BATCH_MATMUL")
def _batch_matmul(context: Context) -> Packed:
    """A constant matrix on the right is a dense layer for every row, with the rounding of its own."""
    weights, options = _weights_of(context), context.node.options_of(MatrixOptions)
    if options.adj_x:
        raise context.unsupported("a transposed left operand")
    matrix = weights if options.adj_y else np.swapaxes(weights, -1, -2)  # (..., outputs, depth)
    matrices, (outputs, depth) = math.prod(matrix.shape[:-2]), matrix.shape[-2:]
    rows = math.prod(context.node.views[0]) // depth
    if matrices == 1:
        return _convolution(
            context, Kind.CONV, matrix.reshape(outputs, 1, 1, depth), depth, 1, (rows, rows), Frequency()
        )
    if rows != matrices:
        raise context.unsupported("a matrix per batch")
    grouped = matrix.reshape(matrices * outputs, 1, 1, depth)
    return _convolution(context, Kind.CONV, grouped, matrices * depth, matrices, (1, 1), Frequency())
