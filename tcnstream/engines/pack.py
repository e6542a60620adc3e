"""What the native core is told about each operation: precomputed integers, tables and packed weights.

One function per operation of the core; ``PACKERS`` says which operation of the file goes where. All
arithmetic that a plan file freezes (multipliers, shifts, look-up tables, index maps) is computed
here, by the same functions that the reference engine uses, so the core needs no float where the
model has none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from tcnstream.engines.kernels import KERNELS, Call
from tcnstream.engines.kernels.activations import _input_multiplier_int16
from tcnstream.engines.kernels.call import is_quantized, quantization_of, scale_of, zero_point_of
from tcnstream.engines.kernels.fixed_point import CLIPS, activation_range, integer_range, quantize_multiplier
from tcnstream.engines.kernels.softmax import _scaling, _softmax_tables
from tcnstream.engines.kernels.tables import sigmoid_table
from tcnstream.errors import EngineError
from tcnstream.graph import Array, Tensor
from tcnstream.plan import Node, Plan

KINDS = (
    "",
    "CONV",
    "DEPTHWISE",
    "TRANSPOSE_CONV",
    "POOL",
    "BINARY",
    "UNARY",
    "TABLE",
    "TABLE16",
    "SIGMOID16",
    "SOFTMAX",
    "MOVE",
    "TIME_MOVE",
    "QUANTIZE",
    "RESCALE",
    "REDUCE",
    "TRAILING",
    "CUMULATIVE",
    "RESAMPLE",
)
"""The core's operations by number."""

F32_MAX = float(np.finfo(np.float32).max)
RESCALES = {"float": 0, "twice": 1, "wide": 2, "exact": 3}

Blob: TypeAlias = bytes
Arguments: TypeAlias = list[tuple[str, Any]]
"""(struct code, value) per field; a ``bytes`` value is a blob whose offset is written, None is offset 0."""


@dataclass(frozen=True)
class Packed:
    """One node as the core sees it: its operation, the streams that it reads, its arguments."""

    kind: str
    op: int
    operands: tuple[int, ...]
    arguments: Arguments
    taps: int = 1


def pack(plan: Plan, node: Node, rounding: str) -> Packed:
    """The node for the core; EngineError names what the core does not have."""
    packer = PACKERS.get(node.kind)
    if packer is None:
        raise lacks(node)
    return packer(_Context(plan, node, rounding))


def lacks(node: Node, what: str = "") -> EngineError:
    name = f"`{node.options.get('reduce', node.kind)}`" + (f" with {what}" if what else "")
    return EngineError(
        f"the native engine lacks {name} (op {node.index}, `{node.label}`);"
        ' use engine="interpreter" or engine="reference"'
    )


@dataclass(frozen=True)
class _Context:
    plan: Plan
    node: Node
    rounding: str

    @property
    def call(self) -> Call:
        """A call without frames, for the functions that read facts from it."""
        facts: list[Tensor | None] = []
        arrays: list[Array | None] = []
        for i, view in zip(self.node.inputs, self.node.views, strict=True):
            tensor = None if i < 0 else self.plan.tensors[i]
            facts.append(None if tensor is None else dataclasses.replace(tensor, shape=view))
            arrays.append(None if tensor is None or tensor.data is None else tensor.data.reshape(view))
        return Call(
            node=self.node,
            inputs=tuple(facts),
            arrays=tuple(arrays),
            outputs=tuple(self.plan.tensors[o] for o in self.node.outputs),
            n_frames=0,
            valid=(0, 0),
            rounding=self.rounding,
        )

    @property
    def source(self) -> Tensor:
        return self.plan.tensors[self.node.inputs[0]]

    @property
    def target(self) -> Tensor:
        return self.plan.tensors[self.node.outputs[0]]

    @property
    def streams(self) -> tuple[int, ...]:
        return tuple(i for i in self.node.inputs if i >= 0 and self.plan.tensors[i].data is None)

    def lacks(self, what: str = "") -> EngineError:
        return lacks(self.node, what)


def panels(outputs: int) -> list[int]:
    """Widths of the panels in which a convolution's outputs stand."""
    widths = []
    while outputs > 0:
        widths.append(16 if outputs > 12 else 8 if outputs > 4 else 4)
        outputs -= widths[-1]
    return widths


def _spread(values: Array, groups: int) -> Array:
    """Per-output values (outputs,) padded per group to whole panels."""
    per_group = values.reshape(groups, -1)
    total = sum(panels(per_group.shape[1]))
    padded = np.zeros((groups, total), values.dtype)
    padded[:, : per_group.shape[1]] = per_group
    return padded.reshape(-1)


def _conv_weights(weights: Array, groups: int, fours: bool) -> bytes:
    """(O, kt, kf, depth) as panels: (taps, depth, w), or (taps, depth / 4, w, 4) for integers."""
    outputs, kt, kf, depth = weights.shape
    parts = []
    for group in weights.reshape(groups, outputs // groups, kt * kf, depth):
        begin = 0
        for width in panels(outputs // groups):
            panel = np.zeros((width, kt * kf, -(-depth // 4) * 4 if fours else depth), weights.dtype)
            rows = group[begin : begin + width]
            panel[: len(rows), :, :depth] = rows
            if fours:
                parts.append(panel.reshape(width, kt * kf, -1, 4).transpose(1, 2, 0, 3).tobytes())
            else:
                parts.append(panel.transpose(1, 2, 0).tobytes())
            begin += width
    return b"".join(parts)


def _exact_scale(scales: Array) -> tuple[Array, Array]:
    """float64 scales as mantissa * 2**exponent with an integer mantissa of 53 bits."""
    fraction, exponent = np.frexp(scales.astype(np.float64))
    return np.ldexp(fraction, 53).astype(np.int64), (exponent - 53).astype(np.int32)


def _range_or_zero(call: Call) -> tuple[int, int]:
    return activation_range(call, call.activation, call.output) if is_quantized(call.output) else (0, 0)


def _float_range(call: Call) -> tuple[float, float]:
    """``CalculateActivationRange``: infinities become the largest finite number."""
    low, high = CLIPS.get(call.activation, (None, None))
    return (-F32_MAX if low is None else low), (F32_MAX if high is None else high)


def _rescale(context: _Context, outputs: int) -> tuple[str, Array, Array]:
    """How accumulators become outputs: the kind, and multiplier and shift per output."""
    call = context.call
    weights = quantization_of(call, call.tensor(1))
    dense = context.node.kind == "FULLY_CONNECTED" or context.node.options.get("arithmetic") == "FULLY_CONNECTED"
    scales = np.float64(scale_of(call, call.tensor(0))) * weights.scale.astype(np.float64)
    scales = scales / np.float64(scale_of(call, call.output))
    if dense and call.rounding == "tflm" and not weights.per_channel:
        product = (scale_of(call, call.tensor(0)) * weights.scale).astype(np.float64)
        scales = product / np.float64(scale_of(call, call.output))
    scales = np.broadcast_to(scales.reshape(-1), (outputs,))
    if dense and call.rounding == "litert":
        mantissa, exponent = _exact_scale(scales)
        return "exact", mantissa, exponent
    multiplier, shift = quantize_multiplier(scales)
    kind = "wide" if call.output.dtype == np.int16 else "twice"
    return kind, multiplier.astype(np.int32), shift.astype(np.int32)


def _weights_of(context: _Context) -> Array:
    """The weights; integer ones must stand for themselves."""
    call = context.call
    weights = call.array(1)
    if is_quantized(call.tensor(0)):
        q = quantization_of(call, call.tensor(1))
        dense = context.node.kind == "FULLY_CONNECTED" and q.per_channel
        if weights.dtype != np.int8:
            raise context.lacks(f"{weights.dtype} weights")
        if q.zero_point.any() and not dense:
            raise context.lacks("weights that have a zero point")
        return weights
    return weights.astype(np.float32)


def _convolution(
    context: _Context,
    kind: str,
    weights: Array,
    channels: int,
    groups: int,
    frequencies: tuple[int, int],
    frequency: tuple[int, int, int],
    pad_t: int = 0,
    phases: Sequence[Array] = (),
) -> Packed:
    """CONV and its kin: weights (O, kt, kf, depth), or (1, kt, kf, O) for DEPTHWISE.

    ``frequencies`` are the places in and out, ``frequency`` is (stride, dilation, padding). ``phases`` are the weights
    of every phase of RESAMPLE, each like ``weights``.
    """
    call = context.call
    depthwise = kind == "DEPTHWISE"
    outputs, kt, kf = (weights.shape[3] if depthwise else weights.shape[0]), weights.shape[1], weights.shape[2]
    bias = call.optional(2)
    quantized = is_quantized(call.tensor(0))
    dtype = call.tensor(0).dtype
    item: Any = np.float32
    sums = None
    zero_in = 0
    bias_u8: bytes | None = None
    multiplier: bytes | None = None
    shift: bytes | None = None
    rescale, zero_out = "float", 0
    spread = (lambda v: v) if depthwise else (lambda v: _spread(v, groups))
    if quantized:
        if dtype not in (np.int8, np.int16) or call.output.dtype != dtype:
            raise context.lacks(f"{dtype} input and {call.output.dtype} output")
        zero_in, zero_out = zero_point_of(call, call.tensor(0)), zero_point_of(call, call.output)
        item = dtype
        axes = (0, 1, 2) if depthwise else (1, 2, 3)
        sums = weights.astype(np.int64).sum(axis=axes)
        whole = (np.zeros(outputs, np.int64) if bias is None else bias.astype(np.int64)) - zero_in * sums
        rescale, multipliers, shifts = _rescale(context, outputs)
        multiplier, shift = spread(multipliers).tobytes(), spread(shifts).tobytes()
        if dtype == np.int8:
            bias_bytes = spread(whole.astype(np.int32)).tobytes()
            bias_u8 = spread((whole - 128 * sums).astype(np.int32)).tobytes()
        else:
            bias_bytes = spread(whole).tobytes()
    else:
        bias_bytes = spread(np.zeros(outputs, np.float32) if bias is None else bias.astype(np.float32)).tobytes()
    low, high = _range_or_zero(call)
    low_f, high_f = _float_range(call)
    sets = [
        np.ascontiguousarray(w).tobytes() if depthwise else _conv_weights(w, groups, fours=quantized)
        for w in phases or (weights,)
    ]
    weights_bytes = len(sets[0]) + (-len(sets[0]) % 64 if phases else 0)
    arguments: Arguments = [
        ("I", kt),
        ("I", kf),
        ("I", call.integer("dilation_t", 1)),
        ("I", frequency[1]),
        ("I", frequency[0]),
        ("i", frequency[2]),
        ("I", frequencies[0]),
        ("I", frequencies[1]),
        ("I", channels),
        ("I", groups),
        ("I", outputs),
        ("I", b"".join(one.ljust(weights_bytes, b"\0") for one in sets)),
        ("I", weights_bytes),
        ("I", bias_bytes),
        ("I", bias_u8),
        ("I", RESCALES[rescale]),
        ("I", multiplier),
        ("I", shift),
        ("i", zero_out),
        ("i", low),
        ("i", high),
        ("f", low_f),
        ("f", high_f),
        ("I", np.full(channels, zero_in, item).tobytes()),
        ("I", pad_t),
    ]
    return Packed(kind, 0, context.streams, arguments, taps=kt * kf)


def _frequency(context: _Context) -> tuple[int, int, int]:
    call = context.call
    return call.integer("stride_f", 1), call.integer("dilation_f", 1), call.integer("pad_f_begin", 0)


def _conv_2d(context: _Context) -> Packed:
    weights = _weights_of(context)
    f_in, channels = context.node.views[0]
    groups = channels // weights.shape[3]
    places = (f_in, context.target.shape[0])
    return _convolution(context, "CONV", weights, channels, groups, places, _frequency(context))


def _depthwise(context: _Context) -> Packed:
    weights = _weights_of(context)
    f_in, channels = context.node.views[0]
    places = (f_in, context.target.shape[0])
    return _convolution(context, "DEPTHWISE", weights[None], channels, channels, places, _frequency(context))


def _transpose_conv(context: _Context) -> Packed:
    weights = _weights_of(context)
    f_in, channels = context.node.views[0]
    pad_t = weights.shape[1] - 1 - context.node.reach.pad_begin
    if pad_t < 0:
        raise context.lacks("padding beyond its kernel")
    places = (f_in, context.target.shape[0])
    return _convolution(context, "TRANSPOSE_CONV", weights, channels, 1, places, _frequency(context), pad_t)


def _resample(context: _Context) -> Packed:
    weights = _weights_of(context)  # (phases, taps, channels, filters)
    phases, taps, channels, filters = weights.shape
    separable = bool(context.call.integer("separable"))
    if separable:
        sets, groups = weights.reshape(phases, 1, taps, 1, channels * filters), channels
    else:
        sets, groups = weights.transpose(0, 3, 1, 2)[:, :, :, None], 1
    kind = "DEPTHWISE" if separable else "CONV"
    packed = _convolution(context, kind, sets[0], channels, groups, (1, 1), (1, 1, 0), phases=tuple(sets))
    return replace(packed, kind="RESAMPLE", op=int(separable))


def _fully_connected(context: _Context) -> Packed:
    weights = _weights_of(context)
    outputs, depth = weights.shape
    rows = math.prod(context.node.views[0]) // depth
    return _convolution(context, "CONV", weights.reshape(outputs, 1, 1, depth), depth, 1, (rows, rows), (1, 1, 0))


def _pool(op: int) -> Packer:
    def packer(context: _Context) -> Packed:
        call = context.call
        if context.source.dtype not in (np.float32, np.int8, np.int16) or context.target.dtype != context.source.dtype:
            raise context.lacks(f"{context.source.dtype}")
        f_in, channels = context.node.views[0]
        low, high = _range_or_zero(call)
        low_f, high_f = _float_range(call)
        stride_f, _, pad_f = _frequency(context)
        kt, kf = call.integer("filter_t"), call.integer("filter_f", 1)
        arguments: Arguments = [
            ("I", kt),
            ("I", kf),
            ("I", stride_f),
            ("i", pad_f),
            ("I", f_in),
            ("I", context.target.shape[0]),
            ("I", channels),
            ("i", low),
            ("i", high),
            ("f", low_f),
            ("f", high_f),
        ]
        return Packed("POOL", op, context.streams, arguments, taps=kt * kf)

    return packer


def _full_frame(values: Array, view: tuple[int, ...], shape: tuple[int, ...]) -> Array | None:
    """Which element of an operand each output element takes; None where it is its own."""
    places = np.arange(math.prod(view)).reshape(view)
    missing = len(shape) - len(view)
    spread = np.broadcast_to(places.reshape(*(1,) * max(missing, 0), *view), shape).reshape(-1)
    return None if spread.size == places.size else spread.astype(np.uint32)


_BINARY = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")


def _binary(context: _Context) -> Packed:
    call, node = context.call, context.node
    op = _BINARY.index(node.kind)
    dtype, shape = context.target.dtype, context.target.shape
    if dtype not in (np.float32, np.int8, np.int16) or any(t is None or t.dtype != dtype for t in call.inputs):
        raise context.lacks(f"{context.source.dtype}")
    quantized = is_quantized(call.output)
    if dtype != np.float32 and (not quantized or node.kind == "DIV"):
        raise context.lacks(f"{dtype}")
    constants: list[bytes | None] = []
    indices: list[bytes | None] = []
    for position in (0, 1):
        view = node.views[position]
        index = _full_frame(np.empty(0), view, shape)
        values = call.arrays[position]
        if values is None:
            constants.append(None)
            indices.append(None if index is None else index.tobytes())
        else:
            flat = values.reshape(-1)
            constants.append(np.ascontiguousarray(flat if index is None else flat[index]).tobytes())
            indices.append(None)
    zeros, multipliers, shifts = [0, 0], [0, 0], [0, 0]
    left_shift = multiplier_out = shift_out = zero_out = 0
    if quantized and node.kind not in ("MAXIMUM", "MINIMUM"):
        zeros = [zero_point_of(call, call.tensor(p)) for p in (0, 1)]
        zero_out = zero_point_of(call, call.output)
        scales = [scale_of(call, call.tensor(p)) for p in (0, 1)]
        output_scale = scale_of(call, call.output)
        if node.kind == "MUL":
            real = np.float64(scales[0] * scales[1] / output_scale)
        else:
            if dtype == np.int16 and node.kind in ("ADD", "SUB") and call.flag("pot_scale_int16"):
                raise context.lacks("pot_scale_int16")
            left_shift = 7 if node.kind == "SQUARED_DIFFERENCE" else 15 if dtype == np.int16 else 20
            twice_max = np.float64(2 * max(np.float64(s) for s in scales))
            for p in (0, 1):
                m, s = quantize_multiplier(np.float64(scales[p]) / twice_max)
                multipliers[p], shifts[p] = int(m), int(s)
            if node.kind == "SQUARED_DIFFERENCE":
                real = twice_max * twice_max / ((1 << 14) * np.float64(output_scale))
            else:
                real = twice_max / ((1 << left_shift) * np.float64(output_scale))
        m, s = quantize_multiplier(real)
        multiplier_out, shift_out = int(m), int(s)
    low, high = _range_or_zero(call) if node.kind not in ("MAXIMUM", "MINIMUM") else (0, 0)
    low_f, high_f = _float_range(call)
    arguments: Arguments = [
        ("I", math.prod(shape)),
        ("I", constants[0]),
        ("I", constants[1]),
        ("I", indices[0]),
        ("I", indices[1]),
        ("i", zeros[0]),
        ("i", zeros[1]),
        ("i", left_shift),
        ("i", multipliers[0]),
        ("i", multipliers[1]),
        ("i", shifts[0]),
        ("i", shifts[1]),
        ("i", multiplier_out),
        ("i", shift_out),
        ("i", zero_out),
        ("i", low),
        ("i", high),
        ("f", low_f),
        ("f", high_f),
    ]
    return Packed("BINARY", op, context.streams, arguments)


_UNARY = (
    "LOGISTIC",
    "TANH",
    "EXP",
    "NEG",
    "RSQRT",
    "SQRT",
    "SQUARE",
    "ABS",
    "CLIP",
    "LEAKY_RELU",
    "HARD_SWISH",
    "ELU",
    "LOG",
    "COPY",
)


def _unary(context: _Context) -> Packed:
    """A function of one value: computed for float32, looked up for int8."""
    call, node = context.call, context.node
    source, target = context.source, context.target
    if source.dtype == np.int8:
        return _table(context)
    if source.dtype == np.int16 and target.dtype == np.int16 and node.kind in ("LOGISTIC", "TANH"):
        multiplier, shift = _input_multiplier_int16(call, (0,) if node.kind == "LOGISTIC" else (0, 1))
        if multiplier == 0:
            multiplier, shift = 3 << shift, 0
        table = sigmoid_table().astype(np.uint16).tobytes()
        arguments: Arguments = [("I", math.prod(target.shape)), ("I", table), ("i", multiplier), ("i", shift)]
        return Packed("SIGMOID16", int(node.kind == "TANH"), context.streams, arguments)
    if source.dtype != np.float32 or target.dtype != np.float32:
        raise context.lacks(f"{source.dtype}")
    p0 = p1 = 0.0
    name = node.kind
    if name in CLIPS:
        low, high = CLIPS[name]
        name, p0, p1 = "CLIP", low, F32_MAX if high is None else high
        if high is None:
            p1 = math.inf
    elif name == "LEAKY_RELU":
        p0 = call.number("alpha", 0.0)
    if name not in _UNARY:
        raise context.lacks()
    return Packed("UNARY", _UNARY.index(name), context.streams, [("I", math.prod(target.shape)), ("f", p0), ("f", p1)])


def _table(context: _Context) -> Packed:
    """Any function of one int8 value as the 256 answers of the reference arithmetic."""
    node, source, target = context.node, context.source, context.target
    if target.dtype not in (np.int8, np.int16, np.float32) or any(i >= 0 for i in node.inputs[1:]):
        raise context.lacks(f"{target.dtype} output")
    one = (1,)
    values = np.arange(256, dtype=np.uint8).view(np.int8).reshape(256, 1)
    call = Call(
        node=replace(node, inputs=node.inputs[:1], views=(one,)),
        inputs=(replace(source, shape=one),),
        arrays=(values,),
        outputs=(replace(target, shape=one),),
        n_frames=256,
        valid=(0, 256),
        rounding=context.rounding,
    )
    (table,) = KERNELS[node.kind](call)
    content = np.ascontiguousarray(table).tobytes()
    arguments: Arguments = [("I", math.prod(target.shape)), ("I", target.dtype.itemsize), ("I", content)]
    return Packed("TABLE", 0, context.streams, arguments)


def _quantize(context: _Context) -> Packed:
    """float32 to integers, or integers to those of another scale."""
    call, source, target = context.call, context.source, context.target
    elements = math.prod(target.shape)
    if target.dtype not in (np.int8, np.int16):
        raise context.lacks(f"{target.dtype} output")
    least, greatest = integer_range(target.dtype)
    zero_out = zero_point_of(call, target)
    if source.dtype == np.float32:
        scale = float(scale_of(call, target))
        arguments = _rescale_arguments(elements, scale, 0, 0, 0, zero_out, least, greatest)
        return Packed("QUANTIZE", 0, context.streams, arguments)
    if source.dtype == np.int8:
        return _table(context)
    if source.dtype != np.int16:
        raise context.lacks(f"{source.dtype} input")
    m, s = quantize_multiplier(np.float64(scale_of(call, source)) / np.float64(scale_of(call, target)))
    zero_in = zero_point_of(call, source)
    arguments = _rescale_arguments(elements, 0.0, zero_in, int(m), int(s), zero_out, least, greatest)
    return Packed("RESCALE", 0, context.streams, arguments)


def _dequantize(context: _Context) -> Packed:
    call, source = context.call, context.source
    if source.dtype == np.int8:
        return _table(context)
    if source.dtype != np.int16 or context.target.dtype != np.float32:
        raise context.lacks(f"{source.dtype} input")
    scale, zero_in = float(scale_of(call, source)), zero_point_of(call, source)
    elements = math.prod(context.target.shape)
    return Packed("RESCALE", 1, context.streams, _rescale_arguments(elements, scale, zero_in, 0, 0, 0, 0, 0))


def _rescale_arguments(
    elements: int, scale: float, zero_in: int, multiplier: int, shift: int, zero_out: int, low: int, high: int
) -> Arguments:
    return [
        ("I", elements),
        ("f", scale),
        ("i", zero_in),
        ("i", multiplier),
        ("i", shift),
        ("i", zero_out),
        ("i", low),
        ("i", high),
    ]


def _softmax(context: _Context) -> Packed:
    call, source, target = context.call, context.source, context.target
    if source.dtype not in (np.float32, np.int8, np.int16) or target.dtype != source.dtype:
        raise context.lacks(f"{source.dtype} input and {target.dtype} output")
    depth = context.node.views[0][-1]
    rows = math.prod(target.shape) // depth
    beta = call.number("beta", 1.0)
    multiplier = shift = radius = low = 0
    exp: bytes | None = None
    inverse: bytes | None = None
    if source.dtype == np.int8:
        multiplier, shift, radius = _scaling(call, beta)
        low = -128
    elif source.dtype == np.int16:
        exp_table, inverse_table = _softmax_tables()
        exp, inverse = exp_table.astype(np.int16).tobytes(), inverse_table.astype(np.int16).tobytes()
        real = np.float64(scale_of(call, source) * np.float32(beta)) / (10.0 / 65535.0)
        m, s = quantize_multiplier(real)
        multiplier, shift = int(m), int(s)
    arguments: Arguments = [
        ("I", rows),
        ("I", depth),
        ("f", beta),
        ("i", multiplier),
        ("i", shift),
        ("i", radius),
        ("i", low),
        ("I", exp),
        ("I", inverse),
    ]
    return Packed("SOFTMAX", 0, context.streams, arguments)


_MOVES_ALL = ("CONCATENATION", "PACK")


def _move(context: _Context) -> Packed:
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


def _frozen(context: _Context) -> Packed:
    values = context.call.array(1)
    content = np.ascontiguousarray(values.astype(context.target.dtype)).tobytes()
    arguments: Arguments = [("I", context.target.dtype.itemsize), ("I", content), ("I", 0), ("I", None)]
    return Packed("MOVE", 0, context.streams, arguments)


_STATISTICS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")


def _reduce_arguments(context: _Context, axes: tuple[int, ...], statistic: str, fold_count: bool) -> Arguments:
    """``axes`` are those of a frame (0 is its first). ``fold_count``: the number of values is known now."""
    call, source, target = context.call, context.source, context.target
    if statistic not in _STATISTICS:
        raise context.lacks()
    if source.dtype not in (np.float32, np.int8, np.int16) or target.dtype != source.dtype:
        raise context.lacks(f"{source.dtype} input and {target.dtype} output")
    view = context.node.views[0]
    kept = [a for a in range(len(view)) if a not in axes]
    places = np.arange(math.prod(view)).reshape(view).transpose(*kept, *axes)
    outputs = math.prod(view[a] for a in kept)
    count = math.prod(view) // outputs
    zero_in = multiplier = shift = zero_out = low = high = 0
    if source.dtype != np.float32:
        if not is_quantized(source):
            raise context.lacks(f"plain {source.dtype}")
        low, high = integer_range(target.dtype)
        if statistic in ("MEAN", "SUM"):
            zero_in, zero_out = zero_point_of(call, source), zero_point_of(call, target)
            real = np.float64(scale_of(call, source)) / np.float64(scale_of(call, target))
            multiplier, shift = (int(p) for p in quantize_multiplier(real))
            if fold_count and statistic == "MEAN":
                bits = min(count.bit_length() - 1, 32, 31 + shift)
                multiplier, shift = (multiplier << bits) // count, shift - bits
    return [
        ("I", outputs),
        ("I", count),
        ("I", places.reshape(-1).astype(np.uint32).tobytes()),
        ("i", zero_in),
        ("i", multiplier),
        ("i", shift),
        ("i", zero_out),
        ("i", low),
        ("i", high),
    ]


def _reduce(context: _Context) -> Packed:
    rank = len(context.node.views[0]) + 1
    axes = tuple(sorted({a % rank - 1 for a in context.call.integers("axes")}))
    kind = context.node.kind
    arguments = _reduce_arguments(context, axes, kind, fold_count=True)
    return Packed("REDUCE", _STATISTICS.index(kind), context.streams, [*arguments, ("I", 0)])


LIMBS = 10
"""64-bit digits of an exact sum of float32 values, of 32 bits each, and a count of what is not finite."""


def _over_time(kind: str) -> Packer:
    def packer(context: _Context) -> Packed:
        statistic = str(context.node.options["reduce"])
        if kind == "TRAILING" and statistic not in ("MEAN", "SUM"):
            raise context.lacks("a trailing window")
        axes = tuple(sorted(a - 1 for a in context.call.integers("axes") if a > 0))
        arguments = _reduce_arguments(context, axes, statistic, fold_count=False)
        outputs = arguments[0][1]
        real = context.source.dtype == np.float32
        each = 8 * (LIMBS + 3) if kind == "TRAILING" and real else 8
        return Packed(kind, _STATISTICS.index(statistic), context.streams, [*arguments, ("carry", outputs * each)])

    return packer


Packer: TypeAlias = Callable[[_Context], Packed]

PACKERS: Mapping[str, Packer] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "TIME_RESAMPLE": _resample,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pool(0),
    "AVERAGE_POOL_2D": _pool(1),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(
        (
            "LOGISTIC",
            "TANH",
            "EXP",
            "NEG",
            "RSQRT",
            "SQRT",
            "SQUARE",
            "ABS",
            "LEAKY_RELU",
            "HARD_SWISH",
            "ELU",
            "LOG",
            "GELU",
            *CLIPS,
        ),
        _unary,
    ),
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "SOFTMAX": _softmax,
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
    **dict.fromkeys(_STATISTICS, _reduce),
    "TIME_TRAILING": _over_time("TRAILING"),
    "TIME_CUMULATIVE": _over_time("CUMULATIVE"),
}
"""Operation of the plan -> how it is packed."""
