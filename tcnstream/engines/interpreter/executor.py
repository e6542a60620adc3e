"""The interpreter engine: every step of a stream is a generated .tflite graph.

Execution is by availability. How many frames each operation computes in a step, and which of the
frames that it reads are remembered, new or padding, is the step's pattern. Each pattern is compiled
once, without masks, so that edges cost nothing in the middle of a signal: in steady state there is
one pattern per phase of the model's strides. What TFLite cannot express runs on the reference kernels
between two graphs.
"""

from __future__ import annotations

import math
import operator
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tcnstream.compiler.operations.activation import RSQRT
from tcnstream.compiler.operations.elementwise import DIV, FLOOR_DIV, FLOOR_MOD, POW
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.timing import counts, first_read, last_read, oldest_kept, oldest_needed, timings
from tcnstream.engines.base import StateExecutor
from tcnstream.engines.interpreter.emit import emit
from tcnstream.engines.interpreter.runtime import dense_is_wrong, find_runtime, memory_of, open_interpreter
from tcnstream.engines.interpreter.step import Feed, NeedsHost, Span, StepGraph, Work, depends_on_edge, touches_edge
from tcnstream.engines.interpreter.turns import Turns
from tcnstream.engines.reference.executor import ReferenceExecutor, nodes_without_kernel, run_nodes
from tcnstream.engines.state import State
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array
from tcnstream.tflite.writer import write_model

_MAX_PROGRAMS = 256
_MAX_PROGRAM_BYTES = 1 << 26


class _Fill(NamedTuple):
    """Copy every ``stride``-th frame from ``begin`` to ``end`` of a tensor into ``memory``.

    Both count from the frames before the step; what lies outside of the signal is ``padding``.
    """

    memory: Array
    tensor: int
    begin: int
    end: int
    stride: int
    padding: float | int


@dataclass(frozen=True, eq=False)
class _Invoke:
    """Consecutive nodes as one graph."""

    interpreter: Any
    file_bytes: int
    fills: tuple[_Fill, ...]
    fetches: tuple[tuple[int, Array], ...]


@dataclass(frozen=True)
class _OnHost:
    """Nodes on the reference kernels: one, or all of a loop."""

    nodes: range


@dataclass(frozen=True, eq=False)
class _Program:
    """A compiled pattern. Frames that nothing reads later never leave the interpreter."""

    stages: tuple[_Invoke | _OnHost, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the files behind it; what an interpreter takes is in proportion."""
        return sum(stage.file_bytes for stage in self.stages if isinstance(stage, _Invoke))


@dataclass(frozen=True, eq=False)
class _Push:
    """A push in steady state: new frames of every tensor, and (tensor, frames) that its queues keep."""

    program: _Program
    frames: tuple[int, ...]
    kept: tuple[tuple[int, int], ...]


class InterpreterExecutor(StateExecutor):
    """Runs a plan in the installed TFLite interpreter; safe to share between streams and threads.

    ``exact`` takes the interpreter's reference kernels, whose integer results are the definition;
    else its optimised kernels and delegates run, a step or more apart in integer models (see
    ``measure_deviation``).

    Raises EngineError if no interpreter is installed or an operation has no form here.
    """

    name = "interpreter"
    block_frames: tuple[int, ...] = (256, 64, 16, 4, 1)

    def __init__(self, plan: Plan, exact: bool = True) -> None:
        if lacking := nodes_without_kernel(plan):
            node = lacking[0]
            raise EngineError(
                f"the interpreter engine lacks `{node.kind}` (op {node.index}, `{node.label}`), and no other"
                " engine has it; end the model before it"
            )
        self.plan = plan
        self.exact = exact
        runtime = find_runtime()
        self._avoids_dense = exact and runtime.wrong_dense_reference
        self._never_emitted = {k for k, node in enumerate(plan.nodes) if _stops_at_values(plan, node)}
        self._programs: OrderedDict[object, _Program] = OrderedDict()
        self._program_bytes = 0
        self._steady: dict[object, _Program] = {}
        self._pushes: dict[tuple[int, int], _Push] = {}
        self._turns = Turns()
        self._period, self._probe, self._probe_frames = _steady_state(plan)

    def run(self, state: State, goal: list[int]) -> None:
        """As ``StateExecutor.run``."""
        with self._turns:
            _execute(self._program(state, goal), state, goal)

    def advance(self, memory: State, chunks: Sequence[Array] | None) -> list[Array]:
        """As ``Executor.advance``, without counting anew what repeats in steady state."""
        if chunks is None:
            return super().advance(memory, chunks)
        with self._turns:
            push = None
            if memory.have[self._probe] > self._probe_frames:
                key = memory.pushed_frames % self._period, len(chunks[0])
                push = self._pushes.get(key)
                if push is None:
                    push = self._pushes[key] = self._steady_push(memory, len(chunks[0]))
            begins = [memory.have[o] for o in self.plan.outputs]
            if push is None:
                goal = memory.arrive(chunks)
                program = self._program(memory, goal)
            else:
                goal = list(map(operator.add, memory.have, push.frames))
                memory.take(chunks)
                program = push.program
            _execute(program, memory, goal)
            made = [memory.queues[o].read(begin, goal[o]) for begin, o in zip(begins, self.plan.outputs, strict=True)]
            if push is None:
                memory.trim()
            else:
                memory.keep(push.kept)
            return made

    def _steady_push(self, state: State, n: int) -> _Push:
        plan, have = self.plan, list(state.have)
        goal = counts(plan, state.pushed_frames + n, ended=False)
        before, after = oldest_needed(plan, have), oldest_needed(plan, goal)
        new_frames = tuple(map(operator.sub, goal, have))
        in_use = {i for i in range(len(have)) if before[i] < have[i]} | set(plan.inputs)
        for i in plan.inputs:
            have[i] = goal[i]
        program = self._compiled(have, goal)
        in_use |= {i for stage in program.stages for i in _produced(plan, stage)}
        return _Push(program, new_frames, tuple((i, goal[i] - after[i]) for i in sorted(in_use)))

    def _program(self, state: State, goal: list[int]) -> _Program:
        if state.ended or state.have[self._probe] <= self._probe_frames:
            return self._compiled(state.have, goal)
        key = state.pushed_frames % self._period, tuple(map(operator.sub, goal, state.have))
        program = self._steady.get(key)
        if program is None:
            program = self._steady[key] = self._compiled(state.have, goal)
        return program

    def _compiled(self, have: list[int], goal: list[int]) -> _Program:
        pattern = self._pattern(have, goal)
        program = self._programs.get(pattern)
        if program is None:
            program = self._programs[pattern] = self._compile(have, goal)
            self._program_bytes += program.nbytes
            self._forget_oldest()
        self._programs.move_to_end(pattern)
        return program

    def _forget_oldest(self) -> None:
        while len(self._programs) > _MAX_PROGRAMS or (
            self._program_bytes > _MAX_PROGRAM_BYTES and len(self._programs) > 1
        ):
            _, oldest = self._programs.popitem(last=False)
            self._program_bytes -= oldest.nbytes
            self._steady.clear()
            self._pushes.clear()

    def _pattern(self, have: list[int], goal: list[int]) -> object:
        """All that a compiled step depends on, free of how long the stream has been running."""
        pattern: list[object] = [tuple(map(operator.lt, oldest_needed(self.plan, goal), goal))]
        for work in _works(self.plan, have, goal):
            node = self.plan.nodes[work.index]
            begin = first_read(node.window, work.first_frame)
            end = last_read(node.window, work.first_frame + work.frames - 1) + 1
            phase = (node.window.stride * work.first_frame - node.window.pad_begin) % node.window.up
            sources = tuple((begin - have[i], end - have[i], goal[i] - have[i]) for i in self.plan.sources[work.index])
            pattern.append((work.index, work.frames, phase, sources, begin < 0 and depends_on_edge(node)))
        return tuple(pattern)

    def _compile(self, have: list[int], goal: list[int]) -> _Program:
        plan = self.plan
        spans = [Span(h, g) for h, g in zip(have, goal, strict=True)]
        works = _works(plan, have, goal)
        parts: list[StepGraph | _OnHost] = []
        loops = {k: loop for loop in plan.loops for k in loop}
        for work in works:
            if loop := loops.get(work.index):
                if work.index == loop.start:
                    parts.append(_OnHost(loop))
                continue
            try:
                self._emit(plan, parts, spans, work)
            except NeedsHost:
                parts.append(_OnHost(range(work.index, work.index + 1)))
        needed = oldest_needed(plan, goal)
        kept = {i for i in range(len(goal)) if needed[i] < goal[i] or i in plan.outputs}
        stages: list[_Invoke | _OnHost] = []
        for k, part in enumerate(parts):
            if isinstance(part, _OnHost):
                stages.append(part)
                continue
            later = {i for other in parts[k + 1 :] for n in other.nodes for i in plan.nodes[n].inputs}
            fetched = [i for i in part.made if i in kept or i in later]
            try:
                stages.append(self._open(part, fetched))
            except (RuntimeError, ValueError):
                self._find_unsupported(part, works, spans)
                return self._compile(have, goal)
        return _Program(tuple(stages))

    def _emit(self, plan: Plan, parts: list[StepGraph | _OnHost], spans: Sequence[Span], work: Work) -> None:
        node = plan.nodes[work.index]
        if work.index in self._never_emitted or (depends_on_edge(node) and touches_edge(plan, node, work, spans)):
            raise NeedsHost(node.kind)
        step = parts[-1] if parts and isinstance(parts[-1], StepGraph) else StepGraph(plan, spans)
        before = len(step.ops)
        emit(step, work)
        if self._avoids_dense and dense_is_wrong(step.graph(())):
            del step.ops[before:]
            for o in node.outputs:
                del step.made[o]
            step.nodes.pop()
            raise NeedsHost(node.kind)
        if not parts or parts[-1] is not step:
            parts.append(step)

    def _open(self, step: StepGraph, fetched: Sequence[int]) -> _Invoke:
        content = write_model([step.graph(fetched)])
        interpreter = open_interpreter(content, self.exact)
        inputs = [memory_of(interpreter, d["index"]) for d in interpreter.get_input_details()]
        outputs = [memory_of(interpreter, d["index"]) for d in interpreter.get_output_details()]
        for memory in inputs:
            memory[...] = 0
        # Some kernels reject a type only when they run.
        interpreter.invoke()
        fills = tuple(self._fill(inputs[feed.graph_input], feed) for feed in step.feeds)
        tensors = self.plan.tensors
        fetches = tuple((i, a.reshape(a.shape[1], *tensors[i].shape)) for i, a in zip(fetched, outputs, strict=True))
        return _Invoke(interpreter, len(content), fills, fetches)

    def _fill(self, memory: Array, feed: Feed) -> _Fill:
        node = self.plan.nodes[feed.node]
        i = node.inputs[feed.position]
        frames = memory.reshape(memory.shape[1], *self.plan.tensors[i].shape)
        part = frames[feed.offset : feed.offset + feed.frames]
        return _Fill(part, i, feed.begin, feed.end, feed.stride, node.fill)

    def _find_unsupported(self, step: StepGraph, works: Sequence[Work], spans: Sequence[Span]) -> None:
        """Mark the nodes of a graph that the interpreter rejects, so that they run on the host."""
        found = False
        by_index = {work.index: work for work in works}
        for k in step.nodes:
            alone = StepGraph(self.plan, spans)
            emit(alone, by_index[k])
            try:
                self._open(alone, self.plan.nodes[k].outputs)
            except (RuntimeError, ValueError):
                self._never_emitted.add(k)
                found = True
        if not found:
            raise EngineError(
                "the installed TFLite interpreter rejects the generated graph though it takes each operation of it;"
                ' use engine="reference" or engine="native"'
            )


def _stops_at_values(plan: Plan, node: Node) -> bool:
    """Whether TFLite's kernel ends the run at some values, in the midst of a stream.

    RSQRT and POW do at integers below 0; what divides does at 0, of integers, and FLOOR_DIV also of real numbers.
    """
    integers = plan.tensors[node.outputs[0]].dtype.kind in "iu"
    if node.kind not in _DIVISIONS:
        return integers and node.kind in (RSQRT.kind, POW.kind)
    divisor = plan.tensors[node.inputs[1]]
    zero = 0 if divisor.quantization is None else divisor.quantization.zero_point[0]
    return (integers or node.kind == FLOOR_DIV.kind) and (divisor.data is None or bool((divisor.data == zero).any()))


_DIVISIONS = (DIV.kind, FLOOR_DIV.kind, FLOOR_MOD.kind)


def measure_deviation(plan: Plan, signal: Sequence[Array]) -> float:
    """How far the fast kernels are from the exact answer on ``signal``, the largest over all outputs.

    ``signal`` has one array ``(n, *frame_shape)`` in the model's dtype per input. In quantization
    steps for integer outputs, in the output's unit for float ones.
    """
    exact = _run_whole(ReferenceExecutor(plan), plan, signal)
    fast = _run_whole(InterpreterExecutor(plan, exact=False), plan, signal)
    distances = (np.abs(a.astype(np.float64) - b.astype(np.float64)) for a, b in zip(exact, fast, strict=True))
    return max(float(d.max(initial=0.0)) for d in distances)


def _run_whole(executor: ReferenceExecutor | InterpreterExecutor, plan: Plan, signal: Sequence[Array]) -> list[Array]:
    state = State(plan)
    parts: list[list[Array]] = [[] for _ in plan.outputs]

    def take(goal: list[int]) -> None:
        before = list(state.have)
        executor.run(state, goal)
        for part, o in zip(parts, plan.outputs, strict=True):
            part.append(state.queues[o].read(before[o], goal[o]).copy())
        state.trim()

    block = executor.block_frames[0]
    for begin in range(0, len(signal[0]), block):
        take(state.arrive([x[begin : begin + block] for x in signal]))
    take(state.end())
    return [np.concatenate(part) for part in parts]


def _execute(program: _Program, state: State, goal: list[int]) -> None:
    # Where a step's reads begin is counted from before it, the inputs' new frames included.
    queues, have = state.queues, list(state.have)
    now = state.have
    for stage in program.stages:
        if isinstance(stage, _OnHost):
            run_nodes(state, stage.nodes, goal)
            continue
        for memory, i, begin, end, stride, padding in stage.fills:
            begin, end = have[i] + begin, have[i] + end
            if begin >= 0 and end <= now[i]:
                memory[...] = queues[i].read(begin, end)[::stride]
                continue
            memory[...] = padding
            skipped = -(min(begin, 0) // stride)
            first, last = begin + skipped * stride, min(end, now[i])
            if first < last:
                inside = queues[i].read(first, last)[::stride]
                memory[skipped : skipped + len(inside)] = inside
        stage.interpreter.invoke()
        state.produce(stage.fetches)
    state.complete(goal)


def _works(plan: Plan, have: list[int], goal: list[int]) -> list[Work]:
    """What each node has to compute, without those that have nothing to do."""
    works = []
    for k, node in enumerate(plan.nodes):
        o = node.outputs[0]
        if goal[o] > have[o]:
            works.append(Work(k, have[o], goal[o] - have[o]))
    return works


def _produced(plan: Plan, stage: _Invoke | _OnHost) -> Sequence[int]:
    if isinstance(stage, _OnHost):
        return [o for k in stage.nodes for o in plan.nodes[k].outputs]
    return [i for i, _ in stage.fetches]


def _steady_state(plan: Plan) -> tuple[int, int, int]:
    """(period, probe, frames): patterns repeat every ``period`` input frames once ``probe`` has over ``frames``."""
    known = [t for t in timings(plan) if t is not None]
    period = math.lcm(*((t.step * t.period).numerator for t in known))

    def is_steady(n: int) -> bool:
        have = counts(plan, n, ended=False)
        for node, sources in zip(plan.nodes, plan.sources, strict=True):
            j = have[node.outputs[0]]
            if j == 0 or first_read(node.window, j) < 0:
                return False
            if node.window.edge != "fill" and any(oldest_kept(node.window, j, have[i]) == 0 for i in sources):
                return False
        return True

    n = 1
    while not is_steady(n):
        n *= 2
    probe = plan.nodes[-1].outputs[0] if plan.nodes else plan.inputs[0]
    return period, probe, counts(plan, n, ended=False)[probe]
