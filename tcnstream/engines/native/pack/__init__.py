"""What the native core is told about each operation: precomputed integers, tables and packed weights.

A module per family of operations, as in ``core/operations/``; ``@packs("KIND")`` stands above the function that packs
an operation of the Plan. All arithmetic that a plan file freezes (multipliers, shifts, look-up tables, index maps)
is computed here, by the same functions that the reference engine uses, so the core needs no float where the model
has none.
"""

from __future__ import annotations

from tcnstream.compiler.plan import Node, Plan
from tcnstream.engines.native.layout.codes import MAX_OPERANDS, Family
from tcnstream.engines.native.pack.context import PACKERS, Context, Packed, unsupported

__all__ = ["PACKERS", "Packed", "pack", "unsupported"]


def pack(plan: Plan, node: Node, rounding: str, family: Family = Family.PORTABLE) -> Packed:
    """The node for the core; EngineError names what the core does not have."""
    packer = PACKERS.get(node.kind)
    if packer is None:
        raise unsupported(node)
    packed = packer(Context(plan, node, rounding, family))
    if max(len(packed.operands), len(node.outputs)) > MAX_OPERANDS:
        raise unsupported(node, f"more than {MAX_OPERANDS} inputs or outputs")
    return packed
