"""Operations that move values about: reshape in all its spellings, transpose, tile, split, stack."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.beginning import begin_with, first_frames
from tcnstream.compiler.constants import data_of
from tcnstream.compiler.lowering import Lowering, TimedTensor, axes_of_frame, frame_shape
from tcnstream.compiler.operation import Fold, Operation
from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.time import TIME_PAD, TIME_UNFOLD, TIME_WINDOW
from tcnstream.compiler.picks import BACKWARDS, FORWARDS_ALONE, joined, pick, settle, settle_tensor
from tcnstream.compiler.plan import Options, Window
from tcnstream.tflite.graph import ABSENT, Array, Op, Shape, Tensor
from tcnstream.tflite.validate import (
    ANY_NUMBER,
    WHOLE,
    WHOLES,
    Operands,
    Rule,
    Shapes,
    axis_of,
    one_of,
    require,
    spread,
)


@dataclass(frozen=True)
class AxisOptions(Options):
    """``axis`` of (time, *frame), never 0."""

    axis: int


@dataclass(frozen=True)
class TransposeOptions(Options):
    """Axis k of (time, *frame) was axis ``perm[k]``; time stays first."""

    perm: tuple[int, ...]


@dataclass(frozen=True)
class TileOptions(Options):
    """How often each axis of a frame is repeated."""

    multiples: tuple[int, ...]


@dataclass(frozen=True)
class ReverseOptions(Options):
    """The ``axes`` of (time, *frame) along which values are turned around, never 0."""

    axes: tuple[int, ...]


# --- shapes ------------------------------------------------------------------------------------


def _same_size(o: Operands, shape: Shape) -> Shapes:
    require(math.prod(o.shape(0)) == math.prod(shape), f"{o.shape(0)} has another size than {shape}")
    return (shape,) if o.leaves_lengths_open else None


def _reshaped(o: Operands) -> Shapes:
    require(ABSENT not in o.op.inputs, "its shape is left out")
    if not o.leaves_lengths_open or not (target := o.known_integers(1)):
        return _same_size(o, o.out())
    rest = math.prod(n for n in target if n != -1)
    require(target.count(-1) <= 1 and min(target) >= -1 and rest > 0, f"a shape of {target}")
    left = math.prod(o.shape(0)) // rest
    return _same_size(o, tuple(left if n == -1 else n for n in target))


def _expanded(o: Operands) -> Shapes:
    shape = o.shape(0)
    axis = axis_of((*shape, 1), o.integers(1, count=1)[0])
    return ((*shape[:axis], 1, *shape[axis:]),)


def _squeezed(o: Operands) -> Shapes:
    shape = o.shape(0)
    gone = {axis_of(shape, axis) for axis in _squeeze_dims(o.op)} or {a for a, n in enumerate(shape) if n == 1}
    require(all(shape[a] == 1 for a in gone), f"axes {sorted(gone)} of {shape}, not all of them 1 long")
    return (tuple(n for a, n in enumerate(shape) if a not in gone),)


def _permuted(o: Operands) -> Shapes:
    shape, perm = o.shape(0), o.integers(1)
    require(sorted(perm) == list(range(len(shape))), f"axes {perm} of {shape}")
    return (tuple(shape[p] for p in perm),)


def _reversed(o: Operands) -> Shapes:
    shape, axes = o.shape(0), o.integers(1)
    require(len({axis_of(shape, axis) for axis in axes}) == len(axes), f"axes {axes} of {shape}")
    return (shape,)


def _tiled(o: Operands) -> Shapes:
    shape = o.shape(0)
    return (tuple(n * m for n, m in zip(shape, o.integers(1, count=len(shape)), strict=True)),)


def _stretched(o: Operands) -> Shapes:
    known = o.known_integers(1) if o.leaves_lengths_open else ()
    target = spread(o.shape(0), tuple(known)) if known else o.out()
    require(spread(o.shape(0), target) == target, f"{o.shape(0)} stretched to {target}")
    return (target,) if known else None


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


# --- reshape and its kin -----------------------------------------------------------------------


def _reshape(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.stream(op, i), lw.shape(i), lw.shape(op.outputs[0])
    if stream.axis is None:
        return lw.alias(op, i, None)
    before, frames = math.prod(shape[: stream.axis]), shape[stream.axis]
    after = math.prod(shape[stream.axis + 1 :])
    for axis, n in enumerate(out):
        if math.prod(out[:axis]) != before or (n == 1 and frames != 1) or (n == 1 and _is_other_axis(lw, op, axis)):
            continue
        rest = math.prod(out[axis + 1 :])
        if n == frames:
            return lw.alias(op, i, axis)
        unfolds = before > 1 or len(out) - axis > 1 or op.outputs[0] in lw.graph.outputs
        if unfolds and n > frames and n % frames == 0 and rest * n == after * frames:
            return _unfold(lw, op, i, axis, before, n // frames)
        if 1 < n < frames and frames % n == 0 and rest * n == after * frames and len(out) - axis > 1:
            ratio = frames // n
            return side_by_side_in_time(lw, op, i, Window(stride=ratio, extent=ratio), axis, n)
    if sum(n != 1 for n in out) > 1:
        lw.refuse(op, f"turns {shape} into {out}, which mixes time with other axes")
    return _flatten(lw, op, i)


def _unfold(lw: Lowering, op: Op, i: int, axis: int, before: int, ratio: int) -> None:
    """Each frame cut into ``ratio`` frames, which stand side by side in it behind ``before`` values of other axes."""
    stream, out = lw.stream(op, i), lw.shape(op.outputs[0])
    frame = frame_shape(out, axis)
    value = stream.value
    if before > 1:
        source = (value, (before, ratio, math.prod(frame) // before))
        value = swapped(lw, op, lw.graph.tensors[i], source, stream.window_frames)
    window = Window(up=ratio, extent=ratio, pad_begin=ratio - 1)
    lw.emit(op, [(value, (ratio, *frame))], axis, kind=TIME_UNFOLD.kind, window=window)


def swapped(lw: Lowering, op: Op, like: Tensor, source: tuple[int, Shape], frames: int) -> int:
    """The plan's value of frames whose first two of three axes are exchanged."""
    a, b, rest = source[1]
    options = TransposeOptions((0, 2, 1, 3))
    return lw.step(op, [source], like, (b, a, rest), frames, TRANSPOSE.kind, options=options)[0]


def _is_other_axis(lw: Lowering, op: Op, axis: int) -> bool:
    """Whether one frame on ``axis`` of (1, 1, 1, C) would be read as the batch, or as the other axis of a kernel."""
    out = lw.shape(op.outputs[0])
    if axis != 1 or len(out) != 4 or out[2] != 1:
        return axis == 0 and len(out) > 2
    reader = next((r for r in lw.graph.ops if op.outputs[0] in r.inputs), None)
    record = None if reader is None else operations().get(reader.kind)
    if reader is None or record is None or not record.slides_kernel:
        return False
    kernel = lw.shape(reader.inputs[1])
    return kernel[1] == 1 < kernel[2] or reader.integer("stride_h", 1) == 1 < reader.integer("stride_w", 1)


def side_by_side_in_time(lw: Lowering, op: Op, i: int, window: Window, axis: int | None, frames: int) -> None:
    """The frames of each window as one frame, on the axis where time stood."""
    stream, shape = lw.stream(op, i), lw.shape(i)
    assert stream.axis is not None
    frame = frame_shape(shape, stream.axis)
    position = sum(a < stream.axis for a in axes_of_frame(shape, stream.axis))
    kind = TIME_WINDOW.kind
    if math.prod(frame[:position]) == 1:
        return lw.emit(op, [(stream.value, frame)], axis, kind=kind, window=window, window_frames=frames)
    like, whole = lw.graph.tensors[i], (window.extent, *frame)
    flat = lw.step(op, [(stream.value, frame)], like, whole, frames, kind, window=window)
    moved = (*range(2, position + 2), 1, *range(position + 2, len(frame) + 2))
    options = TransposeOptions((0, *moved))
    return lw.emit(op, [flat], axis, kind=TRANSPOSE.kind, options=options, window_frames=frames)


def _flatten(lw: Lowering, op: Op, i: int) -> None:
    """All frames of the window side by side: a window that advances frame by frame."""
    axis = lw.stream(op, i).axis
    assert axis is not None
    return side_by_side_in_time(lw, op, i, Window(extent=lw.shape(i)[axis]), None, 1)


def _expand_dims(lw: Lowering, op: Op) -> None:
    i, rank = op.inputs[0], len(lw.shape(op.outputs[0]))
    new, time = lw.integers(op, 1)[0] % rank, lw.stream(op, i).axis
    lw.alias(op, i, time if time is None or time < new else time + 1)


def _squeeze_dims(op: Op) -> tuple[int, ...]:
    """The axes that a SQUEEZE names; it takes all of length 1 where it names none."""
    named = op.options.get("squeeze_dims", ())
    return named if isinstance(named, tuple) else ()


def _squeeze(lw: Lowering, op: Op) -> None:
    i, shape = op.inputs[0], lw.shape(op.inputs[0])
    dims = _squeeze_dims(op)
    gone = {d % len(shape) for d in dims} or {a for a, n in enumerate(shape) if n == 1}
    time = lw.stream(op, i).axis
    if time in gone and dims:
        lw.refuse(op, "removes the time axis")
    lw.alias(op, i, None if time is None else time - sum(a < time for a in gone))


# --- moves of values ---------------------------------------------------------------------------


def _transpose(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    perm = lw.integers(op, 1)
    stream, shape = lw.stream(op, i), lw.shape(i)
    axis = None if stream.axis is None else perm.index(stream.axis)
    kept = [a for a in perm if a != stream.axis and shape[a] != 1]
    if kept == sorted(kept):
        return lw.alias(op, i, axis)
    old = [a for a in range(len(shape)) if a != stream.axis and shape[a] != 1]
    view = tuple(shape[a] for a in old)
    options = TransposeOptions((0, *(old.index(a) + 1 for a in kept)))
    return lw.emit(op, [(stream.value, view)], axis, options=options)


def _reverse(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape = lw.stream(op, i), lw.shape(i)
    axes = {a % len(shape) for a in lw.integers(op, 1)}
    if stream.axis is not None and axes == {stream.axis}:
        return pick(lw, op, op.outputs[0], stream, np.arange(stream.window_frames)[::-1], stream.axis)
    if stream.axis in axes:
        lw.refuse(op, BACKWARDS, FORWARDS_ALONE)
    settle(lw, op)
    # One value, as along the batch, is the same either way.
    turned = sorted(a for a in axes if shape[a] > 1)
    if not turned:
        if lw.scale(i) != lw.scale(op.outputs[0]):
            lw.refuse(op, "turns nothing around and gives its values another scale")
        return lw.alias(op, i, stream.axis)
    options = ReverseOptions(tuple(lw.frame_axes(op, i, turned, "turns values around")))
    return lw.emit(op, [lw.operand(i)], stream.axis, options=options)


def _tile(lw: Lowering, op: Op) -> None:
    if not _repeated_frame(lw, op):
        settle(lw, op)
        _tile_frames(lw, op)


def _repeated_frame(lw: Lowering, op: Op) -> bool:
    """Whether one frame of a window becomes several, as in front of a signal that its first frame pads."""
    i = op.inputs[0]
    stream, shape, out = lw.stream(op, i), lw.shape(i), lw.shape(op.outputs[0])
    axis = stream.axis
    if stream.picked is None or axis is None or len(out) != len(shape):
        return False
    if len(stream.picked.index) == 1:
        # One frame stands on any of the axes of length 1 beside its own.
        grown = next((a for a, (n, m) in enumerate(zip(shape, out, strict=True)) if n != m), axis)
        axis = grown if math.prod(shape[min(axis, grown) : max(axis, grown) + 1]) == 1 else axis
    if out[:axis] != shape[:axis]:
        return False
    if out[axis + 1 :] != shape[axis + 1 :]:
        return False
    pick(lw, op, op.outputs[0], stream, np.arange(out[axis]) % shape[axis], axis)
    return True


def _tile_frames(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.stream(op, i), lw.shape(i), lw.shape(op.outputs[0])
    aligned = (1,) * (len(out) - len(shape)) + shape
    axis = None if stream.axis is None else stream.axis + len(out) - len(shape)
    if axis is None and stream.statistic:
        grown = [a for a in range(1, len(out)) if out[a] != aligned[a]]
        if len(grown) == 1 and out[grown[0]] == stream.window_frames and aligned[grown[0]] == 1:
            return lw.alias(op, i, grown[0])
    elif axis is not None and out[axis] != aligned[axis]:
        lw.refuse(op, "repeats the whole signal along time")
    kept = axes_of_frame(out, axis)
    view, target = tuple(aligned[a] for a in kept), tuple(out[a] for a in kept)
    options = TileOptions(tuple(t // v for t, v in zip(target, view, strict=True)))
    return lw.emit(op, [(stream.value, view)], axis, kind=TILE.kind, options=options)


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


def _fold_reshape(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Array:
    return data_of(inputs[0]).reshape(output.shape)


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


def _moves(operands: tuple[int, int], shapes: Callable[[Operands], Shapes], **facts: Any) -> Rule:
    """The rule of an operation that computes nothing, so that no scale is needed."""
    return Rule(operands, shapes=shapes, scaled=False, same_scale=True, **facts)


TRANSPOSE = Operation(
    "TRANSPOSE",
    _moves((2, 2), _permuted),
    options=TransposeOptions,
    lower=_transpose,
    fold=lambda op, ins, out: np.transpose(data_of(ins[0]), data_of(ins[1]).tolist()),
    types=_ALL,
    batch=batch_rules.permuted,
    moves_values=True,
)

TILE = Operation(
    "TILE",
    _moves((2, 2), _tiled),
    options=TileOptions,
    lower=_tile,
    fold=lambda op, ins, out: np.tile(data_of(ins[0]), data_of(ins[1]).tolist()),
    types=("float32", "int8", "int32"),
    batch=batch_rules.tiled,
    takes_picked=True,
)

SPLIT = Operation(
    "SPLIT",
    _moves((2, 2), _pieces(1, 0), several_outputs=True, values=1),
    options=AxisOptions,
    lower=_split,
    fold=_fold_pieces(1, 0),
    types=_ALL,
    batch=batch_rules.split(0),
    takes_picked=True,
)

RESHAPE = Operation(
    "RESHAPE",
    _moves((1, 2), _reshaped),
    lower=_reshape,
    fold=_fold_reshape,
    types=(*_ALL, "int32"),
    batch=batch_rules.reshaped,
    moves_values=True,
    reshapes=True,
)

CONCATENATION = Operation(
    "CONCATENATION",
    _moves(
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
)

PACK = Operation(
    "PACK",
    _moves((1, ANY_NUMBER), _stacked, options=_AXIS, alike=True),
    options=AxisOptions,
    lower=_pack,
    fold=_fold_stack,
    types=_ALL,
    batch=batch_rules.stacked,
    takes_picked=True,
)

UNPACK = Operation(
    "UNPACK",
    _moves((1, 1), _unstacked, several_outputs=True, options=_AXIS),
    options=AxisOptions,
    lower=_unpack,
    types=_ALL,
    batch=batch_rules.unstacked,
    takes_picked=True,
)

OPERATIONS = (
    CONCATENATION,
    TRANSPOSE,
    TILE,
    SPLIT,
    RESHAPE,
    Operation(
        "EXPAND_DIMS",
        _moves((2, 2), _expanded),
        lower=_expand_dims,
        fold=_fold_reshape,
        types=_ALL,
        batch=batch_rules.reshaped,
        moves_values=True,
        reshapes=True,
    ),
    Operation(
        "SQUEEZE",
        _moves((1, 1), _squeezed, options={"squeeze_dims": WHOLES}),
        lower=_squeeze,
        fold=_fold_reshape,
        types=("float32", "int8"),
        batch=batch_rules.reshaped,
        moves_values=True,
        reshapes=True,
    ),
    Operation(
        "BROADCAST_TO",
        _moves((2, 2), _stretched),
        lower=_tile,
        fold=lambda op, ins, out: np.broadcast_to(data_of(ins[0]), out.shape).copy(),
        types=_ALL,
        batch=batch_rules.tiled,
        takes_picked=True,
    ),
    PACK,
    Operation(
        "REVERSE_V2",
        Rule((2, 2), shapes=_reversed, scaled=False),
        options=ReverseOptions,
        lower=_reverse,
        types=_ALL,
        batch=batch_rules.turned,
        takes_picked=True,
    ),
    UNPACK,
    Operation(
        "SPLIT_V",
        _moves((3, 3), _pieces(0, 2), several_outputs=True),
        options=AxisOptions,
        lower=_split,
        fold=_fold_pieces(0, 2),
        types=_ALL,
        batch=batch_rules.split(2),
        takes_picked=True,
    ),
)
