"""Nodes that only move frames or take statistics over them; the counterpart of ``kernels`` along time.

Each function gets a ``Call`` whose first operand holds the frames from ``first_input_frame`` on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tcnstream.engines.reference.kernels import Call, mean_from_sum, mean_of
from tcnstream.tflite.graph import Array


def pick(call: Call) -> Array:
    """TIME_PAD: every ``stride``-th of the gathered frames; the padding is already in place."""
    return call.array(0)[:: call.node.window.stride]


def window(call: Call) -> Array:
    """TIME_WINDOW: ``extent`` frames side by side."""
    frames, window = call.array(0), call.node.window
    return np.stack(
        [frames[k : k + (call.n_frames - 1) * window.stride + 1 : window.stride] for k in range(window.extent)], 1
    )


def unfold(call: Call) -> Array:
    """TIME_UNFOLD: each frame cut into ``up`` frames."""
    frames, up = call.array(0), call.node.window.up
    start = call.first_frame - call.first_input_frame * up
    return frames.reshape(len(frames) * up, -1)[start : start + call.n_frames]


def repeat(call: Call) -> Array:
    """TIME_REPEAT: each frame ``up`` times."""
    up = call.node.window.up
    start = call.first_frame - call.first_input_frame * up
    return np.repeat(call.array(0), up, axis=0)[start : start + call.n_frames]


def resample(call: Call) -> Array:
    """TIME_RESAMPLE: every output frame from the set of weights that meets input frames, not the places between."""
    frames, bias = np.asarray(call.array(0), np.float32), call.optional(2)
    weights = np.asarray(call.array(1), np.float32)
    window, taps = call.node.window, weights.shape[1]
    places = (call.first_frame + np.arange(call.n_frames)) * window.stride - window.pad_begin
    first, phase = -(-places // window.up), -places % window.up
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(frames, ((0, taps), (0, 0))), taps, axis=0)
    read = windows[first - call.first_input_frame]
    # The last weight of some sets stands behind the end of the kernel, and its frame may not be there yet.
    read[(phase + (taps - 1) * window.up) >= window.extent, :, -1] = 0
    summed = "nct,ntcf->ncf" if call.integer("separable") else "nct,ntcf->nf"
    made: Array = np.einsum(summed, read, weights[phase]).reshape(call.n_frames, -1)
    return made if bias is None else np.asarray(np.add(made, bias))


def trailing(call: Call) -> Array:
    """TIME_TRAILING: the statistic of the last ``extent`` frames, of fewer while the stream is younger."""
    values, extent = call.array(0), call.node.window.extent
    made = []
    for j in range(call.first_frame, call.first_frame + call.n_frames):
        begin = max(0, j + 1 - extent) - call.first_input_frame
        made.append(_statistic(call, values[begin : j + 1 - call.first_input_frame]))
    return np.stack(made)


def frozen(call: Call) -> Array:
    """TIME_FROZEN: what a calibration recording gave."""
    return np.broadcast_to(call.array(1), (call.n_frames, *call.array(1).shape))


def cumulative(call: Call, carry: Array | None) -> tuple[Array, Array]:
    """TIME_CUMULATIVE: the statistic of all frames so far, and the carry for the next call.

    The carry is the sum (float64 or int64) or the extreme so far, one value per statistic.
    """
    kind, axes = str(call.node.options["reduce"]), call.integers("axes")[1:]
    values = call.array(0)
    per_frame = int(np.prod([values.shape[a] for a in axes]))
    made = []
    for k, j in enumerate(range(call.first_frame, call.first_frame + call.n_frames)):
        if kind in ("MEAN", "SUM"):
            wide = np.float64 if values.dtype.kind == "f" else np.int64
            total = values[k].sum(axis=tuple(a - 1 for a in axes), dtype=wide)
            carry = np.asarray(total if carry is None else carry + total)
            made.append(mean_from_sum(carry, (j + 1) * per_frame, call.tensor(0), call.output, kind))
        else:
            now = mean_of(values[k : k + 1], (0, *axes), call.tensor(0), call.output, kind)
            both = now if carry is None else (np.fmax if kind == "REDUCE_MAX" else np.fmin)(carry, now)
            carry = np.asarray(both)
            made.append(carry)
    assert carry is not None
    return np.stack(made), carry


def _statistic(call: Call, values: Array) -> Array:
    return mean_of(values, call.integers("axes"), call.tensor(0), call.output, str(call.node.options["reduce"]))


FRAME_KERNELS: Mapping[str, Callable[[Call], Array]] = {
    "TIME_PAD": pick,
    "TIME_WINDOW": window,
    "TIME_UNFOLD": unfold,
    "TIME_REPEAT": repeat,
    "TIME_RESAMPLE": resample,
    "TIME_TRAILING": trailing,
    "TIME_FROZEN": frozen,
}
