"""Graph -> Graph: every operation is checked, in order, before anything trusts it.

Shape arithmetic and other operations on constants are computed on the way, each once it is checked, because what
they give is an operand of later ones. Whatever passes through here is sound: what fails later is a mistake of ours.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tcnstream.compiler.operation import Operation, folded
from tcnstream.compiler.operations import operations
from tcnstream.errors import ModelError, NotStreamableError
from tcnstream.tflite.graph import (
    ABSENT,
    UNUSABLE_SCALE,
    Array,
    Graph,
    Op,
    Tensor,
    has_usable_scale,
    scaled_zeros,
)
from tcnstream.tflite.validate import check

_NUMBERS = "fiub"
"""Real numbers, integers and conditions, by NumPy's letters."""


def validate(graph: Graph) -> Graph:
    """The graph, with what its operations on constants give as constants.

    Operations of which the compiler knows nothing are left for the lowering, which refuses them by name. Raises
    ModelError where operands, options, types, scales or shapes of an operation do not fit together.
    """
    check_streams_through(graph)
    ops = []
    for i in (*graph.inputs, *graph.outputs):
        check_numbers(graph.tensors[i])
    for op in graph.ops:
        record = operations().get(op.kind)
        if record is None or record.rule is None:
            ops.append(op)
            continue
        graph = check(graph, op, record.rule)
        for i in (*op.inputs, *op.outputs):
            if i != ABSENT and not (record.complex_numbers or record.reshapes):
                check_numbers(graph.tensors[i])
        made = _folded(graph, op, record)
        if made is None:
            _check_scales(graph, op)
            ops.append(op)
        else:
            tensors = list(graph.tensors)
            for o, data in zip(op.outputs, made, strict=True):
                known = dataclasses.replace(tensors[o], data=data, shape=data.shape, dtype=data.dtype)
                tensors[o] = scaled_zeros(known)
            graph = dataclasses.replace(graph, tensors=tuple(tensors))
    return dataclasses.replace(graph, ops=tuple(ops))


def check_streams_through(graph: Graph) -> None:
    """ModelError for a graph without inputs or without outputs."""
    if not graph.inputs or not graph.outputs:
        raise ModelError(
            f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, where both are needed;"
            " convert the model again"
        )


def _check_scales(graph: Graph, op: Op) -> None:
    """What is computed needs a scale above 0, which the reader leaves open where it may become a constant of zeros."""
    for tensor in (graph.tensors[i] for i in (*op.inputs, *op.outputs) if i != ABSENT):
        if not has_usable_scale(tensor):
            raise ModelError(
                f"`{op.kind}` (op {op.index}) has the operand `{tensor.name}`, which {UNUSABLE_SCALE}; quantize the"
                " model again"
            )


def check_numbers(tensor: Tensor) -> None:
    """NotStreamableError for a tensor of anything but numbers."""
    if tensor.dtype.kind not in _NUMBERS:
        raise NotStreamableError(
            f"`{tensor.name}` is {tensor.dtype}, and only real numbers, integers and conditions are streamed. End the"
            " model before it, or replace it in training."
        )


def _folded(graph: Graph, op: Op, record: Operation) -> tuple[Array, ...] | None:
    """What the operation gives for each of its outputs, if that is known now."""
    operands = [graph.tensors[i] for i in op.inputs if i != ABSENT]
    output = graph.tensors[op.outputs[0]]
    if record.fold is None or not (record.folds_shapes or all(t.is_constant for t in operands)):
        return None
    if record.folds_plain_numbers and not _is_plain(op, output):
        return None
    with np.errstate(all="ignore"):
        return folded(record.fold, op, operands, output)


def _is_plain(op: Op, output: Tensor) -> bool:
    return output.quantization is None and op.options.get("fused_activation_function", "NONE") == "NONE"
