"""Inputs without time: what a network computes of them alone is a constant of each stream.

A speaker's embedding or a patient's age is given once per stream. The operations that read nothing else are computed
when the stream is made, and the rest of the graph sees what they give as constants; so every engine, plan file and
board has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tcnstream.compiler.lower import lower
from tcnstream.compiler.operations import operations
from tcnstream.compiler.plan import Plan
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import ABSENT, Array, Graph, Op

Compute: TypeAlias = Callable[[Plan, Sequence[Array]], Sequence[Array]]
"""What an engine gives for one frame of each input of a plan."""


@dataclass(frozen=True, eq=False)
class StaticPart:
    """A graph in two: what reads static inputs alone, and the rest.

    ``inputs`` are the static inputs of the file and ``made`` the tensors that the rest reads, both as tensors of the
    graph. ``plan`` computes ``made`` from ``inputs``, one frame of each. ``rest`` has zeros in their place.
    """

    inputs: tuple[int, ...]
    made: tuple[int, ...]
    plan: Plan
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

    def filled(self, values: Sequence[Array]) -> Graph:
        """The rest of the graph with ``values``, an array for each of ``made``, as constants."""
        tensors = list(self.rest.tensors)
        for i, data in zip(self.made, values, strict=True):
            tensors[i] = dataclasses.replace(tensors[i], data=data.reshape(tensors[i].shape))
        return dataclasses.replace(self.rest, tensors=tuple(tensors))


def split(graph: Graph, static: Sequence[int]) -> StaticPart:
    """``graph``, checked and normalised, with the inputs ``static`` taken out of it.

    Raises NotStreamableError for an operation on them that no engine has, by name.
    """
    known, before, after = set(static), [], []
    for op in graph.ops:
        read = [i for i in op.inputs if i != ABSENT and not graph.tensors[i].is_constant]
        if read and known.issuperset(read):
            known.update(op.outputs)
            before.append(op)
        else:
            after.append(op)
    read_later = {i for op in after for i in op.inputs} | set(graph.outputs)
    made = tuple(sorted(known & read_later))
    if lost := known.intersection(graph.outputs):
        name = graph.tensors[min(lost)].name
        raise NotStreamableError(f"output `{name}` does not depend on the input signal; remove it")
    for op in before:
        _check_batch(graph, op, known)
    inputs = tuple(static)
    plan = lower(dataclasses.replace(graph, ops=tuple(before), inputs=inputs, outputs=made), [None] * len(inputs))
    tensors = list(graph.tensors)
    for i in made:
        tensors[i] = dataclasses.replace(tensors[i], data=np.zeros(tensors[i].shape, tensors[i].dtype))
    rest = tuple(i for i in graph.inputs if i not in static)
    return StaticPart(inputs, made, plan, Graph(tuple(tensors), tuple(after), rest, graph.outputs, graph.name))


def _check_batch(graph: Graph, op: Op, known: set[int]) -> None:
    """A frame is the file's shape without its batch, which must be there."""
    record = operations().get(op.kind)
    for i in op.inputs if record is None or not record.reshapes else ():
        shape = graph.tensors[i].shape if i in known else ()
        if shape[:1] not in ((), (1,)):
            raise NotStreamableError(
                f"`{op.kind}` (op {op.index}, `{graph.tensors[op.outputs[0]].name}`) reads `{graph.tensors[i].name}` of"
                f" shape {shape}, which has no time and no batch of 1; convert the model with a batch axis of 1 there",
                op.index,
            )
