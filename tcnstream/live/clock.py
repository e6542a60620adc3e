"""Clocks: what monotonic time a sample was taken at, and what time of day that was.

A sample clock is a count of frames and a nominal rate. How it lies on CLOCK_MONOTONIC is read from arrivals: a sample
can come late, by any delay, but never early, so that the lower envelope of (arrival - frame / rate) is the clock, its
slope the drift. Sample times are never bent to it; only the time of day that is reported is corrected.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

_WINDOW_S = 1.0
_DEFICIT_S = 2e-3
_DEFICIT_PPM = 150.0
_PLAIN_DEFICIT_S = 0.02
"""Of a source without a crystal of its own: what its driver or its line delays is no less than that."""
_SURE_S, _SURE_WINDOWS = 0.1, 4
"""A machine that is busy delays all arrivals of a second, too, but for little, and not for four seconds."""
_KEPT_WINDOWS = 600
_LEAST_ARRIVALS = 3
_LEAST_WINDOWS = 20
_STEP_S = 0.1
_FORGOTTEN = 0.999


class SampleClock:
    """Offset and drift of a source against CLOCK_MONOTONIC, and the frames that are missing by it.

    ``lateness_s`` is how late arrivals come at most, of late: where one is all that there is, it tells no better.
    ``deficit_tolerance_s`` is how wrong the last count of missing frames may be: by what the envelope wavered.
    ``has_crystal`` says that the rate is right within 150 ppm; else nothing is missing until the drift is known.

    Frames are counted from the first one that arrived: far from 0 a quotient of frames has no microseconds left.
    """

    def __init__(self, rate_hz: float, has_crystal: bool = True) -> None:
        self.rate_hz, self._has_crystal = rate_hz, has_crystal
        self.restart()

    def restart(self) -> None:
        """Nothing is known: the next arrival begins anew."""
        self._windows: deque[tuple[float, float]] = deque(maxlen=_KEPT_WINDOWS)
        self._offset_s, self._slope = math.nan, 0.0
        self.lateness_s = 0.0
        self.deficit_tolerance_s = _DEFICIT_S
        self._wavered_s = 0.0
        self._doubts: list[float] = []
        self._origin_frame = 0
        self._least_late_s = math.inf
        self._begin_window(math.nan)
        self._before: tuple[float, float] | None = None

    @property
    def known(self) -> bool:
        """Whether an arrival has been seen."""
        return not math.isnan(self._offset_s)

    @property
    def knows_drift(self) -> bool:
        """Whether arrivals have told how fast the source's clock runs."""
        return len(self._windows) >= _LEAST_WINDOWS

    @property
    def drift_ppm(self) -> float:
        """How much slower than nominal the source's clock runs, in parts per million."""
        return self._slope * 1e6

    def monotonic_s(self, frame: int) -> float:
        """When a frame was taken, as well as arrivals tell."""
        return self._offset_s + (frame - self._origin_frame) / self.rate_hz * (1 + self._slope)

    def frames_since(self, frame: int, monotonic_s: float) -> float:
        """How many frames after that one are taken by that time."""
        return (monotonic_s - self._offset_s) * self.rate_hz / (1 + self._slope) - (frame - self._origin_frame)

    def arrived(self, end_frame: int, monotonic_s: float, fresh: bool = True) -> int:
        """All frames before ``end_frame`` are here. Returns how many must be missing by the deficit rule, mostly 0.

        The rule: the envelope of a window of a second or more lies above that of the last sound one by more than 2 ms
        and by more than 150 ppm of the time between them, and so do the three that follow; the least counts. What is
        more than 100 ms beyond what arrivals are late by of late is said at once. Without a crystal it is 20 ms in
        place of 2, and more than the envelope wavered by.
        """
        if not self.known:
            self._origin_frame, self._offset_s = end_frame, monotonic_s
        signal_s = (end_frame - self._origin_frame) / self.rate_hz
        late_s = monotonic_s - signal_s
        if not fresh:
            return 0
        self._offset_s = min(self._offset_s, late_s - signal_s * self._slope)
        self.lateness_s = max(self.lateness_s * _FORGOTTEN, late_s - signal_s * self._slope - self._offset_s)
        if math.isnan(self._window_began_s):
            self._begin_window(monotonic_s)
        if late_s < self._least_late_s:
            self._least_late_s, self._least_at_s = late_s, monotonic_s
        self._arrivals += 1
        if monotonic_s - self._window_began_s < _WINDOW_S or self._arrivals < _LEAST_ARRIVALS:
            return 0
        missing = self._end_window()
        self._begin_window(monotonic_s)
        return missing

    def _begin_window(self, monotonic_s: float) -> None:
        self._window_began_s, self._arrivals = monotonic_s, 0
        self._least_late_s, self._least_at_s = math.inf, math.nan

    def _end_window(self) -> int:
        late_s, at_s = self._least_late_s, self._least_at_s
        if self._before is not None and (self._has_crystal or self.knows_drift):
            apart_s = at_s - self._before[1]
            grown_s = late_s - self._before[0] - self._slope * (apart_s - late_s + self._before[0])
            least_s = _DEFICIT_S if self._has_crystal else max(_PLAIN_DEFICIT_S, self._wavered_s)
            if grown_s > max(least_s, _DEFICIT_PPM * 1e-6 * apart_s):
                self._doubts.append(grown_s)
                return self._deficit(late_s - grown_s, at_s)
            self._wavered_s = max(self._wavered_s * _FORGOTTEN, abs(grown_s), *self._doubts, 0.0)
            self._doubts = []
        self._before = (late_s, at_s)
        self._windows.append((at_s, late_s))
        self._fit()
        return 0

    def _deficit(self, usual_s: float, at_s: float) -> int:
        """The frames that are missing for good, once that is sure; ``usual_s`` is where the envelope was without."""
        doubts = self._doubts
        missing_s = min(doubts)
        if len(doubts) < _SURE_WINDOWS:
            # What arrivals may be late by is found out by the windows to come.
            missing_s = doubts[-1] - self._wavered_s
            if missing_s < _SURE_S:
                return 0
            doubts = doubts[-1:]
        missing = round(missing_s * self.rate_hz)
        self.deficit_tolerance_s = max(_DEFICIT_S, self._wavered_s, max(doubts) - min(doubts))
        self._doubts = []
        # With the missing frames counted in, the envelope is where it was; what is left over shows in what follows.
        self._before = (usual_s, at_s)
        return missing

    def _fit(self) -> None:
        """Drift: the slope of the windows' least delays over the signal's time, by least squares; the offset puts the
        line below them all.
        """
        if not self.knows_drift:
            return
        windows = [(at - late, late) for at, late in self._windows]
        mean_s = sum(signal for signal, _ in windows) / len(windows)
        mean_late = sum(late for _, late in windows) / len(windows)
        spread = sum((signal - mean_s) ** 2 for signal, _ in windows)
        self._slope = sum((signal - mean_s) * (late - mean_late) for signal, late in windows) / spread
        self._offset_s = min(late - self._slope * signal for signal, late in windows)


class WallClock:
    """The time of day for monotonic times; ``offset_s`` is looked up again by those who ask for a step."""

    def __init__(self, offset_s: Callable[[], float] | None = None) -> None:
        self._look = offset_s or _wall_offset_s
        self._offset_s = self._look()
        self._seen: dict[str, float] = {}
        self._begun_s = self._offset_s
        self.synchronised = system_clock_is_set()

    def step_for(self, who: str) -> float:
        """By how much the time of day was set since ``who`` last asked; 0 while it only drifts."""
        now_s = self._offset_s = self._look()
        before_s, self._seen[who] = self._seen.get(who, self._begun_s), now_s
        self.synchronised = system_clock_is_set()
        return now_s - before_s if abs(now_s - before_s) > _STEP_S else 0.0

    def utc(self, monotonic_s: float) -> str:
        """ISO 8601 with milliseconds."""
        return iso(monotonic_s + self._offset_s)


def iso(unix_s: float) -> str:
    """2026-01-31T12:00:00.000Z"""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _wall_offset_s() -> float:
    before, wall, after = time.monotonic(), time.time(), time.monotonic()
    return wall - (before + after) / 2


def system_clock_is_set() -> bool:
    """Whether the kernel says that something keeps the time of day right; where it does not tell, it is believed."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(512)  # struct timex with modes = 0 asks and changes nothing
        return bool(libc.adjtimex(buffer) not in (5, -1))
    except (OSError, AttributeError):
        return True
