"""Whether every operation of a plan has an answer at all: at some scales TFLite's kernels have none."""

from __future__ import annotations

from tcnstream.compiler.plan import Plan
from tcnstream.engines.reference.kernels import KERNELS
from tcnstream.engines.reference.kernels.context import UNDEFINED, facts_of, is_quantized
from tcnstream.errors import EngineError


def check_defined(plan: Plan) -> None:
    """EngineError naming the first operation for which TFLite's kernels have no defined answer.

    Whatever passes has one, which is the same in every engine.
    """
    for node in plan.nodes:
        find = UNDEFINED.get(node.kind_in_file) if node.kind in KERNELS else None
        if find is None:
            continue
        facts = facts_of(plan, node)
        what = find(facts) if is_quantized(facts.tensor(0)) else None
        if what is not None:
            raise EngineError(
                f"`{node.kind_in_file}` (op {node.index}, `{node.label}`) {what}, for which TFLite's kernels have no"
                " defined answer; quantize the model again on a recording that is typical"
            )
