"""A model with its card, and recordings as that model takes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.model import Model, load
from tcnstream.signal.card import Card, find_model
from tcnstream.signal.preprocess import prepare
from tcnstream.signal.sources import open_source
from tcnstream.signal.sources.base import NOT_LISTENING, Gap, Listening, ReadOptions, Recording
from tcnstream.signal.units import FULL_SCALE, is_said, known
from tcnstream.spec import TensorSpec

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True)
class OpenedModel:
    """A model, where it came from and its card, if it has one."""

    path: Path
    card: Card | None
    model: Model

    @property
    def channels(self) -> int:
        """Numbers in one input frame."""
        return math.prod(self.model.inputs[0].shape)


def open_model(
    model: Model | str | Path,
    time_axis: int | None = None,
    signature: str | None = None,
    states: Mapping[str, str] | None = None,
) -> OpenedModel:
    """A shipped model's name, a .tflite file or a card with the model that it names; a Model has no card.

    ``time_axis``, ``signature`` and ``states`` as for ``tcnstream.load``; what they leave out, a card may say. Raises
    SignalError if there is no such model, else as ``tcnstream.load``.
    """
    if isinstance(model, Model):
        return OpenedModel(Path(model.file.source), None, model)
    path, card = find_model(model)
    if card is not None:
        signature = card.signature or None if signature is None else signature
        states = card.states or None if states is None else states
    return OpenedModel(path, card, load(path, time_axis, signature=signature, states=states))


def open_input(
    opened: OpenedModel, source: str, options: ReadOptions, listening: Listening = NOT_LISTENING
) -> Recording:
    """The recording as it is, with the channels that the model takes: chosen ones, or the first so many."""
    name, count = opened.path.name, opened.channels
    if len(opened.model.inputs) != 1:
        raise SignalError(
            f"{name} has {len(opened.model.inputs)} inputs and a recording is one signal: "
            "feed it from Python, with one chunk per input to Stream.push"
        )
    if options.channels and len(options.channels) != count:
        raise SignalError(
            f"{name} takes {count} channel(s) and {len(options.channels)} are chosen: choose as many with channels="
        )
    card = opened.card
    one_ear = card is not None and known(card.units) == FULL_SCALE and count == 1
    return open_source(source, options.channels or count, options, replace(listening, hears_with_one_ear=one_ear))


def prepare_for(opened: OpenedModel, recording: Recording, gain: float) -> Recording:
    """The recording as the model's card asks for it; as it is, but for the gain, without a card."""
    card = opened.card
    if card is None:
        return prepare(recording, None, recording.units, gain=gain)
    return prepare(recording, card.rate_hz, card.units, card.preprocessing, gain=gain)


def assumed_unit(opened: OpenedModel, recording: Recording) -> str:
    """A sentence on the unit that a recording without one is taken to be in; empty where nothing is assumed."""
    if opened.card is None or not opened.card.units or is_said(recording.units):
        return ""
    source, units, wanted = recording.source, known(recording.units), known(opened.card.units)
    if wanted != FULL_SCALE:
        return f"{source} does not say its unit: taken for {opened.card.units} (else give units=)"
    if not units:
        return f"{source} does not say its unit: taken for full scale, from -1 to 1 (else give units=, as int16)"
    return "" if units == FULL_SCALE else f"{source} holds integers: as {units} they are scaled to full scale"


def read_frames(
    opened: OpenedModel, source: str, options: ReadOptions, remark: Callable[[str], None] = lambda text: None
) -> Frames:
    """All input frames (n, *frame shape) of a recording, as the model takes them; ``remark`` gets what was assumed."""
    recording = open_input(opened, source, options)
    if recording.remark:
        remark(f"{recording.source}: {recording.remark}")
    if assumed := assumed_unit(opened, recording):
        remark(assumed)
    chunks = [np.zeros((0, opened.channels), np.float32)]
    for piece in prepare_for(opened, recording, options.gain).chunks:
        assert not isinstance(piece, Gap)  # refused, or held
        chunks.append(piece)
    frames = np.concatenate(chunks)
    return frames.reshape(len(frames), *opened.model.inputs[0].shape)


def choose_output(opened: OpenedModel, output: int | str | None) -> TensorSpec:
    """The model's output of that name or number; the first one if nothing is said."""
    specs = opened.model.outputs
    for number, spec in enumerate(specs):
        if output in (None, spec.name, number, str(number)):
            return spec
    numbered = ", ".join(f"{number} ({spec.name})" for number, spec in enumerate(specs))
    raise SignalError(f"{opened.path.name} has no output {output!r}: choose one of {numbered}")
