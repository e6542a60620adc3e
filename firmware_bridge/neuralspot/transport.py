"""Bytes to and from a board: what the neuralSPOT client and twin need of a port, and three ports that have it."""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Any, Protocol

from tcnstream.errors import MissingExtraError, TcnStreamError


class PortError(TcnStreamError):
    """A port that cannot be opened, or that went away while it was used; the text says which and what to do."""


class Bytes(Protocol):
    """A port. Both directions are plain bytes; a lost port raises OSError or PortError."""

    def read(self, most_bytes: int, timeout_s: float) -> bytes:
        """What is there, at most ``most_bytes``; waits up to ``timeout_s`` for the first byte, then gives b""."""

    def write(self, data: bytes) -> None:
        """All of ``data``; raises rather than waits for ever if nobody takes it."""

    def close(self) -> None:
        """Give the port back."""


_WRITE_TIMEOUT_S = 10.0


class SerialBytes:
    """A serial device (USB CDC or UART) or any other URL of pyserial."""

    def __init__(self, url: str, baud: int = 115200) -> None:
        try:
            import serial
        except ImportError as error:
            raise MissingExtraError("a serial port needs pyserial: pip install pyserial") from error
        try:
            self._port: Any = serial.serial_for_url(url, baudrate=baud, timeout=0, write_timeout=_WRITE_TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise PortError(f"cannot open {url}: {error}; see `firmware-bridge devices`") from error
        self._url = url

    def read(self, most_bytes: int, timeout_s: float) -> bytes:
        self._port.timeout = timeout_s
        try:
            first: bytes = self._port.read(1)
            if not first:
                return b""
            rest: bytes = self._port.read(min(most_bytes - 1, self._port.in_waiting))
        except OSError as error:
            raise PortError(f"{self._url} went away: {error}") from error
        return first + rest

    def write(self, data: bytes) -> None:
        try:
            # No flush: it has no deadline, and a stuck USB device would hold it for ever.
            self._port.write(data)
        except OSError as error:
            raise PortError(f"{self._url} does not take data: {error}") from error

    def close(self) -> None:
        self._port.close()


class TcpBytes:
    """A connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection

    @classmethod
    def connect(cls, host: str, port: int, timeout_s: float = 5.0) -> TcpBytes:
        try:
            return cls(socket.create_connection((host, port), timeout_s))
        except OSError as error:
            raise PortError(f"cannot connect to {host}:{port}: {error}; is the other end listening?") from error

    def read(self, most_bytes: int, timeout_s: float) -> bytes:
        ready, _, _ = select.select([self._socket], [], [], max(timeout_s, 0.0))
        if not ready:
            return b""
        try:
            data = self._socket.recv(most_bytes)
        except OSError as error:
            raise PortError(f"the connection broke: {error}") from error
        if not data:
            raise PortError("the other end closed the connection")
        return data

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            _, ready, _ = select.select([], [self._socket], [], _WRITE_TIMEOUT_S)
            if not ready:
                raise PortError(f"the other end took no data for {_WRITE_TIMEOUT_S:g} s")
            try:
                left = left[self._socket.send(left) :]
            except OSError as error:
                raise PortError(f"the connection broke: {error}") from error

    def close(self) -> None:
        self._socket.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for clients of a twin; ``TcpBytes(listening.accept()[0])`` is the next one's port.

    ``port`` 0 takes any free one (see ``getsockname``). Raises PortError where that is not possible.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise PortError(f"cannot listen on {host}:{port}: {error}; give another port, or 0 for any") from error


class PtyBytes:
    """The master end of a new pseudo-terminal; ``path`` is the device that a client opens like a serial port."""

    def __init__(self) -> None:
        import tty

        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)

    def read(self, most_bytes: int, timeout_s: float) -> bytes:
        ready, _, _ = select.select([self._master], [], [], max(timeout_s, 0.0))
        return os.read(self._master, most_bytes) if ready else b""

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        deadline = time.monotonic() + _WRITE_TIMEOUT_S
        while left:
            _, ready, _ = select.select([], [self._master], [], max(deadline - time.monotonic(), 0.0))
            if not ready:
                raise PortError(f"nobody reads {self.path}: no data taken for {_WRITE_TIMEOUT_S:g} s")
            left = left[os.write(self._master, left) :]

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)
