"""A stream that begins with the first frames of one signal and goes on with another, as pre-emphasis is written."""

from __future__ import annotations

import math

import numpy as np

from tcnstream.compiler.lowering import Lowering, frame_shape
from tcnstream.compiler.operations.cuts import STRIDED_SLICE, SliceOptions
from tcnstream.compiler.operations.elementwise import EQUAL, LOGICAL_AND, SELECT_V2
from tcnstream.compiler.operations.time import TIME_PAD
from tcnstream.compiler.plan import Window
from tcnstream.tflite.graph import Op, Shape, Tensor


def first_frames(lw: Lowering, i: int) -> tuple[int, Shape] | None:
    """What ``i`` has the first frames of, as an operand; None if it is anything else."""
    stream = lw.streams[i]
    picked = stream.picked
    if picked is None or picked.weights is not None or stream.axis is None:
        return None
    in_order = np.array_equal(picked.index[:, 0], np.arange(len(picked.index)))
    return (stream.value, frame_shape(lw.shape(i), stream.axis)) if in_order else None


def begin_with(lw: Lowering, op: Op, first: tuple[int, Shape], time: int) -> None:
    """The first frames of one stream, then another: pre-emphasis keeps its first sample so.

    A flag that is true for as many frames chooses between the two.
    """
    before, rest = op.inputs
    frames, total = lw.streams[before].window_frames, lw.shape(op.outputs[0])[time]
    like = lw.graph.tensors[rest]
    if extra := total - lw.windows[first[0]]:
        longer = Window(pad_end=extra)
        first = lw.step(op, [first], like, first[1], total, TIME_PAD.kind, window=longer, fill=lw.zero(rest))
    flag = Tensor(f"{lw.label(op)}/begins", (), np.dtype(np.bool_))
    one = (1,) * len(first[1])
    value, view = first
    if math.prod(view) > 1:
        cut = SliceOptions((0,) * len(one), one, (1,) * len(one))
        value, view = lw.step(op, [first], like, one, total, STRIDED_SLICE.kind, options=cut)
    known = lw.step(op, [(value, view)] * 2, flag, one, total, EQUAL.kind)
    never = lw.add_constant(flag, np.zeros(one, np.bool_)), one
    never = lw.step(op, [known, never], flag, one, total, LOGICAL_AND.kind)
    begins = Window(pad_begin=frames, pad_end=-frames)
    begins_now = lw.step(op, [never], flag, one, total, TIME_PAD.kind, window=begins, fill=1)
    later = Window(pad_begin=frames)
    operand = lw.operand(rest)
    shifted = lw.step(op, [operand], like, operand[1], total, TIME_PAD.kind, window=later, fill=lw.zero(rest))
    lw.emit(op, [begins_now, first, shifted], time, kind=SELECT_V2.kind)
