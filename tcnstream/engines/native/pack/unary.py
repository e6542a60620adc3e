"""Functions of one value: computed for float32, looked up for int8."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tcnstream.engines.native.pack.context import F32_MAX, Arguments, Context, Packed, Packer
from tcnstream.engines.reference.kernels import KERNELS, Call
from tcnstream.engines.reference.kernels.activations import TABLED, _input_multiplier_int16
from tcnstream.engines.reference.kernels.call import is_quantized, scale_of, zero_point_of
from tcnstream.engines.reference.kernels.fixed_point import CLIPS, activation_range, integer_range, quantize_multiplier
from tcnstream.engines.reference.kernels.tables import entries_int16, sigmoid_table

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
    "GELU",
    "GELU_TANH",
    "FLOOR",
    "CEIL",
    "ROUND",
    "SIGN",
)
_VALUES = ("CAST", "ABS", "NEG", "SIGN", "LOGICAL_NOT", "MAGNITUDE", "SLOPES")


def _unary(context: Context) -> Packed:
    """A function of one value: computed for float32, looked up for int8."""
    call, node = context.call, context.node
    source, target = context.source, context.target
    if source.dtype == np.int8 and is_quantized(call.tensor(0)):
        return _table(context)
    if source.dtype == np.int16 and target.dtype == np.int16 and node.kind in ("LOGISTIC", "TANH"):
        multiplier, shift = _input_multiplier_int16(call, (0,) if node.kind == "LOGISTIC" else (0, 1))
        if multiplier == 0:
            multiplier, shift = 3 << shift, 0
        table = sigmoid_table().astype(np.uint16).tobytes()
        arguments: Arguments = [("I", math.prod(target.shape)), ("I", table), ("i", multiplier), ("i", shift)]
        return Packed("SIGMOID16", int(node.kind == "TANH"), context.streams, arguments)
    if source.dtype == np.int16 and target.dtype == np.int16:
        return _unary_int16(context)
    if source.dtype != np.float32 or target.dtype != np.float32:
        return _value(context)
    p0 = p1 = 0.0
    name = node.kind
    if name in CLIPS:
        low, high = CLIPS[name]
        name, p0, p1 = "CLIP", low, F32_MAX if high is None else high
        if high is None:
            p1 = math.inf
    elif name == "LEAKY_RELU":
        p0 = call.number("alpha", 0.0)
    elif name == "GELU" and call.flag("approximate"):
        name = "GELU_TANH"
    if name not in _UNARY:
        raise context.lacks()
    return Packed("UNARY", _UNARY.index(name), context.streams, [("I", math.prod(target.shape)), ("f", p0), ("f", p1)])


def _unary_int16(context: Context) -> Packed:
    """What int16 looks up between 513 entries, clips, or rescales with one slope or two."""
    call, kind = context.call, context.node.kind
    elements = math.prod(context.target.shape)
    if kind == "NEG" or not is_quantized(call.output):
        return _value(context)
    if kind in TABLED:
        table = entries_int16(call, TABLED[kind](call)).astype(np.int16).tobytes()
        return Packed("TABLE16", 0, context.streams, [("I", elements), ("I", table), ("i", 0), ("i", 0)])
    zeros = zero_point_of(call, call.tensor(0)), zero_point_of(call, call.output)
    in_scale, out_scale = scale_of(call, call.tensor(0)), scale_of(call, call.output)
    m, s = (int(part) for part in quantize_multiplier(in_scale / out_scale))
    if kind in CLIPS:
        limits = activation_range(call, kind, call.output)
        arguments = _rescale_arguments(elements, 0.0, zeros[0], m, s, zeros[1], *limits)
        return Packed("RESCALE", 0, context.streams, arguments)
    slope, slope_shift = m, s
    if kind == "LEAKY_RELU":
        real = in_scale * np.float32(call.number("alpha", 0.0)) / out_scale
        slope, slope_shift = (int(part) for part in quantize_multiplier(real))
    elif kind != "ABS":
        raise context.lacks(f"{context.source.dtype}")
    if kind == "ABS" and in_scale == out_scale:
        m, s = 1 << 30, 1
    numbers = (zeros[0], m, s, slope, slope_shift, zeros[1], *integer_range(context.target.dtype))
    name = "MAGNITUDE" if kind == "ABS" else "SLOPES"
    return Packed("VALUE", _VALUES.index(name), context.streams, [("I", elements), *(("i", n) for n in numbers)])


def _value(context: Context) -> Packed:
    """A change of type, or a function of integers without a scale."""
    source, target, kind = context.source, context.target, context.node.kind
    plain = kind == "NEG" or not is_quantized(context.call.output)
    if kind not in _VALUES or (kind != "CAST" and (source.dtype != target.dtype or not plain)):
        raise context.lacks(f"{source.dtype}")
    fields: Arguments = [("I", math.prod(target.shape)), *(("i", 0) for _ in range(8))]
    return Packed("VALUE", _VALUES.index(kind), context.streams, fields)


def _table(context: Context) -> Packed:
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


def _quantize(context: Context) -> Packed:
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
    if source.dtype not in (np.int16, np.int32):
        raise context.lacks(f"{source.dtype} input")
    m, s = quantize_multiplier(np.float64(scale_of(call, source)) / np.float64(scale_of(call, target)))
    zero_in = zero_point_of(call, source)
    arguments = _rescale_arguments(elements, 0.0, zero_in, int(m), int(s), zero_out, least, greatest)
    return Packed("RESCALE", 0, context.streams, arguments)


def _dequantize(context: Context) -> Packed:
    call, source = context.call, context.source
    if source.dtype == np.int8:
        return _table(context)
    if source.dtype not in (np.int16, np.int32) or context.target.dtype != np.float32:
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


PACKERS: dict[str, Packer] = {
    **dict.fromkeys((*(n for n in _UNARY if n not in ("CLIP", "COPY", "GELU_TANH")), *CLIPS), _unary),
    "CAST": _value,
    "LOGICAL_NOT": _value,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
}
