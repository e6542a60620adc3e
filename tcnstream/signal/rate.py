"""Sample-rate conversion of a stream, by polyphase filters."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import msgspec
import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.filters.signal_filter import SignalFilter

Frames = npt.NDArray[np.float32]

ZERO_CROSSINGS = 80
BETA = 12.0
"""A Kaiser window of about 118 dB; with these crossings its edge is a tenth of the lower rate's band."""
MOST_STEPS = 1 << 12
"""Of a ratio's numerator and denominator: the kernel has 160 weights for each, 2.6 MB at most."""


class RateConverter:
    """Turns chunks at ``from_hz`` into chunks at ``to_hz``; output frame k stands for the time ``k / to_hz``.

    The filter is a windowed sinc of linear phase, centred on its time: nothing is shifted, frames only come later. It
    passes up to 0.9 of what the lower rate can hold within 0.001 dB, and holds back what would alias by more than
    110 dB; from 0.9 on it falls. It waits for ``ZERO_CROSSINGS`` periods of the lower rate: 0.32 s at 360 -> 250 Hz.
    ``low_latency`` interpolates by a cubic through four samples instead: two samples of delay, 6 ms at 360 Hz, at the
    price of aliasing. Equal rates pass unchanged and at once.

    Before its first sample and after its last one the signal is held, so that an offset makes no step at the edges.

    Rates are decimal numbers, and their ratio is kept exactly where its numerator and denominator are ``MOST_STEPS``
    at most. Else the nearest such ratio is taken, at most 1.3e-4 off, and ``to_hz`` says the rate that comes out: a
    model sees a rate that is a little off, but times stay right over days. Raises SignalError for rates that are none
    or lie further apart than that.
    """

    def __init__(self, from_hz: float, to_hz: float, channels: int = 1, low_latency: bool = False) -> None:
        for rate_hz in (from_hz, to_hz):
            if not 0 < rate_hz < float("inf"):
                raise SignalError(f"a sample rate of {rate_hz:g} Hz cannot be converted: give one above 0")
        self.ratio = _ratio(from_hz, to_hz)
        self.from_hz = float(from_hz)
        self.to_hz = float(Fraction(str(self.from_hz)) * self.ratio)
        self.channels = channels
        self._filter: SignalFilter | None = None
        if self.ratio != 1:
            self._filter = _filter(self.ratio, channels, low_latency).another()
        self.reset()

    @property
    def waits_s(self) -> float:
        """Seconds of signal that a frame waits for, once the signal runs."""
        return 0.0 if self._filter is None else self._filter.delay / self.from_hz

    @property
    def delay_s(self) -> float:
        """Seconds of signal that came in and have not gone out yet."""
        return max(0.0, self._frames_in / self.from_hz - self._frames_out / self.to_hz)

    def reset(self) -> None:
        """Back to before the first sample."""
        self._frames_in = self._frames_out = 0
        self._first = self._last = np.zeros(self.channels, np.float32)
        if self._filter is not None:
            self._filter.reset()

    def push(self, chunk: Frames) -> Frames:
        """``chunk`` (n, channels) float32 -> (m, channels) float32, m from 0 on."""
        if self._filter is None:
            self._frames_in += len(chunk)
            return self._counted(chunk)
        if len(chunk) and not self._frames_in:
            self._first = chunk[0].copy()
        if len(chunk):
            self._last = chunk[-1].copy()
        self._frames_in += len(chunk)
        # The filter's zeros before the signal are the first sample, held.
        return self._counted(self._filter.push(chunk - self._first) + self._first)

    def flush(self) -> Frames:
        """The frames that were waiting for more signal. Ends the stream."""
        if self._filter is None or not self._frames_in:
            return np.zeros((0, self.channels), np.float32)
        held = np.broadcast_to(self._last - self._first, (self._filter.delay + 1, self.channels))
        missing = math.ceil(self._frames_in * self.ratio) - self._frames_out
        return self._counted(self._filter.push(held)[:missing] + self._first)

    def snapshot(self) -> bytes:
        """All that the converter remembers; ``restore`` continues from it, bit for bit."""
        state = _State(
            self._frames_in,
            self._frames_out,
            self._first.tobytes(),
            self._last.tobytes(),
            b"" if self._filter is None else self._filter.snapshot(),
        )
        return msgspec.msgpack.encode(state)

    def restore(self, blob: bytes) -> None:
        """Raises StreamError or ValueError for a snapshot that is damaged or of another converter."""
        state = _DECODER.decode(blob)
        first, last = (_numbers(held, self.channels) for held in (state.first, state.last))
        if self._filter is not None:
            self._filter.restore(state.filter)
        self._frames_in, self._frames_out = state.frames_in, state.frames_out
        self._first, self._last = first, last

    def _counted(self, frames: Frames) -> Frames:
        self._frames_out += len(frames)
        return frames


class _State(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    frames_in: int
    frames_out: int
    first: bytes
    last: bytes
    filter: bytes


_DECODER = msgspec.msgpack.Decoder(_State)


def _numbers(held: bytes, channels: int) -> Frames:
    return np.frombuffer(held, np.float32).reshape(channels).copy()


def _ratio(from_hz: float, to_hz: float) -> Fraction:
    """``to_hz / from_hz``, or the nearest fraction that a filter can be made for."""
    exact = Fraction(str(float(to_hz))) / Fraction(str(float(from_hz)))
    if not Fraction(1, MOST_STEPS) <= exact <= MOST_STEPS:
        raise SignalError(
            f"{from_hz:g} Hz and {to_hz:g} Hz lie more than {MOST_STEPS:,} times apart: thin the recording out before"
        )
    if exact > 1:
        return 1 / (1 / exact).limit_denominator(MOST_STEPS)
    return exact.limit_denominator(MOST_STEPS)


@functools.lru_cache(maxsize=4)
def _filter(ratio: Fraction, channels: int, low_latency: bool) -> SignalFilter:
    """Compiled once for all converters of a kind."""
    up, down = ratio.numerator, ratio.denominator
    kernel = _cubic(up) if low_latency else _windowed_sinc(up, down)
    return SignalFilter(kernel, channels=channels, strides_up=up, strides_down=down)


def _windowed_sinc(up: int, down: int) -> npt.NDArray[np.float64]:
    """Low-pass at 0.95 of the lower rate's band, as many weights as cross zero ``ZERO_CROSSINGS`` times a side."""
    period = max(up, down)
    half = period * ZERO_CROSSINGS
    at = np.arange(-half, half + 1) / period
    kernel = np.sinc(0.95 * at) * np.kaiser(2 * half + 1, BETA)
    return _level(kernel, up)


def _cubic(up: int) -> npt.NDArray[np.float64]:
    """Lagrange's cubic through the two samples on either side, at each of ``up`` places between samples."""
    at = np.abs(np.arange(-2 * up + 1, 2 * up)) / up
    near = (1 - at) * (2 - at) * (1 + at) / 2
    far = (1 - at) * (2 - at) * (3 - at) / 6
    return _level(np.where(at < 1, near, far), up)


def _level(kernel: npt.NDArray[np.float64], up: int) -> npt.NDArray[np.float64]:
    """Every phase with a gain of 1 at 0 Hz: a constant stays one."""
    phase = np.arange(len(kernel)) % up
    levelled: npt.NDArray[np.float64] = kernel / np.bincount(phase, weights=kernel)[phase]
    return levelled
