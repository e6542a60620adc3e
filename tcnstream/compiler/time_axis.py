"""Which axis of the inputs is time: each that can be is tried, and what streams decides.

A file does not say it. Converters write (1, T, C), (1, C, T), (1, F, T, 1), (T, C) or (T,), and more than one axis may
have a streaming form. Of those along which kernels slide, the one of the most frames is taken. Where no kernel slides,
nothing tells time from channels: then it is the first axis longer than 1 after the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from tcnstream.compiler.lower import lower
from tcnstream.compiler.operations.convolution import ConvolutionOptions
from tcnstream.compiler.operations.elementwise import ADD
from tcnstream.compiler.operations.time import TIME_STATE, TIME_WINDOW
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.spatial import SpatialOptions
from tcnstream.compiler.static import Compute, split
from tcnstream.compiler.timing import timings
from tcnstream.compiler.window import open_time_axes, written
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import ABSENT, Graph

_MOST_TRIES = 64
_RANK_OF_IMAGES = 5

Axes: TypeAlias = tuple[int | None, ...]
"""The axis of each input of a file that is time; None: the input has no time."""


def lower_along_time(graph: Graph, time_axis: int | None = None, compute: Compute | None = None) -> Plan:
    """The plan of a checked and normalised graph along ``time_axis`` of its inputs, or along the one that is found.

    Inputs for which no axis can be time are static. Raises NotStreamableError where nothing has a streaming form: the
    refusal of the choice that comes furthest.
    """
    if time_axis is not None and len(graph.inputs) == 1:
        return _lowered(graph, (time_axis,), compute)
    usual = tuple(_usual(graph, i) for i in graph.inputs)
    plans: list[tuple[Axes, Plan]] = []
    unusual: list[tuple[Axes, Plan]] = []
    passed_over: list[Axes] = []
    refusals: list[tuple[Axes, NotStreamableError]] = []
    timeless = 0
    for axes in itertools.islice(choices(graph, time_axis), _MOST_TRIES):
        if axes.count(None) > timeless and any(not _is_doubtful(plan) for _, plan in plans):
            break
        timeless = axes.count(None)
        try:
            plan = _lowered(graph, axes, compute)
        except NotStreamableError as e:
            refusals.append((axes, e))
            continue
        if time_axis is not None or all(a in (u, None) for a, u in zip(axes, usual, strict=True)) or slides(plan):
            plans.append((axes, plan))
        else:
            passed_over.append(axes)
            if _keeps_time(plan):
                unusual.append((axes, plan))
    longer = [(axes, plan) for axes, plan in unusual if all(plan.window_frames > p.window_frames for _, p in plans)]
    if plans and longer and not any(slides(plan) or _keeps_time(plan) for _, plan in plans):
        # Along the usual axis all of the window goes into each answer, along a longer one it does not.
        plans = longer
    if plans:
        axes, best = max(plans, key=lambda found: (_is_of_images(graph, *found), *_merit(*found)))
        others = tuple(plan.input_axes for other, plan in plans if plan is not best and _rivals(other, axes))
        return replace(best, other_axes=others)
    axes, refusal = max(refusals, key=lambda tried: -1 if tried[1].op_index is None else tried[1].op_index)
    found = [other for other in passed_over if _rivals(other, axes)] if len(graph.inputs) == 1 else []
    way_out = "; time_axis= names another" if len(refusals) + len(passed_over) > 1 else ""
    if found:
        way_out = f"; if axis {found[0][0]} is time it streams: time_axis={found[0][0]}"
    raise NotStreamableError(f"{refusal} ({_assumed(graph, axes)}{way_out}.)", refusal.op_index) from refusal


def _lowered(graph: Graph, axes: Axes, compute: Compute | None) -> Plan:
    """The plan along these axes; inputs whose axis is None are constants of a stream."""
    places = tuple(k for k, axis in enumerate(axes) if axis is not None)
    if static := [i for i, axis in zip(graph.inputs, axes, strict=True) if axis is None]:
        part = split(graph, static)
        graph = part.rest if compute is None else part.filled(part.some_values(), compute)
    plan = lower(graph, [axes[k] for k in places])
    if len(set(plan.input_steps)) > 1:
        timings(plan)  # refuses what joins tensors that have different rates then
    return replace(plan, input_places=places)


def _keeps_time(plan: Plan) -> bool:
    """Whether all outputs have frames."""
    return None not in plan.output_axes


def _merit(axes: Axes, plan: Plan) -> tuple[int | bool, ...]:
    """What makes one choice better than another.

    Kernels that slide along its inputs, windows that fit, of several inputs those that give outputs time, more inputs
    that have time, a larger window.
    """
    kept = sum(axis is not None for axis in plan.output_axes) if len(axes) > 1 else 0
    return sum(_inputs_slid_along(plan)), not _is_doubtful(plan), kept, len(plan.inputs), plan.window_frames


def _is_of_images(graph: Graph, axes: Axes, plan: Plan) -> bool:
    """Whether inputs are (1, T, H, W, C) and each image is an answer; kernels slide along its height and width then."""
    images = [len(graph.tensors[i].shape) == _RANK_OF_IMAGES for i in graph.inputs]
    return (
        any(images)
        and _keeps_time(plan)
        and all(a in (1, None) for a, image in zip(axes, images, strict=True) if image)
    )


def _is_doubtful(plan: Plan) -> bool:
    """Whether an input has a rate of its own and nothing shows that it has time: no kernel slides along it."""
    return len(set(plan.input_steps)) > 1 and not all(_inputs_slid_along(plan))


def _rivals(other: Axes, taken: Axes) -> bool:
    """Whether another choice is one of axes, not of which inputs have time."""
    return all((a is None) == (b is None) for a, b in zip(other, taken, strict=True))


def _assumed(graph: Graph, axes: Axes) -> str:
    """What a refusal took for time."""
    (i, axis), *_ = ((i, axis) for i, axis in zip(graph.inputs, axes, strict=True) if axis is not None)
    static = [graph.tensors[i].name for i, axis in zip(graph.inputs, axes, strict=True) if axis is None]
    without = f", and {' and '.join(f'`{name}`' for name in static)} to have none" if static else ""
    return f"Time is taken to be axis {axis} of the input {written(graph.tensors[i])}{without}"


def choices(graph: Graph, time_axis: int | None) -> Iterator[Axes]:
    """Axes for all inputs, those in which most of them have time first; None: an input without time."""
    named = [[time_axis] if time_axis is not None else _candidates(graph, i) for i in graph.inputs]
    count = len(graph.inputs)
    for timeless in range(count):
        for static in itertools.combinations(range(count - 1, -1, -1), timeless):
            yield from itertools.product(*([None] if k in static else axes for k, axes in enumerate(named)))


def _candidates(graph: Graph, i: int) -> list[int]:
    """The axes of an input that can be time; the first one is the batch, unless there are two, or the second is 1.

    Where kernels keep states of their own, a row of values may be one frame, and each invocation a step.
    """
    tensor = graph.tensors[i]
    shape = tensor.shape
    if left_open := open_time_axes(tensor):
        return list(left_open)
    first = 0 if shape[:1] != (1,) and (len(shape) < 3 or shape[1] == 1) else min(1, len(shape) - 1)
    longer = [axis for axis in range(first, len(shape)) if shape[axis] > 1]
    steps = [0] if len(shape) == 2 and shape[0] == 1 and _keeps_states(graph) else []
    return steps + (longer or [first])


def _keeps_states(graph: Graph) -> bool:
    return any(graph.tensors[i].is_variable for op in graph.ops for i in op.inputs if i != ABSENT)


def _usual(graph: Graph, i: int) -> int:
    """The first of the candidates that is not the last axis, where channels stand."""
    candidates = _candidates(graph, i)
    return next((axis for axis in candidates if axis < max(2, len(graph.tensors[i].shape) - 1)), candidates[0])


def slides(plan: Plan) -> bool:
    """Whether a kernel or a pool goes along time."""
    return any(_inputs_slid_along(plan))


def _is_dense(node: Node) -> bool:
    """Whether a kernel is a dense layer over all of a window, and slides along nothing in the file."""
    return isinstance(node.options, ConvolutionOptions) and node.options.dense


def _is_running_sum(plan: Plan, state: Node) -> bool:
    """Whether what is fed back is only added to, as channels may be, too; a recurrent layer weighs it."""
    held = state.outputs[0]
    return any(
        node.kind == ADD.kind and held in node.inputs and plan.states[held] in node.outputs for node in plan.nodes
    )


def _inputs_slid_along(plan: Plan) -> list[bool]:
    """For every input of the plan, whether a kernel, a pool, a recurrence or a frame of samples goes along its time."""
    keeps_time = _keeps_time(plan)
    roots = {i: {i} for i in plan.inputs}
    found: set[int] = set()
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        reached = set[int]().union(*(roots[i] for i in sources))
        roots |= dict.fromkeys(node.outputs, reached)
        slid = isinstance(node.options, SpatialOptions) and not _is_dense(node)
        # Where no time is left, what puts frames side by side may be a dense layer over all of the window.
        slid |= keeps_time and node.kind == TIME_WINDOW.kind
        if (slid and node.window.extent > 1) or (node.kind == TIME_STATE.kind and not _is_running_sum(plan, node)):
            found |= reached
    return [i in found for i in plan.inputs]
