"""Operations that weigh a window of frames: convolutions, pools, dense layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.plan import Window
from tcnstream.tflite.graph import ABSENT, Op, OptionValue, Shape
from tcnstream.tflite.shapes import same_padding


@dataclass(frozen=True, eq=False)
class _Axes:
    """The two spatial axes of a 4-D operation: t is time, f is frequency ("h" or "w" each)."""

    t: str
    f: str
    swap: bool
    operand: tuple[int, Shape]
    axis: int | None

    def of(self, options: Mapping[str, OptionValue], pattern: str, default: int = 1) -> tuple[int, int]:
        def value(letter: str) -> int:
            return int(options.get(pattern.format(letter), default))  # type: ignore[arg-type]

        return value(self.t), value(self.f)


def spatial(lw: Lowering, op: Op, i: int, kernel: Shape) -> _Axes:
    """Which of height and width is time; where time is gone, the other spatial axis may stay one frame long."""
    stream, shape = lw.streams[i], lw.shape(i)
    if len(shape) != 4:
        lw.refuse(op, f"has an input of rank {len(shape)}, where 4 is needed")
    value = stream.value
    if stream.axis == 1:
        return _Axes("h", "w", False, (value, (shape[2], shape[3])), 1)
    if stream.axis == 2:
        return _Axes("w", "h", True, (value, (shape[1], shape[3])), 2)
    if stream.axis is None and shape[1] == 1 and kernel[0] == 1:
        return _Axes("h", "w", False, (value, (shape[2], shape[3])), None)
    if stream.axis is None and shape[2] == 1 and kernel[1] == 1:
        return _Axes("w", "h", True, (value, (shape[1], shape[3])), None)
    return lw.refuse(op, "works on two axes after time has gone")


def _access_window(
    lw: Lowering,
    op: Op,
    i: int,
    axes: _Axes,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[Window, dict[str, OptionValue]]:
    """How a window operation reads time, and its padding in frequency."""
    shape = lw.shape(i)
    t, f = (2, 1) if axes.swap else (1, 2)
    explicit = op.options.get("explicit_padding")
    pad_end: int | None
    if isinstance(explicit, tuple):
        height, width = explicit[:2], explicit[2:]
        (pad_begin, pad_end), (f_begin, f_end) = (width, height) if axes.swap else (height, width)
    elif op.options.get("padding") == "SAME":
        frames = 1 if axes.axis is None else shape[t]
        pad_begin, pad_end = same_padding(frames, kernel[0], stride[0], dilation[0])
        if stride[0] > 1:
            pad_end = None
        f_begin, f_end = same_padding(shape[f], kernel[1], stride[1], dilation[1])
    else:
        pad_begin, pad_end, f_begin, f_end = 0, 0, 0, 0
    window = Window(1, stride[0], (kernel[0] - 1) * dilation[0] + 1, pad_begin, pad_end)
    return window, {"pad_f_begin": f_begin, "pad_f_end": f_end}


def convolution(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    weights = lw.graph.tensors[op.inputs[1]]
    data = lw.constant(op, 1)
    axes = spatial(lw, op, i, data.shape[1:3])
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    if axes.swap:
        data = np.ascontiguousarray(data.transpose(0, 2, 1, 3))
    if depthwise:
        data = data.reshape(data.shape[1:])
    kernel = (data.shape[0], data.shape[1]) if depthwise else (data.shape[1], data.shape[2])
    stride, dilation = axes.of(op.options, "stride_{}"), axes.of(op.options, "dilation_{}_factor")
    window, options = _access_window(lw, op, i, axes, kernel, stride, dilation)
    options |= {
        "dilation_t": dilation[0],
        "stride_f": stride[1],
        "dilation_f": dilation[1],
        "fused_activation_function": op.options.get("fused_activation_function", "NONE"),
    }
    constant = lw.add_constant(weights, data, data.ndim - 1 if depthwise else 0)
    inputs = [axes.operand, (constant, data.shape), _bias(lw, op, 2)]
    lw.emit(op, inputs, axes.axis, options=options, window=window, fill=lw.zero(i))


def _bias(lw: Lowering, op: Op, position: int) -> tuple[int, Shape]:
    if len(op.inputs) <= position or op.inputs[position] == ABSENT:
        return ABSENT, ()
    data = lw.constant(op, position)
    return lw.add_constant(lw.graph.tensors[op.inputs[position]], data.reshape(-1)), (data.size,)


def transpose_convolution(lw: Lowering, op: Op) -> None:
    i = op.inputs[2]
    weights, data = lw.graph.tensors[op.inputs[1]], lw.constant(op, 1)
    axes = spatial(lw, op, i, data.shape[1:3])
    if axes.swap:
        data = np.ascontiguousarray(data.transpose(0, 2, 1, 3))
    out = lw.shape(op.outputs[0])
    t, f = (2, 1) if axes.swap else (1, 2)
    stride = axes.of(op.options, "stride_{}")
    kernel = data.shape[1:3]
    pads = [0, 0]
    if op.options.get("padding") == "SAME":
        for k, axis in enumerate((t, f)):
            frames = lw.shape(i)[axis]
            pads[k] = max(0, (frames - 1) * stride[k] + kernel[k] - out[axis]) // 2
    frames = 1 if axes.axis is None else lw.shape(i)[t]
    pad_begin = kernel[0] - 1 - pads[0]
    pad_end = out[t] - 1 - (stride[0] * frames + pad_begin - kernel[0])
    window = Window(stride[0], 1, kernel[0], pad_begin, pad_end)
    options: dict[str, OptionValue] = {
        "stride_f": stride[1],
        "pad_f_begin": pads[1],
        "fused_activation_function": op.options.get("fused_activation_function", "NONE"),
    }
    inputs = [axes.operand, (lw.add_constant(weights, data), data.shape), _bias(lw, op, 3)]
    lw.emit(op, inputs, axes.axis, options=options, window=window, fill=lw.zero(i))


def pool(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    size = (op.integer("filter_height", 1), op.integer("filter_width", 1))
    axes = spatial(lw, op, i, size)
    kernel = (size[1], size[0]) if axes.swap else size
    stride = axes.of(op.options, "stride_{}")
    window, options = _access_window(lw, op, i, axes, kernel, stride, (1, 1))
    options |= {
        "filter_t": kernel[0],
        "filter_f": kernel[1],
        "stride_f": stride[1],
        "fused_activation_function": op.options.get("fused_activation_function", "NONE"),
    }
    lw.emit(op, [axes.operand], axes.axis, options=options, window=window, fill=lw.zero(i))


def fully_connected(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape = lw.streams[i], lw.shape(i)
    data = lw.constant(op, 1)
    operand = lw.operand(i)
    axis, out = stream.axis, lw.shape(op.outputs[0])
    if axis is not None and (axis == len(shape) - 1 or math.prod(shape) == data.shape[1] != shape[-1]):
        window = Window(extent=shape[axis])
        operand = lw.step(op, operand, lw.graph.tensors[i], (shape[axis], *operand[1]), 1, "TIME_WINDOW", window)
        axis = None
    elif axis is not None and len(out) != len(shape):
        axis = 0 if len(out) == 2 and out[0] == shape[axis] else None
        if axis is None:
            lw.refuse(op, f"turns {shape} into {out}, which mixes time with other axes")
    elif axis is None and math.prod(operand[1]) == data.shape[1]:
        operand = (operand[0], (data.shape[1],))
    constant = lw.add_constant(lw.graph.tensors[op.inputs[1]], data)
    options = {"fused_activation_function": op.options.get("fused_activation_function", "NONE")}
    inputs = [operand, (constant, data.shape), _bias(lw, op, 2)]
    lw.emit(op, inputs, axis, options=options, window_frames=1 if axis is None and stream.axis is not None else None)


def batch_matmul(lw: Lowering, op: Op) -> None:
    if not all(i in lw.streams for i in op.inputs[:1]) or op.inputs[1] in lw.streams:
        lw.refuse(op, "multiplies the signal's frames with each other, as attention does")
    i = op.inputs[0]
    stream, shape = lw.streams[i], lw.shape(i)
    rank = len(shape)
    if bool(op.options.get("adj_x", False)) or stream.axis == rank - 1:
        lw.refuse(op, "sums over time")
    matrix = lw.constant(op, 1)
    if any(n != 1 for n in matrix.shape[:-2]):
        lw.refuse(op, "has another matrix for each batch")
    matrix = matrix.reshape(matrix.shape[-2:])
    if bool(op.options.get("adj_y", False)):
        matrix = matrix.T
    constant = lw.add_constant(lw.graph.tensors[op.inputs[1]], np.ascontiguousarray(matrix), 1)
    options = {k: v for k, v in op.options.items() if k not in ("adj_x", "adj_y")}
    lw.emit(op, [lw.operand(i), (constant, matrix.shape)], stream.axis, options=options)
