"""What a network computes of constants, and of inputs without time, which are constants of each stream.

A speaker's embedding or a patient's age is given once per stream. The operations that read nothing else are computed
when the stream is made, and the rest of the graph sees what they give as constants; so every engine, plan file and
board has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tcnstream.compiler.lower import lower
from tcnstream.compiler.operation import folded
from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.lookup import check_rows
from tcnstream.compiler.plan import Plan
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import ABSENT, Array, Graph, Op, Tensor

Compute: TypeAlias = Callable[[Plan, Sequence[Array]], Sequence[Array]]
"""All frames of every output of a plan, (m, *frame_shape), for a whole signal, (n, *frame_shape) per input."""


@dataclass(frozen=True, eq=False)
class _Step:
    """One operation on static values: a plan in which they are one frame, or frames along ``axis``; None: it folds."""

    op: Op
    plan: Plan | None = None
    axis: int | None = None

    def outputs(self, tensors: Sequence[Tensor], known: Mapping[int, Array], compute: Compute) -> list[Array]:
        """What the operation gives, in the file's shapes."""
        table = operations()[self.op.kind].table
        if table is not None and (numbers := self.op.inputs[1 - table]) in known:
            check_rows(self.op, tensors[self.op.inputs[table]], known[numbers])
        shapes = [tensors[o].shape for o in self.op.outputs]
        if self.plan is None:
            operands = [_constant(tensors[i], known.get(i)) for i in self.op.inputs if i != ABSENT]
            fold = operations()[self.op.kind].fold
            assert fold is not None
            made_once = folded(fold, self.op, operands, tensors[self.op.outputs[0]])
            return [y.reshape(shape) for y, shape in zip(made_once, shapes, strict=True)]
        read = [i for i in dict.fromkeys(self.op.inputs) if i in known]
        frames = [known[i] if self.axis is None else np.moveaxis(known[i], self.axis, 0) for i in read]
        signal = [
            np.ascontiguousarray(x).reshape(-1, *self.plan.tensors[i].shape)
            for x, i in zip(frames, self.plan.inputs, strict=True)
        ]
        made = []
        for y, shape, axis in zip(compute(self.plan, signal), shapes, self.plan.output_axes, strict=True):
            if axis is None:
                made.append(y[-1:].reshape(shape))
            else:
                along = (shape[axis], *shape[:axis], *shape[axis + 1 :])
                made.append(np.ascontiguousarray(np.moveaxis(y.reshape(along), 0, axis)))
        return made


@dataclass(frozen=True, eq=False)
class StaticPart:
    """A graph in two: what reads static inputs alone, and the rest.

    ``inputs`` are the static inputs of the file and ``made`` the tensors that the rest reads, both as tensors of the
    graph. ``rest`` has zeros in the place of ``made``.
    """

    inputs: tuple[int, ...]
    made: tuple[int, ...]
    steps: tuple[_Step, ...]
    rest: Graph

    def some_values(self) -> list[Array]:
        """Values for ``inputs`` as good as any, no two alike, to see what they change; zeros for plain integers."""
        rng = np.random.default_rng(0)
        made = []
        for i in self.inputs:
            tensor = self.rest.tensors[i]
            kind, plain = tensor.dtype.kind, tensor.quantization is None
            values = np.zeros(tensor.shape) if kind != "f" and plain else rng.standard_normal(tensor.shape) * 50
            made.append(values.astype(tensor.dtype))
        return made

    def filled(self, values: Sequence[Array], compute: Compute) -> Graph:
        """The rest of the graph for ``values`` of the static inputs, in their dtype."""
        tensors = list(self.rest.tensors)
        known = {i: x.reshape(tensors[i].shape) for i, x in zip(self.inputs, values, strict=True)}
        with np.errstate(all="ignore"):
            for step in self.steps:
                known |= zip(step.op.outputs, step.outputs(tensors, known, compute), strict=True)
        for i in self.made:
            tensors[i] = _constant(tensors[i], known[i])
        return dataclasses.replace(self.rest, tensors=tuple(tensors))


def _constant(tensor: Tensor, data: Array | None) -> Tensor:
    return tensor if data is None else dataclasses.replace(tensor, data=data.reshape(tensor.shape))


def split(graph: Graph, static: Sequence[int]) -> StaticPart:
    """``graph``, checked and normalised, with the inputs ``static`` taken out of it.

    Raises NotStreamableError for an operation on them that no engine has, by name.
    """
    known, steps, after = set(static), [], []
    for op in graph.ops:
        read = [i for i in op.inputs if i != ABSENT and not graph.tensors[i].is_constant]
        if read and known.issuperset(read):
            steps.append(_step(graph, op, read))
            known.update(op.outputs)
        else:
            after.append(op)
    if lost := known.intersection(graph.outputs):
        name = graph.tensors[min(lost)].name
        raise NotStreamableError(f"output `{name}` does not depend on the input signal; remove it")
    made = tuple(sorted(known & {i for op in after for i in op.inputs}))
    tensors = list(graph.tensors)
    for i in made:
        tensors[i] = _constant(tensors[i], np.zeros(tensors[i].shape, tensors[i].dtype))
    left = tuple(i for i in graph.inputs if i not in static)
    rest = dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(after), inputs=left)
    return StaticPart(tuple(static), made, tuple(steps), rest)


def known(graph: Graph, compute: Compute | None) -> Graph:
    """``graph``, checked, with what operations give that read constants alone as constants, as an engine gives it.

    Most are gone by their records' ``fold``; a dense layer of a first state, say, has none.
    """
    if compute is None:
        return graph
    tensors, ops = list(graph.tensors), []
    for op in graph.ops:
        record = operations().get(op.kind)
        if record is None or record.rule is None or not all(i == ABSENT or tensors[i].is_constant for i in op.inputs):
            ops.append(op)
            continue
        i = op.inputs[record.rule.values if len(op.inputs) > record.rule.values else 0]
        values = tensors[i].data
        assert values is not None
        tensors[i] = dataclasses.replace(tensors[i], data=None)
        try:
            step = _step(dataclasses.replace(graph, tensors=tuple(tensors)), op, [i])
            with np.errstate(all="ignore"):
                made = step.outputs(tensors, {i: values}, compute)
        except NotStreamableError:
            ops.append(op)
        else:
            for o, data in zip(op.outputs, made, strict=True):
                tensors[o] = _constant(tensors[o], data)
        tensors[i] = _constant(tensors[i], values)
    return dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _step(graph: Graph, op: Op, read: Sequence[int]) -> _Step:
    """How one operation on static values is computed: as a frame; else as frames along the first axis that will do."""
    alone = dataclasses.replace(graph, ops=(op,), inputs=tuple(dict.fromkeys(read)), outputs=op.outputs)
    rank = max(len(graph.tensors[i].shape) for i in read)
    refusal = None
    for axis in (None, *range(1, rank)):
        try:
            return _Step(op, lower(alone, [axis] * len(alone.inputs)), axis)
        except NotStreamableError as e:
            refusal = refusal or e
    record = operations().get(op.kind)
    if record is not None and record.fold is not None and not record.folds_plain_numbers:
        return _Step(op)
    assert refusal is not None
    raise refusal
