"""What a core needs that is built for some plans alone: a header of C that names their operations and kernels.

The core is compiled with ``-DTCN_ONLY='"FILE"'``; the linker drops the rest (``-ffunction-sections``,
``-Wl,--gc-sections``). Such a core refuses every plan that asks for more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tcnstream.engines.native.layout import Conv, ConvOp, Dtype, Fours, Header, Kind, NodeRecord, ResampleOp

KERNELS = (
    *(
        f"{kernel}_{dtype.name}"
        for kernel in ("CONV", "DEPTHWISE", "BINARY")
        for dtype in (Dtype.F32, Dtype.I8, Dtype.I16)
    ),
    "UNARY_F32",
    "CONV_I8_FOURS",
    "DEPTHWISE_I8_FOURS",
    "CONV_I16_FOURS",
)
"""The members of ``tcn_kernels`` in ``core/kernels/kernels.h``."""


def only_header(plans: Sequence[bytes]) -> str:
    """The header for these plan files, which are sound."""
    nodes = [node for plan in plans for node in _nodes(plan)]
    kinds = sorted({Kind(node.kind) for node in nodes})
    kernels = {kernel for node in nodes if (kernel := _kernel(node))}
    operations = [f"    X({kind.name}, tcn_{kind.name.lower()})" for kind in kinds]
    lines = ["/* What some plans need of the core; see tcnstream/engines/native/only.py. */"]
    lines.append(" \\\n".join(["#define TCN_OPERATIONS(X)", *operations]))
    lines += [f"#define TCN_NEEDS_{name} {int(name in kernels)}" for name in KERNELS]
    lines.append(f"#define TCN_NEEDS_RATES {int(any(node.up != 1 or node.stride != 1 for node in nodes))}")
    lines.append(f"#define TCN_NEEDS_CARRIES {int(Kind.TRAILING in kinds)}")
    lines.append(f"#define TCN_NEEDS_PLACES {int(any(_has_places(plan) for plan in plans))}")
    return "\n".join(lines) + "\n"


def _nodes(plan: bytes) -> Iterator[Any]:
    head = Header.read(plan)
    return (NodeRecord.read(plan, head.nodes_at + k * NodeRecord.size) for k in range(head.n_nodes))


def _has_places(plan: bytes) -> bool:
    """Whether some window moves along the axis of frequency too."""
    windows = [n for n in _nodes(plan) if n.kind in (Kind.CONV, Kind.DEPTHWISE)]
    in_panels = [Conv.read(plan, n.args_at) for n in windows if n.op == ConvOp.PANELS]
    in_fours = [Fours.read(plan, n.args_at) for n in windows if n.op == ConvOp.FOURS]
    return any(a.f_out != 1 or a.taps_f != 1 or a.pad_f != 0 for a in in_panels) or any(a.axis_at for a in in_fours)


def _kernel(node: Any) -> str | None:
    """The kernel on which a node runs; None for one that has its own arithmetic."""
    kind, dtype = Kind(node.kind), Dtype(node.dtype).name
    if kind == Kind.UNARY:
        return "UNARY_F32"
    if kind == Kind.BINARY:
        return f"BINARY_{dtype}"
    if kind == Kind.RESAMPLE:
        return "DEPTHWISE_F32" if node.op == ResampleOp.DEPTHWISE else "CONV_F32"
    if kind not in (Kind.CONV, Kind.DEPTHWISE, Kind.TRANSPOSE_CONV):
        return None
    family = "_FOURS" if node.op == ConvOp.FOURS else ""
    return f"{'DEPTHWISE' if kind == Kind.DEPTHWISE else 'CONV'}_{dtype}{family}"
