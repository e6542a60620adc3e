"""Convolutions: they weigh a window of frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation, from_file, multiply_adds_per_value
from tcnstream.compiler.operations.dense import FULLY_CONNECTED
from tcnstream.compiler.patches import lies_across, patches
from tcnstream.compiler.plan import ActivationOptions, Node, Plan, Window
from tcnstream.compiler.spatial import PADDING, STRIDES, SpatialOptions, access_window, refuse_growth, spatial
from tcnstream.tflite.graph import Op
from tcnstream.tflite.validate import COUNT, Operands, Rule, Shapes, require


@dataclass(frozen=True)
class ConvolutionOptions(SpatialOptions):
    """``dilation_t`` and ``dilation_f`` places from one weight to the next.

    ``dense``: the file has a dense layer over the flattened window, so integers are rescaled as one.
    """

    dilation_t: int = 1
    dilation_f: int = 1
    dense: bool = False

    @property
    def kind_in_file(self) -> str:
        return FULLY_CONNECTED.kind if self.dense else ""


def _convolution_shapes(o: Operands) -> Shapes:
    shape, (filters, height, width, depth) = o.shape(0, rank=4), o.shape(1, rank=4)
    require(depth > 0 and shape[3] % depth == 0, f"weights of depth {depth} over {shape}")
    require(filters > 0 and filters % (shape[3] // depth) == 0, f"{filters} filters in {shape[3] // depth} groups")
    require(min(height, width) > 0, f"a kernel of {height} by {width}")
    require(o.count(2) in (None, filters), f"a bias of {o.count(2)} for {filters} filters")
    return ((shape[0], *o.spatial((height, width)), filters),)


def _depthwise_shapes(o: Operands) -> Shapes:
    shape, (one, height, width, channels) = o.shape(0, rank=4), o.shape(1, rank=4)
    require(one == 1 and channels > 0 and channels % shape[3] == 0, f"weights {o.shape(1)} over {shape}")
    require(min(height, width) > 0, f"a kernel of {height} by {width}")
    require(o.count(2) in (None, channels), f"a bias of {o.count(2)} for {channels} channels")
    return ((shape[0], *o.spatial((height, width)), channels),)


def _transposed_shapes(o: Operands) -> Shapes:
    filters, *kernel, depth = o.shape(1, rank=4)
    shape, out = o.shape(2, rank=4), o.out()
    if o.leaves_lengths_open and (known := o.known_integers(0)):
        out = tuple(known)
    require(len(out) == 4 and shape[3] == depth, f"weights {o.shape(1)} over {shape}")
    require(min(filters, *kernel) > 0, f"weights {o.shape(1)}")
    require(o.count(3) in (None, filters), f"a bias of {o.count(3)} for {filters} filters")
    for axis, letter in ((1, "h"), (2, "w")):
        stride, k = o.count_option(f"stride_{letter}"), kernel[axis - 1]
        reads = out[axis] if o.op.options.get("padding") == "SAME" else out[axis] - k + 1
        require(-(-reads // stride) == shape[axis], f"{out[axis]} places of {shape[axis]} at stride {stride}")
    return ((shape[0], out[1], out[2], filters),)


def _convolution(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    weights = lw.graph.tensors[op.inputs[1]]
    data = lw.constant(op, 1)
    if lies_across(lw, op, i, data.shape[1:3]):
        return _convolve_patches(lw, op)
    axes = spatial(lw, op, i, data.shape[1:3])
    depthwise = op.kind == DEPTHWISE_CONV_2D.kind
    if axes.swap:
        data = np.ascontiguousarray(data.transpose(0, 2, 1, 3))
    kernel = (data.shape[1], data.shape[2])
    if depthwise:
        data = data.reshape(data.shape[1:])
    stride, dilation = axes.of(op, "stride_{}"), axes.of(op, "dilation_{}_factor")
    window, (pad_begin, pad_end) = access_window(lw, op, i, axes, kernel, stride, dilation)
    options = ConvolutionOptions(
        activation=from_file(ActivationOptions, op).activation,
        stride_f=stride[1],
        pad_f_begin=pad_begin,
        pad_f_end=pad_end,
        dilation_t=dilation[0],
        dilation_f=dilation[1],
    )
    constant = lw.add_constant(weights, data, data.ndim - 1 if depthwise else 0)
    inputs = [axes.operand, (constant, data.shape), lw.bias(op, 2)]
    frame = axes.frame(lw.shape(op.outputs[0]))
    lw.emit(op, inputs, axes.axis, options=options, window=window, fill=lw.zero(i), frame=frame)


def _convolve_patches(lw: Lowering, op: Op) -> None:
    """A kernel that goes over both axes of a frame weighs all of a patch at once."""
    i, weights, data = op.inputs[0], lw.graph.tensors[op.inputs[1]], lw.constant(op, 1)
    kernel, channels, filters = data.shape[1:3], lw.shape(i)[3], lw.shape(op.outputs[0])[3]
    activation = from_file(ActivationOptions, op).activation
    if op.kind == DEPTHWISE_CONV_2D.kind:
        found = patches(lw, op, i, kernel, lw.zero(i))
        data, channel_axis = data.reshape(1, found.taps, filters), 2
        view = (found.places * found.taps, channels)
        options = ConvolutionOptions(activation=activation, stride_f=found.taps)
    else:
        found = patches(lw, op, i, kernel, lw.zero(i), channels // data.shape[3])
        data, channel_axis = data.reshape(filters, 1, 1, found.taps * data.shape[3]), 0
        view = (found.places, found.taps * channels)
        options = ConvolutionOptions(activation=activation)
    constant = lw.add_constant(weights, data, channel_axis)
    inputs = [(found.value, view), (constant, data.shape), lw.bias(op, 2)]
    lw.emit(op, inputs, found.axis, options=options, frame=(found.places, filters))


def _transpose_convolution(lw: Lowering, op: Op) -> None:
    i = op.inputs[2]
    weights, data = lw.graph.tensors[op.inputs[1]], lw.constant(op, 1)
    axes = spatial(lw, op, i, data.shape[1:3])
    if axes.swap:
        data = np.ascontiguousarray(data.transpose(0, 2, 1, 3))
    out = lw.shape(op.outputs[0])
    t, f = (2, 1) if axes.swap else (1, 2)
    refuse_growth(lw, op, axes, out[t])
    stride = axes.of(op, "stride_{}")
    kernel = data.shape[1:3]
    pads = [0, 0]
    if op.options.get("padding") == "SAME":
        for k, axis in enumerate((t, f)):
            frames = lw.shape(i)[axis]
            pads[k] = max(0, (frames - 1) * stride[k] + kernel[k] - out[axis]) // 2
    frames = lw.shape(i)[t] if axes.axis in (1, 2) else 1
    pad_begin = kernel[0] - 1 - pads[0]
    pad_end = out[t] - 1 - (stride[0] * frames + pad_begin - kernel[0])
    window = Window(stride[0], 1, kernel[0], pad_begin, pad_end)
    activation = from_file(ActivationOptions, op).activation
    options = ConvolutionOptions(activation=activation, stride_f=stride[1], pad_f_begin=pads[1])
    inputs = [axes.operand, (lw.add_constant(weights, data), data.shape), lw.bias(op, 3)]
    frame = axes.frame(lw.shape(op.outputs[0]))
    lw.emit(op, inputs, axes.axis, options=options, window=window, fill=lw.zero(i), frame=frame)


def _convolution_multiply_adds(plan: Plan, node: Node) -> int:
    weights = plan.tensors[node.inputs[1]].shape
    return multiply_adds_per_value(plan, node, math.prod(weights[1:])) // node.window.up


def _depthwise_multiply_adds(plan: Plan, node: Node) -> int:
    weights = plan.tensors[node.inputs[1]].shape
    return multiply_adds_per_value(plan, node, weights[0] * weights[1])


_DILATIONS = {"dilation_h_factor": COUNT, "dilation_w_factor": COUNT}
_TYPES = ("float32", "int8", "int16")

CONV_2D = Operation(
    "CONV_2D",
    Rule(
        operands=(2, 3),
        shapes=_convolution_shapes,
        options=STRIDES | PADDING | _DILATIONS,
        weights=1,
        channel_axis=0,
        bias=2,
        symmetric=True,
    ),
    options=ConvolutionOptions,
    lower=_convolution,
    multiply_adds=_convolution_multiply_adds,
    types=_TYPES,
    batch=batch_rules.of_images,
    is_convolution=True,
    slides_kernel=True,
    keeps_numbers=True,
)

DEPTHWISE_CONV_2D = Operation(
    "DEPTHWISE_CONV_2D",
    Rule(
        operands=(2, 3),
        shapes=_depthwise_shapes,
        options=STRIDES | PADDING | _DILATIONS,
        weights=1,
        channel_axis=3,
        bias=2,
    ),
    options=ConvolutionOptions,
    lower=_convolution,
    multiply_adds=_depthwise_multiply_adds,
    types=_TYPES,
    batch=batch_rules.of_images,
    is_convolution=True,
    slides_kernel=True,
    keeps_numbers=True,
)

TRANSPOSE_CONV = Operation(
    "TRANSPOSE_CONV",
    Rule(
        operands=(3, 4),
        shapes=_transposed_shapes,
        options=STRIDES | PADDING,
        values=2,
        weights=1,
        channel_axis=0,
        bias=3,
    ),
    options=ConvolutionOptions,
    lower=_transpose_convolution,
    multiply_adds=_convolution_multiply_adds,
    types=_TYPES,
    batch=batch_rules.of_images,
    slides_kernel=True,
    keeps_numbers=True,
)

OPERATIONS = (CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV)
