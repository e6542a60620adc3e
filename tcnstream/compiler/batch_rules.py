"""Where a batch lies behind an operation: functions that the records of ``operations/`` name.

Each gets the axis on which the batch lies in the operation's values, and gives its axis in the outputs; None where the
operation mixes the entries. ``batch.py`` follows a batch by them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from tcnstream.tflite.graph import Op, Shape
from tcnstream.tflite.shapes import strided_slice


class Batch(Protocol):
    """What a rule may ask of the graph whose batch is being followed."""

    @property
    def axis(self) -> Mapping[int, int]:
        """Where the batch lies, by tensor; tensors without it have no entry."""

    def shape(self, i: int) -> Shape:
        """Of tensor ``i``, as the file states it."""

    def integers(self, op: Op, position: int) -> list[int]:
        """The constant operand ``position``; NotStreamableError if it is none."""


Follow: TypeAlias = Callable[[Batch, Op, int], int | None]
"""The axis of the outputs in which the batch lies, for an operation with it on an axis of its values; None: mixed."""


def kept(batch: Batch, op: Op, axis: int) -> int | None:
    return axis


def mixed(batch: Batch, op: Op, axis: int) -> int | None:
    return None


def of_images(batch: Batch, op: Op, axis: int) -> int | None:
    """Images one by one: their first axis counts them, and the operation goes over the others."""
    return axis if axis == 0 else None


def reshaped(batch: Batch, op: Op, axis: int) -> int | None:
    shape, out = batch.shape(op.inputs[0]), batch.shape(op.outputs[0])
    before = math.prod(shape[:axis])
    return next((a for a, n in enumerate(out) if math.prod(out[:a]) == before and n > 1), None)


def permuted(batch: Batch, op: Op, axis: int) -> int | None:
    return batch.integers(op, 1).index(axis)


def along_last(batch: Batch, op: Op, axis: int) -> int | None:
    return axis if axis < len(batch.shape(op.outputs[0])) - 1 else None


def dense(batch: Batch, op: Op, axis: int) -> int | None:
    shape, out = batch.shape(op.inputs[0]), batch.shape(op.outputs[0])
    if axis == len(shape) - 1:
        return None
    return axis if len(out) == len(shape) else reshaped(batch, op, axis)


def product(batch: Batch, op: Op, axis: int) -> int | None:
    """Of a signal with a constant on either side: what is summed over mixes, rows and columns stay apart."""
    left, right = (i in batch.axis for i in op.inputs)
    shape, rank = batch.shape(op.inputs[0 if left else 1]), len(batch.shape(op.outputs[0]))
    turned = op.options.get("adj_x") if left else not op.options.get("adj_y")
    if (left and right) or axis == len(shape) - (2 if turned else 1):
        return None
    return rank - (2 if left else 1) if axis >= len(shape) - 2 else axis + rank - len(shape)


def reduced(batch: Batch, op: Op, axis: int) -> int | None:
    shape, out = batch.shape(op.inputs[0]), batch.shape(op.outputs[0])
    gone = {a % len(shape) for a in batch.integers(op, 1)}
    if axis in gone:
        return None
    return axis if len(out) == len(shape) else axis - sum(a < axis for a in gone)


def padded(batch: Batch, op: Op, axis: int) -> int | None:
    return axis if batch.integers(op, 1)[2 * axis : 2 * axis + 2] == [0, 0] else None


def cut(batch: Batch, op: Op, axis: int) -> int | None:
    return axis if batch.shape(op.inputs[0])[axis] == batch.shape(op.outputs[0])[axis] else None


def strided(batch: Batch, op: Op, axis: int) -> int | None:
    shape = batch.shape(op.inputs[0])
    index = strided_slice(op, shape, *(batch.integers(op, k) for k in (1, 2, 3)))
    old = new = 0
    for entry in index:
        if entry is not None and old == axis:
            whole = isinstance(entry, slice) and entry.indices(shape[axis]) == (0, shape[axis], 1)
            return new if whole else None
        new += not isinstance(entry, int)
        old += entry is not None
    return new + axis - old


def side_by_side(batch: Batch, op: Op, axis: int) -> int | None:
    """Operands one behind the other on the axis that the options name. All of them have the batch on one axis."""
    return None if op.integer("axis", 0) % len(batch.shape(op.outputs[0])) == axis else axis


def stacked(batch: Batch, op: Op, axis: int) -> int | None:
    return axis + (op.integer("axis", 0) % len(batch.shape(op.outputs[0])) <= axis)


def unstacked(batch: Batch, op: Op, axis: int) -> int | None:
    along = op.integer("axis", 0) % len(batch.shape(op.inputs[0]))
    return None if along == axis else axis - (along < axis)


def split(position: int) -> Follow:
    """Pieces along the axis that operand ``position`` names."""

    def follow(batch: Batch, op: Op, axis: int) -> int | None:
        along = batch.integers(op, position)[0] % len(batch.shape(op.outputs[0]))
        return None if along == axis else axis

    return follow


def gathered(batch: Batch, op: Op, axis: int) -> int | None:
    shape, indices = batch.shape(op.inputs[0]), batch.shape(op.inputs[1])
    along = op.integer("axis", 0) % len(shape)
    if along == axis or op.integer("batch_dims", 0) != 0:
        return None
    return axis if axis < along else axis + len(indices) - 1


def turned(batch: Batch, op: Op, axis: int) -> int | None:
    return None if axis in {a % len(batch.shape(op.inputs[0])) for a in batch.integers(op, 1)} else axis


def tiled(batch: Batch, op: Op, axis: int) -> int | None:
    shape, out = batch.shape(op.inputs[0]), batch.shape(op.outputs[0])
    moved = axis + len(out) - len(shape)
    return moved if out[moved] == shape[axis] else None


def sequences(batch: Batch, op: Op, axis: int) -> int | None:
    """Sequences one by one, (batch, time, values) or (time, batch, values): neither time nor values are a batch."""
    rank = len(batch.shape(op.inputs[0]))
    time = 0 if rank == 2 or op.options.get("time_major") else 1
    return None if axis in (time, rank - 1) else axis


def beside_two(batch: Batch, op: Op, axis: int) -> int | None:
    """What reads the last two axes together."""
    return axis if axis < len(batch.shape(op.inputs[0])) - 2 else None
