"""Heart beats from the segments of an ECG: rhythm and intervals.

A beat is a QRS complex with the P wave before it and the T wave behind it. It is final when the next QRS, or the end
of the stretch, is there. Intervals are in milliseconds. QT is corrected for the heart rate as Bazett (1920), QT /
sqrt(RR), and Fridericia (1920), QT / cbrt(RR), have it, RR in seconds, the one that ends with this beat. PR is from the
beginning of P to the beginning of the QRS. Where the model says of a QRS that the signal is too noisy for it, there is
no beat, and what follows has none before it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tcnstream.live.events import EventType
from tcnstream.signal.segments import Segment

_LONGEST_PR_S = 0.4
_LONGEST_QT_S = 0.8
PAUSE_S = 2.0
"""An RR interval from here on is a pause."""

Derived = tuple[EventType, Segment, dict[str, Any]]
_Wave = tuple[float, float, float, float | None]
"""start_s, end_s, probability, ventricular"""


class _State(msgspec.Struct, array_like=True):
    before: _Wave | None
    qrs: _Wave | None
    p: _Wave | None
    next_p: _Wave | None
    t: _Wave | None


_DECODER = msgspec.msgpack.Decoder(_State)


class Beats:
    """Segments in, beats out; gives none where the model has no label ``qrs``."""

    def __init__(self, active: bool) -> None:
        self._active = active
        self.reset()

    @classmethod
    def for_labels(cls, labels: tuple[str, ...]) -> Beats:
        return cls("qrs" in labels)

    def reset(self) -> None:
        self._state = _State(None, None, None, None, None)

    def take(self, segment: Segment) -> list[Derived]:
        """The beat that a segment makes final, if any."""
        if not self._active:
            return []
        state, wave = self._state, _wave(segment)
        if segment.label == "p":
            state.next_p = wave
        elif segment.label == "t" and state.qrs is not None and state.t is None:
            state.t = wave
        elif segment.label == "qrs" and segment.is_noise:
            return self.flush()
        elif segment.label == "qrs":
            found = self._beat()
            self._state = _State(state.qrs, wave, state.next_p, None, None)
            return found
        return []

    def flush(self) -> list[Derived]:
        """The stretch is over; what follows has no beat before it."""
        found = self._beat()
        self.reset()
        return found

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self._state)

    def restore(self, blob: bytes) -> None:
        self._state = _DECODER.decode(blob)

    def _beat(self) -> list[Derived]:
        state = self._state
        if state.qrs is None:
            return []
        start_s, end_s, probability, ventricular = state.qrs
        more: dict[str, Any] = {"qrs_ms": _ms(end_s - start_s)}
        if state.p is not None and 0 < start_s - state.p[0] <= _LONGEST_PR_S:
            more["pr_ms"] = _ms(start_s - state.p[0])
        rr_s = None if state.before is None else start_s - state.before[0]
        if rr_s is not None:
            more |= {"rr_ms": _ms(rr_s), "rate_bpm": round(60 / rr_s, 1)}
        if state.t is not None and state.t[1] - start_s <= _LONGEST_QT_S:
            qt_s = state.t[1] - start_s
            more["qt_ms"] = _ms(qt_s)
            if rr_s is not None:
                more |= {"qtc_bazett_ms": _ms(qt_s / rr_s**0.5), "qtc_fridericia_ms": _ms(qt_s / rr_s ** (1 / 3))}
        if rr_s is not None and rr_s >= PAUSE_S:
            more["pause"] = True
        if ventricular is not None:
            more["ventricular"] = round(ventricular, 4)
        return [("beat", Segment(start_s, end_s, "beat", probability), more)]


def _wave(segment: Segment) -> _Wave:
    return segment.start_s, segment.end_s, segment.probability, segment.ventricular


def _ms(seconds: float) -> float:
    """To a tenth; whole ones without a point, which saves a card a megabyte a day."""
    ms = round(seconds * 1000, 1)
    return int(ms) if ms == int(ms) else ms
