"""Operations that slide a window along time and frequency: convolutions and pools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from helpers.singleop import Trial, tensor
from helpers.trials.drawing import (
    ACTIVATIONS,
    I32,
    Build,
    Rng,
    any_of,
    bias_of,
    frame_of,
    quantized,
    scale_to_fit,
    values,
    weights_of,
    zero_of,
)
from tcnstream.compiler.operations.convolution import ConvolutionOptions
from tcnstream.compiler.operations.pool import PoolOptions
from tcnstream.compiler.plan import Window
from tcnstream.tflite.graph import Array, Tensor


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
