"""Ports by name, for the command line: where a stock board is, and where a twin waits for clients.

===========================================  ==================================================================
``neuralspot:/dev/ttyACM0``                  a board on a serial port (USB or UART)
``neuralspot:tcp:HOST:PORT``                 a board, or a twin, behind a TCP port
``...?convention=heartkit``                  HeartKIT's or SleepKIT's firmware; without it the validator's
``...&framing=1.12&baud=115200``             the six-byte header alone; the UART's speed
===========================================  ==================================================================

A twin waits on ``pty`` (a new pseudo-terminal), ``tcp:HOST:PORT`` or a serial port.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from urllib.parse import parse_qsl

from firmware_bridge.errors import TargetError
from firmware_bridge.link.transport import DEFAULT_BAUD, SocketTransport, Transport, connect, open_serial
from firmware_bridge.neuralspot.erpc import Framing
from firmware_bridge.neuralspot.transport import PtyTransport, listen
from firmware_bridge.neuralspot.twin import Convention, Log, Served, Twin, serve
from tcnstream.model import Model

_CONVENTIONS: dict[str, Convention] = {"validator": "validator", "heartkit": "heartkit"}
_ACCEPT_S = 0.2


@dataclass(frozen=True)
class StockTarget:
    """An open port and how the firmware behind it talks; ``framing`` None finds out."""

    port: Transport
    convention: Convention
    framing: Framing | None


def is_stock(target: str) -> bool:
    """Whether a target's name says that stock firmware is there."""
    return target.startswith("neuralspot:")


def open_stock_target(text: str) -> StockTarget:
    """``neuralspot:...`` as above. Raises TargetError for a name that is none or a port that is not there."""
    path, _, query = text.partition("?")
    place = path.removeprefix("neuralspot:")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    unknown = settings.keys() - {"convention", "framing", "baud"}
    if unknown or not place:
        what = f"there is no setting {min(unknown)!r}" if unknown else "no port is named"
        raise TargetError(
            f"{text}: {what}; write neuralspot:/dev/ttyACM0?convention=validator&framing=1.9.1&baud=115200"
        )
    convention = settings.get("convention", "validator")
    if convention not in _CONVENTIONS:
        raise TargetError(f"{text}: the convention is {' or '.join(_CONVENTIONS)}, not {convention!r}")
    baud = settings.get("baud", str(DEFAULT_BAUD))
    if not baud.isdecimal() or int(baud) == 0:
        raise TargetError(f"{text}: baud takes a whole number above 0, not {baud!r}")
    framing = parse_framing(settings["framing"]) if "framing" in settings else None
    if place.startswith("tcp:"):
        return StockTarget(connect(*_host_and_port(place)), _CONVENTIONS[convention], framing)
    return StockTarget(open_serial(place, int(baud)), _CONVENTIONS[convention], framing)


def parse_framing(text: str) -> Framing:
    """ "1.9.1" or "1.12"; TargetError for anything else."""
    try:
        return Framing(text)
    except ValueError:
        known = " or ".join(framing.value for framing in Framing)
        raise TargetError(f"the framing is {known}, not {text!r}") from None


def serve_on(
    model: Model | None,
    port: str,
    *,
    convention: Convention = "validator",
    framing: Framing | None = None,
    stop: Event | None = None,
    rounding: str = "litert",
    log: Log = lambda sentence: None,
    ready: Callable[[str], None] = lambda where: None,
) -> Served:
    """Be a board on ``pty``, ``tcp:HOST:PORT`` (one client after the other) or a serial port, until ``stop`` is set.

    ``ready`` gets where clients find it: the terminal's device, or HOST:PORT with the port that was taken. Other
    arguments and what is returned as for ``serve``; over TCP the sum over all clients, each of which meets a board that
    was just powered up. Raises TargetError where the port cannot be had.
    """
    # What is wrong with the arguments is said before anybody waits for a client.
    Twin(model, convention, framing, rounding=rounding)
    stop = stop or Event()
    if not port.startswith("tcp:"):
        end = PtyTransport() if port == "pty" else open_serial(port, DEFAULT_BAUD)
        try:
            ready(end.path if isinstance(end, PtyTransport) else port)
            return serve(model, end, convention=convention, framing=framing, stop=stop, rounding=rounding, log=log)
        finally:
            end.close()
    total = Served()
    with listen(*_host_and_port(port)) as listening:
        listening.settimeout(_ACCEPT_S)
        ready("{}:{}".format(*listening.getsockname()[:2]))
        while not stop.is_set():
            try:
                connection, address = listening.accept()
            except TimeoutError:
                continue
            log(f"a client came from {address[0]}")
            client = SocketTransport(connection, address[0])
            try:
                served = serve(
                    model, client, convention=convention, framing=framing, stop=stop, rounding=rounding, log=log
                )
            finally:
                client.close()
            total.calls += served.calls
            total.damaged += served.damaged
            total.windows += served.windows
    return total


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.removeprefix("tcp:").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise TargetError(f"{text}: write tcp:HOST:PORT with a port up to 65535")
    return host.strip("[]"), int(port)
