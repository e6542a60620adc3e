"""The plan under construction: where each tensor of the file went, and how nodes are appended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Never

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.plan import NO_OPTIONS, SAME_FRAME, Node, Options, Plan, Window
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import ABSENT, Array, Graph, Op, Quantization, Shape, Tensor
from tcnstream.tflite.validate import has_short_sums


@dataclass(frozen=True, eq=False)
class Picked:
    """Which of ``frames`` frames make a window: frame j is frame ``index[j, 0]``, or ``fill`` where that is -1.

    With ``weights`` it is the sum of ``weights[j, k]`` times frame ``index[j, k]``. ``op`` picked them.
    """

    index: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None
    frames: int
    fill: float | int
    op: Op


@dataclass(frozen=True)
class TimedTensor:
    """A streamed tensor of the file: the plan's value, its time axis (None: time is gone), its frames in the file.

    ``statistic`` marks what comes from a statistic over all of time, for which a policy gives a value at every
    frame; where a window or a last frame took time away, only the end of the window has one. ``imaginary`` is the
    plan's value of the imaginary part of a complex tensor, whose real part is ``value``. ``picked``: the tensor is
    those frames of ``value``, for which nothing stands in the plan yet (``picks``). ``lead``: without time, the frames
    that come before that of the first whole window (``leads``).
    """

    value: int
    axis: int | None
    window_frames: int
    statistic: bool = False
    imaginary: int | None = None
    picked: Picked | None = None
    lead: int = 0


class Lowering:
    """The plan under construction, and where each tensor of the file went."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.streams: dict[int, TimedTensor] = {}
        self.tensors: list[Tensor] = []
        self.windows: list[int] = []
        self.nodes: list[Node] = []
        self.inputs: list[int] = []
        self.states: dict[int, int] = {}
        self.input_steps: list[int] = []
        self.awaited: dict[int, int] = {}
        self.exchanged: dict[int, TimedTensor] = {}
        """Operands of the operation that is being said as others read them (``leads``)."""
        self.of_each_frame: dict[object, list[TimedTensor]] = {}
        """What operations on one frame of a window gave, by all that tells them apart but the frame's place."""
        self._identities: dict[int, object] = {}

    def add_input(self, i: int, axis: int | None, frames_per_step: int = 1, unfold: str = "") -> None:
        """An input of the file whose axis ``axis`` is time; None: it has no time.

        Where inputs have different rates, ``frames_per_step`` of its frames arrive together, and a node of the kind
        ``unfold`` takes them apart.
        """
        tensor = self.graph.tensors[i]
        shape = tensor.shape
        if axis is None:
            value = self.add_value(tensor, shape[1:] if shape[:1] == (1,) else shape, 1)
            self.inputs.append(value)
            self.input_steps.append(1)
            self.streams[i] = TimedTensor(value, None, 1)
            return
        if not 0 <= axis < len(shape):
            raise NotStreamableError(
                f"input `{tensor.name}` of shape {shape} has no axis {axis}; name one with time_axis="
            )
        if axis != 0 and shape[0] != 1 and len(shape) > 2:
            raise NotStreamableError(
                f"input `{tensor.name}` of shape {shape} has a batch of {shape[0]};"
                " convert the model with a batch of 1, and use a pool for several streams"
            )
        frame, frames = frame_shape(shape, axis), shape[axis]
        if frames_per_step == 1:
            value = self.add_value(tensor, frame, frames)
            self.inputs.append(value)
        else:
            together = (frames_per_step, *frame)
            self.inputs.append(self.add_value(tensor, together, frames // frames_per_step))
            value = self.add_value(tensor, frame, frames)
            window = Window(up=frames_per_step, extent=frames_per_step, pad_begin=frames_per_step - 1)
            self.nodes.append(Node(unfold, (self.inputs[-1],), (value,), (together,), window=window, label=tensor.name))
        self.input_steps.append(frames_per_step)
        self.streams[i] = TimedTensor(value, axis, frames)

    def add_value(self, like: Tensor, shape: Shape, window_frames: int) -> int:
        self.tensors.append(Tensor(like.name, shape, like.dtype, like.quantization))
        self.windows.append(window_frames)
        return len(self.tensors) - 1

    def add_constant(self, tensor: Tensor, data: Array, axis: int = 0) -> int:
        """A constant in canonical layout; ``axis`` is where its per-channel axis went."""
        q = tensor.quantization
        if q is not None:
            q = Quantization(q.scale, q.zero_point, axis)
        self.tensors.append(Tensor(tensor.name, data.shape, data.dtype, q, data))
        self.windows.append(0)
        return len(self.tensors) - 1

    def emit(
        self,
        op: Op,
        inputs: Sequence[tuple[int, Shape]],
        axis: int | None,
        *,
        kind: str | None = None,
        options: Options = NO_OPTIONS,
        window: Window = SAME_FRAME,
        fill: float | int = 0,
        window_frames: int | None = None,
        frame: Shape | None = None,
        over_time: bool = False,
    ) -> None:
        """Append a node for ``op``; its outputs have their time on ``axis`` of the file's shape.

        ``frame`` is the shape of an output frame as the node makes it, where that is not the file's; ``over_time``: the
        node is a statistic over all of time.
        """
        sources = [self.streams[i] for i in op.inputs if i in self.streams]
        statistic = axis is None and (over_time or all(s.statistic for s in sources))
        made = []
        for o in op.outputs:
            tensor = self.graph.tensors[o]
            if window_frames is None:
                window_frames = self.window_frames_of(op) if axis is None else tensor.shape[axis]
            value = self.add_value(tensor, frame or frame_shape(tensor.shape, axis), window_frames)
            self.streams[o] = TimedTensor(value, axis, window_frames, statistic)
            made.append(value)
        node = Node(
            kind or op.kind,
            tuple(i for i, _ in inputs),
            tuple(made),
            tuple(view for _, view in inputs),
            options,
            window,
            fill,
            self.label(op),
            op.index,
        )
        self.nodes.append(node)

    def step(
        self,
        op: Op,
        sources: Sequence[tuple[int, Shape]],
        like: Tensor,
        frame: Shape,
        window_frames: int,
        kind: str,
        *,
        options: Options = NO_OPTIONS,
        window: Window = SAME_FRAME,
        fill: float | int = 0,
    ) -> tuple[int, Shape]:
        """Append a node whose output is no tensor of the file; returns it as an operand."""
        value = self.add_value(like, frame, window_frames)
        inputs, views = tuple(i for i, _ in sources), tuple(view for _, view in sources)
        self.nodes.append(Node(kind, inputs, (value,), views, options, window, fill, self.label(op), op.index))
        return value, frame

    def feed_back(self, state: int, written: int) -> None:
        """Frame j of ``state``, which ``operations.time.state`` made, is frame j - 1 of ``written``."""
        self.states[state] = written

    def await_feedback(self, state: int, i: int) -> None:
        """As ``feed_back``, for a tensor of the file that is computed later."""
        self.awaited[state] = i

    def alias(self, op: Op, source: int, axis: int | None) -> None:
        """The output is the input seen in another shape."""
        stream = self.streams[source]
        self.streams[op.outputs[0]] = replace(stream, axis=axis)

    def window_frames_of(self, op: Op) -> int:
        return max(self.streams[i].window_frames for i in op.inputs if i in self.streams)

    def label(self, op: Op) -> str:
        return self.graph.tensors[op.outputs[0]].name if op.outputs else op.kind

    def shape(self, i: int) -> Shape:
        return self.graph.tensors[i].shape

    def scale(self, i: int) -> object:
        """The type of a tensor and what its integers stand for, to be compared."""
        tensor = self.graph.tensors[i]
        q = tensor.quantization
        return tensor.dtype, None if q is None else (q.scale.tobytes(), q.zero_point.tobytes(), q.axis)

    def identity(self, i: int) -> object:
        """What tells a constant from others: its values and what they stand for."""
        if i not in self._identities:
            data = self.graph.tensors[i].data
            self._identities[i] = self.shape(i), self.scale(i), None if data is None else data.tobytes()
        return self._identities[i]

    def stream(self, op: Op, i: int) -> TimedTensor:
        """An operand of ``op`` that must come from the input signal."""
        if i not in self.streams:
            self.refuse(op, f"takes `{self.graph.tensors[i].name}`, which does not come from the input, for its values")
        return self.streams[i]

    def operand(self, i: int) -> tuple[int, Shape]:
        """A streamed tensor as an operand, in the frame shape of the file."""
        stream = self.streams[i]
        return stream.value, frame_shape(self.shape(i), stream.axis)

    def zero(self, i: int) -> int:
        """The raw value that stands for 0 in tensor ``i``."""
        q = self.graph.tensors[i].quantization
        return 0 if q is None else int(q.zero_point[0])

    def constant(self, op: Op, position: int) -> Array:
        """The data of a constant operand of ``op``."""
        tensor = self.graph.tensors[op.inputs[position]]
        if tensor.data is None:
            self.refuse(op, f"computes its operand `{tensor.name}` at run time, where a constant is needed")
        return tensor.data

    def integers(self, op: Op, position: int) -> list[int]:
        return [int(v) for v in self.constant(op, position).reshape(-1)]

    def bias(self, op: Op, position: int) -> tuple[int, Shape]:
        """A bias as a constant operand of a node, or its absence.

        The type of a bias says how long the sums are, so that short ones have one in any case.
        """
        if len(op.inputs) <= position or op.inputs[position] == ABSENT:
            output = self.graph.tensors[op.outputs[0]]
            if output.dtype != np.int16 or not has_short_sums(op):
                return ABSENT, ()
            zeros = np.zeros(output.shape[-1], np.int32)
            return self.add_constant(replace(output, name=""), zeros), zeros.shape
        data = self.constant(op, position)
        return self.add_constant(self.graph.tensors[op.inputs[position]], data.reshape(-1)), (data.size,)

    def timeless(self, op: Op, i: int, aligned: Shape, axis: int | None) -> Array:
        """A constant, seen in the shape ``aligned``, as a frame that holds at all times."""
        tensor = self.graph.tensors[i]
        if tensor.data is None:
            self.refuse(op, f"reads `{tensor.name}`, which is neither a constant nor made from the input")
        data = tensor.data.reshape(aligned)
        if axis is not None:
            first = np.take(data, [0], axis=axis)
            if not np.array_equal(data, np.broadcast_to(first, data.shape), equal_nan=data.dtype.kind == "f"):
                if data.dtype.kind == "b":
                    self.refuse(
                        op,
                        f"chooses by the constant `{tensor.name}`, which differs from frame to frame of the window, as"
                        " circular padding and masks over time do, so it has no value on an endless signal",
                        "Train with padding by zeros, by reflection or by the last value, and without such a mask",
                    )
                self.refuse(
                    op,
                    f"uses the constant `{tensor.name}`, which differs from frame to frame of the window,"
                    " so it has no value on an endless signal",
                    "Train with a constant that is the same at all times (a norm over channels, no positional code)",
                )
            data = first
        return data.reshape(frame_shape(data.shape, axis))

    def frame_axis(self, op: Op, i: int, axis: int, purpose: str) -> int:
        """An axis of the file's tensor as an axis of (time, *frame); refuses time and batch."""
        return self.frame_axes(op, i, [axis % max(len(self.shape(i)), 1)], purpose)[0]

    def frame_axes(self, op: Op, i: int, axes: Sequence[int], purpose: str) -> list[int]:
        """``frame_axis`` of several axes, counted from the front."""
        time = self.stream(op, i).axis
        kept = axes_of_frame(self.shape(i), time)
        found = []
        for a in axes:
            if a == time:
                self.refuse(op, f"{purpose} along time")
            if a not in kept:
                self.refuse(op, f"{purpose} along the batch axis")
            found.append(kept.index(a) + 1)
        return found

    def refuse(self, op: Op, why: str, ways_out: str = "End the model before it, or replace it in training") -> Never:
        raise NotStreamableError(f"`{op.kind}` (op {op.index}, `{self.label(op)}`) {why}. {ways_out}.", op.index)

    def refuse_axis(self, op: Op, why: str) -> Never:
        """The axis that is taken for time cannot be it: ``refuse`` without a place, as no other axis comes less far."""
        raise NotStreamableError(
            f"`{op.kind}` (op {op.index}, `{self.label(op)}`) {why}; name the axis that is, with time_axis="
        )

    def plan(self) -> Plan:
        for o in self.graph.outputs:
            if o not in self.streams:
                name = self.graph.tensors[o].name
                raise NotStreamableError(f"output `{name}` does not depend on the input signal; remove it")
        for state, i in self.awaited.items():
            if i not in self.streams:
                name = self.graph.tensors[i].name
                raise NotStreamableError(f"the state `{name}` does not depend on the input signal; remove it")
            self.feed_back(state, self.streams[i].value)
        outputs = [self.operand(o) for o in self.graph.outputs]
        return Plan(
            tuple(self.tensors),
            tuple(self.nodes),
            tuple(self.inputs),
            tuple(value for value, _ in outputs),
            tuple(shape for _, shape in outputs),
            self.windows[self.inputs[0]],
            tuple(self.windows),
            tuple(self.streams[i].axis for i in self.graph.inputs),
            tuple(self.streams[o].axis for o in self.graph.outputs),
            states=self.states,
            input_steps=tuple(self.input_steps),
        )


def frame_shape(shape: Shape, axis: int | None) -> Shape:
    """A tensor's shape without time and a batch of 1: (1, 98, 40, 1) with time on axis 1 gives (40, 1)."""
    return tuple(shape[a] for a in axes_of_frame(shape, axis))


def axes_of_frame(shape: Shape, axis: int | None) -> list[int]:
    """The axes of a tensor that its frames have: not time, and not a first one of 1, where a batch stands."""
    return [a for a, n in enumerate(shape) if a != axis and (a, n) != (0, 1)]
