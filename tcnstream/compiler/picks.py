"""Frames picked from a window, held back until it is known what they add up to.

Converters take a window apart and put it together again: a repetition is a SPLIT and a CONCATENATION, a reflection
slices and their reverse, a network for each frame as many slices, networks and one PACK, and a linear interpolation
two gathers and a table over the window. No part alone goes on in a stream; what they make together often does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Never

import numpy as np

from tcnstream.compiler.leads import align
from tcnstream.compiler.lowering import Lowering, Picked, TimedTensor, frame_shape
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.time import TIME_PAD, TIME_REPEAT
from tcnstream.compiler.plan import SAME_FRAME, Window
from tcnstream.compiler.resampling import resample
from tcnstream.compiler.selection import OUTSIDE, Index, Weights, interpolated, repeated, selected
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import ABSENT, Op

BACKWARDS = "turns time around, as layers do that step backwards"
FORWARDS_ALONE = (
    "Train with layers that step forwards alone (no Bidirectional, no go_backwards), or with convolutions that look"
    " ahead by a few frames: an endless signal has no end to begin at"
)


def whole(stream: TimedTensor, op: Op) -> Picked:
    """The frames of ``stream`` as a pick; all of them in order where none were picked yet."""
    if stream.picked is not None:
        return stream.picked
    return Picked(np.arange(stream.window_frames)[:, None], None, stream.window_frames, 0, op)


def pick(lw: Lowering, op: Op, o: int, stream: TimedTensor, index: Index, axis: int | None) -> None:
    """Tensor ``o`` is the frames ``index`` of ``stream``; without an ``axis`` it is one of them."""
    base = whole(stream, op)
    weights = None if base.weights is None else base.weights[index]
    put(lw, o, stream, replace(base, index=base.index[index], weights=weights, op=op), axis)


def put(lw: Lowering, o: int, stream: TimedTensor, picked: Picked, axis: int | None) -> None:
    """Tensor ``o`` is what ``picked`` says of the frames of the value of ``stream``."""
    index = picked.index
    untouched = axis is not None and picked.weights is None and len(index) == picked.frames
    if untouched and np.array_equal(index[:, 0], np.arange(len(index))):
        lw.streams[o] = replace(stream, axis=axis, window_frames=len(index), picked=None)
    else:
        lw.streams[o] = replace(stream, axis=axis, window_frames=len(index), picked=picked)


def settle(lw: Lowering, op: Op) -> None:
    """All operands of ``op`` as streams, because it reads what was picked."""
    for i in op.inputs:
        settle_tensor(lw, i)
    align(lw, op)


def settle_tensor(lw: Lowering, i: int) -> None:
    """Tensor ``i`` as a stream; refuses what goes on in none, by the operation that picked it."""
    stream = lw.streams.get(i)
    if stream is None or stream.picked is None:
        return
    picked = stream.picked
    if stream.axis is None or (len(picked.index) == 1 and picked.index[0, 0] == picked.frames - 1):
        lw.streams[i] = _one_frame(lw, i, stream, picked)
        return
    steps = _steps(picked)
    if steps is None and picked.weights is None and _is_real(lw, i) and OUTSIDE not in picked.index:
        # The nearest of the frames at a ratio such as 25 to 16: a filter with one weight for each.
        picked = replace(picked, weights=np.ones(picked.index.shape))
        steps = _steps(picked)
    if steps is None:
        weighed = _weighed(lw, stream, picked)
        if weighed is None:
            _refuse(lw, stream.picked)
        lw.streams[i] = replace(stream, value=weighed, picked=None)
        return
    value, like, frame = stream.value, lw.graph.tensors[i], frame_shape(lw.shape(i), stream.axis)
    for kind, window in steps:
        frames = len(picked.index)
        value, _ = lw.step(picked.op, [(value, frame)], like, frame, frames, kind, window=window, fill=picked.fill)
    if not steps:
        value = _interpolation(lw, i, stream, picked)
    lw.streams[i] = replace(stream, value=value, picked=None)


def _one_frame(lw: Lowering, i: int, stream: TimedTensor, picked: Picked) -> TimedTensor:
    """The last frame of the window is every frame of a stream; any other one trails it."""
    made = replace(stream, axis=None, window_frames=picked.frames, picked=None)
    place = int(picked.index[0, 0])
    if picked.weights is not None or place == OUTSIDE:
        _refuse(lw, picked)
    if place == picked.frames - 1:
        return replace(made, lead=place)
    frame = frame_shape(lw.shape(i), stream.axis)
    window = Window(pad_begin=-place, pad_end=place + 1 - picked.frames)
    operand, like = (stream.value, frame), lw.graph.tensors[i]
    value, _ = lw.step(picked.op, [operand], like, frame, picked.frames, TIME_PAD.kind, window=window)
    return replace(made, value=value)


def _refuse(lw: Lowering, picked: Picked) -> Never:
    if (np.diff(picked.index[:, 0]) < 0).all():
        lw.refuse(picked.op, BACKWARDS, FORWARDS_ALONE)
    if _is_circular(picked):
        lw.refuse(
            picked.op,
            "puts the end of the window before its beginning, as circular padding and rolls do: frames"
            " in an order that goes on in no stream",
            "Train with padding by zeros, by reflection or by the last value",
        )
    joins = picked.weights is None and sum(i in lw.streams for i in picked.op.inputs) > 1
    what = "puts two signals one behind the other in time: " if joins else "picks "
    lw.refuse(picked.op, f"{what}frames of the window in an order that goes on in no stream")


def _is_circular(picked: Picked) -> bool:
    """Whether the frames follow one another, and the last one by the first."""
    index = picked.index[:, 0]
    onward = (np.diff(index) - 1) % picked.frames == 0
    return picked.weights is None and OUTSIDE not in index and bool(onward.all() and (np.diff(index) != 1).any())


def _steps(picked: Picked) -> Sequence[tuple[str, Window]] | None:
    """The nodes that pick the frames, one behind the other; none for an interpolation, None if there are none."""
    if picked.weights is not None:
        return () if interpolated(picked.index, picked.weights, picked.frames) else None
    return _moves(picked.index[:, 0], picked.frames)


def _moves(index: Index, frames: int) -> Sequence[tuple[str, Window]] | None:
    """The nodes, one behind the other, by which frame j of the last is frame ``index[j]`` of ``frames``."""
    if window := selected(index, frames):
        return ((TIME_PAD.kind, window),)
    times, rest = repeated(index, frames)
    if times < 2:
        return _moves_of_fewer(index, frames)
    steps = [(TIME_REPEAT.kind, Window(up=times, extent=times, pad_begin=times - 1))]
    return steps if rest is None else (*steps, (TIME_PAD.kind, rest))


def _moves_of_fewer(index: Index, frames: int) -> Sequence[tuple[str, Window]] | None:
    """Some of the frames first, then what is picked from those: a signal that is cut or decimated, then padded."""
    places = np.unique(index[index != OUTSIDE])
    strides = np.unique(np.diff(places))
    if len(strides) != 1 or len(places) == frames:
        return None
    fewer = selected(places, frames)
    rest = _moves(np.where(index == OUTSIDE, OUTSIDE, (index - places[0]) // strides[0]), len(places))
    return None if fewer is None or rest is None else ((TIME_PAD.kind, fewer), *rest)


def _weighed(lw: Lowering, stream: TimedTensor, picked: Picked) -> int | None:
    """All frames in order, times a weight each, where what made them can say that; None: it cannot."""
    weights = picked.weights
    if weights is None or not np.array_equal(picked.index, np.arange(picked.frames)[:, None]):
        return None
    node = next((node for node in lw.nodes if stream.value in node.outputs), None)
    weighed = None if node is None else operation(node.kind).weighed
    return None if node is None or weighed is None else weighed(lw, picked.op, node, weights[:, 0])


def _interpolation(lw: Lowering, i: int, stream: TimedTensor, picked: Picked) -> int:
    assert picked.weights is not None
    found = interpolated(picked.index, picked.weights, picked.frames)
    assert found is not None
    operand, like = (stream.value, frame_shape(lw.shape(i), stream.axis)), lw.graph.tensors[i]
    return resample(lw, picked.op, operand, *found, like, len(picked.index))


def settles(picked: Picked) -> bool:
    """Whether the frames that were picked go on in a stream as they are."""
    return _steps(picked) is not None


def _is_one_move(picked: Picked) -> bool:
    return picked.weights is None and len(_steps(picked) or ()) == 1


def joined(lw: Lowering, op: Op, axis: int) -> bool:
    """Put one behind the other what was picked from one stream, with one value before, after or between; if it is."""
    streams = [lw.streams[i] for i in op.inputs if i in lw.streams]
    parts, fills = [], set()
    for i in op.inputs:
        if i in lw.streams:
            picked = whole(lw.streams[i], op)
            parts.append(picked)
            fills |= {picked.fill} if (picked.index == OUTSIDE).any() else set()
        else:
            values = np.unique(lw.constant(op, op.inputs.index(i))).tolist()
            frames = lw.shape(i)[axis] if axis < len(lw.shape(i)) else 1
            parts.append(Picked(np.full((frames, 1), OUTSIDE), None, 0, 0, op))
            fills |= set(values)
    windows = {part.frames for part in parts if part.frames}
    if len({s.value for s in streams}) != 1 or len(windows) != 1 or len(fills) > 1:
        return False
    if len({part.index.shape[1] for part in parts}) > 1:
        return False
    index = np.concatenate([part.index for part in parts])
    weighed = any(part.weights is not None for part in parts)
    if weighed and (OUTSIDE in index or not all(_is_linear(lw, op, s) for s in streams)):
        return False
    weights = np.concatenate([_weights(part) for part in parts]) if weighed else None
    put(lw, op.outputs[0], streams[0], Picked(index, weights, windows.pop(), fills.pop() if fills else 0, op), axis)
    return True


def summed(lw: Lowering, op: Op, signs: tuple[int, int]) -> bool:
    """Two sums of frames of one stream as one, unless each is one move of frames: they may be an interpolation's."""
    streams = [lw.streams[i] for i in op.inputs if i in lw.streams]
    if len(streams) != 2 or not any(s.picked for s in streams) or not _is_linear(lw, op, streams[0]):
        return False
    one, other = (whole(s, op) for s in streams)
    if streams[0].value != streams[1].value or lw.shape(op.inputs[0]) != lw.shape(op.inputs[1]):
        return False
    if streams[0].axis != streams[1].axis or OUTSIDE in one.index or OUTSIDE in other.index:
        return False
    if _is_one_move(one) and _is_one_move(other):
        return False
    weights = np.concatenate([sign * _weights(part) for sign, part in zip(signs, (one, other), strict=True)], 1)
    index = np.concatenate([one.index, other.index], 1)
    put(lw, op.outputs[0], streams[0], Picked(index, weights, one.frames, 0, op), streams[0].axis)
    return True


def scaled(lw: Lowering, op: Op) -> bool:
    """Frames of a window times a table that has a weight for each of them."""
    streamed = [i for i in op.inputs if i in lw.streams]
    if len(streamed) != 1 or (stream := lw.streams[streamed[0]]).picked is None or not _is_linear(lw, op, stream):
        return False
    other = next(i for i in op.inputs if i != streamed[0])
    picked, table, axis, shape = stream.picked, lw.graph.tensors[other], stream.axis, lw.shape(streamed[0])
    if table.data is None or axis is None or lw.shape(op.outputs[0]) != shape:
        return False
    aligned = (1,) * (len(shape) - len(table.shape)) + table.shape
    if len(aligned) != len(shape) or aligned[axis] != len(picked.index) or table.data.size != len(picked.index):
        return False
    if OUTSIDE in picked.index:
        return False
    weights = _weights(picked) * table.data.reshape(-1, 1).astype(np.float64)
    put(lw, op.outputs[0], stream, Picked(picked.index, weights, picked.frames, 0, op), axis)
    return True


def _is_real(lw: Lowering, i: int) -> bool:
    return lw.graph.tensors[i].dtype == np.float32


def _is_linear(lw: Lowering, op: Op, stream: TimedTensor) -> bool:
    """Whether numbers are real, and nothing is done to them besides."""
    tensor = lw.graph.tensors[op.outputs[0]]
    plain = op.options.get("fused_activation_function", "NONE") == "NONE"
    return tensor.dtype == np.float32 and plain and stream.axis is not None


def _weights(picked: Picked) -> Weights:
    return np.ones(picked.index.shape) if picked.weights is None else picked.weights


# --- what is said of picked frames before they are settled --------------------------------------------


def lower_picked(lw: Lowering, op: Op, record: Operation) -> bool:
    """Say ``op`` over the frames from which its operands are picked, if that is the same; settles them otherwise."""
    picked = [s for i in op.inputs if i in lw.streams and (s := lw.streams[i]).picked is not None]
    if not picked or record.takes_picked:
        return False
    if record.moves_values and len(picked) == 1:
        made = _tried(lw, op, record, lambda stream: stream.axis is not None or picked[0].axis is None)
    else:
        made = _one_of_many(lw, op, record)
    if not made:
        settle(lw, op)
    return made


def _one_of_many(lw: Lowering, op: Op, record: Operation) -> bool:
    """One frame of each operand: the same operation on all frames, of which one is picked afterwards."""
    streams = [lw.streams[i] for i in op.inputs if i in lw.streams]
    places = {(s.picked.frames, s.picked.index.tobytes()) for s in streams if s.picked is not None and s.axis is None}
    if len(places) != 1 or any(s.picked is None or s.axis is not None for s in streams):
        return False
    key = _key(lw, op)
    before = lw.of_each_frame.get(key)
    if before is None:
        if not _tried(lw, op, record, lambda stream: stream.axis is None):
            return False
        lw.of_each_frame[key] = [lw.streams[o] for o in op.outputs]
    else:
        picked = streams[0].picked
        lw.streams |= {o: replace(stream, picked=picked) for o, stream in zip(op.outputs, before, strict=True)}
    return True


def _key(lw: Lowering, op: Op) -> object:
    """What tells an operation on one frame from others: its options, and what it reads and makes but for the place."""
    operands: list[object] = []
    for i in op.inputs:
        if i in lw.streams:
            operands.append((lw.streams[i].value, lw.shape(i)))
        elif i != ABSENT:
            operands.append(lw.identity(i))
    made = [(lw.shape(o), lw.scale(o)) for o in op.outputs]
    return op.kind, tuple(sorted(op.options.items())), tuple(operands), tuple(made)


def _tried(lw: Lowering, op: Op, record: Operation, fits: Callable[[TimedTensor], bool]) -> bool:
    """Whether ``op`` on the frames behind what was picked gives frames that stand for them, one for one."""
    assert record.lower is not None
    kept = dict(lw.streams)
    sizes = len(lw.tensors), len(lw.nodes)
    picked = next(s.picked for i in op.inputs if i in kept and (s := kept[i]).picked is not None)
    for i in op.inputs:
        if i in kept:
            lw.streams[i] = replace(kept[i], picked=None)
    try:
        record.lower(lw, op)
        made = [lw.streams[o] for o in op.outputs]
        sound = all(fits(stream) for stream in made) and all(n.window == SAME_FRAME for n in lw.nodes[sizes[1] :])
    except NotStreamableError:
        sound = False
    lw.streams = kept
    if sound:
        for o, stream in zip(op.outputs, made, strict=True):
            lw.streams[o] = replace(stream, picked=picked, window_frames=len(picked.index))
    else:
        del lw.tensors[sizes[0] :], lw.windows[sizes[0] :], lw.nodes[sizes[1] :]
    return sound
