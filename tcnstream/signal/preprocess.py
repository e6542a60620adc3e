"""Everything between a recording and a model: units, rate, the card's filters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.filters import Filter, FilterChain
from tcnstream.signal.rate import RateConverter
from tcnstream.signal.sources.base import Chunk, Gap, Piece, Recording, listed
from tcnstream.signal.units import FULL_SCALE, is_said, known, unit_factor

Frames = npt.NDArray[np.float32]


class Preprocessor:
    """Samples of a source -> input frames of a model, as a stream: times ``factor``, at another rate, filtered.

    ``from_hz=None`` or ``to_hz=None`` leaves the rate alone. A chunk is (n, channels) float32; what comes out is the
    same however the samples are cut. ``frames_hz`` is the rate of the frames, None if the source does not say its own;
    ``waits_s`` the signal that its conversion waits for.
    """

    def __init__(
        self,
        channels: int,
        *,
        factor: float = 1.0,
        from_hz: float | None = None,
        to_hz: float | None = None,
        filters: Sequence[Filter] = (),
        low_latency: bool = False,
    ) -> None:
        self.factor = np.float32(factor)
        self._rate: RateConverter | None = None
        if from_hz is not None and to_hz is not None:
            self._rate = RateConverter(from_hz, to_hz, channels, low_latency)
        self.filters = FilterChain(filters, channels)
        self.frames_hz = from_hz if self._rate is None else self._rate.to_hz
        self.waits_s = 0.0 if self._rate is None else self._rate.waits_s
        if self._rate is not None and self._rate.ratio == 1:
            self._rate = None

    def push(self, chunk: Chunk) -> Frames:
        """The frames that ``chunk`` makes possible."""
        scaled = chunk if self.factor == 1 else chunk * self.factor
        return self.filters.push(scaled if self._rate is None else self._rate.push(scaled))

    @property
    def converts_rate(self) -> bool:
        """Whether frames come at another rate than samples; else ``factor`` and ``filters`` are all that is done."""
        return self._rate is not None

    @staticmethod
    def push_together(alike: Sequence[Preprocessor], chunks: Frames) -> Frames | None:
        """``push`` of ``chunks[k]`` (n, channels) into ``alike[k]``, which were made with the same arguments, in one
        call: (lanes, m, channels). None where only one after the other can be pushed; nothing has moved then.
        """
        first = alike[0]
        if first._rate is not None:
            return None
        scaled = chunks if first.factor == 1 else chunks * first.factor
        return FilterChain.push_together([each.filters for each in alike], scaled)

    def flush(self) -> Frames:
        """The signal is over: the frames that were waiting for more of it."""
        if self._rate is None:
            return np.zeros((0, self.filters.channels), np.float32)
        return self.filters.push(self._rate.flush())

    def reset(self) -> None:
        """Back to before the first sample."""
        self.filters.reset()
        if self._rate is not None:
            self._rate.reset()

    def snapshot(self) -> tuple[bytes | None, bytes]:
        """All that the rate's conversion and the filters remember; ``restore`` continues from it, bit for bit."""
        return None if self._rate is None else self._rate.snapshot(), self.filters.snapshot()

    def restore(self, rate: bytes | None, filters: bytes) -> None:
        """Raises TcnStreamError or ValueError for a snapshot that is damaged or of another preprocessing."""
        if (self._rate is None) != (rate is None):
            raise SignalError("this snapshot is of another rate")
        if self._rate is not None and rate is not None:
            self._rate.restore(rate)
        self.filters.restore(filters)


_MOST_HZ = 1e9
_LOUDEST = 16.0
"""Beyond full scale by 24 dB: no headroom of floating-point sound, but numbers of another scale."""


def scale(source: str, units: str, wanted: str, gain: float, better: Sequence[str] = ()) -> float:
    """What a sample of ``source``, which is in ``units``, is multiplied by to be in ``wanted``, ``gain`` included.

    Raises SignalError if there is no such number, or if it would leave nothing of the signal. ``better`` are channels
    that have a unit which would do.
    """
    if gain == 0 or not math.isfinite(gain):
        raise SignalError(f"a gain of {gain:g} leaves nothing of the signal: give another (gain=)")
    factor = unit_factor(units, wanted)
    if factor is None and better:
        raise SignalError(
            f"{source} is in {units} and the model takes {wanted}: choose a channel that is in such a unit with "
            f"channels= ({listed(better)})"
        )
    if factor is None:
        raise SignalError(
            f"{source} is in {units} and the model takes {wanted}: "
            f"convert the recording, or give units={wanted!r} if its header is wrong"
        )
    return factor * gain


def better_channels(recording: Recording, wanted: str) -> list[str]:
    """The channels whose unit can be turned into ``wanted``."""
    named = zip(recording.available, recording.available_units, strict=False)
    return [f"{name} in {unit}" for name, unit in named if is_said(unit) and unit_factor(unit, wanted) is not None]


def too_loud(chunk: Frames, factor: float, units: str) -> str:
    """Why samples cannot be a share of full scale, where a model takes that; empty where nothing is wrong."""
    if known(units) != FULL_SCALE or not len(chunk):
        return ""
    peak = float(np.abs(chunk).max())
    if peak * abs(factor) <= _LOUDEST:
        return ""
    return (
        f"holds a sample of {peak:g}, which is {peak * abs(factor):,.0f} times full scale: say what its numbers are "
        "(units int16, where they are those of 16 bits), or give a gain"
    )


def must_have_a_sound_rate(source: str, rate_hz: float | None) -> None:
    """Raises SignalError for a rate that is none; None is one that is not known."""
    if rate_hz is not None and not 0 < rate_hz <= _MOST_HZ:
        raise SignalError(
            f"{source} cannot have {rate_hz:g} samples a second: give one above 0 and up to {_MOST_HZ:g} (rate_hz=)"
        )


def no_rate(recording: Recording) -> str:
    """The refusal of a recording whose rate is not known, with what it says of its times."""
    remark = f" ({recording.remark})" if recording.remark else ""
    return f"{recording.source} does not say its sample rate{remark}: give it in Hz with rate_hz="


def prepare(
    recording: Recording,
    rate_hz: float | None,
    units: str = "",
    filters: Sequence[Filter] = (),
    *,
    gain: float = 1.0,
) -> Recording:
    """The recording as a model wants it: times ``gain``, in ``units``, at ``rate_hz``, through ``filters``.

    ``rate_hz=None`` keeps the recording's rate, whatever it is. Raises SignalError if a rate is asked for and the
    recording does not know its own, if its rate or the gain makes no sense, or if its unit cannot be turned into
    ``units``.
    """
    must_have_a_sound_rate(recording.source, recording.rate_hz)
    factor = scale(recording.source, recording.units, units, gain, better_channels(recording, units))
    if rate_hz is not None and recording.rate_hz is None:
        raise SignalError(no_rate(recording))
    preprocessor = Preprocessor(
        len(recording.channels), factor=factor, from_hz=recording.rate_hz, to_hz=rate_hz, filters=filters
    )
    frames = recording.frames
    if rate_hz is not None and recording.rate_hz is not None and frames is not None:
        frames = round(frames * rate_hz / recording.rate_hz)

    def chunks() -> Iterator[Piece]:
        for piece in recording.chunks:
            if isinstance(piece, Gap):
                raise SignalError(
                    f"{recording.source} has a gap of {piece.frames:,} frames, and one signal is wanted: "
                    "hold_gaps=True repeats the last value, or give a recording without one"
                )
            if why := too_loud(piece, factor, units):
                raise SignalError(f"{recording.source} {why}")
            yield preprocessor.push(piece)
        yield preprocessor.flush()

    return replace(recording, rate_hz=preprocessor.frames_hz, units=units, frames=frames, chunks=chunks())


def first_seconds(recording: Recording, duration_s: float) -> Recording:
    """The recording up to ``duration_s``. Raises SignalError if that is nothing, or if no rate says how many frames."""
    if not 0 < duration_s < float("inf"):
        raise SignalError(f"{duration_s:g} s of signal are nothing to stream: give more than 0 (duration_s=)")
    must_have_a_sound_rate(recording.source, recording.rate_hz)
    if recording.rate_hz is None:
        raise SignalError(no_rate(recording))
    most = max(1, round(duration_s * recording.rate_hz))

    def chunks() -> Iterator[Piece]:
        left = most
        for piece in recording.chunks:
            if isinstance(piece, Gap):
                yield Gap(min(left, piece.frames))
                left -= piece.frames
            else:
                yield piece[:left]
                left -= len(piece)
            if left <= 0:
                return

    frames = None if recording.frames is None else min(recording.frames, most)
    return replace(recording, frames=frames, chunks=chunks())
