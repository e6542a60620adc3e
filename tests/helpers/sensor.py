"""A sensor on a pseudo-terminal: what a serial port is to a program, with a cable that can be pulled."""

from __future__ import annotations

import os
import threading
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class Sensor:
    """Writes ``message(n)`` for sample n, paced at ``rate_hz``, to whoever listens at ``path``.

    The sensor goes on counting while its cable is out; what it says then is lost.
    """

    def __init__(self, path: Path, rate_hz: float, message: Callable[[int], bytes], burst: int = 5) -> None:
        self.path, self._rate_hz, self._message, self._burst = path, rate_hz, message, burst
        self.sent = 0
        self._master: int | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.plug()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def plug(self) -> None:
        with self._lock:
            master, slave = os.openpty()
            tty.setraw(slave)
            os.set_blocking(master, False)
            self.path.unlink(missing_ok=True)
            self.path.symlink_to(os.ttyname(slave))
            os.close(slave)
            self._master = master

    def unplug(self) -> None:
        with self._lock:
            self.path.unlink(missing_ok=True)
            if self._master is not None:
                os.close(self._master)
            self._master = None

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.unplug()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stop.is_set():
            count = self._burst
            text = b"".join(self._message(n) for n in range(self.sent, self.sent + count))
            self.sent += count
            # A sample cannot be sent before it was taken.
            wait_s = began_s + self.sent / self._rate_hz - time.monotonic()
            if wait_s > 0:
                self._stop.wait(wait_s)
            with self._lock:
                if self._master is not None:
                    with suppress(OSError):  # nobody listens, or too slowly
                        os.write(self._master, text)
