"""Events: what a stream says to the world, and the line of JSON that says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import msgspec

EventType: TypeAlias = Literal["segment", "beat", "gap", "clock", "status"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that is final. ``stream`` and ``seq`` are its identity, for ever.

    ``frame`` is where it begins, counted on the source since the stream's first sample; ``start_s`` and ``end_s`` are
    seconds of that clock, ``start_utc`` the time of day (None: the source does not say it). ``more`` is what this type
    of event has beside.
    """

    type: EventType
    stream: str
    epoch: int
    seq: int
    frame: int
    start_s: float
    end_s: float
    label: str
    probability: float
    start_utc: str | None
    more: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """As a program reads it: times to a tenth of a millisecond."""
        return {
            "type": self.type,
            "stream": self.stream,
            "epoch": self.epoch,
            "seq": self.seq,
            "frame": self.frame,
            "start_s": round(self.start_s, 4),
            "end_s": round(self.end_s, 4),
            "label": self.label,
            "probability": round(self.probability, 4),
            "start_utc": self.start_utc,
            **self.more,
        }

    def json(self) -> bytes:
        """One line, without its end."""
        return msgspec.json.encode(self.fields())
