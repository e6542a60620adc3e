"""CUMSUM: a running sum, along time what is fed back to itself, beside it a chain of sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.constants import data_of
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations.elementwise import ADD, SumOptions
from tcnstream.compiler.operations.pieces import CONCATENATION, SPLIT
from tcnstream.compiler.operations.time import state
from tcnstream.compiler.plan import AxisOptions, Node
from tcnstream.tflite.graph import Array, Op, Tensor
from tcnstream.tflite.validate import FLAG, Operands, Rule, Shapes, axis_of


def _kept(o: Operands) -> Shapes:
    axis_of(o.shape(0), o.integers(1, count=1)[0])
    return (o.shape(0),)


def _cumsum(lw: Lowering, op: Op) -> None:
    """Source: ``CumSum`` in ``optimized_ops.h``; it adds one value after the other."""
    i = op.inputs[0]
    axis = lw.integers(op, 1)[0] % len(lw.shape(i))
    if axis == lw.stream(op, i).axis:
        return _along_time(lw, op, i)
    return _beside_time(lw, op, i, lw.frame_axis(op, i, axis, "sums up"))


def _along_time(lw: Lowering, op: Op, i: int) -> None:
    if op.options.get("reverse"):
        lw.refuse(op, "sums from the end of the window, and an endless signal has no end")
    stream, like, operand = lw.stream(op, i), lw.graph.tensors[i], lw.operand(i)
    start = Tensor(f"{lw.label(op)}/start", operand[1], like.dtype, None, np.zeros(operand[1], like.dtype))
    before = state(lw, op, start, operand, stream.window_frames)
    so_far = lw.step(op, [before, operand], like, operand[1], stream.window_frames, ADD.kind, options=SumOptions())
    lw.feed_back(before[0], so_far[0])
    value = before if op.options.get("exclusive") else so_far
    lw.streams[op.outputs[0]] = replace(stream, value=value[0])


def _beside_time(lw: Lowering, op: Op, i: int, axis: int) -> None:
    stream, like, (value, frame) = lw.stream(op, i), lw.graph.tensors[i], lw.operand(i)
    slice_shape = (*frame[: axis - 1], 1, *frame[axis:])
    frames, options = stream.window_frames, AxisOptions(axis)
    parts = tuple(lw.add_value(like, slice_shape, frames) for _ in range(frame[axis - 1]))
    lw.nodes.append(Node(SPLIT.kind, (value,), parts, (frame,), options, label=lw.label(op), index=op.index))
    zero = lw.add_constant(Tensor(f"{lw.label(op)}/zero", (), like.dtype), np.zeros(slice_shape, like.dtype))
    sums = [(zero, slice_shape)]
    for part in parts[::-1] if op.options.get("reverse") else parts:
        pair = [sums[-1], (part, slice_shape)]
        sums.append(lw.step(op, pair, like, slice_shape, frames, ADD.kind, options=SumOptions()))
    kept = sums[:-1] if op.options.get("exclusive") else sums[1:]
    made = kept[::-1] if op.options.get("reverse") else kept
    lw.emit(op, made, stream.axis, kind=CONCATENATION.kind, options=options)


def _folded(op: Op, inputs: list[Tensor], output: Tensor) -> Array:
    axis = int(data_of(inputs[1]).item())
    values = np.moveaxis(data_of(inputs[0]), axis, 0)
    turned = values[::-1] if op.options.get("reverse") else values
    made = np.cumsum(turned, 0, dtype=output.dtype)
    if op.options.get("exclusive"):
        made = np.concatenate([np.zeros_like(made[:1]), made[:-1]])
    return np.ascontiguousarray(np.moveaxis(made[::-1] if op.options.get("reverse") else made, 0, axis))


OPERATIONS = (
    Operation(
        "CUMSUM",
        Rule(operands=(2, 2), shapes=_kept, options={"exclusive": FLAG, "reverse": FLAG}),
        lower=_cumsum,
        fold=_folded,
        batch=batch_rules.turned,
    ),
)
