"""Tables that stand for functions of int8 and int16 values.

int8 functions have 256 entries, which TFLite fills in float32; int16 ones interpolate between 513
(``LUTPopulate`` and ``LUTLookup`` in ``tflite/kernels/internal/common.h``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.engines.reference.kernels.context import Doubles, Ints, KernelContext, as_frames, scale_of, zero_point_of
from tcnstream.engines.reference.kernels.fixed_point import round_half_away
from tcnstream.tflite.graph import Array

Function = Callable[[Doubles], Doubles]
Floats = npt.NDArray[np.float32]


def in_float32(function: Function) -> Callable[[Floats], Floats]:
    """The correctly rounded float32 form of a function, as a good C library has it."""
    return lambda x: function(x.astype(np.float64)).astype(np.float32)


def apply_table(context: KernelContext, function: Callable[[Floats], Floats]) -> tuple[Array, ...]:
    """``LUTPopulate`` and the look-up: 256 entries for int8, interpolation between 513 for int16."""
    if context.output.dtype == np.int16:
        return (as_frames(context, look_up_int16(context.array(0).astype(np.int64), entries_int16(context, function))),)
    output_scale = scale_of(context, context.output)
    every_input = np.arange(-128, 128)
    dequantized = scale_of(context, context.tensor(0)) * (
        every_input - zero_point_of(context, context.tensor(0))
    ).astype(np.float32)
    with np.errstate(all="ignore"):
        rescaled = round_half_away(function(dequantized) * (np.float32(1) / output_scale))
    table = np.clip(rescaled + zero_point_of(context, context.output), -128, 127).astype(np.int64)
    return (as_frames(context, table[context.array(0).astype(np.int64) + 128]),)


def entries_int16(context: KernelContext, function: Callable[[Floats], Floats]) -> Ints:
    """The 513 entries for the operation's own scales."""
    source, target = context.tensor(0), context.output
    scales = scale_of(context, source), scale_of(context, target)
    return table_int16(scales[0], zero_point_of(context, source), scales[1], zero_point_of(context, target), function)


def table_int16(
    input_scale: Any, input_zero_point: int, output_scale: Any, output_zero_point: int, function: Callable[[Any], Any]
) -> Ints:
    """``LUTPopulateInt16`` in the precision of ``input_scale`` (float32 or float64): 513 entries."""
    kind = type(input_scale)
    low, high = input_scale * kind(-32768 - input_zero_point), input_scale * kind(32767 - input_zero_point)
    output_low = output_scale * kind(-32768 - output_zero_point)
    output_high = output_scale * kind(32767 - output_zero_point)
    step = (high - low) / kind(512)
    half_step = step / kind(2)
    scaling = kind(65536) / (output_high - output_low)
    i = np.arange(512).astype(kind)
    with np.errstate(all="ignore"):
        sample = round_half_away(function(low + i * step) * scaling).astype(kind)
        middle = round_half_away(function(low + i * step + half_step) * scaling)
        interpolated = round_half_away((function(low + (i + kind(1)) * step) * scaling + sample) / kind(2))
        bias = round_half_away((interpolated - middle) / 2)
        last = round_half_away(function(np.array([high])) * scaling)
        entries: Doubles = np.concatenate([sample - bias, last])
    # where infinity meets infinity, C's conversion of NaN leaves 0 in the low bits
    return np.clip(np.nan_to_num(entries, nan=0.0), -32768, 32767).astype(np.int64)


def look_up_int16(values: Ints, table: Ints) -> Ints:
    """``LUTLookup``: linear interpolation with 7 fraction bits."""
    index, offset = 256 + (values >> 7), values & 0x7F
    base = table[index]
    slope = _wrap_int16(table[index + 1] - base)
    return _wrap_int16(base + ((slope * offset + 64) >> 7))


def _wrap_int16(x: Ints) -> Ints:
    return x.astype(np.int16).astype(np.int64)


def logistic_of(x: Doubles) -> Doubles:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


@lru_cache(maxsize=1)
def sigmoid_table() -> Ints:
    """sigmoid(i / 24) as unsigned 0.16 numbers, the table behind int16 LOGISTIC and TANH.

    Each entry is lifted by half of the error that interpolation makes in the middle of its step,
    which is how TFLite's ``sigmoid_table_uint16`` was made; its last entry is saturated.
    """
    i = np.arange(256, dtype=np.float64)
    here, middle, following = (logistic_of((i + part) / 24) * 65536 for part in (0.0, 0.5, 1.0))
    table = np.rint(here + (middle - (here + following) / 2) / 2).astype(np.int64)
    table[-1] = 65535
    return table
