"""Two .tflite files as one, the first feeding the second: a front-end in float32 before an integer network, say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tcnstream.errors import ModelError
from tcnstream.tflite.graph import Graph, Op
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.writer import write_model


def chain(first: bytes, second: bytes) -> bytes:
    """The .tflite file that runs ``second`` on the output of ``first``.

    Each has one input and one output. Where the output is float32 and the input that it feeds quantized, a QUANTIZE
    stands between them. Raises ModelError if shape or type do not fit.
    """
    before, after = (_only_graph(content) for content in (first, second))
    offset = len(before.tensors)
    source, target = before.tensors[before.outputs[0]], after.tensors[after.inputs[0]]
    quantizes = source.dtype == np.float32 and target.quantization is not None
    if source.shape != target.shape or not (source.dtype == target.dtype or quantizes):
        raise ModelError(
            f"chain: the first model gives {source.dtype} {source.shape} and the second takes {target.dtype} "
            f"{target.shape}: convert them for windows of the same length"
        )
    joint = [] if source.dtype == target.dtype else [Op("QUANTIZE", before.outputs, (after.inputs[0] + offset,))]
    into = {} if joint else {after.inputs[0] + offset: before.outputs[0]}

    def moved(ends: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(into.get(i + offset, i + offset) if i >= 0 else i for i in ends)

    ops = [replace(op, inputs=moved(op.inputs), outputs=moved(op.outputs)) for op in after.ops]
    tensors, everything = (*before.tensors, *after.tensors), [*before.ops, *joint, *ops]
    used = sorted({i for op in everything for i in (*op.inputs, *op.outputs) if i >= 0})
    place = {old: new for new, old in enumerate(used)}

    def packed(ends: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place.get(i, i) for i in ends)

    graph = Graph(
        tensors=tuple(tensors[i] for i in used),
        ops=tuple(replace(op, inputs=packed(op.inputs), outputs=packed(op.outputs)) for op in everything),
        inputs=packed(before.inputs),
        outputs=packed(moved(after.outputs)),
        name=before.name,
    )
    return write_model([graph])


def _only_graph(content: bytes) -> Graph:
    graphs = read_model(content).graphs
    if len(graphs) != 1 or len(graphs[0].inputs) != 1 or len(graphs[0].outputs) != 1:
        raise ModelError("chain: a file of one graph with one input and one output is needed")
    return graphs[0]
