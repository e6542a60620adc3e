"""What only moves values."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from tcnstream.compiler.operations.time import GraphOptions
from tcnstream.engines.native.layout.arguments import Move, MoveRun, Previous
from tcnstream.engines.native.layout.functions import TimeMoveOp
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack.context import Context, Packed, packs
from tcnstream.engines.reference.kernels import KERNELS, KernelContext
from tcnstream.engines.reference.kernels.context import Ints
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array, Tensor


@packs(
    "RESHAPE",
    "EXPAND_DIMS",
    "SQUEEZE",
    "TRANSPOSE",
    "REVERSE_V2",
    "PAD",
    "PADV2",
    "MIRROR_PAD",
    "SLICE",
    "STRIDED_SLICE",
    "TILE",
    "BROADCAST_TO",
    "GATHER",
    "SPLIT",
    "SPLIT_V",
    "UNPACK",
    "RESIZE_NEAREST_NEIGHBOR",
)
def _move(context: Context) -> Packed:
    """Any operation that only moves values of a frame."""
    return _moved(context, 1)


@packs("CONCATENATION", "PACK")
def _move_all(context: Context) -> Packed:
    """Those that move the values of all their operands."""
    return _moved(context, len(context.node.inputs))


def _moved(context: Context, operands: int) -> Packed:
    """Where the values of the first ``operands`` go, found by moving their places instead of the values."""
    node, plan, target = context.node, context.plan, context.target
    facts = context.facts
    places: list[Array | None] = list(facts.arrays)
    tensors: list[Tensor | None] = list(facts.inputs)
    pool: list[Array] = []
    streams: list[tuple[int, int, int]] = []
    base = 1
    for position in range(operands):
        view = node.views[position]
        tensor = plan.tensors[node.inputs[position]]
        if tensor.dtype != target.dtype:
            raise context.unsupported(f"{tensor.dtype} input and {target.dtype} output")
        size = math.prod(view)
        ids = np.arange(base, base + size)
        if tensor.data is None:
            streams.append((base, size, sum(s[2] >= 0 for s in streams)))
            places[position] = ids.reshape(1, *view)
        else:
            streams.append((base, size, -1))
            places[position] = ids.reshape(view)
            pool.append(tensor.data.reshape(-1))
        tensors[position] = replace(tensor, shape=view, dtype=np.dtype(np.int64))
        base += size
    moved = KernelContext(
        node=replace(node, fill=0),
        inputs=tuple(tensors),
        arrays=tuple(places),
        outputs=tuple(replace(o, dtype=np.dtype(np.int64)) for o in facts.outputs),
        n_frames=1,
        valid=(0, 1),
    )
    answers: list[Ints] = [part.reshape(-1).astype(np.int64) for part in KERNELS[node.kind](moved)]
    runs: list[_Run] = []
    constants: Array | None = None
    for output, answer in enumerate(answers):
        origin, constants = _origins(answer, streams, pool, np.full(answer.size, node.fill, target.dtype))
        runs.extend(_runs(origin, output))
        if (origin[:, 0] >= 0).all():
            constants = None
        elif len(answers) > 1:
            raise context.unsupported("constants in several outputs")
    records = _records(runs, target.dtype.itemsize)
    arguments = Move(
        constant=None if constants is None else constants.tobytes(),
        n_runs=len(records),
        runs=b"".join(record.pack() for record in records) or None,
    )
    return Packed(Kind.MOVE, context.streams, arguments)


_MOST_TIMES = (1 << 16) - 1


@dataclass
class _Run:
    """Elements that stay side by side."""

    operand: int
    output: int
    begin: int
    to: int
    count: int


def _origins(
    answer: Ints, streams: list[tuple[int, int, int]], pool: list[Array], constants: Array
) -> tuple[Ints, Array]:
    """(operand, element) of each place of an output, -1 where it is constant; and the constants."""
    origin = np.full((answer.size, 2), -1, np.int64)
    taken = 0
    for begin, size, operand in streams:
        inside = (answer >= begin) & (answer < begin + size)
        if operand >= 0:
            origin[inside] = np.stack([np.full(inside.sum(), operand), answer[inside] - begin], 1)
        else:
            constants[inside] = pool[taken][answer[inside] - begin]
            taken += 1
    return origin, constants


def _runs(origin: Ints, output: int) -> list[_Run]:
    places = np.flatnonzero(origin[:, 0] >= 0)
    operand, start = origin[places].T
    ends = (np.diff(operand) != 0) | (np.diff(start) != 1) | (np.diff(places) != 1)
    firsts = np.concatenate([[0], np.flatnonzero(ends) + 1])[: len(places)]
    counts = np.diff(np.append(firsts, len(places)))
    return [
        _Run(int(operand[k]), output, int(start[k]), int(places[k]), int(n))
        for k, n in zip(firsts, counts, strict=True)
    ]


def _records(runs: list[_Run], item_bytes: int) -> list[MoveRun]:
    """Runs of one length at equal distances are one record."""
    records: list[MoveRun] = []
    k = 0
    while k < len(runs):
        first, times, steps = runs[k], 1, (0, 0)
        for before, run in itertools.pairwise(runs[k : k + _MOST_TIMES]):
            step = (run.begin - before.begin, run.to - before.to)
            alike = (run.operand, run.output, run.count) == (first.operand, first.output, first.count)
            if not alike or (times > 1 and step != steps):
                break
            times, steps = times + 1, step
        records.append(
            MoveRun(
                operand=first.operand,
                output=first.output,
                times=times,
                begin=first.begin * item_bytes,
                to=first.to * item_bytes,
                count=first.count * item_bytes,
                begin_step=steps[0] * item_bytes,
                to_step=steps[1] * item_bytes,
            )
        )
        k += times
    return records


def _time_move(kind: str, op: TimeMoveOp) -> None:
    packs(kind)(lambda context: Packed(Kind.TIME_MOVE, context.streams, None, op))


_time_move("TIME_PAD", TimeMoveOp.PAD)
_time_move("TIME_WINDOW", TimeMoveOp.WINDOW)
_time_move("TIME_UNFOLD", TimeMoveOp.UNFOLD)
_time_move("TIME_REPEAT", TimeMoveOp.REPEAT)


@packs("TIME_STATE")
def _state(context: Context) -> Packed:
    arguments = Previous(shown=context.plan.states[context.node.outputs[0]], start=context.facts.array(0).tobytes())
    return Packed(Kind.PREVIOUS, context.streams, arguments)


@packs("STATEFUL_GRAPH")
def _steps(context: Context) -> Packed:
    raise EngineError(context.node.options_of(GraphOptions).alone("native"))


@packs("TIME_FROZEN")
def _frozen(context: Context) -> Packed:
    values = context.facts.array(1)
    content = np.ascontiguousarray(values.astype(context.target.dtype)).tobytes()
    arguments = Move(constant=content, n_runs=0, runs=None)
    return Packed(Kind.MOVE, context.streams, arguments)
