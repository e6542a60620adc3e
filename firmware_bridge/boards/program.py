"""What a board is to run: a model, its plan and the plan file, and the host's own answer to it."""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError
from tcnstream.compiler.plan import Plan
from tcnstream.compiler.timing import timings
from tcnstream.engines.base import Executor
from tcnstream.engines.native.executor import NativeExecutor, NativeMemory
from tcnstream.engines.native.planfile.facts import PlanFacts, read_facts
from tcnstream.engines.native.planfile.memory import growth
from tcnstream.engines.native.planfile.write import write_plan
from tcnstream.engines.native.snapshot import from_core, to_core
from tcnstream.engines.reference.executor import ReferenceExecutor, compute
from tcnstream.engines.state import State
from tcnstream.errors import EngineError
from tcnstream.model import Model
from tcnstream.stream import in_steps
from tcnstream.tflite.graph import Array

_MOST_OUTPUTS = 16
"""Outputs of one plan, in the core."""


@dataclass(frozen=True, eq=False)
class Program:
    """A model's plan, policy in place, as boards get it. ``content`` is the plan file."""

    model: Model
    plan: Plan
    content: bytes
    rounding: str = "litert"
    _tapped: dict[tuple[int, ...], Executor] = field(default_factory=dict, repr=False)
    _packed: dict[str, Program] = field(default_factory=dict, repr=False, init=False)

    @classmethod
    def of(
        cls,
        model: Model,
        *,
        time_pooling: str | None = None,
        calibration: Array | Sequence[Array] | None = None,
        rounding: str = "litert",
        static: Mapping[str, npt.ArrayLike] | None = None,
        states: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Program:
        """``static`` and ``states`` as for ``Model.stream``: the plan holds them, as constants.

        Raises EngineError for an operation that the core lacks, NotStreamableError without a needed policy, StreamError
        for a static input that is missing or does not fit.
        """
        stream = model.stream("auto", time_pooling, calibration, static=static, states=states)
        policy = f" {time_pooling}" if model.needs_time_pooling else ""
        name = f"{model.file.sha256[:16]} {rounding}{policy}"
        return cls(model, stream.plan, write_plan(stream.plan, name, rounding), rounding)

    def packed_for(self, family: str) -> Program:
        """The same program with its weights in the order of a family of processors; itself for its own."""
        if family not in self._packed:
            same = family == self.facts.family
            content = self.content if same else write_plan(self.plan, self.identity, self.rounding, family)
            self._packed[family] = self if same else replace(self, content=content)
        return self._packed[family]

    @cached_property
    def facts(self) -> PlanFacts:
        return read_facts(self.content)

    @cached_property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.content).digest()

    @property
    def identity(self) -> str:
        return self.facts.identity

    def executor(self) -> Executor:
        """The host's engine for this plan: native, or the reference where the core was not built."""
        try:
            return NativeExecutor(self.plan, self.rounding)
        except EngineError:
            return ReferenceExecutor(self.plan, self.rounding)

    def frame_bytes(self, tensor: int) -> int:
        t = self.plan.tensors[tensor]
        return math.prod(t.shape) * t.dtype.itemsize

    @property
    def input_frame_bytes(self) -> int:
        return sum(self.frame_bytes(i) for i in self.plan.inputs)

    @cached_property
    def step_frames(self) -> int:
        """Input frames after which every tensor has whole frames: how often a model with strides works."""
        return math.lcm(*(timing.rate.denominator for timing in timings(self.plan) if timing is not None))

    @cached_property
    def _growth(self) -> list[tuple[float, int]]:
        return [(float(rate), extra) for rate, extra in growth(self.plan)]

    def most_frames(self, tensor: int, n: int) -> int:
        """The most frames of a tensor that a push of ``n`` can make."""
        rate, extra = self._growth[tensor]
        return math.ceil(n * rate) + extra

    def most_output_bytes(self, n: int) -> int:
        return sum(self.most_frames(o, n) * self.frame_bytes(o) for o in self.plan.outputs)

    def streams(self) -> list[int]:
        """All tensors that are no constants: inputs, then in the order of execution."""
        made = [o for node in self.plan.nodes for o in node.outputs]
        return [*self.plan.inputs, *(i for i in made if self.plan.tensors[i].data is None)]

    def _tapped_executor(self, tensors: tuple[int, ...]) -> Executor:
        """The host's engine for this plan with other outputs."""
        if tensors not in self._tapped:
            shapes = tuple(self.plan.tensors[i].shape for i in tensors)
            axes = (self.plan.output_axes[0],) * len(tensors)
            plan = replace(self.plan, outputs=tensors, output_shapes=shapes, output_axes=axes)
            self._tapped[tensors] = Program(self.model, plan, b"", self.rounding).executor()
        return self._tapped[tensors]

    def all_frames(self, tensors: Sequence[int], inputs: Sequence[Array], flush: bool = True) -> dict[int, Array]:
        """Every frame of these tensors over a whole signal, by the host's engine."""
        found: dict[int, Array] = {}
        wanted = []
        for i in tensors:
            if i in self.plan.inputs:
                found[i] = inputs[self.plan.inputs.index(i)]
            else:
                wanted.append(i)
        for begin in range(0, len(wanted), _MOST_OUTPUTS):
            part = tuple(wanted[begin : begin + _MOST_OUTPUTS])
            executor = self._tapped_executor(part)
            memory = executor.new_memory()
            frames = [[y.copy()] for y in executor.advance(memory, list(inputs))]
            if flush:
                for parts, y in zip(frames, executor.advance(memory, None), strict=True):
                    parts.append(y)
            found |= {i: np.concatenate(parts) for i, parts in zip(part, frames, strict=True)}
        return found

    def one_node(self, k: int, tensor: int, inputs: Sequence[Array], flush: bool, others: Program) -> Array:
        """Frames of ``tensor``, which node ``k`` makes with this program's rounding of what ``others`` computes."""
        node, sources = self.plan.nodes[k], self.plan.sources[k]
        fed_back = [self.plan.states[o] for o in node.outputs if o in self.plan.states]
        read = others.all_frames((*sources, *fed_back), inputs, flush)
        state = State(self.plan)
        state.produce((i, read[i]) for i in dict.fromkeys((*sources, *fed_back)))
        count = len(others.all_frames([tensor], inputs, flush)[tensor])
        made = compute(state, k, count, self.rounding)
        return made[node.outputs.index(tensor)]


def as_inputs(program: Program, signal: Array | Sequence[Array]) -> list[Array]:
    """A signal per input, in the model's dtype. Raises BridgeError where their number is wrong."""
    parts = [signal] if isinstance(signal, np.ndarray) else list(signal)
    ports = program.model.inputs
    if len(parts) != len(ports):
        raise BridgeError(f"the model has {len(ports)} inputs and got {len(parts)} signals")
    return [np.ascontiguousarray(x) for x in in_steps(ports, program.model.input_steps, parts)]


class HostStream:
    """The host's side of a comparison: a stream whose state has the form that boards use."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._executor = program.executor()
        self._memory = self._executor.new_memory()

    @property
    def engine(self) -> str:
        return self._executor.name

    def push(self, chunks: Sequence[Array]) -> list[Array]:
        return self._shaped(self._executor.advance(self._memory, list(chunks)))

    def flush(self) -> list[Array]:
        return self._shaped(self._executor.advance(self._memory, None))

    def reset(self) -> None:
        self._memory.reset()

    def snapshot(self) -> bytes:
        """The state as the core writes it."""
        if isinstance(self._memory, NativeMemory):
            return _of_plan(self._memory.stream.snapshot(), self._program.facts.program_crc32)
        assert isinstance(self._memory, State)
        return to_core(self._memory, self._program.facts)

    def restore(self, blob: bytes) -> None:
        if isinstance(self._memory, NativeMemory):
            assert isinstance(self._executor, NativeExecutor)
            self._memory.stream.restore(_of_plan(blob, self._executor.facts.program_crc32))
            return
        self._memory = from_core(self._program.plan, self._program.facts, blob)

    def _shaped(self, outputs: Sequence[Array]) -> list[Array]:
        shapes = self._program.plan.output_shapes
        return [y.reshape(len(y), *shape).copy() for y, shape in zip(outputs, shapes, strict=True)]


def _of_plan(blob: bytes, plan_crc32: int) -> bytes:
    """A core's snapshot as of the same plan under another name: the checksums differ, the state does not."""
    changed = blob[:8] + struct.pack("<I", plan_crc32) + blob[12:-4]
    return changed + struct.pack("<I", zlib.crc32(changed))


def states(program: Program, blob: bytes) -> dict[int, tuple[int, Array]]:
    """Per tensor what a snapshot remembers of it: (number of the first frame, frames)."""
    state = from_core(program.plan, program.facts, blob)
    return {i: (queue.first_frame, state.remembered(i)) for i, queue in state.queues.items()}


def sums(program: Program, blob: bytes) -> dict[int, Array]:
    """Per node of a cumulative policy its running sums in a snapshot."""
    return from_core(program.plan, program.facts, blob).carries
