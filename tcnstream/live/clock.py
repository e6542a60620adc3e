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
_KEPT_WINDOWS = 600
_LEAST_ARRIVALS = 3
_LEAST_WINDOWS = 20
_STEP_S = 0.1
_FORGOTTEN = 0.999


class SampleClock:
    """Offset and drift of a source against CLOCK_MONOTONIC, and the frames that are missing by it.

    ``lateness_s`` is how late arrivals come at most, of late: where one is all that there is, it tells no better.

    Frames are counted from the first one that arrived: far from 0 a quotient of frames has no microseconds left.
    """

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self.restart()

    def restart(self) -> None:
        """Nothing is known: the next arrival begins anew."""
        self._windows: deque[tuple[float, float]] = deque(maxlen=_KEPT_WINDOWS)
        self._offset_s, self._slope = math.nan, 0.0
        self.lateness_s = 0.0
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

        The rule: the envelope of one window of a second or more lies above that of the one before by more than 2 ms
        and by more than 150 ppm of the time between them.
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
        before, self._before = self._before, (late_s, at_s)
        if before is not None:
            grown_s, apart_s = late_s - before[0], at_s - before[1]
            expected_s = self._slope * apart_s
            if grown_s - expected_s > max(_DEFICIT_S, _DEFICIT_PPM * 1e-6 * apart_s):
                missing = round((grown_s - expected_s) * self.rate_hz)
                if missing > 0:
                    # With the missing frames counted in, the envelope is where it was.
                    self._before = (late_s - missing / self.rate_hz, at_s)
                    return missing
        self._windows.append((at_s, late_s))
        self._fit()
        return 0

    def _fit(self) -> None:
        """Drift: the slope of the windows' least delays, by least squares; the offset puts the line below them all."""
        if not self.knows_drift:
            return
        windows = list(self._windows)
        middle = len(windows) // 2
        mean_s = sum(at for at, _ in windows) / len(windows)
        mean_late = sum(late for _, late in windows) / len(windows)
        spread = sum((at - mean_s) ** 2 for at, _ in windows)
        slope = sum((at - mean_s) * (late - mean_late) for at, late in windows) / spread
        halves = [min(late - slope * at for at, late in half) for half in (windows[:middle], windows[middle:])]
        self._slope = slope
        frame_s = windows[-1][0] - windows[-1][1]
        self._offset_s = min(halves) + slope * windows[-1][0] - slope * frame_s


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
