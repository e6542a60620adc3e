"""Sinks of the daemon: one registry, one module a kind. A new kind is a module with a ``KIND`` and its entry below."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tcnstream.live.events import EVENT_TYPES, EventType
from tcnstream.live.logs import Log
from tcnstream.live.sinks import clips, jsonl, lsl, mqtt, stdout, wfdb, wyoming
from tcnstream.live.sinks.base import QUEUE_EVENTS, Full, Sink, SinkConfig, SinkKind
from tcnstream.live.tables.table import Table

SINK_KINDS: tuple[SinkKind, ...] = (jsonl.KIND, stdout.KIND, mqtt.KIND, lsl.KIND, wfdb.KIND, clips.KIND, wyoming.KIND)


def configure(name: str, table: Table, folder: Path) -> SinkConfig | None:
    """Notes what is wrong with the table; None where not even its kind is known."""
    kinds = {kind.name: kind for kind in SINK_KINDS}
    named = table.one_of("kind", kinds, "", needed=f"give one of {', '.join(kinds)}")
    if named not in kinds:
        return None
    full: Full = table.one_of("full", ("drop-oldest", "block"), "by-source")  # type: ignore[assignment]
    config = kinds[named].configure(name, table, folder, full, table.whole("queue", QUEUE_EVENTS, least=1))
    config = replace(config, events=_events(table))
    table.finish()
    return config


def _events(table: Table) -> tuple[EventType, ...]:
    chosen = table.texts("events", EVENT_TYPES)
    for unknown in (each for each in chosen if each not in EVENT_TYPES):
        table.complain("events", f'= "{unknown}" is none of {", ".join(EVENT_TYPES)}')
    if not chosen:
        table.complain("events", f"= [] leaves nothing: give some of {', '.join(EVENT_TYPES)}, or leave it out")
    return tuple(each for each in EVENT_TYPES if each in chosen)


def open_sink(config: SinkConfig, log: Log) -> Sink:
    """The sink, not started yet."""
    return next(kind for kind in SINK_KINDS if kind.name == config.kind).open(config, log)
