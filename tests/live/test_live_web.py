"""The daemon's server without a browser: what it keeps, whom it refuses, and that nobody can hold it up."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import AUDIO, ECG
from helpers.ports import free_port
from helpers.served import Served
from helpers.took import least_s

from tcnstream.live.web import viewer as viewer_module
from tcnstream.live.web.message import COLUMNS, SKIPPED
from tcnstream.live.web.trace import HISTORY_S, Trace

for _package in ("uvicorn", "starlette", "websockets"):
    pytest.importorskip(_package, reason="extra live")

LIMIT_S = 90.0
TOKEN = "correct-horse-battery-staple"


def whole(rate_hz: float, blocks: list[tuple[int, np.ndarray]]) -> dict[int, tuple[float, float]]:
    """Columns that are complete or closed by a gap, frame by frame: the slow way."""
    size = Trace(rate_hz).frames_per_column
    found: dict[int, tuple[float, float]] = {}
    end = 0
    for first, samples in blocks:
        for place, value in enumerate(samples.tolist()):
            low, high = found.get((first + place) // size, (value, value))
            found[(first + place) // size] = min(low, value), max(high, value)
        end = first + len(samples)
    if end % size:
        del found[end // size]
    return found


@pytest.mark.parametrize("rate_hz", (1.0, 250.0, 16000.0, 44100.0))
def test_a_trace_keeps_what_was_heard_however_it_is_cut(rate_hz: float) -> None:
    draw = random.Random(3)
    trace = Trace(rate_hz)
    assert trace.column_hz <= 1000 and (trace.width == 2) == (rate_hz > 1000)
    blocks, frame = [], draw.randrange(1000)
    for _ in range(400):
        frame += draw.choice((0, 0, 0, 0, 1, 7, 170, 5000))
        samples = np.array([draw.uniform(-1, 1) for _ in range(draw.choice((0, 1, 5, 160, 700)))], np.float32)
        blocks.append((frame, samples))
        trace.add(frame, samples)
        frame += len(samples)
    expected = whole(rate_hz, [block for block in blocks if len(block[1])])
    first, columns = trace.since(0)
    assert first + len(columns) == trace.end == max(expected) + 1
    assert first >= trace.end - trace.most and not any(trace.end - trace.most <= column < first for column in expected)
    for place, column in enumerate(columns):
        if first + place in expected:
            low, high = expected[first + place]
            assert (column[0], column[-1]) == (np.float32(low), np.float32(high)) or trace.width == 1
        else:
            assert np.isnan(column).all()
    few = min(3, len(columns))
    later, rest = trace.since(trace.end - few)
    assert later == trace.end - few and np.array_equal(rest, columns[-few:], equal_nan=True)


def test_a_trace_of_days_with_a_gap_of_hours_stays_small() -> None:
    trace = Trace(250.0)
    for minute in range(20):
        trace.add(minute * 15000 + (10**9 if minute > 10 else 0), np.zeros(15000, np.float32))
        assert trace._buffer.nbytes <= 1.3 * HISTORY_S * 250 * 4
    first, columns = trace.since(0)
    assert len(columns) == trace.most and first == trace.end - trace.most
    trace.add(0, np.ones(10, np.float32))
    assert trace.turn == 1 and trace.end == 10


# A daemon, and those who mean it ill ---------------------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    return free_port()


def config(listen: str, speed: float, page: str = "", room_speed: float = 1.0) -> str:
    text = f'state = "state"\n[page]\nlisten = "{listen}"\n{page}\n'
    for name, path, model, pace in (("heart", ECG, "ecg", speed), ("room", AUDIO, "speech", room_speed)):
        where = json.dumps(str(path))
        text += f'[stream.{name}]\nmodel = "{model}"\nsinks = ["log"]\n'
        text += f'source = {{ kind = "file", name = {where}, speed = "{pace:g}", repeat = true }}\n'
    return text + '[sink.log]\nkind = "jsonl"\npath = "segments.jsonl"\n'


def ask(port: int, raw: bytes) -> bytes:
    """What comes back until the other side closes, or says no more."""
    answer = b""
    with closing(socket.create_connection(("127.0.0.1", port), LIMIT_S)) as line, suppress(OSError):
        line.sendall(raw)
        while True:
            piece = line.recv(65536)
            if not piece:
                break
            answer += piece
            if b"\r\n\r\n" in answer and b"content-length: " in answer.lower():
                head, _, body = answer.partition(b"\r\n\r\n")
                if len(body) >= int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
                    break
    return answer


def get(port: int, path: str = "/health", *headers: str, host: str = "", method: str = "GET") -> tuple[int, bytes]:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", "Connection: close", *headers, "", ""]
    answer = ask(port, "\r\n".join(lines).encode("latin-1"))
    return int(answer.split(b" ")[1]), answer


def handshake(port: int, *headers: str, host: str = "") -> socket.socket:
    """A WebSocket; raises ConnectionError where it is refused."""
    line = socket.create_connection(("127.0.0.1", port), LIMIT_S)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /live HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers, "", ""]
    line.sendall("\r\n".join(lines).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = line.recv(1)
        if not piece:
            break
        answer += piece
    if b" 101 " not in answer.split(b"\r\n")[0]:
        line.close()
        raise ConnectionError(answer.split(b"\r\n")[0].decode())
    return line


def frame(opcode: int, payload: bytes, first: int = 0x80, mask: bool = True) -> bytes:
    size = bytes([(0x80 if mask else 0) | (len(payload) if len(payload) < 126 else 126)])
    size += b"" if len(payload) < 126 else struct.pack(">H", len(payload))
    return bytes([first | opcode]) + size + (bytes(4) if mask else b"") + payload


def is_closed(line: socket.socket, timeout_s: float) -> bool:
    """Whether the other side ends it; what it still says is read."""
    line.settimeout(timeout_s)
    until_s = time.monotonic() + timeout_s
    with suppress(ConnectionError), closing(line):
        try:
            while line.recv(1 << 16):
                if time.monotonic() > until_s:
                    return False
        except TimeoutError:
            return False
    return True


def test_strangers_are_refused(serve: Callable[..., Served], port: int, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    daemon = serve(config(f"0.0.0.0:{port}", 1, 'token_file = "token"\nhosts = ["pi.lan"]'))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text())
    word = f"Authorization: Bearer {TOKEN}"
    assert get(port, "/health", word)[0] == 200 == get(port, "/health", word, host="pi.lan")[0]
    for path in ("/", "/health", "/metrics", "/page/app.js", "/nothing", f"/health?token={TOKEN}"):
        assert get(port, path)[0] == 401, path
        assert get(port, path, word.lower().replace("bearer", "Bearer") + "x")[0] == 401, path
    assert get(port, "/health", word, host="evil.example")[0] == 421
    assert get(port, "/health", word, host="127.0.0.1.evil.example")[0] == 421
    assert get(port, "/health", word, "Origin: http://evil.example")[0] == 403
    assert get(port, "/health", word, f"Origin: http://127.0.0.1:{port + 1}")[0] == 403
    assert get(port, "/health", word, "Origin: null")[0] == 403
    with pytest.raises(ConnectionError, match="401"):
        handshake(port)
    with pytest.raises(ConnectionError, match="403"):
        handshake(port, word, "Origin: http://evil.example")
    with pytest.raises(ConnectionError, match="421"):
        handshake(port, word, host="evil.example")
    handshake(port, word, f"Origin: http://127.0.0.1:{port}").close()
    assert get(port, "/login", method="POST")[0] == 401
    code, answer = get(port, "/login", word, method="POST")
    cookie = answer.split(b"set-cookie: ")[1].split(b"\r\n")[0].decode()
    assert code == 204 and "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and TOKEN not in cookie
    assert get(port, "/", f"Cookie: {cookie.split(';')[0]}")[0] == 200
    assert get(port, "/", f"Cookie: {cookie.split(';')[0]}x")[0] == 401
    policy = get(port, "/", word)[1].decode().split("content-security-policy: ")[1].split("\r\n")[0]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert daemon.end() == 0 and TOKEN not in daemon.log.read_text()


def hostile(draw: random.Random, port: int) -> bytes:
    """A request that nobody means well by."""
    host = f"Host: 127.0.0.1:{port}"
    path = draw.choice(
        ("/../../etc/passwd", "/page/..%2f..%2fweb/guard.py", "/page/%2e%2e/config.py", "//etc/passwd", "/page//app.js",
         "/page/vendor/package.json", "/page/index.html", "/live/../health", "/%00", "/page/app.js%00.css", "\\..\\x",
         "http://evil.example/", "/segments.jsonl", "/state/journal.db", "/" + "a" * 9000, "/health/", "/PAGE/app.js")
    )  # fmt: skip
    method = draw.choice(("PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "get"))
    stranger = draw.choice(("evil.example", "", "127.0.0.1@evil.example", "0x7f.1", "[::1", "a" * 300))
    origin = draw.choice(("http://evil.example", "null", "file://", "javascript:1"))
    upgrade = f"{host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
    key, version = f"{'A' * 22}==\r\n", "Sec-WebSocket-Version: 13\r\n"
    requests = (
        f"GET {path} HTTP/1.1\r\n{host}\r\n\r\n",
        f"{method} / HTTP/1.1\r\n{host}\r\n\r\n",
        f"POST /login HTTP/1.1\r\n{host}\r\nContent-Length: 900000000\r\n\r\n" + "x" * 1000,
        f"GET / HTTP/1.1\r\n{host}\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        f"GET / HTTP/1.1\r\n{host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
        f"GET / HTTP/1.1\r\nHost: {stranger}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}\r\nOrigin: {origin}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}\r\nX: {'y' * 70000}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}\r\n" + "".join(f"X{n}: y\r\n" for n in range(4000)) + "\r\n",
        f"GET / HTTP/9.9\r\n{host}\r\n\r\n",
        f"GET /live HTTP/1.1\r\n{upgrade}x\r\n{version}\r\n",
        f"GET /live HTTP/1.1\r\n{upgrade}{key}Sec-WebSocket-Version: 7\r\n\r\n",
        f"GET /live HTTP/1.1\r\n{upgrade}{key}{version}Origin: {origin}\r\n\r\n",
        f"GET /live HTTP/1.1\r\n{host}\r\n\r\n",
        f"GET /health HTTP/1.1\r\n{upgrade}{key}{version}\r\n",
        "".join(chr(draw.randrange(256)) for _ in range(draw.randrange(1, 400))) + "\r\n\r\n",
    )
    return draw.choice(requests).encode("latin-1")


def malformed(draw: random.Random) -> bytes:
    """Frames that no browser sends, and questions that the page does not ask."""
    return draw.choice(
        (
            frame(1, b'{"watch":"heart"}', mask=False),
            frame(3, b"x"),
            frame(2, b"x", first=0xC0),
            frame(9, b"x" * 126),
            frame(9, b"x", first=0),
            frame(0, b"x"),
            frame(1, b"\xff\xfe"),
            frame(1, b"x" * 2000),
            b"\x82\xff" + struct.pack(">Q", 1 << 62) + bytes(4),
            frame(8, b"\x00"),
            frame(8, b"\x03\xe8\xff"),
            frame(1, b""),
            frame(1, b"[]"),
            frame(1, b'{"watch":1}'),
            frame(1, b'{"watch":"heart","number":-1}'),
            frame(1, b'{"watch":"heart","number":1e99}'),
            frame(1, b'{"watch":"heart","path":"/etc/passwd"}'),
            frame(1, b'{"stop":true}'),
            frame(1, b"[" * 1000),
            bytes(draw.randrange(256) for _ in range(200)),
        )
    )


def test_a_thousand_hostile_requests_leave_the_daemon_unharmed(serve: Callable[..., Served], port: int) -> None:
    daemon = serve(config(f"127.0.0.1:{port}", 4))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text() and len(daemon.events()) > 20)
    pid = daemon.process.pid

    def files() -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    before = files()
    draw = random.Random(14)
    told = 0
    for _ in range(1000):
        raw = hostile(draw, port)
        answer = ask(port, raw)
        status = int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else 0
        assert status == 0 or status >= 400, (raw[:200], answer[:200])
        told += status > 0
        assert not any(secret in answer for secret in (b"root:", b"Traceback", b"SQLite", b'"type":"segment"'))
    assert told > 700
    lines = []
    for _ in range(150):
        line = handshake(port)
        line.sendall(malformed(draw))
        lines.append(line)
    assert all(is_closed(line, LIMIT_S) for line in lines)
    count = len(daemon.events())
    daemon.wait_for(lambda: len(daemon.events()) > count + 20)
    assert get(port)[0] == 200
    daemon.wait_for(lambda: files() <= before + 2)
    log = daemon.log.read_text()
    assert log.count("\n") < 40 and "Traceback" not in log
    assert daemon.end() == 0


def test_those_who_say_nothing_do_not_keep_others_out(serve: Callable[..., Served], port: int) -> None:
    daemon = serve(config(f"127.0.0.1:{port}", 1))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text())
    silent = [socket.create_connection(("127.0.0.1", port), LIMIT_S) for _ in range(400)]
    time.sleep(0.5)
    daemon.wait_for(lambda: len(os.listdir(f"/proc/{daemon.process.pid}/fd")) < 300)  # some are taken and then closed
    daemon.wait_for(lambda: _answers(port))
    for line in silent:
        line.close()
    assert daemon.end() == 0


def _answers(port: int) -> bool:
    try:
        return get(port)[0] == 200
    except (OSError, IndexError):
        return False


# Viewers -------------------------------------------------------------------------------------------------------------


def messages(line: socket.socket, until: Callable[[], bool], bytes_per_s: float = 1e9) -> Iterator[tuple[int, Any]]:
    """Kind and body of what a viewer is sent; it answers pings, reading so fast at most."""
    line.settimeout(0.5)
    read = b""
    while not until():
        began_s = time.monotonic()
        try:
            piece = line.recv(int(min(65536, max(512, bytes_per_s / 10))))
        except TimeoutError:
            continue
        except OSError:
            return
        if not piece:
            return
        read += piece
        while (size := _size(read)) and len(read) >= sum(size):
            opcode, body = read[0] & 15, read[size[0] : sum(size)]
            read = read[sum(size) :]
            if opcode == 9:
                line.sendall(frame(10, body))
            elif opcode == 8:
                yield -1, struct.unpack(">H", body[:2])[0] if body else 0
                return
            elif opcode == 2:
                kind = body[0]
                first = int(struct.unpack("<d", body[8:16])[0])
                yield kind, (first, np.frombuffer(body[16:], "<f4")) if kind == COLUMNS else json.loads(body[16:])
        time.sleep(max(0.0, len(piece) / bytes_per_s - (time.monotonic() - began_s)))


def _size(read: bytes) -> tuple[int, int] | None:
    if len(read) < 10:
        return None
    if read[1] < 126:
        return 2, read[1]
    return (4, struct.unpack(">H", read[2:4])[0]) if read[1] == 126 else (10, struct.unpack(">Q", read[2:10])[0])


def test_twenty_viewers_see_all_and_slow_ones_hold_nobody_up(serve: Callable[..., Served], port: int) -> None:
    daemon = serve(config(f"127.0.0.1:{port}", 40, room_speed=2))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text() and len(daemon.events()) > 20)
    over = threading.Event()
    ends: list[int] = []
    holes: list[str] = []
    marks: list[Any] = []
    closed_s: dict[str, float] = {}

    def look(number: int) -> None:
        line = handshake(port)
        line.sendall(frame(1, json.dumps({"watch": ("heart", "room")[number % 2], "number": 7}).encode()))
        end, width = None, 1 + number % 2
        for kind, body in messages(line, over.is_set):
            if kind == SKIPPED:
                holes.append("skipped")
            if kind == COLUMNS:
                first, columns = body
                if end is not None and first != end:
                    holes.append(f"{end} to {first}")
                end = first + len(columns) // width
        ends.append(end or 0)
        line.close()

    def crawl() -> None:
        line = handshake(port)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.sendall(frame(1, b'{"watch":"heart"}'))
        began_s = time.monotonic()
        for kind, body in messages(line, lambda: bool(marks) or time.monotonic() - began_s > LIMIT_S, 30_000):
            if kind == SKIPPED:
                marks.append(body)
        line.close()

    def stand() -> None:
        line = handshake(port)
        line.sendall(frame(1, b'{"watch":"room"}'))
        began_s = time.monotonic()
        while time.monotonic() - began_s < LIMIT_S and _is_there(line):
            time.sleep(0.2)
        closed_s["stands"] = time.monotonic() - began_s
        line.close()

    threads = [threading.Thread(target=look, args=(number,)) for number in range(20)]
    slow = [threading.Thread(target=crawl), threading.Thread(target=stand)]
    for thread in (*threads, *slow):
        thread.start()
    for thread in slow:
        thread.join(2 * LIMIT_S)
    over.set()
    for thread in threads:
        thread.join(LIMIT_S)
    assert not holes and len(ends) == 20 and min(ends) > 100
    assert marks and all(mark["next"] > mark["first"] for mark in marks)
    assert 8 < closed_s["stands"] < 60, closed_s
    states = json.loads(get(port)[1].partition(b"\r\n\r\n")[2])["streams"]
    assert all(state["behind_s"] < 5 and not state["missing_frames"] for state in states.values())
    assert daemon.end() == 0


def _is_there(line: socket.socket) -> bool:
    """Whether the connection stands, without reading from it."""
    state = struct.unpack("B", line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0]
    return int(state) == 1  # TCP_ESTABLISHED


def test_a_viewer_that_never_takes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_module, "CLOSE_S", 0.3)

    class Nothing:
        def told(self) -> bytes:
            return b"facts"

    async def send(message: bytes) -> None:
        await asyncio.sleep(60)

    def watch() -> None:
        viewer = viewer_module.Viewer(Nothing(), send)  # type: ignore[arg-type]
        with pytest.raises(TimeoutError):
            asyncio.run(viewer.run())

    assert least_s(watch, 2) < 30


@pytest.mark.parametrize("slow", ["peer", "machine"])
def test_a_busy_machine_makes_no_viewer_slow(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the daemon's own that took a second was laid at the door of all that looked on: their pictures had
    holes."""
    monkeypatch.setattr(viewer_module, "SKIP_S", 0.15)
    skipped: list[bool] = []

    class Looked(viewer_module.Viewer):
        def _messages(self, skips: bool) -> list[bytes]:
            skipped.append(skips)
            if len(skipped) > 3:
                raise StopAsyncIteration
            return [b"facts"]

    async def send(message: bytes) -> None:
        if slow == "machine":
            time.sleep(0.3)
        else:
            await asyncio.sleep(0.5)

    with pytest.raises(StopAsyncIteration):
        asyncio.run(Looked(None, send).run())  # type: ignore[arg-type]
    assert skipped == [False, *[slow == "peer"] * 3]
