"""Ports for servers that must be told one, and whose clients must know it before."""

from __future__ import annotations

import socket

_PORTS = range(20_000, 30_000)
_taken: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that no other test gets as long as this process lives, though nobody listens to it yet.

    It is below those that the system gives to connections and to whoever asks for any. That of the same number for
    datagrams, which nobody here wants, is the sign by which tests of all processes know that it is taken.
    """
    for port in _PORTS:
        sign = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sign.bind(("127.0.0.1", port))
            with socket.socket() as asked:
                asked.bind(("127.0.0.1", port))
        except OSError:
            sign.close()
            continue
        _taken.append(sign)
        return port
    raise AssertionError(f"no port of {_PORTS} is free")
