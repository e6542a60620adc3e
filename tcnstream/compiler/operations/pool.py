"""Pools: the greatest or the mean of a window, padding not counted."""

from __future__ import annotations

from dataclasses import dataclass

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation, from_file
from tcnstream.compiler.plan import ActivationOptions
from tcnstream.compiler.spatial import PADDING, STRIDES, SpatialOptions, access_window, spatial
from tcnstream.tflite.graph import Op
from tcnstream.tflite.validate import COUNT, Operands, Rule, Shapes


@dataclass(frozen=True)
class PoolOptions(SpatialOptions):
    """``filter_t`` by ``filter_f`` places go together."""

    filter_t: int = 1
    filter_f: int = 1


def _shapes(o: Operands) -> Shapes:
    shape = o.shape(0, rank=4)
    return ((shape[0], *o.spatial((o.count_option("filter_height"), o.count_option("filter_width"))), shape[3]),)


def _pool(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    size = (op.integer("filter_height", 1), op.integer("filter_width", 1))
    axes = spatial(lw, op, i, size)
    kernel = (size[1], size[0]) if axes.swap else size
    stride = axes.of(op, "stride_{}")
    window, (pad_begin, pad_end) = access_window(lw, op, i, axes, kernel, stride)
    options = PoolOptions(
        activation=from_file(ActivationOptions, op).activation,
        stride_f=stride[1],
        pad_f_begin=pad_begin,
        pad_f_end=pad_end,
        filter_t=kernel[0],
        filter_f=kernel[1],
    )
    frame = axes.frame(lw.shape(op.outputs[0]))
    lw.emit(op, [axes.operand], axes.axis, options=options, window=window, fill=lw.zero(i), frame=frame)


_RULE = Rule(shapes=_shapes, options=STRIDES | PADDING | {"filter_height": COUNT, "filter_width": COUNT}, scaled=False)
_TYPES = ("float32", "int8", "int16")

MAX_POOL_2D = Operation("MAX_POOL_2D", _RULE, PoolOptions, lower=_pool, types=_TYPES, skips_padding=True)
AVERAGE_POOL_2D = Operation("AVERAGE_POOL_2D", _RULE, PoolOptions, lower=_pool, types=_TYPES, skips_padding=True)

OPERATIONS = (MAX_POOL_2D, AVERAGE_POOL_2D)
