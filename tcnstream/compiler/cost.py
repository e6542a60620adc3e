"""What a plan costs to run, in multiply-adds."""

from __future__ import annotations

import math

from tcnstream.compiler.operations import operation
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.timing import timings


def multiply_adds(plan: Plan, node: Node) -> int:
    """Multiply-adds for one output frame of a node."""
    return operation(node.kind).multiply_adds(plan, node)


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
