"""A board behind a chain: what it computes from the same frames is compared, and never waited for.

A difference is an event of the stream. That a board comes and goes is in the log and in the stream's state alone, since
it says nothing of the signal: what a replay writes must not hang on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tcnstream.live.boards import Board, provider
from tcnstream.live.chain import Chain
from tcnstream.live.logs import Log
from tcnstream.stream import Stream

_END_S = 5.0


class Comparison:
    """``board`` by name behind ``chain``; ``changed`` is called in the board's thread."""

    def __init__(self, board: str, chain: Chain, log: Log, changed: Callable[[], None]) -> None:
        self._name, self._log, self._changed = board, log, changed
        self._chain = chain
        self._found: list[int] = []
        self._lock = threading.Lock()
        self._board: Board | None = None
        chain.pipeline.follow(self._behind)
        assert self._board is not None

    def _behind(self, stream: Stream) -> Board:
        self._board = provider().follow(self._name, self._chain.pipeline.model, stream, self)
        return self._board

    def line(self, trouble: str) -> None:
        stream = self._chain.config.name
        if trouble:
            self._log.warn("board.away", stream=stream, board=self._name, why=trouble)
        else:
            self._log.info("board.there", stream=stream, board=self._name)
        self._changed()

    def difference(self, at_frame: int) -> None:
        with self._lock:
            self._found.append(at_frame)
        self._log.error("board.differs", stream=self._chain.config.name, board=self._name, frame=at_frame)
        self._changed()

    def tell(self) -> None:
        """The chain's own thread: differences since the last call become events."""
        assert self._board is not None
        if self._chain.ended:
            self._board.wait(_END_S)
        with self._lock:
            found, self._found = self._found, []
        for at_frame in found:
            verdict = self._board.verdict()
            more = {"board": self._name, "wrong_frames": verdict.wrong_frames, "largest": verdict.largest}
            self._chain.say("status", "board differs", more, self._chain.base_frame + at_frame)

    def state(self) -> dict[str, Any]:
        """The verdict, for states and metrics."""
        assert self._board is not None
        return asdict(self._board.verdict())

    def close(self) -> None:
        assert self._board is not None
        self._board.close()
