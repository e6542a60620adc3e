"""JSON Lines on standard output, given on at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tcnstream.live.events import Event
from tcnstream.live.logs import Log
from tcnstream.live.sinks.base import Full, Item, SinkConfig, SinkKind, SinkThread, Taken, Writer
from tcnstream.live.tables.table import Table


class StdoutWriter(Writer):
    """A reader that has gone, or a full disk, is an error of this sink alone."""

    def __init__(self) -> None:
        self._taken = Taken()
        self._rest = b""

    def write(self, items: Sequence[Item]) -> None:
        for item in self._taken.left(items):
            if isinstance(item, Event):
                self._rest += item.json() + b"\n"
            self._taken.done(item)
        while self._rest:
            self._rest = self._rest[os.write(sys.stdout.fileno(), self._rest) :]


def _configure(name: str, table: Table, folder: Path, full: Full, queue_events: int) -> SinkConfig:
    return SinkConfig(name, "stdout", full, queue_events)


def _open(config: SinkConfig, log: Log) -> SinkThread:
    return SinkThread(config, StdoutWriter(), log)


KIND = SinkKind("stdout", _configure, _open)
