"""Softmax."""

from __future__ import annotations

import math

import numpy as np

from tcnstream.engines.native.pack.context import Arguments, Context, Packed, Packer
from tcnstream.engines.reference.kernels.call import scale_of
from tcnstream.engines.reference.kernels.fixed_point import quantize_multiplier
from tcnstream.engines.reference.kernels.softmax import _scaling, _softmax_tables

_MOST_INTEGERS = 2048
"""Powers of so many integers add up to an int32."""


def _softmax(context: Context) -> Packed:
    call, source, target = context.call, context.source, context.target
    if source.dtype not in (np.float32, np.int8, np.int16) or target.dtype != source.dtype:
        raise context.lacks(f"{source.dtype} input and {target.dtype} output")
    depth = context.node.views[0][-1]
    if source.dtype != np.float32 and depth > _MOST_INTEGERS:
        raise context.lacks(f"more than {_MOST_INTEGERS} integers")
    rows = math.prod(target.shape) // depth
    logarithm = context.node.kind == "LOG_SOFTMAX"
    if logarithm and source.dtype == np.int16:
        raise context.lacks(f"{source.dtype}")
    beta = 1.0 if logarithm else call.number("beta", 1.0)
    inverse_multiplier = inverse_shift = 0
    multiplier = shift = radius = low = 0
    exp: bytes | None = None
    inverse: bytes | None = None
    if source.dtype == np.int8:
        multiplier, shift, radius = _scaling(call, beta)
        low = -128
        if logarithm:
            parts = quantize_multiplier((1 << (31 - shift)) / float(multiplier))
            inverse_multiplier, inverse_shift = (int(part) for part in parts)
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
        ("i", inverse_multiplier),
        ("i", inverse_shift),
    ]
    return Packed("SOFTMAX", int(logarithm), context.streams, arguments)


PACKERS: dict[str, Packer] = {"SOFTMAX": _softmax, "LOG_SOFTMAX": _softmax}
