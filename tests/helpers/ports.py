"""Ports for servers that must be told one, and whose clients must know it before."""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _OF_A_WORKER = 20_000, 500
_numbers = itertools.count()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody else gets meanwhile, though nobody listens to it yet.

    It is below those that the system gives to connections and to whoever asks for any, and each of the processes that
    test side by side takes from a range of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + worker % 20 * _OF_A_WORKER
    for number in _numbers:
        port = first + number % _OF_A_WORKER
        with socket.socket() as asked:
            try:
                asked.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("count() has no end")
