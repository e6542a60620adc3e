"""Models and recordings by name, as the command ``tcnstream`` takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tcnstream.opened import OpenedModel, open_input, prepare_for
from tcnstream.signal.card import find_model
from tcnstream.signal.sources.base import AS_IT_SAYS, ReadOptions
from tcnstream.tflite.graph import Array


def model_files(model: str) -> tuple[Path, ...]:
    """The files that a model's name stands for."""
    return (Path(model), find_model(model)[0])


def read_signal(
    opened: OpenedModel,
    source: str | Path,
    options: ReadOptions = AS_IT_SAYS,
    remark: Callable[[str], None] = lambda text: None,
) -> tuple[Array, float | None]:
    """A recording's frames as the model takes them, and their rate. ``remark`` gets what was chosen of it, in words.

    Raises SignalError for a recording that cannot be read, or has no frames.
    """
    recording = open_input(opened, str(source), options)
    if len(recording.channels) < len(recording.available):
        remark(f"{source}: channel {', '.join(recording.channels)} of {', '.join(recording.available)}")
    prepared = prepare_for(opened, recording, options.gain)
    frames = np.concatenate([np.zeros((0, opened.channels), np.float32), *prepared.chunks])
    return frames.reshape(len(frames), *opened.model.inputs[0].shape), prepared.rate_hz
