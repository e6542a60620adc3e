"""Lines that carry so many bytes a second, as a UART does: nothing is sent twice that was not lost.

The line and the board are simulated on a clock of their own, so that a busy machine changes nothing; the last test has
the firmware behind a pseudo-terminal whose bytes are paced in real time.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from helpers.bridge_tools import program, signal

from firmware_bridge.boards.bridge_board import BridgeBoard
from firmware_bridge.boards.build import build
from firmware_bridge.check.run import check
from firmware_bridge.errors import LinkError
from firmware_bridge.link import session
from firmware_bridge.link.messages import Kind
from firmware_bridge.link.session import Link
from firmware_bridge.link.wire import Decoder, Frame, encode
from firmware_bridge.targets import Options, open_board

BAUDS = (9_600, 19_200, 57_600, 115_200, 460_800, 921_600)
DRIVER_BYTES = 4096
"""What waits in the driver before a write waits itself, until the driver has nothing left."""


class PacedLine:
    """A transport to a simulated board: a reply of as many bytes as the request's payload asks for."""

    def __init__(self, bytes_per_s: float, compute_s: float = 0.002, deaf: bool = False) -> None:
        self.now = 100.0
        self._bytes_per_s = bytes_per_s
        self._compute_s = compute_s
        self._deaf = deaf
        self._decoder = Decoder()
        self._up_free_at = self._board_free_at = self._down_free_at = 0.0
        self._down: deque[tuple[float, bytes]] = deque()

    def monotonic(self) -> float:
        return self.now

    def write(self, data: bytes, timeout_s: float) -> None:
        queued_bytes = max(self._up_free_at - self.now, 0) * self._bytes_per_s
        if queued_bytes + len(data) > DRIVER_BYTES:
            if self._up_free_at - self.now > timeout_s:
                raise LinkError("write timeout")
            self.now = max(self.now, self._up_free_at)
        self._up_free_at = max(self._up_free_at, self.now) + len(data) / self._bytes_per_s
        for item in self._decoder.feed(data):
            assert isinstance(item, Frame)
            if not self._deaf:
                self._answer(item)

    def _answer(self, asked: Frame) -> None:
        wanted = int.from_bytes(asked.payload[:4], "little")
        reply = encode(Frame(asked.kind | 0x80, 0, asked.session, asked.sequence, DRIVER_BYTES, bytes(wanted)))
        self._board_free_at = max(self._board_free_at, self._up_free_at) + self._compute_s
        self.say(reply, self._board_free_at)

    def say(self, content: bytes, at: float) -> None:
        """The board says something; its bytes come one after the other."""
        step = max(int(self._bytes_per_s / 200), 1)
        for begin in range(0, len(content), step):
            piece = content[begin : begin + step]
            self._down_free_at = max(self._down_free_at, at) + len(piece) / self._bytes_per_s
            self._down.append((self._down_free_at, piece))

    def read(self, timeout_s: float) -> bytes:
        until = self.now + max(timeout_s, 0.0)
        if not self._down or self._down[0][0] > until:
            self.now = until
            return b""
        at, piece = self._down.popleft()
        self.now = max(self.now, at)
        return piece

    def had_s(self) -> float:
        return self.now

    def close(self) -> None:
        pass


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """``link(baud, ...)`` gives a link over a simulated line, and that line."""

    def link(baud: int, **options: float | bool) -> tuple[Link, PacedLine]:
        line = PacedLine(baud / 10, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(session, "time", line)
        return Link(line), line

    yield SimpleNamespace(link=link)


def asking(reply_bytes: int, request_bytes: int) -> bytes:
    return reply_bytes.to_bytes(4, "little") + bytes(max(request_bytes - 4, 0))


@pytest.mark.parametrize("baud", BAUDS)
@pytest.mark.parametrize("compute_s", [0.0005, 0.08])
def test_nothing_is_resent_that_was_not_lost(baud: int, compute_s: float, simulated: SimpleNamespace) -> None:
    link, _ = simulated.link(baud, compute_s=compute_s)
    link.hello()
    rng = random.Random(baud)
    for _ in range(60):
        sizes = rng.choice([(10, 4000), (4000, 10), (4000, 4000), (12, 12)])
        link.exchange(Kind.PUSH, asking(*sizes), deadline_s=5.0)
    link.grant(4, DRIVER_BYTES)
    for _ in range(10):
        link.exchange_all([(Kind.READ, asking(rng.choice([8, 4000]), rng.choice([12, 1000]))) for _ in range(20)])
    assert (link.stats.resends, link.stats.timeouts) == (0, 0)


@pytest.mark.parametrize("baud", BAUDS)
def test_a_large_window_in_front_of_a_small_request_is_waited_for(baud: int, simulated: SimpleNamespace) -> None:
    link, _ = simulated.link(baud)
    link.hello()
    link.grant(8, 8 * DRIVER_BYTES)
    link.exchange_all([(Kind.CHUNK, asking(8, size)) for size in (3900, 3900, 3900, 3900, 12, 12, 12)])
    assert (link.stats.resends, link.stats.timeouts) == (0, 0)


@pytest.mark.parametrize("baud", BAUDS)
def test_the_line_is_filled(baud: int, simulated: SimpleNamespace) -> None:
    link, line = simulated.link(baud, compute_s=0.0005)
    link.hello()
    link.grant(4, DRIVER_BYTES)
    begin, before = line.now, link.stats.bytes_in
    link.exchange_all([(Kind.READ, asking(4000, 12)) for _ in range(50)])
    assert (link.stats.bytes_in - before) / (line.now - begin) > 0.9 * baud / 10
    begin, before = line.now, link.stats.bytes_out
    link.exchange_all([(Kind.CHUNK, asking(8, 1900)) for _ in range(50)])
    assert (link.stats.bytes_out - before) / (line.now - begin) > 0.9 * baud / 10


def test_a_request_that_is_lost_on_a_slow_line_is_resent(simulated: SimpleNamespace) -> None:
    link, line = simulated.link(9_600)
    link.hello()
    answer, lost = line._answer, [0]

    def forgetful(asked: Frame) -> None:
        lost[0] += 1
        if lost[0] % 3:
            answer(asked)

    line._answer = forgetful
    for _ in range(6):
        link.exchange(Kind.PUSH, asking(100, 500))
    assert 0 < link.stats.resends <= 4


def test_silence_and_garbage_without_an_end_are_given_up(simulated: SimpleNamespace) -> None:
    link, line = simulated.link(115_200, deaf=True)
    begin = line.now
    with pytest.raises(LinkError, match="nothing came at all"):
        link.hello()
    assert line.now - begin < 10
    link, line = simulated.link(115_200, deaf=True)
    line.say(b"garbage " * 200_000, line.now)
    begin = line.now
    with pytest.raises(LinkError, match="no frame of the bridge"):
        link.hello()
    assert line.now - begin < 40


def pump(source: int, target: int, bytes_per_s: float, stop: threading.Event) -> None:
    """Bytes from one descriptor to another, so many a second."""
    due = time.monotonic()
    while not stop.is_set():
        if not select.select([source], [], [], 0.05)[0]:
            continue
        try:
            piece = os.read(source, max(int(bytes_per_s / 200), 1))
        except OSError:
            return
        due = max(due, time.monotonic()) + len(piece) / bytes_per_s
        time.sleep(max(due - time.monotonic(), 0))
        while piece:
            piece = piece[os.write(target, piece) :]


def test_a_check_over_a_serial_port_of_115200_baud() -> None:
    pytest.importorskip("serial", reason="serial ports need pyserial")
    pty, tty = pytest.importorskip("pty"), pytest.importorskip("tty")
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    stop = threading.Event()
    firmware = subprocess.Popen([str(build("host"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert firmware.stdin is not None and firmware.stdout is not None
    lines = [(firmware.stdout.fileno(), ours), (ours, firmware.stdin.fileno())]
    threads = [threading.Thread(target=pump, args=(a, b, 11_520.0, stop)) for a, b in lines]
    for thread in threads:
        thread.start()
    try:
        board = open_board(f"serial:{os.ttyname(theirs)}", program("nse_sm.i8"), Options())
        assert isinstance(board, BridgeBoard)
        board.link.least_wait_s = 60.0  # a machine so busy that the line itself stands still is no reason to ask again
        before = board.link_stats.resends
        report = check(program("nse_sm.i8"), board, signal("nse_sm.i8", 800))
        assert report.passed and board.link_stats.resends == before
        board.close()
    finally:
        stop.set()
        firmware.kill()
        firmware.communicate()
        for thread in threads:
            thread.join()
        os.close(ours)
        os.close(theirs)
