"""Samples on standard input: live, since a pipe cannot be read twice, but it waits, and has an end."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

from tcnstream.live.blocks import Piece
from tcnstream.live.needs import Needs
from tcnstream.live.sources.base import Live, SourceConfig, SourceDownError, SourceKind, Wanted, rate_option
from tcnstream.live.sources.readers import as_pieces, reader_of
from tcnstream.live.tables.table import Table
from tcnstream.signal.sources.base import choose_channels, no_samples
from tcnstream.signal.sources.raw import RAW_FORMATS

_WAIT_S = 0.25
_MOST_BYTES = 65536


@dataclass(frozen=True)
class InputConfig(SourceConfig):
    """How samples are written; ``columns`` 0 is as many as lines have, or one bare number."""

    raw_format: str
    columns: int

    def needs(self) -> Needs:
        return Needs(terminal=True)


class StandardInput(Live):
    """Ends with the pipe."""

    ends = True
    silent_s = float("inf")

    def __init__(self, config: InputConfig, wanted: Wanted) -> None:
        self.rate_hz, self.units = config.rate_hz, config.units
        least = wanted.channels if isinstance(wanted.channels, int) else 1
        names = tuple(str(number) for number in range(config.columns or least))
        self._chosen = choose_channels(names, wanted.channels, config.uri)
        self._reader = reader_of(config.raw_format, config.columns, least, is_whole=True)

    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        pipe, reader, has_begun = sys.stdin.fileno(), self._reader, False
        while not stop.is_set():
            if not select.select([pipe], [], [], _WAIT_S)[0]:
                yield None
                continue
            received = os.read(pipe, _MOST_BYTES)
            found = reader.push(received) if received else reader.finish()
            for piece in as_pieces(found, self._chosen, time.monotonic(), fresh=False):
                has_begun = has_begun or len(piece.samples) > 0
                yield piece
            if not received:
                break
        if not stop.is_set() and (trouble := reader.trouble()):
            raise SourceDownError(trouble)
        if not (stop.is_set() or has_begun):
            raise SourceDownError(str(no_samples("standard input")))


def _configure(uri: str, name: str, options: Table, folder: Path) -> InputConfig:
    return InputConfig(
        "-",
        uri,
        rate_option(options),
        options.text("units"),
        options.one_of("format", RAW_FORMATS, "f32le"),
        options.whole("columns", 0),
    )


KIND = SourceKind("-", "- for standard input", _configure, StandardInput, ends=True)
