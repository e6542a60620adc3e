"""The LSTM, which is one operation: of float32 by operations that exist, of int8 by a step of its own.

The int8 LSTM of the reference kernels has an arithmetic of its own, and so LSTM_STEP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations.activation import LOGISTIC, RSQRT, TANH
from tcnstream.compiler.operations.dense import SUMS_INT16, Sums16Options
from tcnstream.compiler.operations.elementwise import MAXIMUM, MINIMUM, SUB, SumOptions
from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import UNBOUNDED, Node, Options, Plan
from tcnstream.compiler.sequences import (
    SEQUENCE_OPTIONS,
    Steps,
    Value,
    activation_of,
    begin_layer,
    end_layer,
    is_there,
    one_scale,
    optional_constant,
    sequence_shape,
    start_of_state,
)
from tcnstream.tflite.graph import ABSENT, Array, Op, Tensor
from tcnstream.tflite.validate import REAL, Operands, Rule, Shapes, require

_FROM_INPUT, _FROM_STATE, _PEEPHOLES, _BIASES = 1, 5, 9, 12
_PROJECTION, _PROJECTION_BIAS, _HIDDEN, _CELL, _NORMS = 16, 17, 18, 19, 20
_NORM_LEAST_VARIANCE = 1e-8


@dataclass(frozen=True)
class LstmOptions(Options):
    """Gates that are there have a scale each; the cell's state stands for ``2**cell_exponent`` of its integers.

    ``cell_clip`` bounds it on both sides, 0: it does not. ``output_scale`` and ``output_zero_point`` are those of the
    output gate's product.
    """

    scales: tuple[float, ...]
    cell_exponent: int
    cell_clip: int
    output_scale: float
    output_zero_point: int

    @property
    def kind_in_file(self) -> str:
        return LSTM.kind


def _lstm_shapes(o: Operands) -> Shapes:
    require(len(o.op.inputs) in (20, 24), f"{len(o.op.inputs)} operands")
    least = (*range(2, 5), *range(6, 9), *range(13, 16), _HIDDEN, _CELL)
    require(all(is_there(o, k) for k in least), "weights, biases or states are missing")
    (cells, depth), units = o.shape(4, rank=2), o.shape(8, rank=2)[1]
    require(depth == o.shape(0)[-1], f"weights {o.shape(4)} over {o.shape(0)}")
    require(min(cells, units) > 0, f"{cells} cells and {units} units")
    coupled = not is_there(o, 1)
    for first, size in ((_FROM_INPUT, (cells, depth)), (_FROM_STATE, (cells, units))):
        for k in range(first + coupled, first + 4):
            require(is_there(o, k) and o.shape(k) == size, f"weights of {size} as operand {k}")
    present = [k for k in range(_BIASES + coupled, _BIASES + 4)]
    for k in (*range(_PEEPHOLES, _PEEPHOLES + 3), *present, *range(_NORMS, _NORMS + 4)):
        require(not is_there(o, k) or o.shape(k) == (cells,), f"{cells} values as operand {k}")
    require(all(is_there(o, k) for k in present), "a bias is missing")
    for first, gates in ((_PEEPHOLES, [0, 1, 2]), (_NORMS, [0, 1, 2, 3])):
        needed = [first + g for g in gates if not (coupled and g == 0)]
        there = [is_there(o, k) for k in needed]
        require(all(there) or not any(there), "some of what belongs together")
    if is_there(o, _PROJECTION):
        require(o.shape(_PROJECTION) == (units, cells), f"a projection of {o.shape(_PROJECTION)}")
        require(o.count(_PROJECTION_BIAS) in (None, units), "a projection's bias")
    else:
        require(units == cells, f"{cells} cells for {units} units")
    made = sequence_shape(o, units)
    return (made,)


def _limit(op: Op, name: str) -> float:
    """A bound on both sides; 0: there is none."""
    value = op.options.get(name, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _activation(lw: Lowering, op: Op) -> str:
    activation = activation_of(lw, op)
    if activation == "NONE":
        lw.refuse(op, "has no activation, for which the reference kernels give whatever their memory held before")
    return activation


def _lstm(lw: Lowering, op: Op) -> None:
    dtype = lw.graph.tensors[op.inputs[0]].dtype
    if dtype == np.float32:
        return _float_lstm(lw, op)
    if dtype == np.int8:
        return _integer_lstm(lw, op)
    lw.refuse(op, f"is of {dtype}, for which there are no reference kernels")


def _integer_lstm(lw: Lowering, op: Op) -> None:
    """Source: ``PopulateQuantizedLstmParams8x8_16`` in ``unidirectional_sequence_lstm.cc``; its scales are float32."""
    steps, x, stream = begin_layer(lw, op)
    extras = (*range(_PEEPHOLES, _PEEPHOLES + 3), _PROJECTION, *range(_NORMS, len(op.inputs)))
    if any(op.inputs[k] != ABSENT for k in extras):
        lw.refuse(op, "is of int8 with peepholes, a projection or layer norms, which have no streaming form here")
    if _activation(lw, op) != TANH.kind:
        lw.refuse(op, "is of int8, of which the reference kernels have tanh alone")
    gates = [g for g in range(4) if op.inputs[_FROM_INPUT + g] != ABSENT]
    cells = len(lw.constant(op, _FROM_STATE + 3))
    hidden_start, hidden_like = start_of_state(lw, op, _HIDDEN, cells)
    cell_start, cell_like = start_of_state(lw, op, _CELL, cells)
    if cell_like.dtype != np.int16:
        lw.refuse(op, f"keeps its cells as {cell_like.dtype}, where the reference kernels have int16")
    cell_scale = one_scale(lw, op, op.inputs[_CELL])
    exponent = round(math.log2(cell_scale))
    if abs(math.log2(cell_scale) - exponent) > 1e-3 or not -15 <= exponent <= -9:
        lw.refuse(op, f"keeps its cells in steps of {cell_scale}, which is no power of two from 2^-15 to 2^-9")
    if len(op.intermediates) != 5:
        lw.refuse(op, "does not say how it rounds between its steps; convert the model again")
    between = lw.graph.tensors[op.intermediates[4]].quantization
    if between is None:
        lw.refuse(op, "does not say how it rounds its output; convert the model again")
    hidden, cell = steps.fed_back(hidden_start, hidden_like, x), steps.fed_back(cell_start, cell_like, x)
    wide = Tensor(f"{steps.like.name}/gates", (), np.dtype(np.int16), cell_like.quantization)

    def part(i: int, first: int, biases: list[Array]) -> tuple[list[Value], tuple[float, ...]]:
        weights = [lw.constant(op, first + g) for g in gates]
        zeros = [lw.zero(i) * w.astype(np.int64).sum(axis=1) for w in weights]
        whole = [bias.astype(np.int64) - zero for bias, zero in zip(biases, zeros, strict=True)]
        scales = [one_scale(lw, op, op.inputs[first + g]) * one_scale(lw, op, i) / np.float32(2.0**-12) for g in gates]
        constants = [np.concatenate(weights), np.concatenate(whole).astype(np.int32)]
        return [steps.constant(values) for values in constants], tuple(float(np.float32(scale)) for scale in scales)

    weighed, scales = part(op.inputs[0], _FROM_INPUT, [lw.constant(op, _BIASES + g) for g in gates])
    count = len(gates) * cells
    options: Options = Sums16Options(scales, op.kind)
    added = steps.made(SUMS_INT16.kind, [x, *weighed], (count,), options=options, like=wide)
    weighed, scales = part(op.inputs[_HIDDEN], _FROM_STATE, [np.zeros(cells, np.int32)] * len(gates))
    clip = min(float(np.float32(_limit(op, "cell_clip")) / cell_scale), 32767.0)
    output_scale = np.float32(2.0**-15 / float(np.float32(between.scale[0])) * 2.0**-15)
    options = LstmOptions(scales, exponent, int(clip), float(output_scale), int(between.zero_point[0]))
    operands = [added, hidden, cell, *weighed]
    made, fresh = steps.several(LSTM_STEP.kind, operands, ((steps.like, (cells,)), (cell_like, (cells,))), options)
    steps.keep(hidden, made)
    steps.keep(cell, fresh)
    end_layer(lw, op, made, stream)


def _float_lstm(lw: Lowering, op: Op) -> None:
    """Source: ``LstmStepFloat`` in ``lstm_eval.cc``."""
    steps, x, stream = begin_layer(lw, op)
    gates = [g for g in range(4) if op.inputs[_FROM_INPUT + g] != ABSENT]
    of_input, of_state = ([lw.constant(op, first + g) for g in gates] for first in (_FROM_INPUT, _FROM_STATE))
    biases = [lw.constant(op, _BIASES + g) for g in gates]
    norms = [optional_constant(lw, op, _NORMS + g) for g in gates]
    peepholes = [optional_constant(lw, op, _PEEPHOLES + k) for k in range(3)]
    cells, units = of_state[0].shape
    activation, with_norm = _activation(lw, op), norms[-1] is not None
    hidden, cell = (steps.fed_back(*start_of_state(lw, op, k, n), x) for k, n in ((_HIDDEN, units), (_CELL, cells)))
    # Without norms the kernel sums by ``FULLY_CONNECTED``, which ends at the largest number.
    limit = UNBOUNDED if with_norm else "NONE"
    from_input = steps.dense(x, np.concatenate(of_input), None if with_norm else np.concatenate(biases), limit)
    summed = steps.sum(from_input, steps.dense(hidden, np.concatenate(of_state), None, limit), limit)
    sums = dict(zip(gates, steps.split(summed, len(gates)), strict=True))

    def gate(g: int, looks_at: Value | None) -> Value:
        value, peephole = sums[g], None if g == 2 else peepholes[min(g, 2)]
        if peephole is not None and looks_at is not None:
            value = steps.sum(value, steps.product(steps.constant(peephole), looks_at, UNBOUNDED), UNBOUNDED)
        if (norm := norms[gates.index(g)]) is not None:
            value = steps.sum(_normalised(steps, value, norm), steps.constant(biases[gates.index(g)]), UNBOUNDED)
        return steps.activation(activation if g == 2 else LOGISTIC.kind, value)

    forget = gate(1, cell)
    one = steps.constant(np.ones(1, np.float32))
    entry = gate(0, cell) if 0 in gates else steps.add(SUB.kind, one, forget, options=SumOptions())
    kept, new = steps.product(forget, cell, UNBOUNDED), steps.product(gate(2, None), entry, UNBOUNDED)
    fresh = steps.sum(kept, new, UNBOUNDED)
    fresh = _clipped(steps, fresh, _limit(op, "cell_clip"))
    made = steps.product(gate(3, fresh), steps.activation(activation, fresh), UNBOUNDED)
    projection = optional_constant(lw, op, _PROJECTION)
    if projection is not None:
        made = steps.dense(made, projection, optional_constant(lw, op, _PROJECTION_BIAS))
        made = _clipped(steps, made, _limit(op, "proj_clip"))
    steps.keep(hidden, made)
    steps.keep(cell, fresh)
    end_layer(lw, op, made, stream)


def _clipped(steps: Steps, x: Value, limit: float) -> Value:
    """``x`` within ``limit`` on both sides; a NaN, the second operand, stays one."""
    if limit <= 0:
        return x
    most, least = (steps.scalar(v) for v in (limit, -limit))
    smaller = steps.add(MINIMUM.kind, most, x, options=Options())
    return steps.add(MAXIMUM.kind, least, smaller, options=Options())


def _normalised(steps: Steps, x: Value, scale: Array) -> Value:
    """``x`` with mean 0 and variance 1, times ``scale``; source: ``MeanStddevNormalization``."""
    mean = _mean(steps, x)
    centred = steps.add(SUB.kind, x, mean, options=SumOptions(activation=UNBOUNDED))
    mean_square = _mean(steps, steps.product(centred, centred, UNBOUNDED))
    variance = steps.sum(mean_square, steps.scalar(_NORM_LEAST_VARIANCE), UNBOUNDED)
    unit = steps.product(centred, steps.function(RSQRT.kind, variance), UNBOUNDED)
    return steps.product(unit, steps.constant(scale), UNBOUNDED)


def _mean(steps: Steps, x: Value) -> Value:
    return steps.made(Statistic.MEAN.value, [x], (1,), options=StatisticOptions(Statistic.MEAN, (1,)))


LSTM = Operation(
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    Rule(
        operands=(1, 24),
        shapes=_lstm_shapes,
        options=SEQUENCE_OPTIONS | {"cell_clip": REAL, "proj_clip": REAL},
        weights=2,
        more_weights=(1, *range(3, 12), _PROJECTION, *range(_NORMS, _NORMS + 4)),
        bias=_BIASES,
        more_biases=(*range(_BIASES + 1, _BIASES + 4), _PROJECTION_BIAS),
    ),
    lower=_lstm,
    batch=batch_rules.sequences,
)


def _step_multiply_adds(plan: Plan, node: Node) -> int:
    return math.prod(node.views[3])


LSTM_STEP = Operation("LSTM_STEP", options=LstmOptions, multiply_adds=_step_multiply_adds)
"""One step of an int8 LSTM: output and cell state from what the input adds, and from both before."""

OPERATIONS = (LSTM, LSTM_STEP)
