"""Samples from a TCP connection, bare or as text, which is made again when it is lost."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

import numpy as np

from tcnstream.live.blocks import Lost, Piece
from tcnstream.live.needs import Needs
from tcnstream.live.sources.base import Live, SourceConfig, SourceDownError, SourceKind, Wanted, rate_option
from tcnstream.live.sources.packets import LineReader, as_samples
from tcnstream.live.tables.table import Table
from tcnstream.signal.sources.base import choose_channels
from tcnstream.signal.sources.raw import RAW_FORMATS

_WAIT_S = 0.25
_CONNECT_S = 5.0
_MOST_BYTES = 65536
_DTYPES = {"f32le": "<f4", "s16le": "<i2"}


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
        self._columns = config.columns or most
        names = tuple(str(number) for number in range(self._columns))
        self._chosen = choose_channels(names, wanted.channels, config.uri)

    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        config = self._config
        try:
            connection = socket.create_connection((config.host, config.port), _CONNECT_S)
        except OSError as error:
            raise SourceDownError(f"{config.host}:{config.port} does not answer: {error}") from error
        reader = _Bare(config.format, self._columns) if config.format in _DTYPES else LineReader(self._columns)
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
                rows: list[list[float]] = []
                owed = 0
                for lost, values in reader.push(received):
                    if lost and rows:
                        yield self._piece(rows, owed, arrived_s, fresh)
                        rows, owed = [], 0
                    owed += lost
                    rows.append(values)
                yield self._piece(rows, owed, arrived_s, fresh) if rows else None

    def _piece(self, rows: list[list[float]], lost: int, arrived_s: float, fresh: bool) -> Piece:
        return Piece(as_samples(rows, self._chosen), arrived_s, Lost(lost, 0, "counter") if lost else None, fresh)


class _Bare:
    """Interleaved numbers; a frame that is not finite is a lost one."""

    def __init__(self, format: str, columns: int) -> None:
        self._dtype, self._columns = np.dtype(_DTYPES[format]), columns
        self._rest = b""
        self._owed = 0

    def push(self, received: bytes) -> list[tuple[int, list[float]]]:
        """Each frame as (lost frames before it, its values)."""
        content = self._rest + received
        frame_bytes = self._dtype.itemsize * self._columns
        whole = len(content) - len(content) % frame_bytes
        self._rest = content[whole:]
        frames = np.frombuffer(content[:whole], self._dtype).reshape(-1, self._columns)
        found: list[tuple[int, list[float]]] = []
        for is_good, values in zip(np.isfinite(frames).all(axis=1).tolist(), frames.tolist(), strict=True):
            if is_good:
                found.append((self._owed, values))
            self._owed = 0 if is_good else self._owed + 1
        return found


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
