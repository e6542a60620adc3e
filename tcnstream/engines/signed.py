"""uint8 as int8: the same numbers, 128 lower.

TFLite's reference kernels compute alike in both, but where this module says so. An engine that has int8 has uint8 with
what is here: raw values and zero points are 128 lower, and the sums of a convolution are scaled in float32, as the
kernels for uint8 do it. Weights of uint8 may have a zero point: they stand for themselves, as int16.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.activation import CAST, DEQUANTIZE, L2_NORMALIZATION, QUANTIZE
from tcnstream.compiler.operations.pieces import CONCATENATION
from tcnstream.compiler.operations.pool import AVERAGE_POOL_2D, PoolOptions
from tcnstream.compiler.plan import Node, Plan
from tcnstream.tflite.graph import Array, Tensor

WEIGHTS = np.dtype(np.int16)
"""The type of weights of uint8, which no other int8 operation has."""

_RAW = (QUANTIZE.kind, DEQUANTIZE.kind, CAST.kind)
"""What reads and makes uint8 as it is, as everything does that only moves values."""


def is_unsigned(tensor: Tensor | None) -> bool:
    """Whether the tensor's uint8 stand for real numbers."""
    return tensor is not None and tensor.dtype == np.uint8 and tensor.quantization is not None


def computes_unsigned(plan: Plan, node: Node) -> bool:
    """Whether the node computes with uint8 that stand for real numbers."""
    tensors = [plan.tensors[i] for i in (*node.inputs, *node.outputs) if i >= 0]
    rule = operation(node.kind).rule
    computes = rule is not None and (rule.scaled or rule.retyped) and node.kind not in _RAW
    return computes and any(map(is_unsigned, tensors))


def is_raw(node: Node) -> bool:
    """Whether the node takes uint8 as they are to another type."""
    return node.kind in _RAW


def unlike_int8(plan: Plan, node: Node) -> str:
    """What of the node's uint8 is not as the kernels for int8 have it; empty if all is."""
    tensors = [plan.tensors[i] for i in (*node.inputs, *node.outputs) if i >= 0]
    if not any(map(is_unsigned, tensors)):
        return ""
    if node.kind == L2_NORMALIZATION.kind:
        return "uint8"
    scales = {(float(q.scale[0]), int(q.zero_point[0])) for t in tensors if (q := t.quantization) is not None}
    return "uint8 of several scales" if node.kind == CONCATENATION.kind and len(scales) > 1 else ""


def flipped(values: Array) -> Array:
    """Raw uint8 as raw int8, and back."""
    other = np.int8 if values.dtype == np.uint8 else np.uint8
    turned: Array = (np.ascontiguousarray(values).view(np.uint8) ^ np.uint8(128)).view(other)
    return turned


def signed(tensor: Tensor, weighs: bool = False) -> Tensor:
    """The tensor as int8, if it is uint8; what ``weighs`` as numbers without a zero point."""
    q = tensor.quantization
    if not is_unsigned(tensor) or q is None:
        return tensor
    if weighs and tensor.data is not None:
        numbers = tensor.data.astype(WEIGHTS) - q.zero_point.astype(WEIGHTS)
        plain = replace(q, zero_point=np.zeros_like(q.zero_point))
        return replace(tensor, dtype=WEIGHTS, data=numbers, quantization=plain)
    data = None if tensor.data is None else flipped(tensor.data)
    return replace(tensor, dtype=np.dtype(np.int8), data=data, quantization=replace(q, zero_point=q.zero_point - 128))


def weights_place(node: Node) -> int:
    """Which operand of the node weighs its values; -1 if none does."""
    rule = operation(node.kind).rule
    return 1 if rule is not None and rule.weights is not None else -1


def signed_node(plan: Plan, node: Node) -> Node:
    """The node on int8: its padding, and the halves of its means."""
    if is_unsigned(plan.tensors[node.inputs[0]]) and isinstance(node.fill, int):
        node = replace(node, fill=node.fill - 128)
    if node.kind == AVERAGE_POOL_2D.kind and is_unsigned(plan.tensors[node.outputs[0]]):
        node = replace(node, options=replace(node.options_of(PoolOptions), halves_up=True))
    return node
