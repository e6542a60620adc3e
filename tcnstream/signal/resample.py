"""Sample-rate conversion of a stream, by soxr."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from tcnstream.errors import SignalError

Quality: TypeAlias = Literal["QQ", "LQ", "MQ", "HQ", "VHQ"]


class Resampler:
    """Turns chunks at ``from_hz`` into chunks at ``to_hz``; output frame k stands for the time ``k / to_hz``.

    The filters of soxr are of linear phase, and soxr drops their group delay from the front: nothing is shifted in
    time, frames only come later. How much later depends on ``quality``: at 360 -> 250 Hz the filters of ``"HQ"`` wait
    for 2.4 s of signal, the cubic interpolation of ``"QQ"`` for 6 ms, at the price of aliasing. ``delay_s`` tells what
    is held back at the moment. Equal rates pass unchanged and at once.

    A conversion cannot be carried to another process: soxr does not give its state away.
    """

    def __init__(self, from_hz: float, to_hz: float, channels: int = 1, quality: Quality = "HQ") -> None:
        for rate_hz in (from_hz, to_hz):
            if not 0 < rate_hz < float("inf"):
                raise SignalError(f"a sample rate of {rate_hz:g} Hz cannot be converted: give one above 0 (--rate)")
        self.from_hz, self.to_hz = float(from_hz), float(to_hz)
        self.channels = channels
        self._frames_in = self._frames_out = 0
        self._soxr = None
        if self.from_hz != self.to_hz:
            self._soxr = soxr.ResampleStream(self.from_hz, self.to_hz, channels, dtype="float32", quality=quality)

    @property
    def delay_s(self) -> float:
        """Seconds of signal that came in and have not gone out yet."""
        return max(0.0, self._frames_in / self.from_hz - self._frames_out / self.to_hz)

    def push(self, chunk: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """``chunk`` (n, channels) float32 -> (m, channels) float32, m from 0 on."""
        return self._convert(chunk, last=False)

    def flush(self) -> npt.NDArray[np.float32]:
        """The frames that were waiting for more signal. Ends the stream."""
        return self._convert(np.zeros((0, self.channels), np.float32), last=True)

    def _convert(self, chunk: npt.NDArray[np.float32], last: bool) -> npt.NDArray[np.float32]:
        converted = chunk
        if self._soxr is not None:
            converted = np.asarray(self._soxr.resample_chunk(np.ascontiguousarray(chunk), last=last))
        self._frames_in += len(chunk)
        self._frames_out += len(converted)
        return converted
