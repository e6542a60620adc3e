"""What the daemon serves over HTTP: ``/health`` (200 only while all is well) and ``/metrics`` for Prometheus.

A thread of its own runs the server (packages uvicorn and starlette, extra ``live``). Beyond this machine every request
must carry the word of the token file: ``Authorization: Bearer WORD``, or ``?token=WORD``.
"""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from tcnstream.errors import SignalError
from tcnstream.live.config import PageConfig
from tcnstream.live.logs import Log
from tcnstream.live.metrics import metrics
from tcnstream.live.told import Told
from tcnstream.signal.extras import optional_package

_WHY = "a page is asked for (page.listen)"


class Web:
    """The server; ``port`` is what it listens to, which the configuration may leave open with 0."""

    def __init__(self, config: PageConfig, daemon: Told, log: Log) -> None:
        uvicorn = optional_package("uvicorn", _WHY, "live")
        optional_package("starlette", _WHY, "live")
        assert config.host is not None
        self._socket = _listen(config.host, config.port)
        self.port = int(self._socket.getsockname()[1])
        token = None if config.token_file is None else config.token_file.read_text(encoding="utf-8").strip()
        settings = uvicorn.Config(
            application(daemon, token), log_config=None, lifespan="off", timeout_graceful_shutdown=1, access_log=False
        )
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
        import asyncio

        asyncio.run(self._server.serve(sockets=[self._socket]))


def application(daemon: Told, token: str | None) -> Any:
    """The ASGI application; the page adds its routes to it."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def allowed(request: Request) -> bool:
        said = request.headers.get("authorization", "").removeprefix("Bearer ") or request.query_params.get("token", "")
        return token is None or hmac.compare_digest(said.encode(), token.encode())

    def guarded(answer: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if not allowed(request):
                return PlainTextResponse("give the word of the token file\n", 401)
            return answer()

        return endpoint

    def health() -> Response:
        wrong = daemon.is_well()
        return JSONResponse({"well": not wrong, "wrong": wrong, "streams": daemon.states()}, 503 if wrong else 200)

    def numbers() -> Response:
        return PlainTextResponse(metrics(daemon), media_type="text/plain; version=0.0.4")

    return Starlette(routes=[Route("/health", guarded(health)), Route("/metrics", guarded(numbers))])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(64)
    except OSError as error:
        raise SignalError(f"page.listen: {host}:{port} is not to be had ({error.strerror}); name another") from error
    return made
