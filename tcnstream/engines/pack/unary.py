"""Functions of one value: computed for float32, looked up for int8."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tcnstream.engines.kernels import KERNELS, Call
from tcnstream.engines.kernels.activations import _input_multiplier_int16
from tcnstream.engines.kernels.call import scale_of, zero_point_of
from tcnstream.engines.kernels.fixed_point import CLIPS, integer_range, quantize_multiplier
from tcnstream.engines.kernels.tables import sigmoid_table
from tcnstream.engines.pack.context import F32_MAX, Arguments, Context, Packed, Packer

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


def _unary(context: Context) -> Packed:
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
    if source.dtype != np.int16:
        raise context.lacks(f"{source.dtype} input")
    m, s = quantize_multiplier(np.float64(scale_of(call, source)) / np.float64(scale_of(call, target)))
    zero_in = zero_point_of(call, source)
    arguments = _rescale_arguments(elements, 0.0, zero_in, int(m), int(s), zero_out, least, greatest)
    return Packed("RESCALE", 0, context.streams, arguments)


def _dequantize(context: Context) -> Packed:
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


PACKERS: dict[str, Packer] = {
    **dict.fromkeys((*(n for n in _UNARY if n not in ("CLIP", "COPY")), "GELU", *CLIPS), _unary),
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
}
