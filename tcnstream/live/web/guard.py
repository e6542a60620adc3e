"""Who may ask, and what a browser may do with the answer: every request goes through here first.

* The name in ``Host`` is one of this machine's, so that a foreign name that was made to point here gets nothing.
* ``Origin``, where a browser sends one, is this very page: ASGI servers let any page open a WebSocket.
* With a token file, the word in it: ``Authorization: Bearer WORD``, or the cookie that ``/login`` gives in exchange.
* Nothing is asked for but with GET and HEAD, and nothing is sent along.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "tcnstream"
LOGIN = "/login"
OPEN_PATHS = frozenset({LOGIN, "/page/login.js", "/page/login.css"})
"""Without the word: what is needed to give it."""

_MOST_HEADER_BYTES = 16384
_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::[0-9]{1,5})?")

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


class Guard:
    """Around an ASGI application. ``hosts`` are the names of this machine; ``token`` is None where none is needed."""

    def __init__(self, app: App, hosts: Sequence[str], token: str | None, login_page: bytes) -> None:
        self._app, self._hosts, self._login_page = app, frozenset(hosts), login_page
        self._token = None if token is None else token.encode()
        self._pass = None if self._token is None else cookie_of(self._token).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refusal(scope)
        if refused is not None:
            await _refuse(scope, send, *refused)
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_RAW_HEADERS]
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[int, bytes, str] | None:
        """Status, text and media type of a refusal."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADER_BYTES:
            return _plain(431, "that is more than a browser says")
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        host = headers.get(b"host", [])
        if len(host) != 1 or not self._is_ours(host[0], scope):
            return _plain(421, "this machine has no such name: see page.hosts of the configuration")
        if any(not _is_same(origin, host[0]) for origin in headers.get(b"origin", [])):
            return _plain(403, "another page may not ask")
        if scope["type"] == "http":
            if scope["http_version"] not in ("1.0", "1.1"):
                return _plain(505, "this speaks HTTP/1.1")
            if scope["method"] not in ("GET", "HEAD") and (scope["method"], scope["path"]) != ("POST", LOGIN):
                return _plain(405, "this can only be read")
            if b"transfer-encoding" in headers or headers.get(b"content-length", [b"0"]) != [b"0"]:
                return _plain(413, "nothing is taken here")
        if self._token is not None and scope["path"] not in OPEN_PATHS and not self._knows(headers):
            if scope["path"] == "/":
                return 401, self._login_page, "text/html; charset=utf-8"
            return _plain(401, "give the word of the token file: Authorization: Bearer WORD")
        return None

    def _is_ours(self, raw: bytes, scope: Scope) -> bool:
        name = _name(raw)
        if name in self._hosts:
            return True
        # The address that the connection came to needs no list: a name can be made to point here, a number cannot.
        server = scope.get("server")
        return server is not None and name == str(server[0]).lower() and _is_address(name)

    def _knows(self, headers: dict[bytes, list[bytes]]) -> bool:
        assert self._token is not None and self._pass is not None
        said = headers.get(b"authorization", [b""])[0].removeprefix(b"Bearer ")
        shown = _cookie(headers.get(b"cookie", []))
        # Both are compared, whatever the first one gave.
        return hmac.compare_digest(said, self._token) | hmac.compare_digest(shown, self._pass)


def cookie_of(token: bytes) -> str:
    """What a browser keeps in place of the word; the same after a restart."""
    return hmac.new(token, b"tcnstream page", hashlib.sha256).hexdigest()


def _plain(status: int, says: str) -> tuple[int, bytes, str]:
    return status, f"{says}\n".encode(), "text/plain; charset=utf-8"


def _name(host: bytes) -> str:
    """The name in ``NAME``, ``NAME:PORT`` or ``[ADDRESS]:PORT``; nothing where it is none of these."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).decode().lower() if match else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: bytes, host: bytes) -> bool:
    scheme, separator, place = origin.lower().partition(b"://")
    return scheme in (b"http", b"https") and bool(separator) and place == host.lower()


def _cookie(lines: list[bytes]) -> bytes:
    for line in lines:
        try:
            found = SimpleCookie(line.decode("latin-1")).get(COOKIE)
        except CookieError:
            continue
        if found is not None:
            return found.value.encode("latin-1")
    return b""


async def _refuse(scope: Scope, send: Send, status: int, body: bytes, media_type: str) -> None:
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode()), *_RAW_HEADERS]
    if scope["type"] == "http":
        headers.append((b"connection", b"close"))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": b"" if scope.get("method") == "HEAD" else body})
