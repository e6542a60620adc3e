"""Ctrl-C before a command has begun and when it has ended: no traceback of what Python was importing or closing."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


@contextmanager
def starting(command: str) -> Iterator[None]:
    """Ends the process at once at Ctrl-C, while ``command`` imports what it needs and has written nothing.

    KeyboardInterrupt would be lost in a callback of the import system now and then, and the command go on. When the
    process ends what has been answered stays answered. Whoever ignores the signal (nohup) goes on ignoring it.
    """
    is_python_s = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_python_s or threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        os.write(2, f"{command}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def stop(command: str) -> NoReturn:
    """What KeyboardInterrupt comes to that no command has caught."""
    print(f"{command}: interrupted", file=sys.stderr)
    sys.exit(INTERRUPTED)
