"""Graph -> Graph: time that a reshape merges with channels, for a statistic over both, stays an axis of its own.

onnx2tf writes PyTorch's GroupNorm so: (1, C, T) becomes (1, groups, C / groups * T), is normalised along the last axis,
and becomes (1, C, T) again. Between the two reshapes each tensor is given the finer shape of which both are made; that
holds the same values in the same order, so that the reshapes at the ends need nothing else.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.layout import TRANSPOSE
from tcnstream.compiler.operations.statistics import StatisticOptions
from tcnstream.tflite.graph import ABSENT, Array, Graph, Op, Shape, Tensor
from tcnstream.tflite.validate import broadcast, follows_open_lengths, same

Parts: TypeAlias = tuple[Shape, ...]
"""For each axis of a tensor the axes that it is made of."""


def unmerge(graph: Graph) -> Graph:
    """The graph in which no statistic is taken over an axis that a reshape made of several."""
    if follows_open_lengths(graph):
        return graph
    for op in graph.ops:
        if not _is_reshape(op):
            continue
        parts = _parts(graph.tensors[op.inputs[0]].shape, graph.tensors[op.outputs[0]].shape)
        if parts is not None and any(len(axis) > 1 for axis in parts):
            finer = _Finer(graph, op, parts).graph()
            if finer is not None:
                return unmerge(finer)
    return graph


def _record(op: Op) -> Operation | None:
    return operations().get(op.kind)


def _is_reshape(op: Op) -> bool:
    record = _record(op)
    return record is not None and record.reshapes


def _parts(before: Shape, after: Shape) -> Parts | None:
    """The axes of ``after`` as those of the coarsest shape that refines both; None if there is none."""
    cuts = sorted({math.prod(shape[k:]) for shape in (before, after) for k in range(len(shape) + 1)}, reverse=True)
    if any(a % b for a, b in itertools.pairwise(cuts)):
        return None
    parts = []
    for k, size in enumerate(after):
        behind = math.prod(after[k + 1 :])
        inside = [c for c in cuts if behind <= c <= behind * size]
        parts.append(tuple(a // b for a, b in itertools.pairwise(inside)) or (1,))
    return tuple(parts)


class _Finer:
    """The tensors behind a reshape that have the finer shape, until reshapes end it; ``parts`` has each of them."""

    def __init__(self, graph: Graph, reshape: Op, parts: Parts) -> None:
        self.tensors, self.source = list(graph.tensors), graph
        self.parts: dict[int, Parts] = {reshape.outputs[0]: parts}
        self.reshape = reshape

    def graph(self) -> Graph | None:
        """The graph with them; None where an operation cannot be said so, or none is a statistic over several."""
        ops, reduces = [], False
        for op in self.source.ops:
            if op is self.reshape:
                ops.append(dataclasses.replace(op, inputs=op.inputs[:1], options={}))
                continue
            if not any(i in self.parts for i in op.inputs):
                ops.append(op)
                continue
            if _is_reshape(op):
                ops.append(dataclasses.replace(op, inputs=op.inputs[:1]))
                continue
            made = self.said(op)
            if made is None:
                return None
            reduces |= self.is_over_several(op)
            ops.append(made)
        if not reduces or any(o in self.parts for o in self.source.outputs):
            return None
        for i, parts in self.parts.items():
            shape = tuple(n for axis in parts for n in axis)
            self.tensors[i] = dataclasses.replace(self.tensors[i], shape=shape)
        return dataclasses.replace(self.source, tensors=tuple(self.tensors), ops=tuple(ops))

    def is_over_several(self, op: Op) -> bool:
        record, parts = _record(op), self.parts.get(op.inputs[0])
        if record is None or record.options is not StatisticOptions or parts is None:
            return False
        return any(len(parts[axis % len(parts)]) > 1 for axis in self.integers(op))

    def said(self, op: Op) -> Op | None:
        """``op`` over the finer shapes; None if it cannot be."""
        record = _record(op)
        if record is None or record.rule is None or record.lower is None or len(op.outputs) != 1:
            return None
        if op.kind == TRANSPOSE.kind:
            return self.transposed(op)
        if record.options is StatisticOptions:
            return self.reduced(op)
        if record.rule.shapes is broadcast or (
            record.rule.shapes is same and record.batch is not batch_rules.along_last
        ):
            return self.joined(op)
        return None

    def integers(self, op: Op) -> list[int]:
        data = self.source.tensors[op.inputs[1]].data
        return [] if data is None else [int(n) for n in data.reshape(-1)]

    def constant(self, like: int, data: Array) -> int:
        self.tensors.append(dataclasses.replace(self.source.tensors[like], shape=data.shape, data=data))
        return len(self.tensors) - 1

    def spans(self, parts: Parts) -> list[range]:
        """For each axis the numbers of those that it is made of."""
        starts = np.cumsum([0, *map(len, parts)]).tolist()
        return [range(a, b) for a, b in itertools.pairwise(starts)]

    def transposed(self, op: Op) -> Op | None:
        parts, perm = self.parts.get(op.inputs[0]), self.integers(op)
        if parts is None or not perm:
            return None
        spans = self.spans(parts)
        order = np.array([k for axis in perm for k in spans[axis]], np.int32)
        self.parts[op.outputs[0]] = tuple(parts[axis] for axis in perm)
        return dataclasses.replace(op, inputs=(op.inputs[0], self.constant(op.inputs[1], order)))

    def reduced(self, op: Op) -> Op | None:
        parts = self.parts.get(op.inputs[0])
        if parts is None or self.source.tensors[op.inputs[1]].data is None:
            return None
        axes = sorted({axis % len(parts) for axis in self.integers(op)})
        spans = self.spans(parts)
        finer = np.array([k for axis in axes for k in spans[axis]], np.int32)
        ones = tuple((1,) * len(axis) if k in axes else axis for k, axis in enumerate(parts))
        kept = op.options.get("keep_dims")
        self.parts[op.outputs[0]] = ones if kept else tuple(axis for k, axis in enumerate(parts) if k not in axes)
        return dataclasses.replace(op, inputs=(op.inputs[0], self.constant(op.inputs[1], finer)))

    def joined(self, op: Op) -> Op | None:
        rank = max(len(self.source.tensors[i].shape) for i in op.inputs if i != ABSENT)
        streamed = [self.parts[i] for i in op.inputs if i in self.parts]
        whole: Sequence[Shape] = max(streamed, key=lambda parts: (len(parts), sum(map(math.prod, parts))))
        if len(whole) != rank or any(not _spreads(parts, whole) for parts in streamed):
            return None
        inputs = []
        for i in op.inputs:
            if i in self.parts or i == ABSENT:
                inputs.append(i)
                continue
            finer = _finer_constant(self.source.tensors[i], whole)
            if finer is None:
                return None
            inputs.append(self.constant(i, finer))
        self.parts[op.outputs[0]] = tuple(whole)
        return dataclasses.replace(op, inputs=tuple(inputs))


def _spreads(parts: Parts, whole: Sequence[Shape]) -> bool:
    """Whether a tensor of these axes spreads to the whole, axis by axis."""
    aligned = whole[len(whole) - len(parts) :]
    return all(
        axis == other or (set(axis) == {1} and len(axis) == len(other))
        for axis, other in zip(parts, aligned, strict=True)
    )


def _finer_constant(tensor: Tensor, whole: Sequence[Shape]) -> Array | None:
    """A constant that spreads over axes made of ``whole``, with as many axes."""
    if tensor.data is None:
        return None
    shape: list[int] = []
    for size, axis in zip(tensor.shape, whole[len(whole) - len(tensor.shape) :], strict=True):
        if size == 1:
            shape += [1] * len(axis)
        elif size == math.prod(axis):
            shape += axis
        else:
            return None
    return tensor.data.reshape(shape)
