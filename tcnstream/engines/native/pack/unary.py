"""Functions of one value: computed for float32, looked up for int8."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tcnstream.compiler.operations.activation import GeluOptions, SlopeOptions
from tcnstream.engines.native.layout.arguments import RescaleIntegers, Table, Table16, Unary, UnaryScalar
from tcnstream.engines.native.layout.functions import RescaleOp, SigmoidOp, UnaryOp, UnaryScalarOp
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack.context import Context, Packed, packs
from tcnstream.engines.reference.kernels import KERNELS, KernelContext
from tcnstream.engines.reference.kernels.activations import TABLED, _input_multiplier_int16
from tcnstream.engines.reference.kernels.context import is_quantized, scale_of, zero_point_of
from tcnstream.engines.reference.kernels.fixed_point import CLIPS, activation_range, integer_range, quantize_multiplier
from tcnstream.engines.reference.kernels.tables import entries_int16, sigmoid_table

_REAL: dict[str, UnaryOp] = {op.name: op for op in UnaryOp if op not in (UnaryOp.CLIP, UnaryOp.COPY, UnaryOp.GELU_TANH)}
"""Operation of the Plan -> function of float32; clips are named by what they clip to."""

_WHOLE: dict[str, UnaryScalarOp] = {
    op.name: op for op in UnaryScalarOp if op not in (UnaryScalarOp.ABS_RESCALED, UnaryScalarOp.LEAKY_RELU)
}
"""Operation of the Plan -> function of integers without a scale."""


@packs(*_REAL, *CLIPS)
def _unary(context: Context) -> Packed:
    """A function of one value: computed for float32, looked up for int8."""
    facts, node, op = context.facts, context.node, _REAL.get(context.node.kind)
    source, target = context.source, context.target
    if source.dtype == np.int8 and is_quantized(facts.tensor(0)):
        return _table(context)
    if source.dtype == np.int16 and target.dtype == np.int16 and op in (UnaryOp.LOGISTIC, UnaryOp.TANH):
        multiplier, shift = _input_multiplier_int16(facts, (0,) if op == UnaryOp.LOGISTIC else (0, 1))
        if multiplier == 0:
            multiplier, shift = 3 << shift, 0
        table = sigmoid_table().astype(np.uint16).tobytes()
        arguments = Table16(elements=math.prod(target.shape), table=table, multiplier=multiplier, shift=shift)
        return Packed(Kind.SIGMOID16, context.streams, arguments, SigmoidOp[node.kind])
    if source.dtype == np.int16 and target.dtype == np.int16:
        return _unary_int16(context)
    if source.dtype != np.float32 or target.dtype != np.float32:
        return _scalar(context)
    p0 = p1 = 0.0
    if node.kind in CLIPS:
        low, high = CLIPS[node.kind]
        op, p0, p1 = UnaryOp.CLIP, low, math.inf if high is None else high
    elif op == UnaryOp.LEAKY_RELU:
        p0 = facts.options(SlopeOptions).alpha
    elif op == UnaryOp.GELU and facts.options(GeluOptions).approximate:
        op = UnaryOp.GELU_TANH
    if op is None:
        raise context.unsupported()
    return Packed(Kind.UNARY, context.streams, Unary(elements=math.prod(target.shape), p0=p0, p1=p1), op)


def _unary_int16(context: Context) -> Packed:
    """What int16 looks up between 513 entries, clips, or rescales with one slope or two."""
    facts, kind, op = context.facts, context.node.kind, _REAL.get(context.node.kind)
    elements = math.prod(context.target.shape)
    if op == UnaryOp.NEG or not is_quantized(facts.output):
        return _scalar(context)
    if (looked_up := TABLED.get(KERNELS[kind])) is not None:
        table = entries_int16(facts, looked_up(facts)).astype(np.int16).tobytes()
        return Packed(Kind.TABLE16, context.streams, Table16(elements=elements, table=table))
    zero_in, zero_out = zero_point_of(facts, facts.tensor(0)), zero_point_of(facts, facts.output)
    in_scale, out_scale = scale_of(facts, facts.tensor(0)), scale_of(facts, facts.output)
    m, s = (int(part) for part in quantize_multiplier(in_scale / out_scale))
    if kind in CLIPS:
        low, high = activation_range(facts, kind, facts.output)
        clipped = RescaleIntegers(
            elements=elements, zero_in=zero_in, multiplier=m, shift=s, zero_out=zero_out, low=low, high=high
        )
        return Packed(Kind.RESCALE, context.streams, clipped, RescaleOp.TO_INTEGER)
    slope, slope_shift = m, s
    if op == UnaryOp.LEAKY_RELU:
        real = in_scale * np.float32(facts.options(SlopeOptions).alpha) / out_scale
        slope, slope_shift = (int(part) for part in quantize_multiplier(real))
    elif op != UnaryOp.ABS:
        raise context.unsupported(f"{context.source.dtype}")
    if op == UnaryOp.ABS and in_scale == out_scale:
        m, s = 1 << 30, 1
    low, high = integer_range(context.target.dtype)
    arguments = UnaryScalar(
        elements=elements,
        zero_in=zero_in,
        multiplier=m,
        shift=s,
        multiplier_negative=slope,
        shift_negative=slope_shift,
        zero_out=zero_out,
        low=low,
        high=high,
    )
    scalar = UnaryScalarOp.ABS_RESCALED if op == UnaryOp.ABS else UnaryScalarOp.LEAKY_RELU
    return Packed(Kind.UNARY_SCALAR, context.streams, arguments, scalar)


@packs("CAST", "LOGICAL_NOT")
def _scalar(context: Context) -> Packed:
    """A change of type, or a function of integers without a scale."""
    source, target, op = context.source, context.target, _WHOLE.get(context.node.kind)
    plain = op == UnaryScalarOp.NEG or not is_quantized(context.facts.output)
    if op is None or (op != UnaryScalarOp.CAST and (source.dtype != target.dtype or not plain)):
        raise context.unsupported(f"{source.dtype}")
    return Packed(Kind.UNARY_SCALAR, context.streams, UnaryScalar(elements=math.prod(target.shape)), op)


def _table(context: Context) -> Packed:
    """Any function of one byte as the 256 answers of the reference arithmetic."""
    node, source, target = context.node, context.source, context.target
    if target.dtype not in (np.int8, np.uint8, np.int16, np.float32) or any(i >= 0 for i in node.inputs[1:]):
        raise context.unsupported(f"{target.dtype} output")
    one = (1,)
    values = np.arange(256, dtype=np.uint8).view(source.dtype).reshape(256, 1)
    facts = KernelContext(
        node=replace(node, inputs=node.inputs[:1], views=(one,)),
        inputs=(replace(source, shape=one),),
        arrays=(values,),
        outputs=(replace(target, shape=one),),
        n_frames=256,
        valid=(0, 256),
        rounding=context.rounding,
    )
    (table,) = KERNELS[node.kind](facts)
    content = np.ascontiguousarray(table).tobytes()
    arguments = Table(elements=math.prod(target.shape), out_bytes=target.dtype.itemsize, table=content)
    return Packed(Kind.TABLE, context.streams, arguments)


@packs("QUANTIZE")
def _quantize(context: Context) -> Packed:
    """float32 to integers, or integers to those of another scale."""
    facts, source, target = context.facts, context.source, context.target
    elements = math.prod(target.shape)
    if target.dtype not in (np.int8, np.uint8, np.int16):
        raise context.unsupported(f"{target.dtype} output")
    least, greatest = integer_range(target.dtype)
    zero_out = zero_point_of(facts, target)
    if source.dtype == np.float32:
        scale = float(scale_of(facts, target))
        from_real = RescaleIntegers(elements=elements, scale=scale, zero_out=zero_out, low=least, high=greatest)
        return Packed(Kind.QUANTIZE, context.streams, from_real)
    if source.dtype.itemsize == 1:
        return _table(context)
    if source.dtype not in (np.int16, np.int32):
        raise context.unsupported(f"{source.dtype} input")
    m, s = quantize_multiplier(np.float64(scale_of(facts, source)) / np.float64(scale_of(facts, target)))
    arguments = RescaleIntegers(
        elements=elements,
        zero_in=zero_point_of(facts, source),
        multiplier=int(m),
        shift=int(s),
        zero_out=zero_out,
        low=least,
        high=greatest,
    )
    return Packed(Kind.RESCALE, context.streams, arguments, RescaleOp.TO_INTEGER)


@packs("DEQUANTIZE")
def _dequantize(context: Context) -> Packed:
    facts, source = context.facts, context.source
    if source.dtype.itemsize == 1:
        return _table(context)
    if source.dtype not in (np.int16, np.int32) or context.target.dtype != np.float32:
        raise context.unsupported(f"{source.dtype} input")
    arguments = RescaleIntegers(
        elements=math.prod(context.target.shape),
        scale=float(scale_of(facts, source)),
        zero_in=zero_point_of(facts, source),
    )
    return Packed(Kind.RESCALE, context.streams, arguments, RescaleOp.TO_FLOAT)
