"""What is answered: the page and its files, health, metrics, and the WebSocket of viewers.

The files of the page are read once, at the start: no path ever comes from the network.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from tcnstream.live.metrics import metrics
from tcnstream.live.told import Told
from tcnstream.live.web.guard import COOKIE, LOGIN, App, Guard, cookie_of
from tcnstream.live.web.history import History
from tcnstream.live.web.viewer import Viewer

PAGE = Path(__file__).resolve().parent.parent / "page"
MOST_VIEWERS = 64
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
_TOO_SLOW, _NO_QUESTION, _TOO_MANY = 4008, 1008, 1013
_LOGIN_COOKIE_S = 90 * 86400
_WRONG_WORD_S = 0.5


def application(daemon: Told, history: History, hosts: tuple[str, ...], token: str | None) -> App:
    """The ASGI application."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    files = _files()
    looking = 0

    def fixed(body: bytes, media_type: str) -> Callable[[Request], Response]:
        return lambda request: Response(body, media_type=media_type)

    async def health(request: Request) -> Response:
        wrong = daemon.is_well()
        sinks = {name: sink.state() for name, sink in list(daemon.hub.sinks.items())}
        said = {"well": not wrong, "wrong": wrong, "streams": daemon.states(), "sinks": sinks}
        return JSONResponse(said, 503 if wrong else 200)

    async def numbers(request: Request) -> Response:
        return PlainTextResponse(metrics(daemon), media_type="text/plain; version=0.0.4")

    async def login(request: Request) -> Response:
        said = request.headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
        if token is None or not hmac.compare_digest(said, token.encode()):
            await asyncio.sleep(_WRONG_WORD_S)
            return PlainTextResponse("that is not the word\n", 401)
        answer = Response(status_code=204)
        answer.set_cookie(
            COOKIE, cookie_of(token.encode()), max_age=_LOGIN_COOKIE_S, httponly=True, samesite="strict", path="/"
        )
        return answer

    async def live(socket: WebSocket) -> None:
        nonlocal looking
        await socket.accept()
        if looking >= MOST_VIEWERS:
            await socket.close(_TOO_MANY, "too many viewers")
            return
        looking += 1
        viewer = Viewer(history, socket.send_bytes)
        shows = asyncio.create_task(viewer.run())
        hears = asyncio.create_task(_hear(socket, viewer))
        try:
            await asyncio.wait((shows, hears), return_when=asyncio.FIRST_COMPLETED)
            with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
                if hears.done() and isinstance(hears.exception(), msgspec.MsgspecError):
                    await socket.close(_NO_QUESTION, "that is no question")
                elif shows.done() and isinstance(shows.exception(), TimeoutError):
                    await asyncio.wait_for(socket.close(_TOO_SLOW, "too slow"), 1.0)
        finally:
            looking -= 1
            for task in (shows, hears):
                task.cancel()
            await asyncio.gather(shows, hears, return_exceptions=True)

    async def _hear(socket: WebSocket, viewer: Viewer) -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            viewer.ask(message.get("bytes") or message.get("text") or b"")

    routes: list[Any] = [
        Route("/", fixed(files["index.html"], "text/html")),
        *(
            Route(f"/page/{name}", fixed(body, _TYPES[Path(name).suffix]))
            for name, body in files.items()
            if Path(name).suffix in _TYPES and not name.endswith(".html")
        ),
        Route("/health", health),
        Route("/metrics", numbers),
        Route(LOGIN, login, methods=["POST"]),
        WebSocketRoute("/live", live),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return Guard(app, hosts, token, files["login.html"])


def _files() -> dict[str, bytes]:
    return {path.relative_to(PAGE).as_posix(): path.read_bytes() for path in sorted(PAGE.rglob("*")) if path.is_file()}
