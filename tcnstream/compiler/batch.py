"""Graph -> Graph: one entry of a batch. A file of a batch of 4 is four streams side by side, if nothing mixes them.

The batch is followed from the inputs through every operation: where it lies in each tensor, alone on its axis or as the
outer part of one that it shares with others (frames of all entries side by side). Each record says where it goes
(``batch_rules.py``). What reads along that axis mixes the entries and is refused by name; all else holds for each entry
alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Never

import numpy as np

from tcnstream.compiler.batch_rules import Follow, kept, mixed, side_by_side
from tcnstream.compiler.operations import operations
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import ABSENT, Graph, Op, Shape, Tensor
from tcnstream.tflite.validate import broadcast, same


def batch_of(inputs: Sequence[Tensor], axes: Sequence[int | None]) -> int:
    """The entries of the batch that inputs have whose time is on ``axes``."""
    sizes = {tensor.shape[0] for tensor, axis in zip(inputs, axes, strict=True) if axis and len(tensor.shape) > 2}
    return max(sizes, default=1)


def first_of_batch(graph: Graph, batch: int) -> Graph:
    """The graph of the first of ``batch`` entries; NotStreamableError, by name, for what mixes them."""
    return _Batch(graph, batch).taken()


def batch_axes(graph: Graph, batch: int) -> list[int | None]:
    """Where the batch lies in each output, whose first entry is the outer part of that axis; None: it has none."""
    followed = _Batch(graph, batch)
    followed.taken()
    return [followed.axis.get(o) for o in graph.outputs]


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
    if record is None:
        return mixed
    if record.batch is not None:
        return record.batch
    return kept if record.rule is not None and record.rule.shapes in (same, broadcast) else mixed


def _spreads(op: Op) -> bool:
    """Whether operands spread by broadcasting, or lie side by side."""
    record = operations().get(op.kind)
    if record is None:
        return False
    return record.batch is side_by_side or (record.rule is not None and record.rule.shapes is broadcast)
