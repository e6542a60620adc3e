"""Operations that move values about: reshape in all its spellings, transpose, tile, split, gather."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tcnstream.compiler.lowering import Lowering, frame_shape
from tcnstream.compiler.plan import Window
from tcnstream.errors import ModelError
from tcnstream.tflite.graph import Op


def reshape(lw: Lowering, op: Op) -> None:
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
        if not fits or (n == 1 and frames != 1) or (n == 1 and _is_other_axis(lw, op, axis)):
            continue
        rest = math.prod(out[axis + 1 :])
        if n == frames:
            return lw.alias(op, i, axis)
        unfolds = len(out) - axis > 1 or op.outputs[0] in lw.graph.outputs
        if before == 1 and unfolds and n > frames and n % frames == 0 and rest * n == after * frames:
            ratio = n // frames
            window = Window(up=ratio, extent=ratio, pad_begin=ratio - 1)
            view = (ratio, *frame_shape(out, axis))
            return lw.emit(op, [(stream.value, view)], axis, kind="TIME_UNFOLD", window=window)
        if before == 1 and 1 < n < frames and frames % n == 0 and rest * n == after * frames and len(out) - axis > 1:
            ratio = frames // n
            window = Window(stride=ratio, extent=ratio)
            return lw.emit(op, [lw.operand(i)], axis, kind="TIME_WINDOW", window=window)
    if sum(n != 1 for n in out) > 1:
        lw.refuse(op, f"turns {shape} into {out}, which mixes time with other axes")
    return _flatten(lw, op, i)


def _is_other_axis(lw: Lowering, op: Op, axis: int) -> bool:
    """Whether one frame on ``axis`` of (1, 1, 1, C) would be read as the batch, or as the other axis of a kernel."""
    out = lw.shape(op.outputs[0])
    if axis != 1 or len(out) != 4 or out[2] != 1:
        return axis == 0 and len(out) > 2
    reader = next((r for r in lw.graph.ops if op.outputs[0] in r.inputs), None)
    if reader is None or reader.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"):
        return False
    kernel = lw.shape(reader.inputs[1])
    return kernel[1] == 1 < kernel[2] or reader.integer("stride_h", 1) == 1 < reader.integer("stride_w", 1)


def expand_dims(lw: Lowering, op: Op) -> None:
    i, rank = op.inputs[0], len(lw.shape(op.outputs[0]))
    new, time = lw.integers(op, 1)[0] % rank, lw.streams[i].axis
    lw.alias(op, i, time if time is None or time < new else time + 1)


def squeeze(lw: Lowering, op: Op) -> None:
    i, shape = op.inputs[0], lw.shape(op.inputs[0])
    named = op.options.get("squeeze_dims", ())
    dims = named if isinstance(named, tuple) else ()
    gone = {d % len(shape) for d in dims} or {a for a, n in enumerate(shape) if n == 1}
    time = lw.streams[i].axis
    if time in gone and dims:
        lw.refuse(op, "removes the time axis")
    lw.alias(op, i, None if time is None else time - sum(a < time for a in gone))


def pack(lw: Lowering, op: Op) -> None:
    rank = len(lw.shape(op.outputs[0]))
    new = op.integer("axis", 0) % rank
    times = {lw.streams[i].axis if i in lw.streams else None for i in op.inputs}
    if len(times) > 1:
        lw.refuse(op, "stacks tensors whose time lies on different axes")
    time = times.pop()
    if new == 0 and time != 0:
        lw.refuse(op, "stacks along the batch axis")
    axis = time if time is None or time < new else time + 1
    kept = [a for a in range(1, rank) if a != axis]
    lw.emit(op, [lw.operand(i) for i in op.inputs], axis, options={"axis": kept.index(new) + 1})


def unpack(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    axis = op.integer("axis", 0) % len(lw.shape(i))
    frame_axis = frame_axis_of(lw, op, i, axis, "takes apart")
    time = lw.streams[i].axis
    lw.emit(op, [lw.operand(i)], time if time is None or time < axis else time - 1, options={"axis": frame_axis})


def _flatten(lw: Lowering, op: Op, i: int) -> None:
    """All frames of the window side by side: a window that advances frame by frame."""
    stream, shape = lw.streams[i], lw.shape(i)
    assert stream.axis is not None
    frames = shape[stream.axis]
    frame = frame_shape(shape, stream.axis)
    position = stream.axis if stream.axis == 0 else stream.axis - 1
    window = Window(extent=frames)
    if math.prod(frame[:position]) == 1:
        return lw.emit(op, [(stream.value, frame)], None, kind="TIME_WINDOW", window=window, window_frames=1)
    like = lw.graph.tensors[i]
    flat = lw.step(op, (stream.value, frame), like, (frames, *frame), 1, "TIME_WINDOW", window)
    moved = (*range(2, position + 2), 1, *range(position + 2, len(frame) + 2))
    return lw.emit(op, [flat], None, kind="TRANSPOSE", options={"perm": (0, *moved)}, window_frames=1)


def transpose(lw: Lowering, op: Op) -> None:
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


def tile(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.streams[i], lw.shape(i), lw.shape(op.outputs[0])
    aligned = (1,) * (len(out) - len(shape)) + shape
    axis = None if stream.axis is None else stream.axis + len(out) - len(shape)
    if axis is None and stream.statistic:
        grown = [a for a in range(1, len(out)) if out[a] != aligned[a]]
        if len(grown) == 1 and out[grown[0]] == stream.window_frames and aligned[grown[0]] == 1:
            return lw.alias(op, i, grown[0])
    elif axis is not None and out[axis] != aligned[axis]:
        lw.refuse(op, "repeats the whole signal along time")
    if axis != 0 and out[0] != 1:
        lw.refuse(op, f"makes a batch of {out[0]}")
    view, target = frame_shape(aligned, axis), frame_shape(out, axis)
    multiples = tuple(t // v for t, v in zip(target, view, strict=True))
    lw.emit(op, [(stream.value, view)], axis, kind="TILE", options={"multiples": multiples})
    return None


def split(lw: Lowering, op: Op) -> None:
    axis_position, i = (0, op.inputs[1]) if op.kind == "SPLIT" else (2, op.inputs[0])
    axis = lw.integers(op, axis_position)[0]
    frame_axis = frame_axis_of(lw, op, i, axis, "splits")
    lw.emit(op, [lw.operand(i)], lw.streams[i].axis, kind="SPLIT", options={"axis": frame_axis})


def gather(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    if i not in lw.streams:
        lw.refuse(op, "looks up a table by the signal's values")
    axis = op.integer("axis", 0)
    frame_axis = frame_axis_of(lw, op, i, axis, "gathers")
    indices = lw.constant(op, 1)
    if indices.ndim > 1:
        lw.refuse(op, "gathers with indices of more than one axis")
    index = lw.add_constant(lw.graph.tensors[op.inputs[1]], indices.reshape(-1))
    time, axis = lw.streams[i].axis, axis % len(lw.shape(i))
    out_axis = time - 1 if time is not None and indices.ndim == 0 and axis < time else time
    lw.emit(op, [lw.operand(i), (index, (indices.size,))], out_axis, options={"axis": frame_axis})


def arg_extreme(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    frame_axis = frame_axis_of(lw, op, i, lw.integers(op, 1)[0], "looks for an extreme")
    axis = lw.integers(op, 1)[0] % len(lw.shape(i))
    time = lw.streams[i].axis
    out_axis = time if time is None or time < axis else time - 1
    lw.emit(op, [lw.operand(i)], out_axis, options={**op.options, "axis": frame_axis})


def frame_axis_of(lw: Lowering, op: Op, i: int, axis: int, purpose: str) -> int:
    """An axis of the file's tensor as an axis of (time, *frame); refuses time and batch."""
    shape = lw.shape(i)
    axis %= max(len(shape), 1)
    return array_axes(lw, op, i, [axis], purpose)[0]


def array_axes(lw: Lowering, op: Op, i: int, axes: Sequence[int], purpose: str) -> list[int]:
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
