"""Recurrent layers of integers: sums that stay int16, one step of an LSTM, the filters of an SVDF."""

from __future__ import annotations

import numpy as np

from tcnstream.compiler.operations.dense import Sums16Options
from tcnstream.compiler.operations.lstm import LstmOptions
from tcnstream.compiler.operations.svdf import SvdfOptions
from tcnstream.engines.reference.kernels.context import Ints, KernelContext, as_frames, kernel, zero_point_of
from tcnstream.engines.reference.kernels.fixed_point import multiply, quantize_multiplier, rounding_shift_right
from tcnstream.engines.reference.kernels.gemmlowp16 import logistic16, tanh16
from tcnstream.tflite.graph import Array

_GATE_BITS = 3


def _scaled_sums(x: Array, weights: Array, bias: Array, scales: tuple[float, ...]) -> Ints:
    """``MatrixBatchVectorMultiplyAccumulate``: int8 x (t, depth) and weights (out, depth), a scale for each part."""
    # float64 holds these integers exactly
    sums = (x.astype(np.float64) @ weights.T.astype(np.float64)).astype(np.int64) + bias.astype(np.int64)
    multiplier, shift = quantize_multiplier(np.array(scales, np.float64))
    each = len(bias) // len(scales)
    return multiply(sums, np.repeat(multiplier, each), np.repeat(shift, each))


def _saturated(x: Ints) -> Ints:
    return np.clip(x, -32768, 32767)


@kernel("SUMS_INT16")
def sums_int16(context: KernelContext) -> tuple[Array, ...]:
    """A dense layer of int8 whose outputs are int16."""
    x, weights, bias = (context.array(k) for k in range(3))
    return (as_frames(context, _saturated(_scaled_sums(x, weights, bias, context.options(Sums16Options).scales))),)


@kernel("LSTM_STEP")
def lstm_step(context: KernelContext) -> tuple[Array, ...]:
    """Output and cell state after one step. Source: ``LstmStepInteger8x8_16`` in ``lstm_eval.cc``.

    Operands: what the input adds to each gate, output and cell state before, recurrent weights and biases.
    """
    options = context.options(LstmOptions)
    hidden, weights, bias = (context.array(k) for k in (1, 3, 4))
    added, cell = (context.array(k).astype(np.int64) for k in (0, 2))
    gates = _saturated(_scaled_sums(hidden, weights, bias, options.scales) + added)
    *entry, forget, fresh, output = np.split(gates, len(options.scales), axis=1)
    forget, output = logistic16(forget, _GATE_BITS), logistic16(output, _GATE_BITS)
    entered = logistic16(entry[0], _GATE_BITS) if entry else 32767 - forget
    bits = 15 + options.cell_exponent
    kept = rounding_shift_right(forget * cell, 15)
    new = rounding_shift_right(entered * tanh16(fresh, _GATE_BITS), 30 + options.cell_exponent)
    cell_after = _saturated(_wrapped(kept) + _wrapped(new))
    if options.cell_clip:
        cell_after = np.clip(cell_after, -options.cell_clip, options.cell_clip)
    product = multiply(output * tanh16(cell_after, bits), *quantize_multiplier(np.float64(options.output_scale)))
    made = np.clip(product + options.output_zero_point, -128, 127)
    return as_frames(context, made), as_frames(context, cell_after, 1)


def _wrapped(x: Ints) -> Ints:
    return x.astype(np.int16).astype(np.int64)


@kernel("SVDF_FILTER")
def svdf_filter(context: KernelContext) -> tuple[Array, ...]:
    """A filter over time for each feature, and sums of ``rank`` of them. Source: ``EvalIntegerSVDF``."""
    options, window = context.options(SvdfOptions), context.node.window
    features, weights, bias = (context.array(k).astype(np.int64) for k in range(3))
    frames = np.lib.stride_tricks.sliding_window_view(features, window.extent, axis=0)
    filtered = (frames * weights).sum(axis=2)
    sums = filtered.reshape(len(filtered), -1, options.rank).sum(axis=2) + bias
    scaled = multiply(sums, *quantize_multiplier(np.float64(options.scale)))
    return (as_frames(context, np.clip(scaled + zero_point_of(context, context.output), -128, 127)),)
