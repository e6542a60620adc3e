"""Operations that reduce axes to one value, time among them."""

from __future__ import annotations

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operations.layout import array_axes
from tcnstream.tflite.graph import Op, OptionValue


def reduce(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.streams[i], lw.shape(i), lw.shape(op.outputs[0])
    reduced = sorted({a % len(shape) for a in lw.integers(op, 1)})
    time = stream.axis in reduced
    frame_axes = [a for a in reduced if a != stream.axis and not (a == 0 and stream.axis != 0)]
    axes = tuple(array_axes(lw, op, i, frame_axes, "reduces"))
    keep = len(out) == len(shape)
    axis = None
    if stream.axis is not None and not time:
        axis = stream.axis if keep else stream.axis - sum(a < stream.axis for a in reduced)
    if time and op.kind == "REDUCE_PROD":
        lw.refuse(op, f"multiplies all {shape[stream.axis or 0]} frames")
    if time:
        options: dict[str, OptionValue] = {"reduce": op.kind, "axes": (0, *axes)}
        return lw.emit(
            op, [lw.operand(i)], None, kind="TIME_REDUCE", options=options, window_frames=stream.window_frames
        )
    return lw.emit(op, [lw.operand(i)], axis, options={"axes": axes})
