"""Which axis of the inputs is time: each that can be is tried, and what streams decides.

A file does not say it. Converters write (1, T, C), (1, C, T), (1, F, T, 1), (T, C) or (T,), and more than one axis may
have a streaming form. Of those along which kernels slide, the one of the most frames is taken. Where no kernel slides,
nothing tells time from channels: then it is the first axis longer than 1 after the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from tcnstream.compiler.lower import lower
from tcnstream.compiler.plan import Plan
from tcnstream.compiler.spatial import SpatialOptions
from tcnstream.compiler.window import open_time_axes
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import Graph, Tensor

_MOST_TRIES = 64


def lower_along_time(graph: Graph, time_axis: int | None = None) -> Plan:
    """The plan of a checked and normalised graph along ``time_axis`` of its inputs, or along the one that is found.

    Raises NotStreamableError where no axis has a streaming form: the refusal of the one that comes furthest.
    """
    if time_axis is not None:
        return lower(graph, [time_axis] * len(graph.inputs))
    tries = list(itertools.islice(_choices(graph), _MOST_TRIES))
    usual = tuple(_usual(graph.tensors[i]) for i in graph.inputs)
    plans: list[Plan] = []
    refusals: list[tuple[tuple[int, ...], NotStreamableError]] = []
    for axes in tries:
        try:
            plan = lower(graph, axes)
        except NotStreamableError as e:
            refusals.append((axes, e))
            continue
        if axes == usual or _slides(plan):
            plans.append(plan)
    if plans:
        best = max(plans, key=lambda plan: (_slides(plan), plan.window_frames))
        return replace(best, other_axes=tuple(plan.input_axes for plan in plans if plan is not best))
    axes, refusal = max(refusals, key=lambda tried: -1 if tried[1].op_index is None else tried[1].op_index)
    if len(tries) == 1:
        raise refusal
    shape = graph.tensors[graph.inputs[0]].shape
    raise NotStreamableError(
        f"{refusal} (Time is taken to be axis {axes[0]} of the input {shape}; time_axis= names another.)",
        refusal.op_index,
    ) from refusal


def _choices(graph: Graph) -> Iterator[tuple[int, ...]]:
    """Axes for all inputs."""
    return itertools.product(*(_candidates(graph.tensors[i]) for i in graph.inputs))


def _candidates(tensor: Tensor) -> list[int]:
    """The axes that can be time; the first one is the batch, unless there are no more than two."""
    shape = tensor.shape
    if left_open := open_time_axes(tensor):
        return list(left_open)
    first = 0 if len(shape) < 3 and shape[:1] != (1,) else min(1, len(shape) - 1)
    longer = [axis for axis in range(first, len(shape)) if shape[axis] > 1]
    return longer or [first]


def _usual(tensor: Tensor) -> int:
    """The first of the candidates that is not the last axis, where channels stand."""
    candidates = _candidates(tensor)
    return next((axis for axis in candidates if axis < max(2, len(tensor.shape) - 1)), candidates[0])


def _slides(plan: Plan) -> bool:
    """Whether a kernel or a pool goes along time."""
    return any(isinstance(node.options, SpatialOptions) and node.window.extent > 1 for node in plan.nodes)
