"""Addresses that the daemon listens to."""

from __future__ import annotations

import socket

from tcnstream.errors import SignalError
from tcnstream.live.tables.table import Table

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WAITING = 64


def read_address(table: Table, key: str, default: str, ways_out: str = "") -> tuple[str, int] | None:
    """Host and port; None after noting that they are none. Port 0 is any that is free."""
    given = table.text(key, default)
    host, colon, port = given.rpartition(":")
    host = host.strip("[]")
    if colon and host and port.isdecimal() and int(port) <= 65535:
        return host, int(port)
    table.complain(key, f'= "{given}" is no address: give HOST:PORT such as {default}{ways_out}')
    return None


def listen_to(host: str, port: int, key: str, send_buffer_bytes: int) -> socket.socket:
    """A socket that takes connections, each of which lets so much wait for a reader that does not read.

    Raises SignalError, which names the ``key`` of the configuration.
    """
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)  # connections inherit it
        made.bind((host, port))
        made.listen(_WAITING)
    except OSError as error:
        raise SignalError(f"{key}: {host}:{port} is not to be had ({error.strerror}); name another") from error
    return made
