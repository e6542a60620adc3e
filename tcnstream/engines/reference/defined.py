"""Whether every operation of a plan has an answer at all: at some scales TFLite's kernels have none."""

from __future__ import annotations

import math
from dataclasses import replace

from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.activation import SlopeOptions
from tcnstream.compiler.operations.statistics import Statistic
from tcnstream.compiler.plan import Plan
from tcnstream.engines.reference.kernels import KERNELS, KernelContext
from tcnstream.engines.reference.kernels.context import UNDEFINED, facts_of, is_quantized
from tcnstream.engines.signed import is_unsigned, signed
from tcnstream.errors import EngineError

_FARTHEST = 2.0**30
"""So many output steps to a step of an operand: multipliers are shifted left by less than 31."""

_MISREAD = Statistic.SUM.value
"""LiteRT's reference kernel takes int8 for uint8 here; that of MEAN says what is meant."""


def check_defined(plan: Plan) -> None:
    """EngineError naming the first operation for which TFLite's kernels have no defined answer.

    Whatever passes has one, which is the same in every engine.
    """
    if any(map(is_unsigned, plan.tensors)):
        plan = replace(plan, tensors=tuple(map(signed, plan.tensors)))
    for node in plan.nodes:
        if node.kind not in KERNELS or plan.tensors[node.inputs[0]].dtype.kind != "i":
            continue
        facts, types = facts_of(plan, node), operation(node.kind).types
        if types and is_quantized(facts.tensor(0)) and not {facts.tensor(0).dtype.name, node.kind} & {*types, _MISREAD}:
            raise facts.unsupported(f"{facts.tensor(0).dtype}")
        find = UNDEFINED.get(node.kind_in_file)
        what = _scales_too_far(facts)
        if what is None and find is not None and is_quantized(facts.tensor(0)):
            what = find(facts)
        if what is not None:
            raise EngineError(
                f"`{node.kind_in_file}` (op {node.index}, `{node.label}`) {what}, for which TFLite's kernels have no"
                " defined answer; quantize the model again on a recording that is typical"
            )


def _scales_too_far(facts: KernelContext) -> str | None:
    """Operands, or the product of two of them, whose steps are too many steps of the output."""
    output = facts.output.quantization
    if output is None:
        return None
    scales = [float(t.quantization.scale.max()) for t in facts.inputs[:2] if t is not None and t.quantization]
    options = facts.node.options
    slope = abs(options.alpha) if isinstance(options, SlopeOptions) else 1.0
    farthest = max([0.0, *scales, math.prod(scales)]) * max(1.0, slope) / float(output.scale.min())
    return None if farthest < _FARTHEST else f"makes {farthest:.0e} steps of its output of one"
