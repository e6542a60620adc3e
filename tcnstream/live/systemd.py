"""What systemd wants to hear (sd_notify(3)): ready, reloading, stopping, and that the daemon is well."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


class Systemd:
    """Says nothing where nobody listens. ``watchdog_s`` is how often the watchdog must hear; 0: there is none."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdecimal() and ours else 0.0
        self._fed_s = 0.0

    def ready(self, status: str) -> None:
        self._say(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def feed(self, status: str) -> None:
        """All is well; call it often, the watchdog hears it when it is time."""
        now_s = time.monotonic()
        if self.watchdog_s and now_s - self._fed_s >= self.watchdog_s / 3:
            self._fed_s = now_s
            self._say(f"WATCHDOG=1\nSTATUS={status}")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(text.encode(), address)
