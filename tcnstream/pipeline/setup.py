"""What a pipeline is made of, as a user says it: checked once, shared by all lanes of a pool."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from operator import index
from pathlib import Path
from typing import TypedDict

import numpy as np

from tcnstream.compiler.operations.activation import SOFTMAX
from tcnstream.errors import SignalError
from tcnstream.opened import OpenedModel, choose_output
from tcnstream.options import StreamOptions
from tcnstream.pipeline.state import MODEL_HASH_BYTES
from tcnstream.signal.card import Card, card_segmenter, load_card
from tcnstream.signal.preprocess import (
    Preprocessor,
    must_have_a_sound_rate,
    scale,
)
from tcnstream.signal.segments import Segmenter
from tcnstream.signal.units import FULL_SCALE, is_said, known
from tcnstream.spec import TensorSpec
from tcnstream.stream import Stream
from tcnstream.tflite.graph import Shape

DEFAULT_OPTIONS = StreamOptions()


class PipelineArguments(TypedDict, total=False):
    """The arguments of Pipeline, for what passes them on."""

    card: Card | str | Path | None
    rate_hz: float | None
    units: str | None
    channels: Sequence[int] | None
    gain: float
    output: int | str | None
    low_latency: bool
    start_s: float
    segments: bool
    keep_frames: bool
    options: StreamOptions


@dataclass(frozen=True)
class Setup:
    """What a pipeline is made of, and all lanes of a pool share."""

    opened: OpenedModel
    source: str
    spec: TensorSpec
    rate_hz: float | None
    channels: tuple[int, ...] | None
    factor: float
    low_latency: bool
    start_s: float
    segments: bool
    keep_frames: bool
    options: StreamOptions

    @classmethod
    def of(
        cls,
        opened: OpenedModel,
        *,
        source: str = "the signal",
        better: Sequence[str] = (),
        card: Card | str | Path | None = None,
        rate_hz: float | None = None,
        units: str | None = None,
        channels: Sequence[int] | None = None,
        gain: float = 1.0,
        output: int | str | None = None,
        low_latency: bool = False,
        start_s: float = 0.0,
        segments: bool = True,
        keep_frames: bool = False,
        options: StreamOptions = DEFAULT_OPTIONS,
    ) -> Setup:
        """Checks what a user says. ``source`` is the signal's name in errors, ``better`` names other channels of it."""
        if card is not None and not isinstance(card, Card | str | Path):
            raise SignalError(f"card={card!r}; give a Card or the path of one")
        if units is not None and not isinstance(units, str):
            raise SignalError(f"units={units!r}; give the name of a unit, such as 'mV'")
        if rate_hz is not None:
            rate_hz = _number("rate_hz", rate_hz)
        if channels is not None and not all(isinstance(number, Integral) for number in _listed(channels)):
            raise SignalError(f"channels={channels!r}; give the numbers of the channels, counted from 0")
        if card is not None:
            opened = replace(opened, card=card if isinstance(card, Card) else load_card(card))
        card, count, name = opened.card, opened.channels, opened.path.name
        if len(opened.model.inputs) != 1:
            raise SignalError(
                f"{name} has {len(opened.model.inputs)} inputs and a pipeline takes one signal: "
                "use Model.stream, with one chunk per input to push"
            )
        if channels is not None and (len(channels) != count or min(channels) < 0):
            raise SignalError(f"{name} takes {count} channel(s), and channels={list(channels)} are chosen")
        must_have_a_sound_rate(source, rate_hz)
        says_rate = rate_hz is not None
        if rate_hz is None and card is not None:
            rate_hz = card.rate_hz
        if rate_hz is None and segments:
            raise SignalError(f"{name} has no card, so that seconds are unknown: give rate_hz")
        if card is not None:
            _warn_of_what_is_assumed(card, says_rate, units)
        start_s, gain = sound_seconds(start_s), _number("gain", gain)
        if not isinstance(options, StreamOptions):
            raise SignalError(f"options={options!r}; give a StreamOptions, or leave it out")
        return cls(
            opened=opened,
            source=source,
            spec=choose_output(opened, output),
            rate_hz=None if rate_hz is None else float(rate_hz),
            channels=None if channels is None else tuple(map(index, channels)),
            factor=float(scale(source, units or "", "" if card is None else card.units, gain, better)),
            low_latency=low_latency,
            start_s=start_s,
            segments=segments,
            keep_frames=keep_frames,
            options=options,
        )

    @cached_property
    def wanted_units(self) -> str:
        return "" if self.opened.card is None else self.opened.card.units

    @cached_property
    def takes_full_scale(self) -> bool:
        return known(self.wanted_units) == FULL_SCALE

    @cached_property
    def channel_count(self) -> int:
        return self.opened.channels

    @cached_property
    def frame_shape(self) -> Shape:
        """Of the model's input."""
        return self.opened.model.inputs[0].shape

    @cached_property
    def values(self) -> int:
        """Numbers in a frame of the output."""
        return math.prod(self.spec.shape)

    @cached_property
    def output(self) -> int:
        return self.opened.model.outputs.index(self.spec)

    @cached_property
    def answer(self) -> tuple[float, int] | None:
        """Scale and zero point of the output, 0 for real numbers; None for integers that stand for none."""
        quantization = self.spec.quantization
        if self.spec.dtype.kind == "f":
            return 0.0, 0
        if quantization is None:
            return None
        return float(quantization.scale.flat[0]), int(quantization.zero_point.flat[0])

    @cached_property
    def frames_hz(self) -> float | None:
        return self.preprocessor().frames_hz

    @cached_property
    def model_hash(self) -> bytes:
        """The beginning of the file's SHA-256."""
        return bytes.fromhex(self.opened.model.file.sha256[: 2 * MODEL_HASH_BYTES])

    @cached_property
    def facts(self) -> str:
        """What must agree for a snapshot to be understood; the model says its own."""
        segmenter = self.segmenter(0.0)
        facts = (
            self.rate_hz,
            self.frames_hz,
            self.channels,
            self.factor,
            self.low_latency,
            self.output,
            None if self.opened.card is None else self.opened.card.preprocessing,
            None if segmenter is None else segmenter.rules,
        )
        return repr(facts)

    @cached_property
    def input_facts(self) -> tuple[object, ...]:
        """What the model's input frames follow from, samples apart."""
        (spec,) = self.opened.model.inputs
        number = (
            None
            if spec.quantization is None
            else (spec.quantization.scale.flat[0], spec.quantization.zero_point.flat[0])
        )
        filters = None if self.opened.card is None else self.opened.card.preprocessing
        source = self.rate_hz, self.frames_hz, self.channels, self.factor, self.low_latency
        return *source, filters, spec.shape, spec.dtype, number

    def stream(self) -> Stream:
        return self.opened.model.open(self.options)

    def preprocessor(self) -> Preprocessor:
        card = self.opened.card
        return Preprocessor(
            self.opened.channels,
            factor=self.factor,
            from_hz=self.rate_hz,
            to_hz=None if card is None else card.rate_hz,
            filters=() if card is None else card.preprocessing,
            low_latency=self.low_latency,
        )

    def seconds(self, start_s: float, frames: int) -> float:
        """The time of a source frame."""
        return start_s if self.rate_hz is None else start_s + frames / self.rate_hz

    def segmenter(self, begin_s: float) -> Segmenter | None:
        """For a signal whose first sample stands at ``begin_s``.

        A frame lasts as long as it takes the next one to follow, half of that before and half after its centre. Input
        frame 0 lasts from ``begin_s`` on for one period.
        """
        if not self.segments:
            return None
        frames_hz, spec, card = self.frames_hz, self.spec, self.opened.card
        assert frames_hz is not None
        frame_hz = frames_hz * float(spec.rate)
        start_s = begin_s + float(spec.offset + (1 - 1 / spec.rate) / 2) / frames_hz
        if card is not None:
            return card_segmenter(card, frame_hz, start_s, begin_s)
        labels = tuple(str(number) for number in range(math.prod(spec.shape)))
        plan = self.opened.model.plan
        tensor = plan.outputs[self.output]
        is_softmax = any(node.kind == SOFTMAX.kind and tensor in node.outputs for node in plan.nodes)
        return Segmenter(labels, frame_hz, probabilities=is_softmax, start_s=start_s, not_before_s=begin_s)


def _number(name: str, value: float) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise SignalError(f"{name}={value!r}; give a number")
    return float(value)


def sound_seconds(start_s: float) -> float:
    if not math.isfinite(seconds := _number("start_s", start_s)):
        raise SignalError(f"start_s={start_s!r} is no time: give the seconds at which the signal begins")
    return seconds


def _warn_of_what_is_assumed(card: Card, says_rate: bool, units: str | None) -> None:
    """Of ``units`` an empty string says that nobody knows them."""
    assumed = [] if says_rate else [(f"{card.rate_hz:g} Hz", f"rate_hz={card.rate_hz:g}")]
    if units is None and is_said(card.units):
        assumed.append((card.units, f"units={card.units!r}"))
    if assumed:
        taken, to_say = (" and ".join(words) for words in zip(*assumed, strict=True))
        text = f"the samples are taken for {taken}, as {card.name} asks for: give {to_say}, or what they are"
        warnings.warn(text, UserWarning, stacklevel=4)


def _listed(values: object) -> list[object]:
    """The members of a sequence; of anything else one that is no number."""
    return list(values) if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) else [None]
