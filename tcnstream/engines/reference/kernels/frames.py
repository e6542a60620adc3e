"""Nodes that only move frames or take statistics over them.

The first operand of a ``Call`` holds the frames from ``first_input_frame`` on.
"""

from __future__ import annotations

import numpy as np

from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.operations.time import ResampleOptions
from tcnstream.engines.reference.kernels.call import Call, kernel
from tcnstream.engines.reference.kernels.reduce import mean_from_sum, mean_of
from tcnstream.tflite.graph import Array


@kernel("TIME_PAD")
def pick(call: Call) -> tuple[Array, ...]:
    """Every ``stride``-th of the gathered frames; the padding is already in place."""
    return (call.array(0)[:: call.node.window.stride],)


@kernel("TIME_WINDOW")
def window(call: Call) -> tuple[Array, ...]:
    """TIME_WINDOW: ``extent`` frames side by side."""
    frames, window = call.array(0), call.node.window
    last = (call.n_frames - 1) * window.stride
    return (np.stack([frames[k : k + last + 1 : window.stride] for k in range(window.extent)], 1),)


@kernel("TIME_UNFOLD")
def unfold(call: Call) -> tuple[Array, ...]:
    """Each frame cut into ``up`` frames."""
    frames, up = call.array(0), call.node.window.up
    start = call.first_frame - call.first_input_frame * up
    return (frames.reshape(len(frames) * up, -1)[start : start + call.n_frames],)


@kernel("TIME_REPEAT")
def repeat(call: Call) -> tuple[Array, ...]:
    """Each frame ``up`` times."""
    up = call.node.window.up
    start = call.first_frame - call.first_input_frame * up
    return (np.repeat(call.array(0), up, axis=0)[start : start + call.n_frames],)


@kernel("TIME_RESAMPLE")
def resample(call: Call) -> tuple[Array, ...]:
    """Every output frame from the set of weights that meets input frames, not the places between."""
    frames, bias = np.asarray(call.array(0), np.float32), call.optional(2)
    weights = np.asarray(call.array(1), np.float32)
    window, taps = call.node.window, weights.shape[1]
    places = (call.first_frame + np.arange(call.n_frames)) * window.stride - window.pad_begin
    first, phase = -(-places // window.up), -places % window.up
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(frames, ((0, taps), (0, 0))), taps, axis=0)
    read = windows[first - call.first_input_frame]
    # The last weight of some sets stands behind the end of the kernel, and its frame may not be there yet.
    read[(phase + (taps - 1) * window.up) >= window.extent, :, -1] = 0
    summed = "nct,ntcf->ncf" if call.options(ResampleOptions).separable else "nct,ntcf->nf"
    made: Array = np.einsum(summed, read, weights[phase]).reshape(call.n_frames, -1)
    return (made if bias is None else np.asarray(np.add(made, bias)),)


@kernel("TIME_TRAILING")
def trailing(call: Call) -> tuple[Array, ...]:
    """The statistic of the last ``extent`` frames, of fewer while the stream is younger."""
    values, extent, options = call.array(0), call.node.window.extent, call.options(StatisticOptions)
    made = []
    for j in range(call.first_frame, call.first_frame + call.n_frames):
        begin = max(0, j + 1 - extent) - call.first_input_frame
        past = values[begin : j + 1 - call.first_input_frame]
        made.append(mean_of(past, options.axes, call.tensor(0), call.output, options.statistic))
    return (np.stack(made),)


@kernel("TIME_FROZEN")
def frozen(call: Call) -> tuple[Array, ...]:
    """What a calibration recording gave."""
    return (np.broadcast_to(call.array(1), (call.n_frames, *call.array(1).shape)),)


@kernel("TIME_CUMULATIVE")
def cumulative(call: Call) -> tuple[Array, ...]:
    """The statistic of all frames so far.

    What is carried is the sum (float64 or int64) or the extreme so far, one value per statistic.
    """
    options, carry = call.options(StatisticOptions), call.carry
    statistic, axes = options.statistic, options.axes[1:]
    values = call.array(0)
    per_frame = int(np.prod([values.shape[a] for a in axes]))
    made = []
    for k, j in enumerate(range(call.first_frame, call.first_frame + call.n_frames)):
        if statistic.adds:
            wide = np.float64 if values.dtype.kind == "f" else np.int64
            total = values[k].sum(axis=tuple(a - 1 for a in axes), dtype=wide)
            carry = np.asarray(total if carry is None else carry + total)
            made.append(mean_from_sum(carry, (j + 1) * per_frame, call.tensor(0), call.output, statistic))
        else:
            now = mean_of(values[k : k + 1], (0, *axes), call.tensor(0), call.output, statistic)
            both = now if carry is None else (np.fmax if statistic is Statistic.MAXIMUM else np.fmin)(carry, now)
            carry = np.asarray(both)
            made.append(carry)
    assert carry is not None
    return np.stack(made), carry
