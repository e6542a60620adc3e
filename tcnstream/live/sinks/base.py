"""What every sink of the daemon shares: a bounded queue, a thread of its own, its own failure.

Chains put events and go on. A sink that cannot write tries again later; what then does not fit into its queue is
dropped, oldest first, and counted, or the chain waits, as ``full`` says. It waits before a step and never in one: who
wants chains to stand still, or the end, need not wait for a sink.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tcnstream.live.blocks import Samples
from tcnstream.live.events import EVENT_TYPES, Event, EventType
from tcnstream.live.logs import Log
from tcnstream.live.needs import Needs
from tcnstream.live.tables.table import Table

Full: TypeAlias = Literal["drop-oldest", "block", "by-source"]
Position: TypeAlias = tuple[int, int]
"""How far a file sink is: rotations so far, bytes of the newest file."""

QUEUE_EVENTS = 10_000
_MOST_AT_ONCE = 512
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0


@dataclass(frozen=True)
class SinkConfig:
    """What the configuration says of a sink; each kind adds its own.

    ``full="by-source"`` is what a person wants who says nothing: files wait, live sources do not. ``events`` are the
    types that it is given.
    """

    name: str
    kind: str
    full: Full
    queue_events: int
    events: tuple[EventType, ...] = field(default=EVENT_TYPES, kw_only=True)

    def files(self) -> list[Path]:
        """The files that it writes."""
        return []

    def may_replace(self) -> list[Path]:
        """Files that are there, and that it may write into, write over or let go."""
        return self.files()

    def needs(self) -> Needs:
        """What it takes of the machine."""
        return Needs()


@dataclass(frozen=True, eq=False)
class SampleBlock:
    """What a stream heard, for sinks that keep it: ``samples`` (n, channels) from ``first_frame`` on."""

    stream: str
    first_frame: int
    samples: Samples
    rate_hz: float
    units: str


Item: TypeAlias = Event | SampleBlock


class Mark:
    """A place in a sink's queue: all that was put before it has been written once ``wait`` returns true."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self.position: Position | None = None

    def reach(self, position: Position | None) -> None:
        self.position = position
        self._reached.set()

    def wait(self, timeout_s: float) -> bool:
        return self._reached.wait(timeout_s)


@dataclass(frozen=True)
class Unsent:
    """An event that a network sink has not been told was taken."""

    stream: str
    seq: int
    topic: str
    payload: bytes


class Writer(ABC):
    """What a SinkThread drives; one thread alone calls it. OSError means: try the same events again later."""

    @abstractmethod
    def write(self, items: Sequence[Item]) -> None: ...

    def position(self) -> Position | None:
        """After everything is safe on the disk; None where there is no file to continue."""
        return None

    def due_s(self) -> float:
        """CLOCK_MONOTONIC at which ``write`` wants to be called, with nothing if nothing came."""
        return math.inf

    def close(self) -> None:  # noqa: B027
        """All is written."""

    def left(self) -> Sequence[Item]:
        """What it was given and has not written, before what it was not done with."""
        return ()


class Taken:
    """Which items of a batch a Writer is done with, for those that come again after an error."""

    def __init__(self) -> None:
        self._last: Item | None = None

    def left(self, items: Sequence[Item]) -> Sequence[Item]:
        """Those behind the last one that was done."""
        begin = next((n + 1 for n, item in enumerate(items) if item is self._last), 0)
        return items[begin:]

    def done(self, item: Item) -> None:
        self._last = item


class Sink(ABC):
    """What the daemon holds of a sink. ``sends`` says that what it has not sent is kept in the journal's outbox,
    ``wants_samples`` that it keeps the signal too."""

    sends = False
    wants_samples = False

    def __init__(self, config: SinkConfig) -> None:
        self.config = config
        self.lost_events = 0
        self.taken_events = 0
        self.trouble = ""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def put(self, events: Sequence[Any], may_wait: bool) -> None:
        """At once; ``may_wait`` says whether the source of these events waits, as a file does."""

    def waits(self, may_wait: bool) -> bool:
        """Whether chains of such a source wait for room, so that nothing of theirs is dropped."""
        return self.config.full == "block" or (self.config.full == "by-source" and may_wait)

    @abstractmethod
    def wait_for_room(self, timeout_s: float) -> bool:
        """Whether one event more fits, now or within that time."""

    @abstractmethod
    def mark(self) -> Mark: ...

    @abstractmethod
    def stop(self, timeout_s: float) -> None:
        """Writes what is queued, for so long at most, and ends."""

    def left(self) -> Sequence[Any]:
        """After ``stop``: what it could not write, for one that takes its place."""
        return ()

    def lacks(self) -> str:
        """After ``stop``: what it was given and nobody will ever find where it writes; "" where it has all."""
        unwritten = sum(isinstance(item, Event) for item in self.left()) if not self.is_alive() else self.waiting()
        missing = self.lost_events + (0 if self.sends else unwritten)
        why = f": {self.trouble}" if self.trouble else ""
        if missing:
            return f"sink.{self.config.name} lacks {missing} event(s){why}"
        return f"sink.{self.config.name} could not end what it writes{why}" if self.disk_trouble else ""

    @abstractmethod
    def waiting(self) -> int:
        """Events that are queued."""

    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return True

    @property
    def disk_trouble(self) -> str:
        """Why it cannot write to a disk; a broker that is away is none."""
        return ""

    def state(self) -> dict[str, Any]:
        """How it stands, for health and the page."""
        return {
            "kind": self.config.kind,
            "waiting": self.waiting(),
            "most": self.config.queue_events,
            "taken": self.taken_events,
            "lost": self.lost_events,
            "trouble": self.trouble,
        }

    def resume(self, unsent: Sequence[Unsent], spool: Path) -> None:  # noqa: B027
        """Before ``start``, for sinks that send: what an earlier daemon had not sent, by the journal, and the file for
        what live streams give between two checkpoints."""

    def unsent(self) -> list[Unsent]:
        """What is to be kept in the outbox, for sinks that send."""
        return []

    def state_changed(self, stream: str, state: Mapping[str, Any]) -> None:  # noqa: B027
        """The state of a stream, for sinks that show it."""


class SinkThread(Sink):
    """A Writer behind a bounded queue."""

    def __init__(self, config: SinkConfig, writer: Writer, log: Log, wants_samples: bool = False) -> None:
        super().__init__(config)
        self._writer, self._log = writer, log
        self.wants_samples = wants_samples
        self._queue: deque[Item | Mark] = deque()
        self._events = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._give_up_at_s = float("inf")
        self._thread = threading.Thread(target=self._run, name=f"sink {config.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def disk_trouble(self) -> str:
        return self.trouble

    def waiting(self) -> int:
        return self._events

    def put(self, events: Sequence[Item], may_wait: bool) -> None:
        with self._changed:
            self._queue.extend(events)
            self._events += len(events)
            if self._events > self.config.queue_events and not self.waits(may_wait):
                self._drop_oldest(self._events - self.config.queue_events)
            self._changed.notify_all()

    def wait_for_room(self, timeout_s: float) -> bool:
        most = self.config.queue_events
        with self._changed:
            return self._changed.wait_for(lambda: self._events < most, timeout_s)

    def _drop_oldest(self, count: int) -> None:
        kept: list[Mark] = []
        for _ in range(count):
            while isinstance(item := self._queue.popleft(), Mark):
                kept.append(item)
        self._queue.extendleft(reversed(kept))
        self._events -= count
        self.lost_events += count
        self._log.warn("sink.full", sink=self.config.name, lost_events=self.lost_events, trouble=self.trouble)

    def mark(self) -> Mark:
        mark = Mark()
        with self._changed:
            self._queue.append(mark)
            self._changed.notify_all()
        return mark

    def stop(self, timeout_s: float) -> None:
        with self._changed:
            self._stopping = True
            self._give_up_at_s = time.monotonic() + timeout_s
            self._changed.notify_all()
        self._thread.join(timeout_s + 1)

    def left(self) -> Sequence[Item]:
        with self._changed:
            queued = [item for item in self._queue if not isinstance(item, Mark)]
            return [] if self.is_alive() else [*self._writer.left(), *queued]

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            with self._changed:
                while not self._queue and not self._stopping and (left_s := self._until_due_s()) > 0:
                    self._changed.wait(None if left_s == math.inf else left_s)
                if not self._queue and self._stopping:
                    break
                batch = self._first()
            try:
                if isinstance(batch, Mark):
                    batch.reach(self._writer.position())
                else:
                    self._writer.write(batch)
            except OSError as error:
                self.trouble = error.strerror or str(error)
                self._log.error("sink.failed", sink=self.config.name, error=self.trouble)
                if time.monotonic() > self._give_up_at_s:
                    return
                with self._changed:
                    self._changed.wait(min(pause_s, 0.2) if self._stopping else pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
                continue
            except Exception as error:  # whatever a package does, this thread goes on, without what it stumbled over
                self._log.error("sink.broke", sink=self.config.name, error=f"{type(error).__name__}: {error}")
                lost = 0 if isinstance(batch, Mark) else len(batch)
                self.lost_events += lost
                self.taken_events -= lost
            if self.trouble:
                self._log.info("sink.recovered", sink=self.config.name)
            self.trouble, pause_s = "", _FIRST_PAUSE_S
            self._done(batch)
        try:
            self._writer.close()
        except Exception as error:
            self.trouble = (error.strerror if isinstance(error, OSError) else "") or str(error)
            self._log.error("sink.failed", sink=self.config.name, error=self.trouble)

    def _until_due_s(self) -> float:
        return self._writer.due_s() - time.monotonic()

    def _first(self) -> Mark | list[Item]:
        """The mark at the head of the queue, or the events up to the next one; they stay until they are written."""
        if self._queue and isinstance(head := self._queue[0], Mark):
            return head
        batch: list[Item] = []
        for item in self._queue:
            if isinstance(item, Mark) or len(batch) == _MOST_AT_ONCE:
                break
            batch.append(item)
        return batch

    def _done(self, batch: Mark | list[Item]) -> None:
        with self._changed:
            if isinstance(batch, Mark):
                self._queue.remove(batch)
                return
            # The oldest of them may have been dropped meanwhile.
            for event in batch:
                if self._queue and self._queue[0] is event:
                    self._queue.popleft()
                    self._events -= 1
            self.taken_events += len(batch)
            self._changed.notify_all()


@dataclass(frozen=True)
class SinkKind:
    """An entry of the registry. ``continues`` is true for files that a restart continues byte for byte."""

    name: str
    configure: Callable[[str, Table, Path, Full, int], SinkConfig]
    open: Callable[[Any, Log], Sink]
