"""Models and recordings by name, as the command ``tcnstream`` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firmware_bridge.program import Program
from tcnstream.cli.common import Opened, open_model
from tcnstream.cli.reading import Reading, open_input, prepare_for, whole
from tcnstream.graph import Array
from tcnstream.model import Model

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
    opened = (
        Opened(Path(model.file.source), None, model) if isinstance(model, Model) else open_model(str(model), time_axis)
    )
    program = Program.of(opened.model, time_pooling=time_pooling, calibration=calibration, rounding=rounding)
    return opened, program


def read_signal(opened: Opened, source: str | Path, reading: Reading = DEFAULT_READING) -> tuple[Array, float | None]:
    """A recording's frames as the model takes them, and their rate."""
    frames: Array = whole(opened, str(source), reading)
    if opened.card is not None:
        return frames, opened.card.rate_hz
    return frames, prepare_for(opened, open_input(opened, str(source), reading), reading.gain).rate_hz
