"""Graph -> Plan: find the time axis of every tensor and say each operation over frames.

A streamed tensor of the file has its time axis somewhere, (1, T, C), (1, 1, T, C) or (T, C); or it
has none left, because a window or a statistic has taken it ("time is gone": one frame stands for a
whole tensor of the file). A frame is the file's shape without the time axis and without the batch
axis of 1, so reshapes that only move 1s around cost nothing.

One function per idea in ``_LOWER``; what has no streaming form is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Never

import numpy as np

from tcnstream.errors import ModelError, NotStreamableError
from tcnstream.graph import ABSENT, Array, Graph, Op, OptionValue, Quantization, Tensor
from tcnstream.normalise import same_padding, strided_slice
from tcnstream.plan import SAME_FRAME, Node, Plan, Reach, Shape
from tcnstream.simplify import simplify


@dataclass(frozen=True)
class Stream:
    """A streamed tensor of the file: the plan's value, its time axis (None: time is gone), its window in frames."""

    value: int
    axis: int | None
    window: int


def lower(graph: Graph, time_axis: int | None = None) -> Plan:
    """The plan of a normalised graph.

    ``time_axis`` is the axis of every input that is time; None takes the first axis longer than 1
    after the batch. Raises NotStreamableError for what has no streaming form, by name.
    """
    lowering = _Lowering(graph)
    for i in graph.inputs:
        lowering.add_input(i, time_axis)
    for op in graph.ops:
        if not any(i in lowering.streams for i in op.inputs):
            lowering.refuse(op, "does not depend on the input signal, so it has no frames")
        rule = _LOWER.get(op.kind)
        if rule is None:
            lowering.refuse(op, _WHY_NOT.get(op.kind, "has no streaming form here"))
        rule(lowering, op)
    return simplify(lowering.plan())


class _Lowering:
    """The plan under construction, and where each tensor of the file went."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.streams: dict[int, Stream] = {}
        self.tensors: list[Tensor] = []
        self.windows: list[int] = []
        self.nodes: list[Node] = []
        self.inputs: list[int] = []

    def add_input(self, i: int, time_axis: int | None) -> None:
        tensor = self.graph.tensors[i]
        shape = tensor.shape
        axis = _default_time_axis(shape) if time_axis is None else time_axis
        if axis is None or not 0 <= axis < len(shape):
            raise NotStreamableError(
                f"input `{tensor.name}` of shape {shape} has no axis"
                + (f" {time_axis}" if time_axis is not None else " that can be time")
                + "; name one with time_axis="
            )
        if axis != 0 and shape[0] != 1:
            raise NotStreamableError(
                f"input `{tensor.name}` of shape {shape} has a batch of {shape[0]};"
                " convert the model with a batch of 1, and use a pool for several streams"
            )
        if self.inputs and shape[axis] != self.windows[self.inputs[0]]:
            raise NotStreamableError(
                f"input `{tensor.name}` has {shape[axis]} frames and the first input {self.windows[self.inputs[0]]};"
                " all inputs must have one rate"
            )
        value = self.add_value(tensor, frame_shape(shape, axis), shape[axis])
        self.inputs.append(value)
        self.streams[i] = Stream(value, axis, shape[axis])

    def add_value(self, like: Tensor, shape: Shape, window: int) -> int:
        self.tensors.append(Tensor(like.name, shape, like.dtype, like.quantization))
        self.windows.append(window)
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
        outputs: Sequence[int] | None = None,
        options: Mapping[str, OptionValue] | None = None,
        reach: Reach = SAME_FRAME,
        fill: float | int = 0,
        window: int | None = None,
    ) -> None:
        """Append a node for ``op``; its outputs have their time on ``axis`` of the file's shape."""
        outputs = op.outputs if outputs is None else outputs
        made = []
        for o in outputs:
            tensor = self.graph.tensors[o]
            if window is None:
                window = self.window_of(op) if axis is None else tensor.shape[axis]
            value = self.add_value(tensor, frame_shape(tensor.shape, axis), window)
            self.streams[o] = Stream(value, axis, window)
            made.append(value)
        node = Node(
            kind or op.kind,
            tuple(i for i, _ in inputs),
            tuple(made),
            tuple(view for _, view in inputs),
            dict(options or {}),
            reach,
            fill,
            self.label(op),
            op.index,
        )
        self.nodes.append(node)

    def step(
        self, op: Op, source: tuple[int, Shape], like: Tensor, frame: Shape, window: int, kind: str, reach: Reach,
        options: Mapping[str, OptionValue] | None = None, fill: float | int = 0,
    ) -> tuple[int, Shape]:
        """Append a node whose output is no tensor of the file; returns it as an operand."""
        value = self.add_value(like, frame, window)
        self.nodes.append(
            Node(kind, (source[0],), (value,), (source[1],), options or {}, reach, fill, self.label(op), op.index)
        )
        return value, frame

    def alias(self, op: Op, source: int, axis: int | None) -> None:
        """The output is the input seen in another shape."""
        stream = self.streams[source]
        self.streams[op.outputs[0]] = replace(stream, axis=axis)

    def window_of(self, op: Op) -> int:
        return max(self.streams[i].window for i in op.inputs if i in self.streams)

    def label(self, op: Op) -> str:
        return self.graph.tensors[op.outputs[0]].name if op.outputs else op.kind

    def shape(self, i: int) -> Shape:
        return self.graph.tensors[i].shape

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

    def refuse(self, op: Op, why: str, ways_out: str = "End the model before it, or replace it in training") -> Never:
        raise NotStreamableError(f"`{op.kind}` (op {op.index}, `{self.label(op)}`) {why}. {ways_out}.")

    def plan(self) -> Plan:
        for o in self.graph.outputs:
            if o not in self.streams:
                name = self.graph.tensors[o].name
                raise NotStreamableError(f"output `{name}` does not depend on the input signal; remove it")
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
        )


def frame_shape(shape: Shape, axis: int | None) -> Shape:
    """A tensor's shape without batch and time: (1, 98, 40, 1) with time on axis 1 gives (40, 1)."""
    if axis is None or axis == 0:
        return shape[1:]
    return shape[1:axis] + shape[axis + 1 :]


def _default_time_axis(shape: Shape) -> int | None:
    """The first axis longer than 1 that is neither batch nor, from rank 3 on, channels."""
    candidates = range(1, len(shape) - 1) if len(shape) > 2 else range(1, len(shape))
    return next((a for a in candidates if shape[a] > 1), next(iter(candidates), None))


# --- joins: operations on values of one time, operand by operand -------------------------------


def _join(lw: _Lowering, op: Op) -> None:
    rank = max(len(lw.shape(i)) for i in op.inputs)
    out_shape = lw.shape(op.outputs[0])
    axes = set()
    for i in op.inputs:
        if i in lw.streams and (a := lw.streams[i].axis) is not None:
            axes.add(a + rank - len(lw.shape(i)))
    if len(axes) > 1:
        lw.refuse(op, "joins tensors whose time lies on different axes")
    axis = next(iter(axes)) if axes else _restored_axis(lw, op, rank)
    inputs = []
    steps = {lw.streams[i].window for i in op.inputs if i in lw.streams and lw.streams[i].axis is not None}
    if len(steps) > 1:
        lw.refuse(op, f"joins tensors of different lengths {sorted(steps)}, one of which is repeated over time")
    for i in op.inputs:
        aligned = (1,) * (rank - len(lw.shape(i))) + lw.shape(i)
        if i in lw.streams:
            if lw.streams[i].axis is None and axis is not None and aligned[axis] != 1:
                lw.refuse(op, "joins time with an axis that is not time")
            inputs.append((lw.streams[i].value, frame_shape(aligned, axis)))
        else:
            data = _timeless(lw, op, i, aligned, axis)
            inputs.append((lw.add_constant(lw.graph.tensors[i], data), data.shape))
    if axis != 0 and out_shape and out_shape[0] != 1:
        lw.refuse(op, f"makes a batch of {out_shape[0]}")
    lw.emit(op, inputs, axis, options=op.options)


def _restored_axis(lw: _Lowering, op: Op, rank: int) -> int | None:
    """Where time comes back when a tensor without it meets a constant as long as the window."""
    out = lw.shape(op.outputs[0])
    window = lw.window_of(op)
    for axis in range(1, rank):
        aligned = [(1,) * (rank - len(lw.shape(i))) + lw.shape(i) for i in op.inputs if i in lw.streams]
        if window > 1 and out[axis] == window and all(shape[axis] == 1 for shape in aligned):
            return axis
    return None


def _timeless(lw: _Lowering, op: Op, i: int, aligned: Shape, axis: int | None) -> Array:
    """A constant as a frame that holds at all times."""
    tensor = lw.graph.tensors[i]
    if tensor.data is None:
        lw.refuse(op, f"reads `{tensor.name}`, which is neither a constant nor made from the input")
    data = tensor.data.reshape(aligned)
    if axis is not None:
        first = np.take(data, [0], axis=axis)
        if not np.array_equal(data, np.broadcast_to(first, data.shape), equal_nan=data.dtype.kind == "f"):
            lw.refuse(
                op,
                f"uses the constant `{tensor.name}`, which differs from frame to frame of the window,"
                " so it has no value on an endless signal",
                "Train with a constant that is the same at all times (a norm over channels, no positional code)",
            )
        data = first
    return data.reshape(frame_shape(data.shape, axis))


# --- operations on one frame -------------------------------------------------------------------


def _pointwise(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    lw.emit(op, [lw.operand(i)], lw.streams[i].axis, options=op.options)


def _last_axis(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    if lw.streams[i].axis == len(lw.shape(i)) - 1:
        lw.refuse(op, "normalises over time")
    _pointwise(lw, op)


def _frame_axis(lw: _Lowering, op: Op, i: int, axis: int, purpose: str) -> int:
    """An axis of the file's tensor as an axis of (time, *frame); refuses time and batch."""
    shape = lw.shape(i)
    axis %= max(len(shape), 1)
    return _array_axes(lw, op, i, [axis], purpose)[0]


def _array_axes(lw: _Lowering, op: Op, i: int, axes: Sequence[int], purpose: str) -> list[int]:
    time = lw.streams[i].axis
    kept = [a for a in range(len(lw.shape(i))) if a != time and not (a == 0 and time != 0)]
    found = []
    for a in axes:
        if a == time:
            lw.refuse(op, f"{purpose} along time")
        if a not in kept:
            lw.refuse(op, f"{purpose} along the batch axis")
        found.append(kept.index(a) + 1)
    return found


def _concatenation(lw: _Lowering, op: Op) -> None:
    rank = len(lw.shape(op.outputs[0]))
    axis = int(op.options.get("axis", 0)) % rank
    times = {lw.streams[i].axis for i in op.inputs if i in lw.streams}
    if len(times) > 1:
        lw.refuse(op, "joins tensors whose time lies on different axes")
    time = times.pop()
    first = next(i for i in op.inputs if i in lw.streams)
    if time == axis:
        return _concatenate_in_time(lw, op, time)
    frame_axis = _frame_axis(lw, op, first, axis, "concatenates")
    inputs = []
    for i in op.inputs:
        if i in lw.streams:
            inputs.append(lw.operand(i))
        else:
            data = _timeless(lw, op, i, lw.shape(i), time)
            inputs.append((lw.add_constant(lw.graph.tensors[i], data), data.shape))
    lw.emit(op, inputs, time, options={**op.options, "axis": frame_axis})
    return None


def _concatenate_in_time(lw: _Lowering, op: Op, time: int) -> None:
    """One streamed operand between constants of one value is padding."""
    streamed = [k for k, i in enumerate(op.inputs) if i in lw.streams]
    if len(streamed) != 1:
        lw.refuse(op, "puts two signals one behind the other in time")
    k = streamed[0]
    constants = [lw.graph.tensors[i].data for n, i in enumerate(op.inputs) if n != k]
    values = {v for data in constants if data is not None for v in np.unique(data).tolist()}
    if any(data is None for data in constants) or len(values) != 1:
        lw.refuse(op, "puts frames of different values before or after the signal")
    before = sum(lw.shape(i)[time] for i in op.inputs[:k])
    after = sum(lw.shape(i)[time] for i in op.inputs[k + 1 :])
    reach = Reach(pad_begin=before, pad_end=after)
    lw.emit(op, [lw.operand(op.inputs[k])], time, kind="TIME_PAD", reach=reach, fill=values.pop())


def _split(lw: _Lowering, op: Op) -> None:
    axis_position, i = (0, op.inputs[1]) if op.kind == "SPLIT" else (2, op.inputs[0])
    axis = lw.integers(op, axis_position)[0]
    frame_axis = _frame_axis(lw, op, i, axis, "splits")
    lw.emit(op, [lw.operand(i)], lw.streams[i].axis, kind="SPLIT", options={"axis": frame_axis})


def _transpose(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    perm = lw.integers(op, 1)
    stream, shape = lw.streams[i], lw.shape(i)
    axis = None if stream.axis is None else perm.index(stream.axis)
    kept = [a for a in perm if a != stream.axis and shape[a] != 1]
    if stream.axis != 0 and axis != 0 and perm[0] != 0 and shape[perm[0]] != 1:
        lw.refuse(op, "moves another axis into the place of the batch")
    if kept == sorted(kept):
        return lw.alias(op, i, axis)
    old = [a for a in range(len(shape)) if a != stream.axis and shape[a] != 1]
    view = tuple(shape[a] for a in old)
    lw.emit(op, [(stream.value, view)], axis, options={"perm": (0, *(old.index(a) + 1 for a in kept))})
    return None


def _tile(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.streams[i], lw.shape(i), lw.shape(op.outputs[0])
    aligned = (1,) * (len(out) - len(shape)) + shape
    axis = None if stream.axis is None else stream.axis + len(out) - len(shape)
    if axis is None:
        grown = [a for a in range(1, len(out)) if out[a] != aligned[a]]
        if len(grown) == 1 and out[grown[0]] == stream.window and aligned[grown[0]] == 1:
            return lw.alias(op, i, grown[0])
    elif out[axis] != aligned[axis]:
        lw.refuse(op, "repeats the whole signal along time")
    if axis != 0 and out[0] != 1:
        lw.refuse(op, f"makes a batch of {out[0]}")
    view, target = frame_shape(aligned, axis), frame_shape(out, axis)
    multiples = tuple(t // v for t, v in zip(target, view, strict=True))
    lw.emit(op, [(stream.value, view)], axis, kind="TILE", options={"multiples": multiples})
    return None


def _arg_extreme(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    frame_axis = _frame_axis(lw, op, i, lw.integers(op, 1)[0], "looks for an extreme")
    axis = lw.integers(op, 1)[0] % len(lw.shape(i))
    time = lw.streams[i].axis
    out_axis = time if time is None or time < axis else time - 1
    lw.emit(op, [lw.operand(i)], out_axis, options={**op.options, "axis": frame_axis})


def _gather(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    if i not in lw.streams:
        lw.refuse(op, "looks up a table by the signal's values")
    axis = int(op.options.get("axis", 0))
    frame_axis = _frame_axis(lw, op, i, axis, "gathers")
    indices = lw.constant(op, 1)
    if indices.ndim > 1:
        lw.refuse(op, "gathers with indices of more than one axis")
    index = lw.add_constant(lw.graph.tensors[op.inputs[1]], indices.reshape(-1))
    time, axis = lw.streams[i].axis, axis % len(lw.shape(i))
    out_axis = time - 1 if time is not None and indices.ndim == 0 and axis < time else time
    lw.emit(op, [lw.operand(i), (index, (indices.size,))], out_axis, options={"axis": frame_axis})


def _batch_matmul(lw: _Lowering, op: Op) -> None:
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


# --- layout: reshape in all its spellings ------------------------------------------------------


def _reshape(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.streams[i], lw.shape(i), lw.shape(op.outputs[0])
    if math.prod(shape) != math.prod(out):
        raise ModelError(f"`{op.kind}` (op {op.index}) turns {shape} into {out}, which has another size")
    if stream.axis is None:
        if out and out[0] != 1 and math.prod(out) != math.prod(frame_shape(out, None)):
            lw.refuse(op, f"makes a batch of {out[0]}")
        return lw.alias(op, i, None)
    before, frames = math.prod(shape[: stream.axis]), shape[stream.axis]
    after = math.prod(shape[stream.axis + 1 :])
    for axis, n in enumerate(out):
        fits = math.prod(out[:axis]) == before and (axis == 0 or out[0] == 1)
        if not fits or n == 1 and frames != 1:
            continue
        rest = math.prod(out[axis + 1 :])
        if n == frames:
            return lw.alias(op, i, axis)
        if before == 1 and n > frames and n % frames == 0 and after % (n // frames) == 0 and rest * n == after * frames:
            ratio = n // frames
            reach = Reach(up=ratio, extent=ratio, pad_begin=ratio - 1)
            view = (ratio, *frame_shape(out, axis))
            return lw.emit(op, [(stream.value, view)], axis, kind="TIME_UNFOLD", reach=reach)
        if before == 1 and 1 < n < frames and frames % n == 0 and rest * n == after * frames and len(out) - axis > 1:
            ratio = frames // n
            reach = Reach(stride=ratio, extent=ratio)
            return lw.emit(op, [lw.operand(i)], axis, kind="TIME_WINDOW", reach=reach)
    if out[0] == 1 or math.prod(out[1:]) == math.prod(shape):
        return _flatten(lw, op, i)
    return lw.refuse(op, f"turns {shape} into {out}, which mixes time with other axes")


def _flatten(lw: _Lowering, op: Op, i: int) -> None:
    """All frames of the window side by side: a window that advances frame by frame."""
    stream, shape = lw.streams[i], lw.shape(i)
    assert stream.axis is not None
    frames = shape[stream.axis]
    frame = frame_shape(shape, stream.axis)
    position = stream.axis if stream.axis == 0 else stream.axis - 1
    reach = Reach(extent=frames)
    if math.prod(frame[:position]) == 1:
        return lw.emit(op, [(stream.value, frame)], None, kind="TIME_WINDOW", reach=reach, window=1)
    like = lw.graph.tensors[i]
    window = lw.step(op, (stream.value, frame), like, (frames, *frame), 1, "TIME_WINDOW", reach)
    moved = (*range(2, position + 2), 1, *range(position + 2, len(frame) + 2))
    return lw.emit(op, [window], None, kind="TRANSPOSE", options={"perm": (0, *moved)}, window=1)


# --- convolution and pooling -------------------------------------------------------------------


@dataclass(frozen=True)
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


def _spatial(lw: _Lowering, op: Op, i: int, kernel: Shape) -> _Axes:
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


def _window_reach(
    lw: _Lowering, op: Op, i: int, axes: _Axes, kernel: tuple[int, int], stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[Reach, dict[str, OptionValue]]:
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
    reach = Reach(1, stride[0], (kernel[0] - 1) * dilation[0] + 1, pad_begin, pad_end)
    return reach, {"pad_f_begin": f_begin, "pad_f_end": f_end}


def _convolution(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    weights = lw.graph.tensors[op.inputs[1]]
    data = lw.constant(op, 1)
    axes = _spatial(lw, op, i, data.shape[1:3])
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    if axes.swap:
        data = np.ascontiguousarray(data.transpose(0, 2, 1, 3))
    if depthwise:
        data = data.reshape(data.shape[1:])
    kernel = (data.shape[0], data.shape[1]) if depthwise else (data.shape[1], data.shape[2])
    stride, dilation = axes.of(op.options, "stride_{}"), axes.of(op.options, "dilation_{}_factor")
    reach, options = _window_reach(lw, op, i, axes, kernel, stride, dilation)
    options |= {
        "dilation_t": dilation[0],
        "stride_f": stride[1],
        "dilation_f": dilation[1],
        "fused_activation_function": op.options.get("fused_activation_function", "NONE"),
    }
    constant = lw.add_constant(weights, data, data.ndim - 1 if depthwise else 0)
    inputs = [axes.operand, (constant, data.shape), _bias(lw, op, 2)]
    lw.emit(op, inputs, axes.axis, options=options, reach=reach, fill=lw.zero(i))


def _bias(lw: _Lowering, op: Op, position: int) -> tuple[int, Shape]:
    if len(op.inputs) <= position or op.inputs[position] == ABSENT:
        return ABSENT, ()
    data = lw.constant(op, position)
    return lw.add_constant(lw.graph.tensors[op.inputs[position]], data.reshape(-1)), (data.size,)


def _transpose_convolution(lw: _Lowering, op: Op) -> None:
    i = op.inputs[2]
    weights, data = lw.graph.tensors[op.inputs[1]], lw.constant(op, 1)
    axes = _spatial(lw, op, i, data.shape[1:3])
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
    reach = Reach(stride[0], 1, kernel[0], pad_begin, pad_end)
    options: dict[str, OptionValue] = {
        "stride_f": stride[1],
        "pad_f_begin": pads[1],
        "fused_activation_function": op.options.get("fused_activation_function", "NONE"),
    }
    inputs = [axes.operand, (lw.add_constant(weights, data), data.shape), _bias(lw, op, 3)]
    lw.emit(op, inputs, axes.axis, options=options, reach=reach, fill=lw.zero(i))


def _pool(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    size = (int(op.options["filter_height"]), int(op.options["filter_width"]))
    axes = _spatial(lw, op, i, size)
    kernel = (size[1], size[0]) if axes.swap else size
    stride = axes.of(op.options, "stride_{}")
    reach, options = _window_reach(lw, op, i, axes, kernel, stride, (1, 1))
    options |= {
        "filter_t": kernel[0],
        "filter_f": kernel[1],
        "stride_f": stride[1],
        "fused_activation_function": op.options.get("fused_activation_function", "NONE"),
    }
    lw.emit(op, [axes.operand], axes.axis, options=options, reach=reach, fill=lw.zero(i))


def _fully_connected(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape = lw.streams[i], lw.shape(i)
    data = lw.constant(op, 1)
    operand = lw.operand(i)
    axis, out = stream.axis, lw.shape(op.outputs[0])
    if axis is not None and (axis == len(shape) - 1 or math.prod(shape) == data.shape[1] != shape[-1]):
        reach = Reach(extent=shape[axis])
        operand = lw.step(op, operand, lw.graph.tensors[i], (shape[axis], *operand[1]), 1, "TIME_WINDOW", reach)
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
    lw.emit(op, inputs, axis, options=options, window=1 if axis is None and stream.axis is not None else None)


# --- padding, cutting, resizing ----------------------------------------------------------------


def _pad(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape = lw.streams[i], lw.shape(i)
    pairs = lw.constant(op, 1).reshape(-1, 2).tolist()
    fill: float | int = lw.zero(i)
    if op.kind == "PADV2":
        fill = lw.constant(op, 2).reshape(-1)[0].item()
    mode = str(op.options.get("mode", "")).lower()
    time = (0, 0) if stream.axis is None else tuple(pairs[stream.axis])
    if stream.axis != 0 and pairs[0] != [0, 0]:
        lw.refuse(op, "pads the batch axis")
    frame_pairs = [p for a, p in enumerate(pairs) if a != stream.axis and not (a == 0 and stream.axis != 0)]
    frames_padded = any(p != [0, 0] for p in frame_pairs)
    reach = Reach(pad_begin=time[0], pad_end=time[1])
    if mode:
        reach = replace(reach, edge="reflect" if mode == "reflect" else "symmetric")
    operand = lw.operand(i)
    if frames_padded and any(time):
        padded = tuple(n + sum(p) for n, p in zip(operand[1], frame_pairs, strict=True))
        options: dict[str, OptionValue] = {"paddings": tuple(n for p in frame_pairs for n in p)} | dict(op.options)
        operand = lw.step(
            op, operand, lw.graph.tensors[i], padded, stream.window, op.kind if mode else "PAD", SAME_FRAME,
            options, fill,
        )
        frames_padded = False
    if frames_padded:
        options = {"paddings": tuple(n for p in frame_pairs for n in p)} | dict(op.options)
        return lw.emit(op, [operand], stream.axis, kind=op.kind if mode else "PAD", options=options, fill=fill)
    if not any(time):
        return lw.alias(op, i, stream.axis)
    return lw.emit(op, [operand], stream.axis, kind="TIME_PAD", reach=reach, fill=fill)


def _slice(lw: _Lowering, op: Op) -> None:
    shape = lw.shape(op.inputs[0])
    begin, size = lw.integers(op, 1), lw.integers(op, 2)
    index = tuple(slice(b, n if s == -1 else b + s, 1) for b, s, n in zip(begin, size, shape, strict=True))
    _cut(lw, op, index)


def _strided_slice(lw: _Lowering, op: Op) -> None:
    shape = lw.shape(op.inputs[0])
    _cut(lw, op, strided_slice(op, shape, lw.integers(op, 1), lw.integers(op, 2), lw.integers(op, 3)))


def _cut(lw: _Lowering, op: Op, index: Sequence[slice | int | None]) -> None:
    """A NumPy index with one entry per axis (and None for new axes), time and frame apart."""
    i = op.inputs[0]
    stream, shape = lw.streams[i], lw.shape(i)
    old_axis, new_axis, out_axis = 0, 0, None
    time_cut: slice | int = slice(None)
    begins, ends, strides = [], [], []
    whole = list(index) + [slice(None)] * (len(shape) - sum(x is not None for x in index))
    for entry in whole:
        if entry is None:
            new_axis += 1
            continue
        n = shape[old_axis]
        if old_axis == stream.axis:
            time_cut = entry
            out_axis = new_axis
        elif old_axis != 0 or stream.axis == 0:
            cut = slice(entry % n, entry % n + 1, 1) if isinstance(entry, int) else entry
            for into, value in zip((begins, ends, strides), _span(cut, n), strict=True):
                into.append(value)
        new_axis += not isinstance(entry, int)
        old_axis += 1
    operand = lw.operand(i)
    gone = stream.axis is None
    reach = SAME_FRAME
    if stream.axis is not None:
        frames = shape[stream.axis]
        span = (time_cut % frames, time_cut % frames + 1, 1) if isinstance(time_cut, int) else _span(time_cut, frames)
        last_only = frames > 1 and span[:2] == (frames - 1, frames)
        gone = last_only or isinstance(time_cut, int)
        if span[2] < 1:
            lw.refuse(op, "turns time around")
        if not last_only:
            reach = Reach(stride=span[2], pad_begin=-span[0], pad_end=span[1] - frames)
    untouched = operand[1] == tuple(e - b for b, e in zip(begins, ends, strict=True)) and set(strides) <= {1}
    options: dict[str, OptionValue] = {"begin": tuple(begins), "end": tuple(ends), "stride": tuple(strides)}
    axis = None if gone else out_axis
    window = stream.window if gone and reach == SAME_FRAME else None
    if reach == SAME_FRAME and untouched:
        return lw.alias(op, i, axis)
    if reach != SAME_FRAME and not untouched:
        cut_shape = tuple(len(range(*s)) for s in zip(begins, ends, strides, strict=True))
        operand = lw.step(
            op, operand, lw.graph.tensors[i], cut_shape, stream.window, "STRIDED_SLICE", SAME_FRAME, options
        )
    if reach != SAME_FRAME:
        return lw.emit(op, [operand], axis, kind="TIME_PAD", reach=reach, window=window)
    return lw.emit(op, [operand], axis, kind="STRIDED_SLICE", options=options, window=window)


def _span(cut: slice, n: int) -> tuple[int, int, int]:
    begin, end, step = cut.indices(n)
    return begin, end, step


def _resize(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    shape, out = lw.shape(i), lw.shape(op.outputs[0])
    axes = _spatial(lw, op, i, (1, 1))
    t, f = (2, 1) if axes.swap else (1, 2)
    if out[t] % shape[t] or out[f] % shape[f]:
        lw.refuse(op, f"resizes {shape[t]} frames to {out[t]}, which is no whole multiple")
    if bool(op.options.get("align_corners", False)):
        lw.refuse(op, "aligns the corners of the window, so each frame depends on its length")
    ratio_t, ratio_f = out[t] // shape[t], out[f] // shape[f]
    operand = axes.operand
    reach = Reach(up=ratio_t, extent=ratio_t, pad_begin=ratio_t - 1)
    if ratio_f > 1 and ratio_t > 1:
        frame = (shape[f] * ratio_f, shape[3])
        operand = lw.step(
            op, operand, lw.graph.tensors[i], frame, shape[t], "RESIZE_NEAREST_NEIGHBOR", SAME_FRAME, op.options
        )
    if ratio_t > 1:
        return lw.emit(op, [operand], axes.axis, kind="TIME_REPEAT", reach=reach)
    return lw.emit(op, [operand], axes.axis, options=op.options)


# --- statistics --------------------------------------------------------------------------------


def _reduce(lw: _Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.streams[i], lw.shape(i), lw.shape(op.outputs[0])
    reduced = sorted({a % len(shape) for a in lw.integers(op, 1)})
    time = stream.axis in reduced
    frame_axes = [a for a in reduced if a != stream.axis and not (a == 0 and stream.axis != 0)]
    axes = tuple(_array_axes(lw, op, i, frame_axes, "reduces"))
    keep = len(out) == len(shape)
    axis = None
    if stream.axis is not None and not time:
        axis = stream.axis if keep else stream.axis - sum(a < stream.axis for a in reduced)
    if time and op.kind == "REDUCE_PROD":
        lw.refuse(op, f"multiplies all {shape[stream.axis or 0]} frames")
    if time and shape[stream.axis or 0] > 1:
        options: dict[str, OptionValue] = {"reduce": op.kind, "axes": (0, *axes)}
        return lw.emit(op, [lw.operand(i)], None, kind="TIME_REDUCE", options=options, window=stream.window)
    return lw.emit(op, [lw.operand(i)], axis, options={"axes": axes})


_POINTWISE = (
    "LOGISTIC TANH RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU ELU GELU HARD_SWISH ABS NEG EXP LOG SQRT RSQRT"
    " SQUARE SIN COS FLOOR CEIL ROUND SIGN QUANTIZE DEQUANTIZE CAST LOGICAL_NOT"
).split()
_JOINS = (
    "ADD SUB MUL DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE POW PRELU FLOOR_DIV FLOOR_MOD SELECT SELECT_V2 LOGICAL_AND"
    " LOGICAL_OR GREATER GREATER_EQUAL LESS LESS_EQUAL EQUAL NOT_EQUAL"
).split()

_LOWER: Mapping[str, Callable[[_Lowering, Op], None]] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys(_JOINS, _join),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX"), _last_axis),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _convolution),
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D"), _pool),
    **dict.fromkeys(("RESHAPE", "EXPAND_DIMS", "SQUEEZE"), _reshape),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _pad),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), _reduce),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    **dict.fromkeys(("TILE", "BROADCAST_TO"), _tile),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), _arg_extreme),
    "TRANSPOSE_CONV": _transpose_convolution,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "CONCATENATION": _concatenation,
    "TRANSPOSE": _transpose,
    "GATHER": _gather,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
}

OPERATIONS = tuple(sorted(_LOWER))
"""The operations of the file format that have a streaming form here."""

_WHY_NOT = {
    "RFFT2D": "transforms the whole window at once",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "is recurrent: it steps through the window by itself",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "is recurrent: it steps through the window by itself",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "runs backwards in time from the end of the window",
    "BIDIRECTIONAL_SEQUENCE_RNN": "runs backwards in time from the end of the window",
    "WHILE": "loops over the window",
    "CUMSUM": "sums over all of time",
    "REVERSE_V2": "turns time around",
    "RESIZE_BILINEAR": "interpolates between frames of the window",
    "CUSTOM": "is a custom operation whose code is not in the file",
}
