"""Recurrent layers of integers, with the scales that the reference engine has."""

from __future__ import annotations

import numpy as np

from tcnstream.compiler.operations.dense import Sums16Options
from tcnstream.compiler.operations.lstm import LstmOptions
from tcnstream.compiler.operations.svdf import SvdfOptions
from tcnstream.engines.native.layout.arguments import Sums16, SvdfFilter
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack.context import Context, Packed, packs
from tcnstream.engines.reference.kernels.context import zero_point_of
from tcnstream.engines.reference.kernels.fixed_point import quantize_multiplier


def _sums(context: Context, first: int, scales: tuple[float, ...]) -> Sums16:
    """Weights and biases from operand ``first`` on, and a scale for each of as many parts of the outputs."""
    weights, bias = context.facts.array(first), context.facts.array(first + 1)
    multiplier, shift = quantize_multiplier(np.array(scales, np.float64))
    each = len(bias) // len(scales)
    return Sums16(
        depth=weights.shape[1],
        outputs=len(bias),
        weights=np.ascontiguousarray(weights).tobytes(),
        bias=bias.astype(np.int32).tobytes(),
        multiplier=np.repeat(multiplier, each).astype(np.int32).tobytes(),
        shift=np.repeat(shift, each).astype(np.int32).tobytes(),
    )


@packs("SUMS_INT16")
def _sums_int16(context: Context) -> Packed:
    return Packed(Kind.SUMS16, context.streams, _sums(context, 1, context.node.options_of(Sums16Options).scales))


@packs("LSTM_STEP")
def _lstm_step(context: Context) -> Packed:
    options = context.node.options_of(LstmOptions)
    multiplier, shift = (int(part) for part in quantize_multiplier(np.float64(options.output_scale)))
    arguments = _sums(context, 3, options.scales).replaced(
        gates=len(options.scales),
        cell_bits=15 + options.cell_exponent,
        clip=options.cell_clip,
        multiplier_out=multiplier,
        shift_out=shift,
        zero_out=options.output_zero_point,
    )
    return Packed(Kind.LSTM_STEP, context.streams, arguments)


@packs("SVDF_FILTER")
def _svdf_filter(context: Context) -> Packed:
    options, weights = context.node.options_of(SvdfOptions), context.facts.array(1)
    multiplier, shift = (int(part) for part in quantize_multiplier(np.float64(options.scale)))
    arguments = SvdfFilter(
        rank=options.rank,
        weights=np.ascontiguousarray(weights.T).tobytes(),
        bias=context.facts.array(2).astype(np.int32).tobytes(),
        multiplier=multiplier,
        shift=shift,
        zero_out=zero_point_of(context.facts, context.target),
    )
    return Packed(Kind.SVDF_FILTER, context.streams, arguments)
