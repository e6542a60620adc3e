"""Values of a frame in another order, or several times: transpose, reverse, tile, broadcast."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.constants import data_of
from tcnstream.compiler.lowering import Lowering, axes_of_frame
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.picks import BACKWARDS, FORWARDS_ALONE, pick, settle
from tcnstream.compiler.plan import Options
from tcnstream.tflite.graph import Op, Shape, Tensor
from tcnstream.tflite.validate import Operands, Rule, Shapes, axis_of, require, spread


@dataclass(frozen=True)
class TransposeOptions(Options):
    """Axis k of (time, *frame) was axis ``perm[k]``; time stays first."""

    perm: tuple[int, ...]


@dataclass(frozen=True)
class TileOptions(Options):
    """How often each axis of a frame is repeated."""

    multiples: tuple[int, ...]


@dataclass(frozen=True)
class ReverseOptions(Options):
    """The ``axes`` of (time, *frame) along which values are turned around, never 0."""

    axes: tuple[int, ...]


# --- shapes ------------------------------------------------------------------------------------


def _permuted(o: Operands) -> Shapes:
    shape, perm = o.shape(0), o.integers(1)
    require(sorted(perm) == list(range(len(shape))), f"axes {perm} of {shape}")
    return (tuple(shape[p] for p in perm),)


def _reversed(o: Operands) -> Shapes:
    shape, axes = o.shape(0), o.integers(1)
    require(len({axis_of(shape, axis) for axis in axes}) == len(axes), f"axes {axes} of {shape}")
    return (shape,)


def _tiled(o: Operands) -> Shapes:
    shape = o.shape(0)
    return (tuple(n * m for n, m in zip(shape, o.integers(1, count=len(shape)), strict=True)),)


def _stretched(o: Operands) -> Shapes:
    known = o.known_integers(1) if o.leaves_lengths_open else ()
    target = spread(o.shape(0), tuple(known)) if known else o.out()
    require(spread(o.shape(0), target) == target, f"{o.shape(0)} stretched to {target}")
    return (target,) if known else None


# --- lowering ----------------------------------------------------------------------------------


def swapped(lw: Lowering, op: Op, like: Tensor, source: tuple[int, Shape], frames: int) -> int:
    """The plan's value of frames whose first two of three axes are exchanged."""
    a, b, rest = source[1]
    options = TransposeOptions((0, 2, 1, 3))
    return lw.step(op, [source], like, (b, a, rest), frames, TRANSPOSE.kind, options=options)[0]


def _transpose(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    perm = lw.integers(op, 1)
    stream, shape = lw.stream(op, i), lw.shape(i)
    axis = None if stream.axis is None else perm.index(stream.axis)
    kept = [a for a in perm if a != stream.axis and shape[a] != 1]
    if kept == sorted(kept):
        return lw.alias(op, i, axis)
    old = [a for a in range(len(shape)) if a != stream.axis and shape[a] != 1]
    view = tuple(shape[a] for a in old)
    options = TransposeOptions((0, *(old.index(a) + 1 for a in kept)))
    return lw.emit(op, [(stream.value, view)], axis, options=options)


def _reverse(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape = lw.stream(op, i), lw.shape(i)
    axes = {a % len(shape) for a in lw.integers(op, 1)}
    if stream.axis is not None and axes == {stream.axis}:
        return pick(lw, op, op.outputs[0], stream, np.arange(stream.window_frames)[::-1], stream.axis)
    if stream.axis in axes:
        lw.refuse(op, BACKWARDS, FORWARDS_ALONE)
    settle(lw, op)
    # One value, as along the batch, is the same either way.
    turned = sorted(a for a in axes if shape[a] > 1)
    if not turned:
        if lw.scale(i) != lw.scale(op.outputs[0]):
            lw.refuse(op, "turns nothing around and gives its values another scale")
        return lw.alias(op, i, stream.axis)
    options = ReverseOptions(tuple(lw.frame_axes(op, i, turned, "turns values around")))
    return lw.emit(op, [lw.operand(i)], stream.axis, options=options)


def _tile(lw: Lowering, op: Op) -> None:
    if not _repeated_frame(lw, op):
        settle(lw, op)
        _tile_frames(lw, op)


def _repeated_frame(lw: Lowering, op: Op) -> bool:
    """Whether one frame of a window becomes several, as in front of a signal that its first frame pads."""
    i = op.inputs[0]
    stream, shape, out = lw.stream(op, i), lw.shape(i), lw.shape(op.outputs[0])
    axis = stream.axis
    if stream.picked is None or axis is None or len(out) != len(shape):
        return False
    if len(stream.picked.index) == 1:
        # One frame stands on any of the axes of length 1 beside its own.
        grown = next((a for a, (n, m) in enumerate(zip(shape, out, strict=True)) if n != m), axis)
        axis = grown if math.prod(shape[min(axis, grown) : max(axis, grown) + 1]) == 1 else axis
    if out[:axis] != shape[:axis]:
        return False
    if out[axis + 1 :] != shape[axis + 1 :]:
        return False
    pick(lw, op, op.outputs[0], stream, np.arange(out[axis]) % shape[axis], axis)
    return True


def _tile_frames(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.stream(op, i), lw.shape(i), lw.shape(op.outputs[0])
    aligned = (1,) * (len(out) - len(shape)) + shape
    axis = None if stream.axis is None else stream.axis + len(out) - len(shape)
    if axis is None and stream.statistic:
        grown = [a for a in range(1, len(out)) if out[a] != aligned[a]]
        if len(grown) == 1 and out[grown[0]] == stream.window_frames and aligned[grown[0]] == 1:
            return lw.alias(op, i, grown[0])
    elif axis is not None and out[axis] != aligned[axis]:
        lw.refuse(op, "repeats the whole signal along time")
    kept = axes_of_frame(out, axis)
    view, target = tuple(aligned[a] for a in kept), tuple(out[a] for a in kept)
    options = TileOptions(tuple(t // v for t, v in zip(target, view, strict=True)))
    return lw.emit(op, [(stream.value, view)], axis, kind=TILE.kind, options=options)


# --- records -----------------------------------------------------------------------------------

_ALL = ("float32", "int8", "int16")

TRANSPOSE = Operation(
    "TRANSPOSE",
    Rule.of_moves((2, 2), _permuted),
    options=TransposeOptions,
    lower=_transpose,
    fold=lambda op, ins, out: np.transpose(data_of(ins[0]), data_of(ins[1]).tolist()),
    types=_ALL,
    batch=batch_rules.permuted,
    moves_values=True,
    keeps_numbers=True,
)

TILE = Operation(
    "TILE",
    Rule.of_moves((2, 2), _tiled),
    options=TileOptions,
    lower=_tile,
    fold=lambda op, ins, out: np.tile(data_of(ins[0]), data_of(ins[1]).tolist()),
    types=("float32", "int8", "int32"),
    batch=batch_rules.tiled,
    takes_picked=True,
    keeps_numbers=True,
)

OPERATIONS = (
    TRANSPOSE,
    TILE,
    Operation(
        "BROADCAST_TO",
        Rule.of_moves((2, 2), _stretched),
        lower=_tile,
        fold=lambda op, ins, out: np.broadcast_to(data_of(ins[0]), out.shape).copy(),
        types=_ALL,
        batch=batch_rules.tiled,
        takes_picked=True,
    ),
    Operation(
        "REVERSE_V2",
        Rule((2, 2), shapes=_reversed, scaled=False),
        options=ReverseOptions,
        lower=_reverse,
        types=_ALL,
        batch=batch_rules.turned,
        takes_picked=True,
    ),
)
