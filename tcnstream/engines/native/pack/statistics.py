"""Statistics of a frame, and over time."""

from __future__ import annotations

import math

import numpy as np

from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import AxisOptions
from tcnstream.engines.native.layout.arguments import SUM_DIGITS, Reduce
from tcnstream.engines.native.layout.functions import ArgOp, StatisticOp
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack.context import Context, Packed, packs
from tcnstream.engines.reference.kernels.context import is_quantized, scale_of, zero_point_of
from tcnstream.engines.reference.kernels.fixed_point import integer_range, quantize_multiplier

_OPS = {
    Statistic.MEAN: StatisticOp.MEAN,
    Statistic.SUM: StatisticOp.SUM,
    Statistic.MAXIMUM: StatisticOp.MAX,
    Statistic.MINIMUM: StatisticOp.MIN,
    Statistic.PRODUCT: StatisticOp.PRODUCT,
}
_ARG_OF = ("float32", "int8", "int16", "int32", "int64", "bool")


def _groups(context: Context, axes: tuple[int, ...]) -> tuple[bytes, int, int]:
    """Which elements of a frame go together: their places, how many groups, how many elements in each."""
    view = context.node.views[0]
    kept = [a for a in range(len(view)) if a not in axes]
    places = np.arange(math.prod(view)).reshape(view).transpose(*kept, *axes)
    outputs = math.prod(view[a] for a in kept)
    return places.reshape(-1).astype(np.uint32).tobytes(), outputs, math.prod(view) // outputs


def _arguments(context: Context, axes: tuple[int, ...], statistic: Statistic, fold_count: bool) -> Reduce:
    """``axes`` are those of a frame (0 is its first). ``fold_count``: the number of values is known now."""
    facts, source, target = context.facts, context.source, context.target
    whole = fold_count and source.dtype in (np.int32, np.int64)
    if (source.dtype not in (np.float32, np.int8, np.int16) and not whole) or target.dtype != source.dtype:
        raise context.unsupported(f"{source.dtype} input and {target.dtype} output")
    places, outputs, count = _groups(context, axes)
    zero_in = multiplier = shift = zero_out = low = high = 0
    if source.dtype in (np.int8, np.int16):
        if not is_quantized(source):
            raise context.unsupported(f"plain {source.dtype}")
        low, high = integer_range(target.dtype)
        if statistic.adds or statistic is Statistic.PRODUCT:
            zero_in, zero_out = zero_point_of(facts, source), zero_point_of(facts, target)
            step = np.float64(scale_of(facts, target))
            if statistic is Statistic.PRODUCT:
                step = np.power(step, 1.0 / count)
            multiplier, shift = (int(p) for p in quantize_multiplier(np.float64(scale_of(facts, source)) / step))
            if statistic is Statistic.PRODUCT and shift > 14:
                raise context.unsupported("such scales")
            if fold_count and statistic is Statistic.MEAN:
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


@packs(*(statistic.value for statistic in Statistic))
def _reduce(context: Context) -> Packed:
    rank = len(context.node.views[0]) + 1
    options = context.node.options_of(StatisticOptions)
    axes = tuple(sorted({a % rank - 1 for a in options.axes}))
    arguments = _arguments(context, axes, options.statistic, fold_count=True)
    return Packed(Kind.REDUCE, context.streams, arguments, _OPS[options.statistic])


def _arg(context: Context, op: ArgOp) -> Packed:
    """The place of an extreme along one axis of a frame."""
    source, target = context.source, context.target
    if source.dtype.name not in _ARG_OF or target.dtype not in (np.int32, np.int64):
        raise context.unsupported(f"{source.dtype} input and {target.dtype} output")
    rank = len(context.node.views[0]) + 1
    places, outputs, count = _groups(context, (context.node.options_of(AxisOptions).axis % rank - 1,))
    return Packed(Kind.ARG_MIN_MAX, context.streams, Reduce(outputs=outputs, count=count, index=places), op)


@packs("ARG_MAX")
def _arg_max(context: Context) -> Packed:
    return _arg(context, ArgOp.MAX)


@packs("ARG_MIN")
def _arg_min(context: Context) -> Packed:
    return _arg(context, ArgOp.MIN)


def _trailing_bytes(context: Context, statistic: Statistic) -> int:
    """What a state keeps of one trailing statistic: a tree of the window, an exact sum, or a sum of integers."""
    if not statistic.adds:
        return 8 * context.node.window.extent
    return 8 * (SUM_DIGITS + 3) if context.source.dtype == np.float32 else 8


@packs("TIME_TRAILING")
def _trailing(context: Context) -> Packed:
    return _over_time(context, Kind.TRAILING, _trailing_bytes(context, _statistic(context)))


@packs("TIME_CUMULATIVE")
def _cumulative(context: Context) -> Packed:
    return _over_time(context, Kind.CUMULATIVE, 8)


def _over_time(context: Context, kind: Kind, carry_bytes: int) -> Packed:
    """A statistic of several frames, of which a state carries ``carry_bytes`` for each output."""
    statistic = _statistic(context)
    axes = tuple(sorted(a - 1 for a in context.node.options_of(StatisticOptions).axes if a > 0))
    arguments = _arguments(context, axes, statistic, fold_count=False)
    return Packed(kind, context.streams, arguments.replaced(carry=arguments.outputs * carry_bytes), _OPS[statistic])


def _statistic(context: Context) -> Statistic:
    statistic = context.node.options_of(StatisticOptions).statistic
    if statistic is Statistic.PRODUCT:
        raise context.unsupported("a window of time")
    return statistic
