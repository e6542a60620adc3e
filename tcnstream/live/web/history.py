"""What the page shows of the past: five minutes of each stream, there for any viewer at once.

It is the only subscriber of the hub, whoever looks. ``collect`` is called some times a second by the thread of the
server: what it does takes no time of inference.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from tcnstream.live.events import Event
from tcnstream.live.sinks.base import SampleBlock
from tcnstream.live.told import StreamFacts, Told
from tcnstream.live.web.message import FACTS, json_message
from tcnstream.live.web.trace import HISTORY_S, Trace

FACTS_S = 1.0
_MOST_ITEMS = 16_384
_MOST_EVENTS = 20_000
_EVENTS_AT_ONCE = 500
_HEART_BEATS = 8
_HEART_S = 10.0


@dataclass
class Past:
    """One stream: its trace, its events, and the segment that is not final. ``first_event`` is how many have gone."""

    facts: StreamFacts
    trace: Trace
    events: deque[Event] = field(default_factory=deque)
    first_event: int = 0
    open_segment: Mapping[str, Any] = field(default_factory=dict)
    beats: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_HEART_BEATS))

    def take_event(self, event: Event) -> None:
        self.events.append(event)
        while len(self.events) > _MOST_EVENTS or self.events[0].end_s < event.end_s - HISTORY_S - 5:
            self.events.popleft()
            self.first_event += 1
        rate = event.more.get("rate_bpm")
        if rate is not None:
            self.beats.append((event.end_s, float(rate)))

    def events_since(self, number: int) -> tuple[int, bytes]:
        """The number after the last event, and a JSON list of those from ``number`` on, at most so many at once."""
        there = max(0, number - self.first_event)
        lines = [event.json() for event in islice(self.events, there, there + _EVENTS_AT_ONCE)]
        return self.first_event + there + len(lines), b"[" + b",".join(lines) + b"]"

    def heart_bpm(self) -> float | None:
        """The median of the last beats, while there are any."""
        now_s = self.trace.end / self.trace.column_hz
        recent = [rate for at_s, rate in self.beats if at_s > now_s - _HEART_S]
        return round(float(np.median(recent)), 1) if recent else None


class History:
    """Of all streams of a daemon."""

    def __init__(self, daemon: Told) -> None:
        self._daemon = daemon
        self._viewer = daemon.hub.subscribe(_MOST_ITEMS)
        self.past: dict[str, Past] = {}
        self.lost_items = 0
        self._told, self._told_s = b"", -FACTS_S

    def collect(self) -> None:
        """Takes what was published since the last call."""
        items, lost = self._viewer.take()
        self.lost_items += lost
        blocks: dict[str, list[SampleBlock]] = {}
        for item in items:
            if isinstance(item, SampleBlock):
                blocks.setdefault(item.stream, []).append(item)
            elif isinstance(item, Event) and (past := self._of(item.stream)) is not None:
                past.take_event(item)
            elif isinstance(item, Mapping) and item["type"] == "provisional" and (past := self._of(item["stream"])):
                past.open_segment = item
        for name, of_stream in blocks.items():
            if (past := self._of(name)) is not None:
                for first_frame, samples in _joined(of_stream):
                    past.trace.add(first_frame, samples)

    def told(self) -> bytes:
        """The message of ``facts``; it is made once a second, and only if somebody asks."""
        if time.monotonic() - self._told_s >= FACTS_S:
            self._told, self._told_s = json_message(FACTS, self.facts()), time.monotonic()
        return self._told

    def facts(self) -> dict[str, Any]:
        """All streams as the list shows them, and what is around them."""
        daemon = self._daemon
        known, states, delays = daemon.streams(), daemon.states(), daemon.delays()
        self.past = {name: self.past.get(name) or _past(facts) for name, facts in known.items()}
        return {
            "time": time.time(),
            "wrong": daemon.is_well(),
            "streams": [
                {
                    **states[name],
                    "model": facts.model,
                    "rate_hz": facts.rate_hz,
                    "heart_bpm": self.past[name].heart_bpm(),
                    "delay": delays[name],
                }
                for name, facts in known.items()
                if name in states and name in delays
            ],
            "sinks": [{"name": name, **sink.state()} for name, sink in list(daemon.hub.sinks.items())],
        }

    def _of(self, name: str) -> Past | None:
        past = self.past.get(name)
        if past is None:
            facts = self._daemon.streams().get(name)
            if facts is None:
                return None
            past = self.past[name] = _past(facts)
        return past


def _past(facts: StreamFacts) -> Past:
    return Past(facts, Trace(facts.rate_hz))


def _joined(blocks: list[SampleBlock]) -> list[tuple[int, np.ndarray[Any, np.dtype[np.float32]]]]:
    """Blocks that follow each other as one: (first frame, samples (n,) of the first channel)."""
    runs: list[list[SampleBlock]] = []
    for block in blocks:
        if runs and (last := runs[-1][-1]).first_frame + len(last.samples) == block.first_frame:
            runs[-1].append(block)
        else:
            runs.append([block])
    return [(run[0].first_frame, np.concatenate([block.samples[:, 0] for block in run])) for run in runs]
