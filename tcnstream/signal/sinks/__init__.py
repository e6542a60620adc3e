"""What comes out of a pipeline, written: one registry, one module a kind.

A new output format is a module with a ``KIND`` and its entry below; the help of ``--format`` and refusals follow.
"""

from __future__ import annotations

from tcnstream.errors import SignalError
from tcnstream.signal.sinks import csv, jsonl, raw, wfdb
from tcnstream.signal.sinks.base import SinkKind

SINK_KINDS: tuple[SinkKind, ...] = (jsonl.KIND, csv.KIND, wfdb.KIND, raw.KIND)


def described() -> str:
    """The formats in one phrase for a help text."""
    *most, last = (kind.name for kind in SINK_KINDS)
    return f"{', '.join(most)} or {last}."


def sink_kind(name: str) -> SinkKind:
    """Raises SignalError for a format that is none."""
    for kind in SINK_KINDS:
        if kind.name == name:
            return kind
    raise SignalError(f"there is no format {name!r}: choose one of {', '.join(kind.name for kind in SINK_KINDS)}")
