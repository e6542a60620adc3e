"""Graph -> Plan: find the time axis of every tensor and say each operation over frames.

A streamed tensor of the file has its time axis somewhere, (1, T, C), (1, 1, T, C) or (T, C); or it
has none left, because a window or a statistic has taken it ("time is gone": one frame stands for a
whole tensor of the file). A frame is the file's shape without the time axis and without the batch
axis of 1, so reshapes that only move 1s around cost nothing.

How an operation is said over frames stands in its record; what has no streaming form is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tcnstream.compiler.batch import batch_of, first_of_batch
from tcnstream.compiler.leads import align, settle_leads
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.time import TIME_UNFOLD
from tcnstream.compiler.picks import lower_picked, settle_tensor
from tcnstream.compiler.plan import Plan
from tcnstream.tflite.graph import Graph, Op


def lower(graph: Graph, axes: Sequence[int | None]) -> Plan:
    """The plan of a checked and normalised graph; ``axes`` has the axis of every input that is time.

    None stands for an input that has no time: a frame is all of it. Inputs whose windows differ have as many frames a
    step as makes the windows equal: with windows of 50 and 200 frames, 1 and 4. Of a batch above 1 it is the plan of
    the first entry. Raises NotStreamableError for what has no streaming form, by name.
    """
    if (batch := batch_of([graph.tensors[i] for i in graph.inputs], axes)) > 1:
        graph = first_of_batch(graph, batch)
    lowering = Lowering(graph)
    take_inputs(lowering, axes)
    lower_operations(lowering)
    return lowering.plan()


def take_inputs(lowering: Lowering, axes: Sequence[int | None]) -> None:
    """All inputs of the graph, as ``lower`` takes them."""
    graph = lowering.graph
    steps = _frames_per_step(graph, axes)
    for i, axis, frames in zip(graph.inputs, axes, steps, strict=True):
        lowering.add_input(i, axis, frames, TIME_UNFOLD.kind)


def lower_operations(lowering: Lowering) -> None:
    """All operations of the graph, in order, over the streams that are known so far."""
    for op in lowering.graph.ops:
        lower_operation(lowering, op)
    for o in lowering.graph.outputs:
        settle_tensor(lowering, o)


def lower_operation(lowering: Lowering, op: Op) -> None:
    """One operation, over the streams that are known so far; refuses by name what has no streaming form."""
    if not any(i in lowering.streams for i in op.inputs):
        lowering.refuse(op, "does not depend on the input signal, so it has no frames")
    record = operations().get(op.kind, Operation(op.kind))
    if record.lower is None:
        lowering.refuse(op, record.refusal if isinstance(record.refusal, str) else record.refusal(op))
    if not lower_picked(lowering, op, record):
        align(lowering, op)
        record.lower(lowering, op)
    settle_leads(lowering, op)


def _frames_per_step(graph: Graph, axes: Sequence[int | None]) -> list[int]:
    """Frames of each input in the time that is common to all of them."""
    windows = []
    for i, axis in zip(graph.inputs, axes, strict=True):
        shape = graph.tensors[i].shape
        windows.append(1 if axis is None or not 0 <= axis < len(shape) else shape[axis])
    if len(set(windows)) == 1:
        return [1] * len(windows)
    common = math.gcd(*windows)
    return [frames // common for frames in windows]
