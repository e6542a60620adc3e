"""Samples on standard input: live, since a pipe cannot be read twice, but it waits, and has an end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

from tcnstream.live.blocks import Piece
from tcnstream.live.needs import Needs
from tcnstream.live.sources.base import Live, SourceConfig, SourceKind, Wanted, rate_option
from tcnstream.live.tables.table import Table
from tcnstream.signal.sources.base import Gap
from tcnstream.signal.sources.raw import RAW_FORMATS, raw_format_named, read_raw


@dataclass(frozen=True)
class InputConfig(SourceConfig):
    """How bare samples are written."""

    raw_format: str
    raw_channels: int

    def needs(self) -> Needs:
        return Needs(terminal=True)


class StandardInput(Live):
    """Ends with the pipe."""

    ends = True
    silent_s = float("inf")

    def __init__(self, config: InputConfig, wanted: Wanted) -> None:
        self._config, self._channels = config, wanted.channels
        self.rate_hz, self.units = config.rate_hz, config.units

    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        kind = raw_format_named(self._config.raw_format)
        for chunk in read_raw(sys.stdin.buffer, kind, self._channels, self._config.raw_channels).chunks:
            if stop.is_set():
                return
            assert not isinstance(chunk, Gap)  # bare samples have none
            yield Piece(chunk, time.monotonic(), fresh=False)


def _configure(uri: str, name: str, options: Table, folder: Path) -> InputConfig:
    return InputConfig(
        "-",
        uri,
        rate_option(options),
        options.text("units"),
        options.one_of("format", RAW_FORMATS, "f32le"),
        options.whole("raw_channels", 1, least=1),
    )


KIND = SourceKind("-", "- for standard input", _configure, StandardInput, ends=True)
