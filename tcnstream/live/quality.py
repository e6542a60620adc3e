"""Whether an ECG is worth believing, two seconds at a time: flat, saturated, too noisy, or good.

* flat: it moves by less than 0.05 mV.
* saturated: a twentieth of the window or more stands at its highest or lowest value, and it moves by 0.5 mV or more.
* noisy: the second difference is that of white noise of 0.1 mV or more (its median is 1.65 times the deviation).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Flag: TypeAlias = Literal["good", "flat", "saturated", "noisy"]

WINDOW_S = 2.0
FLAT_MV = 0.05
SATURATED_MV, SATURATED_PART = 0.5, 0.05
NOISE_MV, MEDIAN_OF_SECOND_DIFFERENCE = 0.1, 1.652


class _State(msgspec.Struct, array_like=True):
    flag: Flag
    first_frame: int
    pending: bytes


class Quality:
    """Samples of one lead in, changes of the flag out; ``mv_per_unit`` turns a sample into millivolt."""

    def __init__(self, rate_hz: float, mv_per_unit: float) -> None:
        self._frames, self._factor = max(3, round(WINDOW_S * rate_hz)), mv_per_unit
        self.reset(0)

    def reset(self, first_frame: int) -> None:
        """The next sample is that frame, and the window begins there."""
        self.flag: Flag = "good"
        self._first_frame = first_frame
        self._parts: list[npt.NDArray[np.float32]] = []
        self._count = 0

    def push(self, samples: npt.NDArray[np.float32]) -> list[tuple[int, Flag]]:
        """(n,) samples -> (first frame of a window, its flag) wherever that is another one than before."""
        self._parts.append(samples)
        self._count += len(samples)
        if self._count < self._frames:
            return []
        pending = np.concatenate(self._parts)
        changes: list[tuple[int, Flag]] = []
        while len(pending) >= self._frames:
            window, pending = pending[: self._frames], pending[self._frames :]
            flag = judge(window.astype(np.float64) * self._factor)
            if flag != self.flag:
                changes.append((self._first_frame, flag))
            self.flag = flag
            self._first_frame += self._frames
        self._parts, self._count = [pending], len(pending)
        return changes

    def snapshot(self) -> bytes:
        pending = np.concatenate([np.zeros(0, np.float32), *self._parts]).astype("<f4").tobytes()
        return msgspec.msgpack.encode(_State(self.flag, self._first_frame, pending))

    def restore(self, blob: bytes) -> None:
        state = msgspec.msgpack.decode(blob, type=_State)
        self.flag, self._first_frame = state.flag, state.first_frame
        self._parts = [np.frombuffer(state.pending, "<f4").astype(np.float32)]
        self._count = len(self._parts[0])


def judge(window_mv: npt.NDArray[np.float64]) -> Flag:
    """The flag of one window (n,) in millivolt."""
    low, high = float(window_mv.min()), float(window_mv.max())
    if high - low < FLAT_MV:
        return "flat"
    at_edge = max(np.count_nonzero(window_mv == low), np.count_nonzero(window_mv == high))
    if high - low >= SATURATED_MV and at_edge >= SATURATED_PART * len(window_mv):
        return "saturated"
    bends = float(np.median(np.abs(np.diff(window_mv, 2))))
    return "noisy" if bends > NOISE_MV * MEDIAN_OF_SECOND_DIFFERENCE else "good"
