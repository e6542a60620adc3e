"""A live stream that goes on while a board is compared behind it.

::

    with Shadow(stream, board, program) as shadow:
        for chunk in signal:
            frames = shadow.push(chunk)      # the host's answer, at once
        print(shadow.report())

The board works in a thread of its own. If it falls behind, or its line fails, the live stream does not notice: the
frames in between are counted as skipped, and the board goes on from a snapshot of the live stream.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
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


@dataclass(frozen=True)
class ShadowReport:
    """Output frames so far. ``skipped_chunks`` were pushed while the board was behind or away."""

    frames: int = 0
    equal: int = 0
    largest: float = 0.0
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
    """What the board is to do next: frames with the host's answer, or the end, a reset, a state to go on from."""

    what: str
    number: int
    chunks: tuple[Array, ...] = ()
    expected: tuple[Array, ...] = ()
    state: bytes = b""


class Shadow:
    """``stream`` with ``board`` behind it; the board has ``program`` started, and the stream runs the same model.

    ``reopen`` connects again after a failure of the line; without it the comparison ends there, and ``report``
    says why. ``on_difference`` is called, in the board's thread, with the number of the chunk. Raises BridgeError for a
    board that takes whole hops only.
    """

    def __init__(
        self,
        stream: Stream,
        board: Board,
        program: Program,
        *,
        tolerance: Tolerance | None = None,
        reopen: Callable[[], Board] | None = None,
        on_difference: Callable[[int], None] | None = None,
        waiting_chunks: int = WAITING_CHUNKS,
    ) -> None:
        if board.hop_frames > 1:
            raise BridgeError(
                f"{board.name} takes hops of {board.hop_frames} frames and a shadow follows every chunk at once; use"
                " `check`, which waits for whole hops"
            )
        self._stream = stream
        self._board = board
        self._program = program
        self._tolerance = tolerance or Tolerance()
        self._reopen = reopen
        self._on_difference = on_difference
        self._queue: queue.Queue[_Work | None] = queue.Queue(waiting_chunks)
        self._report = ShadowReport()
        self._guard = threading.Lock()
        self._behind = False
        self._lost = False
        self._number = 0
        self._send(_Work("restore", 0, state=self._state()))
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def push(self, *chunks: Array) -> Array | tuple[Array, ...]:
        """As ``Stream.push``; the board gets the same frames when it has time."""
        made = self._stream.push(*chunks)
        copies = tuple(as_frames(p, c).copy() for p, c in zip(self._stream.inputs, chunks, strict=True))
        self._follow(_Work("push", self._number, copies, _each(made)))
        return made

    def flush(self) -> Array | tuple[Array, ...]:
        made = self._stream.flush()
        self._follow(_Work("flush", self._number, (), _each(made)))
        return made

    def reset(self) -> None:
        self._stream.reset()
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
        """Ends the comparison, after what waits if that fits into the time. The stream and the board stay open."""
        self.wait(timeout_s)
        with suppress(queue.Full):
            self._queue.put_nowait(None)
        self._lost = True
        self._thread.join(timeout_s)

    def __enter__(self) -> Shadow:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _follow(self, work: _Work) -> None:
        self._number += 1
        if self._lost:
            self._skip(1)
            return
        if self._behind:
            if not self._queue.empty():
                self._skip(1)
                return
            # Caught up: on from what the live stream remembers now, this chunk included.
            self._behind = False
            self._skip(1)
            self._send(_Work("restore", work.number, state=self._state()))
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
        while (work := self._queue.get()) is not None:
            try:
                if not self._lost:
                    self._do(work)
            except BridgeError as error:
                self._failed(error)
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _do(self, work: _Work) -> None:
        if work.what == "restore":
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
        with self._guard:
            report = self._report
            first = report.first_difference_chunk
            if equal < frames and first is None:
                first = work.number
            self._report = replace(
                report,
                frames=report.frames + frames,
                equal=report.equal + equal,
                largest=max(report.largest, largest),
                first_difference_chunk=first,
            )
        if equal < frames and self._on_difference is not None:
            self._on_difference(work.number)

    def _failed(self, error: BridgeError) -> None:
        """The line is gone: what waits is skipped, and a board that can be reached again goes on."""
        if self._reopen is not None:
            with suppress(BridgeError):
                self._board.close()
            try:
                self._board = self._reopen()
                self._behind = True  # the next push brings the state
                self._skip(1 + self._drain())
                return
            except BridgeError as again:
                error = again
        self._lost = True
        with self._guard:
            self._report = replace(self._report, error=str(error))

    def _drain(self) -> int:
        dropped = 0
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                return dropped
            self._queue.task_done()
            dropped += 1


def _each(made: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return made if isinstance(made, tuple) else (made,)
