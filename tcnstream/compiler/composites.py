"""Graph -> Graph: what litert-torch calls by a name and says by a graph of its own becomes that graph's operations.

A STABLEHLO_COMPOSITE names a layer (a pool, a norm, an attention) that some delegate may know as a whole. Its
decomposition is what LiteRT's own kernels run.
"""

from __future__ import annotations

import dataclasses

from tcnstream.errors import ModelError
from tcnstream.tflite.graph import ABSENT, Graph, Op

COMPOSITE = "STABLEHLO_COMPOSITE"


def decomposed(graph: Graph) -> Graph:
    """The graph without composites; those that stand inside of others are taken apart, too."""
    while any(op.kind == COMPOSITE for op in graph.ops):
        tensors, ops = list(graph.tensors), list[Op]()
        for op in graph.ops:
            if op.kind != COMPOSITE:
                ops.append(op)
                continue
            inner = _decomposition(graph, op)
            place = {ABSENT: ABSENT, **dict(zip(inner.inputs, op.inputs, strict=True))}
            place |= zip(inner.outputs, op.outputs, strict=True)
            for i, tensor in enumerate(inner.tensors):
                if i not in place:
                    place[i] = len(tensors)
                    tensors.append(tensor)
            for step in inner.ops:
                ends = (step.inputs, step.outputs, step.intermediates)
                inputs, outputs, between = (tuple(place[i] for i in numbers) for numbers in ends)
                ops.append(Op(step.kind, inputs, outputs, step.options, op.index, between))
        graph = dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(ops))
    return graph


def _decomposition(graph: Graph, op: Op) -> Graph:
    number = op.integer("decomposition_subgraph_index", 0)
    name = str(op.options.get("name", ""))
    if not 0 <= number < len(graph.siblings):
        raise ModelError(f"`{op.kind}` (op {op.index}, `{name}`) calls graph {number} of {len(graph.siblings)}")
    inner = graph.siblings[number]
    ends = (len(inner.inputs), len(inner.outputs)), (len(op.inputs), len(op.outputs))
    handed_on = set(inner.outputs) & {*inner.inputs, *(i for i, t in enumerate(inner.tensors) if t.is_constant)}
    if ends[0] != ends[1] or handed_on or len(set(inner.outputs)) < len(inner.outputs):
        raise ModelError(
            f"`{op.kind}` (op {op.index}, `{name}`) has other ends than the graph that it calls; convert the model"
            " again"
        )
    return inner
