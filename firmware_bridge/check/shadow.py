"""A live stream that goes on while a board is compared behind it.

::

    with Shadow(stream, board, program) as shadow:
        for chunk in signal:
            frames = shadow.push(chunk)      # the host's answer, at once
        print(shadow.report())

The board works in a thread of its own. If it falls behind, or its line fails, the live stream does not notice: the
frames in between are counted as skipped, and the board goes on from a snapshot of the live stream. Who pushes the
stream elsewhere says what it took and gave with ``pushed``, ``flushed`` and ``was_reset``.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from firmware_bridge.boards.board import Board
from firmware_bridge.boards.program import Program
from firmware_bridge.check.compare import Tolerance
from firmware_bridge.errors import BridgeError
from tcnstream.engines.native.snapshot import to_core
from tcnstream.engines.state import State
from tcnstream.stream import Stream, as_frames
from tcnstream.tflite.graph import Array

WAITING_CHUNKS = 256
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LONGEST_QUIET_S = 600.0


@dataclass(frozen=True)
class ShadowReport:
    """Output frames so far. ``skipped_chunks`` were pushed while the board was behind, away, or left alone after a
    difference; ``differences`` counts the chunks that differed, ``error`` says why the board is away."""

    frames: int = 0
    equal: int = 0
    largest: float = 0.0
    differences: int = 0
    first_difference_chunk: int | None = None
    skipped_chunks: int = 0
    waiting_chunks: int = 0
    resumed: int = 0
    error: str = ""

    @property
    def passed(self) -> bool:
        return self.frames == self.equal and not self.error


@dataclass(frozen=True)
class _Work:
    """What the board is to do next: frames with the host's answer, or the end, a reset, a state to go on from.

    ``line`` counts the lines to the board: what was meant for one that failed is not for the next one.
    """

    what: str
    number: int
    chunks: tuple[Array, ...] = ()
    expected: tuple[Array, ...] = ()
    state: bytes = b""
    line: int = 0


class Shadow:
    """``stream`` with ``board`` behind it; the board has ``program`` started, and the stream runs the same model.

    ``reopen`` connects after a failure of the line, again and again until that works; without it the comparison ends
    there, and ``report`` says why. With ``board`` None it connects the first time too, while the stream is live.
    ``on_difference`` is called with the number of the chunk, ``on_line`` with "" when the board is there and with what
    is wrong when it is not, both in the board's thread. After a difference the board is left alone for ``quiet_s``,
    each time twice as long, and goes on from the live stream's state; with 0 it goes on as it is. Raises BridgeError
    for a board that takes whole hops only.
    """

    def __init__(
        self,
        stream: Stream,
        board: Board | None,
        program: Program,
        *,
        tolerance: Tolerance | None = None,
        reopen: Callable[[], Board] | None = None,
        on_difference: Callable[[int], None] | None = None,
        on_line: Callable[[str], None] | None = None,
        quiet_s: float = 0.0,
        waiting_chunks: int = WAITING_CHUNKS,
    ) -> None:
        if board is not None:
            _must_take_any_chunk(board)
        self._stream = stream
        self._board, self._owned = board, False
        self._program = program
        self._tolerance = tolerance or Tolerance()
        self._reopen = reopen
        self._on_difference, self._on_line = on_difference, on_line
        self._quiet_s, self._quiet_until_s = quiet_s, 0.0
        self._queue: queue.Queue[_Work | None] = queue.Queue(waiting_chunks)
        self._report = ShadowReport()
        self._guard = threading.Lock()
        self._behind = self._away = board is None
        self._lost = False
        self._line = 0
        self._closing = threading.Event()
        self._number = 0
        if board is not None:
            self._send(_Work("restore", 0, state=self._state()))
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def push(self, *chunks: Array) -> Array | tuple[Array, ...]:
        """As ``Stream.push``; the board gets the same frames when it has time."""
        made = self._stream.push(*chunks)
        self.pushed(chunks, made)
        return made

    def flush(self) -> Array | tuple[Array, ...]:
        made = self._stream.flush()
        self.flushed(made)
        return made

    def reset(self) -> None:
        self._stream.reset()
        self.was_reset()

    def pushed(self, chunks: Sequence[Array], made: Array | tuple[Array, ...], number: int | None = None) -> None:
        """The stream took ``chunks`` and gave ``made``; ``number`` is what ``on_difference`` calls it."""
        copies = tuple(as_frames(p, c).copy() for p, c in zip(self._stream.inputs, chunks, strict=True))
        self._follow(_Work("push", self._number if number is None else number, copies, _each(made)))

    def flushed(self, made: Array | tuple[Array, ...], number: int | None = None) -> None:
        """The stream ended and gave ``made``."""
        self._follow(_Work("flush", self._number if number is None else number, (), _each(made)))

    def was_reset(self) -> None:
        """The stream is at its start again."""
        self._follow(_Work("reset", self._number))

    def report(self) -> ShadowReport:
        """How it stands now."""
        with self._guard:
            return replace(self._report, waiting_chunks=self._queue.qsize())

    def wait(self, timeout_s: float) -> bool:
        """Waits until the board has caught up; returns whether it has."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if not self._queue.unfinished_tasks:
                return True
            time.sleep(0.002)
        return not self._queue.unfinished_tasks

    def close(self, timeout_s: float = 10.0) -> None:
        """Ends the comparison, after what waits if that fits into the time. The stream and a board that was given stay
        open; one that ``reopen`` made is closed."""
        self._closing.set()
        self.wait(timeout_s)
        with suppress(queue.Full):
            self._queue.put_nowait(None)
        self._lost = True
        self._thread.join(timeout_s)
        if self._owned and self._board is not None:
            with suppress(BridgeError):
                self._board.close()

    def __enter__(self) -> Shadow:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _follow(self, work: _Work) -> None:
        self._number += 1
        work = replace(work, line=self._line)
        if self._lost or self._away:
            self._skip(1)
            return
        if self._behind:
            if self._queue.unfinished_tasks or time.monotonic() < self._quiet_until_s:
                self._skip(1)
                return
            # Caught up: on from what the live stream remembers now, this chunk included.
            self._behind = False
            self._skip(1)
            self._send(_Work("restore", work.number, state=self._state(), line=work.line))
            with self._guard:
                self._report = replace(self._report, resumed=self._report.resumed + 1)
            return
        if not self._send(work):
            self._behind = True
            self._skip(1)

    def _send(self, work: _Work) -> bool:
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            return False
        return True

    def _skip(self, chunks: int) -> None:
        with self._guard:
            self._report = replace(self._report, skipped_chunks=self._report.skipped_chunks + chunks)

    def _state(self) -> bytes:
        """The live stream's state as boards take it."""
        state = State(self._program.plan)
        state.restore(self._stream.snapshot(), self._stream.identity)
        return to_core(state, self._program.facts)

    def _work(self) -> None:
        if self._away:
            self._connect()
        while not (self._lost and self._closing.is_set()) and (work := self._queue.get()) is not None:
            try:
                if work.line != self._line:
                    self._skip(1)
                elif not self._lost:
                    self._do(work)
            except Exception as error:  # whatever a line or a tool does, the live stream goes on
                self._failed(error)
            finally:
                self._queue.task_done()

    def _do(self, work: _Work) -> None:
        assert self._board is not None
        if self._behind and self._quiet_until_s > time.monotonic():
            self._skip(1)
        elif work.what == "restore":
            self._board.restore(work.state)
        elif work.what == "reset":
            self._board.reset()
        else:
            made = self._board.flush() if work.what == "flush" else self._board.push(work.chunks)
            self._compare(work, made.outputs)

    def _compare(self, work: _Work, made: list[Array]) -> None:
        frames = equal = 0
        largest = 0.0
        for tensor, a, b in zip(self._program.plan.outputs, work.expected, made, strict=True):
            frames += len(a)
            if a.shape != b.shape:
                continue
            good = self._tolerance.agrees(self._program.plan.tensors[tensor], a, b)
            equal += int(good.reshape(len(a), -1).all(axis=1).sum()) if len(a) else 0
            largest = max(largest, float(abs(a.astype(float) - b.astype(float)).max(initial=0.0)))
        differs = equal < frames
        with self._guard:
            report = self._report
            first = report.first_difference_chunk
            if differs and first is None:
                first = work.number
            self._report = replace(
                report,
                frames=report.frames + frames,
                equal=report.equal + equal,
                largest=max(report.largest, largest),
                differences=report.differences + differs,
                first_difference_chunk=first,
            )
        if differs and self._quiet_s:
            self._quiet_until_s = time.monotonic() + self._quiet_s
            self._quiet_s = min(_LONGEST_QUIET_S, 2 * self._quiet_s)
            self._behind = True
        if differs and self._on_difference is not None:
            self._on_difference(work.number)

    def _failed(self, error: Exception) -> None:
        """The line is gone: what waits is skipped, and a board that can be reached again goes on."""
        self._away = True
        self._line += 1
        self._says(_what(error))
        if self._reopen is None:
            self._lost = True
            return
        assert self._board is not None
        with suppress(BridgeError):
            self._board.close()
        self._skip(1 + self._drain())
        self._connect()

    def _connect(self) -> None:
        """Until the board is there, or the shadow is closed; the next push then brings the state."""
        assert self._reopen is not None
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                board = self._reopen()
                _must_take_any_chunk(board)
            except Exception as error:
                self._says(_what(error))
                self._closing.wait(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
                continue
            self._board, self._owned = board, True
            if self._closing.is_set():  # nobody waits for it any more
                with suppress(BridgeError):
                    board.close()
                break
            self._says("")
            self._behind, self._away = True, False
            return
        self._lost = True

    def _says(self, error: str) -> None:
        changed = error != self._report.error
        with self._guard:
            self._report = replace(self._report, error=error)
        if self._on_line is not None and (changed or not error):
            self._on_line(error)

    def _drain(self) -> int:
        dropped = 0
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                return dropped
            self._queue.task_done()
            dropped += 1


def _must_take_any_chunk(board: Board) -> None:
    if board.hop_frames > 1:
        raise BridgeError(
            f"{board.name} takes hops of {board.hop_frames} frames and a shadow follows every chunk at once; use"
            " `check`, which waits for whole hops"
        )


def _what(error: Exception) -> str:
    return str(error) if isinstance(error, BridgeError) else f"{type(error).__name__}: {error}"


def _each(made: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return made if isinstance(made, tuple) else (made,)
