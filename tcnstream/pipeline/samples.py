"""Samples as a user gives them: what is none is refused before anything moves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tcnstream.engines.native import real as native
from tcnstream.errors import StreamError
from tcnstream.pipeline.setup import Setup
from tcnstream.signal.preprocess import too_loud
from tcnstream.stream import as_array

Frames = npt.NDArray[np.float32]


def accepted_samples(setup: Setup, samples: npt.ArrayLike) -> Frames:
    """The samples (n, channels) that the model takes; StreamError for what is none."""
    accepted: Frames
    if (
        setup.channels is None
        and isinstance(samples, np.ndarray)
        and not isinstance(samples, np.ma.MaskedArray)
        and native.is_finite(samples)
        and samples.ndim == 2
        and samples.shape[1] == setup.channel_count
    ):
        accepted = samples
    else:
        accepted = _converted(setup, samples)
    if setup.takes_full_scale and (why := too_loud(accepted, setup.factor, setup.wanted_units)):
        raise StreamError(f"{setup.source} {why}")
    return accepted


def _converted(setup: Setup, samples: npt.ArrayLike) -> Frames:
    chunk, channels, count = as_array(samples), setup.channels, setup.channel_count
    if chunk.dtype.kind not in "fiu":
        raise StreamError(f"the pipeline takes real numbers and got {chunk.dtype}; convert the samples")
    if chunk.ndim == 1 and (not chunk.size or (count == 1 and channels is None)):
        chunk = chunk.reshape(-1, count)
    elif chunk.ndim == 2 and channels is not None and chunk.shape[1] > max(channels):
        chunk = chunk[:, channels]
    elif chunk.ndim != 2 or channels is not None or chunk.shape[1] != count:
        wanted = f"{count}" if channels is None else f"more than {max(channels)}"
        raise StreamError(f"the pipeline takes samples of shape (n, {wanted} channels) and got {chunk.shape}")
    with np.errstate(over="ignore"):  # beyond float32 is infinity, and refused
        accepted: Frames = chunk.astype(np.float32, copy=False)
    if not np.isfinite(accepted).all():
        frame, channel = np.argwhere(~np.isfinite(accepted))[0].tolist()
        raise StreamError(
            f"there is no value at sample {frame} of channel {channel}: repeat the last one, or say how many are "
            "missing with mark_gap"
        )
    return accepted
