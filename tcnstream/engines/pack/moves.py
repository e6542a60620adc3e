"""What only moves values."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tcnstream.engines.kernels import KERNELS, Call
from tcnstream.engines.pack.context import Arguments, Context, Packed, Packer
from tcnstream.graph import Array, Tensor

_MOVES_ALL = ("CONCATENATION", "PACK")


def _move(context: Context) -> Packed:
    """Any operation that only moves values of a frame, found by moving the places instead of the values."""
    node, plan, target = context.node, context.plan, context.target
    if len(node.outputs) != 1:
        raise context.lacks("several outputs")
    carried = range(len(node.inputs)) if node.kind in _MOVES_ALL else range(1)
    call = context.call
    places: list[Array | None] = list(call.arrays)
    facts: list[Tensor | None] = list(call.inputs)
    pool: list[Array] = []
    streams: list[tuple[int, int, int]] = []
    base = 1
    for position in carried:
        view = node.views[position]
        tensor = plan.tensors[node.inputs[position]]
        if tensor.dtype != target.dtype:
            raise context.lacks(f"{tensor.dtype} input and {target.dtype} output")
        size = math.prod(view)
        ids = np.arange(base, base + size)
        if tensor.data is None:
            streams.append((base, size, len(streams)))
            places[position] = ids.reshape(1, *view)
        else:
            streams.append((base, size, -1))
            places[position] = ids.reshape(view)
            pool.append(tensor.data.reshape(-1))
        facts[position] = replace(tensor, shape=view, dtype=np.dtype(np.int64))
        base += size
    moved = Call(
        node=replace(node, fill=0),
        inputs=tuple(facts),
        arrays=tuple(places),
        outputs=(replace(target, dtype=np.dtype(np.int64)),),
        n_frames=1,
        valid=(0, 1),
    )
    answer = KERNELS[node.kind](moved)[0].reshape(-1).astype(np.int64)
    constants = np.full(answer.size, node.fill, target.dtype)
    origin = np.full((answer.size, 2), -1, np.int64)
    taken = 0
    for begin, size, operand in streams:
        inside = (answer >= begin) & (answer < begin + size)
        if operand >= 0:
            origin[inside] = np.stack([np.full(inside.sum(), operand), answer[inside] - begin], 1)
        else:
            constants[inside] = pool[taken][answer[inside] - begin]
            taken += 1
    runs: list[tuple[int, int, int, int]] = []
    for to, (operand, start) in enumerate(origin):
        if operand < 0:
            continue
        if runs and runs[-1][0] == operand and runs[-1][1] + runs[-1][3] == start and runs[-1][2] + runs[-1][3] == to:
            runs[-1] = (*runs[-1][:3], runs[-1][3] + 1)
        else:
            runs.append((int(operand), int(start), to, 1))
    covered = bool((origin[:, 0] >= 0).all())
    arguments: Arguments = [
        ("I", target.dtype.itemsize),
        ("I", None if covered else constants.tobytes()),
        ("I", len(runs)),
        ("I", np.array(runs, np.uint32).tobytes() or None),
    ]
    return Packed("MOVE", 0, context.streams, arguments)


def _time_move(op: int) -> Packer:
    return lambda context: Packed("TIME_MOVE", op, context.streams, [])


def _frozen(context: Context) -> Packed:
    values = context.call.array(1)
    content = np.ascontiguousarray(values.astype(context.target.dtype)).tobytes()
    arguments: Arguments = [("I", context.target.dtype.itemsize), ("I", content), ("I", 0), ("I", None)]
    return Packed("MOVE", 0, context.streams, arguments)


PACKERS: dict[str, Packer] = {
    **dict.fromkeys(
        (
            "RESHAPE",
            "EXPAND_DIMS",
            "SQUEEZE",
            "TRANSPOSE",
            "PAD",
            "PADV2",
            "MIRROR_PAD",
            "CONCATENATION",
            "SLICE",
            "STRIDED_SLICE",
            "TILE",
            "BROADCAST_TO",
            "GATHER",
            "PACK",
            "RESIZE_NEAREST_NEIGHBOR",
        ),
        _move,
    ),
    "TIME_PAD": _time_move(0),
    "TIME_WINDOW": _time_move(1),
    "TIME_UNFOLD": _time_move(2),
    "TIME_REPEAT": _time_move(3),
    "TIME_FROZEN": _frozen,
}
