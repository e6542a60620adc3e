"""Where a twin waits for its clients. The client's side of a line is in `firmware_bridge.link.transport`."""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress

from firmware_bridge.errors import LinkError, TargetError


class PtyTransport:
    """The controlling end of a new pseudo-terminal; ``path`` is the device that a client opens like a serial port.

    Raises TargetError where there are no pseudo-terminals.
    """

    def __init__(self) -> None:
        try:
            import pty
            import tty
        except ImportError as error:
            raise TargetError("this system has no pseudo-terminals; let the twin wait on tcp:HOST:PORT") from error
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)

    def read(self, timeout_s: float) -> bytes:
        ready, _, _ = select.select([self._ours], [], [], max(timeout_s, 0.0))
        return os.read(self._ours, 65536) if ready else b""

    def write(self, data: bytes, timeout_s: float) -> None:
        left, until = memoryview(data), time.monotonic() + timeout_s
        while left:
            _, ready, _ = select.select([], [self._ours], [], max(until - time.monotonic(), 0.0))
            if not ready:
                raise LinkError(f"nobody reads {self.path}: it has taken no bytes for {timeout_s:g} s")
            left = left[os.write(self._ours, left) :]

    def had_s(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        for descriptor in (self._ours, self._theirs):
            with suppress(OSError):
                os.close(descriptor)


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for clients of a twin; port 0 takes any free one. Raises TargetError where it cannot."""
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise TargetError(f"cannot listen on {host}:{port}: {error}; give another port, or 0 for any") from error
