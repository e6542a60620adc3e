"""JSON Lines on standard output, given on at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tcnstream.live.events import Event
from tcnstream.live.logs import Log
from tcnstream.live.sinks.base import Full, Item, SinkConfig, SinkKind, SinkThread, Writer
from tcnstream.live.tables.table import Table


class StdoutWriter(Writer):
    """A reader that has gone is an error of this sink alone."""

    def write(self, items: Sequence[Item]) -> None:
        events = [item for item in items if isinstance(item, Event)]
        sys.stdout.buffer.write(b"".join(event.json() + b"\n" for event in events))
        sys.stdout.buffer.flush()


def _configure(name: str, table: Table, folder: Path, full: Full, queue_events: int) -> SinkConfig:
    return SinkConfig(name, "stdout", full, queue_events)


def _open(config: SinkConfig, log: Log) -> SinkThread:
    return SinkThread(config, StdoutWriter(), log)


KIND = SinkKind("stdout", _configure, _open)
