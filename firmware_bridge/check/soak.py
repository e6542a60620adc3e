"""Hours on a board: through noise, resets and pulled cables, always on from the last common snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from firmware_bridge.boards.board import Board
from firmware_bridge.boards.program import HostStream, Program, as_inputs, states
from firmware_bridge.check.compare import Tolerance
from firmware_bridge.check.pairs import Pairs
from firmware_bridge.errors import BoardRestartedError, BridgeError, LinkError, RefusedError
from firmware_bridge.link.messages import Can, Status
from tcnstream.compiler.timing import counts
from tcnstream.tflite.graph import Array

CHUNK_FRAMES = 25
SNAPSHOT_FRAMES = 1000
RECOVER_S = 30.0


@dataclass
class SoakReport:
    """What a soak survived. ``passed``: every frame and every snapshot agreed, and it was not given up."""

    target: str
    frames_in: int = 0
    frames_compared: int = 0
    states_compared: int = 0
    restarts: int = 0
    line_failures: int = 0
    resumed_from_snapshot: int = 0
    longest_outage_s: float = 0.0
    resends: int = 0
    damaged_frames: int = 0
    elapsed_s: float = 0.0
    first_difference: str = ""
    gave_up: str = ""
    interrupted: bool = False
    events: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.first_difference and not self.gave_up

    @property
    def verdict(self) -> str:
        """One sentence."""
        survived = (
            f"{self.line_failures} failures of the line, {self.restarts} restarts of the board, {self.resends} resends,"
            f" {self.damaged_frames} damaged frames"
        )
        done = f"{self.frames_compared:,} output frames and {self.states_compared} states in {self.elapsed_s:.1f} s"
        if self.passed:
            end = ", interrupted" if self.interrupted else ""
            return f"EQUAL: {self.target} through {done}{end}; survived {survived}"
        return f"{'DIFFERENT' if self.first_difference else 'GAVE UP'}: {self.first_difference or self.gave_up}; {done}"


class Until:
    """When a soak is over: after a time, after a number of input frames, or when somebody says so."""

    def __init__(self, seconds: float | None, frames: int | None, stop: Callable[[], bool]) -> None:
        if (seconds is None) == (frames is None):
            raise BridgeError("a soak runs for --seconds or for --frames: give one of them")
        self._seconds = seconds
        self._frames = frames
        self._stop = stop
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def over(self, report: SoakReport) -> bool:
        if not report.passed:
            return True
        report.interrupted = self._stop()
        if report.interrupted:
            return True
        if self._seconds is not None:
            return self.elapsed_s >= self._seconds
        return self.left(report) == 0

    def left(self, report: SoakReport) -> int | None:
        """Input frames until then; None where time counts."""
        return None if self._frames is None else max(self._frames - report.frames_in, 0)


def soak(
    program: Program,
    open_board: Callable[[], Board],
    signal: Array | Sequence[Array],
    *,
    seconds: float | None = None,
    frames: int | None = None,
    chunk_frames: int = CHUNK_FRAMES,
    snapshot_frames: int = SNAPSHOT_FRAMES,
    recover_s: float = RECOVER_S,
    tolerance: Tolerance | None = None,
    on_event: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
) -> SoakReport:
    """Streams ``signal`` over and over for a time or a number of input frames, and compares every output frame.

    ``open_board`` connects (and is called again after every failure, for up to ``recover_s``). Every
    ``snapshot_frames`` the states are compared, and that is where a board goes on that lost its own; one without
    snapshots begins a new stream then, and so does the host. ``stop`` is asked after every push.
    """
    until = Until(seconds, frames, stop)
    inputs = as_inputs(program, signal)
    if not len(inputs[0]):
        raise BridgeError("the recording has no frames; there is nothing to stream")
    run = _Soak(program, open_board, inputs, tolerance or Tolerance(), recover_s, on_event)
    try:
        run.connect()
        while not until.over(run.report):
            left = until.left(run.report)
            run.step(chunk_frames if left is None else min(chunk_frames, left))
            if run.report.passed and run.since_checkpoint >= snapshot_frames:
                run.checkpoint()
        if run.report.passed:
            run.checkpoint()
        run.require_compared()
    finally:
        run.close()
        run.report.elapsed_s = until.elapsed_s
    return run.report


class _Soak:
    """The state of one soak: the host's stream, the board, and what came since the last common snapshot."""

    def __init__(
        self,
        program: Program,
        open_board: Callable[[], Board],
        inputs: list[Array],
        tolerance: Tolerance,
        recover_s: float,
        on_event: Callable[[str], None],
    ) -> None:
        self.program = program
        self.report = SoakReport("")
        self.since_checkpoint = 0
        self._open = open_board
        self._inputs = inputs
        self._tolerance = tolerance
        self._recover_s = recover_s
        self._on_event = on_event
        self._host = HostStream(program)
        self._board: Board | None = None
        self._checkpoint: bytes | None = None
        self._pending: list[list[Array]] = []
        self._stream_frames = 0
        self._pairs: list[Pairs] = []

    def connect(self) -> None:
        board = self._board = self._open()
        self.report.target = board.name
        self._begin(board)

    def _begin(self, board: Board) -> None:
        """A new stream on both sides."""
        board.reset()
        self._host.reset()
        self._checkpoint = self._host.snapshot() if Can.SNAPSHOT in board.can else None
        self._pending.clear()
        self.since_checkpoint = self._stream_frames = 0
        self._pairs = [Pairs() for _ in self.program.plan.outputs]

    def step(self, n: int) -> None:
        """The next frames to both sides."""
        at = self.report.frames_in % len(self._inputs[0])
        n = min(n, len(self._inputs[0]) - at)
        chunks = [x[at : at + n] for x in self._inputs]
        expected = self._host.push(chunks)
        self.report.frames_in += n
        self.since_checkpoint += n
        self._stream_frames += n
        if self._checkpoint is not None:
            self._pending.append(chunks)
        self._surviving(lambda board: self._push(board, chunks, expected), self._pending[:-1])

    def _push(self, board: Board, chunks: list[Array], expected: list[Array]) -> None:
        made = board.push(chunks).outputs
        due = counts(self.program.plan, self._stream_frames - self._stream_frames % board.hop_frames, ended=False)
        plan = self.program.plan
        for pairs, tensor, a, b in zip(self._pairs, plan.outputs, expected, made, strict=True):
            fact = plan.tensors[tensor]
            _, ours, theirs = pairs.pair(a, b, due[tensor])
            if ours.shape != theirs.shape or not self._tolerance.agrees(fact, ours, theirs).all():
                self.report.first_difference = (
                    f"output `{fact.name}` within input frames {self.report.frames_in - len(chunks[0])} to"
                    f" {self.report.frames_in}; `firmware-bridge check` names the operation"
                )
            self.report.frames_compared += len(ours)

    def checkpoint(self) -> None:
        """Compares the states; from here a board that lost its state goes on."""
        assert self._board is not None
        if self._checkpoint is None or self._stream_frames % self._board.hop_frames:
            return
        self._surviving(self._compare_state, self._pending)
        self._checkpoint = self._host.snapshot()
        self._pending.clear()
        self.since_checkpoint = 0

    def _compare_state(self, board: Board) -> None:
        ours, theirs = self._host.snapshot(), board.snapshot()
        if ours != theirs:
            mine, boards = states(self.program, ours), states(self.program, theirs)
            for tensor, (first, frames) in mine.items():
                fact, (other_first, other) = self.program.plan.tensors[tensor], boards[tensor]
                if not len(frames) and not len(other):
                    continue
                if first != other_first or not self._tolerance.agrees(fact, frames, other).all():
                    self.report.first_difference = f"the state of `{fact.name}` at input frame {self.report.frames_in}"
        self.report.states_compared += 1

    def require_compared(self) -> None:
        """Nothing compared is not equal, except where somebody broke it off."""
        report = self.report
        if report.passed and not report.interrupted and not report.frames_compared and not report.states_compared:
            report.gave_up = f"nothing was compared: {report.frames_in} input frames gave no output frame; take more"

    def _surviving(self, act: Callable[[Board], None], before: list[list[Array]]) -> None:
        """Does it; after a failure again, from the last common snapshot and what came ``before`` since then."""
        while not self.report.gave_up:
            assert self._board is not None
            try:
                act(self._board)
                return
            except (LinkError, RefusedError) as error:
                if isinstance(error, RefusedError) and error.status not in (Status.NO_MODEL, Status.CORE):
                    raise
                self._recover(error, before)
                if self._checkpoint is None:
                    return  # a new stream: what was in flight belongs to the old one

    def _recover(self, error: BridgeError, before: list[list[Array]]) -> None:
        failed_at = time.monotonic()
        restarted = isinstance(error, (BoardRestartedError, RefusedError))
        self.report.restarts += restarted
        self.report.line_failures += not restarted
        self._event(str(error))
        wait_s = 0.05
        while time.monotonic() - failed_at < self._recover_s:
            self._drop()
            try:
                board = self._board = self._open()
                self._resume(board, before)
            except BridgeError as again:
                self._event(f"not yet: {again}")
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, 1.0)
                continue
            outage_s = time.monotonic() - failed_at
            where = f"from the snapshot {self.since_checkpoint} frames ago" if self._checkpoint else "in a new stream"
            self.report.longest_outage_s = max(self.report.longest_outage_s, outage_s)
            self._event(f"back after {outage_s:.2f} s, {where}")
            return
        self.report.gave_up = f"the board did not come back within {self._recover_s:g} s: {error}"

    def _resume(self, board: Board, before: list[list[Array]]) -> None:
        """Brings a board that is back to where the host is; without snapshots both begin anew."""
        if self._checkpoint is None:
            self._begin(board)
            return
        board.restore(self._checkpoint)
        for chunks in before:
            board.push(chunks)
        self.report.resumed_from_snapshot += 1

    def _event(self, text: str) -> None:
        line = f"frame {self.report.frames_in}: {text}"
        self.report.events.append(line)
        self._on_event(line)

    def _drop(self) -> None:
        if self._board is not None:
            self.report.resends += self._board.link_stats.resends
            self.report.damaged_frames += self._board.link_stats.damaged_frames
            with suppress(BridgeError):
                self._board.close()
            self._board = None

    def close(self) -> None:
        self._drop()
