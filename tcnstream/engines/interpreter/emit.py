"""Plan nodes -> TFLite operations: the rule of every node kind, for one step of a stream (``step.py``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tcnstream.compiler.operation import to_file
from tcnstream.compiler.operations.convolution import ConvolutionOptions
from tcnstream.compiler.operations.cuts import PadOptions, SliceOptions
from tcnstream.compiler.operations.dense import FULLY_CONNECTED
from tcnstream.compiler.operations.layout import ReverseOptions, TileOptions, TransposeOptions
from tcnstream.compiler.operations.pool import PoolOptions
from tcnstream.compiler.operations.resize import ResizeOptions
from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import ActivationOptions, AxisOptions, Node
from tcnstream.compiler.spatial import SpatialOptions
from tcnstream.engines.interpreter.step import NeedsHost, StepGraph, Work, depends_on_edge, lay_out, touches_edge
from tcnstream.engines.registry import Registry
from tcnstream.tflite.graph import OptionValue, Shape, Tensor

Emit: TypeAlias = Callable[[StepGraph, Node, Work], list[int]]
"""Appends the operations of a node, and says which tensors its outputs are."""

EMIT: Registry[Emit] = Registry("tcnstream.engines.interpreter.emit")
"""Every node kind that TFLite computes; all others run on the host's kernels."""

emits = EMIT.enter


def emit(step: StepGraph, work: Work) -> None:
    """Append a node to the step; raises NeedsHost, without a trace, where TFLite cannot do it."""
    node = step.plan.nodes[work.index]
    rule = EMIT.get(node.kind)
    if rule is None:
        raise NeedsHost(node.kind)
    step.add(work, rule(step, node, work))


def _axis_shift(view: Shape) -> int:
    """From an axis of (time, *view) to the same axis of the step graph's tensor."""
    return 1 + max(0, 2 - len(view))


def _output(step: StepGraph, node: Node, position: int = 0) -> Tensor:
    return step.plan.tensors[node.outputs[position]]


def _shape_out(step: StepGraph, node: Node, work: Work, position: int = 0) -> Shape:
    return (1, work.frames, *lay_out(_output(step, node, position).shape))


# --- convolutions, pools, dense layers ---------------------------------------------------------


@emits("CONV_2D")
def _convolution(step: StepGraph, node: Node, work: Work) -> list[int]:
    if node.options_of(ConvolutionOptions).dense:
        return [_dense_over_window(step, node, work)]
    weights = step.plan.tensors[node.inputs[1]]
    kernel = step.plan_constant(node.inputs[1], weights.shape, 0)
    return [_convolved(step, node, work, weights.shape[1], kernel, **_sums(step, node))]


@emits("DEPTHWISE_CONV_2D")
def _depthwise_convolution(step: StepGraph, node: Node, work: Work) -> list[int]:
    weights = step.plan.tensors[node.inputs[1]]
    kernel = step.plan_constant(node.inputs[1], (1, *weights.shape), 3)
    multiplier = weights.shape[2] // node.views[0][1]
    return [_convolved(step, node, work, weights.shape[0], kernel, depth_multiplier=multiplier)]


def _convolved(step: StepGraph, node: Node, work: Work, taps: int, kernel: int, **own: OptionValue) -> int:
    """A convolution with ``taps`` weights along time; ``own`` are the options of its kind alone."""
    options = node.options_of(ConvolutionOptions)
    dilation, ranges = options.dilation_t, None
    if step.taps and (work.frames == 1 or node.window.stride == 1) and work.frames < dilation:
        begin, _ = step.whole_range(node, work)
        ranges = [(begin + k * dilation, begin + k * dilation + work.frames) for k in range(taps)]
        dilation = work.frames
    x = _padded_frequency(step, step.read(node, work, 0, ranges), node)
    written: dict[str, OptionValue] = {
        "padding": "VALID",
        "stride_h": node.window.stride if work.frames > 1 else 1,
        "stride_w": options.stride_f,
        "dilation_h_factor": dilation,
        "dilation_w_factor": options.dilation_f,
        "fused_activation_function": options.activation_in_file,
        **own,
    }
    return step.op(
        node.kind, [x, kernel, *_bias(step, node, 2)], _output(step, node), _shape_out(step, node, work), written
    )


def _padded_frequency(step: StepGraph, i: int, node: Node) -> int:
    """Frames ``(F, C)`` with the node's frequency padding."""
    options = node.options_of(SpatialOptions)
    begin, end = options.pad_f_begin, options.pad_f_end
    if begin == end == 0:
        return i
    return step.pad(i, ((0, 0), (0, 0), (begin, end), (0, 0)), node.fill)


def _sums(step: StepGraph, node: Node) -> dict[str, OptionValue]:
    """The option that says that products of int16 are summed in 32 bits, where the bias is as short."""
    bias = node.inputs[2]
    is_short = bias >= 0 and step.plan.tensors[bias].dtype == np.int32 and _output(step, node).dtype == np.int16
    return {"quantized_bias_type": "INT32"} if is_short else {}


def _bias(step: StepGraph, node: Node, position: int) -> list[int]:
    if len(node.inputs) <= position or node.inputs[position] < 0:
        return []
    i = node.inputs[position]
    return [step.plan_constant(i, step.plan.tensors[i].shape)]


@emits("TRANSPOSE_CONV")
def _transpose_convolution(step: StepGraph, node: Node, work: Work) -> list[int]:
    weights = step.plan.tensors[node.inputs[1]]
    channels, kernel, kernel_f, _ = weights.shape
    own = node.options_of(ConvolutionOptions)
    up, stride_f = node.window.up, own.stride_f
    out = _output(step, node)
    if own.pad_f_begin or (node.views[0][0] - 1) * stride_f + kernel_f != out.shape[0]:
        raise NeedsHost("frequency padding")
    begin, end = step.whole_range(node, work)
    x = step.read(node, work, 0)
    shape = (1, (end - begin - 1) * up + kernel, out.shape[0], channels)
    operands = [step.integers(shape), step.plan_constant(node.inputs[1], weights.shape, 0), x, *_bias(step, node, 2)]
    options: dict[str, OptionValue] = {
        "padding": "VALID",
        "stride_h": up,
        "stride_w": stride_f,
        "fused_activation_function": own.activation_in_file,
        **_sums(step, node),
    }
    whole = step.op(node.kind, operands, out, shape, options)
    pad = kernel - 1 - node.window.pad_begin
    return [step.cut(whole, work.first_frame + pad - begin * up, work.frames)]


@emits("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(step: StepGraph, node: Node, work: Work) -> list[int]:
    if touches_edge(step.plan, node, work, step.spans):
        raise NeedsHost("padding does not count")
    own = node.options_of(PoolOptions)
    if own.pad_f_begin or own.pad_f_end:
        raise NeedsHost("padding does not count")
    options: dict[str, OptionValue] = {
        "padding": "VALID",
        "stride_h": node.window.stride,
        "stride_w": own.stride_f,
        "filter_height": own.filter_t,
        "filter_width": own.filter_f,
        "fused_activation_function": own.activation_in_file,
    }
    x = step.read(node, work, 0)
    return [step.op(node.kind, [x], _output(step, node), _shape_out(step, node, work), options)]


@emits("FULLY_CONNECTED")
def _dense(step: StepGraph, node: Node, work: Work) -> list[int]:
    return [_dense_rows(step, node, step.read(node, work, 0))]


def _dense_rows(step: StepGraph, node: Node, rows: int) -> int:
    weights = step.plan.tensors[node.inputs[1]]
    out = weights.shape[0]
    matrix = step.plan_constant(node.inputs[1], (out, math.prod(weights.shape[1:])))
    shape = (*step.tensors[rows].shape[:-1], out)
    activation = node.options_of(ActivationOptions).activation_in_file
    options: dict[str, OptionValue] = {
        "keep_num_dims": True,
        "fused_activation_function": activation,
        **_sums(step, node),
    }
    return step.op(FULLY_CONNECTED.kind, [rows, matrix, *_bias(step, node, 2)], _output(step, node), shape, options)


def _dense_over_window(step: StepGraph, node: Node, work: Work) -> int:
    """A dense layer over the flattened window: as many rows as frames."""
    weights = step.plan.tensors[node.inputs[1]]
    kernel = weights.shape[1]
    row = (1, 1, 1, math.prod(weights.shape[1:]))
    whole = weights.shape[2] == node.views[0][0] and weights.shape[3] == node.views[0][1]
    if not whole or node.options_of(ConvolutionOptions).dilation_t != 1:
        raise NeedsHost("a dense layer over part of a frame")
    x = step.read(node, work, 0)
    stride = node.window.stride
    rows = [step.reshape(step.cut(x, j * stride, kernel), row) for j in range(work.frames)]
    return _dense_rows(step, node, step.concatenate(rows))


# --- operations on one frame -------------------------------------------------------------------


@emits(
    "LOGISTIC",
    "TANH",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "RELU_0_TO_1",
    "LEAKY_RELU",
    "ELU",
    "GELU",
    "HARD_SWISH",
    "ABS",
    "NEG",
    "EXP",
    "LOG",
    "SQRT",
    "RSQRT",
    "SQUARE",
    "SIN",
    "COS",
    "FLOOR",
    "CEIL",
    "ROUND",
    "SIGN",
    "QUANTIZE",
    "DEQUANTIZE",
    "CAST",
    "LOGICAL_NOT",
    "SOFTMAX",
    "LOG_SOFTMAX",
    "L2_NORMALIZATION",
)
def _pointwise(step: StepGraph, node: Node, work: Work) -> list[int]:
    x = step.read(node, work, 0)
    return [step.op(node.kind, [x], _output(step, node), step.tensors[x].shape, to_file(node.options))]


@emits(
    "ADD",
    "SUB",
    "MUL",
    "DIV",
    "MAXIMUM",
    "MINIMUM",
    "SQUARED_DIFFERENCE",
    "POW",
    "PRELU",
    "LOGICAL_AND",
    "LOGICAL_OR",
    "GREATER",
    "GREATER_EQUAL",
    "LESS",
    "LESS_EQUAL",
    "EQUAL",
    "NOT_EQUAL",
)
def _join(step: StepGraph, node: Node, work: Work) -> list[int]:
    operands = []
    for position, i in enumerate(node.inputs):
        if step.plan.tensors[i].data is None:
            operands.append(step.read(node, work, position))
        else:
            operands.append(step.plan_constant(i, step.plan.tensors[i].shape, _last(step.plan.tensors[i])))
    shape = (1, work.frames, *lay_out(np.broadcast_shapes(*node.views)))
    return [step.op(node.kind, operands, _output(step, node), shape, to_file(node.options))]


@emits("FLOOR_DIV", "FLOOR_MOD")
def _floor(step: StepGraph, node: Node, work: Work) -> list[int]:
    divisor = step.plan.tensors[node.inputs[1]].data
    if divisor is None or not divisor.all():
        raise NeedsHost("TFLite stops at a divisor of 0")
    return _join(step, node, work)


def _last(tensor: Tensor) -> int:
    return max(0, len(tensor.shape) - 1)


@emits("CONCATENATION")
def _concatenation(step: StepGraph, node: Node, work: Work) -> list[int]:
    axis = node.options_of(AxisOptions).axis + _axis_shift(node.views[0])
    operands = []
    for position, i in enumerate(node.inputs):
        tensor = step.plan.tensors[i]
        if tensor.data is None:
            operands.append(step.read(node, work, position))
        else:
            frames = np.broadcast_to(tensor.data, (1, work.frames, *lay_out(node.views[position])))
            operands.append(step.constant(np.ascontiguousarray(frames), tensor.quantization))
    shape = list(step.tensors[operands[0]].shape)
    shape[axis] = sum(step.tensors[o].shape[axis] for o in operands)
    return [step.op(node.kind, operands, _output(step, node), tuple(shape), {"axis": axis})]


@emits("SPLIT")
def _split(step: StepGraph, node: Node, work: Work) -> list[int]:
    axis = node.options_of(AxisOptions).axis + _axis_shift(node.views[0])
    x = step.read(node, work, 0)
    source = step.tensors[x].shape
    made, begin = [], 0
    for position in range(len(node.outputs)):
        out = _output(step, node, position)
        size = list(source)
        size[axis] = out_size = lay_out(out.shape)[axis - 2]
        start = [0] * len(source)
        start[axis] = begin
        made.append(step.op("SLICE", (x, step.integers(start), step.integers(size)), out, tuple(size)))
        begin += out_size
    return made


@emits("STRIDED_SLICE")
def _strided_slice(step: StepGraph, node: Node, work: Work) -> list[int]:
    view = node.views[0]
    shift = _axis_shift(view) + 1
    options = node.options_of(SliceOptions)
    begin, end, stride = options.begin, options.end, options.stride
    if len(begin) != len(view) or min(stride, default=1) < 1:
        raise NeedsHost("a cut against the order of the values")
    x = step.read(node, work, 0)
    shape = list(step.tensors[x].shape)
    starts, stops = [0] * len(shape), list(shape)
    strides = [1] * len(shape)
    for a, (b, e, s) in enumerate(zip(begin, end, stride, strict=True)):
        starts[shift + a], stops[shift + a], strides[shift + a] = b, e, s
        shape[shift + a] = len(range(b, e, s))
    operands = (x, step.integers(starts), step.integers(stops), step.integers(strides))
    return [step.op(node.kind, operands, _output(step, node), tuple(shape))]


@emits("PAD")
def _pad(step: StepGraph, node: Node, work: Work) -> list[int]:
    x = step.read(node, work, 0)
    flat = node.options_of(PadOptions).paddings
    outer = [(0, 0)] * (len(step.tensors[x].shape) - len(flat) // 2)
    return [step.pad(x, [*outer, *zip(flat[::2], flat[1::2], strict=True)], node.fill)]


@emits("TRANSPOSE")
def _transpose(step: StepGraph, node: Node, work: Work) -> list[int]:
    perm, shift = node.options_of(TransposeOptions).perm, _axis_shift(node.views[0])
    if shift != 1 or perm[0] != 0:
        raise NeedsHost("time moves")
    x = step.read(node, work, 0)
    order = (0, *(p + 1 for p in perm))
    shape = tuple(step.tensors[x].shape[a] for a in order)
    return [step.op(node.kind, (x, step.integers(order)), _output(step, node), shape)]


@emits("REVERSE_V2")
def _reverse(step: StepGraph, node: Node, work: Work) -> list[int]:
    x = step.read(node, work, 0)
    for axis in node.options_of(ReverseOptions).axes:
        # Older runtimes turn one axis around at a time.
        operands = (x, step.integers([axis + _axis_shift(node.views[0])]))
        x = step.op(node.kind, operands, _output(step, node), step.tensors[x].shape)
    return [x]


@emits("TILE")
def _tile(step: StepGraph, node: Node, work: Work) -> list[int]:
    x = step.read(node, work, 0)
    own = node.options_of(TileOptions).multiples
    shape = step.tensors[x].shape
    multiples = (*(1,) * (len(shape) - len(own)), *own)
    tiled = tuple(n * k for n, k in zip(shape, multiples, strict=True))
    return [step.op(node.kind, (x, step.integers(multiples)), _output(step, node), tiled)]


@emits(*(statistic.value for statistic in Statistic))
def _reduce(step: StepGraph, node: Node, work: Work) -> list[int]:
    options = node.options_of(StatisticOptions)
    if options.statistic is Statistic.SUM and step.plan.tensors[node.inputs[0]].dtype.kind == "i":
        # LiteRT 2.3 reads int8 sums as uint8 and int16 ones as int8 (measured, right again in later sources).
        raise NeedsHost(node.kind)
    shift = _axis_shift(node.views[0])
    axes = [a + shift for a in options.axes]
    x = step.read(node, work, 0)
    shape = tuple(1 if a in axes else n for a, n in enumerate(step.tensors[x].shape))
    return [step.op(node.kind, (x, step.integers(axes)), _output(step, node), shape, {"keep_dims": True})]


@emits("ARG_MAX", "ARG_MIN")
def _arg_extreme(step: StepGraph, node: Node, work: Work) -> list[int]:
    x = step.read(node, work, 0)
    axis = node.options_of(AxisOptions).axis + _axis_shift(node.views[0])
    shape = step.tensors[x].shape
    operands = (x, step.constant(np.array(axis, np.int32)))
    shape = shape[:axis] + shape[axis + 1 :]
    output_type = "INT64" if _output(step, node).dtype == np.int64 else "INT32"
    return [step.op(node.kind, operands, _output(step, node), shape, {"output_type": output_type})]


@emits("BATCH_MATMUL")
def _batch_matmul(step: StepGraph, node: Node, work: Work) -> list[int]:
    x = step.read(node, work, 0)
    matrix = step.plan.tensors[node.inputs[1]]
    shape = (*step.tensors[x].shape[:-1], matrix.shape[1])
    constant = step.plan_constant(node.inputs[1], (*(1 for _ in shape[2:]), *matrix.shape))
    return [step.op(node.kind, (x, constant), _output(step, node), shape)]


@emits("GATHER")
def _gather(step: StepGraph, node: Node, work: Work) -> list[int]:
    x = step.read(node, work, 0)
    axis = node.options_of(AxisOptions).axis + _axis_shift(node.views[0])
    places = step.plan.tensors[node.inputs[1]]
    shape = list(step.tensors[x].shape)
    shape[axis] = places.shape[0]
    operands = (x, step.plan_constant(node.inputs[1], places.shape))
    return [step.op(node.kind, operands, _output(step, node), tuple(shape), {"axis": axis})]


@emits("MIRROR_PAD")
def _mirror_pad(step: StepGraph, node: Node, work: Work) -> list[int]:
    x = step.read(node, work, 0)
    flat = node.options_of(PadOptions).paddings
    source = step.tensors[x].shape
    pairs = [(0, 0)] * (len(source) - len(flat) // 2) + list(zip(flat[::2], flat[1::2], strict=True))
    shape = tuple(n + a + b for n, (a, b) in zip(source, pairs, strict=True))
    mode = node.options_of(PadOptions).mode
    return [step.op(node.kind, (x, step.integers(pairs)), _output(step, node), shape, {"mode": mode})]


@emits("RESIZE_NEAREST_NEIGHBOR")
def _resize(step: StepGraph, node: Node, work: Work) -> list[int]:
    options = node.options_of(ResizeOptions)
    if options.align_corners:
        raise NeedsHost("the frames of a step have other corners than the window")
    x = step.read(node, work, 0)
    shape = _shape_out(step, node, work)
    operands = (x, step.integers(shape[1:3]))
    return [step.op(node.kind, operands, _output(step, node), shape, to_file(options))]


# --- operations that only move frames ----------------------------------------------------------


def _copy(step: StepGraph, i: int) -> int:
    """The same frames as a tensor of their own."""
    tensor = step.tensors[i]
    return step.op("RESHAPE", (i, step.integers(tensor.shape)), tensor, tensor.shape, {"new_shape": tensor.shape})


@emits("TIME_PAD")
def _time_pad(step: StepGraph, node: Node, work: Work) -> list[int]:
    if depends_on_edge(node) and touches_edge(step.plan, node, work, step.spans):
        raise NeedsHost("mirrors the signal")
    read = step.read(node, work, 0)
    return [_copy(step, step.cut(read, 0, work.frames, node.window.stride))]


@emits("TIME_WINDOW")
def _time_window(step: StepGraph, node: Node, work: Work) -> list[int]:
    extent, stride = node.window.extent, node.window.stride
    shape = (1, 1, *lay_out(_output(step, node).shape))
    x = step.read(node, work, 0)
    if stride == extent:
        return [_copy(step, step.reshape(x, (1, work.frames, *shape[2:])))]
    rows = [step.reshape(step.cut(x, j * stride, extent), shape) for j in range(work.frames)]
    return [_copy(step, step.concatenate(rows))]


@emits("TIME_UNFOLD")
def _time_unfold(step: StepGraph, node: Node, work: Work) -> list[int]:
    up = node.window.up
    begin, end = step.whole_range(node, work)
    x = step.read(node, work, 0)
    frames = step.reshape(x, (1, (end - begin) * up, *lay_out(_output(step, node).shape)))
    return [_copy(step, step.cut(frames, work.first_frame - begin * up, work.frames))]


@emits("TIME_REPEAT")
def _time_repeat(step: StepGraph, node: Node, work: Work) -> list[int]:
    up = node.window.up
    begin, end = step.whole_range(node, work)
    x = step.read(node, work, 0)
    frame = step.tensors[x].shape[2:]
    # Copies of a frame stand side by side first. TILE would say it in one, but lacks int8 in some runtimes.
    rows = step.reshape(x, (1, end - begin, 1, math.prod(frame)))
    frames = step.reshape(step.concatenate([rows] * up, axis=2), (1, (end - begin) * up, *frame))
    return [step.cut(frames, work.first_frame - begin * up, work.frames)]


@emits("TIME_FROZEN")
def _time_frozen(step: StepGraph, node: Node, work: Work) -> list[int]:
    out = _output(step, node)
    statistic = step.plan.tensors[node.inputs[1]].data
    assert statistic is not None
    frames = np.broadcast_to(statistic.reshape(out.shape), (work.frames, *out.shape))
    return [_copy(step, step.constant(frames.reshape(_shape_out(step, node, work)), out.quantization))]
