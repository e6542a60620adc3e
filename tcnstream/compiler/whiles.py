"""Graph -> Graph: a WHILE that steps through a sequence becomes the operations of one step, which keep states.

Keras writes LSTM, GRU and SimpleRNN so. The loop counts up from 0, reads frame i of one or more sequences, carries
states from step to step, and puts frame i of its answer into a list as long as the sequences. What one step computes
is then an operation of the graph like any other; ``operations/loop.py`` says how its ends are read over frames. A loop
that does anything else stays, with the reason, and is refused by name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.activation import CAST
from tcnstream.compiler.operations.cuts import SLICE
from tcnstream.compiler.operations.elementwise import ADD, DIV, LESS, LOGICAL_AND, MUL, SUB
from tcnstream.compiler.operations.gathers import GATHER
from tcnstream.compiler.operations.loop import LOOP_COLLECT, LOOP_LAST, LOOP_READ, LOOP_STATE, WHILE
from tcnstream.compiler.operations.pieces import CONCATENATION, PACK
from tcnstream.compiler.operations.reshape import RESHAPE
from tcnstream.tflite.graph import ABSENT, Graph, Op, Tensor

Place: TypeAlias = tuple[int, int]
"""``steps * i + offset``, an integer in step i of a loop."""

_SPREADING = (ADD.kind, SUB.kind, MUL.kind, DIV.kind)


def has_whiles(graph: Graph) -> bool:
    return any(op.kind == WHILE.kind for op in graph.ops)


def bodies(graph: Graph) -> list[Graph]:
    """What the loops of a graph do in each step."""
    numbers = [op.integer("body_subgraph_index", 0) for op in graph.ops if op.kind == WHILE.kind]
    return [graph.siblings[k] for k in numbers if 0 <= k < len(graph.siblings)]


def inline_whiles(graph: Graph) -> Graph:
    """``graph``, checked and without shape arithmetic, with its loops inlined."""
    tensors, ops = list(graph.tensors), list[Op]()
    renamed: dict[int, int] = {}
    for op in graph.ops:
        op = dataclasses.replace(op, inputs=tuple(renamed.get(i, i) for i in op.inputs))
        if op.kind != WHILE.kind:
            ops.append(op)
            continue
        try:
            loop = _understood(op, tensors, _callee(graph, op, "cond"), _callee(graph, op, "body"))
            steps = _needed(loop)
        except _UnlikeError as e:
            ops.append(dataclasses.replace(op, options={**op.options, "why": str(e)}))
            continue
        ops += _inlined(op, loop, steps, tensors)
        renamed |= {op.outputs[k]: op.inputs[k] for k in loop.invariants}
    outputs = tuple(renamed.get(o, o) for o in graph.outputs)
    return dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(ops), outputs=outputs)


class _UnlikeError(Exception):
    """What the loop does that no step of a sequence does."""


def _callee(graph: Graph, op: Op, part: str) -> Graph:
    number = op.integer(f"{part}_subgraph_index", 0)
    if not 0 <= number < len(graph.siblings):
        raise _UnlikeError(f"calls graph {number} of {len(graph.siblings)}")
    return graph.siblings[number]


@dataclass
class _Loop:
    """What the variables of a loop are, by their number.

    ``writes`` has the tensor of the body that a list gets, ``reads`` the sequence of which a tensor is the frame.
    """

    body: Graph
    steps: int
    counters: set[int] = field(default_factory=set)
    invariants: set[int] = field(default_factory=set)
    states: set[int] = field(default_factory=set)
    writes: dict[int, int] = field(default_factory=dict)
    reads: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.producer = {o: op for op in self.body.ops for o in op.outputs}
        self.number = {i: k for k, i in enumerate(self.body.inputs)}

    def places(self, i: int) -> list[Place] | None:
        """The elements of an integer tensor of the body, if they only depend on the step."""
        tensor = self.body.tensors[i]
        if tensor.data is not None and tensor.dtype.kind == "i":
            return [(0, int(v)) for v in tensor.data.reshape(-1)]
        if self.number.get(i) in self.counters:
            return [(1, 0)]
        op = self.producer.get(i)
        if op is None or not op.inputs or op.kind not in operations():
            return None
        if op.kind == CAST.kind or operations()[op.kind].reshapes:
            return self.places(op.inputs[0])
        parts = [self.places(k) for k in op.inputs]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        if op.kind in (CONCATENATION.kind, PACK.kind):
            return [place for part in known for place in part]
        if op.kind == ADD.kind and len(known[0]) == len(known[1]):
            return [(a + c, b + d) for (a, b), (c, d) in zip(*known, strict=True)]
        return None


def _understood(op: Op, tensors: Sequence[Tensor], cond: Graph, body: Graph) -> _Loop:
    """What each variable of the loop is; _UnlikeError for a loop that is no step through sequences."""
    count = len(op.inputs)
    if not count == len(op.outputs) == len(body.inputs) == len(body.outputs) == len(cond.inputs) or ABSENT in op.inputs:
        raise _UnlikeError("calls graphs that take other variables than it has")
    loop = _Loop(body, 0)
    for k, (i, o) in enumerate(zip(body.inputs, body.outputs, strict=True)):
        if o == i:
            loop.invariants.add(k)
        elif _counts_up(loop, i, o) and _is_zero(tensors[op.inputs[k]]):
            loop.counters.add(k)
    loop.steps = _steps(op, tensors, cond, loop)
    for k, (i, o) in enumerate(zip(body.inputs, body.outputs, strict=True)):
        if k in loop.invariants | loop.counters:
            continue
        written = _written(loop, i, o)
        if written is None:
            loop.states.add(k)
        elif tensors[op.inputs[k]].shape[:1] != (loop.steps,):
            raise _UnlikeError(f"takes {loop.steps} steps and fills a list of {tensors[op.inputs[k]].shape[:1]}")
        else:
            loop.writes[k] = written
    for step in body.ops:
        if step.kind == GATHER.kind and loop.places(step.inputs[1]) == [(1, 0)]:
            k = loop.number.get(step.inputs[0], ABSENT)
            if k in loop.invariants and not step.integer("axis", 0) and not step.integer("batch_dims", 0):
                if tensors[op.inputs[k]].shape[:1] != (loop.steps,):
                    raise _UnlikeError(f"takes {loop.steps} steps through {tensors[op.inputs[k]].shape[:1]} frames")
                loop.reads[step.outputs[0]] = k
    if not loop.reads:
        raise _UnlikeError("reads no sequence frame by frame")
    for k in loop.states:
        if not tensors[op.inputs[k]].is_constant:
            raise _UnlikeError("starts from a state that is computed, where a stream starts from a constant")
    return loop


def _counts_up(loop: _Loop, i: int, o: int) -> bool:
    op = loop.producer.get(o)
    if op is None or op.kind != ADD.kind or i not in op.inputs or math.prod(loop.body.tensors[i].shape) != 1:
        return False
    step = loop.body.tensors[op.inputs[1] if op.inputs[0] == i else op.inputs[0]].data
    return step is not None and step.dtype.kind == "i" and step.reshape(-1).tolist() == [1]


def _is_zero(tensor: Tensor) -> bool:
    return tensor.data is not None and not np.any(tensor.data)


def _steps(op: Op, tensors: Sequence[Tensor], cond: Graph, loop: _Loop) -> int:
    """How many steps the loop takes: the condition is that counters are below bounds."""
    producer = {o: test for test in cond.ops for o in test.outputs}
    number = {i: k for k, i in enumerate(cond.inputs)}
    bounds, left = [], list(cond.outputs)
    while left:
        test = producer.get(left.pop())
        if test is not None and test.kind == LOGICAL_AND.kind:
            left += test.inputs
            continue
        if test is None or test.kind != LESS.kind or number.get(test.inputs[0]) not in loop.counters:
            raise _UnlikeError("ends by a condition that is no count of its steps")
        bound = cond.tensors[test.inputs[1]]
        k = number.get(test.inputs[1])
        if k is not None and k in loop.invariants:
            bound = tensors[op.inputs[k]]
        if bound.data is None or bound.data.size != 1:
            raise _UnlikeError("takes a number of steps that is computed at run time")
        bounds.append(int(bound.data.reshape(-1)[0]))
    return min(bounds)


def _written(loop: _Loop, i: int, o: int) -> int | None:
    """What a step puts into place i of a list: the body joins what stands before it, it, and what stands behind."""
    join = loop.producer.get(o)
    if join is None:
        return None
    if join.kind == "DYNAMIC_UPDATE_SLICE" and join.inputs[0] == i:
        start = loop.places(join.inputs[2])
        return join.inputs[1] if start is not None and start[0] == (1, 0) and not any(map(any, start[1:])) else None
    if join.kind != CONCATENATION.kind or len(join.inputs) != 3 or join.integer("axis", 0) != 0:
        return None
    before, behind = (loop.producer.get(k) for k in (join.inputs[0], join.inputs[2]))
    if before is None or behind is None or {before.kind, behind.kind} != {SLICE.kind}:
        return None
    if before.inputs[0] != i or behind.inputs[0] != i:
        return None
    taken, left = loop.places(before.inputs[2]), loop.places(behind.inputs[1])
    return join.inputs[1] if taken and left and (taken[0], left[0]) == ((1, 0), (1, 1)) else None


def _inlined(op: Op, loop: _Loop, steps: Sequence[Op], tensors: list[Tensor]) -> list[Op]:
    """The operations of one step, and those at its ends; appends their tensors."""
    body = loop.body
    place = {i: op.inputs[k] for k, i in enumerate(body.inputs) if k in loop.invariants}
    for i, tensor in enumerate(body.tensors):
        if i not in place:
            place[i] = len(tensors)
            tensors.append(tensor)
    sequences = tuple(dict.fromkeys(op.inputs[k] for k in loop.reads.values()))
    made = [
        Op(LOOP_STATE.kind, (op.inputs[k], place[body.outputs[k]], *sequences), (place[body.inputs[k]],), {}, op.index)
        for k in sorted(loop.states)
    ]
    for i, k in loop.reads.items():
        made.append(Op(LOOP_READ.kind, (op.inputs[k],), (place[i],), {}, op.index))
    for step in steps:
        read = (keeps_batch(body.tensors, loop.producer, step, i) for i in step.inputs)
        inputs = tuple(i if i == ABSENT else place[i] for i in read)
        made.append(Op(step.kind, inputs, tuple(place[o] for o in step.outputs), step.options, op.index))
    made += [Op(LOOP_COLLECT.kind, (place[i],), (op.outputs[k],), {}, op.index) for k, i in loop.writes.items()]
    made += [Op(LOOP_LAST.kind, (place[body.outputs[k]],), (op.outputs[k],), {}, op.index) for k in sorted(loop.states)]
    return made


def _needed(loop: _Loop) -> list[Op]:
    """The operations of the body that its states and lists depend on, but for reading and writing frames."""
    alive = {loop.body.outputs[k] for k in loop.states} | set(loop.writes.values())
    kept = []
    for op in reversed(loop.body.ops):
        if alive.intersection(op.outputs) and not loop.reads.keys() & set(op.outputs):
            kept.append(op)
            alive.update(op.inputs)
    strange = alive & {loop.body.inputs[k] for k in loop.counters | loop.writes.keys()}
    if strange:
        name = loop.body.tensors[min(strange)].name
        raise _UnlikeError(f"computes with `{name}`, its own count or list, and not only with frames and states")
    return list(reversed(kept))


def keeps_batch(tensors: Sequence[Tensor], producer: Mapping[int, Op], reader: Op, i: int) -> int:
    """``i``, or what it was before a reshape took its batch axis, for a reader to whom that is the same."""
    op = producer.get(i)
    if op is None or op.kind != RESHAPE.kind or reader.kind not in _SPREADING:
        return i
    before, after = tensors[op.inputs[0]].shape, tensors[i].shape
    others = [tensors[k].shape for k in reader.inputs if k not in (ABSENT, i)]
    spreads = any(len(shape) >= len(before) for shape in others)
    return op.inputs[0] if spreads and before == (1, *after) else i
