"""Operations value by value: one operand, or several that meet at one time."""

from __future__ import annotations

import numpy as np

from tcnstream.compiler.lowering import Lowering, frame_shape
from tcnstream.compiler.operations.layout import frame_axis_of
from tcnstream.compiler.plan import Window
from tcnstream.tflite.graph import Array, Op, Shape


def pointwise(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    lw.emit(op, [lw.operand(i)], lw.streams[i].axis, options=op.options)


def last_axis(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    if lw.streams[i].axis == len(lw.shape(i)) - 1:
        lw.refuse(op, "normalises over time")
    pointwise(lw, op)


def join(lw: Lowering, op: Op) -> None:
    rank = max(len(lw.shape(i)) for i in op.inputs)
    out_shape = lw.shape(op.outputs[0])
    axes = set()
    for i in op.inputs:
        if i in lw.streams and (a := lw.streams[i].axis) is not None:
            axes.add(a + rank - len(lw.shape(i)))
    if len(axes) > 1:
        lw.refuse(op, "joins tensors whose time lies on different axes")
    inputs = []
    streams = [lw.streams[i] for i in op.inputs if i in lw.streams]
    axis = next(iter(axes)) if axes else None
    if axis is None and all(s.statistic for s in streams):
        axis = _restored_axis(lw, op, rank)
    steps = {s.window_frames for s in streams if s.axis is not None}
    if len(steps) > 1:
        lw.refuse(op, f"joins tensors of different lengths {sorted(steps)}, one of which is repeated over time")
    if axis is not None:
        if any(s.axis is None and not s.statistic for s in streams):
            lw.refuse(
                op,
                "hands every frame what only the end of the window knows (a last frame, a layer over all frames),"
                " and an endless signal has no such end",
            )
        rates = steps | {s.window_frames for s in streams}
        if len(rates) > 1:
            lw.refuse(op, f"joins a statistic over {min(rates)} frames with others over {max(rates)}")
    for i in op.inputs:
        aligned = (1,) * (rank - len(lw.shape(i))) + lw.shape(i)
        if i in lw.streams:
            if lw.streams[i].axis is None and axis is not None and aligned[axis] != 1:
                lw.refuse(op, "joins time with an axis that is not time")
            inputs.append((lw.streams[i].value, frame_shape(aligned, axis)))
        else:
            data = timeless(lw, op, i, aligned, axis)
            inputs.append((lw.add_constant(lw.graph.tensors[i], data), data.shape))
    if axis != 0 and out_shape and out_shape[0] != 1:
        lw.refuse(op, f"makes a batch of {out_shape[0]}")
    lw.emit(op, inputs, axis, options=op.options)


def _restored_axis(lw: Lowering, op: Op, rank: int) -> int | None:
    """Where time comes back when a tensor without it meets a constant as long as the window."""
    out = lw.shape(op.outputs[0])
    window = lw.window_frames_of(op)
    for axis in range(1, rank):
        aligned = [(1,) * (rank - len(lw.shape(i))) + lw.shape(i) for i in op.inputs if i in lw.streams]
        if window > 1 and out[axis] == window and all(shape[axis] == 1 for shape in aligned):
            return axis
    return None


def timeless(lw: Lowering, op: Op, i: int, aligned: Shape, axis: int | None) -> Array:
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


def concatenation(lw: Lowering, op: Op) -> None:
    rank = len(lw.shape(op.outputs[0]))
    axis = op.integer("axis", 0) % rank
    times = {lw.streams[i].axis for i in op.inputs if i in lw.streams}
    if len(times) > 1:
        lw.refuse(op, "joins tensors whose time lies on different axes")
    time = times.pop()
    first = next(i for i in op.inputs if i in lw.streams)
    if time == axis:
        return _concatenate_in_time(lw, op, time)
    frame_axis = frame_axis_of(lw, op, first, axis, "concatenates")
    inputs = []
    for i in op.inputs:
        if i in lw.streams:
            inputs.append(lw.operand(i))
        else:
            data = timeless(lw, op, i, lw.shape(i), time)
            inputs.append((lw.add_constant(lw.graph.tensors[i], data), data.shape))
    lw.emit(op, inputs, time, options={**op.options, "axis": frame_axis})
    return None


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
    lw.emit(op, [lw.operand(op.inputs[k])], time, kind="TIME_PAD", window=window, fill=values.pop())
