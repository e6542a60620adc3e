"""Models and recordings by name, as the command ``tcnstream`` takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.boards.program import Program
from firmware_bridge.errors import BridgeError
from tcnstream.cli.common import Opened, open_model
from tcnstream.cli.reading import Reading, open_input, prepare_for
from tcnstream.model import Model
from tcnstream.signal.card import find_model
from tcnstream.tflite.graph import Array

DEFAULT_READING = Reading()


def open_program(
    model: Model | str | Path,
    *,
    rounding: str = "litert",
    time_pooling: str | None = None,
    calibration: Any = None,
    time_axis: int | None = None,
) -> tuple[Opened, Program]:
    """A model (or a .tflite, a card, a shipped model's name) and what a board runs of it."""
    opened = as_opened(model, time_axis)
    program = Program.of(opened.model, time_pooling=time_pooling, calibration=calibration, rounding=rounding)
    return opened, program


def as_opened(model: Model | str | Path, time_axis: int | None = None) -> Opened:
    if isinstance(model, Model):
        return Opened(Path(model.file.source), None, model)
    return open_model(str(model), time_axis)


def model_files(model: str) -> tuple[Path, ...]:
    """The files that a model's name stands for."""
    return (Path(model), find_model(model)[0])


def read_signal(
    opened: Opened,
    source: str | Path,
    reading: Reading = DEFAULT_READING,
    remark: Callable[[str], None] = lambda text: None,
) -> tuple[Array, float | None]:
    """A recording's frames as the model takes them, and their rate. ``remark`` gets what was chosen of it, in words.

    Raises SignalError for a recording that cannot be read, BridgeError for one without frames.
    """
    recording = open_input(opened, str(source), reading)
    if len(recording.channels) < len(recording.available):
        remark(f"{source}: channel {', '.join(recording.channels)} of {', '.join(recording.available)}")
    prepared = prepare_for(opened, recording, reading.gain)
    frames = np.concatenate([np.zeros((0, opened.channels), np.float32), *prepared.chunks])
    if not len(frames):
        raise BridgeError(f"{source} has no frames; there is nothing to compare")
    return frames.reshape(len(frames), *opened.model.inputs[0].shape), prepared.rate_hz
