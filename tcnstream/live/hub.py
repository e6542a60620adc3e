"""The hub: chains publish here, sinks and viewers take from here.

A sink gets the events of the streams that name it. A viewer (a page, a test) subscribes to all, with a bounded queue:
one that does not keep up loses the oldest and is told how many.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tcnstream.live.events import EVENT_TYPES, Event
from tcnstream.live.sinks.base import SampleBlock, Sink


def _telling(state: Mapping[str, Any]) -> tuple[object, ...]:
    """What of a state is worth telling the world; the rest changes with every frame."""
    board = state.get("board") or {}
    return (*(state.get(key) for key in ("state", "says", "epoch", "gaps", "reconnects")), board.get("state"))


class Viewer:
    """A bounded queue of what was published; ``wake`` is called, in the publisher's thread, when there is something."""

    def __init__(self, most: int, wake: Callable[[], None]) -> None:
        self._items: deque[object] = deque()
        self._most, self._wake = most, wake
        self._lock = threading.Lock()
        self._lost = 0

    def offer(self, items: Sequence[object]) -> None:
        with self._lock:
            self._items.extend(items)
            while len(self._items) > self._most:
                self._items.popleft()
                self._lost += 1
        self._wake()

    def take(self) -> tuple[list[object], int]:
        """All that is there, and how many were lost since the last look."""
        with self._lock:
            items, lost = list(self._items), self._lost
            self._items.clear()
            self._lost = 0
        return items, lost


class Hub:
    """Where events are published, and who takes them."""

    def __init__(self) -> None:
        self.sinks: dict[str, Sink] = {}
        self._viewers: list[Viewer] = []
        self._lock = threading.Lock()
        self.states: dict[str, Mapping[str, Any]] = {}
        self._provisional: dict[str, Mapping[str, Any]] = {}
        self.published: dict[str, int] = dict.fromkeys(EVENT_TYPES, 0)

    def full(self, sinks: Sequence[str], may_wait: bool) -> Sink | None:
        """One of the sinks that has no room and that such a source waits for."""
        for name in sinks:
            sink = self.sinks.get(name)
            if sink is not None and sink.waits(may_wait) and not sink.wait_for_room(0.0):
                return sink
        return None

    def publish(self, sinks: Sequence[str], events: Sequence[Event], may_wait: bool) -> None:
        """Final events, those of each stream in order."""
        if not events:
            return
        for name in sinks:
            sink = self.sinks[name]
            wanted = events
            if sink.config.events != EVENT_TYPES:
                wanted = [event for event in events if event.type in sink.config.events]
            if wanted:
                sink.put(wanted, may_wait)
        with self._lock:
            for event in events:
                self.published[event.type] += 1
        self.show(events)

    def keep(self, sinks: Sequence[str], block: SampleBlock, may_wait: bool) -> None:
        """What a stream heard, for the sinks that keep it."""
        for name in sinks:
            if self.sinks[name].wants_samples:
                self.sinks[name].put([block], may_wait)
        if self._viewers:
            self.show([block])

    def show(self, items: Sequence[object]) -> None:
        """For viewers alone: what is not final, and samples."""
        for viewer in self._viewers:
            viewer.offer(items)

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._viewers)

    def set_state(self, stream: str, sinks: Sequence[str], state: Mapping[str, Any]) -> None:
        """A stream's state, kept for whoever comes later; ``provisional`` of it is for viewers alone."""
        before = self.states.get(stream, {})
        self.states[stream] = shown = {**state, "provisional": self._provisional.get(stream)}
        if _telling(before) != _telling(state):
            for name in sinks:
                sink = self.sinks.get(name)  # sinks are exchanged while sources come and go
                if sink is not None:
                    sink.state_changed(stream, state)
        self.show([shown])

    def provide(self, stream: str, open_segment: Mapping[str, Any] | None) -> None:
        """For viewers alone: the segment that has begun and is not final, ``{"label", "start_s", "end_s"}``, or None.

        They get ``{"type": "provisional", "stream", "label", "start_s", "end_s"}`` when it is another one; ``label`` is
        None where there is none any more, ``end_s`` while it goes on. A state has it as ``provisional``.
        """
        if open_segment != self._provisional.get(stream):
            if open_segment is None:
                self._provisional.pop(stream, None)
            else:
                self._provisional[stream] = open_segment
            nothing = {"label": None, "start_s": None, "end_s": None}
            self.show([{"type": "provisional", "stream": stream, **(open_segment or nothing)}])

    def forget(self, stream: str) -> None:
        """The stream is no more."""
        self.provide(stream, None)
        self.states.pop(stream, None)

    def subscribe(self, most: int = 1000, wake: Callable[[], None] = lambda: None) -> Viewer:
        """A viewer of all that is published from now on."""
        viewer = Viewer(most, wake)
        with self._lock:
            self._viewers = [*self._viewers, viewer]
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """The viewer has gone."""
        with self._lock:
            self._viewers = [each for each in self._viewers if each is not viewer]
