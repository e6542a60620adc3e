"""Models that bring their own state (VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, CALL_ONCE) run as they are.

Such a model is a stream already: each invocation takes its own hop of frames and remembers in
resource variables. An interpreter keeps those until it is thrown away, and shares them between streams.
Here they are made explicit: what is read becomes an input of the graph and what is assigned an
output, so that a stream's state is plain arrays that reset, snapshot and restore know.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np

from tcnstream.compiler.operations.time import STATEFUL_GRAPH, TIME_UNFOLD
from tcnstream.compiler.plan import Node, Plan, Window
from tcnstream.engines.base import StateExecutor
from tcnstream.engines.interpreter.runtime import (
    DENSE_PER_CHANNEL,
    dense_is_wrong,
    find_runtime,
    memory_of,
    open_interpreter,
)
from tcnstream.engines.reference.executor import run_nodes
from tcnstream.engines.state import State
from tcnstream.errors import EngineError, ModelError, NotStreamableError
from tcnstream.tflite.graph import ABSENT, Array, Graph, ModelFile, Op, Tensor
from tcnstream.tflite.writer import write_model

"""The plan node that stands for the whole of a stateful model."""


class StatefulModel:
    """A stateful model with its state made explicit.

    ``plan`` has one node, which takes ``hop_frames`` frames of every input at a time (and one
    TIME_UNFOLD per output that gives several frames per hop): queues, timing and snapshots work as for
    any plan, frames wait until a hop is complete, and an incomplete hop at the end gives nothing.
    Inputs are (1, hop_frames, *frame_shape) in the file, or as ``time_axis`` says. An output of three
    or more axes gives as many frames per hop as its axis 1 is long, any other one gives one.

    ``graph`` is the rewritten model: the file's inputs, then the state; the file's outputs, then the
    new state. ``start`` holds the state at the start. Raises NotStreamableError or ModelError for a
    model whose variables cannot be made explicit.
    """

    engine = "interpreter"
    """The one engine that runs it."""

    def __init__(self, file: ModelFile, time_axis: int | None = None) -> None:
        self.graph, self.start = _explicit(file)
        self.hop_frames = _hop(file.main, time_axis)
        self.plan = _plan(file.main, time_axis, self.hop_frames)

    @property
    def state_bytes(self) -> int:
        """Bytes of the model's own state."""
        return sum(value.nbytes for value in self.start)

    def executor(self, exact: bool = True) -> StatefulExecutor:
        """An executor that any number of streams may share."""
        return StatefulExecutor(self, exact)


class StatefulExecutor(StateExecutor):
    """Runs a StatefulModel in the installed interpreter; the state lies in ``State.carries``.

    Raises EngineError if no interpreter is installed, or if its reference kernels are wrong for the model.
    """

    name = StatefulModel.engine
    block_frames: tuple[int, ...] = (4096,)

    def __init__(self, model: StatefulModel, exact: bool = True) -> None:
        runtime = find_runtime()
        if exact and runtime.wrong_dense_reference and dense_is_wrong(model.graph):
            raise runtime.refusal(
                DENSE_PER_CHANNEL, "; install ai-edge-litert, or run the fast kernels with exact=False"
            )
        self.plan = model.plan
        self.hop_frames = model.hop_frames
        self._start = model.start
        try:
            self._interpreter: Any = open_interpreter(write_model([model.graph]), exact)
        except (RuntimeError, ValueError) as e:
            raise EngineError(f"{runtime.package} {runtime.version} cannot run the model: {e}") from None
        memories = [memory_of(self._interpreter, d["index"]) for d in self._interpreter.get_input_details()]
        results = [memory_of(self._interpreter, d["index"]) for d in self._interpreter.get_output_details()]
        ends = len(self.plan.inputs), len(self.plan.nodes[0].outputs)
        self._inputs, self._states = memories[: ends[0]], memories[ends[0] :]
        self._outputs, self._new_states = results[: ends[1]], results[ends[1] :]
        self._lock = threading.Lock()

    def run(self, state: State, goal: list[int]) -> None:
        """As ``StateExecutor.run``; new output frames appear with every complete hop."""
        node = self.plan.nodes[0]
        first = node.outputs[0]
        if goal[first] > state.have[first]:
            with self._lock:
                self._run_hops(state, state.have[first], goal[first])
        for k in range(1, len(self.plan.nodes)):
            run_nodes(state, range(k, k + 1), goal)

    def _run_hops(self, state: State, begin: int, end: int) -> None:
        outputs = self.plan.nodes[0].outputs
        for k, (memory, start) in enumerate(zip(self._states, self._start, strict=True)):
            memory[...] = state.carries.get(k, start)
        made = [np.empty((end - begin, *self.plan.tensors[o].shape), self.plan.tensors[o].dtype) for o in outputs]
        for hop in range(begin, end):
            for memory, i in zip(self._inputs, self.plan.inputs, strict=True):
                frames = state.queues[i].read(hop * self.hop_frames, (hop + 1) * self.hop_frames)
                memory[...] = frames.reshape(memory.shape)
            self._interpreter.invoke()
            for frames, memory in zip(made, self._outputs, strict=True):
                frames[hop - begin] = memory.reshape(frames.shape[1:])
            for memory, new in zip(self._states, self._new_states, strict=True):
                memory[...] = new
        for k, memory in enumerate(self._states):
            state.carry(k, memory.copy())
        state.produce(zip(outputs, made, strict=True))


def _hop(graph: Graph, time_axis: int | None) -> int:
    hops = set()
    for i in graph.inputs:
        shape = graph.tensors[i].shape
        axis = 1 if time_axis is None else time_axis
        if not 0 < axis < len(shape) or any(n != 1 for n in shape[:axis]):
            raise NotStreamableError(
                f"input `{graph.tensors[i].name}` of shape {shape} has no time on axis {axis}; name it with time_axis="
            )
        hops.add(shape[axis])
    if len(hops) != 1:
        raise NotStreamableError(
            f"the model's inputs take {sorted(hops)} frames per invocation; all must have one rate"
        )
    return hops.pop()


def _plan(graph: Graph, time_axis: int | None, hop: int) -> Plan:
    axis = 1 if time_axis is None else time_axis
    tensors: list[Tensor] = []
    windows: list[int] = []

    def add(like: Tensor, shape: tuple[int, ...], window: int) -> int:
        tensors.append(replace(like, shape=shape))
        windows.append(window)
        return len(tensors) - 1

    inputs = tuple(add(graph.tensors[i], graph.tensors[i].shape[axis + 1 :], hop) for i in graph.inputs)
    made, ends, unfolding = [], [], []
    for o in graph.outputs:
        tensor = graph.tensors[o]
        several = len(tensor.shape) > 2
        made.append(add(tensor, tensor.shape[1:], 1))
        ends.append(made[-1])
        if several:
            n, frame = tensor.shape[1], tensor.shape[2:]
            ends[-1] = add(tensor, frame, n)
            window = Window(up=n, extent=n, pad_begin=n - 1)
            view = tensor.shape[1:]
            unfolding.append(
                Node(TIME_UNFOLD.kind, (made[-1],), (ends[-1],), (view,), window=window, label=tensor.name)
            )
    views = tuple(tensors[i].shape for i in inputs)
    body = Node(
        STATEFUL_GRAPH.kind,
        inputs,
        tuple(made),
        views,
        window=Window(stride=hop, extent=hop),
        label=graph.name or "model",
        index=0,
    )
    return Plan(
        tuple(tensors),
        (body, *unfolding),
        inputs,
        tuple(ends),
        tuple(tensors[o].shape for o in ends),
        hop,
        tuple(windows),
        tuple(axis for _ in inputs),
        tuple(1 if len(graph.tensors[o].shape) > 2 else None for o in graph.outputs),
    )


def _explicit(file: ModelFile) -> tuple[Graph, tuple[Array, ...]]:
    """The main graph with its variables as inputs and outputs, and what they start as."""
    main = file.main
    for graph in file.graphs:
        _check_ends(graph)
    start = _start(file)
    tensors, ops = list(main.tensors), []
    names: dict[int, str] = {}
    value: dict[str, int] = {}
    same: dict[int, int] = {}
    states: dict[str, int] = {}

    def enter(name: str, like: Tensor) -> int:
        if name not in start:
            assigned = any(op.kind == "CALL_ONCE" for op in main.ops)
            way_out = (
                "set it in CALL_ONCE"
                if assigned
                else "the converter left the weights out as variables: convert the model from what model.export() or"
                " tf.saved_model.save() writes, or from a concrete function with constants"
            )
            raise ModelError(f"the variable `{name}` is read before anything was assigned to it; {way_out}")
        tensors.append(replace(like, name=f"{name}/before", shape=start[name].shape))
        states[name] = value[name] = len(tensors) - 1
        return states[name]

    for op in main.ops:
        inputs = tuple(same.get(i, i) for i in op.inputs)
        if op.kind == "VAR_HANDLE":
            names[op.outputs[0]] = _variable_name(op)
        elif op.kind == "READ_VARIABLE":
            name = _name_of(names, op)
            like = tensors[op.outputs[0]]
            same[op.outputs[0]] = value[name] if name in value else enter(name, like)
        elif op.kind == "ASSIGN_VARIABLE":
            name = _name_of(names, op)
            if name not in states:
                enter(name, tensors[inputs[1]])
            value[name] = inputs[1]
        elif op.kind != "CALL_ONCE":
            if names.keys() & set(inputs):
                raise NotStreamableError(
                    f"`{op.kind}` (op {op.index}) takes a variable itself; only READ_VARIABLE and ASSIGN_VARIABLE may"
                )
            ops.append(replace(op, inputs=inputs))
    outputs = [same.get(o, o) for o in main.outputs]
    made = {o for op in ops for o in op.outputs}
    for name in states:
        new = value[name]
        if (tensors[new].shape, tensors[new].dtype) != (start[name].shape, start[name].dtype):
            raise ModelError(
                f"the variable `{name}` starts as {start[name].dtype} {start[name].shape} and becomes"
                f" {tensors[new].dtype} {tensors[new].shape}; export the model again"
            )
        if new not in made or new in outputs:
            # An input, a constant or another end cannot be an output of its own.
            shape = np.array(tensors[new].shape, np.int32)
            tensors += [Tensor(f"{name}/shape", shape.shape, shape.dtype, None, shape)]
            tensors += [replace(tensors[new], name=f"{name}/after", data=None)]
            ops.append(Op("RESHAPE", (new, len(tensors) - 2), (len(tensors) - 1,)))
            new = len(tensors) - 1
        outputs.append(new)
    graph = Graph(tuple(tensors), tuple(ops), (*main.inputs, *states.values()), tuple(outputs), main.name)
    return graph, tuple(start[name] for name in states)


_ENDS = {"VAR_HANDLE": (0, 1), "READ_VARIABLE": (1, 1), "ASSIGN_VARIABLE": (2, 0), "CALL_ONCE": (0, 0)}
"""How many operands and outputs the operations on variables have."""


def _check_ends(graph: Graph) -> None:
    for op in graph.ops:
        ends = len(op.inputs), len(op.outputs)
        if ends != _ENDS.get(op.kind, ends) or (op.kind in _ENDS and ABSENT in op.inputs):
            raise ModelError(
                f"`{op.kind}` (op {op.index}) has {ends[0]} operands and {ends[1]} outputs; the file is damaged"
            )


def _start(file: ModelFile) -> dict[str, Array]:
    """What the graphs that run once assign to each variable."""
    start: dict[str, Array] = {}
    for op in file.main.ops:
        if op.kind != "CALL_ONCE":
            continue
        index = op.options.get("init_subgraph_index", -1)
        assert isinstance(index, int)
        graph = file.graphs[index]
        names: dict[int, str] = {}
        for inner in graph.ops:
            if inner.kind == "VAR_HANDLE":
                names[inner.outputs[0]] = _variable_name(inner)
                continue
            data = graph.tensors[inner.inputs[1]].data if inner.kind == "ASSIGN_VARIABLE" else None
            if data is None:
                raise NotStreamableError(
                    f"`{inner.kind}` (op {inner.index} of graph {index}) computes what the state starts as;"
                    " convert the model with constants there"
                )
            start[_name_of(names, inner)] = data
    return start


def _variable_name(op: Op) -> str:
    return f"{op.options.get('container', '')}/{op.options.get('shared_name', '')}"


def _name_of(names: dict[int, str], op: Op) -> str:
    if not op.inputs or op.inputs[0] not in names:
        raise ModelError(f"`{op.kind}` (op {op.index}) names no variable; the file is damaged")
    return names[op.inputs[0]]
