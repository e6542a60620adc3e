"""One idea, one form: what converters write in several ways is reduced to one before lowering.

* weights of dynamic-range models become float32 (their activations are float in a stream, see README);
* SPACE_TO_BATCH_ND + convolution + BATCH_TO_SPACE_ND becomes a dilated convolution with explicit padding.

Operations on constants are gone already (``validate``). Paddings, reshapes and up-sampling are reduced in ``lower``,
where the time axis is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from tcnstream.compiler.constants import dequantize
from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.preparation import BATCH_TO_SPACE_ND, SPACE_TO_BATCH_ND
from tcnstream.compiler.operations.reshape import RESHAPE
from tcnstream.compiler.whiles import bodies
from tcnstream.tflite.graph import ABSENT, Graph, Op, OptionValue, Tensor
from tcnstream.tflite.shapes import same_padding
from tcnstream.tflite.validate import Rule, check


def normalise(graph: Graph) -> Graph:
    """The same network with one form for each idea."""
    return _without_dead_ops(_dilate(_float_weights(graph)))


def _weighted(graph: Graph) -> Iterator[tuple[Op, int, int]]:
    """Every operation that weighs its input: itself, its weights and its values, as tensors."""
    for op in graph.ops:
        record = operations().get(op.kind)
        rule = None if record is None else record.rule
        if rule is None or len(op.inputs) <= rule.values or op.inputs[rule.values] == ABSENT:
            continue
        for weights in rule.weights_of(op):
            yield op, weights, op.inputs[rule.values]


def _float_weights(graph: Graph) -> Graph:
    """Dynamic-range and half-precision weights as the float32 numbers they stand for."""
    tensors = list(graph.tensors)
    for _, w, values in _weighted(graph):
        weights = tensors[w]
        if weights.is_constant and weights.dtype in (np.int8, np.float16) and tensors[values].dtype == np.float32:
            data = dequantize(weights)
            tensors[w] = Tensor(weights.name, weights.shape, data.dtype, None, data)
    return dataclasses.replace(graph, tensors=tuple(tensors))


def is_dynamic_range(graph: Graph) -> bool:
    """Whether TFLite would quantize activations at run time (int8 weights, float activations), in loops, too."""
    return any(
        part.tensors[values].dtype == np.float32 and part.tensors[weights].dtype == np.int8
        for part in (graph, *bodies(graph))
        for _, weights, values in _weighted(part)
    )


def _dilate(graph: Graph) -> Graph:
    """SPACE_TO_BATCH_ND, (layout), convolution, (layout), BATCH_TO_SPACE_ND as one dilated convolution.

    Several convolutions may share one SPACE_TO_BATCH_ND; what is left of it dies with its readers.
    """
    producer = {o: op for op in graph.ops for o in op.outputs}
    readers: dict[int, list[Op]] = {}
    for op in graph.ops:
        for i in op.inputs:
            readers.setdefault(i, []).append(op)
    tensors = list(graph.tensors)
    replaced: dict[int, list[Op]] = {}
    for conv in graph.ops:
        if not _is_convolution(conv):
            continue
        fold, unfold = producer.get(conv.inputs[0]), conv
        while fold is not None and _reshapes(fold):
            fold = producer.get(fold.inputs[0])
        while unfold is conv or _reshapes(unfold):
            following = readers.get(unfold.outputs[0], [])
            if len(following) != 1:
                break
            unfold = following[0]
        if fold is not None and fold.kind == SPACE_TO_BATCH_ND.kind and unfold.kind == BATCH_TO_SPACE_ND.kind:
            dilated = _dilated(fold, conv, unfold, tensors)
            if dilated is not None:
                replaced[id(unfold)] = dilated
    ops = tuple(new for op in graph.ops for new in replaced.get(id(op), [op]))
    graph = dataclasses.replace(graph, tensors=tuple(tensors), ops=ops)
    for op in (new for made in replaced.values() for new in made):
        check(graph, op, _rule(op))
    return graph


def _rule(op: Op) -> Rule:
    rule = operations()[op.kind].rule
    assert rule is not None, "only checked operations are replaced"
    return rule


def _is_convolution(op: Op) -> bool:
    record = operations().get(op.kind)
    return record is not None and record.is_convolution


def _reshapes(op: Op) -> bool:
    record = operations().get(op.kind)
    return record is not None and record.reshapes


def _dilated(fold: Op, conv: Op, unfold: Op, tensors: list[Tensor]) -> list[Op] | None:
    """The operations that compute ``unfold``'s output without moving time into the batch axis."""
    source, target = tensors[fold.inputs[0]], tensors[unfold.outputs[0]]
    sizes = [tensors[i].data for i in (*fold.inputs[1:3], *unfold.inputs[1:3])]
    if any(data is None for data in sizes):
        return None
    block, before_after, unfolded, crops = (data.reshape(-1).tolist() for data in sizes if data is not None)
    if block != unfolded:
        return None
    folded_in, weights = tensors[conv.inputs[0]], tensors[conv.inputs[1]]
    strided = any(conv.integer(f"stride_{axis}", 1) != 1 for axis in "hw")
    first_axis = _spatial_axis(tensors[fold.outputs[0]].shape, folded_in.shape)
    if strided or first_axis is None:
        return None
    options: dict[str, OptionValue] = dict(conv.options)
    padding: list[int] = []
    in_shape, out_shape = list(folded_in.shape), list(tensors[conv.outputs[0]].shape)
    in_shape[0], out_shape[0] = source.shape[0], target.shape[0]
    for axis, letter in ((1, "h"), (2, "w")):
        kernel, inner = weights.shape[axis], conv.integer(f"dilation_{letter}_factor", 1)
        same = conv.options.get("padding") == "SAME"
        own = same_padding(folded_in.shape[axis], kernel, 1, inner) if same else (0, 0)
        k = axis - first_axis
        if 0 <= k < len(block):
            d = block[k]
            options[f"dilation_{letter}_factor"] = d * inner
            begin = before_after[2 * k] + own[0] * d - crops[2 * k]
            own = (begin, before_after[2 * k + 1] + own[1] * d - crops[2 * k + 1])
            in_shape[axis], out_shape[axis] = source.shape[1 + k], target.shape[1 + k]
        padding += own
    options |= {"padding": "VALID", "explicit_padding": tuple(padding)}
    x, y = len(tensors), len(tensors) + 1
    tensors.append(dataclasses.replace(source, name=folded_in.name, shape=tuple(in_shape)))
    tensors.append(dataclasses.replace(tensors[conv.outputs[0]], shape=tuple(out_shape)))
    return [
        Op(RESHAPE.kind, (fold.inputs[0],), (x,), {}, fold.index),
        Op(conv.kind, (x, *conv.inputs[1:]), (y,), options, conv.index),
        Op(RESHAPE.kind, (y,), unfold.outputs, {}, unfold.index),
    ]


def _spatial_axis(folded: tuple[int, ...], conv_in: tuple[int, ...]) -> int | None:
    """Where the first blocked axis of ``folded`` (its axis 1) stands in the convolution's 4-D input."""
    if folded == conv_in:
        return 1
    if conv_in == (folded[0], 1, *folded[1:]):
        return 2
    if len(folded) == 3 and conv_in == (folded[0], folded[1], 1, folded[2]):
        return 1
    return None


def _without_dead_ops(graph: Graph) -> Graph:
    alive, found = set[int](), set(graph.outputs)
    # The state of a loop is read before it is computed.
    while found != alive:
        alive = set(found)
        for op in reversed(graph.ops):
            if found.intersection(op.outputs):
                found.update(op.inputs)
    return dataclasses.replace(graph, ops=tuple(op for op in graph.ops if alive.intersection(op.outputs)))
