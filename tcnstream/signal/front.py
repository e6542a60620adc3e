"""Everything between a recording and a model: units, rate, preprocessing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tcnstream.errors import SignalError
from tcnstream.signal.condition import Conditioner, Step
from tcnstream.signal.resample import Quality, Resampler
from tcnstream.signal.sources import Chunk, Recording, unit_factor


def prepare(
    recording: Recording,
    rate_hz: float | None,
    units: str = "",
    steps: Sequence[Step] = (),
    quality: Quality = "HQ",
    gain: float = 1.0,
) -> Recording:
    """The recording as a model wants it: times ``gain``, in ``units``, at ``rate_hz``, through ``steps``.

    ``rate_hz=None`` keeps the recording's rate, whatever it is. Raises SignalError if a rate is asked for and the
    recording does not know its own, if its rate or the gain makes no sense, or if its unit cannot be turned into
    ``units``.
    """
    _must_have_a_sound_rate(recording)
    if gain == 0 or not math.isfinite(gain):
        raise SignalError(f"a gain of {gain:g} leaves nothing of the signal: give another (--gain)")
    factor = unit_factor(recording.units, units)
    if factor is None:
        raise SignalError(
            f"{recording.source} is in {recording.units} and the model takes {units}: "
            f"convert the recording, or give --units {units} if its header is wrong"
        )
    if rate_hz is not None and recording.rate_hz is None:
        raise SignalError(f"{recording.source} does not say its sample rate: give it in Hz with --rate")
    frames = recording.frames
    if rate_hz is not None and recording.rate_hz is not None and frames is not None:
        frames = round(frames * rate_hz / recording.rate_hz)
    chunks = _chunks(recording, rate_hz, np.float32(factor * gain), steps, quality)
    return replace(recording, rate_hz=rate_hz or recording.rate_hz, units=units, frames=frames, chunks=chunks)


def first_seconds(recording: Recording, duration_s: float) -> Recording:
    """The recording up to ``duration_s``. Raises SignalError if that is nothing, or if no rate says how many frames."""
    if not 0 < duration_s < float("inf"):
        raise SignalError(f"{duration_s:g} s of signal are nothing to stream: give more than 0 (--duration)")
    _must_have_a_sound_rate(recording)
    if recording.rate_hz is None:
        raise SignalError(f"{recording.source} does not say its sample rate: give it in Hz with --rate")
    most = max(1, round(duration_s * recording.rate_hz))

    def chunks() -> Iterator[Chunk]:
        left = most
        for chunk in recording.chunks:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    frames = None if recording.frames is None else min(recording.frames, most)
    return replace(recording, frames=frames, chunks=chunks())


def _must_have_a_sound_rate(recording: Recording) -> None:
    if recording.rate_hz is not None and not 0 < recording.rate_hz < math.inf:
        raise SignalError(
            f"{recording.source} cannot have {recording.rate_hz:g} samples a second: give one above 0 (--rate)"
        )


def _chunks(
    recording: Recording, rate_hz: float | None, factor: np.float32, steps: Sequence[Step], quality: Quality
) -> Iterator[Chunk]:
    channels = len(recording.channels)
    conditioner = Conditioner(steps, channels)
    if rate_hz is None or recording.rate_hz is None:
        for chunk in recording.chunks:
            yield conditioner.push(chunk * factor)
        return
    resampler = Resampler(recording.rate_hz, rate_hz, channels, quality)
    for chunk in recording.chunks:
        yield conditioner.push(resampler.push(chunk * factor))
    yield conditioner.push(resampler.flush())
