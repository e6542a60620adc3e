"""Graph -> Graph: one entry of a batch. A file of a batch of 4 is four streams side by side, if nothing mixes them.

The batch is followed from the inputs through every operation: where it lies in each tensor, alone on its axis or as the
outer part of one that it shares with others (frames of all entries side by side). What reads along that axis mixes the
entries and is refused by name; all else holds for each entry alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Never, TypeAlias

import numpy as np

from tcnstream.compiler.operations import operations
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import ABSENT, Graph, Op, Shape, Tensor
from tcnstream.tflite.shapes import strided_slice
from tcnstream.tflite.validate import broadcast, same

Follow: TypeAlias = Callable[["_Batch", Op, int], int | None]
"""The axis of the outputs in which the batch lies, for an operation with it on an axis of its values; None: mixed."""


def batch_of(inputs: Sequence[Tensor], axes: Sequence[int | None]) -> int:
    """The entries of the batch that inputs have whose time is on ``axes``."""
    sizes = {tensor.shape[0] for tensor, axis in zip(inputs, axes, strict=True) if axis and len(tensor.shape) > 2}
    return max(sizes, default=1)


def first_of_batch(graph: Graph, batch: int) -> Graph:
    """The graph of the first of ``batch`` entries; NotStreamableError, by name, for what mixes them."""
    return _Batch(graph, batch).taken()


class _Batch:
    """A graph whose batch is being followed: ``axis`` says where it lies, in every tensor that has it."""

    def __init__(self, graph: Graph, size: int) -> None:
        self.graph, self.size = graph, size
        self.tensors = list(graph.tensors)
        self.axis: dict[int, int] = {}

    def taken(self) -> Graph:
        for i in self.graph.inputs:
            shape = self.shape(i)
            if len(shape) > 2 and shape[0] == self.size:
                self._put(i, 0)
        for op in self.graph.ops:
            if any(i in self.axis for i in op.inputs):
                self._follow(op)
        return dataclasses.replace(self.graph, tensors=tuple(self.tensors))

    def shape(self, i: int) -> Shape:
        """As the file states it."""
        return self.graph.tensors[i].shape

    def integers(self, op: Op, position: int) -> list[int]:
        data = self.graph.tensors[op.inputs[position]].data
        if data is None:
            self.refuse(op)
        return [int(n) for n in data.reshape(-1)]

    def refuse(self, op: Op) -> Never:
        name = self.graph.tensors[op.outputs[0]].name
        raise NotStreamableError(
            f"`{op.kind}` (op {op.index}, `{name}`) mixes the {self.size} entries of the batch, so that none of them is"
            " a stream by itself. Convert the model with a batch of 1.",
            op.index,
        )

    def _put(self, i: int, axis: int) -> None:
        self.axis[i] = axis
        shape = list(self.tensors[i].shape)
        shape[axis] //= self.size
        self.tensors[i] = dataclasses.replace(self.tensors[i], shape=tuple(shape))

    def _follow(self, op: Op) -> None:
        places = {self.axis[i] + self._rank(op) - len(self.shape(i)) for i in op.inputs if i in self.axis}
        if len(places) > 1:
            self.refuse(op)
        aligned = places.pop()
        first = next(i for i in op.inputs if i in self.axis)
        axis = _rule(op)(self, op, aligned if _spreads(op) else self.axis[first])
        for o in op.outputs:
            shape = self.shape(o)
            if axis is None or not 0 <= axis < len(shape) or shape[axis] % self.size:
                self.refuse(op)
            self._put(o, axis)
        for i in op.inputs:
            if i != ABSENT and i not in self.axis and _spreads(op):
                self._cut_constant(op, i, aligned)

    def _rank(self, op: Op) -> int:
        return max(len(self.shape(i)) for i in op.inputs if i in self.axis or (_spreads(op) and i != ABSENT))

    def _cut_constant(self, op: Op, i: int, aligned: int) -> None:
        """The first entry of a constant that has one for each of the batch."""
        tensor = self.tensors[i]
        axis = aligned - (self._rank(op) - len(tensor.shape))
        if axis < 0 or tensor.data is None or tensor.shape[axis] == 1:
            return
        data = np.ascontiguousarray(np.split(tensor.data, self.size, axis)[0])
        made: Tensor = dataclasses.replace(tensor, data=data, shape=data.shape)
        self.tensors[i] = made


def _rule(op: Op) -> Follow:
    record = operations().get(op.kind)
    if record is not None and record.reshapes:
        return _reshaped
    if record is not None and (record.slides_kernel or op.kind in _OVER_PLACES):
        return lambda batch, op, axis: axis if axis == 0 else None
    if op.kind in _RULES:
        return _RULES[op.kind]
    if record is not None and record.rule is not None and record.rule.shapes in (same, broadcast):
        return lambda batch, op, axis: axis
    return lambda batch, op, axis: None


def _spreads(op: Op) -> bool:
    """Whether operands spread by broadcasting, or lie side by side."""
    record = operations().get(op.kind)
    return op.kind == "CONCATENATION" or (
        record is not None and record.rule is not None and record.rule.shapes is broadcast
    )


def _reshaped(batch: _Batch, op: Op, axis: int) -> int | None:
    shape, out = batch.shape(op.inputs[0]), batch.shape(op.outputs[0])
    before = math.prod(shape[:axis])
    return next((a for a, n in enumerate(out) if math.prod(out[:a]) == before and n > 1), None)


def _permuted(batch: _Batch, op: Op, axis: int) -> int | None:
    return batch.integers(op, 1).index(axis)


def _along_last(batch: _Batch, op: Op, axis: int) -> int | None:
    return axis if axis < len(batch.shape(op.outputs[0])) - 1 else None


def _dense(batch: _Batch, op: Op, axis: int) -> int | None:
    shape, out = batch.shape(op.inputs[0]), batch.shape(op.outputs[0])
    if axis == len(shape) - 1:
        return None
    return axis if len(out) == len(shape) else _reshaped(batch, op, axis)


def _product(batch: _Batch, op: Op, axis: int) -> int | None:
    if op.inputs[1] in batch.axis or op.options.get("adj_x") or axis >= len(batch.shape(op.inputs[0])) - 1:
        return None
    return axis + len(batch.shape(op.outputs[0])) - len(batch.shape(op.inputs[0]))


def _reduced(batch: _Batch, op: Op, axis: int) -> int | None:
    shape, out = batch.shape(op.inputs[0]), batch.shape(op.outputs[0])
    gone = {a % len(shape) for a in batch.integers(op, 1)}
    if axis in gone:
        return None
    return axis if len(out) == len(shape) else axis - sum(a < axis for a in gone)


def _padded(batch: _Batch, op: Op, axis: int) -> int | None:
    return axis if batch.integers(op, 1)[2 * axis : 2 * axis + 2] == [0, 0] else None


def _cut(batch: _Batch, op: Op, axis: int) -> int | None:
    return axis if batch.shape(op.inputs[0])[axis] == batch.shape(op.outputs[0])[axis] else None


def _strided(batch: _Batch, op: Op, axis: int) -> int | None:
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


def _other_axis(batch: _Batch, op: Op, axis: int) -> int | None:
    """An operation along one axis that its options name."""
    return None if op.integer("axis", 0) % len(batch.shape(op.outputs[0])) == axis else axis


def _stacked(batch: _Batch, op: Op, axis: int) -> int | None:
    return axis + (op.integer("axis", 0) % len(batch.shape(op.outputs[0])) <= axis)


def _unstacked(batch: _Batch, op: Op, axis: int) -> int | None:
    along = op.integer("axis", 0) % len(batch.shape(op.inputs[0]))
    return None if along == axis else axis - (along < axis)


def _split(position: int) -> Follow:
    def follow(batch: _Batch, op: Op, axis: int) -> int | None:
        along = batch.integers(op, position)[0] % len(batch.shape(op.outputs[0]))
        return None if along == axis else axis

    return follow


def _gathered(batch: _Batch, op: Op, axis: int) -> int | None:
    shape, indices = batch.shape(op.inputs[0]), batch.shape(op.inputs[1])
    along = op.integer("axis", 0) % len(shape)
    if along == axis or op.integer("batch_dims", 0) != 0:
        return None
    return axis if axis < along else axis + len(indices) - 1


def _turned(batch: _Batch, op: Op, axis: int) -> int | None:
    return None if axis in {a % len(batch.shape(op.inputs[0])) for a in batch.integers(op, 1)} else axis


def _tiled(batch: _Batch, op: Op, axis: int) -> int | None:
    shape, out = batch.shape(op.inputs[0]), batch.shape(op.outputs[0])
    moved = axis + len(out) - len(shape)
    return moved if out[moved] == shape[axis] else None


_OVER_PLACES = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR")

_RULES: dict[str, Follow] = {
    "TRANSPOSE": _permuted,
    "SOFTMAX": _along_last,
    "LOG_SOFTMAX": _along_last,
    "L2_NORMALIZATION": _along_last,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _product,
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "ARG_MAX", "ARG_MIN"), _reduced),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _padded),
    "SLICE": _cut,
    "STRIDED_SLICE": _strided,
    "CONCATENATION": _other_axis,
    "PACK": _stacked,
    "UNPACK": _unstacked,
    "SPLIT": _split(0),
    "SPLIT_V": _split(2),
    "GATHER": _gathered,
    "REVERSE_V2": _turned,
    "TILE": _tiled,
    "BROADCAST_TO": _tiled,
    "DEQUANTIZE": lambda batch, op, axis: axis,
}
