"""Nodes that only move frames or take statistics over them.

The first operand of a ``KernelContext`` holds the frames from ``first_input_frame`` on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.operations.time import RESAMPLE_ONE, ResampleOptions
from tcnstream.engines.reference.kernels.context import KernelContext, kernel
from tcnstream.engines.reference.kernels.reduce import mean_from_sum, mean_of
from tcnstream.tflite.graph import Array


@kernel("TIME_PAD")
def pick(context: KernelContext) -> tuple[Array, ...]:
    """Every ``stride``-th of the gathered frames; the padding is already in place."""
    return (context.array(0)[:: context.node.window.stride],)


@kernel("TIME_WINDOW")
def window(context: KernelContext) -> tuple[Array, ...]:
    """TIME_WINDOW: ``extent`` frames side by side."""
    frames, window = context.array(0), context.node.window
    last = (context.n_frames - 1) * window.stride
    return (np.stack([frames[k : k + last + 1 : window.stride] for k in range(window.extent)], 1),)


@kernel("TIME_UNFOLD")
def unfold(context: KernelContext) -> tuple[Array, ...]:
    """Each frame cut into ``up`` frames."""
    frames, up = context.array(0), context.node.window.up
    start = context.first_frame - context.first_input_frame * up
    return (frames.reshape(len(frames) * up, -1)[start : start + context.n_frames],)


@kernel("TIME_REPEAT")
def repeat(context: KernelContext) -> tuple[Array, ...]:
    """Each frame ``up`` times."""
    up = context.node.window.up
    start = context.first_frame - context.first_input_frame * up
    return (np.repeat(context.array(0), up, axis=0)[start : start + context.n_frames],)


@kernel("TIME_RESAMPLE")
def resample(context: KernelContext) -> tuple[Array, ...]:
    """Every output frame from the set of weights that meets input frames, not the places between.

    Weights of integers count in 1 / RESAMPLE_ONE.
    """
    whole = context.tensor(0).dtype.kind == "i"
    number = np.int64 if whole else np.float32
    frames, bias = np.asarray(context.array(0), number), context.optional(2)
    weights: npt.NDArray[Any] = np.asarray(context.array(1), number)
    window, taps = context.node.window, weights.shape[1]
    places = (context.first_frame + np.arange(context.n_frames)) * window.stride - window.pad_begin
    first, phase = -(-places // window.up), -places % window.up
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(frames, ((0, taps), (0, 0))), taps, axis=0)
    read = windows[first - context.first_input_frame]
    # The last weight of some sets stands behind the end of the kernel, and its frame may not be there yet.
    read[(phase + (taps - 1) * window.up) >= window.extent, :, -1] = 0
    summed = "nct,ntcf->ncf" if context.options(ResampleOptions).separable else "nct,ntcf->nf"
    made: Array = np.einsum(summed, read, weights[phase]).reshape(context.n_frames, -1)
    if whole:
        # Ties away from zero, as ResizeBilinearInteger of TFLite's resize_bilinear.h.
        nearest = np.sign(made) * ((np.abs(made) + RESAMPLE_ONE // 2) // RESAMPLE_ONE)
        return (nearest.astype(context.output.dtype),)
    return (made if bias is None else np.asarray(np.add(made, bias)),)


@kernel("TIME_TRAILING")
def trailing(context: KernelContext) -> tuple[Array, ...]:
    """The statistic of the last ``extent`` frames, of fewer while the stream is younger."""
    values, extent, options = context.array(0), context.node.window.extent, context.options(StatisticOptions)
    made = []
    for j in range(context.first_frame, context.first_frame + context.n_frames):
        begin = max(0, j + 1 - extent) - context.first_input_frame
        past = values[begin : j + 1 - context.first_input_frame]
        made.append(mean_of(past, options.axes, context.tensor(0), context.output, options.statistic))
    return (np.stack(made),)


@kernel("TIME_FROZEN")
def frozen(context: KernelContext) -> tuple[Array, ...]:
    """What a calibration recording gave."""
    return (np.broadcast_to(context.array(1), (context.n_frames, *context.array(1).shape)),)


@kernel("TIME_STATE")
def state(context: KernelContext) -> tuple[Array, ...]:
    """What is fed back, a frame later than it was made."""
    assert context.fed_back is not None
    start = context.array(0).reshape(1, *context.output.shape)
    return (np.concatenate([start, context.fed_back]) if context.first_frame == 0 else context.fed_back,)


@kernel("TIME_CUMULATIVE")
def cumulative(context: KernelContext) -> tuple[Array, ...]:
    """The statistic of all frames so far.

    What is carried is the sum (float64 or int64) or the extreme so far, one value per statistic.
    """
    options, carry = context.options(StatisticOptions), context.carry
    statistic, axes = options.statistic, options.axes[1:]
    values = context.array(0)
    per_frame = int(np.prod([values.shape[a] for a in axes]))
    made = []
    for k, j in enumerate(range(context.first_frame, context.first_frame + context.n_frames)):
        if statistic.adds:
            wide = np.float64 if values.dtype.kind == "f" else np.int64
            total = values[k].sum(axis=tuple(a - 1 for a in axes), dtype=wide)
            # A snapshot's sums have the shape of the output.
            carry = np.asarray(total if carry is None else carry.reshape(np.shape(total)) + total)
            made.append(mean_from_sum(carry, (j + 1) * per_frame, context.tensor(0), context.output, statistic))
        else:
            now = mean_of(values[k : k + 1], (0, *axes), context.tensor(0), context.output, statistic)
            extreme = np.fmax if statistic is Statistic.MAXIMUM else np.fmin
            carry = np.asarray(now if carry is None else extreme(carry.reshape(np.shape(now)), now))
            made.append(carry)
    assert carry is not None
    return np.stack(made), carry
