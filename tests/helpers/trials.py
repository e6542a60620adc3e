"""Random trials of every operation: shapes, quantization and data that exercise its rules. ``singleop`` runs them.

A builder takes a generator and a dtype and gives a Trial; ``CASES`` has the builder and the dtypes of every operation
that the compiler knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from helpers.singleop import Trial, tensor
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.convolution import ConvolutionOptions
from tcnstream.compiler.operations.cuts import PadOptions, SliceOptions
from tcnstream.compiler.operations.layout import ReverseOptions, TileOptions, TransposeOptions
from tcnstream.compiler.operations.pool import PoolOptions
from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import NO_OPTIONS, AxisOptions, Options, Window
from tcnstream.tflite.graph import Array, Tensor
from tcnstream.tflite.validate import broadcast, same

F32, I8, U8, I16, I32, I64, BOOL = np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_
QUANTIZED = (I8, I16)
ENCODED = (I8, U8, I16)

Rng = np.random.Generator


class FarScales(np.random.Generator):
    """Draws quantization that no converter writes: scales far apart, zero points at the ends, long biases."""

    @classmethod
    def of(cls, seed: int) -> FarScales:
        return cls(np.random.PCG64(seed))

    def farther(self, scale: Any, least: float, most: float) -> Any:
        """Every other scale, times two to a power between these."""
        apart = self.random(np.shape(scale)) < 0.5
        return np.where(apart, scale * 2.0 ** self.uniform(least, most, np.shape(scale)), scale).astype(np.float32)


Build = Callable[[Rng, Any], Trial]


def values(rng: Rng, shape: tuple[int, ...], dtype: Any, low: float = -4.0, high: float = 4.0) -> Array:
    """Random numbers that use the whole range of an integer type, extremes included."""
    if dtype is F32:
        return rng.uniform(low, high, shape).astype(F32)
    if dtype is BOOL:
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype) if dtype in ENCODED else np.iinfo(I8)
    drawn = rng.integers(limits.min, limits.max, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.05, rng.choice([limits.min, limits.max], shape), drawn).astype(dtype)


def some_scale(rng: Rng, dtype: Any, around: float = 6.0) -> np.float32:
    """A scale that makes the type span about ``around``, give or take a factor of four."""
    scale = F32(2 * around / 4.0 ** rng.uniform(-1, 1) / (2.0 ** (8 * np.dtype(dtype).itemsize)))
    return F32(rng.farther(scale, -10, 10)) if isinstance(rng, FarScales) else scale


def quantized(rng: Rng, shape: tuple[int, ...], dtype: Any, around: float = 6.0, **fixed: Any) -> Tensor:
    """A tensor of this type, with random quantization if it is int8 or int16."""
    if dtype not in ENCODED:
        return tensor(shape, dtype)
    limits = np.iinfo(dtype)
    zero_point = 0 if dtype is I16 else int(rng.integers(limits.min, limits.max, endpoint=True))
    if isinstance(rng, FarScales) and dtype is not I16 and rng.random() < 0.3:
        zero_point = any_of(rng, limits.min, limits.max)
    chosen = {"scale": some_scale(rng, dtype, around), "zero_point": zero_point}
    return tensor(shape, dtype, **(chosen | fixed))


def some_shape(rng: Rng, rank: int = 3) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(1, 7, rank))


def any_of(rng: Rng, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


def bias_of(rng: Rng, x: Tensor, weights: Tensor, channels: int, depth: int, always: bool = False) -> Tensor | None:
    """A bias of the type and scale that the converter writes, sometimes none."""
    if not always and rng.random() < 0.25:
        return None
    if x.quantization is None or weights.quantization is None:
        return tensor((channels,), F32, data=values(rng, (channels,), F32))
    wide = x.dtype == I16
    limit = 60 * (256 if wide else 1) * math.isqrt(100 * depth)
    scales = x.quantization.scale * weights.quantization.scale
    if isinstance(rng, FarScales):
        limit = any_of(rng, limit, 2**31 - 1, 2**40 if wide else 2**31 - 1)
    return tensor((channels,), I64 if wide else I32, scale=scales, data=rng.integers(-limit, limit, channels))


def weights_of(rng: Rng, dtype: Any, shape: tuple[int, ...], axis: int, per_tensor: bool = False) -> Tensor:
    """Symmetric int8 weights, per channel or per tensor, or float32 ones."""
    if dtype is F32:
        return tensor(shape, F32, data=values(rng, shape, F32, -1, 1))
    scales = rng.uniform(0.2, 1.0, 1 if per_tensor else shape[axis]) / 127
    if isinstance(rng, FarScales):
        scales = rng.farther(scales, -14, 8)
    return tensor(shape, I8, scale=scales, axis=axis, data=rng.integers(-127, 127, shape, endpoint=True))


def scale_to_fit(rng: Rng, x: Tensor, weights: Tensor, depth: int, shape: tuple[int, ...]) -> Tensor:
    """An output tensor whose scale lets a typical sum of ``depth`` products use its range, sometimes exceed it."""
    if x.quantization is None or weights.quantization is None:
        return tensor(shape, F32)
    spread = 74 * 2.0 ** (8 * x.dtype.itemsize - 8) * math.sqrt(depth)
    step = float(x.quantization.scale[0]) * float(weights.quantization.scale.mean()) * spread * 74
    scale = step / 2.0 ** (8 * x.dtype.itemsize - 8) / rng.uniform(10, 60)
    if isinstance(rng, FarScales):
        scale = float(rng.farther(scale, -20, 4))
    zero_point = 0 if x.dtype == I16 else int(rng.integers(-128, 128))
    return tensor(shape, x.dtype, scale=scale, zero_point=zero_point)


@dataclass(frozen=True)
class AxisWindow:
    """One axis of a window operation with padding as SAME or VALID gives it."""

    size: int
    kernel: int
    stride: int
    dilation: int
    same: bool

    @property
    def extent(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    @property
    def outputs(self) -> int:
        return -(-self.size // self.stride) if self.same else -(-(self.size - self.extent + 1) // self.stride)

    @property
    def padding(self) -> tuple[int, int]:
        total = max((self.outputs - 1) * self.stride + self.extent - self.size, 0) if self.same else 0
        return total // 2, total - total // 2


def windows(rng: Rng, dilated: bool = True) -> tuple[AxisWindow, AxisWindow]:
    """Time and frequency axes; dilation and stride are never both above 1, as in TensorFlow."""
    same = bool(rng.random() < 0.5)
    both = []
    for axis in range(2):
        kernel = int(rng.integers(1, 6 if axis == 0 else 4))
        strided = not dilated or rng.random() < 0.5
        stride, dilation = (int(rng.integers(1, 4)), 1) if strided else (1, int(rng.integers(1, 4)))
        extent = (kernel - 1) * dilation + 1
        both.append(AxisWindow(extent + int(rng.integers(0, 9)), kernel, stride, dilation, same))
    return both[0], both[1]


def padded_in_time(x: Array, t: AxisWindow, fill: int) -> Array:
    """What a plan feeds: the frames (t, F, C) with padding and cut to what is read."""
    begin, end = t.padding
    padded = np.pad(x[0], ((begin, end), (0, 0), (0, 0)), constant_values=fill)
    return padded[: (t.outputs - 1) * t.stride + t.extent]


def zero_of(whole: Tensor) -> int:
    return 0 if whole.quantization is None else int(whole.quantization.zero_point[0])


def frame_of(whole: Tensor) -> Tensor:
    """Facts of a stream whose file tensor is (1, t, ...)."""
    return replace(whole, shape=whole.shape[2:])


def convolution(rng: Rng, dtype: Any, arithmetic: str = "") -> Trial:
    t, f = windows(rng)
    groups = any_of(rng, 1, 1, 2, 3)
    depth, channels = groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 4))
    x = quantized(rng, (1, t.size, f.size, depth), dtype)
    weights = weights_of(rng, dtype, (channels, t.kernel, f.kernel, depth // groups), 0, bool(rng.random() < 0.3))
    output = scale_to_fit(rng, x, weights, t.kernel * f.kernel * depth // groups, (1, t.outputs, f.outputs, channels))
    bias = bias_of(rng, x, weights, channels, t.kernel * f.kernel * depth, always=True)
    return window_trial(rng, "CONV_2D", t, f, x, weights, weights, bias, output, {})


def depthwise(rng: Rng, dtype: Any) -> Trial:
    t, f = windows(rng)
    depth, multiplier = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    channels = depth * multiplier
    if t.stride != f.stride:
        f = replace(f, stride=t.stride)
    x = quantized(rng, (1, t.size, f.size, depth), dtype)
    weights = weights_of(rng, dtype, (1, t.kernel, f.kernel, channels), 3, bool(rng.random() < 0.3))
    canonical = replace(weights, shape=weights.shape[1:], data=weights.data[0])
    if weights.quantization is not None:
        canonical = replace(canonical, quantization=replace(weights.quantization, axis=2))
    output = scale_to_fit(rng, x, weights, t.kernel * f.kernel, (1, t.outputs, f.outputs, channels))
    bias = bias_of(rng, x, weights, channels, t.kernel * f.kernel, always=True)
    options = {"depth_multiplier": multiplier}
    return window_trial(rng, "DEPTHWISE_CONV_2D", t, f, x, weights, canonical, bias, output, options)


def window_trial(
    rng: Rng,
    kind: str,
    t: AxisWindow,
    f: AxisWindow,
    x: Tensor,
    weights: Tensor,
    canonical: Tensor,
    bias: Tensor | None,
    output: Tensor,
    options: dict[str, Any],
) -> Trial:
    activation = any_of(rng, *ACTIVATIONS)
    feed = values(rng, x.shape, x.dtype.type)
    file_options = {
        "padding": "SAME" if t.same else "VALID",
        "stride_h": t.stride,
        "stride_w": f.stride,
        "dilation_h_factor": t.dilation,
        "dilation_w_factor": f.dilation,
        "fused_activation_function": activation,
    }
    plan_options = ConvolutionOptions(
        activation=activation,
        stride_f=f.stride,
        pad_f_begin=f.padding[0],
        pad_f_end=f.padding[1],
        dilation_t=t.dilation,
        dilation_f=f.dilation,
    )
    return Trial(
        kind,
        (x, weights, bias),
        (feed,),
        (output,),
        file_options | options,
        plan_options=plan_options,
        plan_operands=(frame_of(x), canonical, bias),
        plan_arrays=(padded_in_time(feed, t, zero_of(x)), canonical.data, None if bias is None else bias.data),
        plan_outputs=(frame_of(output),),
        n_frames=t.outputs,
        window=Window(stride=t.stride, extent=t.extent, pad_begin=t.padding[0]),
    )


def pool(kind: str) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        t, f = windows(rng, dilated=False)
        channels = int(rng.integers(1, 5))
        x = quantized(rng, (1, t.size, f.size, channels), dtype)
        output = replace(x, shape=(1, t.outputs, f.outputs, channels))
        feed = values(rng, x.shape, dtype)
        activation = any_of(rng, *ACTIVATIONS)
        begin, _ = t.padding
        frames = padded_in_time(feed, t, 99)
        return Trial(
            kind,
            (x,),
            (feed,),
            (output,),
            {
                "padding": "SAME" if t.same else "VALID",
                "stride_h": t.stride,
                "stride_w": f.stride,
                "filter_height": t.kernel,
                "filter_width": f.kernel,
                "fused_activation_function": activation,
            },
            plan_options=PoolOptions(
                activation=activation,
                stride_f=f.stride,
                pad_f_begin=f.padding[0],
                pad_f_end=f.padding[1],
                filter_t=t.kernel,
                filter_f=f.kernel,
            ),
            plan_operands=(frame_of(x),),
            plan_arrays=(frames,),
            plan_outputs=(frame_of(output),),
            n_frames=t.outputs,
            window=Window(stride=t.stride, extent=t.kernel, pad_begin=begin),
            valid=(begin, min(begin + t.size, frames.shape[0])),
        )

    return build


def transposed(rng: Rng, dtype: Any) -> Trial:
    """SAME or VALID; the plan's form reads all input frames with (extent - 1) // up frames of padding around."""
    size_t, size_f = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    kernel_t, kernel_f = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    up, up_f = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    same = bool(rng.random() < 0.5)
    depth, channels = int(rng.integers(1, 4)), int(rng.integers(1, 4))

    def axis(size: int, kernel: int, stride: int) -> tuple[int, int]:
        outputs = size * stride if same else (size - 1) * stride + kernel
        pad = max((size - 1) * stride + kernel - outputs, 0) // 2
        return outputs, pad

    (out_t, pad_t), (out_f, pad_f) = axis(size_t, kernel_t, up), axis(size_f, kernel_f, up_f)
    x = quantized(rng, (1, size_t, size_f, depth), dtype)
    weights = weights_of(rng, dtype, (channels, kernel_t, kernel_f, depth), 0, bool(rng.random() < 0.3))
    output = scale_to_fit(rng, x, weights, max(1, depth * kernel_t * kernel_f // up), (1, out_t, out_f, channels))
    bias = bias_of(rng, x, weights, channels, depth * kernel_t * kernel_f)
    activation = any_of(rng, *ACTIVATIONS)
    feed = values(rng, x.shape, dtype)
    shape = tensor((4,), I32, data=[1, out_t, out_f, channels])
    operands = (shape, weights, x) if bias is None else (shape, weights, x, bias)
    return Trial(
        "TRANSPOSE_CONV",
        operands,
        (feed,),
        (output,),
        {
            "padding": "SAME" if same else "VALID",
            "stride_h": up,
            "stride_w": up_f,
            "fused_activation_function": activation,
        },
        plan_options=ConvolutionOptions(activation=activation, stride_f=up_f, pad_f_begin=pad_f),
        plan_operands=(frame_of(x), weights, bias),
        plan_arrays=(feed[0], weights.data, None if bias is None else bias.data),
        plan_outputs=(frame_of(output),),
        n_frames=out_t,
        window=Window(up=up, extent=kernel_t, pad_begin=kernel_t - 1 - pad_t),
    )


def dense(rng: Rng, dtype: Any) -> Trial:
    rows, depth, channels = int(rng.integers(1, 9)), int(rng.integers(1, 20)), int(rng.integers(1, 6))
    per_tensor = bool(rng.random() < 0.5)
    x = quantized(rng, (rows, depth), dtype)
    weights = weights_of(rng, dtype, (channels, depth), 0, per_tensor)
    if weights.quantization is not None and per_tensor and dtype is I8 and rng.random() < 0.5:
        weights = replace(
            weights, quantization=replace(weights.quantization, zero_point=np.array([rng.integers(-9, 9)]))
        )
    output = scale_to_fit(rng, x, weights, depth, (rows, channels))
    bias = bias_of(rng, x, weights, channels, depth)
    options = {"fused_activation_function": any_of(rng, *ACTIVATIONS)}
    return Trial("FULLY_CONNECTED", (x, weights, bias), (values(rng, x.shape, dtype),), (output,), options)


def matrix_product(rng: Rng, dtype: Any) -> Trial:
    t, n, k, m = some_shape(rng, 4)
    adj_x, adj_y = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    x = quantized(rng, (t, k, n) if adj_x else (t, n, k), dtype)
    shape = (m, k) if adj_y else (k, m)
    y = quantized(rng, shape, dtype)
    y = replace(y, data=values(rng, shape, dtype))
    output = scale_to_fit(rng, x, y, k, (t, n, m))
    if dtype is I16:
        output = replace(output, quantization=replace(output.quantization, scale=output.quantization.scale * F32(256)))
    options = {"adj_x": adj_x, "adj_y": adj_y}
    return Trial("BATCH_MATMUL", (x, y), (values(rng, x.shape, dtype),), (output,), options)


def unary(
    kind: str, low: float = -4.0, high: float = 4.0, around: float = 4.0, out: Any = None, **options: Any
) -> Build:
    """One operand, all values of int8 and (spread over the trials) of int16."""

    def build(rng: Rng, dtype: Any) -> Trial:
        fixed = (out or {}).get(dtype, {})
        if dtype is F32:
            feed = np.concatenate([values(rng, (5, 12), F32, low, high), np.full((1, 12), max(low, 0.0), F32)])
        else:
            limits = np.iinfo(dtype if dtype in QUANTIZED else I8)
            feed = np.arange(limits.min, limits.max + 1).astype(dtype).reshape(-1, 16)
        x = quantized(rng, feed.shape, dtype, around=12.0 * 4.0 ** rng.uniform(-2, 1) if dtype in QUANTIZED else 1)
        output = quantized(rng, feed.shape, dtype, around=around, **fixed)
        return Trial(kind, (x,), (feed,), (output,), options)

    return build


def binary(
    kind: str, act: bool = False, low: float = -4.0, high: float = 4.0, same_scale: bool = False, **fixed: Any
) -> Build:
    """Two operands: equal shapes, a constant per channel, a constant scalar, or a constant on the left.

    ``same_scale``: values are copied or compared raw, so all have one scale.
    """

    def build(rng: Rng, dtype: Any) -> Trial:
        shape = some_shape(rng)
        output_dtype = fixed.get("out", dtype)
        a, b = quantized(rng, shape, dtype), quantized(rng, shape, dtype)
        if same_scale:
            b = replace(b, quantization=a.quantization)
        output = quantized(rng, shape, output_dtype, around=12.0)
        if same_scale:
            output = replace(output, quantization=a.quantization)
        options = {"fused_activation_function": any_of(rng, *ACTIVATIONS)} if act else {}
        feeds = [values(rng, shape, dtype, low, high) for _ in range(2)]
        which = int(rng.integers(4))
        if which:
            side = 0 if which == 3 else 1
            narrow = (shape[-1],) if which != 2 else (1,)
            constant = replace((a, b)[side], shape=narrow, data=values(rng, narrow, dtype, low, high))
            operands = (constant, b) if side == 0 else (a, constant)
            return Trial(kind, operands, feeds[:1], (output,), options)
        return Trial(kind, (a, b), feeds, (output,), options)

    return build


def adding(kind: str) -> Build:
    """ADD and SUB; int16 sometimes with the shifts that old converters ask for (the option's default)."""

    def build(rng: Rng, dtype: Any) -> Trial:
        trial = binary(kind, act=True)(rng, dtype)
        flag = {"pot_scale_int16": bool(rng.random() < 0.5)}
        trial = replace(trial, options={**trial.options, **flag})
        if dtype is not I16 or rng.random() < 0.5:
            return trial
        shape, output = trial.outputs[0].shape, 2.0 ** float(rng.integers(-15, -8))
        scales = [output, output / 2.0 ** float(rng.integers(0, 5))]
        a, b = (tensor(shape, I16, scale=scale) for scale in rng.permutation(scales))
        feeds = [values(rng, shape, I16) for _ in range(2)]
        return replace(trial, operands=(a, b), feeds=feeds, outputs=(tensor(shape, I16, scale=output),))

    return build


def moved(
    kind: str,
    change: Callable[[Rng, tuple[int, ...]], tuple[dict[str, Any], Options, list[Array], tuple[int, ...]]],
    rank: int = 3,
) -> Build:
    """An operation that moves values: ``change`` gives options of file and plan, constant operands, output shape."""

    def build(rng: Rng, dtype: Any) -> Trial:
        shape = some_shape(rng, rank)
        x = quantized(rng, shape, dtype)
        file_options, plan_options, constants, out_shape = change(rng, shape)
        operands = (x, *(tensor(c.shape, c.dtype, data=c) for c in constants))
        return Trial(
            kind,
            operands,
            (values(rng, shape, dtype),),
            (replace(x, shape=out_shape),),
            file_options,
            plan_options=plan_options,
            fill=zero_of(x) if dtype in QUANTIZED else 0,
        )

    return build


def int32(*numbers: Any) -> Array:
    return np.asarray(numbers, I32)


def reshaping(rng: Rng, shape: tuple[int, ...]) -> Any:
    out = (shape[0], shape[2] * shape[1])
    return {"new_shape": out}, NO_OPTIONS, [int32(*out)], out


def expanding(rng: Rng, shape: tuple[int, ...]) -> Any:
    return {}, NO_OPTIONS, [int32(1)], (shape[0], 1, *shape[1:])


def transposing(rng: Rng, shape: tuple[int, ...]) -> Any:
    perm = (0, *(int(axis) for axis in 1 + rng.permutation(2)))
    return {}, TransposeOptions(perm), [int32(*perm)], tuple(shape[axis] for axis in perm)


def reversing(rng: Rng, shape: tuple[int, ...]) -> Any:
    axes = any_of(rng, (1,), (2,), (1, 2))
    return {}, ReverseOptions(axes), [int32(*axes)], shape


def padding(mirror: bool) -> Any:
    def change(rng: Rng, shape: tuple[int, ...]) -> Any:
        mode = any_of(rng, "REFLECT", "SYMMETRIC")
        most = [n - (mode == "REFLECT") if mirror else 3 for n in shape]
        pairs = [(0, 0), *((int(rng.integers(0, m + 1)), int(rng.integers(0, m + 1))) for m in most[1:])]
        out = tuple(n + sum(pair) for n, pair in zip(shape, pairs, strict=True))
        options = {"mode": mode} if mirror else {}
        flat = tuple(n for pair in pairs[1:] for n in pair)
        return options, PadOptions(flat, mode if mirror else ""), [np.array(pairs, I32)], out

    return change


def slicing(rng: Rng, shape: tuple[int, ...]) -> Any:
    begin = [0, *(int(rng.integers(0, n)) for n in shape[1:])]
    size = [shape[0], *(int(rng.integers(1, n - b + 1)) for n, b in zip(shape[1:], begin[1:], strict=True))]
    end = tuple(b + s for b, s in zip(begin, size, strict=True))
    return {}, SliceOptions(tuple(begin[1:]), end[1:], (1,) * len(end[1:])), [int32(*begin), int32(*size)], tuple(size)


def slicing_with_strides(rng: Rng, shape: tuple[int, ...]) -> Any:
    begin, end, stride, out = [0], [shape[0]], [1], [shape[0]]
    for n in shape[1:]:
        s = int(any_of(rng, 1, 2, 3, -1, -2))
        b = int(rng.integers(0, n))
        e = int(rng.integers(b + 1, n + 1)) if s > 0 else int(rng.integers(-1, b))
        begin.append(b)
        stride.append(s)
        end.append(e)
        out.append(-(-(e - b) // s))
    # TFLite reads a negative end from the back: -1 - n is before the start
    file_end = [e if e >= 0 else -1 - n for e, n in zip(end, shape, strict=True)]
    plan = SliceOptions(tuple(begin[1:]), tuple(end[1:]), tuple(stride[1:]))
    return {}, plan, [int32(*begin), int32(*file_end), int32(*stride)], tuple(out)


def tiling(rng: Rng, shape: tuple[int, ...]) -> Any:
    multiples = (1, *(int(n) for n in rng.integers(1, 4, 2)))
    return {}, TileOptions(multiples[1:]), [int32(*multiples)], tuple(np.multiply(shape, multiples).tolist())


def gathering(rng: Rng, shape: tuple[int, ...]) -> Any:
    axis = int(rng.integers(1, 3))
    indices = rng.integers(0, shape[axis], int(rng.integers(1, 5))).astype(I32)
    return {"axis": axis}, AxisOptions(axis), [indices], (*shape[:axis], indices.size, *shape[axis + 1 :])


def resizing(rng: Rng, dtype: Any) -> Trial:
    frames, size, channels = some_shape(rng)
    wanted = int(rng.integers(1, 13))
    x = quantized(rng, (1, frames, size, channels), dtype)
    feed = values(rng, x.shape, dtype)
    output = replace(x, shape=(1, frames, wanted, channels))
    align, half = any_of(rng, (False, False), (True, False), (False, True))
    options = {"align_corners": align, "half_pixel_centers": half}
    return Trial(
        "RESIZE_NEAREST_NEIGHBOR",
        (x, tensor((2,), I32, data=[frames, wanted])),
        (feed,),
        (output,),
        options,
        plan_operands=(frame_of(x),),
        plan_arrays=(feed[0],),
        plan_outputs=(frame_of(output),),
        n_frames=frames,
    )


def squeezing(rng: Rng, dtype: Any) -> Trial:
    shape = (*some_shape(rng, 2), 1)
    x = quantized(rng, shape, dtype)
    return Trial("SQUEEZE", (x,), (values(rng, shape, dtype),), (replace(x, shape=shape[:2]),), {"squeeze_dims": (2,)})


def padding_with_value(rng: Rng, dtype: Any) -> Trial:
    trial = moved("PAD", padding(False))(rng, dtype)
    fill = values(rng, (1,), dtype)
    constant = replace(trial.operands[0], shape=(1,), data=fill)
    return replace(trial, kind="PADV2", operands=(*trial.operands, constant), fill=fill[0].item())


def stretching(rng: Rng, dtype: Any) -> Trial:
    t, n = some_shape(rng, 2)
    x = quantized(rng, (t, n, 1), dtype)
    out = (t, n, int(rng.integers(1, 5)))
    return Trial(
        "BROADCAST_TO", (x, tensor((3,), I32, data=out)), (values(rng, x.shape, dtype),), (replace(x, shape=out),)
    )


def joining(rng: Rng, dtype: Any) -> Trial:
    axis, shape = int(rng.integers(1, 3)), list(some_shape(rng))
    x = quantized(rng, tuple(shape), dtype)
    sizes = [int(n) for n in rng.integers(1, 5, 3)]
    parts = [replace(x, shape=(*shape[:axis], n, *shape[axis + 1 :])) for n in sizes]
    if rng.random() < 0.3:
        same = np.repeat(values(rng, (1, *parts[1].shape[1:]), dtype), shape[0], axis=0)
        parts[1] = replace(parts[1], data=same)
    output = replace(x, shape=(*shape[:axis], sum(sizes), *shape[axis + 1 :]))
    feeds = [values(rng, part.shape, dtype) for part in parts if part.data is None]
    trial = Trial("CONCATENATION", parts, feeds, (output,), {"axis": axis})
    if parts[1].data is None:
        return trial
    frame = replace(parts[1], shape=(1, *parts[1].shape[1:]), data=parts[1].data[:1])
    ends = [Tensor(p.name, p.shape[1:], p.dtype, p.quantization) for p in parts]
    return replace(trial, plan_operands=(ends[0], frame, ends[2]), plan_arrays=(feeds[0], frame.data, feeds[1]))


def parting(kind: str) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        axis, shape = int(rng.integers(1, 3)), list(some_shape(rng))
        sizes = [int(n) for n in rng.integers(1, 5, 3)] if kind == "SPLIT_V" else [int(rng.integers(1, 4))] * 3
        shape[axis] = sum(sizes)
        x = quantized(rng, tuple(shape), dtype)
        outputs = [replace(x, shape=(*shape[:axis], n, *shape[axis + 1 :])) for n in sizes]
        place = tensor((1,), I32, data=[axis])
        operands = (place, x) if kind == "SPLIT" else (x, tensor((3,), I32, data=sizes), place)
        feed = values(rng, x.shape, dtype)
        return Trial(
            kind,
            operands,
            (feed,),
            outputs,
            {"num_splits": 3},
            plan_options=AxisOptions(axis),
            plan_operands=(replace(x, shape=x.shape[1:]),),
            plan_arrays=(feed,),
        )

    return build


def stacking(rng: Rng, dtype: Any) -> Trial:
    shape, axis = some_shape(rng, 2), int(rng.integers(1, 3))
    x = quantized(rng, shape, dtype)
    out = (*shape[:axis], 3, *shape[axis:])
    feeds = [values(rng, shape, dtype) for _ in range(3)]
    return Trial("PACK", (x, x, x), feeds, (replace(x, shape=out),), {"axis": axis, "values_count": 3})


def unstacking(rng: Rng, dtype: Any) -> Trial:
    shape, axis = some_shape(rng), int(rng.integers(1, 3))
    x = quantized(rng, shape, dtype)
    outputs = [replace(x, shape=(*shape[:axis], *shape[axis + 1 :]))] * shape[axis]
    return Trial("UNPACK", (x,), (values(rng, shape, dtype),), outputs, {"axis": axis, "num": shape[axis]})


def reducing(kind: str, rescales: bool = False) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        shape = some_shape(rng, 4)
        axes = any_of(rng, (1,), (2,), (3,), (1, 2), (1, 3), (1, 2, 3), (-1,))
        keep = bool(rng.random() < 0.5)
        gone = {axis % 4 for axis in axes}
        out = tuple(1 if a in gone else n for a, n in enumerate(shape) if keep or a not in gone)
        x = quantized(rng, shape, dtype)
        output = quantized(rng, out, dtype, around=6.0) if rescales else replace(x, shape=out)
        low, high = (0.5, 1.5) if kind == "REDUCE_PROD" else (-4.0, 4.0)
        return Trial(
            kind,
            (x, tensor((len(axes),), I32, data=axes)),
            (values(rng, shape, dtype, low, high),),
            (output,),
            {"keep_dims": keep},
            plan_options=StatisticOptions(Statistic(kind), axes),
        )

    return build


def indexing(kind: str) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        shape, axis = some_shape(rng), int(rng.integers(1, 3))
        x = quantized(rng, shape, dtype)
        kinds = {"output_type": any_of(rng, "INT32", "INT64")}
        output = tensor((*shape[:axis], *shape[axis + 1 :]), I32 if kinds["output_type"] == "INT32" else I64)
        operands = (x, tensor((1,), I32, data=[axis]))
        feed = np.round(values(rng, shape, dtype))
        return Trial(kind, operands, (feed,), (output,), kinds, plan_options=AxisOptions(axis))

    return build


def saturating(kind: str, out: dict[Any, dict[str, Any]]) -> Build:
    """LOGISTIC and TANH treat int16 inputs apart whose scale is a power of two."""

    def build(rng: Rng, dtype: Any) -> Trial:
        trial = unary(kind, -100, 100, out=out)(rng, dtype)
        if dtype is not I16 or rng.random() < 0.4:
            return trial
        scale = 2.0 ** float(rng.integers(-15, -8)) * any_of(rng, 1.0, 1.0, 1.0004, 1.01)
        return replace(trial, operands=(tensor(trial.feeds[0].shape, I16, scale=scale),))

    return build


def sharpening(kind: str, out: dict[Any, dict[str, Any]], beta: bool) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        shape = (64, int(rng.integers(1, 24)))
        x = quantized(rng, shape, dtype, around=8.0 * 4.0 ** rng.uniform(-2, 2))
        options = {"beta": float(any_of(rng, 1.0, 0.5, 2.25))} if beta else {}
        feed = values(rng, shape, dtype, -9, 9)
        return Trial(kind, (x,), (feed,), (quantized(rng, shape, dtype, **out.get(dtype, {})),), options)

    return build


def bending(rng: Rng, dtype: Any) -> Trial:
    t, n, channels = some_shape(rng)
    x = quantized(rng, (t, n, channels), dtype)
    shape = any_of(rng, (channels,), (1, channels), (n, channels), (1, 1, 1))
    alpha = quantized(rng, shape, dtype, around=1.0)
    alpha = replace(alpha, data=values(rng, shape, dtype))
    output = quantized(rng, x.shape, dtype)
    return Trial("PRELU", (x, alpha), (values(rng, x.shape, dtype),), (output,))


def leaking(rng: Rng, dtype: Any) -> Trial:
    return unary("LEAKY_RELU", alpha=float(any_of(rng, 0.01, 0.2, 1.5)))(rng, dtype)


def quantizing(rng: Rng, dtype: Any) -> Trial:
    """float32 to what a model's ends may be, and every integer type to the ones that the reference kernels allow."""
    shape = (9, 40)
    target = any_of(rng, *{F32: (I8, U8, I16), I8: (I8, U8), U8: (I8, U8), I16: (I8, I16), I32: (I8, I16)}[dtype])
    if dtype is I32:
        x, feed = tensor(shape, I32, scale=rng.uniform(1e-4, 1e-3)), rng.integers(-1 << 20, 1 << 20, shape).astype(I32)
    else:
        x, feed = quantized(rng, shape, dtype), values(rng, shape, dtype, -8, 8)
    return Trial("QUANTIZE", (x,), (feed,), (quantized(rng, shape, target),))


def dequantizing(rng: Rng, dtype: Any) -> Trial:
    shape = (16, 16)
    if dtype is np.float16:
        return Trial(
            "DEQUANTIZE", (tensor(shape, dtype),), (values(rng, shape, F32).astype(dtype),), (tensor(shape, F32),)
        )
    return Trial("DEQUANTIZE", (quantized(rng, shape, dtype),), (values(rng, shape, dtype),), (tensor(shape, F32),))


def casting(rng: Rng, dtype: Any) -> Trial:
    shape = some_shape(rng)
    target = any_of(rng, F32, I8, I16, I32, I64, BOOL)
    names = {F32: "FLOAT32", I8: "INT8", I16: "INT16", I32: "INT32", I64: "INT64", BOOL: "BOOL"}
    feed = values(rng, shape, dtype, -9, 9)
    options = {"in_data_type": names[dtype], "out_data_type": names[target]}
    return Trial("CAST", (tensor(shape, dtype),), (feed,), (tensor(shape, target),), options)


def choosing(kind: str) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        shape = some_shape(rng)
        x = quantized(rng, shape, dtype)
        feeds = (values(rng, shape, BOOL), values(rng, shape, dtype), values(rng, shape, dtype))
        return Trial(kind, (tensor(shape, BOOL), x, x), feeds, (x,))

    return build


def comparing(kind: str) -> Build:
    return binary(kind, out=BOOL)


def dividing(kind: str, raw: bool = False, **options: Any) -> Build:
    """Two operands of which the second never stands for zero; ``raw``: never is zero."""

    def build(rng: Rng, dtype: Any) -> Trial:
        trial = binary(kind, **options)(rng, dtype)
        divisor = trial.operands[1]
        zero = 0 if raw else zero_of(divisor)

        def never_zero(data: Array) -> Array:
            return np.where(data == zero, zero + (1 if zero < 100 else -1), data).astype(data.dtype)

        if divisor.data is not None:
            return replace(trial, operands=(trial.operands[0], replace(divisor, data=never_zero(divisor.data))))
        return replace(trial, feeds=(*trial.feeds[:-1], never_zero(trial.feeds[-1])))

    return build


def raising(rng: Rng, dtype: Any) -> Trial:
    trial = binary("POW", low=0.1, high=2.5)(rng, dtype)
    if dtype is not I32:
        return trial
    operands = [o if o.data is None else replace(o, data=np.abs(o.data) % 6) for o in trial.operands]
    return replace(trial, operands=operands, feeds=[np.abs(feed) % 6 for feed in trial.feeds])


def inverting(rng: Rng, dtype: Any) -> Trial:
    """1 / sqrt; the reference kernel stops at what stands for a negative number."""
    trial = unary("RSQRT", 0.01)(rng, dtype)
    return replace(trial, feeds=[np.maximum(trial.feeds[0], zero_of(trial.operands[0])).astype(dtype)])


LOGISTIC_OUT = {I8: {"scale": 1 / 256, "zero_point": -128}, I16: {"scale": 1 / 32768}}
TANH_OUT = {I8: {"scale": 1 / 128, "zero_point": 0}, I16: {"scale": 1 / 32768}}
LOG_SOFTMAX_OUT = {I8: {"scale": 16 / 256, "zero_point": 127}}
ALL = (F32, I8, I16)

BUILDERS: dict[str, Build] = {
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": depthwise,
    "TRANSPOSE_CONV": transposed,
    "MAX_POOL_2D": pool("MAX_POOL_2D"),
    "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D"),
    "FULLY_CONNECTED": dense,
    "BATCH_MATMUL": matrix_product,
    "ADD": adding("ADD"),
    "SUB": adding("SUB"),
    "DIV": dividing("DIV", act=True),
    "FLOOR_DIV": dividing("FLOOR_DIV", raw=True, same_scale=True),
    "FLOOR_MOD": dividing("FLOOR_MOD", raw=True, same_scale=True),
    "POW": raising,
    "QUANTIZE": quantizing,
    "DEQUANTIZE": dequantizing,
    "CAST": casting,
    "LOGISTIC": saturating("LOGISTIC", LOGISTIC_OUT),
    "TANH": saturating("TANH", TANH_OUT),
    "SOFTMAX": sharpening("SOFTMAX", LOGISTIC_OUT, True),
    "LOG_SOFTMAX": sharpening("LOG_SOFTMAX", LOG_SOFTMAX_OUT, False),
    "L2_NORMALIZATION": sharpening("L2_NORMALIZATION", {I8: {"scale": 1 / 128, "zero_point": 0}}, False),
    "RELU6": unary("RELU6", -9, 9),
    "LEAKY_RELU": leaking,
    "PRELU": bending,
    "LOG": unary("LOG", 0.01),
    "RSQRT": inverting,
    "SQRT": unary("SQRT", 0.0),
    "ARG_MAX": indexing("ARG_MAX"),
    "ARG_MIN": indexing("ARG_MIN"),
    "RESHAPE": moved("RESHAPE", reshaping),
    "EXPAND_DIMS": moved("EXPAND_DIMS", expanding),
    "SQUEEZE": squeezing,
    "REVERSE_V2": moved("REVERSE_V2", reversing),
    "TRANSPOSE": moved("TRANSPOSE", transposing),
    "PAD": moved("PAD", padding(False)),
    "PADV2": padding_with_value,
    "MIRROR_PAD": moved("MIRROR_PAD", padding(True)),
    "CONCATENATION": joining,
    "SPLIT": parting("SPLIT"),
    "SPLIT_V": parting("SPLIT_V"),
    "SLICE": moved("SLICE", slicing),
    "STRIDED_SLICE": moved("STRIDED_SLICE", slicing_with_strides),
    "TILE": moved("TILE", tiling),
    "BROADCAST_TO": stretching,
    "GATHER": moved("GATHER", gathering),
    "PACK": stacking,
    "UNPACK": unstacking,
    "RESIZE_NEAREST_NEIGHBOR": resizing,
    "GELU": lambda rng, dtype: unary("GELU", approximate=bool(rng.random() < 0.5))(rng, dtype),
}
"""Operations that need data or operands of their own; all others are drawn as their record says (``drawn``)."""


def drawn(record: Operation) -> Build | None:
    """What draws an operation: its own builder, or that of its family; None if it has neither."""
    kind, rule = record.kind, record.rule
    if kind in BUILDERS or rule is None:
        return BUILDERS.get(kind)
    if record.options is StatisticOptions:
        return reducing(kind, rescales=rule.scaled)
    if rule.shapes is same and rule.operands == (1, 1):
        return unary(kind)
    if rule.shapes is not broadcast:
        return None
    if rule.operands == (3, 3):
        return choosing(kind)
    if rule.retyped:
        return comparing(kind)
    return binary(kind, act="fused_activation_function" in rule.options, same_scale=not rule.scaled)


CASES: dict[str, tuple[Build, tuple[Any, ...]]] = {
    kind: (build, tuple(np.dtype(name).type for name in record.types))
    for kind, record in operations().items()
    if record.lower is not None and record.types and (build := drawn(record)) is not None
}
"""The builder and the types of every operation that is computed as itself, not said by others."""

PARAMETERS = [
    pytest.param(build, dtype, id=f"{kind}-{np.dtype(dtype).name}")
    for kind, (build, dtypes) in CASES.items()
    for dtype in dtypes
]
"""Every operation with every one of its types, for ``pytest.mark.parametrize``."""
