"""Requests and replies over a line that loses, repeats and damages bytes: deadlines, resends, flow control.

Requests are numbered; a board carries out each number once, in order, and keeps its last replies, so that a
resent request gets the same reply again. A request is resent when its reply is late (by what replies have
taken so far, and what its bytes and those that arrive need on a line as fast as this one has been), or at once when
either end saw a damaged frame. Up to the board's window of requests may be in flight, and never more bytes than its
credit. Every wait ends: an exchange that has no reply by its deadline is a LinkError that says what did arrive.
Deadlines go by the time that the other end had (see ``transport.Patience``): an emulator may be kept waiting.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from firmware_bridge.errors import BoardRestartedError, LinkError, RefusedError
from firmware_bridge.link.messages import (
    PROTOCOL,
    REPLY,
    HelloRequest,
    Kind,
    Log,
    ReadRequest,
    Refusal,
    Status,
    refusal,
)
from firmware_bridge.link.transport import Patience, Transport
from firmware_bridge.link.wire import Damaged, Decoder, Frame, encode, encoded_bytes

DEADLINE_S = 5.0
"""For a reply, beside the time that the bytes need on the line and that the caller grants for computing."""

SLOWEST_BYTES_PER_S = 900
"""What any line is taken to carry until it has carried more: that of 9,600 baud."""

_MOST_HEARD_BYTES = 1 << 14
"""So many bytes on their way to a reply may put off its deadline: garbage may come for ever."""

_LEAST_WAIT_S = 0.25
_LEAST_SPACING_S = 0.002
_MOST_WAIT_S = 1.0
_HELLO_WAIT_S = 0.2
_KEPT_LOG_LINES = 1000


@dataclass
class LinkStats:
    """What the line has seen."""

    bytes_out: int = 0
    bytes_in: int = 0
    exchanges: int = 0
    resends: int = 0
    timeouts: int = 0
    damaged_frames: int = 0
    damaged_requests: int = 0
    stray_frames: int = 0

    @property
    def bytes_between_damages(self) -> float:
        """How many bytes the line carries from one damaged frame to the next, on average so far."""
        damages = self.damaged_frames + self.damaged_requests
        return (self.bytes_in + self.bytes_out) / damages if damages else float("inf")


@dataclass
class _Request:
    kind: int
    payload: bytes
    sequence: int = 0
    coded: bytes = b""
    sent_at: float = 0.0
    sends: int = 0
    wait_s: float = 0.0
    hurry: bool = False
    reply: Frame | None = None


@dataclass
class _Pace:
    """How long replies take: a smoothed mean and deviation, as TCP has them (RFC 6298)."""

    mean_s: float = 0.05
    deviation_s: float = 0.05
    known: bool = False

    def took(self, seconds: float) -> None:
        if not self.known:
            self.mean_s, self.deviation_s, self.known = seconds, seconds / 2, True
            return
        self.deviation_s += 0.25 * (abs(seconds - self.mean_s) - self.deviation_s)
        self.mean_s += 0.125 * (seconds - self.mean_s)

    @property
    def wait_s(self) -> float:
        return min(self.mean_s + 4 * self.deviation_s, _MOST_WAIT_S)


@dataclass
class _Line:
    """How many bytes a second the line carries at least, by what it has carried."""

    bytes_per_s: float = SLOWEST_BYTES_PER_S

    def carried(self, count_bytes: int, seconds: float) -> None:
        self.bytes_per_s = max(self.bytes_per_s, count_bytes / max(seconds, 1e-3))

    def takes_s(self, count_bytes: int) -> float:
        return count_bytes / self.bytes_per_s


def _pace_key(kind: int, payload: bytes) -> tuple[int, int]:
    """Requests that take about as long: of one kind and, by powers of two, of one size."""
    is_read = kind == Kind.READ and len(payload) == ReadRequest.size_bytes()
    size = ReadRequest.unpack(payload).count_bytes if is_read else len(payload)
    return kind, size.bit_length()


def _is_text(raw: bytes) -> bool:
    return len(raw) > 3 and all(b in b"\t\n\r" or 32 <= b < 127 for b in raw)


@dataclass
class Link:
    """One end of the line. Not for two threads at a time.

    ``on_log`` gets (level, text) of every line that the firmware logs, and of text on the port that is no frame
    (level "text"); the last ones are in ``log`` as well. ``least_wait_s``: no reply counts as late before that.
    """

    transport: Transport
    on_log: Callable[[str, str], None] | None = None
    least_wait_s: float = _LEAST_WAIT_S
    stats: LinkStats = field(default_factory=LinkStats)
    log: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=_KEPT_LOG_LINES))

    def __post_init__(self) -> None:
        self._decoder = Decoder()
        self._session = 0
        self._sequence = 0
        self._window = 1
        self._credit = 0
        self._paces: dict[tuple[int, int], _Pace] = {}
        self._line = _Line()
        self._began_at = self._progress_at = self._written_at = 0.0
        self._patience: Patience | None = None
        self._replied_bytes = self._heard_bytes = 0
        self._last_damaged = b""
        self._replies = 0
        self._echoed = False

    @property
    def session(self) -> int:
        return self._session

    def grant(self, window: int, receive_bytes: int) -> None:
        """What the board said it can hold: requests in flight, and their bytes."""
        self._window = max(window, 1)
        self._credit = receive_bytes

    def hello(self, deadline_s: float = DEADLINE_S) -> bytes:
        """Opens a session; returns the payload of the board's hello.

        The first bytes may be lost (a pseudo-terminal drops what comes before it is opened), so the
        request is repeated until it is answered.
        """
        previous = self._session
        while self._session == previous:
            self._session = random.randrange(1, 0x10000)
        self._sequence = 0
        self._window, self._credit = 1, 0
        self._paces.clear()
        asked = HelloRequest(PROTOCOL).pack()
        self._paces[_pace_key(Kind.HELLO, asked)] = _Pace(_HELLO_WAIT_S, 0.0)
        return self.exchange(Kind.HELLO, asked, deadline_s).payload

    def usual_s(self, kind: int, payload: bytes) -> float | None:
        """How long replies to requests of that kind and size take at most, by those that came; None before any did."""
        pace = self._paces.get(_pace_key(kind, payload))
        return pace.mean_s + 4 * pace.deviation_s if pace is not None and pace.known else None

    def exchange(self, kind: int, payload: bytes = b"", deadline_s: float = DEADLINE_S) -> Frame:
        """One request and its reply. Raises LinkError without a reply, RefusedError for a refusal."""
        return self.exchange_all([(kind, payload)], deadline_s)[0]

    def exchange_all(self, requests: Iterable[tuple[int, bytes]], deadline_s: float = DEADLINE_S) -> list[Frame]:
        """Requests one behind the other, as many in flight as the board allows; the replies in their order.

        ``deadline_s`` is for each reply, counted from the one before it.
        """
        waiting = deque(_Request(kind, payload) for kind, payload in requests)
        in_flight: deque[_Request] = deque()
        done: list[Frame] = []
        self._began_at = self._progress_at = time.monotonic()
        self._patience = None
        self._replied_bytes = self._heard_bytes = 0
        while waiting or in_flight:
            while waiting and self._may_send(waiting[0], in_flight):
                request = waiting.popleft()
                self._send_first(request, sum(len(r.coded) for r in in_flight))
                in_flight.append(request)
            allowed_s = deadline_s + self._line.takes_s(sum(len(r.coded) for r in in_flight)) + self._arriving_s()
            late = self._left_s(allowed_s) <= 0
            self._receive(in_flight, wait=not late)
            if late and in_flight[0].reply is None:
                raise self._no_reply(in_flight[0], allowed_s)
            while in_flight and (reply := in_flight[0].reply) is not None:
                request = in_flight.popleft()
                self.stats.exchanges += 1
                done.append(self._accepted(request, reply))
        return done

    def _left_s(self, allowed_s: float) -> float:
        """What is left of a deadline. How much time the other end had is looked at only once a reply is late."""
        passed_s = time.monotonic() - self._progress_at
        if passed_s < _LEAST_WAIT_S:
            return allowed_s - passed_s
        self._patience = self._patience or Patience(self.transport)
        return self._patience.left_s(allowed_s - _LEAST_WAIT_S)

    def _may_send(self, request: _Request, in_flight: deque[_Request]) -> bool:
        if not in_flight:
            return True
        if len(in_flight) >= self._window:
            return False
        bytes_in_flight = sum(len(r.coded) for r in in_flight)
        return bytes_in_flight + len(request.payload) + len(request.payload) // 254 + 20 <= self._credit

    def _send_first(self, request: _Request, ahead_bytes: int) -> None:
        request.sequence = self._sequence
        self._sequence = (self._sequence + 1) & 0xFFFF
        request.coded = encode(Frame(request.kind, 0, self._session, request.sequence, 0, request.payload))
        request.wait_s = max(self._pace(request).wait_s, self.least_wait_s) + self._line.takes_s(len(request.coded))
        self._send(request, ahead_bytes)

    def _pace(self, request: _Request) -> _Pace:
        return self._paces.setdefault(_pace_key(request.kind, request.payload), _Pace())

    def _arriving_s(self) -> float:
        """What the bytes that came since the last reply took on the line: they are the beginning of the next one."""
        return self._line.takes_s(min(self._heard_bytes, _MOST_HEARD_BYTES))

    def _due_at(self, request: _Request) -> float:
        """When a request is to be sent again: its turn comes with the reply to the one before it.

        Nothing is heard while a write waits for the line, so that silence counts from the last one.
        """
        if request.hurry:
            return request.sent_at + request.wait_s
        return max(self._written_at, self._progress_at) + request.wait_s + self._arriving_s()

    def _send(self, request: _Request, ahead_bytes: int) -> None:
        """``ahead_bytes`` may still wait in the driver, which takes more only once they have gone."""
        self.transport.write(request.coded, DEADLINE_S + (ahead_bytes + len(request.coded)) / SLOWEST_BYTES_PER_S)
        request.sent_at = self._written_at = time.monotonic()
        request.sends += 1
        self.stats.bytes_out += len(request.coded)
        self.stats.resends += request.sends > 1

    def _receive(self, in_flight: deque[_Request], wait: bool) -> None:
        """The next bytes; ``wait``: for them, at most until the oldest request is due again."""
        due_s = self._due_at(in_flight[0]) - time.monotonic() if wait else 0.0
        received = self.transport.read(max(due_s, 0.0))
        self.stats.bytes_in += len(received)
        self._heard_bytes += len(received)
        wanted = False
        for item in self._decoder.feed(received):
            if isinstance(item, Damaged):
                self._last_damaged = item.raw
                if _is_text(item.raw):
                    self._note("text", item.raw.decode("ascii").strip())
                else:
                    self.stats.damaged_frames += 1
                    wanted = True
            elif item.kind == Kind.LOG:
                self._heard(item.payload)
            elif item.kind == Kind.DAMAGED:
                self.stats.damaged_requests += 1
                wanted = True
            else:
                wanted |= self._match(item, in_flight)
        unanswered = [request for request in in_flight if request.reply is None]
        if not unanswered:
            return
        first = unanswered[0]
        if wanted:
            # What is damaged is resent at once, but not for every piece that one frame fell into.
            first.hurry = True
            first.wait_s = min(0.5 * self._pace(first).mean_s, _LEAST_SPACING_S)
        if time.monotonic() >= self._due_at(first):
            self.stats.timeouts += not first.hurry
            usual = max(self._pace(first).wait_s, self.least_wait_s)
            # Silence may be a board that computes: it is asked less and less often.
            silent = first.sends - 2 if not first.hurry else 0
            again_s = min(usual * 2 ** max(silent, 0), _MOST_WAIT_S)
            ahead_bytes = sum(len(request.coded) for request in unanswered)
            again_s += self._line.takes_s(ahead_bytes)
            for request in unanswered:
                request.hurry = False
                request.wait_s = again_s
                self._send(request, ahead_bytes)
                ahead_bytes += len(request.coded)
            self._heard_bytes = 0

    def _match(self, frame: Frame, in_flight: deque[_Request]) -> bool:
        """Gives a reply to its request; returns whether the unanswered ones must be sent again."""
        for request in in_flight:
            self._echoed |= (frame.kind, frame.session, frame.payload) == (request.kind, self._session, request.payload)
            if frame.sequence != request.sequence or frame.kind != request.kind | REPLY or request.reply is not None:
                continue
            if frame.session != self._session:
                break
            if frame.status == Status.NO_SESSION:
                raise BoardRestartedError(
                    "the board started again and has forgotten this session; load the model and restore a snapshot"
                )
            if frame.status == Status.GAP:
                return True
            request.reply = frame
            self._replies += 1
            if frame.credit:
                self._credit = max(frame.credit, 1)
            self._replied(request, frame)
            return False
        self.stats.stray_frames += 1
        return False

    def _replied(self, request: _Request, reply: Frame) -> None:
        """Learns from a reply how long the board takes, and how fast the line is."""
        now = time.monotonic()
        if request.sends == 1:
            self._pace(request).took(now - max(request.sent_at, self._progress_at))
        # Several replies may come out of a buffer at once: only all since the first request say how fast they came.
        self._replied_bytes += encoded_bytes(len(reply.payload))
        self._line.carried(self._replied_bytes, now - self._began_at)
        self._progress_at, self._heard_bytes, self._patience = now, 0, None

    def _heard(self, payload: bytes) -> None:
        if payload:
            line = Log.unpack(payload)
            self._note(line.level_name, line.text.decode(errors="replace"))

    def _note(self, level: str, text: str) -> None:
        self.log.append((level, text))
        if self.on_log is not None:
            self.on_log(level, text)

    def _accepted(self, request: _Request, reply: Frame) -> Frame:
        if reply.status != Status.OK:
            why = Refusal.unpack(reply.payload) if len(reply.payload) == Refusal.size_bytes() else Refusal(0, 0)
            words = refusal(request.kind, reply.status, why.wanted, why.there)
            raise RefusedError(words, reply.status, (why.wanted, why.there))
        return reply

    def _no_reply(self, request: _Request, waited_s: float) -> LinkError:
        name = Kind(request.kind).name.lower() if request.kind in list(Kind) else str(request.kind)
        heard = self._decoder.unfinished or self._last_damaged
        if self._echoed:
            what = "what is sent comes back: a loop-back plug, or a terminal that echoes, is on this port"
        elif heard and self._replies:
            what = (
                f"{self._replies} replies came before, and pieces of frames since: the line loses bytes, or one of its "
                "ends is too busy for it"
            )
        elif heard:
            shown = heard[-60:].decode("ascii", errors="backslashreplace")
            what = f"what came is no frame of the bridge: {shown!r}; is this the right port, baud rate and firmware?"
        elif self._replies:
            what = f"{self._replies} replies came before, so the board stopped: look at its last log lines, or reset it"
        elif self.log:
            what = f"all that came is its log, last {self.log[-1][1]!r}: it does not hear what is sent; reset it"
        elif self.stats.bytes_in:
            what = (
                f"{self.stats.bytes_in} bytes came and none of them says anything: check the baud rate and the wiring"
            )
        else:
            what = "nothing came at all: check the port, the power and that the bridge's firmware is flashed"
        return LinkError(f"no reply to {name} within {waited_s:.1f} s and {request.sends} attempts; {what}")

    def close(self) -> None:
        self.transport.close()
