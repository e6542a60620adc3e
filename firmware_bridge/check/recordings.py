"""Models and recordings by name, as the command ``tcnstream`` takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.boards.program import Program
from firmware_bridge.errors import BridgeError
from tcnstream.model import Model
from tcnstream.opened import OpenedModel, open_input, open_model, prepare_for
from tcnstream.signal.card import find_model
from tcnstream.signal.sources.base import AS_IT_SAYS, ReadOptions
from tcnstream.tflite.graph import Array


def open_program(
    model: Model | str | Path,
    *,
    rounding: str = "litert",
    time_pooling: str | None = None,
    calibration: Any = None,
    time_axis: int | None = None,
    signature: str | None = None,
    states: Mapping[str, str] | None = None,
    static: Mapping[str, npt.ArrayLike] | None = None,
) -> tuple[OpenedModel, Program]:
    """A model (or a .tflite, a card, a shipped model's name) and what a board runs of it; see ``tcnstream.load``."""
    opened = open_model(model, time_axis, signature, states)
    made = Program.of(
        opened.model, time_pooling=time_pooling, calibration=calibration, rounding=rounding, static=static
    )
    return opened, made


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

    Raises SignalError for a recording that cannot be read, BridgeError for one without frames.
    """
    recording = open_input(opened, str(source), options)
    if len(recording.channels) < len(recording.available):
        remark(f"{source}: channel {', '.join(recording.channels)} of {', '.join(recording.available)}")
    prepared = prepare_for(opened, recording, options.gain)
    frames = np.concatenate([np.zeros((0, opened.channels), np.float32), *prepared.chunks])
    if not len(frames):
        raise BridgeError(f"{source} has no frames; there is nothing to compare")
    return frames.reshape(len(frames), *opened.model.inputs[0].shape), prepared.rate_hz
