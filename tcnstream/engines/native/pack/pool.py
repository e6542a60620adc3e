"""Pools."""

from __future__ import annotations

import numpy as np

from tcnstream.engines.native.pack.context import (
    Arguments,
    Context,
    Packed,
    Packer,
    float_range,
    frequency,
    range_or_zero,
)


def _pool(op: int) -> Packer:
    def packer(context: Context) -> Packed:
        call = context.call
        if context.source.dtype not in (np.float32, np.int8, np.int16) or context.target.dtype != context.source.dtype:
            raise context.lacks(f"{context.source.dtype}")
        f_in, channels = context.node.views[0]
        low, high = range_or_zero(call)
        low_f, high_f = float_range(call)
        stride_f, _, pad_f = frequency(context)
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


PACKERS: dict[str, Packer] = {"MAX_POOL_2D": _pool(0), "AVERAGE_POOL_2D": _pool(1)}
