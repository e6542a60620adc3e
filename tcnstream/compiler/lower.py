"""Graph -> Plan: find the time axis of every tensor and say each operation over frames.

A streamed tensor of the file has its time axis somewhere, (1, T, C), (1, 1, T, C) or (T, C); or it
has none left, because a window or a statistic has taken it ("time is gone": one frame stands for a
whole tensor of the file). A frame is the file's shape without the time axis and without the batch
axis of 1, so reshapes that only move 1s around cost nothing.

How an operation is said over frames stands in its record; what has no streaming form is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations import operations
from tcnstream.compiler.plan import Plan
from tcnstream.tflite.graph import Graph


def lower(graph: Graph, axes: Sequence[int]) -> Plan:
    """The plan of a checked and normalised graph; ``axes`` has the axis of every input that is time.

    Raises NotStreamableError for what has no streaming form, by name.
    """
    lowering = Lowering(graph)
    for i, axis in zip(graph.inputs, axes, strict=True):
        lowering.add_input(i, axis)
    for op in graph.ops:
        if not any(i in lowering.streams for i in op.inputs):
            lowering.refuse(op, "does not depend on the input signal, so it has no frames")
        record = operations().get(op.kind, Operation(op.kind))
        if record.lower is None:
            lowering.refuse(op, record.refusal if isinstance(record.refusal, str) else record.refusal(op))
        record.lower(lowering, op)
    return lowering.plan()
