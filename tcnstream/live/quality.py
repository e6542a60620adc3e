"""Whether an ECG is worth believing, two seconds at a time: flat, saturated, too noisy, or good.

* flat: it moves by less than 0.05 mV.
* saturated: a twentieth of the window or more stands at its highest or lowest value, and it moves by 0.5 mV or more.
* noisy: the second difference is that of white noise of 0.1 mV or more (its median is 1.65 times the deviation),
  over neighbouring samples and over those that are whole periods of the mains apart, where hum leaves none.

In the 22 records of MIT-BIH that the models are measured on no window is flat or noisy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Flag: TypeAlias = Literal["good", "flat", "saturated", "noisy"]

WINDOW_S = 2.0
FLAT_MV = 0.05
SATURATED_MV, SATURATED_PART = 0.5, 0.05
NOISE_MV, MEDIAN_OF_SECOND_DIFFERENCE = 0.1, 1.652
MAINS_HZ, LONGEST_LAG_S = (50, 60), 0.05

_MOST_CHANGES = 1000


class _State(msgspec.Struct, array_like=True):
    flag: Flag
    first_frame: int
    pending: bytes
    changes: list[tuple[int, Flag]]


_DECODER = msgspec.msgpack.Decoder(_State)


class Quality:
    """Samples of one lead in, changes of the flag out; ``mv_per_unit`` turns a sample into millivolt."""

    def __init__(self, rate_hz: float, mv_per_unit: float) -> None:
        self._frames, self._factor = max(3, round(WINDOW_S * rate_hz)), mv_per_unit
        self._lags = lags_frames(rate_hz)
        self.reset(0)

    def reset(self, first_frame: int) -> None:
        """The next sample is that frame, and the window begins there."""
        self.flag: Flag = "good"
        self._first_frame = first_frame
        self._parts: list[npt.NDArray[np.float32]] = []
        self._count = 0
        self._changes: deque[tuple[int, Flag]] = deque([(first_frame, self.flag)], _MOST_CHANGES)

    def cut(self, samples: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """The samples that come next, in pieces that end where a window does."""
        ends = range(self._frames - self._count, len(samples), self._frames)
        return [samples[begin:end] for begin, end in pairwise((0, *ends, len(samples)))]

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
            flag = judge(window.astype(np.float64) * self._factor, self._lags)
            if flag != self.flag:
                changes.append((self._first_frame, flag))
                self._changes.append(changes[-1])
            self.flag = flag
            self._first_frame += self._frames
        self._parts, self._count = [pending], len(pending)
        return changes

    def known_at(self, frame: int) -> Flag:
        """The flag of the last window that had ended by then, which later windows change no more."""
        known = [flag for first, flag in self._changes if first + self._frames <= frame]
        return known[-1] if known else "good"

    def between(self, first: int, end: int, known: int) -> Flag:
        """The first flag that is not good from ``first`` up to ``end``, of the windows that had ended by ``known``.

        What later windows say is not asked, for a live stream has not seen them.
        """
        changes = [each for each in self._changes if each[0] + self._frames <= known]
        ends = [*(begin for begin, _ in changes), end][1:]
        here = (f for (begin, f), until in zip(changes, ends, strict=False) if begin < end and until > first)
        return next((flag for flag in here if flag != "good"), "good")

    def forget(self, frame: int) -> None:
        """Nothing before it will be asked for."""
        while len(self._changes) > 1 and self._changes[1][0] + self._frames <= frame:
            self._changes.popleft()

    def snapshot(self) -> bytes:
        pending = np.concatenate([np.zeros(0, np.float32), *self._parts]).astype("<f4").tobytes()
        return msgspec.msgpack.encode(_State(self.flag, self._first_frame, pending, list(self._changes)))

    def restore(self, blob: bytes) -> None:
        state = _DECODER.decode(blob)
        self.flag, self._first_frame = state.flag, state.first_frame
        self._parts = [np.frombuffer(state.pending, "<f4").astype(np.float32)]
        self._count = len(self._parts[0])
        self._changes = deque(state.changes, _MOST_CHANGES)


def lags_frames(rate_hz: float) -> tuple[int, ...]:
    """1, and for each frequency of the mains the distance up to LONGEST_LAG_S that is nearest to whole periods."""
    longest = max(1, round(LONGEST_LAG_S * rate_hz))

    def off(lag: int, hz: int) -> float:
        return abs(lag * hz / rate_hz - round(lag * hz / rate_hz))

    return (1, *(min(range(1, longest + 1), key=lambda lag: off(lag, hz)) for hz in MAINS_HZ))


def judge(window_mv: npt.NDArray[np.float64], lags: Sequence[int]) -> Flag:
    """The flag of one window (n,) in millivolt; ``lags`` are those of its rate."""
    low, high = float(window_mv.min()), float(window_mv.max())
    if high - low < FLAT_MV:
        return "flat"
    at_edge = max(np.count_nonzero(window_mv == low), np.count_nonzero(window_mv == high))
    if high - low >= SATURATED_MV and at_edge >= SATURATED_PART * len(window_mv):
        return "saturated"
    bends = (window_mv[2 * lag :] - 2 * window_mv[lag:-lag] + window_mv[: -2 * lag] for lag in lags)
    least = min(float(np.median(np.abs(bend))) for bend in bends)
    return "noisy" if least > NOISE_MV * MEDIAN_OF_SECOND_DIFFERENCE else "good"
