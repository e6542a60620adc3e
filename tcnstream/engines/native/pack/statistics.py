"""Statistics of a frame, and over time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tcnstream.engines.native.layout import SUM_DIGITS, ArgOp, Kind, Reduce, Statistic
from tcnstream.engines.native.pack.context import Context, Packed, Packer
from tcnstream.engines.reference.kernels.call import is_quantized, scale_of, zero_point_of
from tcnstream.engines.reference.kernels.fixed_point import integer_range, quantize_multiplier

_STATISTICS = {
    "MEAN": Statistic.MEAN,
    "SUM": Statistic.SUM,
    "REDUCE_MAX": Statistic.MAX,
    "REDUCE_MIN": Statistic.MIN,
    "REDUCE_PROD": Statistic.PRODUCT,
}
_ARG_OF = ("float32", "int8", "int16", "int32", "int64", "bool")


def _groups(context: Context, axes: tuple[int, ...]) -> tuple[bytes, int, int]:
    """Which elements of a frame go together: their places, how many groups, how many elements in each."""
    view = context.node.views[0]
    kept = [a for a in range(len(view)) if a not in axes]
    places = np.arange(math.prod(view)).reshape(view).transpose(*kept, *axes)
    outputs = math.prod(view[a] for a in kept)
    return places.reshape(-1).astype(np.uint32).tobytes(), outputs, math.prod(view) // outputs


def _arguments(context: Context, axes: tuple[int, ...], statistic: str, fold_count: bool) -> Reduce:
    """``axes`` are those of a frame (0 is its first). ``fold_count``: the number of values is known now."""
    call, source, target = context.call, context.source, context.target
    whole = fold_count and source.dtype in (np.int32, np.int64)
    if (source.dtype not in (np.float32, np.int8, np.int16) and not whole) or target.dtype != source.dtype:
        raise context.unsupported(f"{source.dtype} input and {target.dtype} output")
    places, outputs, count = _groups(context, axes)
    zero_in = multiplier = shift = zero_out = low = high = 0
    if source.dtype in (np.int8, np.int16):
        if not is_quantized(source):
            raise context.unsupported(f"plain {source.dtype}")
        low, high = integer_range(target.dtype)
        if statistic in ("MEAN", "SUM", "REDUCE_PROD"):
            zero_in, zero_out = zero_point_of(call, source), zero_point_of(call, target)
            step = np.float64(scale_of(call, target))
            if statistic == "REDUCE_PROD":
                step = np.power(step, 1.0 / count)
            multiplier, shift = (int(p) for p in quantize_multiplier(np.float64(scale_of(call, source)) / step))
            if statistic == "REDUCE_PROD" and shift > 14:
                raise context.unsupported("such scales")
            if fold_count and statistic == "MEAN":
                bits = min(count.bit_length() - 1, 32, 31 + shift)
                multiplier, shift = (multiplier << bits) // count, shift - bits
    return Reduce(
        outputs=outputs,
        count=count,
        index=places,
        zero_in=zero_in,
        multiplier=multiplier,
        shift=shift,
        zero_out=zero_out,
        low=low,
        high=high,
    )


def _reduce(context: Context) -> Packed:
    rank = len(context.node.views[0]) + 1
    axes = tuple(sorted({a % rank - 1 for a in context.call.integers("axes")}))
    kind = context.node.kind
    arguments = _arguments(context, axes, kind, fold_count=True)
    return Packed(Kind.REDUCE, context.streams, arguments, _STATISTICS[kind])


def _arg(op: ArgOp) -> Packer:
    """ARG_MAX, ARG_MIN: the place along one axis of a frame."""

    def packer(context: Context) -> Packed:
        source, target = context.source, context.target
        if source.dtype.name not in _ARG_OF or target.dtype not in (np.int32, np.int64):
            raise context.unsupported(f"{source.dtype} input and {target.dtype} output")
        rank = len(context.node.views[0]) + 1
        places, outputs, count = _groups(context, (context.call.integer("axis") % rank - 1,))
        arguments = Reduce(outputs=outputs, count=count, index=places)
        return Packed(Kind.ARG_MIN_MAX, context.streams, arguments, op)

    return packer


def _trailing_bytes(context: Context, statistic: Statistic) -> int:
    """What a state keeps of one trailing statistic: a tree of the window, an exact sum, or a sum of integers."""
    if statistic in (Statistic.MAX, Statistic.MIN):
        return 8 * context.node.window.extent
    return 8 * (SUM_DIGITS + 3) if context.source.dtype == np.float32 else 8


def _over_time(kind: Kind) -> Packer:
    def packer(context: Context) -> Packed:
        name = str(context.node.options["reduce"])
        statistic = _STATISTICS.get(name)
        if statistic is None or statistic == Statistic.PRODUCT:
            raise context.unsupported("a window of time")
        axes = tuple(sorted(a - 1 for a in context.call.integers("axes") if a > 0))
        arguments = _arguments(context, axes, name, fold_count=False)
        each = _trailing_bytes(context, statistic) if kind == Kind.TRAILING else 8
        return Packed(kind, context.streams, replace(arguments, carry=arguments.outputs * each), statistic)

    return packer


PACKERS: dict[str, Packer] = {
    **dict.fromkeys(_STATISTICS, _reduce),
    "ARG_MAX": _arg(ArgOp.MAX),
    "ARG_MIN": _arg(ArgOp.MIN),
    "TIME_TRAILING": _over_time(Kind.TRAILING),
    "TIME_CUMULATIVE": _over_time(Kind.CUMULATIVE),
}
