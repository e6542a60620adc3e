"""Whether any value of a frame is true, as Masking of Keras asks it of each frame."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.lowering import Lowering, frame_shape
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations.activation import CAST
from tcnstream.compiler.operations.elementwise import NOT_EQUAL
from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import Options
from tcnstream.tflite.graph import Op, Tensor
from tcnstream.tflite.validate import FLAG, Operands, Rule, Shapes, axis_of, require


def _any_shapes(o: Operands) -> Shapes:
    shape, axes = o.shape(0), {axis_of(o.shape(0), axis) for axis in o.integers(1)}
    require(o.tensor(0).dtype == np.bool_, f"values of {o.tensor(0).dtype}")
    if o.op.options.get("keep_dims"):
        return (tuple(1 if a in axes else n for a, n in enumerate(shape)),)
    return (tuple(n for a, n in enumerate(shape) if a not in axes),)


def _any(lw: Lowering, op: Op) -> None:
    """The largest of them as numbers is not 0."""
    i = op.inputs[0]
    stream, shape = lw.stream(op, i), lw.shape(i)
    reduced = sorted({a % len(shape) for a in lw.integers(op, 1)})
    if stream.axis is None or stream.axis in reduced:
        lw.refuse(op, "looks at all frames of the window")
    axes = tuple(lw.frame_axes(op, i, reduced, "reduces"))
    kept = lw.shape(op.outputs[0])
    axis = stream.axis if len(kept) == len(shape) else stream.axis - sum(a < stream.axis for a in reduced)
    frame = frame_shape(kept, axis)
    like = Tensor(f"{lw.label(op)}/numbers", (), np.dtype(np.float32))
    operand = lw.operand(i)
    numbers = lw.step(op, [operand], like, operand[1], stream.window_frames, CAST.kind, options=Options())
    options = StatisticOptions(Statistic.MAXIMUM, axes)
    largest = lw.step(op, [numbers], like, frame, stream.window_frames, Statistic.MAXIMUM.value, options=options)
    zero = np.zeros((1,) * max(1, len(frame)) if math.prod(frame) else (1,), np.float32)
    constant = lw.add_constant(replace(like, shape=zero.shape), zero)
    lw.emit(op, [largest, (constant, zero.shape)], axis, kind=NOT_EQUAL.kind, options=Options())


OPERATIONS = (
    Operation(
        "REDUCE_ANY",
        Rule(operands=(2, 2), shapes=_any_shapes, options={"keep_dims": FLAG}, scaled=False),
        lower=_any,
        batch=batch_rules.reduced,
    ),
)
