"""One idea, one form: what converters write in several ways is reduced to one before lowering.

* float16 constants behind DEQUANTIZE, shape arithmetic and other operations on constants are folded;
* weights of dynamic-range models become float32 (their activations are float in a stream, see README);
* SPACE_TO_BATCH_ND + convolution + BATCH_TO_SPACE_ND becomes a dilated convolution with explicit padding.

Paddings, reshapes and up-sampling are reduced in ``lower``, where the time axis is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from tcnstream.tflite.graph import ABSENT, Array, Graph, Op, OptionValue, Tensor
from tcnstream.tflite.shapes import same_padding, strided_slice

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_WEIGHTED = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1, "BATCH_MATMUL": 1}
_LAYOUT = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")


def normalise(graph: Graph) -> Graph:
    """The same network with one form for each idea."""
    return _without_dead_ops(_dilate(_float_weights(_fold_constants(graph))))


def dequantize(tensor: Tensor) -> Array:
    """The float32 values of a quantized or half-precision constant."""
    assert tensor.data is not None
    q = tensor.quantization
    if q is None:
        return tensor.data.astype(np.float32)
    shape = [1] * tensor.data.ndim
    if q.per_channel:
        shape[q.axis] = -1
    centred = tensor.data.astype(np.float32) - q.zero_point.astype(np.float32).reshape(shape)
    return (centred * q.scale.reshape(shape)).astype(np.float32)


_Fold: TypeAlias = Callable[[Op, list[Tensor], Tensor], Array]


def _reshaped(op: Op, inputs: list[Tensor], output: Tensor) -> Array:
    return _data(inputs[0]).reshape(output.shape)


def _sliced(op: Op, inputs: list[Tensor], output: Tensor) -> Array:
    data = _data(inputs[0])
    return data[strided_slice(op, data.shape, *(_data(t).tolist() for t in inputs[1:4]))].reshape(output.shape)


_FOLDS: Mapping[str, _Fold] = {
    "DEQUANTIZE": lambda op, ins, out: dequantize(ins[0]),
    "RESHAPE": _reshaped,
    "EXPAND_DIMS": _reshaped,
    "SQUEEZE": _reshaped,
    "STRIDED_SLICE": _sliced,
    "TRANSPOSE": lambda op, ins, out: np.transpose(_data(ins[0]), _data(ins[1]).tolist()),
    "CAST": lambda op, ins, out: _data(ins[0]).astype(out.dtype),
    "PACK": lambda op, ins, out: np.stack([_data(t) for t in ins], op.integer("axis", 0)).reshape(out.shape),
    "CONCATENATION": lambda op, ins, out: np.concatenate([_data(t) for t in ins], op.integer("axis", 0)),
    "TILE": lambda op, ins, out: np.tile(_data(ins[0]), _data(ins[1]).tolist()),
    "BROADCAST_TO": lambda op, ins, out: np.broadcast_to(_data(ins[0]), out.shape).copy(),
    "FILL": lambda op, ins, out: np.full(out.shape, _data(ins[1]), out.dtype),
    "ADD": lambda op, ins, out: np.asarray(np.add(_data(ins[0]), _data(ins[1]))),
    "SUB": lambda op, ins, out: np.asarray(np.subtract(_data(ins[0]), _data(ins[1]))),
    "MUL": lambda op, ins, out: np.asarray(np.multiply(_data(ins[0]), _data(ins[1]))),
}
_EXACT_ON_PLAIN_NUMBERS = ("ADD", "SUB", "MUL", "CONCATENATION")


def _data(tensor: Tensor) -> Array:
    assert tensor.data is not None
    return tensor.data


def _fold_constants(graph: Graph) -> Graph:
    tensors, ops = list(graph.tensors), []
    for op in graph.ops:
        inputs = [tensors[i] for i in op.inputs if i != ABSENT]
        if op.kind == "SHAPE":
            folded: Array = np.array(inputs[0].shape, tensors[op.outputs[0]].dtype)
        elif op.kind in _FOLDS and inputs and all(t.is_constant for t in inputs):
            plain = (
                op.options.get("fused_activation_function", "NONE") == "NONE"
                and tensors[op.outputs[0]].quantization is None
            )
            if op.kind in _EXACT_ON_PLAIN_NUMBERS and not plain:
                ops.append(op)
                continue
            folded = _FOLDS[op.kind](op, inputs, tensors[op.outputs[0]])
        else:
            ops.append(op)
            continue
        o = op.outputs[0]
        tensors[o] = dataclasses.replace(tensors[o], data=folded, shape=folded.shape, dtype=folded.dtype)
    return dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _float_weights(graph: Graph) -> Graph:
    """Dynamic-range and half-precision weights as the float32 numbers they stand for."""
    tensors = list(graph.tensors)
    for op in graph.ops:
        position = _WEIGHTED.get(op.kind)
        if position is None or len(op.inputs) <= position:
            continue
        activation = 2 if op.kind == "TRANSPOSE_CONV" else 0
        w = op.inputs[position]
        weights = tensors[w]
        if (
            weights.is_constant
            and weights.dtype in (np.int8, np.float16)
            and tensors[op.inputs[activation]].dtype == np.float32
        ):
            data = dequantize(weights)
            tensors[w] = Tensor(weights.name, weights.shape, data.dtype, None, data)
    return dataclasses.replace(graph, tensors=tuple(tensors))


def is_dynamic_range(graph: Graph) -> bool:
    """Whether TFLite would quantize activations at run time (int8 weights, float activations)."""
    return any(
        op.kind in _WEIGHTED
        and len(op.inputs) > 1
        and graph.tensors[op.inputs[0]].dtype == np.float32
        and graph.tensors[op.inputs[1]].dtype == np.int8
        for op in graph.ops
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
        if conv.kind not in CONVOLUTIONS:
            continue
        fold, unfold = producer.get(conv.inputs[0]), conv
        while fold is not None and fold.kind in _LAYOUT:
            fold = producer.get(fold.inputs[0])
        while unfold is conv or unfold.kind in _LAYOUT:
            following = readers.get(unfold.outputs[0], [])
            if len(following) != 1:
                break
            unfold = following[0]
        if fold is not None and fold.kind == "SPACE_TO_BATCH_ND" and unfold.kind == "BATCH_TO_SPACE_ND":
            dilated = _dilated(fold, conv, unfold, tensors)
            if dilated is not None:
                replaced[id(unfold)] = dilated
    ops = tuple(new for op in graph.ops for new in replaced.get(id(op), [op]))
    return dataclasses.replace(graph, tensors=tuple(tensors), ops=ops)


def _dilated(fold: Op, conv: Op, unfold: Op, tensors: list[Tensor]) -> list[Op] | None:
    """The operations that compute ``unfold``'s output without moving time into the batch axis."""
    source, target = tensors[fold.inputs[0]], tensors[unfold.outputs[0]]
    block = _data(tensors[fold.inputs[1]]).reshape(-1).tolist()
    before_after = _data(tensors[fold.inputs[2]]).reshape(-1, 2).tolist()
    crops = _data(tensors[unfold.inputs[2]]).reshape(-1, 2).tolist()
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
            own = (before_after[k][0] + own[0] * d - crops[k][0], before_after[k][1] + own[1] * d - crops[k][1])
            in_shape[axis], out_shape[axis] = source.shape[1 + k], target.shape[1 + k]
        padding += own
    options |= {"padding": "VALID", "explicit_padding": tuple(padding)}
    x, y = len(tensors), len(tensors) + 1
    tensors.append(dataclasses.replace(source, name=folded_in.name, shape=tuple(in_shape)))
    tensors.append(dataclasses.replace(tensors[conv.outputs[0]], shape=tuple(out_shape)))
    return [
        Op("RESHAPE", (fold.inputs[0],), (x,), {}, fold.index),
        Op(conv.kind, (x, *conv.inputs[1:]), (y,), options, conv.index),
        Op("RESHAPE", (y,), unfold.outputs, {}, unfold.index),
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
    alive, kept = set(graph.outputs), []
    for op in reversed(graph.ops):
        if alive.intersection(op.outputs):
            kept.append(op)
            alive.update(op.inputs)
    return dataclasses.replace(graph, ops=tuple(reversed(kept)))
