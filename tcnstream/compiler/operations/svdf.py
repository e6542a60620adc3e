"""SVDF: a dense layer, and a filter over the last frames of each of its features.

The int8 SVDF of the reference kernels has an arithmetic of its own, and so SVDF_FILTER.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations.activation import RELU
from tcnstream.compiler.operations.convolution import DEPTHWISE_CONV_2D, ConvolutionOptions
from tcnstream.compiler.operations.dense import SUMS_INT16, Sums16Options
from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import UNBOUNDED, Node, Options, Plan, Window
from tcnstream.compiler.sequences import activation_of, begin_layer, end_layer, is_there, one_scale, optional_constant
from tcnstream.tflite.graph import ABSENT, Op, Tensor
from tcnstream.tflite.validate import ACTIVATION, COUNT, FLAG, Operands, Rule, Shapes, require


@dataclass(frozen=True)
class SvdfOptions(Options):
    """``rank`` filters are summed, then multiplied by ``scale``."""

    rank: int
    scale: float

    @property
    def kind_in_file(self) -> str:
        return SVDF.kind


def _svdf_shapes(o: Operands) -> Shapes:
    rank = o.count_option("rank")
    (filters, depth), memory = o.shape(1, rank=2), o.shape(2, rank=2)
    shape = o.shape(0, rank=2)
    require(filters > 0 and filters % rank == 0, f"{filters} filters of rank {rank}")
    require(depth == shape[1] and memory[0] == filters and memory[1] > 0, f"weights {o.shape(1)} and {memory}")
    require(not is_there(o, 3) or o.shape(3) == (filters // rank,), f"a bias for {filters // rank} sums")
    return ((shape[0], filters // rank),)


def _svdf(lw: Lowering, op: Op) -> None:
    """A dense layer, a filter over its last frames for each value, and sums of ``rank`` of them.

    Source: ``EvalFloatSVDF`` in ``reference/svdf.h``.
    """
    if lw.graph.tensors[op.inputs[0]].dtype == np.int8:
        return _integer_svdf(lw, op)
    steps, x, stream = begin_layer(lw, op)
    over_time, bias = lw.constant(op, 2), optional_constant(lw, op, 3)
    filters, memory = over_time.shape
    rank = op.integer("rank", 1)
    window = Window(extent=memory, pad_begin=memory - 1)
    features = steps.dense(x, lw.constant(op, 1), None, UNBOUNDED)
    kernel = steps.constant(np.ascontiguousarray(over_time.T.reshape(memory, 1, filters)))
    made = steps.made(
        DEPTHWISE_CONV_2D.kind,
        [(features[0], (1, filters)), kernel, (ABSENT, ())],
        (1, filters),
        options=ConvolutionOptions(activation=UNBOUNDED),
        window=window,
    )
    made = (made[0], (filters,))
    if rank > 1:
        ranks = (made[0], (filters // rank, rank))
        made = steps.made(
            Statistic.SUM.value, [ranks], (filters // rank,), options=StatisticOptions(Statistic.SUM, (2,))
        )
    if bias is not None:
        made = steps.sum(made, steps.constant(bias), UNBOUNDED)
    end_layer(lw, op, steps.activation(activation_of(lw, op), made), stream)


def _integer_svdf(lw: Lowering, op: Op) -> None:
    """Features and their memory are int16; a rectifier is the end of the output's range, as its scale is made for it.

    Source: ``Prepare`` in ``svdf.cc``, whose scales are float32, and ``EvalIntegerSVDF`` in ``reference/svdf.h``.
    """
    steps, x, stream = begin_layer(lw, op)
    kept = lw.graph.tensors[op.inputs[4]]
    weights, over_time = lw.constant(op, 1), lw.constant(op, 2)
    if kept.dtype != np.int16 or over_time.dtype != np.int16:
        lw.refuse(op, f"remembers {kept.dtype} and weighs them with {over_time.dtype}, where LiteRT has int16")
    if str(op.options.get("fused_activation_function", "NONE")) not in ("NONE", RELU.kind):
        lw.refuse(op, "is of int8 and has another activation than a rectifier, which LiteRT leaves out")
    filters, memory = over_time.shape
    rank = op.integer("rank", 1)
    units = filters // rank
    scales = [one_scale(lw, op, i) for i in (*op.inputs[:3], op.inputs[4], op.outputs[0])]
    feature_scale, scale = scales[0] * scales[1] / scales[3], scales[3] * scales[2] / scales[4]
    sums = -lw.zero(op.inputs[0]) * weights.astype(np.int64).sum(axis=1)
    options = Sums16Options((float(feature_scale),), op.kind)
    operands = [x, steps.constant(weights), steps.constant(sums.astype(np.int32))]
    like = Tensor(f"{steps.like.name}/features", (), kept.dtype, kept.quantization)
    features = steps.made(SUMS_INT16.kind, operands, (filters,), options=options, like=like)
    bias = optional_constant(lw, op, 3)
    operands = [
        features,
        steps.constant(over_time),
        steps.constant(np.zeros(units, np.int32) if bias is None else bias),
    ]
    window = Window(extent=memory, pad_begin=memory - 1)
    made = steps.made(SVDF_FILTER.kind, operands, (units,), options=SvdfOptions(rank, float(scale)), window=window)
    end_layer(lw, op, made, stream)


SVDF = Operation(
    "SVDF",
    Rule(
        operands=(1, 5),
        shapes=_svdf_shapes,
        options={"rank": COUNT, "fused_activation_function": ACTIVATION, "asymmetric_quantize_inputs": FLAG},
        weights=1,
        more_weights=(2,),
        bias=3,
    ),
    lower=_svdf,
)


def _filter_multiply_adds(plan: Plan, node: Node) -> int:
    return math.prod(node.views[1])


SVDF_FILTER = Operation("SVDF_FILTER", options=SvdfOptions, multiply_adds=_filter_multiply_adds)
"""A filter over time for each feature of an int8 SVDF, and sums of ``rank`` of them."""

OPERATIONS = (SVDF, SVDF_FILTER)
