"""Layers without a memory, each appended to a ``Net`` as converters write it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from helpers.netfile import DoesNotFitError, Net, Shape, Value, out_frames, quantization
from tcnstream.tflite.graph import OptionValue


def convolution(
    net: Net,
    x: Value,
    kernel: int = 3,
    dilation: int = 1,
    stride: int = 1,
    padding: str = "same",
    channels: int = 2,
    kind: str = "CONV_2D",
    activation: str = "NONE",
    bias: bool = True,
    sideways: bool = True,
    kernel_f: int = 1,
    stride_f: int = 1,
    keep: bool = False,
) -> Value:
    """Conv1D as converters write it. ``keep`` forces a form that keeps the number of frames."""
    if keep:
        stride, padding = 1, "same" if padding == "valid" else padding
    if len(x.shape) == 3:
        kernel_f = stride_f = 1
    four = net.as_4d(x, sideways)
    extent = (kernel - 1) * dilation + 1
    if padding == "causal":
        four = net.pad(four, extent - 1, 0)
    elif padding in ("REFLECT", "SYMMETRIC"):
        four = net.pad(four, (extent - 1) // 2, extent // 2, padding)
    same = padding == "same"
    t, f = four.axis, 3 - four.axis
    frames = out_frames(four.frames, kernel, stride, dilation, same)
    bins = out_frames(four.shape[f], kernel_f, stride_f, 1, same)
    depth = four.shape[3]
    depthwise = kind == "DEPTHWISE_CONV_2D"
    if depthwise:
        channels = depth * max(1, channels // depth)
    shape, spatial = [1, 0, 0, channels], [0, 0, 0]
    shape[t], shape[f] = frames, bins
    spatial[t], spatial[f] = kernel, kernel_f
    options: dict[str, OptionValue] = {
        "padding": "SAME" if same else "VALID",
        "fused_activation_function": activation,
    }
    for a, letter in ((1, "h"), (2, "w")):
        options[f"stride_{letter}"] = stride if a == t else stride_f
        options[f"dilation_{letter}_factor"] = dilation if a == t else 1
    net.strides *= stride
    if depthwise:
        options["depth_multiplier"] = channels // depth
        y = net.weighted(kind, four, tuple(shape), (1, *spatial[1:], channels), 3, kernel * kernel_f, bias, **options)
    else:
        groups = depth if kind == "GROUPED" and channels % depth == 0 else 1
        weights = (channels, *spatial[1:], depth // groups)
        y = net.weighted("CONV_2D", four, tuple(shape), weights, 0, math.prod(weights[1:]), bias, **options)
    return net.like(y, x)


def batched_dilation(
    net: Net, x: Value, kernel: int = 3, dilation: int = 2, channels: int = 2, keep: bool = False
) -> Value:
    """A causal dilated Conv1D as older converters write it: SPACE_TO_BATCH_ND, convolution, BATCH_TO_SPACE_ND."""
    if len(x.shape) != 3 or dilation < 2:
        raise DoesNotFitError("one spatial axis is batched")
    before, frames, depth = (kernel - 1) * dilation, x.frames, x.shape[2]
    total = -(-(frames + before) // dilation) * dilation
    block = net.constant([dilation], np.int32)
    paddings = net.constant([[before, total - frames - before]], np.int32)
    folded = net.same(x, "SPACE_TO_BATCH_ND", (dilation, total // dilation, depth), 1, block, paddings)
    four = net.reshape(folded, (dilation, 1, total // dilation, depth), 2)
    made = total // dilation - kernel + 1
    y = net.weighted(
        "CONV_2D",
        four,
        (dilation, 1, made, channels),
        (channels, 1, kernel, depth),
        0,
        kernel * depth,
        padding="VALID",
        stride_h=1,
        stride_w=1,
        dilation_h_factor=1,
        dilation_w_factor=1,
    )
    three = net.reshape(y, (dilation, made, channels), 1)
    crops = net.constant([[0, made * dilation - frames]], np.int32)
    return net.same(three, "BATCH_TO_SPACE_ND", (1, frames, channels), 1, block, crops)


def pooling(
    net: Net, x: Value, size: int = 2, stride: int = 1, same: bool = True, kind: str = "MAX_POOL_2D", keep: bool = False
) -> Value:
    if keep:
        stride, same = 1, True
    four = net.as_4d(x)
    frames = out_frames(four.frames, size, stride, 1, same)
    shape = list(four.shape)
    shape[four.axis] = frames
    options: dict[str, OptionValue] = {"padding": "SAME" if same else "VALID"}
    for a, letter, name in ((1, "h", "height"), (2, "w", "width")):
        options[f"stride_{letter}"] = stride if a == four.axis else 1
        options[f"filter_{name}"] = size if a == four.axis else 1
    net.strides *= stride
    return net.like(net.same(four, kind, tuple(shape), four.axis, **options), x)


def upsampling(net: Net, x: Value, ratio: int = 2, kind: str = "tile", kernel: int = 3, same: bool = True) -> Value:
    if kind == "tile" and net.dtype == np.int8:
        raise DoesNotFitError("TFLite's reference resolver has no int8 TILE")
    if kind == "unfold":
        return depth_to_time(net, x, ratio, kernel)
    if kind == "pieces":
        return repeated_pieces(net, x, ratio)
    if len(x.shape) == 3 and kind == "tile":
        _, frames, channels = x.shape
        four = net.reshape(x, (1, frames, 1, channels), 1)
        tiled = net.same(four, "TILE", (1, frames, ratio, channels), 1, net.constant([1, 1, ratio, 1], np.int32))
        return net.reshape(tiled, (1, frames * ratio, channels), 1)
    four = net.as_4d(x)
    t, shape = four.axis, list(four.shape)
    if kind != "transpose":
        shape[t] *= ratio
        size = net.constant(shape[1:3], np.int32)
        if kind == "linear" and (net.dtype == np.float32 or (ratio == 2 and net.dtype != np.uint8)):
            return net.like(net.same(four, "RESIZE_BILINEAR", tuple(shape), t, size, half_pixel_centers=same), x)
        return net.like(net.same(four, "RESIZE_NEAREST_NEIGHBOR", tuple(shape), t, size), x)
    if four.shape[3 - t] != 1:
        raise DoesNotFitError("one spatial axis is stretched")
    shape[t] = four.frames * ratio if same else (four.frames - 1) * ratio + max(kernel, ratio)
    spatial = [1, 1]
    spatial[t - 1] = kernel
    y = net.weighted(
        "TRANSPOSE_CONV",
        four,
        tuple(shape),
        (shape[3], *spatial, shape[3]),
        0,
        max(1, kernel // ratio) * shape[3],
        with_bias=bool(kernel % 2),
        before=[net.constant(shape, np.int32)],
        padding="SAME" if same else "VALID",
        stride_h=ratio if t == 1 else 1,
        stride_w=ratio if t == 2 else 1,
    )
    return net.like(y, x)


def repeated_pieces(net: Net, x: Value, ratio: int) -> Value:
    """Each frame split off and put down ``ratio`` times, as Keras writes UpSampling1D."""
    if x.frames > 64:
        raise DoesNotFitError("more pieces than a file should have")
    one = tuple(1 if a == x.axis else n for a, n in enumerate(x.shape))
    pieces = [net.value(one, x.axis, x.spread, x.quantization) for _ in range(x.frames)]
    net.op("SPLIT", [net.constant(x.axis, np.int32), x.index], pieces, num_splits=x.frames)
    shape = tuple(n * ratio if a == x.axis else n for a, n in enumerate(x.shape))
    y = net.value(shape, x.axis, x.spread, x.quantization)
    net.op("CONCATENATION", [piece.index for piece in pieces for _ in range(ratio)], [y], axis=x.axis)
    return y


def replicate(net: Net, x: Value, before: int = 2, after: int = 1, kernel: int = 3) -> Value:
    """The first and the last frame several times, as replicate padding does, and a convolution over it."""
    first, last = net.cut(x, x.axis, 0, 1), net.cut(x, x.axis, x.frames - 1, x.frames)
    parts = [first] * before + [x] + [last] * after
    shape = tuple(n + before + after if a == x.axis else n for a, n in enumerate(x.shape))
    y = net.value(shape, x.axis, x.spread, x.quantization)
    net.op("CONCATENATION", [part.index for part in parts], [y], axis=x.axis)
    return convolution(net, y, kernel=kernel, padding="valid")


def depth_to_time(net: Net, x: Value, ratio: int, kernel: int) -> Value:
    """A convolution that makes ``ratio`` frames side by side, cut apart, as SignalConv1D upsamples."""
    if len(x.shape) != 3:
        raise DoesNotFitError("frames of one axis are needed")
    _, frames, channels = x.shape
    y = convolution(net, x, kernel=kernel, channels=channels * ratio)
    return net.reshape(y, (1, frames * ratio, channels), 1)


def activation(net: Net, x: Value, kind: str = "RELU") -> Value:
    fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0), "SOFTMAX": (1 / 256, -128)}
    q = None
    if kind in fixed and net.dtype == np.int8:
        q = quantization(*fixed[kind])
    elif kind in fixed and net.dtype == np.uint8:
        scale, zero = fixed[kind]
        q = quantization(scale, zero + 128)
    elif kind in fixed and net.dtype == np.int16:
        q = quantization(1 / 32768, 0)
    if kind == "SOFTMAX" and x.axis == len(x.shape) - 1:
        raise DoesNotFitError("softmax over time")
    y = net.value(x.shape, x.axis, 0.5 if kind in fixed else x.spread, q)
    options: dict[str, OptionValue] = {"SOFTMAX": {"beta": 1.0}, "LEAKY_RELU": {"alpha": 0.2}}.get(kind, {})
    net.op(kind, [x.index], [y], **options)
    return y


def with_constant(net: Net, x: Value, kind: str = "MUL") -> Value:
    """A factor or summand per channel, as a batch norm leaves it."""
    if x.axis == len(x.shape) - 1:
        raise DoesNotFitError("the last axis is time")
    real = net.rng.normal(0, 1, x.shape[-1]).astype(np.float32)
    if x.quantization is None:
        c = net.constant(real)
    else:
        limit = 32767 if net.dtype == np.int16 else 127
        scale = float(np.abs(real).max()) / limit + 1e-6
        zero = 128 if net.dtype == np.uint8 else 0
        c = net.constant(np.round(real / scale) + zero, net.dtype, quantization(scale, zero))
    y = net.value(x.shape, x.axis, x.spread + 0.5)
    net.op(kind, [x.index, c], [y], **({} if kind == "PRELU" else arithmetic(kind)))
    return y


def prelu(net: Net, x: Value) -> Value:
    if net.dtype == np.int16:
        raise DoesNotFitError("TFLite has no int16 PRELU")
    return with_constant(net, x, "PRELU")


def dense(net: Net, x: Value, units: int = 2, flat: bool = False) -> Value:
    """A Dense layer on every frame; ``flat`` as older converters write it, over (T, C)."""
    if x.axis != 1 or len(x.shape) != 3:
        raise DoesNotFitError("frames of one axis are needed")
    depth = x.shape[2]
    if flat:
        two = net.reshape(x, (x.frames, depth), 0)
        y = net.weighted("FULLY_CONNECTED", two, (x.frames, units), (units, depth), 0, depth)
        return net.reshape(y, (1, x.frames, units), 1)
    return net.weighted("FULLY_CONNECTED", x, (*x.shape[:2], units), (units, depth), 0, depth, keep_num_dims=True)


def swap_back_and_forth(net: Net, x: Value, kind: str = "TANH") -> Value:
    """An activation on (1, C, T), as frameworks with channels first leave it."""
    if len(x.shape) != 3:
        raise DoesNotFitError("three axes are swapped")
    return net.transpose(activation(net, net.transpose(x, (0, 2, 1)), kind), (0, 2, 1))


def shuffle(net: Net, x: Value, kind: str = "SPLIT") -> Value:
    """The channels in two halves, exchanged."""
    channels, last = x.shape[-1], len(x.shape) - 1
    if channels % 2 or x.axis == last:
        raise DoesNotFitError("two halves of the channels are needed")
    half = (*x.shape[:-1], channels // 2)
    if kind == "SPLIT":
        parts = [net.value(half, x.axis, x.spread, x.quantization) for _ in range(2)]
        net.op("SPLIT", [net.constant(last, np.int32), x.index], parts, num_splits=2)
    else:
        parts = [net.cut(x, last, 0, channels // 2), net.cut(x, last, channels // 2, channels)]
    return join(net, parts[::-1], "CONCATENATION")


def require_frames(x: Value) -> None:
    """Raises DoesNotFitError for what is not (1, T, C)."""
    if x.axis != 1 or len(x.shape) != 3:
        raise DoesNotFitError("frames of one axis are needed")


def normalised(net: Net, x: Value, kind: str = "LAYER") -> Value:
    """A norm over the channels of every frame, as a chain of operations: LayerNorm's, or L2_NORMALIZATION."""
    if x.axis == len(x.shape) - 1:
        raise DoesNotFitError("a norm over time")
    if kind == "L2":
        q = quantization(1 / 128, 0) if net.dtype == np.int8 else None
        if net.dtype in (np.int16, np.uint8):
            raise DoesNotFitError("L2_NORMALIZATION is of float32 and int8")
        y = net.value(x.shape, x.axis, 0.5, q)
        net.op("L2_NORMALIZATION", [x.index], [y], fused_activation_function="NONE")
        return y
    if net.dtype != np.float32:
        raise DoesNotFitError("the chain is of float32")
    axes, one = net.constant([len(x.shape) - 1], np.int32), (*x.shape[:-1], 1)

    def step(kind: str, inputs: Sequence[int], shape: Shape, **options: OptionValue) -> Value:
        made = net.value(shape, x.axis, 1.0)
        net.op(kind, inputs, [made], **options)
        return made

    mean = step("MEAN", [x.index, axes], one, keep_dims=True)
    square = step("SQUARED_DIFFERENCE", [x.index, mean.index], x.shape)
    variance = step("MEAN", [square.index, axes], one, keep_dims=True)
    above = step("ADD", [variance.index, net.constant([0.01], np.float32)], one, **arithmetic("ADD"))
    factor = step("RSQRT", [above.index], one)
    centred = step("SUB", [x.index, mean.index], x.shape, **arithmetic("SUB"))
    return step("MUL", [centred.index, factor.index], x.shape, **arithmetic("MUL"))


def reversed_channels(net: Net, x: Value) -> Value:
    if x.axis == len(x.shape) - 1:
        raise DoesNotFitError("time backwards")
    return net.same(x, "REVERSE_V2", x.shape, x.axis, net.constant([len(x.shape) - 1], np.int32))


def whole_steps(net: Net, x: Value, kind: str = "FLOOR_DIV", by: float = 0.7) -> Value:
    """FLOOR_DIV or FLOOR_MOD by a constant, of float32."""
    if net.dtype != np.float32:
        raise DoesNotFitError("the quotient of float32")
    y = net.value(x.shape, x.axis, 1.0)
    net.op(kind, [x.index, net.constant(by, np.float32)], [y])
    return y


def spectrum(net: Net, x: Value, size: int = 8, step: int = 4) -> Value:
    """tf.signal.stft's magnitudes: frames by GATHER along time, RFFT2D, COMPLEX_ABS; of one channel of float32."""
    require_frames(x)
    if net.dtype != np.float32 or x.shape[2] != 1 or x.frames < size:
        raise DoesNotFitError("one channel of float32, no shorter than a frame")
    count = (x.frames - size) // step + 1
    flat = net.reshape(x, (1, x.frames), 1)
    rows = np.arange(count)[:, None] * step + np.arange(size)
    frames = net.value((1, count, size), 1, 1.0)
    net.op("GATHER", [flat.index, net.constant(rows, np.int32)], [frames], axis=1, batch_dims=0)
    tall = net.reshape(frames, (1, count, 1, size), 1)
    spectra = net.value((1, count, 1, size // 2 + 1), 1, 1.0)
    net.tensors[spectra.index] = replace(net.tensors[spectra.index], dtype=np.dtype(np.complex64))
    net.op("RFFT2D", [tall.index, net.constant([1, size], np.int32)], [spectra])
    made = net.value(spectra.shape, 1, 1.0)
    net.op("COMPLEX_ABS", [spectra.index], [made])
    net.strides *= step
    return net.reshape(made, (1, count, size // 2 + 1), 1)


def join(net: Net, parts: Sequence[Value], kind: str) -> Value:
    first = parts[0]
    if any(p.axis != first.axis or p.frames != first.frames for p in parts):
        raise DoesNotFitError("the branches differ in time")
    if kind == "CONCATENATION":
        last = len(first.shape) - 1
        if any(p.shape[:-1] != first.shape[:-1] for p in parts) or first.axis == last:
            raise DoesNotFitError("the branches differ in shape")
        alike = [net.requantize(p, first.quantization) for p in parts]
        shape = (*first.shape[:-1], sum(p.shape[-1] for p in parts))
        y = net.value(shape, first.axis, first.spread, first.quantization)
        net.op(kind, [p.index for p in alike], [y], axis=last)
        return y
    if any(p.shape != first.shape for p in parts):
        raise DoesNotFitError("the branches differ in shape")
    if kind in ("MAXIMUM", "MINIMUM"):
        alike = [net.requantize(p, first.quantization) for p in parts]
        y = net.value(first.shape, first.axis, first.spread, first.quantization)
        net.op(kind, [p.index for p in alike], [y])
        return y
    spread = math.prod(p.spread for p in parts) if kind == "MUL" else sum(p.spread for p in parts)
    y = net.value(first.shape, first.axis, spread)
    net.op(kind, [p.index for p in parts], [y], **arithmetic(kind))
    return y


def arithmetic(kind: str) -> dict[str, OptionValue]:
    """The options of ADD, SUB and MUL as the converter writes them: 16x8 models have scales of any size."""
    options: dict[str, OptionValue] = {"fused_activation_function": "NONE"}
    return options | {"pot_scale_int16": False} if kind in ("ADD", "SUB") else options


def crop(net: Net, x: Value, before: int = 1, after: int = 1) -> Value:
    return net.cut(x, x.axis, before, x.frames - after)


def mirror(
    net: Net, x: Value, before: int = 20, after: int = 0, kind: str = "REFLECT", kernel: int = 3, channels: int = 2
) -> Value:
    """Mirrored padding of any length, not only what the kernel behind it takes."""
    return convolution(net, net.pad(x, before, after, kind), kernel=kernel, padding="valid", channels=channels)


def decimate(net: Net, x: Value, first: int = 0, step: int = 2) -> Value:
    net.strides *= step
    return net.cut(x, x.axis, first, x.frames, step)
