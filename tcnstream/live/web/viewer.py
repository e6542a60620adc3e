"""A viewer: one WebSocket that looks at one stream at a time.

It has no queue: it goes through the history at its own pace, with a column and an event to go on from. A viewer that
does not read is passed over, with a mark in its place, and after ten seconds it is closed; nobody waits for it.

A viewer says one thing, ``{"watch": "bed", "number": 3}``: which stream it wants to see, and the number that is to be
on the answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tcnstream.live.web.history import History, Past
from tcnstream.live.web.message import BEGIN, EVENTS, OPEN, SKIPPED, columns_message, json_message

TURNS_HZ = 15.0
SKIP_S = 1.0
"""Who takes longer than this for a turn misses what came meanwhile."""
CLOSE_S = 10.0
_LOOK_S = 0.1
MOST_ASKED_BYTES = 1024
_MOST_COLUMNS = 4096
"""Of one message, so that facts come in between while a slow line brings the history."""


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """All that a viewer can say."""

    watch: str
    number: int = msgspec.field(default=0)


_DECODER = msgspec.json.Decoder(Question)


class Viewer:
    """``send`` waits while the peer does not read."""

    def __init__(self, history: History, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._history, self._send = history, send
        self._asked: Question | None = None
        self._past: Past | None = None
        self._turn = self._column = self._event = 0
        self._told: bytes = b""
        self._open: object = None

    def ask(self, text: str | bytes) -> None:
        """Raises msgspec.MsgspecError for what is no question."""
        if len(text) > MOST_ASKED_BYTES:
            raise msgspec.ValidationError("that is too long for a question")
        question = _DECODER.decode(text)
        if not 0 <= question.number < 1 << 32:
            raise msgspec.ValidationError("number is none of 32 bits")
        self._asked, self._past = question, None

    async def run(self) -> None:
        """Until it is too slow: raises TimeoutError."""
        skips, slow_s = False, 0.0
        while True:
            waited_s = 0.0
            for message in self._messages(skips):
                waited_s += await self._taken(message, CLOSE_S - slow_s - waited_s)
            skips = waited_s > SKIP_S
            slow_s = slow_s + waited_s if skips else 0.0
            await asyncio.sleep(1 / TURNS_HZ)

    async def _taken(self, message: bytes, most_s: float) -> float:
        """Seconds that the peer let it wait, by looks that found it waiting: a busy machine makes no viewer slow."""
        waited_s, sending = 0.0, asyncio.ensure_future(self._send(message))
        try:
            while not (await asyncio.wait((sending,), timeout=_LOOK_S))[0]:
                waited_s += _LOOK_S
                if waited_s > most_s:
                    raise TimeoutError
            sending.result()
        finally:
            sending.cancel()
        return waited_s

    def _messages(self, skips: bool) -> list[bytes]:
        found: list[bytes] = []
        facts = self._history.told()
        if facts is not self._told:
            self._told = facts
            found.append(facts)
        question = self._asked
        if question is None or (past := self._history.past.get(question.watch)) is None:
            return found
        trace, number = past.trace, question.number
        if past is not self._past or trace.turn != self._turn:
            self._past, self._turn = past, trace.turn
            self._column, self._event, self._open, skips = 0, 0, None, False
            found.append(json_message(BEGIN, begin(past), number))
        if skips and trace.end > self._column:
            mark = {"first": self._column, "next": trace.end, "column_hz": trace.column_hz}
            found.append(json_message(SKIPPED, mark, number))
            self._column = trace.end
        first, columns = trace.since(self._column)
        columns = columns[:_MOST_COLUMNS]
        if len(columns):
            found.append(columns_message(first, columns, number))
            self._column = first + len(columns)
        following, events = past.events_since(self._event)
        if following > self._event:
            found.append(json_message(EVENTS, events, number))
            self._event = following
        if past.open_segment is not self._open:
            self._open = past.open_segment
            found.append(json_message(OPEN, open_segment(past), number))
        return found


def open_segment(past: Past) -> dict[str, Any] | None:
    """What has begun and is not final."""
    if past.open_segment.get("label") is None:
        return None
    return {key: past.open_segment[key] for key in ("label", "start_s", "end_s")}


def begin(past: Past) -> dict[str, Any]:
    """What a viewer is told of a stream before its columns."""
    facts, trace = past.facts, past.trace
    return {
        "stream": facts.name,
        "model": facts.model,
        "source": facts.source,
        "labels": facts.labels,
        "background": facts.background,
        "units": facts.units,
        "channels": facts.channels,
        "rate_hz": facts.rate_hz,
        "look_ahead_s": facts.look_ahead_s,
        "column_hz": trace.column_hz,
        "width": trace.width,
    }
