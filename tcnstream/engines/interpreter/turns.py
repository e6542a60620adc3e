"""One caller at a time in an interpreter, in whichever process."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet


class Turns:
    """A lock for ``with`` that a forked child finds open: whoever held it is a thread of the parent, and never leaves
    it there. For what is written anew by each caller before it is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _all.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def open_anew(self) -> None:
        self._lock = threading.Lock()


_all: WeakSet[Turns] = WeakSet()


def _open_all() -> None:
    for each in _all:
        each.open_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)
