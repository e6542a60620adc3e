"""Graph -> Graph: a recurrent layer that a converter unrolled over the window becomes the operations of one step.

UNPACK gives the frames of a sequence, and the same operations follow for each: what Keras makes of ``unroll=True``, and
``tf.unstack``. One step is the pattern. It is played through from the first frame on, with states of zero or with what
stands in their place in the first step, and every step must find its own operations in the file, those left out that
zeros make superfluous. Only then do the others go. Steps of integers have scales of their own each, so that there is no
one step to take.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.dense import FULLY_CONNECTED
from tcnstream.compiler.operations.elementwise import ADD, MUL, SUB
from tcnstream.compiler.operations.layout import ReverseOptions
from tcnstream.compiler.operations.loop import LOOP_COLLECT, LOOP_LAST, LOOP_READ, LOOP_STATE
from tcnstream.compiler.operations.pieces import PACK
from tcnstream.compiler.picks import FORWARDS_ALONE
from tcnstream.compiler.unstacked import time_first, unstacked
from tcnstream.compiler.whiles import keeps_batch
from tcnstream.tflite.graph import ABSENT, Array, Graph, Op, Tensor

_NO_STEP = (
    "begins a recurrent layer that is unrolled over the window, whose steps differ (if they are of integers, each has"
    " scales of its own), so that there is none to take for every frame; convert it without unroll=True"
)

_BACKWARDS = f"begins a recurrent layer that steps backwards. {FORWARDS_ALONE}"

_EITHER_WAY = (ADD.kind, MUL.kind)
"""Operations that give the same with their operands exchanged."""

_OF_NUMBERS = (*_EITHER_WAY, SUB.kind)

Played: TypeAlias = "int | Array | tuple[Hashable, ...]"
"""What stands for a tensor of the pattern in a step: a tensor of the file, known numbers, or what the file lacks."""


def roll_up(graph: Graph) -> Graph:
    """The graph with its unrolled layers as steps, where it has any.

    One that is no step of one kind is left with the reason, for which UNPACK is refused.
    """
    tried = set[int]()
    while True:
        for apart, first in unstacked(graph):
            (source,) = next(op.inputs for op in apart.ops if op.outputs[0] == first)
            if source in tried:
                continue
            tried.add(source)
            unrolled = _Unrolled.of(time_first(_with_batches(apart), first), first)
            if (stepped := unrolled.rolled_up()) is not None:
                graph = stepped
                break
            if unrolled.hands_on:
                return _with_reason(apart, first, _BACKWARDS if unrolled.is_reversed else _NO_STEP)
        else:
            return graph


def _with_reason(graph: Graph, first: int, why: str) -> Graph:
    def refused(op: Op) -> Op:
        return dataclasses.replace(op, options={**op.options, "why": why})

    return dataclasses.replace(graph, ops=tuple(refused(op) if op.outputs[0] == first else op for op in graph.ops))


def _with_batches(graph: Graph) -> Graph:
    """The graph in which no operation reads what a reshape took the batch axis from, where it need not."""
    producer = {o: op for op in graph.ops for o in op.outputs}
    ops = []
    for op in graph.ops:
        inputs = tuple(keeps_batch(graph.tensors, producer, op, i) for i in op.inputs)
        ops.append(op if inputs == op.inputs else dataclasses.replace(op, inputs=inputs))
    return dataclasses.replace(graph, ops=tuple(ops))


@dataclass(frozen=True, eq=False)
class _Unrolled:
    """Operations behind an UNPACK, by the newest frame that they depend on."""

    graph: Graph
    unpack: Op

    @classmethod
    def of(cls, graph: Graph, first: int) -> _Unrolled:
        """Behind the UNPACK whose first frame is the tensor ``first``."""
        return cls(graph, next(op for op in graph.ops if op.outputs[0] == first))

    @cached_property
    def frames(self) -> tuple[int, ...]:
        return self.unpack.outputs

    @cached_property
    def producer(self) -> dict[int, Op]:
        return {o: op for op in self.graph.ops for o in op.outputs}

    @cached_property
    def step_of(self) -> dict[int, int]:
        """The newest frame that each tensor depends on, of those that a step makes."""
        found = {i: k for k, i in enumerate(self.frames)}
        for op in self.graph.ops:
            read = {found[i] for i in op.inputs if i in found}
            if read and len(read) <= 2 and op.kind != PACK.kind:
                found |= dict.fromkeys(op.outputs, max(read))
        return found

    @property
    def hands_on(self) -> bool:
        """Whether each step takes something of the one before."""
        read = ({self.step_of[i] for i in op.inputs if i in self.step_of} for op in self.graph.ops)
        handed = {max(steps) for steps in read if len(steps) == 2 and max(steps) - min(steps) == 1}
        return len(handed) >= len(self.frames) - 2

    @property
    def is_reversed(self) -> bool:
        """Whether the frames come from the last one to the first."""
        source = self.producer.get(self.unpack.inputs[0])
        record = None if source is None else operations().get(source.kind)
        return record is not None and record.options is ReverseOptions

    @cached_property
    def pattern(self) -> tuple[Op, ...]:
        """The last step but one, which has all that a step has."""
        step = len(self.frames) - 2
        return tuple(op for op in self.graph.ops if self.step_of.get(op.outputs[0]) == step)

    @cached_property
    def by_operands(self) -> dict[Hashable, Op]:
        return {self.key(op, [*op.inputs]): op for op in self.graph.ops if op.outputs[0] in self.step_of}

    def key(self, op: Op, operands: list[Played]) -> Hashable:
        """The same for operations that give the same: constants are told apart by what they hold."""
        keys = [self._key_of(v, op.kind in _OF_NUMBERS) for v in operands]
        if op.kind in _EITHER_WAY:
            keys.sort(key=repr)
        return op.kind, tuple(sorted(op.options.items())), *keys

    def _key_of(self, value: Played, may_spread: bool = False) -> Hashable:
        """``may_spread``: one number stands for any shape full of it."""
        if isinstance(value, int) and value != ABSENT and self.graph.tensors[value].data is not None:
            value = self._numbers(value)
        if not isinstance(value, np.ndarray):
            return value
        alike = may_spread and value.size > 0 and (value == value.flat[0]).all()
        return "numbers", value.flat[0].tobytes() if alike else value.tobytes()

    def _numbers(self, i: int) -> Array:
        data = self.graph.tensors[i].data
        assert data is not None
        return data

    def rolled_up(self) -> Graph | None:
        """The graph with one step in the place of all; None where they are no steps of one kind."""
        tensors = self.graph.tensors
        if not self.pattern or any(tensors[o].dtype != np.float32 for op in self.pattern for o in op.outputs):
            return None
        step = len(self.frames) - 2
        states = sorted({i for op in self.pattern for i in op.inputs if self.step_of.get(i, step) < step})
        following = {s: self._following(s) for s in states}
        known = {s: n for s, n in following.items() if n is not None}
        if len(known) < len(states):
            return None
        zeros = {s: self._start(n, known) for s, n in known.items()}
        for starts in (zeros, zeros | self._written_starts(known)):
            used: set[int] = set()
            played = self._play(known, starts, used)
            if played is not None:
                return self._rewritten(known, starts, played, used)
        return None

    def _written_starts(self, following: dict[int, int]) -> dict[int, Array]:
        """States for which the first step has a constant of the file: what a layer makes of zeros, or of numbers."""
        found: dict[int, Array] = {}
        now: dict[int, Played] = {self.frames[-2]: self.frames[0]}
        unknown = set(following)
        for op in self.pattern:
            operands = [now.get(i, i) for i in op.inputs]
            places = [k for k, i in enumerate(op.inputs) if i in unknown]
            if len(places) == 1:
                (constant,) = self._constants_at(op, operands, places[0]) or (None,)
                if constant is not None:
                    found[op.inputs[places[0]]] = operands[places[0]] = constant
                    places = []
            if places:
                unknown.update(op.outputs)
            else:
                now |= zip(op.outputs, self._made(op, operands, set()), strict=True)
        return found

    def _constants_at(self, op: Op, operands: list[Played], place: int) -> list[Array]:
        """The one constant that the file has in this place of such an operation, if it has one there."""
        shape = self.graph.tensors[op.inputs[place]].shape
        found: dict[bytes, Array] = {}
        for other in self.by_operands.values():
            if other.kind != op.kind or len(other.inputs) != len(op.inputs):
                continue
            for k in range(len(op.inputs)) if op.kind in _EITHER_WAY else (place,):
                data = None if other.inputs[k] == ABSENT else self.graph.tensors[other.inputs[k]].data
                if data is None or data.dtype != np.float32 or data.size != math.prod(shape):
                    continue
                filled: list[Played] = [*operands[:place], data, *operands[place + 1 :]]
                if self.key(op, filled) == self.key(other, [*other.inputs]):
                    found[data.tobytes()] = data.reshape(shape)
        return list(found.values()) if len(found) == 1 else []

    def _following(self, state: int) -> int | None:
        """The tensor of the pattern that is what ``state`` is of the step before."""
        found = [o for op in self.pattern for o in op.outputs if self._alike(o, state)]
        return found[0] if len(found) == 1 else None

    def _alike(self, a: int, b: int) -> bool:
        """Whether ``a`` is made from the pattern's step as ``b`` from the one before."""
        if a == ABSENT or b == ABSENT or self.graph.tensors[a].is_constant or self.graph.tensors[b].is_constant:
            return self._key_of(a) == self._key_of(b)
        step = len(self.frames) - 2
        if (self.step_of.get(a), self.step_of.get(b)) != (step, step - 1):
            # a state in both steps, and as long
            return self.step_of.get(a) == step - 1 and self.graph.tensors[a].shape == self.graph.tensors[b].shape
        if a in self.frames or b in self.frames:
            return a in self.frames and b in self.frames
        p, q = self.producer[a], self.producer[b]
        same = p.outputs.index(a) == q.outputs.index(b) and p.kind == q.kind and dict(p.options) == dict(q.options)
        return same and len(p.inputs) == len(q.inputs) and all(map(self._alike, p.inputs, q.inputs))

    def _play(
        self, following: dict[int, int], starts: dict[int, Array], used: set[int]
    ) -> list[dict[int, Played]] | None:
        """For every step what each tensor of the pattern is there; None where the file lacks a state.

        ``used`` takes in the operations of the file that were found, by identity.
        """
        before: dict[int, Played] = {**starts}
        played: list[dict[int, Played]] = []
        for step, frame in enumerate(self.frames):
            now: dict[int, Played] = before | {self.frames[-2]: frame}
            for op in self.pattern:
                operands = [now.get(i, i) for i in op.inputs]
                now |= zip(op.outputs, self._made(op, operands, used), strict=True)
            played.append(now)
            before = {s: now[n] for s, n in following.items()}
            if step < len(self.frames) - 1 and any(isinstance(value, tuple) for value in before.values()):
                return None
        return played

    def _start(self, following: int, states: dict[int, int]) -> Array:
        """What a state is before the first step: zero, or what follows from other states alone."""
        made = self._of_states(following, {n for n in states.values() if n != following}, states)
        return np.zeros(self.graph.tensors[following].shape, np.float32) if made is None else made

    def _of_states(self, i: int, others: set[int], states: dict[int, int]) -> Array | None:
        if i in others:
            return self._start(i, states)
        if i == ABSENT or i in states or i in self.frames or i not in self.producer:
            return None if i == ABSENT or not self.graph.tensors[i].is_constant else self._numbers(i)
        op = self.producer[i]
        operands: list[Played] = []
        for k in op.inputs:
            value = ABSENT if k == ABSENT else self._of_states(k, others, states)
            if value is None:
                return None
            operands.append(value)
        known = self._known(op, operands)
        made = None if known is None else known[op.outputs.index(i)]
        return made if isinstance(made, np.ndarray) else None

    def _made(self, op: Op, operands: list[Played], used: set[int]) -> tuple[Played, ...]:
        """What ``op`` gives of these operands, in the file or because they are known."""
        found = self.by_operands.get(self.key(op, operands))
        if found is None and (known := self._known(op, operands)) is not None:
            return known
        if found is None and op.kind == ADD.kind:
            found = self._with_bias(operands)
        if found is not None:
            used.add(id(found))
            return found.outputs
        lacking = self.key(op, operands)
        return tuple((lacking, k) for k in range(len(op.outputs)))

    def _known(self, op: Op, operands: list[Played]) -> tuple[Played, ...] | None:
        """What follows from numbers, where an operand is some that the pattern does not have."""
        if not any(isinstance(v, np.ndarray) for v in operands):
            return None
        if str(op.options.get("fused_activation_function", "NONE")) != "NONE":
            return None
        zero = [isinstance(v, np.ndarray) and not v.any() for v in operands]
        if op.kind == ADD.kind and any(zero):
            return (operands[zero.index(False)] if False in zero else operands[0],)
        if op.kind == SUB.kind and zero[1]:
            return (operands[0],)
        if op.kind == MUL.kind and any(zero):
            return (np.zeros(self.graph.tensors[op.outputs[0]].shape, np.float32),)
        tensors = [self._as_tensor(v) for v in operands if not (isinstance(v, int) and v == ABSENT)]
        if any(tensor is None or tensor.data is None for tensor in tensors):
            return None
        return self._computed(op, [tensor for tensor in tensors if tensor is not None])

    def _computed(self, op: Op, operands: list[Tensor]) -> tuple[Played, ...] | None:
        record = operations()[op.kind]
        outputs = [self.graph.tensors[o] for o in op.outputs]
        data = [tensor.data for tensor in operands if tensor.data is not None]
        if op.kind == FULLY_CONNECTED.kind:
            sums = data[0].reshape(-1, data[1].shape[1]).astype(np.float32) @ data[1].T.astype(np.float32)
            bias = data[2].astype(np.float32) if len(data) > 2 else np.float32(0)
            return ((sums + bias).reshape(outputs[0].shape),)
        if record.fold is None:
            return None
        folded = record.fold(op, operands, outputs[0])
        made = folded if isinstance(folded, tuple) else (folded,)
        return tuple(values.reshape(tensor.shape) for values, tensor in zip(made, outputs, strict=True))

    def _as_tensor(self, value: Played) -> Tensor | None:
        if isinstance(value, np.ndarray):
            return Tensor("", value.shape, value.dtype, data=value)
        return self.graph.tensors[value] if isinstance(value, int) else None

    def _with_bias(self, operands: list[Played]) -> Op | None:
        """A dense layer with the bias that the pattern adds by itself, where nothing stands between the two."""
        lacking = [v[0] for v in operands if isinstance(v, tuple)]
        if len(lacking) != 1 or not isinstance(lacking[0], tuple) or lacking[0][0] != FULLY_CONNECTED.kind:
            return None
        (other,) = (v for v in operands if not isinstance(v, tuple))
        return self.by_operands.get((*lacking[0][:4], self._key_of(other)))

    def _rewritten(
        self, following: dict[int, int], starts: dict[int, Array], played: list[dict[int, Played]], used: set[int]
    ) -> Graph | None:
        graph, tensors = self.graph, list(self.graph.tensors)
        (sequence,) = self.unpack.inputs
        index = self.unpack.index
        steps = [Op(LOOP_READ.kind, (sequence,), self.frames[-2:-1], {}, index)]
        for s in sorted(following):
            tensors.append(dataclasses.replace(tensors[s], name=f"{tensors[s].name}/start", data=starts[s]))
            steps.append(Op(LOOP_STATE.kind, (len(tensors) - 1, following[s], sequence), (s,), {}, index))
        stays = {id(op) for op in self.pattern}
        kept: list[Op] = []
        for op in graph.ops:
            if op is self.unpack:
                kept = [*kept, *steps]
            elif op.kind == PACK.kind and (collected := self._collected(op, played)) is not None:
                kept.append(Op(LOOP_COLLECT.kind, (collected,), op.outputs, {}, op.index))
            elif id(op) in stays or id(op) not in used:
                kept.append(op)
        made = {o for op in kept for o in op.outputs}
        last = {i: p for p, i in played[-1].items() if isinstance(i, int) and i not in made and p in self.producer}
        kept += [Op(LOOP_LAST.kind, (p,), (i,), {}, index) for i, p in last.items() if p in made]
        kept = list(_alive(kept, graph.outputs))
        made = {o for op in kept for o in op.outputs}
        wanted = {i for op in kept for i in op.inputs} | set(graph.outputs)
        if wanted & self.step_of.keys() - made:
            return None
        places = {o: k for k, op in enumerate(graph.ops) for o in op.outputs}
        order = sorted(kept, key=lambda op: places[op.inputs[0] if op.kind == LOOP_LAST.kind else op.outputs[0]])
        return dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(order))

    def _collected(self, pack: Op, played: list[dict[int, Played]]) -> int | None:
        """The tensor of the pattern of which ``pack`` has every step."""
        made = [o for op in self.pattern for o in op.outputs]
        if len(pack.inputs) != len(played):
            return None
        return next((p for p in made if self._is_in_each(p, played, pack.inputs)), None)

    def _is_in_each(self, p: int, played: list[dict[int, Played]], tensors: tuple[int, ...]) -> bool:
        there = [now[p] for now in played]
        return all(isinstance(value, int) and value == i for value, i in zip(there, tensors, strict=True))


def _alive(ops: list[Op], outputs: tuple[int, ...]) -> Iterator[Op]:
    """The operations that the outputs depend on; states are read before they are computed."""
    found, alive = set(outputs), set[int]()
    while found != alive:
        alive = set(found)
        for op in reversed(ops):
            if found.intersection(op.outputs):
                found.update(op.inputs)
    return (op for op in ops if alive.intersection(op.outputs))
