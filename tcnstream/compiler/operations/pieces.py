"""Values put together and taken apart: concatenate, split, stack, unstack."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.beginning import begin_with, first_frames
from tcnstream.compiler.constants import data_of
from tcnstream.compiler.lowering import Lowering, TimedTensor, axes_of_frame
from tcnstream.compiler.operation import Fold, Operation
from tcnstream.compiler.operations.time import TIME_PAD
from tcnstream.compiler.picks import joined, pick, settle, settle_tensor
from tcnstream.compiler.plan import AxisOptions, Window
from tcnstream.tflite.graph import Array, Op, Shape, Tensor
from tcnstream.tflite.validate import ANY_NUMBER, WHOLE, Operands, Rule, Shapes, axis_of, one_of, require

# --- shapes ------------------------------------------------------------------------------------


def _stacked(o: Operands) -> Shapes:
    shapes = set(o.shapes())
    require(len(shapes) == 1, "different shapes stacked")
    shape = shapes.pop()
    axis = axis_of((*shape, 1), o.op.integer("axis", 0))
    return ((*shape[:axis], len(o.op.inputs), *shape[axis:]),)


def _unstacked(o: Operands) -> Shapes:
    shape = o.shape(0)
    axis = axis_of(shape, o.op.integer("axis", 0))
    require(shape[axis] == len(o.op.outputs), f"{shape[axis]} slices in {len(o.op.outputs)} outputs")
    return ((*shape[:axis], *shape[axis + 1 :]),) * shape[axis]


def _pieces(position: int, place: int) -> Callable[[Operands], Shapes]:
    """The values are operand ``position`` and the axis operand ``place``."""

    def shapes(o: Operands) -> Shapes:
        shape, outs = o.shape(position), [o.graph.tensors[i].shape for i in o.op.outputs]
        axis = axis_of(shape, o.integers(place, count=1)[0])
        if o.leaves_lengths_open:
            sizes = o.integers(1, count=len(outs)) if place == 2 else [shape[axis] // len(outs)] * len(outs)
            require(sum(sizes) == shape[axis] and min(sizes) >= 0, f"{shape} in pieces of {sizes[:3]}")
            return tuple((*shape[:axis], n, *shape[axis + 1 :]) for n in sizes)
        rest = (shape[:axis], shape[axis + 1 :])
        fits = all(len(s) == len(shape) and (s[:axis], s[axis + 1 :]) == rest for s in outs)
        require(fits, f"{shape} in pieces {outs[:3]}")
        require(sum(s[axis] for s in outs) == shape[axis], f"{shape} in pieces {outs[:3]}")
        return None

    return shapes


def _side_by_side(o: Operands) -> Shapes:
    shapes = o.shapes()
    axis = axis_of(shapes[0], o.op.integer("axis", 0))
    rests = {(len(s), s[:axis], s[axis + 1 :]) for s in shapes}
    require(len(rests) == 1, f"{shapes[0]} beside others")
    return ((*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :]),)


# --- lowering ----------------------------------------------------------------------------------


def _pack(lw: Lowering, op: Op) -> None:
    rank = len(lw.shape(op.outputs[0]))
    new = op.integer("axis", 0) % rank
    if all(i in lw.streams and _is_one_frame(lw.streams[i]) for i in op.inputs) and joined(lw, op, new):
        return None
    settle(lw, op)
    times = {lw.stream(op, i).axis for i in op.inputs}
    if len(times) > 1:
        lw.refuse(op, "stacks tensors whose time lies on different axes")
    time = times.pop()
    if time is None:
        whole = [(lw.stream(op, i).value, lw.shape(i)) for i in op.inputs]
        return lw.emit(op, whole, None, options=AxisOptions(new + 1))
    axis, out = time if time < new else time + 1, lw.shape(op.outputs[0])
    kept = axes_of_frame(out, axis)
    if new not in kept:
        return lw.alias(op, op.inputs[0], axis)
    view = tuple(out[a] for a in kept if a != new)
    stacked = [(lw.stream(op, i).value, view) for i in op.inputs]
    return lw.emit(op, stacked, axis, options=AxisOptions(kept.index(new) + 1))


def _is_one_frame(stream: TimedTensor) -> bool:
    """Whether it is one frame of a window, without an axis of time."""
    return stream.picked is not None and stream.axis is None


def _unpack(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    axis = op.integer("axis", 0) % len(lw.shape(i))
    stream = lw.stream(op, i)
    if axis == stream.axis:
        if why := op.options.get("why"):
            lw.refuse(op, str(why))
        for k, o in enumerate(op.outputs):
            pick(lw, op, o, stream, np.array([k]), None)
        return None
    settle(lw, op)
    stream = lw.stream(op, i)
    time = stream.axis
    if time is None:
        return lw.emit(op, [(stream.value, lw.shape(i))], None, options=AxisOptions(axis + 1))
    options = AxisOptions(lw.frame_axis(op, i, axis, "takes apart"))
    return lw.emit(op, [lw.operand(i)], time if time < axis else time - 1, options=options)


def _split(lw: Lowering, op: Op) -> None:
    first = op.kind == SPLIT.kind
    axis_position, i = (0, op.inputs[1]) if first else (2, op.inputs[0])
    axis = lw.integers(op, axis_position)[0] % len(lw.shape(i))
    stream, begin = lw.stream(op, i), 0
    if axis == stream.axis:
        for o in op.outputs:
            frames = lw.shape(o)[axis]
            pick(lw, op, o, stream, np.arange(begin, begin + frames), axis)
            begin += frames
        return None
    settle(lw, op)
    options = AxisOptions(lw.frame_axis(op, i, axis, "splits"))
    lw.emit(op, [lw.operand(i)], lw.stream(op, i).axis, kind=SPLIT.kind, options=options)
    # A piece of no values is none: what gives the others goes without it.
    node = lw.nodes[-1]
    lw.nodes[-1] = replace(node, outputs=tuple(o for o in node.outputs if math.prod(lw.tensors[o].shape)))
    return None


def _concatenation(lw: Lowering, op: Op) -> None:
    rank = len(lw.shape(op.outputs[0]))
    axis = op.integer("axis", 0) % rank
    streams = [lw.streams[i] for i in op.inputs if i in lw.streams]
    side_by_side = all(s.axis == axis or (_is_one_frame(s) and rank > axis) for s in streams)
    if side_by_side and _frames_side_by_side(lw, op, axis) and joined(lw, op, axis):
        return None
    if len(streams) == len(op.inputs) == 2 and streams[1].axis == axis and (begin := first_frames(lw, op.inputs[0])):
        settle_tensor(lw, op.inputs[1])
        return begin_with(lw, op, begin, axis)
    settle(lw, op)
    times = {lw.streams[i].axis for i in op.inputs if i in lw.streams}
    if len(times) > 1:
        lw.refuse(op, "joins tensors whose time lies on different axes")
    time = times.pop()
    if time == axis:
        return _concatenate_in_time(lw, op, time)
    first = next(i for i in op.inputs if i in lw.streams)
    options = AxisOptions(axis + 1 if time is None else lw.frame_axis(op, first, axis, "concatenates"))
    inputs = []
    for i in op.inputs:
        value, view = lw.operand(i) if i in lw.streams else _always(lw, op, i, time)
        inputs.append((value, lw.shape(i) if time is None else view))
    return lw.emit(op, inputs, time, options=options)


def _always(lw: Lowering, op: Op, i: int, time: int | None) -> tuple[int, Shape]:
    """A constant that holds at all times, as an operand."""
    data = lw.timeless(op, i, lw.shape(i), time)
    data = data.reshape(lw.shape(i)) if time is None else data
    return lw.add_constant(lw.graph.tensors[i], data), data.shape


def _frames_side_by_side(lw: Lowering, op: Op, axis: int) -> bool:
    """Whether operands without an axis of time have one frame on ``axis``."""
    streamed = [i for i in op.inputs if i in lw.streams]
    return all(lw.streams[i].axis is not None or lw.shape(i)[axis] == 1 for i in streamed)


def _concatenate_in_time(lw: Lowering, op: Op, time: int) -> None:
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
    window = Window(pad_begin=before, pad_end=after)
    lw.emit(op, [lw.operand(op.inputs[k])], time, kind=TIME_PAD.kind, window=window, fill=values.pop())


# --- on constants ------------------------------------------------------------------------------


def _fold_pieces(values: int, place: int) -> Fold:
    """The values are operand ``values`` and the axis operand ``place``."""

    def fold(op: Op, inputs: Sequence[Tensor], output: Tensor) -> tuple[Array, ...]:
        data, axis = data_of(inputs[values]), int(data_of(inputs[place]).item())
        if place == 2:
            cuts = np.cumsum(data_of(inputs[1]))[:-1]
            return tuple(np.split(data, cuts.tolist(), axis))
        return tuple(np.split(data, len(op.outputs), axis))

    return fold


def _fold_stack(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Array:
    return np.stack([data_of(t) for t in inputs], op.integer("axis", 0))


def _fold_side_by_side(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Array:
    return np.concatenate([data_of(t) for t in inputs], op.integer("axis", 0))


# --- records -----------------------------------------------------------------------------------

_AXIS = {"axis": WHOLE}
_ALL = ("float32", "int8", "int16")

SPLIT = Operation(
    "SPLIT",
    Rule.of_moves((2, 2), _pieces(1, 0), several_outputs=True, values=1),
    options=AxisOptions,
    lower=_split,
    fold=_fold_pieces(1, 0),
    types=_ALL,
    batch=batch_rules.split(0),
    takes_picked=True,
    keeps_numbers=True,
)

CONCATENATION = Operation(
    "CONCATENATION",
    Rule.of_moves(
        (1, ANY_NUMBER),
        _side_by_side,
        options=_AXIS | {"fused_activation_function": one_of("NONE")},
        alike=True,
        rescales_unsigned=True,
    ),
    options=AxisOptions,
    lower=_concatenation,
    fold=_fold_side_by_side,
    folds_plain_numbers=True,
    types=(*_ALL, "int32"),
    batch=batch_rules.side_by_side,
    takes_picked=True,
    keeps_numbers=True,
)

PACK = Operation(
    "PACK",
    Rule.of_moves((1, ANY_NUMBER), _stacked, options=_AXIS, alike=True),
    options=AxisOptions,
    lower=_pack,
    fold=_fold_stack,
    types=_ALL,
    batch=batch_rules.stacked,
    takes_picked=True,
)

UNPACK = Operation(
    "UNPACK",
    Rule.of_moves((1, 1), _unstacked, several_outputs=True, options=_AXIS),
    options=AxisOptions,
    lower=_unpack,
    types=_ALL,
    batch=batch_rules.unstacked,
    takes_picked=True,
)

OPERATIONS = (
    CONCATENATION,
    SPLIT,
    PACK,
    UNPACK,
    Operation(
        "SPLIT_V",
        Rule.of_moves((3, 3), _pieces(0, 2), several_outputs=True),
        options=AxisOptions,
        lower=_split,
        fold=_fold_pieces(0, 2),
        types=_ALL,
        batch=batch_rules.split(2),
        takes_picked=True,
    ),
)
