"""Boards behind the streams of ``tcnstream serve``: what its entry point ``tcnstream.boards`` names.

``board = "qemu-m4"`` or ``"serial:/dev/ttyACM0"`` is a target as the commands take it.
"""

from __future__ import annotations

from firmware_bridge.boards.board import Board
from firmware_bridge.boards.program import Program
from firmware_bridge.check.shadow import Shadow
from firmware_bridge.errors import TargetError
from firmware_bridge.targets import open_board, parse_target
from tcnstream.live.boards import Told, Verdict
from tcnstream.model import Model
from tcnstream.stream import Stream
from tcnstream.tflite.graph import Array

_QUIET_S = 10.0
_END_S = 2.0


class Follower:
    """A board that is compared behind a stream; it comes, goes and comes back while the stream runs on."""

    def __init__(self, board: str, model: Model, stream: Stream, told: Told) -> None:
        self._board, self._told = board, told
        program = Program.of(model)

        def connect() -> Board:
            return open_board(board, program)

        self._shadow = Shadow(
            stream, None, program, reopen=connect, on_difference=self._differs, on_line=told.line, quiet_s=_QUIET_S
        )

    def pushed(self, frames: Array, made: Array | tuple[Array, ...], at_frame: int) -> None:
        if len(frames):
            self._shadow.pushed((frames,), made, at_frame)

    def flushed(self, made: Array | tuple[Array, ...], at_frame: int) -> None:
        self._shadow.flushed(made, at_frame)

    def was_reset(self) -> None:
        self._shadow.was_reset()

    def verdict(self) -> Verdict:
        found = self._shadow.report()
        state = "away" if found.error else "differs" if found.differences else "equal" if found.frames else "opening"
        return Verdict(
            self._board,
            state,
            found.error,
            found.frames,
            found.frames - found.equal,
            found.differences,
            found.skipped_chunks,
            found.largest,
        )

    def wait(self, timeout_s: float) -> bool:
        return self._shadow.wait(timeout_s)

    def close(self) -> None:
        self._shadow.close(_END_S)

    def _differs(self, at_frame: int) -> None:
        self._told.difference(at_frame)


def follow(board: str, model: Model, stream: Stream, told: Told) -> Follower:
    """Raises TcnStreamError where the model cannot run on a board."""
    return Follower(board, model, stream, told)


def problem(board: str) -> str:
    """What is wrong with the name of a board, "" where nothing is."""
    try:
        target = parse_target(board)
    except TargetError as error:
        return str(error)
    if target.kind.open is None or target.answers_windows:
        return f"{board} answers whole windows, and has no stream to be compared with"
    return ""
