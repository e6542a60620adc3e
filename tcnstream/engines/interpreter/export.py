"""A model as a streaming .tflite for firmware: state as resource variables for TFLite Micro, or as inputs and outputs.

The generated graph takes ``hop_frames`` new frames and gives the frames that they make possible. What
an operation reads of the past lies in one resource variable per tensor, or comes in as an input and goes out as an
output, for compilers ahead of time that know no variables. Shapes are fixed, so every
tensor trails its place by a fixed number of frames, its lag, and its first frames stand for times before
the signal: those are replaced with the padding of the operation that reads them (``beginning``). The
stream is therefore exact from its first frame on, as ``Stream.push`` is. It cannot be flushed: the
frames that need the signal's end never come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol, TypeAlias

import numpy as np

from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.pool import AVERAGE_POOL_2D, MAX_POOL_2D
from tcnstream.compiler.operations.time import TIME_STATE
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.timing import first_read, timings
from tcnstream.engines.interpreter.beginning import Beginning
from tcnstream.engines.interpreter.emit import emit
from tcnstream.engines.interpreter.step import NeedsHost, Range, Span, StepGraph, Work, lay_out
from tcnstream.engines.state import State
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array, Graph, Op, Tensor
from tcnstream.tflite.schema import OBJECT
from tcnstream.tflite.writer import write_model

Keeps: TypeAlias = Literal["variables", "inputs"]
"""Where a streaming .tflite keeps its state."""

_LATER = 1 << 20
"""A step far from the start, in hops: where a step stands does not change the graph."""

_WAYS_OUT = "stream the model on the host instead, where there is no such limit, or end it before this operation"


@dataclass(frozen=True)
class ExportedTensor:
    """Where frames of a plan's tensor stand in the exported graph: tensor ``index`` holds ``frames_per_hop`` of them
    after each invocation, and the first ``lag_frames`` of all come before the signal.
    """

    index: int
    frames_per_hop: int
    lag_frames: int


@dataclass(frozen=True)
class StreamingExport:
    """A generated .tflite and what firmware must know of it.

    Inputs are ``(1, hop_frames, *frame_shape)``. Output k gives ``(1, frames_per_hop[k], *frame_shape)``,
    and the first ``lag_frames[k]`` of its frames come before the signal and are to be dropped.
    ``state_bytes`` lie in ``variables`` resource variables, or come after the inputs as ``variables`` more, ``starts``
    at first, and go out after the outputs in the same order; ``operations`` are the kinds to register.
    ``tensors`` says where each of the plan's tensors can be read, ``remembered`` where what the graph keeps of it for
    the next hop.
    """

    content: bytes
    hop_frames: int
    frames_per_hop: tuple[int, ...]
    lag_frames: tuple[int, ...]
    variables: int
    state_bytes: int
    operations: tuple[str, ...]
    tensors: Mapping[int, ExportedTensor] = field(default_factory=dict)
    remembered: Mapping[int, int] = field(default_factory=dict)
    starts: tuple[Array, ...] = ()


class HasPlan(Protocol):
    """A Model, or what else holds a plan."""

    plan: Plan


def streaming_tflite(model: HasPlan | Plan, hop_frames: int | None = None) -> bytes:
    """The bytes of ``export_streaming``."""
    return export_streaming(model, hop_frames).content


def export_streaming(
    model: HasPlan | Plan, hop_frames: int | None = None, start: State | None = None, state: Keeps = "variables"
) -> StreamingExport:
    """``model`` as a .tflite that takes ``hop_frames`` frames per invocation; None takes the fewest.

    ``start`` is the state of a stream, after whole hops, with which the file begins instead of silence. ``state`` says
    where a file keeps its state: in "variables" of its own, or nowhere: "inputs" gives a graph of one kind of
    operations alone, whose state comes in and goes out.

    Raises EngineError for what has no form with fixed shapes (mirrored edges, averages that do not count
    padding, policies) and for a hop after which some tensor would have a part of a frame.
    """
    plan = model if isinstance(model, Plan) else model.plan
    hop_frames = _checked_hop(plan, hop_frames)
    if start is not None and (start.ended or start.pushed_frames % hop_frames):
        raise EngineError(
            f"a streaming .tflite begins after whole hops of {hop_frames} frames of a signal that goes on, and this"
            f" stream {'has ended' if start.ended else f'took {start.pushed_frames} frames'}"
        )
    step = (_ExportGraph if state == "variables" else _PlainGraph)(plan, hop_frames, start)
    for k in range(len(plan.nodes)):
        step.add_node(k)
    graphs = step.finish()
    content = write_model(graphs, description=f"streaming, {hop_frames} frames per invocation")
    return StreamingExport(
        content,
        hop_frames,
        tuple(step.per_hop[o] for o in plan.outputs),
        tuple(step.lag[o] for o in plan.outputs),
        len(step.variables),
        sum(variable.start.nbytes for variable in step.variables),
        tuple(sorted({op.kind for graph in graphs for op in graph.ops})),
        {i: ExportedTensor(at, step.per_hop[i], step.lag[i]) for i, at in sorted(step.made.items())},
        step.following,
        tuple(variable.start for variable in step.variables) if state == "inputs" else (),
    )


@dataclass(frozen=True, eq=False)
class _Variable:
    """A part of the state: its handle if it is a variable, its value at the start of the step and of the stream."""

    name: str
    handle: int
    value: int
    start: Array


class _ExportGraph(StepGraph):
    """A step at any time but the end, whose past comes from resource variables."""

    taps = False

    def __init__(self, plan: Plan, hop_frames: int, start: State | None) -> None:
        self.start = start
        self.hops = 0 if start is None else start.pushed_frames // hop_frames
        self.following: dict[int, int] = {}
        self.per_hop = _frames_per_hop(plan, hop_frames)
        self.lag = _lags(plan, self.per_hop)
        self.padding = _paddings(plan)
        self.finite = finite_in_silence(plan)
        ends = zip(self.per_hop, self.lag, strict=True)
        super().__init__(plan, [Span(n * _LATER - lag, n * (_LATER + 1) - lag) for n, lag in ends])
        self._begin()
        self.variables: list[_Variable] = []
        self.past = {i: self._remember(i, frames) for i, frames in enumerate(self._past_frames()) if frames}
        self.joined: dict[int, int] = {}
        self.beginning = Beginning(self, self.hops, lambda like, start: self._variable(like, start).value)
        for i in plan.inputs:
            tensor = plan.tensors[i]
            x = self.value(tensor, (1, hop_frames, *tensor.shape))
            self.inputs.append(x)
            self.made[i] = self.reshape(x, (1, hop_frames, *lay_out(tensor.shape)))

    def _begin(self) -> None:
        self.ops.append(Op("CALL_ONCE", (), (), {"init_subgraph_index": 1}))

    def _past_frames(self) -> list[int]:
        past = [0] * len(self.plan.tensors)
        for node, sources in zip(self.plan.nodes, self.plan.sources, strict=True):
            begin = first_read(node.window, self.spans[node.outputs[0]].have)
            for i in sources:
                past[i] = max(past[i], self.spans[i].have - begin)
        return past

    def _remember(self, i: int, frames: int) -> _Variable:
        """The last frames of tensor ``i``, which are padding before the start."""
        tensor = self.plan.tensors[i]
        padding = self.padding.get(i, _zero(tensor))
        past = np.full((1, frames, *lay_out(tensor.shape)), padding, tensor.dtype)
        if self.start is not None:
            queue = self.start.queues[i]
            live = queue.read(max(queue.first_frame, queue.end_frame - frames), queue.end_frame)
            past[0, frames - len(live) :] = live.reshape(len(live), *past.shape[2:])
        return self._variable(tensor, past)

    def _variable(self, like: Tensor, start: Array) -> _Variable:
        name = f"state{len(self.variables)}"
        self.tensors.append(Tensor(name, (), OBJECT))
        handle = len(self.tensors) - 1
        self.ops.append(Op("VAR_HANDLE", (), (handle,), {"container": "", "shared_name": name}))
        value = self.op("READ_VARIABLE", (handle,), like, start.shape)
        self.variables.append(_Variable(name, handle, value, start))
        return self.variables[-1]

    def add_node(self, k: int) -> None:
        node = self.plan.nodes[k]
        o = node.outputs[0]
        try:
            emit(self, Work(k, self.spans[o].have, self.per_hop[o]))
        except NeedsHost as e:
            raise _refusal(node, f"({e}) has no form in TFLite alone") from None
        for o in node.outputs:
            if o in self.padding and self.lag[o] > 0:
                self.made[o] = self._pad_before_start(o)

    def _pad_before_start(self, i: int) -> int:
        """New frames of ``i``, with padding in the place of those before the signal's start."""
        n, lag = self.per_hop[i], self.lag[i]
        # Frame a of hop k is frame k * n + a - lag of the signal.
        first_hops = tuple(-((a - lag) // n) for a in range(n))
        made, like = self.made[i], self.plan.tensors[i]
        return self.beginning.pad(made, like, self.padding[i], first_hops, passes_nan=i in self.finite)

    def read(self, node: Node, work: Work, position: int, ranges: Sequence[Range] | None = None) -> int:
        i = node.inputs[position]
        begin, end = self.whole_range(node, work)
        begin, end = begin - self.spans[i].have, end - self.spans[i].have
        if begin >= 0:
            found = self.cut(self.made[i], begin, end - begin)
        else:
            found = self.cut(self._with_past(i), begin + len(self.past[i].start[0]), end - begin)
        return self.reshape(found, (1, end - begin, *lay_out(node.views[position])))

    def _with_past(self, i: int) -> int:
        if i not in self.joined:
            self.joined[i] = self.concatenate([self.past[i].value, self.made[i]])
        return self.joined[i]

    def _outputs(self) -> list[int]:
        return [
            self.reshape(self.made[o], (1, self.per_hop[o], *shape))
            for o, shape in zip(self.plan.outputs, self.plan.output_shapes, strict=True)
        ]

    def _follow(self, i: int) -> int:
        """What is remembered of tensor ``i`` for the next hop."""
        self.following[i] = self.cut(self._with_past(i), self.per_hop[i], len(self.past[i].start[0]))
        return self.following[i]

    def _followed(self) -> list[tuple[_Variable, int]]:
        """Every part of the state with the tensor that is its value in the next hop."""
        values = {variable.value: self._follow(i) for i, variable in self.past.items()} | self.beginning.following
        return [(variable, values[variable.value]) for variable in self.variables]

    def finish(self) -> list[Graph]:
        """The main graph and the one that sets the variables to their start."""
        outputs = self._outputs()
        for variable, value in self._followed():
            self.ops.append(Op("ASSIGN_VARIABLE", (variable.handle, value), ()))
        main = Graph(tuple(self.tensors), tuple(self.ops), tuple(self.inputs), tuple(outputs), "main")
        return [main, self._start()]

    def _start(self) -> Graph:
        tensors: list[Tensor] = []
        ops = []
        for k, variable in enumerate(self.variables):
            tensors.append(Tensor(variable.name, (), OBJECT))
            tensors.append(Tensor("", variable.start.shape, variable.start.dtype, None, variable.start))
            ops.append(Op("VAR_HANDLE", (), (2 * k,), {"container": "", "shared_name": variable.name}))
            ops.append(Op("ASSIGN_VARIABLE", (2 * k, 2 * k + 1), ()))
        return Graph(tuple(tensors), tuple(ops), (), (), "start")


class _PlainGraph(_ExportGraph):
    """The same with the state as inputs and outputs, and nothing in it but operations on frames."""

    def _begin(self) -> None:
        """There are no variables to set."""

    def _variable(self, like: Tensor, start: Array) -> _Variable:
        name = f"state{len(self.variables)}"
        self.tensors.append(Tensor(name, start.shape, like.dtype, like.quantization))
        self.variables.append(_Variable(name, -1, len(self.tensors) - 1, start))
        return self.variables[-1]

    def finish(self) -> list[Graph]:
        outputs = self._outputs() + [value for _, value in self._followed()]
        inputs = (*self.inputs, *(variable.value for variable in self.variables))
        return [Graph(tuple(self.tensors), tuple(self.ops), inputs, tuple(outputs), "main")]


def _refusal(node: Node, why: str) -> EngineError:
    return EngineError(f"`{node.kind}` (op {node.index}, `{node.label}`) {why}; {_WAYS_OUT}")


def _checked_hop(plan: Plan, hop_frames: int | None) -> int:
    rates = [Fraction(1), *(t.rate for t in timings(plan) if t is not None)]
    fewest = math.lcm(*(rate.denominator for rate in rates))
    if hop_frames is None:
        return fewest
    if hop_frames < 1 or hop_frames % fewest:
        raise EngineError(
            f"a hop of {hop_frames} frames leaves part of a frame behind one of the model's strides;"
            f" use a multiple of {fewest}"
        )
    return hop_frames


def _frames_per_hop(plan: Plan, hop_frames: int) -> list[int]:
    return [0 if t is None else int(t.rate * hop_frames) for t in timings(plan)]


def _lags(plan: Plan, per_hop: Sequence[int]) -> list[int]:
    """Frames by which each tensor trails its place at the end of every hop, the fewest possible."""
    lag = [0] * len(plan.tensors)
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        window = node.window
        cut_off = min(window.pad_end or 0, 0)
        missing = []
        for i in sources:
            missing.append(-((window.pad_begin + cut_off - window.extent - window.up * lag[i]) // window.stride + 1))
        for o in node.outputs:
            lag[o] = max(0, *missing)
    return lag


def _paddings(plan: Plan) -> dict[int, float | int]:
    """What stands for frames before the start, for each tensor of which such frames are read."""
    padding: dict[int, float | int] = {}
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        window = node.window
        if node.kind == TIME_STATE.kind:
            raise EngineError(
                f"the file keeps a state from frame to frame (`{node.label}`), as an export of a stream does: run it"
                " as it is, or export the model that it was made of"
            )
        if operation(node.kind).over_time:
            raise _refusal(node, "is a statistic over time")
        if window.edge != "fill" and (window.pad_begin > 0 or (window.pad_end or 0) > 0):
            raise _refusal(node, "mirrors the signal at its edges")
        if first_read(window, 0) >= 0:
            continue
        if node.kind == AVERAGE_POOL_2D.kind:
            raise _refusal(node, "does not count the padding before the start")
        for i in sources:
            fill = _lowest(plan.tensors[i]) if node.kind == MAX_POOL_2D.kind else node.fill
            if padding.setdefault(i, fill) != fill:
                raise _refusal(node, "and another operation pad one tensor with different values")
    return padding


def finite_in_silence(plan: Plan) -> set[int]:
    """Tensors that are numbers where nothing but numbers has come in, whatever the weights."""
    finite = set(plan.inputs)
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        if operation(node.kind).keeps_numbers and finite.issuperset(sources):
            finite.update(node.outputs)
    return finite


def _lowest(tensor: Tensor) -> float | int:
    if tensor.dtype.kind == "f":
        return float(np.finfo(np.float32).min)
    return int(np.iinfo(tensor.dtype).min)  # type: ignore[type-var]


def _zero(tensor: Tensor) -> int:
    return 0 if tensor.quantization is None else int(tensor.quantization.zero_point.flat[0])
