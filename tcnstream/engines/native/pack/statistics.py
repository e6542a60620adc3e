"""Statistics of a frame, and over time."""

from __future__ import annotations

import math

import numpy as np

from tcnstream.engines.native.pack.context import Arguments, Context, Packed, Packer
from tcnstream.engines.reference.kernels.call import is_quantized, scale_of, zero_point_of
from tcnstream.engines.reference.kernels.fixed_point import integer_range, quantize_multiplier

_STATISTICS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")


_EXTREME_OF = ("float32", "int8", "int16", "int32", "int64", "bool")


def _groups(context: Context, axes: tuple[int, ...]) -> tuple[bytes, int, int]:
    """Which elements of a frame go together: their places, how many groups, how many elements in each."""
    view = context.node.views[0]
    kept = [a for a in range(len(view)) if a not in axes]
    places = np.arange(math.prod(view)).reshape(view).transpose(*kept, *axes)
    outputs = math.prod(view[a] for a in kept)
    return places.reshape(-1).astype(np.uint32).tobytes(), outputs, math.prod(view) // outputs


def _reduce_arguments(context: Context, axes: tuple[int, ...], statistic: str, fold_count: bool) -> Arguments:
    """``axes`` are those of a frame (0 is its first). ``fold_count``: the number of values is known now."""
    call, source, target = context.call, context.source, context.target
    if statistic not in _STATISTICS:
        raise context.lacks()
    whole = fold_count and source.dtype in (np.int32, np.int64)
    if (source.dtype not in (np.float32, np.int8, np.int16) and not whole) or target.dtype != source.dtype:
        raise context.lacks(f"{source.dtype} input and {target.dtype} output")
    places, outputs, count = _groups(context, axes)
    zero_in = multiplier = shift = zero_out = low = high = 0
    if source.dtype in (np.int8, np.int16):
        if not is_quantized(source):
            raise context.lacks(f"plain {source.dtype}")
        low, high = integer_range(target.dtype)
        if statistic in ("MEAN", "SUM", "REDUCE_PROD"):
            zero_in, zero_out = zero_point_of(call, source), zero_point_of(call, target)
            step = np.float64(scale_of(call, target))
            if statistic == "REDUCE_PROD":
                step = np.power(step, 1.0 / count)
            multiplier, shift = (int(p) for p in quantize_multiplier(np.float64(scale_of(call, source)) / step))
            if statistic == "REDUCE_PROD" and shift > 14:
                raise context.lacks("such scales")
            if fold_count and statistic == "MEAN":
                bits = min(count.bit_length() - 1, 32, 31 + shift)
                multiplier, shift = (multiplier << bits) // count, shift - bits
    return [
        ("I", outputs),
        ("I", count),
        ("I", places),
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


def _extreme(context: Context) -> Packed:
    """ARG_MAX, ARG_MIN: the place along one axis of a frame."""
    source, target = context.source, context.target
    if source.dtype.name not in _EXTREME_OF or target.dtype not in (np.int32, np.int64):
        raise context.lacks(f"{source.dtype} input and {target.dtype} output")
    rank = len(context.node.views[0]) + 1
    places, outputs, count = _groups(context, (context.call.integer("axis") % rank - 1,))
    arguments: Arguments = [("I", outputs), ("I", count), ("I", places), *(("i", 0) for _ in range(6)), ("I", 0)]
    return Packed("EXTREME", int(context.node.kind == "ARG_MIN"), context.streams, arguments)


LIMBS = 10
"""64-bit digits of an exact sum of float32 values, of 32 bits each, and a count of what is not finite."""


def _over_time(kind: str) -> Packer:
    def packer(context: Context) -> Packed:
        statistic = str(context.node.options["reduce"])
        if statistic not in _STATISTICS[:4]:
            raise context.lacks("a window of time")
        axes = tuple(sorted(a - 1 for a in context.call.integers("axes") if a > 0))
        arguments = _reduce_arguments(context, axes, statistic, fold_count=False)
        outputs = arguments[0][1]
        real = context.source.dtype == np.float32
        each = 8
        if kind == "TRAILING" and statistic not in ("MEAN", "SUM"):
            each = 8 * context.node.window.extent
        elif kind == "TRAILING" and real:
            each = 8 * (LIMBS + 3)
        return Packed(kind, _STATISTICS.index(statistic), context.streams, [*arguments, ("carry", outputs * each)])

    return packer


PACKERS: dict[str, Packer] = {
    **dict.fromkeys(_STATISTICS, _reduce),
    "ARG_MAX": _extreme,
    "ARG_MIN": _extreme,
    "TIME_TRAILING": _over_time("TRAILING"),
    "TIME_CUMULATIVE": _over_time("CUMULATIVE"),
}
