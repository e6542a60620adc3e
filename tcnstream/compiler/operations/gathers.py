"""GATHER and GATHER_ND: values, channels or frames by their numbers, and rows of a table by the signal's values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcnstream.compiler import batch_rules
from tcnstream.compiler.constants import data_of
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations.lookup import look_up
from tcnstream.compiler.operations.reshape import side_by_side_in_time
from tcnstream.compiler.picks import pick, settle
from tcnstream.compiler.plan import AxisOptions
from tcnstream.compiler.selection import framed
from tcnstream.tflite.graph import Array, Op, Shape, Tensor
from tcnstream.tflite.validate import WHOLE, Operands, Rule, Shapes, axis_of, require


def _gathered(o: Operands) -> Shapes:
    shape, indices = o.shape(0), o.known_integers(1)
    axis = axis_of(shape, o.op.integer("axis", 0))
    if o.op.integer("batch_dims", 0) and not o.tensor(1).is_constant:
        return None
    require(o.tensor(1).dtype.kind in "iu", f"indices that are {o.tensor(1).dtype}")
    require(all(0 <= i < shape[axis] for i in indices), f"indices outside of {shape[axis]} values")
    return ((*shape[:axis], *o.shape(1), *shape[axis + 1 :]),)


def _picked(o: Operands) -> Shapes:
    shape, places = o.shape(0), o.shape(1)
    require(len(places) > 0 and places[-1] <= len(shape), f"places {places} in {shape}")
    index = o.known_integers(1)
    require(all(0 <= k < n for k, n in zip(index, itertools.cycle(shape[: places[-1]]))), f"places outside of {shape}")
    return ((*places[:-1], *shape[places[-1] :]),)


def _gather(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    if i not in lw.streams:
        settle(lw, op)
        return look_up(lw, op)
    if op.integer("batch_dims", 0) != 0:
        lw.refuse(op, "gathers from each of several batches")
    axis = op.integer("axis", 0) % len(lw.shape(i))
    indices = lw.constant(op, 1)
    if axis == lw.streams[i].axis:
        return _gather_frames(lw, op, i, indices.astype(np.int64))
    settle(lw, op)
    time = lw.streams[i].axis
    out_axis = time - 1 if time is not None and indices.ndim == 0 and axis < time else time
    if indices.ndim < 2 and lw.shape(i)[axis] == indices.size == 1:
        return lw.alias(op, i, out_axis)
    frame_axis = lw.frame_axis(op, i, axis, "gathers")
    if indices.ndim > 1:
        lw.refuse(op, "gathers with indices of more than one axis")
    index = lw.add_constant(lw.graph.tensors[op.inputs[1]], indices.reshape(-1))
    return lw.emit(op, [lw.operand(i), (index, (indices.size,))], out_axis, options=AxisOptions(frame_axis))


def _gather_nd(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    if i not in lw.streams:
        lw.refuse(op, "looks up a table by the signal's values")
    time, shape = lw.streams[i].axis, lw.shape(i)
    index = None if time is None else _along_one_axis(lw.constant(op, 1).astype(np.int64), shape, time)
    if index is None:
        lw.refuse(op, "gathers values from places on several axes")
    return _gather_frames(lw, op, i, index)


def _along_one_axis(places: npt.NDArray[np.int64], shape: Shape, axis: int) -> npt.NDArray[np.int64] | None:
    """The numbers along ``axis`` at which ``places`` (..., depth) gathers, if all else stays as it is.

    PyTorch's ``unfold`` is written so: a place on every axis, of which all but one count on.
    """
    depth, count = places.shape[-1], places.ndim - places.shape[-1]
    if axis >= depth or count < 0:
        return None
    counting = (0,) * axis, (0,) * (depth - 1 - axis)
    index = places[(*counting[0], *(slice(None),) * count, *counting[1], axis)]
    made = (*shape[:axis], *index.shape, *shape[axis + 1 : depth])
    grid = np.indices(made, np.int64)
    expected = [grid[a] for a in range(axis)]
    expected.append(np.broadcast_to(index.reshape(index.shape + (1,) * (depth - 1 - axis)), made))
    expected += [grid[a + count - 1] for a in range(axis + 1, depth)]
    return index if np.array_equal(np.stack(expected, -1), places) else None


def _gather_frames(lw: Lowering, op: Op, i: int, index: npt.NDArray[np.int64]) -> None:
    """Padding, repetition and framing along time, spelt as the frames that each output frame is."""
    if index.ndim < 2:
        stream = lw.streams[i]
        pick(lw, op, op.outputs[0], stream, np.atleast_1d(index), stream.axis if index.ndim else None)
        return None
    settle(lw, op)
    time, shape = lw.streams[i].axis, lw.shape(i)
    assert time is not None
    if index.ndim == 2 and (window := framed(index, shape[time])):
        return side_by_side_in_time(lw, op, i, window, time, len(index))
    lw.refuse(op, "gathers frames of the window in an order that goes on in no stream")


def _fold_gather(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Array:
    return np.asarray(np.take(data_of(inputs[0]), data_of(inputs[1]).astype(np.int64), op.integer("axis", 0)))


GATHER = Operation(
    "GATHER",
    Rule.of_moves((2, 2), _gathered, options={"axis": WHOLE, "batch_dims": WHOLE}),
    options=AxisOptions,
    lower=_gather,
    fold=_fold_gather,
    types=("float32", "int8", "int16"),
    batch=batch_rules.gathered,
    takes_picked=True,
    table=0,
)


OPERATIONS = (
    GATHER,
    Operation(
        "GATHER_ND",
        Rule.of_moves((2, 2), _picked),
        lower=_gather_nd,
        takes_picked=True,
        fold=lambda op, ins, out: data_of(ins[0])[tuple(np.moveaxis(data_of(ins[1]), -1, 0))],
    ),
)
