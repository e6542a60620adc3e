"""How layers that step through a sequence are lowered: LSTM, simple RNN, SVDF.

Each is one operation of the file and becomes several nodes; what it keeps from frame to frame is fed back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from tcnstream.compiler.lowering import Lowering, TimedTensor
from tcnstream.compiler.operations.activation import RELU, RELU6, RELU_N1_TO_1, TANH
from tcnstream.compiler.operations.dense import FULLY_CONNECTED
from tcnstream.compiler.operations.elementwise import ADD, MAXIMUM, MINIMUM, MUL, SumOptions
from tcnstream.compiler.operations.pieces import SPLIT
from tcnstream.compiler.operations.time import STEPS_FOR_A_WINDOW, state
from tcnstream.compiler.plan import SAME_FRAME, ActivationOptions, AxisOptions, Node, Options, Window
from tcnstream.tflite.graph import ABSENT, Array, Op, Shape, Tensor
from tcnstream.tflite.validate import ACTIVATION, FLAG, Operands, require

Value: TypeAlias = tuple[int, Shape]
"""An operand of a node."""

SEQUENCE_OPTIONS = {"fused_activation_function": ACTIVATION, "time_major": FLAG, "asymmetric_quantize_inputs": FLAG}
"""What a file says of a layer that steps from frame to frame."""

_RANGES = {RELU.kind: (0.0, None), RELU_N1_TO_1.kind: (-1.0, 1.0), RELU6.kind: (0.0, 6.0)}
_ACTIVATIONS = (*_RANGES, TANH.kind)


def is_there(o: Operands, position: int) -> bool:
    """Whether an operand that may be left out is not."""
    return position < len(o.op.inputs) and o.op.inputs[position] != ABSENT


def sequence_shape(o: Operands, units: int) -> Shape:
    """Of the output: as many values as units at each step of the input."""
    shape = o.shape(0)
    require(len(shape) in (2, 3), f"an input of shape {shape}")
    return (*shape[:-1], units)


class Steps:
    """Nodes for one operation of the file, over frames of one axis."""

    def __init__(self, lw: Lowering, op: Op, like: Tensor, window_frames: int) -> None:
        self.lw, self.op, self.like, self.window_frames = lw, op, like, window_frames

    def add(self, kind: str, *operands: Value, options: Options) -> Value:
        """A node whose frames are as long as those of its longest operand."""
        frame = max((shape for _, shape in operands), key=math.prod)
        return self.made(kind, operands, frame, options=options)

    def made(
        self,
        kind: str,
        operands: Sequence[Value],
        frame: Shape,
        *,
        options: Options,
        like: Tensor | None = None,
        window: Window = SAME_FRAME,
    ) -> Value:
        like = like or self.like
        return self.lw.step(self.op, operands, like, frame, self.window_frames, kind, options=options, window=window)

    def constant(self, values: Array) -> Value:
        tensor = Tensor(f"{self.like.name}/constant", values.shape, values.dtype)
        return self.lw.add_constant(tensor, values), values.shape

    def dense(self, x: Value, weights: Array, bias: Array | None, limit: str = "NONE") -> Value:
        rest = (ABSENT, ()) if bias is None else self.constant(bias)
        operands, options = [x, self.constant(weights), rest], ActivationOptions(activation=limit)
        return self.made(FULLY_CONNECTED.kind, operands, weights.shape[:1], options=options)

    def sum(self, a: Value, b: Value, limit: str = "NONE") -> Value:
        return self.add(ADD.kind, a, b, options=SumOptions(activation=limit))

    def product(self, a: Value, b: Value, limit: str = "NONE") -> Value:
        return self.add(MUL.kind, a, b, options=ActivationOptions(activation=limit))

    def function(self, kind: str, x: Value) -> Value:
        return x if kind == "NONE" else self.add(kind, x, options=Options())

    def activation(self, kind: str, x: Value) -> Value:
        """As ``ApplyActivationToVector``: unlike an operation of its own, a rectifier makes the limit of a NaN."""
        if kind not in _RANGES:
            return self.function(kind, x)
        least, most = _RANGES[kind]
        if most is not None:
            x = self.add(MINIMUM.kind, self.scalar(most), x, options=Options())
        return self.add(MAXIMUM.kind, x, self.scalar(least), options=Options())

    def several(
        self, kind: str, operands: Sequence[Value], made: Sequence[tuple[Tensor, Shape]], options: Options
    ) -> list[Value]:
        """A node with several outputs."""
        lw = self.lw
        values = [(lw.add_value(like, shape, self.window_frames), shape) for like, shape in made]
        inputs, views = tuple(i for i, _ in operands), tuple(view for _, view in operands)
        outputs, label, index = tuple(i for i, _ in values), lw.label(self.op), self.op.index
        lw.nodes.append(Node(kind, inputs, outputs, views, options, label=label, index=index))
        return values

    def split(self, whole: Value, parts: int) -> list[Value]:
        lw, size = self.lw, whole[1][0] // parts
        values = tuple(lw.add_value(self.like, (size,), self.window_frames) for _ in range(parts))
        node = Node(
            SPLIT.kind, whole[:1], values, whole[1:], AxisOptions(1), label=lw.label(self.op), index=self.op.index
        )
        lw.nodes.append(node)
        return [(value, (size,)) for value in values]

    def scalar(self, value: float) -> Value:
        return self.constant(np.array([value], np.float32))

    def fed_back(self, start: Array, like: Tensor, clock: Value) -> Value:
        """The frame before of what ``keep`` says, ``start`` at first."""
        held = Tensor(like.name, start.shape, start.dtype, like.quantization, start)
        return state(self.lw, self.op, held, clock, self.window_frames)

    def keep(self, before: Value, value: Value) -> None:
        self.lw.feed_back(before[0], value[0])


def begin_layer(lw: Lowering, op: Op) -> tuple[Steps, Value, TimedTensor]:
    """The layer's input over frames; refuses one that is stepped through along another axis than time."""
    i = op.inputs[0]
    stream, shape = lw.stream(op, i), lw.shape(i)
    time = 0 if len(shape) == 2 or op.options.get("time_major") else 1
    if stream.axis is not None and stream.axis != time:
        lw.refuse_axis(op, f"steps along axis {time} of {shape}, which is not time")
    if stream.axis is None and (len(shape) == 3 or stream.window_frames != 1):
        lw.refuse(op, STEPS_FOR_A_WINDOW)
    if math.prod(shape) != (1 if stream.axis is None else shape[stream.axis]) * shape[-1]:
        lw.refuse(op, f"steps through a batch of several sequences, {shape}")
    made = lw.graph.tensors[op.outputs[0]]
    like = Tensor(made.name, (), made.dtype, made.quantization)
    return Steps(lw, op, like, stream.window_frames), (stream.value, shape[-1:]), stream


def end_layer(lw: Lowering, op: Op, value: Value, stream: TimedTensor) -> None:
    lw.streams[op.outputs[0]] = TimedTensor(value[0], stream.axis, stream.window_frames)


def start_of_state(lw: Lowering, op: Op, position: int, size: int) -> tuple[Array, Tensor]:
    """What a state is at first: what the file holds, or what stands for zero."""
    tensor = lw.graph.tensors[op.inputs[position]]
    if op.inputs[position] in lw.streams:
        lw.refuse(op, f"starts from the state `{tensor.name}`, which is computed")
    if tensor.data is not None and tensor.data.size == size:
        return tensor.data.reshape(size), tensor
    return np.full(size, lw.zero(op.inputs[position]), tensor.dtype), tensor


def activation_of(lw: Lowering, op: Op) -> str:
    """The function at the end of the layer."""
    activation = str(op.options.get("fused_activation_function", "NONE"))
    if activation not in (*_ACTIVATIONS, "NONE"):
        lw.refuse(op, f"applies {activation}, which recurrent layers of the reference kernels do not have")
    return activation


def optional_constant(lw: Lowering, op: Op, position: int) -> Array | None:
    if position >= len(op.inputs) or op.inputs[position] == ABSENT:
        return None
    return lw.constant(op, position)


def one_scale(lw: Lowering, op: Op, i: int) -> np.float32:
    """The one scale of a tensor."""
    q = lw.graph.tensors[i].quantization
    if q is None or q.per_channel:
        lw.refuse(op, f"needs one scale for `{lw.graph.tensors[i].name}`")
    return np.float32(q.scale.flat[0])
