"""Samples from a TCP connection, bare or as text, which is made again when it is lost."""

from __future__ import annotations

import select
import socket
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
from tcnstream.signal.sources.base import choose_channels
from tcnstream.signal.sources.raw import RAW_FORMATS

_WAIT_S = 0.25
_CONNECT_S = 5.0
_MOST_BYTES = 65536


@dataclass(frozen=True)
class TcpConfig(SourceConfig):
    """``columns`` 0 is as many as the model takes."""

    host: str
    port: int
    format: str
    columns: int

    def needs(self) -> Needs:
        return Needs(hosts=(self.host,))


class TcpSource(Live):
    """What the other side sends from the moment of the connection on."""

    def __init__(self, config: TcpConfig, wanted: Wanted) -> None:
        self._config = config
        self.rate_hz, self.units = config.rate_hz, config.units
        most = wanted.channels if isinstance(wanted.channels, int) else len(wanted.channels)
        names = tuple(str(number) for number in range(config.columns or most))
        self._reader = reader_of(config.format, config.columns, most)
        self._chosen = choose_channels(names, wanted.channels, config.uri)

    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        config = self._config
        try:
            connection = socket.create_connection((config.host, config.port), _CONNECT_S)
        except OSError as error:
            raise SourceDownError(f"{config.host}:{config.port} does not answer: {error}") from error
        reader = self._reader
        reader.begin_anew()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with connection:
            while not stop.is_set():
                fresh = not select.select([connection], [], [], 0)[0]
                if fresh and not select.select([connection], [], [], _WAIT_S)[0]:
                    yield None
                    continue
                try:
                    received = connection.recv(_MOST_BYTES)
                except OSError as error:
                    raise SourceDownError(f"{config.host}:{config.port} went away: {error}") from error
                if not received:
                    raise SourceDownError(f"{config.host}:{config.port} closed the connection")
                arrived_s = time.monotonic()
                found = reader.push(received)
                yield from as_pieces(found, self._chosen, arrived_s, fresh)
                if not found:
                    yield None


def _configure(uri: str, name: str, options: Table, folder: Path) -> TcpConfig:
    host, _, port = name.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        options.problems.add(options.path, f'= "{uri}" names no address: give tcp:HOST:PORT')
        port = "1"
    return TcpConfig(
        "tcp",
        uri,
        rate_option(options),
        options.text("units"),
        host.strip("[]"),
        int(port),
        options.one_of("format", RAW_FORMATS, "f32le"),
        options.whole("columns", 0),
    )


KIND = SourceKind("tcp", "tcp:HOST:PORT?format=f32le|s16le|text", _configure, TcpSource)
