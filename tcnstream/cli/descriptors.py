"""The three standard descriptors, which whoever starts a command may have closed."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

_INPUT, _OUTPUT, _ERROR = 0, 1, 2


def hold() -> str | None:
    """Opens closed descriptors on the null device, or the next file that is opened would be one of them.

    Letters that an encoding lacks are spelled out from now on. Returns what is to be said where standard output was
    closed, since a command without one cannot do what it is asked.
    """
    closed = [fd for fd in (_INPUT, _OUTPUT, _ERROR) if _is_closed(fd)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = os.fdopen(_ERROR, "w", encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(_OUTPUT, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if _OUTPUT in closed:
        return "standard output is closed; let it go to a file, or to /dev/null"
    return None


def _is_closed(descriptor: int) -> bool:
    with suppress(OSError):
        os.fstat(descriptor)
        return False
    return True
