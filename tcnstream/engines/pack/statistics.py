"""Statistics of a frame, and over time."""

from __future__ import annotations

import math

import numpy as np

from tcnstream.engines.kernels.call import is_quantized, scale_of, zero_point_of
from tcnstream.engines.kernels.fixed_point import integer_range, quantize_multiplier
from tcnstream.engines.pack.context import Arguments, Context, Packed, Packer

_STATISTICS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")


def _reduce_arguments(context: Context, axes: tuple[int, ...], statistic: str, fold_count: bool) -> Arguments:
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


def _reduce(context: Context) -> Packed:
    rank = len(context.node.views[0]) + 1
    axes = tuple(sorted({a % rank - 1 for a in context.call.integers("axes")}))
    kind = context.node.kind
    arguments = _reduce_arguments(context, axes, kind, fold_count=True)
    return Packed("REDUCE", _STATISTICS.index(kind), context.streams, [*arguments, ("I", 0)])


LIMBS = 10
"""64-bit digits of an exact sum of float32 values, of 32 bits each, and a count of what is not finite."""


def _over_time(kind: str) -> Packer:
    def packer(context: Context) -> Packed:
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


PACKERS: dict[str, Packer] = {
    **dict.fromkeys(_STATISTICS, _reduce),
    "TIME_TRAILING": _over_time("TRAILING"),
    "TIME_CUMULATIVE": _over_time("CUMULATIVE"),
}
