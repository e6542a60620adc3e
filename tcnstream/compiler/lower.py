"""Graph -> Plan: find the time axis of every tensor and say each operation over frames.

A streamed tensor of the file has its time axis somewhere, (1, T, C), (1, 1, T, C) or (T, C); or it
has none left, because a window or a statistic has taken it ("time is gone": one frame stands for a
whole tensor of the file). A frame is the file's shape without the time axis and without the batch
axis of 1, so reshapes that only move 1s around cost nothing.

One function per idea in ``_LOWER``; what has no streaming form is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operations.cuts import pad, resize, slice_, strided
from tcnstream.compiler.operations.joins import concatenation, join, last_axis, pointwise
from tcnstream.compiler.operations.layout import (
    arg_extreme,
    expand_dims,
    gather,
    pack,
    reshape,
    split,
    squeeze,
    tile,
    transpose,
    unpack,
)
from tcnstream.compiler.operations.statistics import reduce
from tcnstream.compiler.operations.windows import (
    batch_matmul,
    convolution,
    fully_connected,
    pool,
    transpose_convolution,
)
from tcnstream.compiler.plan import Plan
from tcnstream.compiler.simplify import simplify
from tcnstream.tflite.graph import Graph, Op
from tcnstream.tflite.validate import check


def lower(graph: Graph, time_axis: int | None = None) -> Plan:
    """The plan of a normalised graph.

    ``time_axis`` is the axis of every input that is time; None takes the first axis longer than 1
    after the batch. Raises NotStreamableError for what has no streaming form, by name.
    """
    lowering = Lowering(graph)
    for i in graph.inputs:
        lowering.add_input(i, time_axis)
    for op in graph.ops:
        if not any(i in lowering.streams for i in op.inputs):
            lowering.refuse(op, "does not depend on the input signal, so it has no frames")
        rule = _LOWER.get(op.kind)
        if rule is None:
            lowering.refuse(op, _WHY_NOT.get(op.kind, "has no streaming form here"))
        check(graph, op)
        rule(lowering, op)
    return simplify(lowering.plan())


# fmt: off
_POINTWISE = (
    "LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "ELU", "GELU",
    "HARD_SWISH", "ABS", "NEG", "EXP", "LOG", "SQRT", "RSQRT", "SQUARE", "SIN", "COS", "FLOOR", "CEIL", "ROUND",
    "SIGN", "QUANTIZE", "DEQUANTIZE", "CAST", "LOGICAL_NOT",
)
_JOINS = (
    "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW", "PRELU",
    "SELECT", "SELECT_V2", "LOGICAL_AND", "LOGICAL_OR", "GREATER", "GREATER_EQUAL", "LESS",
    "LESS_EQUAL", "EQUAL", "NOT_EQUAL",
)
# fmt: on

_LOWER: Mapping[str, Callable[[Lowering, Op], None]] = {
    **dict.fromkeys(_POINTWISE, pointwise),
    **dict.fromkeys(_JOINS, join),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX"), last_axis),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), convolution),
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D"), pool),
    "RESHAPE": reshape,
    "EXPAND_DIMS": expand_dims,
    "SQUEEZE": squeeze,
    "PACK": pack,
    "UNPACK": unpack,
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), pad),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), reduce),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), split),
    **dict.fromkeys(("TILE", "BROADCAST_TO"), tile),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), arg_extreme),
    "TRANSPOSE_CONV": transpose_convolution,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
    "CONCATENATION": concatenation,
    "TRANSPOSE": transpose,
    "GATHER": gather,
    "SLICE": slice_,
    "STRIDED_SLICE": strided,
    "RESIZE_NEAREST_NEIGHBOR": resize,
}


OPERATIONS = tuple(sorted(_LOWER))
"""The operations of the file format that have a streaming form here."""


_WHY_NOT = {
    "RFFT2D": "transforms the whole window at once",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "is recurrent: it steps through the window by itself",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "is recurrent: it steps through the window by itself",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "runs backwards in time from the end of the window",
    "BIDIRECTIONAL_SEQUENCE_RNN": "runs backwards in time from the end of the window",
    "WHILE": "loops over the window",
    "CUMSUM": "sums over all of time",
    "REVERSE_V2": "turns time around",
    "RESIZE_BILINEAR": "interpolates between frames of the window",
    "CUSTOM": "is a custom operation whose code is not in the file",
}
