"""Recurrent layers that are one operation: LSTM, simple RNN, and SVDF with its memory of a few frames.

Each is said by operations that exist; what a layer keeps from frame to frame is fed back. The int8 LSTM and SVDF of the
reference kernels have an arithmetic of their own, and so nodes of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.lowering import Lowering, TimedTensor
from tcnstream.compiler.operation import Operation, multiply_adds_per_value
from tcnstream.compiler.operations.activation import LOGISTIC, RELU, RELU6, RELU_N1_TO_1, RSQRT, TANH
from tcnstream.compiler.operations.convolution import DEPTHWISE_CONV_2D, ConvolutionOptions
from tcnstream.compiler.operations.dense import FULLY_CONNECTED
from tcnstream.compiler.operations.elementwise import ADD, MAXIMUM, MINIMUM, MUL, SUB, SumOptions
from tcnstream.compiler.operations.pieces import SPLIT
from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.operations.time import STEPS_FOR_A_WINDOW, state
from tcnstream.compiler.plan import SAME_FRAME, UNBOUNDED, ActivationOptions, AxisOptions, Node, Options, Plan, Window
from tcnstream.tflite.graph import ABSENT, Array, Op, Shape, Tensor
from tcnstream.tflite.validate import ACTIVATION, COUNT, FLAG, REAL, Operands, Rule, Shapes, require

Value: TypeAlias = tuple[int, Shape]
"""An operand of a node."""

_FROM_INPUT, _FROM_STATE, _PEEPHOLES, _BIASES = 1, 5, 9, 12
_PROJECTION, _PROJECTION_BIAS, _HIDDEN, _CELL, _NORMS = 16, 17, 18, 19, 20
_RANGES = {RELU.kind: (0.0, None), RELU_N1_TO_1.kind: (-1.0, 1.0), RELU6.kind: (0.0, 6.0)}
_ACTIVATIONS = (*_RANGES, TANH.kind)
_NORM_LEAST_VARIANCE = 1e-8


@dataclass(frozen=True)
class Sums16Options(Options):
    """``scales`` bring sums to int16, one for each of as many equal parts; ``operation`` is what has them inside."""

    scales: tuple[float, ...]
    operation: str

    @property
    def kind_in_file(self) -> str:
        return self.operation


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


@dataclass(frozen=True)
class SvdfOptions(Options):
    """``rank`` filters are summed, then multiplied by ``scale``."""

    rank: int
    scale: float

    @property
    def kind_in_file(self) -> str:
        return SVDF.kind


# --- shapes ------------------------------------------------------------------------------------


def _there(o: Operands, position: int) -> bool:
    return position < len(o.op.inputs) and o.op.inputs[position] != ABSENT


def _sequence(o: Operands, units: int) -> Shape:
    shape = o.shape(0)
    require(len(shape) in (2, 3), f"an input of shape {shape}")
    return (*shape[:-1], units)


def _lstm_shapes(o: Operands) -> Shapes:
    require(len(o.op.inputs) in (20, 24), f"{len(o.op.inputs)} operands")
    least = (*range(2, 5), *range(6, 9), *range(13, 16), _HIDDEN, _CELL)
    require(all(_there(o, k) for k in least), "weights, biases or states are missing")
    (cells, depth), units = o.shape(4, rank=2), o.shape(8, rank=2)[1]
    require(depth == o.shape(0)[-1], f"weights {o.shape(4)} over {o.shape(0)}")
    require(min(cells, units) > 0, f"{cells} cells and {units} units")
    coupled = not _there(o, 1)
    for first, size in ((_FROM_INPUT, (cells, depth)), (_FROM_STATE, (cells, units))):
        for k in range(first + coupled, first + 4):
            require(_there(o, k) and o.shape(k) == size, f"weights of {size} as operand {k}")
    present = [k for k in range(_BIASES + coupled, _BIASES + 4)]
    for k in (*range(_PEEPHOLES, _PEEPHOLES + 3), *present, *range(_NORMS, _NORMS + 4)):
        require(not _there(o, k) or o.shape(k) == (cells,), f"{cells} values as operand {k}")
    require(all(_there(o, k) for k in present), "a bias is missing")
    for first, gates in ((_PEEPHOLES, [0, 1, 2]), (_NORMS, [0, 1, 2, 3])):
        needed = [first + g for g in gates if not (coupled and g == 0)]
        there = [_there(o, k) for k in needed]
        require(all(there) or not any(there), "some of what belongs together")
    if _there(o, _PROJECTION):
        require(o.shape(_PROJECTION) == (units, cells), f"a projection of {o.shape(_PROJECTION)}")
        require(o.count(_PROJECTION_BIAS) in (None, units), "a projection's bias")
    else:
        require(units == cells, f"{cells} cells for {units} units")
    made = _sequence(o, units)
    return (made,)


def _rnn_shapes(o: Operands) -> Shapes:
    units, depth = o.shape(1, rank=2)
    require(units > 0 and depth == o.shape(0)[-1], f"weights {o.shape(1)} over {o.shape(0)}")
    require(o.shape(2) == (units, units) and o.shape(3) == (units,), f"weights and a bias for {units} units")
    return (_sequence(o, units),)


def _svdf_shapes(o: Operands) -> Shapes:
    rank = o.count_option("rank")
    (filters, depth), memory = o.shape(1, rank=2), o.shape(2, rank=2)
    shape = o.shape(0, rank=2)
    require(filters > 0 and filters % rank == 0, f"{filters} filters of rank {rank}")
    require(depth == shape[1] and memory[0] == filters and memory[1] > 0, f"weights {o.shape(1)} and {memory}")
    require(not _there(o, 3) or o.shape(3) == (filters // rank,), f"a bias for {filters // rank} sums")
    return ((shape[0], filters // rank),)


# --- lowering ----------------------------------------------------------------------------------


class _Steps:
    """Nodes for one operation of the file, over frames of one axis."""

    def __init__(self, lw: Lowering, op: Op, like: Tensor, window_frames: int) -> None:
        self.lw, self.op, self.like, self.window_frames = lw, op, like, window_frames

    def add(self, kind: str, *operands: Value, options: Options, like: Tensor | None = None) -> Value:
        """A node whose frames are as long as those of its longest operand."""
        frame = max((shape for _, shape in operands), key=math.prod)
        return self.made(kind, operands, frame, options=options, like=like)

    def made(
        self,
        kind: str,
        operands: Sequence[Value],
        frame: Shape,
        *,
        options: Options,
        like: Tensor | None = None,
        window: Window = SAME_FRAME,
        fill: int = 0,
    ) -> Value:
        return self.lw.step(
            self.op,
            operands,
            like or self.like,
            frame,
            self.window_frames,
            kind,
            options=options,
            window=window,
            fill=fill,
        )

    def constant(self, values: Array, like: Tensor | None = None) -> Value:
        tensor = like or Tensor(f"{self.like.name}/constant", values.shape, values.dtype)
        return self.lw.add_constant(tensor, values), values.shape

    def dense(self, x: Value, weights: Array, bias: Array | None, limit: str = "NONE") -> Value:
        rest = (ABSENT, ()) if bias is None else self.constant(bias)
        operands, options = [x, self.constant(weights), rest], ActivationOptions(activation=limit)
        return self.made(FULLY_CONNECTED.kind, operands, weights.shape[:1], options=options)

    def sum(self, a: Value, b: Value, limit: str = "NONE") -> Value:
        return self.add(ADD.kind, a, b, options=SumOptions(activation=limit))

    def product(self, a: Value, b: Value, limit: str = "NONE") -> Value:
        return self.add(MUL.kind, a, b, options=ActivationOptions(activation=limit))

    def function(self, kind: str, x: Value, like: Tensor | None = None) -> Value:
        return x if kind == "NONE" else self.add(kind, x, options=Options(), like=like)

    def activation(self, kind: str, x: Value) -> Value:
        """As ``ApplyActivationToVector``: unlike an operation of its own, a rectifier makes the limit of a NaN."""
        if kind not in _RANGES:
            return self.function(kind, x)
        least, most = _RANGES[kind]
        if most is not None:
            x = self.add(MINIMUM.kind, self._scalar(most), x, options=Options())
        return self.add(MAXIMUM.kind, x, self._scalar(least), options=Options())

    def several(
        self, kind: str, operands: Sequence[Value], made: Sequence[tuple[Tensor, Shape]], options: Options
    ) -> list[Value]:
        """A node with several outputs."""
        lw = self.lw
        values = [(lw.add_value(like, shape, self.window_frames), shape) for like, shape in made]
        inputs, views = tuple(i for i, _ in operands), tuple(view for _, view in operands)
        outputs, label, index = tuple(i for i, _ in values), lw.label(self.op), self.op.index
        lw.nodes.append(Node(kind, inputs, outputs, views, options, label=label, index=index))
        return values

    def split(self, whole: Value, parts: int) -> list[Value]:
        lw, size = self.lw, whole[1][0] // parts
        values = tuple(lw.add_value(self.like, (size,), self.window_frames) for _ in range(parts))
        node = Node(
            SPLIT.kind, whole[:1], values, whole[1:], AxisOptions(1), label=lw.label(self.op), index=self.op.index
        )
        lw.nodes.append(node)
        return [(value, (size,)) for value in values]

    def clipped(self, x: Value, limit: float) -> Value:
        """``x`` within ``limit`` on both sides; a NaN, the second operand, stays one."""
        if limit <= 0:
            return x
        most, least = (self.constant(np.array([v], np.float32)) for v in (limit, -limit))
        return self.add(MAXIMUM.kind, least, self.add(MINIMUM.kind, most, x, options=Options()), options=Options())

    def normalised(self, x: Value, scale: Array) -> Value:
        """``x`` with mean 0 and variance 1, times ``scale``; source: ``MeanStddevNormalization``."""
        mean = self._mean(x)
        centred = self.add(SUB.kind, x, mean, options=SumOptions(activation=UNBOUNDED))
        mean_square = self._mean(self.product(centred, centred, UNBOUNDED))
        variance = self.sum(mean_square, self._scalar(_NORM_LEAST_VARIANCE), UNBOUNDED)
        unit = self.product(centred, self.function(RSQRT.kind, variance), UNBOUNDED)
        return self.product(unit, self.constant(scale), UNBOUNDED)

    def _mean(self, x: Value) -> Value:
        return self.made(Statistic.MEAN.value, [x], (1,), options=StatisticOptions(Statistic.MEAN, (1,)))

    def _scalar(self, value: float) -> Value:
        return self.constant(np.array([value], np.float32))

    def fed_back(self, start: Array, like: Tensor, clock: Value) -> Value:
        """The frame before of what ``keep`` says, ``start`` at first."""
        held = Tensor(like.name, start.shape, start.dtype, like.quantization, start)
        return state(self.lw, self.op, held, clock, self.window_frames)

    def keep(self, before: Value, value: Value) -> None:
        self.lw.feed_back(before[0], value[0])


def _begin(lw: Lowering, op: Op) -> tuple[_Steps, Value, TimedTensor]:
    """The layer's input over frames; refuses one that is stepped through along another axis than time."""
    i = op.inputs[0]
    stream, shape = lw.stream(op, i), lw.shape(i)
    time = 0 if len(shape) == 2 or op.options.get("time_major") else 1
    if stream.axis is not None and stream.axis != time:
        lw.refuse_axis(op, f"steps along axis {time} of {shape}, which is not time")
    if stream.axis is None and (len(shape) == 3 or stream.window_frames != 1):
        lw.refuse(op, STEPS_FOR_A_WINDOW)
    if math.prod(shape) != (1 if stream.axis is None else shape[stream.axis]) * shape[-1]:
        lw.refuse(op, f"steps through a batch of several sequences, {shape}")
    made = lw.graph.tensors[op.outputs[0]]
    like = Tensor(made.name, (), made.dtype, made.quantization)
    return _Steps(lw, op, like, stream.window_frames), (stream.value, shape[-1:]), stream


def _end(lw: Lowering, op: Op, value: Value, stream: TimedTensor) -> None:
    lw.streams[op.outputs[0]] = TimedTensor(value[0], stream.axis, stream.window_frames)


def _start(lw: Lowering, op: Op, position: int, size: int) -> tuple[Array, Tensor]:
    """What a state is at first: what the file holds, or what stands for zero."""
    tensor = lw.graph.tensors[op.inputs[position]]
    if op.inputs[position] in lw.streams:
        lw.refuse(op, f"starts from the state `{tensor.name}`, which is computed")
    if tensor.data is not None and tensor.data.size == size:
        return tensor.data.reshape(size), tensor
    return np.full(size, lw.zero(op.inputs[position]), tensor.dtype), tensor


def _activation(lw: Lowering, op: Op) -> str:
    activation = str(op.options.get("fused_activation_function", "NONE"))
    if activation not in (*_ACTIVATIONS, "NONE"):
        lw.refuse(op, f"applies {activation}, which recurrent layers of the reference kernels do not have")
    if activation == "NONE" and op.kind == LSTM.kind:
        lw.refuse(op, "has no activation, for which the reference kernels give whatever their memory held before")
    return activation


def _limit(op: Op, name: str) -> float:
    """A bound on both sides; 0: there is none."""
    value = op.options.get(name, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _optional(lw: Lowering, op: Op, position: int) -> Array | None:
    if position >= len(op.inputs) or op.inputs[position] == ABSENT:
        return None
    return lw.constant(op, position)


def _lstm(lw: Lowering, op: Op) -> None:
    dtype = lw.graph.tensors[op.inputs[0]].dtype
    if dtype == np.float32:
        return _float_lstm(lw, op)
    if dtype == np.int8:
        return _integer_lstm(lw, op)
    lw.refuse(op, f"is of {dtype}, for which there are no reference kernels")


def _integer_lstm(lw: Lowering, op: Op) -> None:
    """Source: ``PopulateQuantizedLstmParams8x8_16`` in ``unidirectional_sequence_lstm.cc``; its scales are float32."""
    steps, x, stream = _begin(lw, op)
    extras = (*range(_PEEPHOLES, _PEEPHOLES + 3), _PROJECTION, *range(_NORMS, len(op.inputs)))
    if any(op.inputs[k] != ABSENT for k in extras):
        lw.refuse(op, "is of int8 with peepholes, a projection or layer norms, which have no streaming form here")
    if _activation(lw, op) != TANH.kind:
        lw.refuse(op, "is of int8, of which the reference kernels have tanh alone")
    gates = [g for g in range(4) if op.inputs[_FROM_INPUT + g] != ABSENT]
    cells = len(lw.constant(op, _FROM_STATE + 3))
    hidden_start, hidden_like = _start(lw, op, _HIDDEN, cells)
    cell_start, cell_like = _start(lw, op, _CELL, cells)
    if cell_like.dtype != np.int16:
        lw.refuse(op, f"keeps its cells as {cell_like.dtype}, where the reference kernels have int16")
    cell_scale = _scale(lw, op, op.inputs[_CELL])
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
        scales = [_scale(lw, op, op.inputs[first + g]) * _scale(lw, op, i) / np.float32(2.0**-12) for g in gates]
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
    _end(lw, op, made, stream)


def _scale(lw: Lowering, op: Op, i: int) -> np.float32:
    """The one scale of a tensor."""
    q = lw.graph.tensors[i].quantization
    if q is None or q.per_channel:
        lw.refuse(op, f"needs one scale for `{lw.graph.tensors[i].name}`")
    return np.float32(q.scale.flat[0])


def _float_lstm(lw: Lowering, op: Op) -> None:
    """Source: ``LstmStepFloat`` in ``lstm_eval.cc``."""
    steps, x, stream = _begin(lw, op)
    gates = [g for g in range(4) if op.inputs[_FROM_INPUT + g] != ABSENT]
    of_input, of_state = ([lw.constant(op, first + g) for g in gates] for first in (_FROM_INPUT, _FROM_STATE))
    biases = [lw.constant(op, _BIASES + g) for g in gates]
    norms = [_optional(lw, op, _NORMS + g) for g in gates]
    peepholes = [_optional(lw, op, _PEEPHOLES + k) for k in range(3)]
    cells, units = of_state[0].shape
    activation, with_norm = _activation(lw, op), norms[-1] is not None
    hidden, cell = (steps.fed_back(*_start(lw, op, k, n), x) for k, n in ((_HIDDEN, units), (_CELL, cells)))
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
            value = steps.sum(steps.normalised(value, norm), steps.constant(biases[gates.index(g)]), UNBOUNDED)
        return steps.activation(activation if g == 2 else LOGISTIC.kind, value)

    forget = gate(1, cell)
    one = steps.constant(np.ones(1, np.float32))
    entry = gate(0, cell) if 0 in gates else steps.add(SUB.kind, one, forget, options=SumOptions())
    kept, new = steps.product(forget, cell, UNBOUNDED), steps.product(gate(2, None), entry, UNBOUNDED)
    fresh = steps.sum(kept, new, UNBOUNDED)
    fresh = steps.clipped(fresh, _limit(op, "cell_clip"))
    made = steps.product(gate(3, fresh), steps.activation(activation, fresh), UNBOUNDED)
    projection = _optional(lw, op, _PROJECTION)
    if projection is not None:
        made = steps.dense(made, projection, _optional(lw, op, _PROJECTION_BIAS))
        made = steps.clipped(made, _limit(op, "proj_clip"))
    steps.keep(hidden, made)
    steps.keep(cell, fresh)
    _end(lw, op, made, stream)


def _rnn(lw: Lowering, op: Op) -> None:
    """Source: ``RnnBatchStep`` in ``kernel_utils.cc``."""
    steps, x, stream = _begin(lw, op)
    recurrent = lw.constant(op, 2)
    hidden = steps.fed_back(*_start(lw, op, 4, len(recurrent)), x)
    from_input = steps.dense(x, lw.constant(op, 1), lw.constant(op, 3), UNBOUNDED)
    summed = steps.sum(from_input, steps.dense(hidden, recurrent, None, UNBOUNDED), UNBOUNDED)
    made = steps.activation(_activation(lw, op), summed)
    steps.keep(hidden, made)
    _end(lw, op, made, stream)


def _svdf(lw: Lowering, op: Op) -> None:
    """A dense layer, a filter over its last frames for each value, and sums of ``rank`` of them.

    Source: ``EvalFloatSVDF`` in ``reference/svdf.h``.
    """
    if lw.graph.tensors[op.inputs[0]].dtype == np.int8:
        return _integer_svdf(lw, op)
    steps, x, stream = _begin(lw, op)
    over_time, bias = lw.constant(op, 2), _optional(lw, op, 3)
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
    _end(lw, op, steps.activation(_activation(lw, op), made), stream)


def _integer_svdf(lw: Lowering, op: Op) -> None:
    """Features and their memory are int16; a rectifier is the end of the output's range, as its scale is made for it.

    Source: ``Prepare`` in ``svdf.cc``, whose scales are float32, and ``EvalIntegerSVDF`` in ``reference/svdf.h``.
    """
    steps, x, stream = _begin(lw, op)
    kept = lw.graph.tensors[op.inputs[4]]
    weights, over_time = lw.constant(op, 1), lw.constant(op, 2)
    if kept.dtype != np.int16 or over_time.dtype != np.int16:
        lw.refuse(op, f"remembers {kept.dtype} and weighs them with {over_time.dtype}, where LiteRT has int16")
    if str(op.options.get("fused_activation_function", "NONE")) not in ("NONE", RELU.kind):
        lw.refuse(op, "is of int8 and has another activation than a rectifier, which LiteRT leaves out")
    filters, memory = over_time.shape
    rank = op.integer("rank", 1)
    units = filters // rank
    scales = [_scale(lw, op, i) for i in (*op.inputs[:3], op.inputs[4], op.outputs[0])]
    feature_scale, scale = scales[0] * scales[1] / scales[3], scales[3] * scales[2] / scales[4]
    sums = -lw.zero(op.inputs[0]) * weights.astype(np.int64).sum(axis=1)
    options = Sums16Options((float(feature_scale),), op.kind)
    operands = [x, steps.constant(weights), steps.constant(sums.astype(np.int32))]
    like = Tensor(f"{steps.like.name}/features", (), kept.dtype, kept.quantization)
    features = steps.made(SUMS_INT16.kind, operands, (filters,), options=options, like=like)
    bias = _optional(lw, op, 3)
    operands = [
        features,
        steps.constant(over_time),
        steps.constant(np.zeros(units, np.int32) if bias is None else bias),
    ]
    window = Window(extent=memory, pad_begin=memory - 1)
    made = steps.made(SVDF_FILTER.kind, operands, (units,), options=SvdfOptions(rank, float(scale)), window=window)
    _end(lw, op, made, stream)


_FROM_FRAME = {"fused_activation_function": ACTIVATION, "time_major": FLAG, "asymmetric_quantize_inputs": FLAG}

LSTM = Operation(
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    Rule(
        operands=(1, 24),
        shapes=_lstm_shapes,
        options=_FROM_FRAME | {"cell_clip": REAL, "proj_clip": REAL},
        weights=2,
        more_weights=(1, *range(3, 12), _PROJECTION, *range(_NORMS, _NORMS + 4)),
        bias=_BIASES,
        more_biases=(*range(_BIASES + 1, _BIASES + 4), _PROJECTION_BIAS),
    ),
    lower=_lstm,
    batch=batch_rules.sequences,
)

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


def _sums_multiply_adds(plan: Plan, node: Node) -> int:
    return multiply_adds_per_value(plan, node, node.views[1][1])


def _step_multiply_adds(plan: Plan, node: Node) -> int:
    return math.prod(node.views[3])


def _filter_multiply_adds(plan: Plan, node: Node) -> int:
    return math.prod(node.views[1])


SUMS_INT16 = Operation("SUMS_INT16", options=Sums16Options, multiply_adds=_sums_multiply_adds)
"""A dense layer of int8 whose outputs are int16, inside of another operation."""

LSTM_STEP = Operation("LSTM_STEP", options=LstmOptions, multiply_adds=_step_multiply_adds)
"""One step of an int8 LSTM: output and cell state from what the input adds, and from both before."""

SVDF_FILTER = Operation("SVDF_FILTER", options=SvdfOptions, multiply_adds=_filter_multiply_adds)
"""A filter over time for each feature of an int8 SVDF, and sums of ``rank`` of them."""

OPERATIONS = (
    LSTM,
    SVDF,
    SUMS_INT16,
    LSTM_STEP,
    SVDF_FILTER,
    Operation(
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        Rule(operands=(5, 5), shapes=_rnn_shapes, options=_FROM_FRAME, weights=1, more_weights=(2,), bias=3),
        lower=_rnn,
        batch=batch_rules.sequences,
    ),
)
