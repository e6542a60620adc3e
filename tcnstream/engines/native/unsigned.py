"""uint8 in the core: a plan that computes with it is written as one of int8, with a node at each end that is uint8.

Tensors and nodes keep their numbers, but for what is put before the nodes and behind the tensors; what the core
remembers of a uint8 tensor is int8.
"""

from __future__ import annotations

from dataclasses import replace

from tcnstream.compiler.operations.activation import QUANTIZE
from tcnstream.compiler.plan import Node, Plan
from tcnstream.engines.signed import is_raw, is_unsigned, signed, signed_node, weights_place
from tcnstream.tflite.graph import Tensor


def runs_signed(plan: Plan) -> bool:
    """Whether the core has int8 where the plan has uint8, because more is done there than to leave it."""
    read = {i for node in plan.nodes if not is_raw(node) for i in (*node.inputs, *node.outputs) if i >= 0}
    return any(is_unsigned(plan.tensors[i]) for i in read)


def nodes_before(plan: Plan) -> int:
    """Nodes that the core has before those of the plan."""
    return sum(is_unsigned(plan.tensors[i]) for i in plan.inputs) if runs_signed(plan) else 0


def signed_plan(plan: Plan) -> Plan:
    """The plan as the core has it."""
    if not runs_signed(plan):
        return plan
    weights = {node.inputs[weights_place(node)] for node in plan.nodes if weights_place(node) > 0}
    tensors = [signed(tensor, i in weights) for i, tensor in enumerate(plan.tensors)]
    windows = list(plan.windows)

    def end(i: int) -> int:
        if not is_unsigned(plan.tensors[i]):
            return i
        tensors.append(plan.tensors[i])
        windows.append(plan.windows[i])
        return len(tensors) - 1

    inputs = tuple(map(end, plan.inputs))
    outputs = tuple(map(end, plan.outputs))
    before = [_turned(plan.tensors[i], e, i) for e, i in zip(inputs, plan.inputs, strict=True) if e != i]
    after = [_turned(plan.tensors[o], o, e) for e, o in zip(outputs, plan.outputs, strict=True) if e != o]
    return replace(
        plan,
        tensors=tuple(tensors),
        windows=tuple(windows),
        nodes=(*before, *(signed_node(plan, node) for node in plan.nodes), *after),
        inputs=inputs,
        outputs=outputs,
    )


def _turned(tensor: Tensor, source: int, target: int) -> Node:
    return Node(QUANTIZE.kind, (source,), (target,), (tensor.shape,), label=tensor.name)
