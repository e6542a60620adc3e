"""A graph that takes steps by itself -> Plan: one step is one frame, in which all of the graph's tensors lie whole.

The frames of a hop go side by side into the step's frame, what a step gives of several frames is cut into them again,
and the state before a step is what came after the one before. An incomplete hop at the end of a signal gives nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tcnstream.compiler.loops import arrange
from tcnstream.compiler.lower import lower_operations
from tcnstream.compiler.lowering import Lowering, TimedTensor, frame_shape
from tcnstream.compiler.operations.time import STATEFUL_GRAPH, TIME_UNFOLD, TIME_WINDOW, GraphOptions, state
from tcnstream.compiler.plan import Node, Plan, StepGraph, Window
from tcnstream.compiler.prepare import prepared
from tcnstream.compiler.simplify import simplify
from tcnstream.compiler.static import Compute, split
from tcnstream.compiler.timing import timings
from tcnstream.compiler.validate import check_numbers, validate
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import Array, Graph, Op, Tensor


def compile_steps(
    steps: StepGraph,
    time_axis: int | None = None,
    static: Mapping[int, Array | None] | None = None,
    compute: Compute | None = None,
) -> Plan:
    """The plan of a model that takes steps by itself.

    Inputs are (1, hop frames, *frame) in the file, or as ``time_axis`` says; where states are inputs and outputs of the
    file, (1, features) is one frame. An output of three or more axes gives as many frames per step as its axis 1 is
    long, any other one gives one. ``static`` are values of tensors that are no inputs of ``steps`` (None: any), and
    ``compute`` is what an engine gives. What has no plan as frames is a plan of one node, which the file's own
    interpreter runs. Raises ModelError, and NotStreamableError for inputs without a hop.
    """
    for i in (*steps.graph.inputs, *steps.graph.outputs):
        check_numbers(steps.graph.tensors[i])
    axes = [_time_of(steps, i, time_axis) for i in steps.inputs]
    hop = _hop(steps, axes)
    try:
        plan = arrange(simplify(_lowered(replace(steps, graph=_prepared(steps, static or {}, compute)), axes, hop)))
        timings(plan)  # refuses what joins tensors of different rates
    except NotStreamableError as e:
        plan = arrange(simplify(_lowered(steps, axes, hop, refusal=str(e))))
    if steps.is_fed_back:
        # An interpreter keeps the place of its ends only where no shape is computed at run time.
        steps = replace(steps, graph=validate(steps.graph))
    return replace(plan, steps=steps, input_axes=tuple(axes))


def _time_of(steps: StepGraph, i: int, time_axis: int | None) -> int | None:
    """The axis of an input along which the frames of a hop lie; None: all of it is one frame."""
    if time_axis is None and steps.is_fed_back and len(steps.graph.tensors[i].shape) < 3:
        return None
    return 1 if time_axis is None else time_axis


def _prepared(steps: StepGraph, static: Mapping[int, Array | None], compute: Compute | None) -> Graph:
    """The graph of a step, with what it computes of static values as constants."""
    if not static:
        return prepared(steps.graph, compute)
    tensors = [replace(t, data=None) if i in static else t for i, t in enumerate(steps.graph.tensors)]
    inputs = (*static, *steps.graph.inputs)
    part = split(prepared(replace(steps.graph, tensors=tuple(tensors), inputs=inputs), compute), tuple(static))
    values = [x for x in static.values() if x is not None]
    return part.filled(values, compute) if compute is not None and len(values) == len(static) else part.rest


def _hop(steps: StepGraph, axes: Sequence[int | None]) -> int:
    """The frames of a step."""
    hops = set()
    for i, axis in zip(steps.inputs, axes, strict=True):
        shape = steps.graph.tensors[i].shape
        if axis is not None and (not 0 < axis < len(shape) or any(n != 1 for n in shape[:axis])):
            raise NotStreamableError(
                f"input `{steps.graph.tensors[i].name}` of shape {shape} has no time on axis {axis}; name it with"
                " time_axis="
            )
        hops.add(1 if axis is None else shape[axis])
    if len(hops) != 1:
        raise NotStreamableError(
            f"the model's inputs take {sorted(hops)} frames per invocation; all must have one rate"
        )
    return hops.pop()


def _lowered(steps: StepGraph, axes: Sequence[int | None], hop: int, refusal: str | None = None) -> Plan:
    """The plan, of operations or, with a ``refusal`` of one of them, of the graph as it is."""
    lw = Lowering(replace(steps.graph, inputs=steps.inputs, outputs=steps.outputs))
    for i, axis in zip(steps.inputs, axes, strict=True):
        _take_hop(lw, i, axis, hop)
    clock = lw.operand(steps.inputs[0])
    for before, _, start in steps.states:
        like = lw.graph.tensors[before]
        shape = frame_shape(like.shape, None)
        first = Tensor(like.name, shape, like.dtype, like.quantization, start.reshape(shape))
        value, _ = state(lw, _naming(before), first, clock, 1)
        lw.streams[before] = TimedTensor(value, None, 1)
    if refusal is None:
        lower_operations(lw)
    else:
        _run_whole(lw, steps, refusal)
    for before, after, _ in steps.states:
        lw.feed_back(lw.streams[before].value, lw.streams[after].value)
    for o in dict.fromkeys(steps.outputs):
        _cut_into_frames(lw, o)
    return lw.plan()


def _naming(i: int) -> Op:
    """An operation that no file has: what the compiler makes of tensor ``i``."""
    return Op("", (), (i,))


def _take_hop(lw: Lowering, i: int, axis: int | None, hop: int) -> None:
    tensor = lw.graph.tensors[i]
    frame = frame_shape(tensor.shape, axis)
    value = lw.add_value(tensor, frame, hop)
    lw.inputs.append(value)
    if hop > 1:
        window = Window(stride=hop, extent=hop)
        whole = (hop, *frame)
        value, _ = lw.step(_naming(i), [(value, frame)], tensor, whole, 1, TIME_WINDOW.kind, window=window)
    lw.streams[i] = TimedTensor(value, None, 1)


def _cut_into_frames(lw: Lowering, o: int) -> None:
    """What a step gives of an output, frame by frame."""
    if o not in lw.streams or len(lw.shape(o)) < 3:
        return
    tensor, stream, frames = lw.graph.tensors[o], lw.streams[o], lw.shape(o)[1]
    value = stream.value
    if frames > 1:
        frame = frame_shape(tensor.shape, 1)
        window = Window(up=frames, extent=frames, pad_begin=frames - 1)
        whole = (value, (frames, *frame))
        value, _ = lw.step(_naming(o), [whole], tensor, frame, frames, TIME_UNFOLD.kind, window=window)
    lw.streams[o] = TimedTensor(value, 1, frames)


def _run_whole(lw: Lowering, steps: StepGraph, refusal: str) -> None:
    """One node for all operations."""
    graph = steps.graph
    inputs = [lw.operand(i) for i in graph.inputs]
    made = []
    for o in graph.outputs:
        tensor = graph.tensors[o]
        made.append(lw.add_value(tensor, frame_shape(tensor.shape, None), 1))
        lw.streams[o] = TimedTensor(made[-1], None, 1)
    values, views = tuple(value for value, _ in inputs), tuple(view for _, view in inputs)
    options = GraphOptions(refusal)
    node = Node(STATEFUL_GRAPH.kind, values, tuple(made), views, options, label=graph.name or "model", index=0)
    lw.nodes.append(node)
