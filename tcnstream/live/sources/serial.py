"""Sensors on serial ports, by a name that stays: text lines, or packets as ``[stream.NAME.packet]`` describes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

from tcnstream.live.blocks import Piece
from tcnstream.live.needs import Needs
from tcnstream.live.sources.base import Found, Live, SourceConfig, SourceDownError, SourceKind, Wanted, rate_option
from tcnstream.live.sources.packets import PacketFormat, PacketReader, read_format
from tcnstream.live.sources.readers import LineReader, as_pieces
from tcnstream.live.tables.table import Table
from tcnstream.signal.sources.base import choose_channels

_WAIT_S = 0.25
_MOST_BYTES = 65536
_BY_ID = Path("/dev/serial/by-id")


@dataclass(frozen=True)
class SerialConfig(SourceConfig):
    """``columns`` 0 is as many as lines have; ``packet`` None is text."""

    port: str
    baud: int
    columns: int
    packet: PacketFormat | None

    def needs(self) -> Needs:
        return Needs(ports=(self.port,))


class SerialSource(Live):
    """Reads a port until it goes away."""

    def __init__(self, config: SerialConfig, wanted: Wanted) -> None:
        self._config = config
        self.rate_hz, self.units = config.rate_hz, config.units
        self._reader: PacketReader | LineReader
        if config.packet:
            names, self._reader = config.packet.channels, PacketReader(config.packet)
        else:
            least = wanted.channels if isinstance(wanted.channels, int) else _columns_for(wanted.channels)
            names = tuple(str(number) for number in range(config.columns or least))
            self._reader = LineReader(config.columns, least)
        self._chosen = choose_channels(names, wanted.channels, config.uri)

    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        import serial

        config = self._config
        try:
            port = serial.Serial(config.port, config.baud, timeout=_WAIT_S, exclusive=True)
        except (OSError, ValueError) as error:
            raise SourceDownError(f"{config.port} cannot be opened: {error}") from error
        reader = self._reader
        reader.begin_anew()
        modulus = config.packet.counter_modulus if config.packet else 0
        with port:
            if self.goes_on:
                port.reset_input_buffer()  # how old it is nobody can say
            self.goes_on = True
            while not stop.is_set():
                try:
                    fresh = not port.in_waiting
                    received = port.read(1)
                    if received and (more := port.in_waiting):
                        received += port.read(min(more, _MOST_BYTES))
                except (OSError, TypeError) as error:  # "reports readiness to read but returned no data": unplugged
                    raise SourceDownError(f"{config.port} went away: {error}") from error
                arrived_s = time.monotonic()
                if not received:
                    yield None
                    continue
                found = reader.push(received)
                yield from as_pieces(found, self._chosen, arrived_s, fresh, modulus)
                if not found:
                    yield None


def _columns_for(channels: object) -> int:
    numbers = [int(name) for name in channels if str(name).isdecimal()] if isinstance(channels, tuple) else []
    return max(numbers, default=0) + 1


def _configure(uri: str, name: str, options: Table, folder: Path) -> SerialConfig:
    if not name:
        options.problems.add(options.path, f'= "{uri}" names no port: give one such as serial:/dev/serial/by-id/...')
    packet = options.beside("packet")
    format = None if packet is None else read_format(packet)
    return SerialConfig(
        "serial",
        uri,
        rate_option(options),
        options.text("units"),
        name,
        options.whole("baud", 115200, least=1),
        options.whole("columns", 0),
        format,
    )


def _find() -> list[Found]:
    from serial.tools import list_ports

    by_id = {path.resolve(): path for path in _BY_ID.glob("*")} if _BY_ID.is_dir() else {}
    found = []
    for port in list_ports.comports():
        stable = by_id.get(Path(port.device).resolve(), Path(port.device))
        if port.hwid != "n/a":
            found.append(Found(f"serial:{stable}?rate=250&units=mV", port.description))
    return found


KIND = SourceKind("serial", "serial:/dev/serial/by-id/...?rate=250&units=uV", _configure, SerialSource, _find)
