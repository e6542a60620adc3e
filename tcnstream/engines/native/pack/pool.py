"""Pools."""

from __future__ import annotations

import numpy as np

from tcnstream.engines.native.layout import Kind, Pool, PoolOp
from tcnstream.engines.native.pack.context import Context, Packed, Packer, float_range, frequency, range_or_zero


def _pool(op: PoolOp) -> Packer:
    def packer(context: Context) -> Packed:
        call = context.call
        if context.source.dtype not in (np.float32, np.int8, np.int16) or context.target.dtype != context.source.dtype:
            raise context.unsupported(f"{context.source.dtype}")
        f_in, channels = context.node.views[0]
        low, high = range_or_zero(call)
        low_f, high_f = float_range(call)
        along_f = frequency(context)
        kt, kf = call.integer("filter_t"), call.integer("filter_f", 1)
        arguments = Pool(
            taps_t=kt,
            taps_f=kf,
            stride_f=along_f.stride,
            pad_f=along_f.pad_begin,
            f_in=f_in,
            f_out=context.target.shape[0],
            channels=channels,
            low=low,
            high=high,
            low_f=low_f,
            high_f=high_f,
        )
        return Packed(Kind.POOL, context.streams, arguments, op, taps=kt * kf)

    return packer


PACKERS: dict[str, Packer] = {"MAX_POOL_2D": _pool(PoolOp.MAX), "AVERAGE_POOL_2D": _pool(PoolOp.AVERAGE)}
