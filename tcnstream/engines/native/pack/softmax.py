"""Softmax."""

from __future__ import annotations

import math

import numpy as np

from tcnstream.compiler.operations.activation import SoftmaxOptions
from tcnstream.engines.native.layout.arguments import MAX_SOFTMAX_INTEGERS, Softmax
from tcnstream.engines.native.layout.functions import SoftmaxOp
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack.context import Context, Packed, packs
from tcnstream.engines.reference.kernels.context import scale_of
from tcnstream.engines.reference.kernels.fixed_point import quantize_multiplier
from tcnstream.engines.reference.kernels.softmax import _scaling, _softmax_tables


@packs("SOFTMAX")
def _softmax(context: Context) -> Packed:
    return _over_depth(context, SoftmaxOp.SOFTMAX, context.node.options_of(SoftmaxOptions).beta)


@packs("LOG_SOFTMAX")
def _log_softmax(context: Context) -> Packed:
    if context.source.dtype == np.int16:
        raise context.unsupported(f"{context.source.dtype}")
    return _over_depth(context, SoftmaxOp.LOG_SOFTMAX, 1.0)


def _over_depth(context: Context, op: SoftmaxOp, beta: float) -> Packed:
    facts, source, target = context.facts, context.source, context.target
    if source.dtype not in (np.float32, np.int8, np.int16) or target.dtype != source.dtype:
        raise context.unsupported(f"{source.dtype} input and {target.dtype} output")
    depth = context.node.views[0][-1]
    if source.dtype != np.float32 and depth > MAX_SOFTMAX_INTEGERS:
        raise context.unsupported(f"more than {MAX_SOFTMAX_INTEGERS} integers")
    rows = math.prod(target.shape) // depth
    inverse_multiplier = inverse_shift = 0
    multiplier = shift = radius = low = 0
    exp: bytes | None = None
    inverse: bytes | None = None
    if source.dtype == np.int8:
        multiplier, shift, radius = _scaling(facts, beta)
        low = -128
        if op == SoftmaxOp.LOG_SOFTMAX:
            parts = quantize_multiplier((1 << (31 - shift)) / float(multiplier))
            inverse_multiplier, inverse_shift = (int(part) for part in parts)
    elif source.dtype == np.int16:
        exp_table, inverse_table = _softmax_tables()
        exp, inverse = exp_table.astype(np.int16).tobytes(), inverse_table.astype(np.int16).tobytes()
        real = np.float64(scale_of(facts, source) * np.float32(beta)) / (10.0 / 65535.0)
        m, s = quantize_multiplier(real)
        multiplier, shift = int(m), int(s)
    arguments = Softmax(
        rows=rows,
        depth=depth,
        beta=beta,
        multiplier=multiplier,
        shift=shift,
        radius=radius,
        low=low,
        exp=exp,
        inverse=inverse,
        inverse_multiplier=inverse_multiplier,
        inverse_shift=inverse_shift,
    )
    return Packed(Kind.SOFTMAX, context.streams, arguments, op)
