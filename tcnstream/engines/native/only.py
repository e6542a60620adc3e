"""What a core needs that is built for some plans alone: a header of C that takes the operations and kernels it is told.

The core is compiled with ``-DTCN_ONLY='"FILE"'``; the linker drops the rest (``-ffunction-sections``,
``-Wl,--gc-sections``). Such a core refuses every plan that asks for more. What it is told are macros,
``TCN_NEEDS_...``, so that a build of several models defines those of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tcnstream.engines.native.layout.arguments import Conv, Fours
from tcnstream.engines.native.layout.codes import Dtype
from tcnstream.engines.native.layout.file import Header, WindowRecord, node_records, sections
from tcnstream.engines.native.layout.functions import ConvOp, ResampleOp
from tcnstream.engines.native.layout.kinds import Kind

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

_TRAITS = ("RATES", "CARRIES", "PLACES", "LOOPS")
"""What else a part of the core is for: several rates, sums that are carried on, windows along the frequency, nodes
that take their frames one after the other."""


def needed_macros(plans: Sequence[bytes]) -> list[str]:
    """The macros to define for these plan files, which are sound: of operations, kernels and traits."""
    nodes = [node for plan in plans for node in node_records(plan)]
    kinds = sorted({Kind(node.kind) for node in nodes})
    kernels = {kernel for node in nodes if (kernel := _kernel(node))}
    traits = {
        "RATES": any(w.up != 1 or w.stride != 1 for plan in plans for w in _windows(plan)),
        "CARRIES": Kind.TRAILING in kinds,
        "PLACES": any(_has_places(plan) for plan in plans),
        "LOOPS": any(node.loop for node in nodes),
    }
    names = [kind.name for kind in kinds]
    names += [name for name in KERNELS if name in kernels]
    names += [name for name in _TRAITS if traits[name]]
    return [f"TCN_NEEDS_{name}" for name in names]


def told_header() -> str:
    """The header for a core that is told what it needs by macros of the build."""
    lines = ["/* What some plans need of the core, by the macros TCN_NEEDS_... that are 1. */"]
    for kind in Kind:
        lines += [f"#ifdef TCN_NEEDS_{kind.name}", f"#define TCN_WHERE_{kind.name}(entry) entry"]
        lines += ["#else", f"#define TCN_WHERE_{kind.name}(entry)", "#endif"]
    operations = [f"    TCN_WHERE_{kind.name}(X({kind.name}, tcn_{kind.name.lower()}))" for kind in Kind]
    lines.append(" \\\n".join(["#define TCN_OPERATIONS(X)", *operations]))
    for name in (*KERNELS, *_TRAITS):
        lines += [f"#ifndef TCN_NEEDS_{name}", f"#define TCN_NEEDS_{name} 0", "#endif"]
    return "\n".join(lines) + "\n"


def only_header(plans: Sequence[bytes]) -> str:
    """The header for these plan files, which are sound; the build need not tell it anything."""
    return "".join(f"#define {name} 1\n" for name in needed_macros(plans)) + told_header()


def _windows(plan: bytes) -> list[Any]:
    head = Header.read(plan)
    return WindowRecord.read_each(plan, sections(head).windows_at, head.n_windows)


def _has_places(plan: bytes) -> bool:
    """Whether some window moves along the axis of frequency too."""
    windows = [n for n in node_records(plan) if n.kind in (Kind.CONV, Kind.DEPTHWISE)]
    in_panels = [Conv.read(plan, n.args_at) for n in windows if n.op == ConvOp.PANELS]
    in_fours = [Fours.read(plan, n.args_at) for n in windows if n.op == ConvOp.FOURS]
    return any(a.has_axis for a in (*in_panels, *in_fours))


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
