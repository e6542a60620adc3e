"""Operations that lengthen or shorten: padding, slices in time and in the frame, repetition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operations.windows import spatial
from tcnstream.compiler.plan import SAME_FRAME, Window
from tcnstream.tflite.graph import Op, OptionValue
from tcnstream.tflite.shapes import strided_slice


def pad(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream = lw.streams[i]
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
    window = Window(pad_begin=time[0], pad_end=time[1])
    if mode:
        window = replace(window, edge="reflect" if mode == "reflect" else "symmetric")
    operand = lw.operand(i)
    if frames_padded and any(time):
        padded = tuple(n + sum(p) for n, p in zip(operand[1], frame_pairs, strict=True))
        options: dict[str, OptionValue] = {"paddings": tuple(n for p in frame_pairs for n in p)} | dict(op.options)
        operand = lw.step(
            op,
            operand,
            lw.graph.tensors[i],
            padded,
            stream.window_frames,
            op.kind if mode else "PAD",
            SAME_FRAME,
            options,
            fill,
        )
        frames_padded = False
    if frames_padded:
        options = {"paddings": tuple(n for p in frame_pairs for n in p)} | dict(op.options)
        return lw.emit(op, [operand], stream.axis, kind=op.kind if mode else "PAD", options=options, fill=fill)
    if not any(time):
        return lw.alias(op, i, stream.axis)
    return lw.emit(op, [operand], stream.axis, kind="TIME_PAD", window=window, fill=fill)


def slice_(lw: Lowering, op: Op) -> None:
    shape = lw.shape(op.inputs[0])
    begin, size = lw.integers(op, 1), lw.integers(op, 2)
    index = tuple(slice(b, n if s == -1 else b + s, 1) for b, s, n in zip(begin, size, shape, strict=True))
    _cut(lw, op, index)


def strided(lw: Lowering, op: Op) -> None:
    shape = lw.shape(op.inputs[0])
    _cut(lw, op, strided_slice(op, shape, lw.integers(op, 1), lw.integers(op, 2), lw.integers(op, 3)))


def _cut(lw: Lowering, op: Op, index: Sequence[slice | int | None]) -> None:
    """A NumPy index with one entry per axis (and None for new axes), time and frame apart."""
    i = op.inputs[0]
    stream, shape = lw.streams[i], lw.shape(i)
    old_axis, new_axis, out_axis = 0, 0, None
    time_cut: slice | int = slice(None)
    begins: list[int] = []
    ends: list[int] = []
    strides: list[int] = []
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
    window = SAME_FRAME
    if stream.axis is not None:
        frames = shape[stream.axis]
        span = (time_cut % frames, time_cut % frames + 1, 1) if isinstance(time_cut, int) else _span(time_cut, frames)
        last_only = frames > 1 and span == (frames - 1, frames, 1)
        gone = last_only or isinstance(time_cut, int)
        if span[2] < 1:
            lw.refuse(op, "turns time around")
        if not last_only:
            window = Window(stride=span[2], pad_begin=-span[0], pad_end=span[1] - frames)
    untouched = operand[1] == tuple(e - b for b, e in zip(begins, ends, strict=True)) and set(strides) <= {1}
    options: dict[str, OptionValue] = {"begin": tuple(begins), "end": tuple(ends), "stride": tuple(strides)}
    axis = None if gone else out_axis
    length = stream.window_frames if gone and window == SAME_FRAME else None
    if window == SAME_FRAME and untouched:
        return lw.alias(op, i, axis)
    if window != SAME_FRAME and not untouched:
        cut_shape = tuple(len(range(*s)) for s in zip(begins, ends, strides, strict=True))
        operand = lw.step(
            op, operand, lw.graph.tensors[i], cut_shape, stream.window_frames, "STRIDED_SLICE", SAME_FRAME, options
        )
    if window != SAME_FRAME:
        return lw.emit(op, [operand], axis, kind="TIME_PAD", window=window, window_frames=length)
    return lw.emit(op, [operand], axis, kind="STRIDED_SLICE", options=options, window_frames=length)


def _span(cut: slice, n: int) -> tuple[int, int, int]:
    begin, end, step = cut.indices(n)
    return begin, end, step


def resize(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    shape, out = lw.shape(i), lw.shape(op.outputs[0])
    axes = spatial(lw, op, i, (1, 1))
    t, f = (2, 1) if axes.swap else (1, 2)
    if out[t] % shape[t] or out[f] % shape[f]:
        lw.refuse(op, f"resizes {shape[t]} frames to {out[t]}, which is no whole multiple")
    if bool(op.options.get("align_corners", False)):
        lw.refuse(op, "aligns the corners of the window, so each frame depends on its length")
    ratio_t, ratio_f = out[t] // shape[t], out[f] // shape[f]
    operand = axes.operand
    window = Window(up=ratio_t, extent=ratio_t, pad_begin=ratio_t - 1)
    if ratio_f > 1 and ratio_t > 1:
        frame = (shape[f] * ratio_f, shape[3])
        operand = lw.step(
            op, operand, lw.graph.tensors[i], frame, shape[t], "RESIZE_NEAREST_NEIGHBOR", SAME_FRAME, op.options
        )
    if ratio_t > 1:
        return lw.emit(op, [operand], axes.axis, kind="TIME_REPEAT", window=window)
    return lw.emit(op, [operand], axes.axis, options=op.options)
