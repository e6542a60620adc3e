"""From what a person says of a recording to the frames that a model takes, and to those that it gives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import numpy as np
import numpy.typing as npt

from tcnstream.cli.common import Opened, note
from tcnstream.errors import SignalError
from tcnstream.signal.front import prepare
from tcnstream.signal.microphone import PREFIX, open_microphone
from tcnstream.signal.resample import Quality
from tcnstream.signal.sources import WFDB, RawFormat, Recording, open_recording, read_raw
from tcnstream.spec import TensorSpec
from tcnstream.stream import Stream

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """How a person says a recording is to be read; None where the recording says it itself."""

    channel: list[str] | None = None
    rate_hz: float | None = None
    units: str | None = None
    gain: float = 1.0
    raw_format: str | None = None
    raw_channels: int = 1
    hold_gaps: bool = False


def files_of(source: str | None) -> list[Path]:
    """The files that a recording is read from, to be kept from being written over: a WFDB record is several."""
    if source is None or not Path(source).name:
        return []
    path = Path(source)
    return [path, *(path.with_suffix(suffix) for suffix in WFDB if path.suffix.lower() in WFDB)]


def open_live(opened: Opened, source: str, reading: Reading, stop: Callable[[], bool]) -> Recording:
    """The microphone that ``source`` names, until ``stop()``; lost samples are said on standard error."""
    return open_microphone(
        source.removeprefix(PREFIX),
        channels=_wanted(opened, reading),
        rate_hz=reading.rate_hz,
        preferred_hz=opened.card.rate_hz if opened.card else None,
        stop=stop,
        overflowed=lambda: note("overflow: this computer was too slow for the microphone, and samples were lost"),
    )


def _wanted(opened: Opened, reading: Reading) -> list[str] | int:
    """The channels to read: chosen ones, or as many as the model takes."""
    if len(opened.model.inputs) != 1:
        raise SignalError(
            f"{opened.path.name} has {len(opened.model.inputs)} inputs and a recording is one signal: "
            "feed it from Python, with one chunk per input to Stream.push"
        )
    wanted: list[str] | int = reading.channel or opened.channels
    if isinstance(wanted, list) and len(wanted) != opened.channels:
        raise SignalError(
            f"{opened.path.name} takes {opened.channels} channel(s) and {len(wanted)} are chosen: "
            "give --channel as many times"
        )
    return wanted


def open_input(opened: Opened, source: str, reading: Reading) -> Recording:
    """The recording as it is, with the channels that the model takes."""
    wanted = _wanted(opened, reading)
    kind = reading.raw_format
    if kind is not None and kind not in get_args(RawFormat):
        raise SignalError(f"there is no raw format {kind!r}: choose one of {', '.join(get_args(RawFormat))}")
    raw = cast(RawFormat | None, kind)
    count, hold = reading.raw_channels, reading.hold_gaps
    if source == "-":
        recording = read_raw(sys.stdin.buffer, raw or "f32le", wanted, count, hold_gaps=hold)
    else:
        recording = open_recording(source, channels=wanted, raw_format=raw, raw_channels=count, hold_gaps=hold)
    return replace(
        recording,
        rate_hz=recording.rate_hz if reading.rate_hz is None else reading.rate_hz,
        units=recording.units if reading.units is None else reading.units,
    )


def prepare_for(opened: Opened, recording: Recording, gain: float, low_latency: bool = False) -> Recording:
    """The recording as the model's card asks for it; as it is, but for the gain, without a card."""
    quality: Quality = "QQ" if low_latency else "HQ"
    card = opened.card
    if card is None:
        return prepare(recording, None, recording.units, gain=gain)
    return prepare(recording, card.rate_hz, card.units, card.preprocessing, quality, gain)


def whole(opened: Opened, source: str, reading: Reading) -> Frames:
    """All input frames (n, *frame shape) of a recording, as the model takes them."""
    chunks = list(prepare_for(opened, open_input(opened, source, reading), reading.gain).chunks)
    frames = np.concatenate([np.zeros((0, opened.channels), np.float32), *chunks])
    return frames.reshape(len(frames), *opened.model.inputs[0].shape)


def calibration_frames(opened: Opened, source: str | None, reading: Reading, time_pooling: str | None) -> Frames | None:
    """What ``--time-pooling frozen`` measures on (None: nothing is given); an error where nothing would ask for it."""
    if source is None:
        return None
    if time_pooling != "frozen":
        raise SignalError("--calibration is for --time-pooling frozen alone: choose that, or leave it out")
    return whole(opened, source, reading)


def output_frames(
    stream: Stream, recording: Recording, spec: TensorSpec, advance: Callable[[int], None]
) -> Iterator[Frames]:
    """Real numbers (m, *frame shape) of one output; the last piece is the flushed tail.

    ``advance`` is told of every chunk's input frames.
    """

    def real(answer: npt.NDArray[np.generic] | tuple[npt.NDArray[np.generic], ...]) -> Frames:
        return spec.dequantize(answer[which] if isinstance(answer, tuple) else answer)

    shape, which = stream.inputs[0].shape, stream.outputs.index(spec)
    for chunk in recording.chunks:
        yield real(stream.push(chunk.reshape(len(chunk), *shape)))
        advance(len(chunk))
    yield real(stream.flush())


def choose_output(opened: Opened, head: str | None) -> TensorSpec:
    """The model's output of that name or number; the first one if nothing is said."""
    specs = opened.model.outputs
    for number, spec in enumerate(specs):
        if head in (None, spec.name, str(number)):
            return spec
    numbered = ", ".join(f"{number} ({spec.name})" for number, spec in enumerate(specs))
    raise SignalError(f"{opened.path.name} has no output {head!r}: choose one of {numbered} with --head")
