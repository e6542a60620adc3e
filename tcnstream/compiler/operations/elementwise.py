"""Several operands value by value, all of them of one time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tcnstream.compiler.constants import data_of
from tcnstream.compiler.lowering import Lowering, frame_shape
from tcnstream.compiler.operation import Fold, Lower, Operation, from_file
from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.time import TIME_PAD, TIME_REPEAT
from tcnstream.compiler.picks import scaled, settle, summed
from tcnstream.compiler.plan import ActivationOptions, Options, Window
from tcnstream.tflite.graph import Array, Op, Tensor
from tcnstream.tflite.validate import ACTIVATION, FLAG, Operands, Rule, broadcast, require_scale


@dataclass(frozen=True)
class SumOptions(ActivationOptions):
    """``pot_scale_int16``: int16 operands whose scales are powers of two are shifted, as old converters ask for."""

    pot_scale_int16: bool = False


def _sum(signs: tuple[int, int]) -> Lower:
    def lower(lw: Lowering, op: Op) -> None:
        if not summed(lw, op, signs):
            settle(lw, op)
            _join(lw, op)

    return lower


def _product(lw: Lowering, op: Op) -> None:
    if not scaled(lw, op):
        settle(lw, op)
        _join(lw, op)


def _join(lw: Lowering, op: Op) -> None:
    """Streams that meet at one time, and constants that hold at all times."""
    rank = max(len(lw.shape(i)) for i in op.inputs)
    axes = set()
    for i in op.inputs:
        if i in lw.streams and (a := lw.streams[i].axis) is not None:
            axes.add(a + rank - len(lw.shape(i)))
    if len(axes) > 1:
        lw.refuse(op, "joins tensors whose time lies on different axes")
    inputs = []
    streams = [lw.streams[i] for i in op.inputs if i in lw.streams]
    axis = next(iter(axes)) if axes else None
    if axis is None and all(s.statistic for s in streams):
        axis = _restored_axis(lw, op, rank)
    steps = {s.window_frames for s in streams if s.axis is not None}
    if len(steps) > 1:
        lw.refuse(op, f"joins tensors of different lengths {sorted(steps)}, one of which is repeated over time")
    if axis is not None:
        if any(s.axis is None and not s.statistic for s in streams):
            lw.refuse(
                op,
                "hands every frame what only the end of the window knows (a last frame, a layer over all frames),"
                " and an endless signal has no such end",
            )
        steps = steps or {max(s.window_frames for s in streams)}
    for i in op.inputs:
        aligned = (1,) * (rank - len(lw.shape(i))) + lw.shape(i)
        if i in lw.streams:
            if lw.streams[i].axis is None and axis is not None and aligned[axis] != 1:
                lw.refuse(op, "joins time with an axis that is not time")
            value = lw.streams[i].value if axis is None else statistic_over(lw, op, i, min(steps))
            inputs.append((value, frame_shape(aligned, axis)))
        else:
            data = lw.timeless(op, i, aligned, axis)
            inputs.append((lw.add_constant(lw.graph.tensors[i], data), data.shape))
    lw.emit(op, inputs, axis, options=from_file(operation(op.kind).options, op))


def statistic_over(lw: Lowering, op: Op, i: int, frames: int) -> int:
    """A stream as the plan's value at the rate of a tensor of ``frames`` frames; only a statistic has it at any rate.

    At a lower rate it is the value at the last of the frames that one of them stands for.
    """
    stream = lw.streams[i]
    if stream.axis is not None or stream.window_frames == frames:
        return stream.value
    fewer, rest = divmod(stream.window_frames, frames)
    more, left = divmod(frames, stream.window_frames)
    if rest and left:
        lw.refuse(op, f"joins a statistic over {stream.window_frames} frames with others over {frames}")
    like = lw.tensors[stream.value]
    source = [(stream.value, like.shape)]
    if fewer:
        window = Window(stride=fewer, pad_begin=1 - fewer)
        return lw.step(op, source, like, like.shape, frames, TIME_PAD.kind, window=window)[0]
    window = Window(up=more, extent=more, pad_begin=more - 1)
    return lw.step(op, source, like, like.shape, frames, TIME_REPEAT.kind, window=window)[0]


def _restored_axis(lw: Lowering, op: Op, rank: int) -> int | None:
    """Where time comes back when a tensor without it meets a constant as long as the window."""
    out = lw.shape(op.outputs[0])
    window = lw.window_frames_of(op)
    for axis in range(1, rank):
        aligned = [(1,) * (rank - len(lw.shape(i))) + lw.shape(i) for i in op.inputs if i in lw.streams]
        if window > 1 and out[axis] == window and all(shape[axis] == 1 for shape in aligned):
            return axis
    return None


def _folded(function: Callable[[Array, Array], Array]) -> Fold:
    return lambda op, ins, out: np.asarray(function(data_of(ins[0]), data_of(ins[1]))).astype(out.dtype)


def _squared_difference(a: Array, b: Array) -> Array:
    return np.asarray(np.square(np.subtract(a, b)))


def _divided(a: Array, b: Array) -> Array:
    """Integers toward zero, as in C; what is divided by 0 is refused with the shapes that would follow."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    quotient: Array = np.sign(a) * np.sign(b) * (np.abs(a) // np.maximum(np.abs(b), 1))
    return quotient


def _chosen(op: Op, inputs: list[Tensor], output: Tensor) -> Array:
    return np.where(*(data_of(t) for t in inputs))


_ACTIVATED = {"fused_activation_function": ACTIVATION}


def _compared(*scaled: str) -> Callable[[Operands], None]:
    """TFLite compares integers of these types by their scales, and ends the process without."""

    def demands(o: Operands) -> None:
        for tensor in (o.tensor(0), o.tensor(1)):
            if tensor.dtype.name in scaled:
                require_scale(tensor)

    return demands


_PAIR = Rule(operands=(2, 2), shapes=broadcast, alike=True)
_PRODUCT = Rule(operands=(2, 2), shapes=broadcast, options=_ACTIVATED, alike=True)
_SUM = Rule(operands=(2, 2), shapes=broadcast, options=_ACTIVATED | {"pot_scale_int16": FLAG}, alike=True)
_RAW = Rule(operands=(2, 2), shapes=broadcast, alike=True, scaled=False)
_COMPARISON = replace(_RAW, demands=_compared("int8", "uint8"), retyped=True)
_EQUALITY = replace(_COMPARISON, demands=_compared("int8", "uint8", "int16"))
_SELECTION = Rule(operands=(3, 3), shapes=broadcast, values=1, scaled=False)
_ALL = ("float32", "int8", "int16", "int32", "int64")


def _two(
    kind: str,
    rule: Rule,
    types: tuple[str, ...],
    function: Callable[[Array, Array], Array] | None = None,
    options: type[Options] = Options,
    lower: Lower = _join,
    keeps_numbers: bool = False,
) -> Operation:
    """An operation of two operands; ``function`` is what it computes of constants without a scale."""
    fold = None if function is None else _folded(function)
    takes_picked = lower is not _join
    return Operation(
        kind,
        rule,
        options,
        lower=lower,
        types=types,
        fold=fold,
        folds_plain_numbers=True,
        keeps_numbers=keeps_numbers,
        takes_picked=takes_picked,
    )


ADD = _two("ADD", _SUM, _ALL, np.add, SumOptions, _sum((1, 1)), keeps_numbers=True)
MUL = _two("MUL", _PRODUCT, _ALL, np.multiply, ActivationOptions, _product, keeps_numbers=True)
DIV = _two("DIV", _PRODUCT, ("float32", "int8", "int32"), _divided, ActivationOptions)
MAXIMUM = _two("MAXIMUM", _RAW, _ALL, np.maximum, keeps_numbers=True)
EQUAL = _two("EQUAL", _EQUALITY, (*_ALL, "bool"), np.equal)
SELECT_V2 = Operation("SELECT_V2", _SELECTION, lower=_join, types=_ALL, fold=_chosen, folds_plain_numbers=True)

SUB = _two("SUB", _SUM, _ALL, np.subtract, SumOptions, _sum((1, -1)), keeps_numbers=True)
MINIMUM = _two("MINIMUM", _RAW, _ALL, np.minimum, keeps_numbers=True)
LOGICAL_AND = _two("LOGICAL_AND", _PAIR, ("bool",), np.logical_and)
LESS = _two("LESS", _COMPARISON, _ALL, np.less)

NOT_EQUAL = _two("NOT_EQUAL", _EQUALITY, (*_ALL, "bool"), np.not_equal)
POW = _two("POW", _PAIR, ("float32", "int32"), np.power)
FLOOR_DIV = _two("FLOOR_DIV", _RAW, ("float32", "int8", "int16", "int32"), np.floor_divide)
FLOOR_MOD = _two("FLOOR_MOD", _RAW, _ALL, np.mod)

OPERATIONS = (
    ADD,
    SUB,
    MUL,
    DIV,
    _two("SQUARED_DIFFERENCE", _PAIR, ("float32", "int8", "int32"), _squared_difference, keeps_numbers=True),
    POW,
    _two("PRELU", _PAIR, ("float32", "int8"), keeps_numbers=True),
    FLOOR_DIV,
    FLOOR_MOD,
    MAXIMUM,
    MINIMUM,
    LOGICAL_AND,
    _two("LOGICAL_OR", _PAIR, ("bool",), np.logical_or),
    EQUAL,
    NOT_EQUAL,
    LESS,
    _two("LESS_EQUAL", _COMPARISON, _ALL, np.less_equal),
    _two("GREATER", _COMPARISON, _ALL, np.greater),
    _two("GREATER_EQUAL", _COMPARISON, _ALL, np.greater_equal),
    Operation("SELECT", _SELECTION, lower=_join, types=_ALL, fold=_chosen, folds_plain_numbers=True),
    SELECT_V2,
)
