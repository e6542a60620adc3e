"""Pools."""

from __future__ import annotations

import numpy as np

from tcnstream.compiler.operations.pool import PoolOptions
from tcnstream.engines.native.layout.arguments import Pool
from tcnstream.engines.native.layout.functions import PoolOp
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack.context import Context, Packed, packs, range_or_zero
from tcnstream.engines.reference.kernels.fixed_point import float_range


def _pool(context: Context, op: PoolOp) -> Packed:
    facts, options = context.facts, context.node.options_of(PoolOptions)
    if context.source.dtype not in (np.float32, np.int8, np.int16) or context.target.dtype != context.source.dtype:
        raise context.unsupported(f"{context.source.dtype}")
    f_in, channels = context.node.views[0]
    low, high = range_or_zero(facts)
    low_f, high_f = float_range(facts.activation)
    arguments = Pool(
        taps_t=options.filter_t,
        taps_f=options.filter_f,
        stride_f=options.stride_f,
        pad_f=options.pad_f_begin,
        f_in=f_in,
        f_out=context.target.shape[0],
        channels=channels,
        low=low,
        high=high,
        low_f=low_f,
        high_f=high_f,
    )
    return Packed(Kind.POOL, context.streams, arguments, op, taps=options.filter_t * options.filter_f)


@packs("MAX_POOL_2D")
def _max_pool(context: Context) -> Packed:
    return _pool(context, PoolOp.MAX)


@packs("AVERAGE_POOL_2D")
def _average_pool(context: Context) -> Packed:
    up = context.node.options_of(PoolOptions).halves_up
    return _pool(context, PoolOp.AVERAGE_UP if up else PoolOp.AVERAGE)
