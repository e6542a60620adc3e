"""Stock boards for the bridge's tests: a twin behind a TCP port, whose line can be spoiled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from firmware_bridge.errors import LinkError
from firmware_bridge.link.transport import SocketTransport
from firmware_bridge.neuralspot import Twin, listen
from firmware_bridge.neuralspot.twin import Convention
from tcnstream.model import Model

_WAIT_S = 90.0


@contextmanager
def a_twin(
    model: Model, convention: Convention = "validator", spoil: Callable[[int, bytes], bytes | None] | None = None
) -> Iterator[str]:
    """The target's name; ``spoil`` gets a reply's number and bytes, and gives what goes out (None: hangs up)."""
    stop, replies = threading.Event(), [0]
    with listen("127.0.0.1", 0) as listening:
        listening.settimeout(0.1)

        def serve() -> None:
            while not stop.is_set():
                try:
                    line = SocketTransport(listening.accept()[0], "client")
                except TimeoutError:
                    continue
                try:
                    _answer(Twin(model, convention), line, stop, spoil, replies)
                except LinkError:
                    pass
                finally:
                    line.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            host, port = listening.getsockname()[:2]
            yield f"neuralspot:tcp:{host}:{port}?convention={convention}"
        finally:
            stop.set()
            thread.join(_WAIT_S)


def _answer(twin: Twin, line: SocketTransport, stop: threading.Event, spoil: Any, replies: list[int]) -> None:
    while not stop.is_set():
        reply: bytes | None = twin.receive(line.read(0.05))
        if not reply:
            continue
        if spoil is not None:
            reply = spoil(replies[0], reply)
        replies[0] += 1
        if reply is None:
            return
        line.write(reply, _WAIT_S)
