"""Operations that reduce axes to one value, time among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.constants import data_of
from tcnstream.compiler.lowering import Lowering, axes_of_frame
from tcnstream.compiler.operation import Fold, Operation
from tcnstream.compiler.operations.time import TIME_REDUCE
from tcnstream.compiler.plan import AxisOptions, Options
from tcnstream.tflite.graph import Array, Op, Tensor
from tcnstream.tflite.validate import FLAG, Operands, Rule, Shapes, axis_of, require


class Statistic(Enum):
    """What several values become; the value is the operation's name in the file."""

    MEAN = "MEAN"
    SUM = "SUM"
    MAXIMUM = "REDUCE_MAX"
    MINIMUM = "REDUCE_MIN"
    PRODUCT = "REDUCE_PROD"

    @property
    def adds(self) -> bool:
        """Whether it follows from the sum of the values and their number."""
        return self in (Statistic.MEAN, Statistic.SUM)


@dataclass(frozen=True)
class StatisticOptions(Options):
    """``statistic`` over ``axes`` of (time, *frame); axis 0, time, only in the nodes that the compiler makes."""

    statistic: Statistic
    axes: tuple[int, ...]

    @property
    def kind_in_file(self) -> str:
        return self.statistic.value


def _statistic_shapes(o: Operands) -> Shapes:
    shape = o.shape(0)
    gone = {axis_of(shape, axis) for axis in o.integers(1)}
    kept = tuple(1 if a in gone else n for a, n in enumerate(shape))
    left = tuple(n for a, n in enumerate(shape) if a not in gone)
    return (kept if o.op.options.get("keep_dims") else left,)


def _extreme_shapes(o: Operands) -> Shapes:
    shape, made = o.shape(0), o.graph.tensors[o.op.outputs[0]]
    require(made.dtype in (np.int32, np.int64), f"`{made.name}` is {made.dtype}, not places")
    axis = axis_of(shape, o.integers(1, count=1)[0])
    return ((*shape[:axis], *shape[axis + 1 :]),)


def _statistic(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    stream, shape, out = lw.stream(op, i), lw.shape(i), lw.shape(op.outputs[0])
    reduced = sorted({a % len(shape) for a in lw.integers(op, 1)})
    time = stream.axis in reduced
    kept = axes_of_frame(shape, stream.axis)
    frame_axes = [a for a in reduced if a in kept]
    axes = tuple(lw.frame_axes(op, i, frame_axes, "reduces"))
    statistic = Statistic(op.kind)
    if time and statistic is Statistic.PRODUCT:
        lw.refuse(op, f"multiplies all {shape[stream.axis or 0]} frames")
    if time:
        options = StatisticOptions(statistic, (0, *axes))
        frames = stream.window_frames
        operand = lw.operand(i)
        kind = TIME_REDUCE.kind
        return lw.emit(op, [operand], None, kind=kind, options=options, window_frames=frames, over_time=True)
    axis = stream.axis
    if axis is not None and len(out) != len(shape):
        axis -= sum(a < axis for a in reduced)
    return lw.emit(op, [lw.operand(i)], axis, options=StatisticOptions(statistic, axes))


def _extreme(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    axis = lw.integers(op, 1)[0] % len(lw.shape(i))
    frame_axis = lw.frame_axis(op, i, axis, "looks for an extreme")
    time = lw.stream(op, i).axis
    out_axis = time if time is None or time < axis else time - 1
    lw.emit(op, [lw.operand(i)], out_axis, options=AxisOptions(frame_axis))


def _folded(function: Callable[..., Array]) -> Fold:
    def fold(op: Op, inputs: list[Tensor], output: Tensor) -> Array:
        axes = tuple(data_of(inputs[1]).reshape(-1).tolist())
        made = function(data_of(inputs[0]), axis=axes, keepdims=bool(op.options.get("keep_dims", False)))
        return np.asarray(made).astype(output.dtype)

    return fold


_SUMS = Rule(operands=(2, 2), shapes=_statistic_shapes, options={"keep_dims": FLAG})
_EXTREMES = Rule(operands=(2, 2), shapes=_statistic_shapes, options={"keep_dims": FLAG}, scaled=False)
_PLACES = Rule(operands=(2, 2), shapes=_extreme_shapes, retyped=True, scaled=False)
_ALL = ("float32", "int8", "int16", "int32", "int64")

OPERATIONS = (
    # The reference kernels read int8 sums as uint8 and int16 ones as int8.
    Operation(
        Statistic.SUM.value,
        _SUMS,
        StatisticOptions,
        lower=_statistic,
        types=("float32", "int32", "int64"),
        batch=batch_rules.reduced,
        fold=_folded(np.sum),
        folds_plain_numbers=True,
    ),
    Operation(
        Statistic.MEAN.value,
        _SUMS,
        StatisticOptions,
        lower=_statistic,
        types=_ALL,
        batch=batch_rules.reduced,
        fold=_folded(np.mean),
        folds_plain_numbers=True,
        keeps_numbers=True,
    ),
    Operation(
        Statistic.PRODUCT.value,
        _SUMS,
        StatisticOptions,
        lower=_statistic,
        types=("float32", "int8", "int16"),
        batch=batch_rules.reduced,
        fold=_folded(np.prod),
        folds_plain_numbers=True,
    ),
    Operation(
        Statistic.MAXIMUM.value,
        _EXTREMES,
        StatisticOptions,
        lower=_statistic,
        types=_ALL,
        batch=batch_rules.reduced,
        fold=_folded(np.max),
        folds_plain_numbers=True,
    ),
    Operation(
        Statistic.MINIMUM.value,
        _EXTREMES,
        StatisticOptions,
        lower=_statistic,
        types=_ALL,
        batch=batch_rules.reduced,
        fold=_folded(np.min),
        folds_plain_numbers=True,
    ),
    Operation(
        "ARG_MAX", _PLACES, AxisOptions, lower=_extreme, types=("float32", "int8", "int32"), batch=batch_rules.reduced
    ),
    Operation(
        "ARG_MIN", _PLACES, AxisOptions, lower=_extreme, types=("float32", "int8", "int32"), batch=batch_rules.reduced
    ),
)
