"""What a plan costs to run, in multiply-adds."""

from __future__ import annotations

import math

from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.timing import timings


def multiply_adds(plan: Plan, node: Node) -> int:
    """Multiply-adds for one output frame of a node."""
    out = math.prod(plan.tensors[node.outputs[0]].shape)
    if node.kind in ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
        weights = plan.tensors[node.inputs[1]].shape
        return out * math.prod(weights[1:]) // node.window.up
    if node.kind == "DEPTHWISE_CONV_2D":
        weights = plan.tensors[node.inputs[1]].shape
        return out * weights[0] * weights[1]
    if node.kind == "TIME_RESAMPLE":
        return out * plan.tensors[node.inputs[1]].shape[1]
    if node.kind == "BATCH_MATMUL":
        return out * plan.tensors[node.inputs[1]].shape[0]
    return 0


def work_per_frame(plan: Plan) -> float:
    """Multiply-adds per input frame, where each value that is made counts as at least one."""
    known = timings(plan)
    work = 0.0
    for node in plan.nodes:
        values = sum(math.prod(plan.tensors[o].shape) for o in node.outputs)
        timing = known[node.outputs[0]]
        assert timing is not None
        work += float(max(multiply_adds(plan, node), values) * timing.rate)
    return work
