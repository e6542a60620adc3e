"""Looked up by the signal's values: rows of a table, as of an embedding, and the places of a one in zeros.

Each is said by comparisons: a row is the product of the table with a vector that has a one at its number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tcnstream.compiler.lowering import Lowering, axes_of_frame
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations.activation import CAST
from tcnstream.compiler.operations.dense import BATCH_MATMUL, MatrixOptions
from tcnstream.compiler.operations.elementwise import EQUAL, SELECT_V2
from tcnstream.compiler.plan import Options
from tcnstream.tflite.graph import Array, Op, Quantization, Shape, Tensor
from tcnstream.tflite.validate import WHOLE, Operands, Rule, Shapes, require

Value = tuple[int, Shape]


def look_up(lw: Lowering, op: Op, position: int = 0) -> None:
    """Rows of the constant table, operand ``position``, whose numbers the signal has, the other operand.

    LiteRT stops at a number that no row has; a stream, which cannot, has zeros there.
    """
    i, table = op.inputs[1 - position], lw.constant(op, position)
    like = lw.graph.tensors[op.inputs[position]]
    axis = op.integer("axis", 0) % table.ndim
    if axis != 0 or op.integer("batch_dims", 0) != 0:
        lw.refuse(op, "looks up another axis of a table than its rows by the signal's values")
    if like.dtype not in (np.float32, np.int8) or not np.isfinite(table).all():
        lw.refuse(op, f"looks up a table of {like.dtype}, where only float32 and int8 ones with finite values are")
    rows = table.reshape(len(table), -1)
    stream, (value, frame) = lw.stream(op, i), lw.operand(i)
    there = _is_at(lw, op, (value, (*frame, 1)), (*frame, len(rows)), np.arange(len(rows)))
    if like.dtype == np.int8:
        one = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64), 0)
        ones = Tensor(f"{lw.label(op)}/ones", (), like.dtype, one)
        picks = _chosen(lw, op, there, ones, np.ones(1, np.int8), np.zeros(1, np.int8))
    else:
        ones = Tensor(f"{lw.label(op)}/ones", (), like.dtype)
        picks = lw.step(op, [there], ones, there[1], stream.window_frames, CAST.kind, options=Options())
    constant = lw.add_constant(like, np.ascontiguousarray(rows), 1)
    lw.emit(op, [picks, (constant, rows.shape)], stream.axis, kind=BATCH_MATMUL.kind, options=MatrixOptions())


def check_rows(op: Op, table: Tensor, given: Array) -> None:
    """Raises IndexError for numbers that no row of a table has, at which LiteRT stops."""
    axis = op.integer("axis", 0) % len(table.shape)
    numbers = given.astype(np.int64)
    missing = numbers[(numbers < 0) | (numbers >= table.shape[axis])]
    if missing.size:
        raise IndexError(f"{missing.flat[0]} in a table of {table.shape[axis]}")


def _is_at(lw: Lowering, op: Op, x: Value, frame: Shape, places: Array) -> Value:
    """Where the signal's integers are each of ``places``, which stand in the shape that they spread by."""
    tensor = lw.tensors[x[0]]
    numbers = lw.add_constant(Tensor(f"{lw.label(op)}/places", (), tensor.dtype), places.astype(tensor.dtype))
    like = Tensor(f"{lw.label(op)}/there", (), np.dtype(np.bool_))
    return lw.step(op, [x, (numbers, places.shape)], like, frame, lw.windows[x[0]], EQUAL.kind, options=Options())


def _chosen(lw: Lowering, op: Op, there: Value, like: Tensor, yes: Array, no: Array) -> Value:
    operands, frames = [there, *_constants(lw, like, yes, no)], lw.windows[there[0]]
    return lw.step(op, operands, like, there[1], frames, SELECT_V2.kind, options=Options())


def _constants(lw: Lowering, like: Tensor, *values: Array) -> list[Value]:
    return [(lw.add_constant(replace(like, name=""), data), data.shape) for data in values]


def _spread_out(o: Operands) -> Shapes:
    shape, (depth,) = o.shape(0), o.integers(1, count=1)
    axis = o.op.integer("axis", -1)
    require(depth > 0 and -1 <= axis <= len(shape), f"{depth} places on axis {axis} of {shape}")
    require(o.tensor(0).dtype in (np.int32, np.int64), f"places that are {o.tensor(0).dtype}")
    require(o.count(2) == o.count(3) == 1, "a value for what is there and one for what is not")
    axis = len(shape) if axis == -1 else axis
    return ((*shape[:axis], depth, *shape[axis:]),)


def _one_hot(lw: Lowering, op: Op) -> None:
    i, out = op.inputs[0], lw.shape(op.outputs[0])
    stream, depth = lw.stream(op, i), lw.integers(op, 1)[0]
    new = op.integer("axis", -1) % len(out)
    axis = None if stream.axis is None else stream.axis + (new <= stream.axis)
    kept = axes_of_frame(out, axis)
    if new not in kept:
        lw.refuse(op, "puts places along the batch axis")
    frame = tuple(out[a] for a in kept)
    spread = tuple(1 if a == new else out[a] for a in kept)
    places = np.arange(depth).reshape([depth if a == new else 1 for a in kept])
    there = _is_at(lw, op, (stream.value, spread), frame, places)
    like = lw.graph.tensors[op.outputs[0]]
    yes, no = (lw.constant(op, k).reshape(1) for k in (2, 3))
    lw.emit(op, [there, *_constants(lw, like, yes, no)], axis, kind=SELECT_V2.kind, options=Options())


def _embedded(o: Operands) -> Shapes:
    places, table = o.shape(0, rank=1), o.shape(1)
    require(len(table) > 1, f"a table of shape {table}")
    return ((*places, *table[1:]),)


def _embedding(lw: Lowering, op: Op) -> None:
    if op.inputs[0] not in lw.streams:
        lw.refuse(op, "looks up a table that is made from the signal")
    look_up(lw, op, 1)


OPERATIONS = (
    Operation(
        "EMBEDDING_LOOKUP",
        Rule(operands=(2, 2), shapes=_embedded, values=1, scaled=False),
        lower=_embedding,
        table=1,
    ),
    Operation(
        "ONE_HOT",
        Rule(operands=(4, 4), shapes=_spread_out, options={"axis": WHOLE}, values=2, scaled=False),
        lower=_one_hot,
    ),
)
