"""The server: uvicorn with starlette in a thread of its own (extra ``live``).

Both are plain Python without parts to compile, so that they run on any Raspberry Pi, and starlette brings nothing but
anyio; WebSockets come from the package websockets, which answers pings and refuses malformed frames by itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tcnstream.live.address import LOOPBACK, listen_to
from tcnstream.live.config import PageConfig
from tcnstream.live.logs import Log
from tcnstream.live.told import Told
from tcnstream.live.web.history import History
from tcnstream.live.web.routes import application
from tcnstream.live.web.viewer import MOST_ASKED_BYTES, TURNS_HZ
from tcnstream.signal.extras import optional_package

_WHY = "a page is asked for (page.listen)"
_MOST_CONNECTIONS = 200
_REQUEST_S = 5.0
_SEND_BUFFER_BYTES = 1 << 14
_PING_S, _PONG_S = 4, 6
"""A viewer that reads nothing has not answered a ping ten seconds later, and is closed."""


class Web:
    """The server; ``port`` is what it listens to, which the configuration may leave open with 0."""

    def __init__(self, config: PageConfig, daemon: Told, log: Log) -> None:
        uvicorn = optional_package("uvicorn", _WHY, "live")
        optional_package("starlette", _WHY, "live")
        optional_package("websockets", _WHY, "live")
        assert config.host is not None
        self._socket = listen_to(config.host, config.port, "page.listen", _SEND_BUFFER_BYTES)
        self.port = int(self._socket.getsockname()[1])
        self.address = f"http://{f'[{config.host}]' if ':' in config.host else config.host}:{self.port}/"
        self._history = History(daemon)
        hosts = (*LOOPBACK, *config.hosts)
        if config.host not in LOOPBACK:
            hosts += (config.host, socket.gethostname().lower(), f"{socket.gethostname().lower()}.local")
        settings = uvicorn.Config(
            application(daemon, self._history, hosts, config.token),
            http=_http(),
            ws="websockets-sansio",
            ws_max_size=MOST_ASKED_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=_PING_S,
            ws_ping_timeout=_PONG_S,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
            access_log=False,
            server_header=False,
        )
        logger = logging.getLogger("uvicorn.error")
        logger.propagate, logger.handlers = False, [_Told(log)]
        logger.setLevel(logging.WARNING)
        self._server = uvicorn.Server(settings)
        self._server.install_signal_handlers = lambda: None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._log = log

    def start(self) -> None:
        self._thread.start()
        self._log.info("web.started", port=self.port)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(3.0)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        beside = [asyncio.create_task(work) for work in (self._collect(), self._tidy())]
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            for task in beside:
                task.cancel()

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """What goes wrong once is said, and tried again at the next turn: without it the page would stand still."""
        try:
            yield
        except Exception as error:
            self._log.error("web.broke", error=f"{type(error).__name__}: {error}")

    async def _collect(self) -> None:
        while True:
            with self._going_on():
                self._history.collect()
            await asyncio.sleep(1 / TURNS_HZ)

    async def _tidy(self) -> None:
        """Who is closed and does not read would keep the connection until it does."""
        closing: set[Any] = set()
        while True:
            with self._going_on():
                lines = {each.transport for each in self._server.server_state.connections}
                for line in (still_closing := {line for line in lines if line.is_closing()}) & closing:
                    line.abort()
                closing = still_closing
            await asyncio.sleep(1.0)


class _Told(logging.Handler):
    """What uvicorn complains of goes into the daemon's log, in one line and without what was sent."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        what = "" if error is None else f" ({type(error).__name__}: {error})"
        self._log.warn("web.trouble", why=f"{record.getMessage().strip()}{what}")


def _http() -> Any:
    """uvicorn's own with limits: there are only so many connections, each must say something, little waits in it."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.set_write_buffer_limits(_SEND_BUFFER_BYTES)
            if len(self.connections) > _MOST_CONNECTIONS:
                transport.abort()
            self.loop.call_later(_REQUEST_S, self._hurry)

        def _hurry(self) -> None:
            if self.cycle is None and self.transport.get_protocol() is self:
                self.transport.abort()

    return Bounded
