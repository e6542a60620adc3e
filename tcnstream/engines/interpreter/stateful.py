"""Models that take steps by themselves run as they are, their state outside of the interpreter.

An interpreter keeps a model's variables until it is thrown away, and shares them between streams. Here every step is
given its state and returns it, so that it lies in the queues of ``State`` as everything that a stream remembers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tcnstream.compiler.plan import Plan, StepGraph
from tcnstream.engines.base import StateExecutor
from tcnstream.engines.interpreter.runtime import (
    DENSE_PER_CHANNEL,
    dense_is_wrong,
    find_runtime,
    memory_of,
    open_interpreter,
)
from tcnstream.engines.interpreter.turns import Turns
from tcnstream.engines.state import State
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array, Graph, Op, Tensor
from tcnstream.tflite.writer import write_model


class StepExecutor(StateExecutor):
    """Runs a plan that was made from a StepGraph in the installed interpreter, step by step.

    Raises EngineError if no interpreter is installed, or if its reference kernels are wrong for the model.
    """

    name = "interpreter"
    block_frames: tuple[int, ...] = (4096,)

    def __init__(self, plan: Plan, steps: StepGraph, exact: bool = True) -> None:
        runtime = find_runtime()
        if exact and runtime.wrong_dense_reference and dense_is_wrong(steps.graph):
            raise runtime.refusal(
                DENSE_PER_CHANNEL, "; install ai-edge-litert, or run the fast kernels with exact=False"
            )
        self.plan = plan
        try:
            self._interpreter: Any = open_interpreter(write_model([_with_axes(steps.graph)]), exact)
            # What a kernel lacks may show only when it runs; no step leaves anything behind in the interpreter.
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as e:
            raise EngineError(f"{runtime.package} {runtime.version} cannot run the model: {e}") from None
        memories = [memory_of(self._interpreter, d["index"]) for d in self._interpreter.get_input_details()]
        results = [memory_of(self._interpreter, d["index"]) for d in self._interpreter.get_output_details()]
        ends = len(steps.inputs), len(steps.outputs)
        self._inputs = memories[: ends[0]]
        # An output that is an input arrives by itself.
        made = zip(plan.outputs, results[: ends[1]], strict=True)
        self._outputs = [(o, memory) for o, memory in made if o not in plan.inputs]
        written = {plan.tensors[read].name: written for read, written in plan.states.items()}
        names = [steps.graph.tensors[before].name for before, _, _ in steps.states]
        self._written = [written.get(name) for name in names]
        self._start = steps.start
        self._before, self._after = memories[ends[0] :], results[ends[1] :]
        for name, before, after in zip(names, self._before, self._after, strict=True):
            if (before.shape, before.dtype) != (after.shape, after.dtype):
                raise EngineError(
                    f"a step finds the state `{name}` as {before.dtype} {before.shape} and leaves it as {after.dtype}"
                    f" {after.shape}; convert the model again"
                )
        self._turns = Turns()

    def run(self, state: State, goal: list[int]) -> None:
        """As ``StateExecutor.run``; new output frames appear with every complete hop."""
        if self._outputs:
            o, memory = self._outputs[0]
            per_step = max(1, memory.size // max(1, self._size(o)))
            self._take_steps(state, state.have[o] // per_step, goal[o] // per_step)
        state.complete(goal)

    def _take_steps(self, state: State, begin: int, end: int) -> None:
        if end <= begin:
            return
        with self._turns:
            made = self._run_steps(state, begin, end)
        unseen = list(state.have)
        for i in made.keys() - set(self.plan.outputs):
            unseen[i] = end - 1
        state.complete(unseen)
        state.produce(made.items())

    def _size(self, i: int) -> int:
        return math.prod(self.plan.tensors[i].shape)

    def _run_steps(self, state: State, begin: int, end: int) -> dict[int, Array]:
        """All frames of the outputs, and the newest one of every other tensor that is fed back."""
        plan, hop = self.plan, self.plan.window_frames
        for memory, start, i in zip(self._before, self._start, self._written, strict=True):
            if begin == 0 or i is None:
                memory[...] = start
            else:
                memory[...] = state.queues[i].read(begin - 1, begin).reshape(memory.shape)
        frames = [np.empty((end - begin, *memory.shape), memory.dtype) for _, memory in self._outputs]
        for step in range(begin, end):
            for memory, i in zip(self._inputs, plan.inputs, strict=True):
                memory[...] = state.queues[i].read(step * hop, (step + 1) * hop).reshape(memory.shape)
            self._interpreter.invoke()
            for made, (_, memory) in zip(frames, self._outputs, strict=True):
                made[step - begin] = memory
            for before, after in zip(self._before, self._after, strict=True):
                before[...] = after
        newest: dict[int, Array] = {}
        for i, memory in zip(self._written, self._before, strict=True):
            if i is not None and i not in plan.inputs:
                newest[i] = memory.copy().reshape(1, *plan.tensors[i].shape)
        outputs = zip(self._outputs, frames, strict=True)
        return newest | {o: made.reshape(-1, *plan.tensors[o].shape) for (o, _), made in outputs}


def _with_axes(graph: Graph) -> Graph:
    """The graph with ends of one axis at least: the memory of a single number cannot be borrowed."""
    tensors, before, after = list(graph.tensors), list[Op](), list[Op]()
    places: dict[int, int] = {}
    for i in (*graph.inputs, *graph.outputs):
        if tensors[i].shape or i in places:
            continue
        end, axis = len(tensors), len(tensors) + 1
        places[i] = end
        tensors.append(replace(tensors[i], name=f"{tensors[i].name}/end", shape=(1,), data=None))
        if i in graph.inputs:
            before.append(Op("SQUEEZE", (end,), (i,), {"squeeze_dims": (0,)}))
        else:
            tensors.append(Tensor(f"{tensors[i].name}/axis", (1,), np.dtype(np.int32), None, np.zeros(1, np.int32)))
            after.append(Op("EXPAND_DIMS", (i, axis), (end,)))
    inputs, outputs = (tuple(places.get(i, i) for i in ends) for ends in (graph.inputs, graph.outputs))
    return replace(graph, tensors=tuple(tensors), ops=(*before, *graph.ops, *after), inputs=inputs, outputs=outputs)
