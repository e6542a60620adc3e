"""Is what the board computes what the host computes? Frame by frame, state by state, and tensor by tensor.

1. the recording in random chunks to both sides: every output frame, the state after every chunk, then flush;
2. a reset and a second stream in other chunks: nothing of the first one may be left;
3. a snapshot of the host restored on the board in the middle, and one of the board on the host;
4. on demand every tensor, one tap at a time;
5. where something differs, the first operation, frame and inputs at fault, by bisection over taps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from firmware_bridge.boards.board import Board, Cost, OperationCounter, Pushed
from firmware_bridge.boards.program import HostStream, Program, as_inputs, states, sums
from firmware_bridge.check.chunks import cut
from firmware_bridge.check.compare import Tally, Tolerance, as_tolerance, flat
from firmware_bridge.check.cost import OperationCost, cost_report, operation_costs
from firmware_bridge.check.locate import Difference, Tapped, locate, named, producers
from firmware_bridge.check.pairs import Pairs
from firmware_bridge.check.verdict import CheckReport, Stage, Trace
from firmware_bridge.errors import BridgeError
from firmware_bridge.link.messages import Can
from tcnstream.compiler.timing import counts
from tcnstream.measure.compare import chunks
from tcnstream.tflite.graph import Array

Taps = Literal["outputs", "states", "all"]

_MOST_STATE_BYTES = 4 << 20
"""Of snapshots that one check reads; where states are large, not every chunk's is compared."""

_COUNTED_STEPS = 32
"""Pushes over which the cost of operations is counted."""

_CHECKPOINT_FRAMES = 4096


def check(
    program: Program,
    board: Board,
    signal: Array | Sequence[Array],
    *,
    chunks: str = "random:0",
    tolerance: Tolerance | str | None = None,
    taps: Taps = "states",
    rate_hz: float | None = None,
    clock_hz: float | None = None,
    name: str = "",
    source: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Compares ``board``, which has ``program`` started, with the host on ``signal`` (frames, *frame_shape).

    ``tolerance`` may be written as on the command line. ``rate_hz`` is the signal's and ``clock_hz`` a processor's,
    for the cost against time (see ``cost``). ``name`` and ``source`` are what the report calls model and signal.
    ``progress`` is called with (chunks done, in all).

    Raises LinkError where the line fails, BridgeError for wrong arguments and for a signal that is too short for one
    frame to be compared.
    """
    inputs = as_inputs(program, signal)
    _require_frames(program, board, len(inputs[0]))
    run = _Run(program, board, inputs, as_tolerance(tolerance), chunks, taps, progress)
    run.first_stream()
    run.second_stream()
    run.snapshots()
    if taps == "all":
        run.every_tensor()
    operations = run.operation_costs()
    difference = run.locate()
    return CheckReport(
        target=board.name,
        board=board.facts,
        model=name or program.identity,
        model_sha256=program.model.file.sha256,
        rounding=program.rounding,
        engine=run.host.engine,
        tolerance=str(run.tolerance),
        chunks=chunks,
        taps=taps,
        frames_in=len(inputs[0]),
        stages=tuple(run.stages),
        tensors=tuple(tally.report() for tally in run.tallies.values()),
        first_difference=difference,
        cost=cost_report(board.facts, run.costs, rate_hz, clock_hz, program.step_frames),
        link=replace(board.link_stats),
        memory=board.stats(),
        plan_bytes=len(program.content),
        operations=operations,
        source=source,
        log=tuple(f"{level}: {text}" for level, text in board.log),
        signal=run.signal_trace(),
        traces=tuple(run.traces()),
    )


def _require_frames(program: Program, board: Board, frames: int) -> None:
    """Raises BridgeError where the board would give no frame: nothing compared is not equal."""
    hop, can_end = board.hop_frames, Can.FLUSH in board.can
    due = counts(program.plan, frames - frames % hop, ended=can_end)
    if any(due[tensor] for tensor in program.plan.outputs):
        return
    hops = f" in hops of {hop} frames" if hop > 1 else ""
    end = "" if can_end else ", whose end it cannot be told"
    raise BridgeError(
        f"{board.name} gives no frame for a signal of {frames}{hops}{end}, so nothing would be compared; give a longer"
        " recording"
    )


@dataclass(frozen=True)
class _Seen:
    """A tensor that differed, and how far the stream was: enough to run up to there again."""

    tensor: int
    frames_in: int
    flushed: bool
    stage: str


class _Run:
    """The state of one check."""

    def __init__(
        self,
        program: Program,
        board: Board,
        inputs: list[Array],
        tolerance: Tolerance,
        chunks: str,
        taps: Taps,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.program = program
        self.board = board
        self.inputs = inputs
        self.tolerance = tolerance
        self.chunks = chunks
        self.taps = taps
        self.progress = progress
        self.host = HostStream(program)
        self.stages: list[Stage] = []
        self.tallies: dict[tuple[str, int], Tally] = {}
        self.costs: list[Cost] = []
        self.seen: list[_Seen] = []
        self.checkpoints: list[tuple[int, bytes]] = []
        self._maker = producers(program)
        self._made: list[tuple[list[Array], list[Array]]] = [([], []) for _ in program.plan.outputs]
        self._pairs: list[Pairs] = []
        sizes = cut(len(inputs[0]), chunks)
        self._total = max(1, len(sizes) * (2 if taps != "all" else 2 + len(program.streams())))
        self._done = 0
        # Totals that a profile over time is drawn against.
        self._expected = counts(program.plan, len(inputs[0]), ended=True)

    def _step(self) -> None:
        self._done += 1
        if self.progress is not None:
            self.progress(min(self._done, self._total), self._total)

    def _tally(self, role: str, tensor: int) -> Tally:
        if (role, tensor) not in self.tallies:
            node, plan = self._maker.get(tensor), self.program.plan
            self.tallies[role, tensor] = Tally(
                plan.tensors[tensor],
                role,
                "input" if node is None else named(plan.nodes[node]),
                self.tolerance,
                expected_frames=self._expected[tensor],
            )
        return self.tallies[role, tensor]

    def _compare(self, expected: list[Array], pushed: Pushed, seen: _Seen, keep: bool) -> bool:
        """The outputs of one push, as far as both sides have given them."""
        good = True
        due = self._due(seen)
        for k, (a, b) in enumerate(zip(expected, pushed.outputs, strict=True)):
            tensor = self.program.plan.outputs[k]
            first, ours, theirs = self._pairs[k].pair(a, b, due[tensor])
            if not self._tally("output", tensor).add(ours, theirs, first):
                self.seen.append(replace(seen, tensor=tensor))
                good = False
            if keep:
                self._made[k][0].append(a)
                self._made[k][1].append(b)
        return good

    def _due(self, seen: _Seen) -> list[int]:
        """Frames of every tensor that the board must have given: it takes whole hops."""
        return counts(self.program.plan, self._whole_hops(seen.frames_in), seen.flushed)

    def _whole_hops(self, frames: int) -> int:
        return frames - frames % self.board.hop_frames

    def _begin_stream(self) -> None:
        self.host.reset()
        self.board.reset()
        self._pairs = [Pairs() for _ in self.program.plan.outputs]

    @property
    def _compared(self) -> int:
        """Frames of the first output in this stream so far."""
        return self._pairs[0].position

    def _compare_states(self, seen: _Seen) -> bool:
        """What both sides remember, by their snapshots."""
        ours, theirs = self.host.snapshot(), self.board.snapshot()
        if ours == theirs:
            self._count_equal_states(ours)
            return True
        good = True
        mine, boards = states(self.program, ours), states(self.program, theirs)
        for tensor, (first, frames) in mine.items():
            other_first, other = boards[tensor]
            if not len(frames) and not len(other):
                continue
            tally = self._tally("state", tensor)
            if other_first != first or not tally.add(frames, other, first):
                self.seen.append(replace(seen, tensor=tensor))
                good = False
        for node, total in sums(self.program, ours).items():
            other_total = sums(self.program, theirs).get(node)
            if other_total is None or not np.allclose(total, other_total, rtol=1e-5, atol=1e-9):
                self.seen.append(replace(seen, tensor=self.program.plan.nodes[node].outputs[0]))
                good = False
        return good

    def _count_equal_states(self, blob: bytes) -> None:
        for tensor, (first, frames) in states(self.program, blob).items():
            if len(frames):
                self._tally("state", tensor).add(frames, frames, first)

    def _chunks(self, sizes: Sequence[int], begin: int = 0) -> Iterator[tuple[int, list[Array]]]:
        for chunk in chunks([x[begin:] for x in self.inputs], sizes):
            yield len(chunk[0]), list(chunk)

    def _state_stride(self, chunks: int) -> int:
        """Every how many chunks the states are compared."""
        if Can.SNAPSHOT not in self.board.can:
            return 0
        size = self.program.facts.ring_bytes + self.program.facts.carry_bytes + 28
        affordable = max(2, _MOST_STATE_BYTES // size)
        if self.taps == "outputs":
            affordable = 2
        return max(1, math.ceil(chunks / affordable))

    def first_stream(self) -> None:
        self._begin_stream()
        end = self._whole_hops(len(self.inputs[0]))
        sizes = cut(end, self.chunks) + cut(len(self.inputs[0]) - end, self.chunks)
        stride = self._state_stride(len(sizes))
        good = good_states = True
        compared, frames_in = 0, 0
        for k, (n, chunk) in enumerate(self._chunks(sizes)):
            pushed = self.board.push(chunk)
            self.costs += pushed.costs
            frames_in += n
            seen = _Seen(-1, frames_in, False, "random chunks")
            good &= self._compare(self.host.push(chunk), pushed, seen, keep=True)
            wanted = stride and (k % stride == stride - 1 or frames_in == end)
            if wanted and frames_in == self._whole_hops(frames_in):
                compared += 1
                good_states &= self._compare_states(seen)
                if good and good_states and frames_in - (self.checkpoints or [(0, b"")])[-1][0] >= _CHECKPOINT_FRAMES:
                    self.checkpoints.append((frames_in, self.host.snapshot()))
            self._step()
        name = f"{self.chunks} chunks" if self.chunks.isdecimal() else "random chunks"
        self.stages.append(Stage(name, good, self._compared, 0, self._left_over(frames_in)))
        if stride:
            every = "" if stride == 1 else f"after every {stride} chunks: the state is large or the taps say outputs"
            if not compared:
                every = f"not compared: no chunk ended with a whole hop of {self.board.hop_frames} frames"
            self.stages.append(Stage("state", good_states, 0, compared, every))
        else:
            self.stages.append(Stage("state", True, 0, 0, "not compared: this target cannot show its state"))
        self._flush("flush", frames_in, keep=True)

    def _left_over(self, frames_in: int) -> str:
        """What stayed without a counterpart because the board takes whole hops."""
        if not (left := self._pairs[0].waiting):
            return ""
        hop = self.board.hop_frames
        return f"the last {left} frames of the host were not compared: this target takes hops of {hop} frames"

    def _flush(self, name: str, frames_in: int, keep: bool) -> bool:
        """The tail of both sides; a target without flush is left out, and says so."""
        if Can.FLUSH not in self.board.can:
            self.stages.append(Stage(name, True, 0, 0, "not compared: this target cannot end a signal"))
            return True
        before = self._compared
        seen = _Seen(-1, frames_in, True, name)
        good = self._compare(self.host.flush(), self.board.flush(), seen, keep)
        self.stages.append(Stage(name, good, self._compared - before))
        return good

    def second_stream(self) -> None:
        """After a reset, in other chunks: what is left of the first stream would show."""
        self._begin_stream()
        good = self._goes_on(0, self._half, "reset, then a second stream", again=1)
        self.stages.append(Stage("reset, then a second stream", good, self._compared))

    @property
    def _half(self) -> int:
        return self._whole_hops(len(self.inputs[0]) // 2)

    def snapshots(self) -> None:
        """Both streams stand where the second stream left them."""
        if Can.SNAPSHOT not in self.board.can:
            self.stages.append(Stage("snapshots", True, 0, 0, "not compared: this target cannot show its state"))
            return
        begin, end = self._half, len(self.inputs[0])
        middle = self._whole_hops(begin + (end - begin) // 2)
        blob = self.host.snapshot()
        self.board.reset()
        self.board.push([x[: min(5, len(x))] for x in self.inputs])
        self.board.restore(blob)
        self._crossed(begin, middle, "snapshot of the host, restored on the board")
        blob = self.board.snapshot()
        self.host.reset()
        self.host.restore(blob)
        self._crossed(middle, end, "snapshot of the board, restored on the host")
        self._flush("flush after the snapshots", end, keep=False)

    def _crossed(self, begin: int, end: int, name: str) -> None:
        before = self._compared
        good = self._goes_on(begin, end, name, again=2)
        self.stages.append(Stage(name, good, self._compared - before, 1, self._left_over(end)))

    def _goes_on(self, begin: int, end: int, name: str, again: int) -> bool:
        good, frames_in = True, begin
        for n, chunk in self._chunks(cut(end - begin, self.chunks, again), begin):
            frames_in += n
            seen = _Seen(-1, frames_in, False, name)
            good &= self._compare(self.host.push(chunk), self.board.push(chunk), seen, keep=False)
            self._step()
        return good

    def every_tensor(self) -> None:
        """One pass of the whole signal per tensor."""
        good, frames = True, 0
        wanted = [tensor for tensor in self.program.streams() if tensor not in self.program.plan.inputs]
        end = self._whole_hops(len(self.inputs[0]))
        host = self.program.all_frames(wanted, [x[:end] for x in self.inputs], flush=Can.FLUSH in self.board.can)
        for tensor in wanted:
            tapped = self._replay(tensor, end, flushed=True, from_start=True)
            ours = host[tensor]
            frames += len(ours)
            if not self._tally("tensor", tensor).add(ours[tapped.first_frame :], tapped.frames, tapped.first_frame):
                self.seen.append(_Seen(tensor, end, True, "every tensor"))
                good = False
        self.stages.append(Stage("every tensor", good, frames))

    def operation_costs(self) -> tuple[OperationCost, ...]:
        """What each operation takes in pushes of one step, after half of the signal; () where the board cannot tell."""
        step = math.lcm(self.program.step_frames, self.board.hop_frames)
        begin = self._half - self._half % step
        counted = min((len(self.inputs[0]) - begin) // step, _COUNTED_STEPS)
        if Can.COSTS not in self.board.can or not isinstance(self.board, OperationCounter) or not counted:
            return ()
        self.board.reset()
        if begin:
            self.board.push([x[:begin] for x in self.inputs])
        self.board.count_operations()
        for k in range(begin, begin + counted * step, step):
            self.board.push([x[k : k + step] for x in self.inputs])
        ticks = self.board.operation_ticks()
        self.board.tap(None)
        return operation_costs(self.board.facts, self.program.facts.nodes, ticks, counted * step)

    def _replay(self, tensor: int, frames_in: int, flushed: bool, from_start: bool = False) -> Tapped:
        """The board's frames of one tensor over the same chunks, from the last place where all was equal."""
        start, blob = 0, b""
        for at, kept in [] if from_start else self.checkpoints:
            if at < frames_in:
                start, blob = at, kept
        self.board.reset()
        if blob:
            self.board.restore(blob)
        self.board.tap(tensor)
        parts: list[Array] = []
        first: int | None = None
        try:
            for _, chunk in self._chunks(cut(frames_in - start, self.chunks), start):
                first = self._gather(self.board.push(chunk), parts, first)
                self._step()
            if flushed and Can.FLUSH in self.board.can:
                first = self._gather(self.board.flush(), parts, first)
        finally:
            self.board.tap(None)
        fact = self.program.plan.tensors[tensor]
        return Tapped(first or 0, np.concatenate([np.empty((0, *fact.shape), fact.dtype), *parts]))

    @staticmethod
    def _gather(pushed: Pushed, parts: list[Array], first: int | None) -> int | None:
        if pushed.tapped is None or not len(pushed.tapped):
            return first
        parts.append(pushed.tapped)
        return pushed.tap_first if first is None else first

    def locate(self) -> Difference | None:
        """The operation behind what was seen, the earliest in the stream first."""
        if not self.seen or Can.TAP not in self.board.can:
            return None
        order = {tensor: k for k, tensor in enumerate(self.program.streams())}
        tried: set[int] = set()
        for seen in sorted(self.seen, key=lambda s: (s.flushed, s.frames_in, order[s.tensor])):
            if seen.tensor in tried or len(tried) > 3:
                continue
            tried.add(seen.tensor)
            end, flushed = self._whole_hops(seen.frames_in), seen.flushed and Can.FLUSH in self.board.can
            found = locate(
                self.program,
                seen.tensor,
                [x[:end] for x in self.inputs],
                flushed,
                lambda tensor, end=end, flushed=flushed: self._replay(tensor, end, flushed),  # type: ignore[misc]
                self.tolerance,
            )
            if found is not None:
                return found
        return None

    def traces(self) -> Iterator[Trace]:
        for port, (host, board) in zip(self.program.model.outputs, self._made, strict=True):
            if host:
                a, b = port.dequantize(np.concatenate(host)), port.dequantize(np.concatenate(board))
                yield Trace(port.name, flat(a), flat(b))

    def signal_trace(self) -> Trace:
        port = self.program.model.inputs[0]
        x = port.dequantize(self.inputs[0])
        return Trace(port.name, flat(x), flat(x))
