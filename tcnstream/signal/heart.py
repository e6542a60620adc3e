"""Heart rate from QRS segments."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median

from tcnstream.signal.segments import Segment


class HeartRate:
    """Beats per minute: 60 s over the median of the last ``beats`` intervals between middles of QRS complexes.

    An interval outside 0.2 .. 3 s (300 .. 20 beats per minute) is a missed or a doubled beat and not counted, nor is
    one from or to a QRS that the model takes for noise.
    """

    def __init__(self, label: str = "qrs", beats: int = 8) -> None:
        self.label = label
        self._last_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=beats)

    def push(self, segments: Iterable[Segment]) -> float | None:
        """Takes segments of any label, in order; returns the rate, None before the first interval."""
        for segment in segments:
            if segment.label.lower() != self.label:
                continue
            if segment.is_noise:
                self._last_s = None
                continue
            middle_s = (segment.start_s + segment.end_s) / 2
            if self._last_s is not None and 0.2 <= middle_s - self._last_s <= 3.0:
                self._intervals_s.append(middle_s - self._last_s)
            self._last_s = middle_s
        return 60.0 / median(self._intervals_s) if self._intervals_s else None
