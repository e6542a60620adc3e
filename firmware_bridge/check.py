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
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from firmware_bridge.board import Board, BoardFacts, Cost, Pushed
from firmware_bridge.compare import Tally, TensorReport, Tolerance, flat
from firmware_bridge.errors import BridgeError
from firmware_bridge.link import LinkStats
from firmware_bridge.locate import Difference, Tapped, locate, named, producers
from firmware_bridge.messages import Can, Stats
from firmware_bridge.program import HostStream, Program, as_inputs, states, sums
from tcnstream.graph import Array

Taps = Literal["outputs", "states", "all"]

_CHUNK_FRAMES = (0, 1, 2, 3, 7, 16, 25, 61, 100)
_MOST_STATE_BYTES = 4 << 20
"""Of snapshots that one check reads; where states are large, not every chunk's is compared."""

_CHECKPOINT_FRAMES = 4096


@dataclass(frozen=True)
class Stage:
    """One part of a check; ``frames`` are output frames compared, ``states`` snapshots compared."""

    name: str
    passed: bool
    frames: int
    states: int = 0
    note: str = ""


@dataclass(frozen=True)
class CostReport:
    """Cost of one input frame in ``unit``, over all pushes; a push of n frames counts as n of its mean.

    ``deadline`` is what one frame may cost at the model's rate, in the same unit, or None where that is unknown:
    emulated instructions say nothing about time, so for them ``per_second`` at the worst frame is given instead.
    """

    unit: str
    frames: int
    median: float
    p99: float
    worst: float
    rate_hz: float | None
    deadline: float | None
    per_second: float | None
    histogram: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class Trace:
    """Both sides' frames of one output over the first stream, (frames, elements) in real units, for a picture."""

    name: str
    host: Array
    board: Array


@dataclass(frozen=True)
class CheckReport:
    """What was compared and what came of it; ``passed`` only if every stage did."""

    target: str
    board: BoardFacts
    model: str
    model_sha256: str
    rounding: str
    engine: str
    tolerance: str
    chunks: str
    taps: str
    frames_in: int
    stages: tuple[Stage, ...]
    tensors: tuple[TensorReport, ...]
    first_difference: Difference | None
    cost: CostReport | None
    link: LinkStats
    memory: Stats | None
    plan_bytes: int
    log: tuple[str, ...] = ()
    signal: Trace | None = field(default=None, repr=False)
    traces: tuple[Trace, ...] = field(default=(), repr=False)

    @property
    def passed(self) -> bool:
        return all(stage.passed for stage in self.stages)

    @property
    def verdict(self) -> str:
        """One sentence."""
        frames = sum(stage.frames for stage in self.stages)
        if self.passed:
            compared = sum(stage.states for stage in self.stages)
            return (
                f"EQUAL: {self.target} computes what the host computes: {frames:,} output frames and {compared:,}"
                f" states compared, tolerance {self.tolerance}"
            )
        failed = ", ".join(stage.name for stage in self.stages if not stage.passed)
        if (d := self.first_difference) is None:
            return f"DIFFERENT: {failed}; no operation differs when it is run again (see the notes of the stages)"
        cause = f"; {d.cause}" if d.cause else ""
        return (
            f"DIFFERENT: {failed}; first at frame {d.frame} of {d.operation}: expected {d.expected:g}, got {d.got:g}"
            f"{cause}"
        )


def parse_chunks(text: str) -> tuple[str, int]:
    """``random:SEED`` or a fixed number of frames. Raises BridgeError for anything else."""
    kind, _, seed = text.partition(":")
    if kind == "random" and (seed or "0").isdecimal():
        return "random", int(seed or "0")
    if text.isdecimal() and int(text) > 0:
        return "fixed", int(text)
    raise BridgeError(f"there is no way to cut {text!r}: write random:SEED or a number of frames")


def cut(frames: int, chunks: str, again: int = 0) -> list[int]:
    """Chunk sizes that add up to ``frames``; ``again`` gives other random ones for the same seed."""
    kind, number = parse_chunks(chunks)
    if kind == "fixed":
        return [number] * (frames // number) + ([frames % number] if frames % number else [])
    rng = np.random.default_rng([number, again])
    sizes: list[int] = []
    left = frames
    while left > 0:
        sizes.append(min(left, int(rng.choice(_CHUNK_FRAMES))))
        left -= sizes[-1]
    return sizes


def check(
    program: Program,
    board: Board,
    signal: Array | Sequence[Array],
    *,
    chunks: str = "random:0",
    tolerance: Tolerance | None = None,
    taps: Taps = "states",
    rate_hz: float | None = None,
    name: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Compares ``board``, which has ``program`` started, with the host on ``signal`` (frames, *frame_shape).

    ``rate_hz`` is the signal's, for the cost against time. ``progress`` is called with (chunks done, in all).
    Raises LinkError where the line fails, BridgeError for wrong arguments.
    """
    inputs = as_inputs(program, signal)
    run = _Run(program, board, inputs, tolerance or Tolerance(), chunks, taps, progress)
    run.first_stream()
    run.second_stream()
    run.snapshots()
    if taps == "all":
        run.every_tensor()
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
        cost=_cost(board.facts, run.costs, rate_hz),
        link=replace(board.link_stats),
        memory=board.stats(),
        plan_bytes=len(program.content),
        log=tuple(f"{level}: {text}" for level, text in board.log),
        signal=run.signal_trace(),
        traces=tuple(run.traces()),
    )


@dataclass(frozen=True)
class _Seen:
    """A tensor that differed, and how far the stream was: enough to run up to there again."""

    tensor: int
    frames_in: int
    flushed: bool
    stage: str


class _Run:
    """One check on its way."""

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
        sizes = cut(len(inputs[0]), chunks)
        self._total = max(1, len(sizes) * (2 if taps != "all" else 2 + len(program.streams())))
        self._done = 0
        # Totals that a profile over time is drawn against.
        self._expected = dict.fromkeys(program.streams(), max(1, len(inputs[0])))

    def _step(self) -> None:
        self._done += 1
        if self.progress is not None:
            self.progress(min(self._done, self._total), self._total)

    def _tally(self, role: str, tensor: int) -> Tally:
        if (role, tensor) not in self.tallies:
            node = self._maker.get(tensor)
            self.tallies[role, tensor] = Tally(
                self.program.plan.tensors[tensor],
                role,
                "input" if node is None else named(self.program.plan.nodes[node]),
                self.tolerance,
                expected_frames=self._expected[tensor],
            )
        return self.tallies[role, tensor]

    def _compare(self, expected: list[Array], pushed: Pushed, position: list[int], seen: _Seen, keep: bool) -> bool:
        """The outputs of one push; ``position`` counts frames per output and moves on."""
        good = True
        for k, (a, b) in enumerate(zip(expected, pushed.outputs, strict=True)):
            tensor = self.program.plan.outputs[k]
            if not self._tally("output", tensor).add(a, b, position[k]):
                self.seen.append(replace(seen, tensor=tensor))
                good = False
            position[k] += len(a)
            if keep:
                self._made[k][0].append(a)
                self._made[k][1].append(b)
        return good

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
        for n in sizes:
            yield n, [x[begin : begin + n] for x in self.inputs]
            begin += n

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
        self.host.reset()
        self.board.reset()
        sizes = cut(len(self.inputs[0]), self.chunks)
        stride = self._state_stride(len(sizes))
        position = [0] * len(self._made)
        good = good_states = True
        compared, frames_in = 0, 0
        for k, (n, chunk) in enumerate(self._chunks(sizes)):
            pushed = self.board.push(chunk)
            self.costs += [cost for cost in pushed.costs if cost.frames]
            frames_in += n
            seen = _Seen(-1, frames_in, False, "random chunks")
            good &= self._compare(self.host.push(chunk), pushed, position, seen, keep=True)
            if stride and (k % stride == stride - 1 or k == len(sizes) - 1):
                compared += 1
                good_states &= self._compare_states(seen)
                if good and good_states and frames_in - (self.checkpoints or [(0, b"")])[-1][0] >= _CHECKPOINT_FRAMES:
                    self.checkpoints.append((frames_in, self.host.snapshot()))
            self._step()
        name = f"{self.chunks} chunks" if self.chunks.isdecimal() else "random chunks"
        note = "" if stride else "this target cannot show its state"
        self.stages.append(Stage(name, good, position[0], 0, note))
        if stride:
            every = "" if stride == 1 else f"after every {stride}th chunk: the state is large or the taps say outputs"
            self.stages.append(Stage("state", good_states, 0, compared, every))
        self._flush("flush", position, frames_in, keep=True)

    def _flush(self, name: str, position: list[int], frames_in: int, keep: bool) -> bool:
        """The tail of both sides; a target without flush is left out, and says so."""
        if Can.FLUSH not in self.board.can:
            self.stages.append(Stage(name, True, 0, 0, "not compared: this target cannot end a signal"))
            return True
        before = position[0]
        seen = _Seen(-1, frames_in, True, name)
        good = self._compare(self.host.flush(), self.board.flush(), position, seen, keep)
        self.stages.append(Stage(name, good, position[0] - before))
        return good

    def second_stream(self) -> None:
        """After a reset, in other chunks: what is left of the first stream would show."""
        self.host.reset()
        self.board.reset()
        position = [0] * len(self._made)
        frames_in, good = 0, True
        for n, chunk in self._chunks(cut(len(self.inputs[0]) // 2, self.chunks, again=1)):
            frames_in += n
            seen = _Seen(-1, frames_in, False, "reset, then a second stream")
            good &= self._compare(self.host.push(chunk), self.board.push(chunk), position, seen, keep=False)
            self._step()
        self.stages.append(Stage("reset, then a second stream", good, position[0]))

    def snapshots(self) -> None:
        """Both streams stand where the second stream left them."""
        if Can.SNAPSHOT not in self.board.can:
            self.stages.append(Stage("snapshots", True, 0, 0, "not compared: this target cannot show its state"))
            return
        begin = len(self.inputs[0]) // 2
        middle = begin + (len(self.inputs[0]) - begin) // 2
        position = [len(frames) for frames in self._output_counts(begin)]
        blob = self.host.snapshot()
        self.board.reset()
        self.board.push([x[: min(5, len(x))] for x in self.inputs])
        self.board.restore(blob)
        before = position[0]
        good = self._goes_on(begin, middle, position, "snapshot of the host, restored on the board")
        self.stages.append(
            Stage("snapshot of the host, restored on the board", good, position[0] - before, int(bool(blob)))
        )
        blob = self.board.snapshot()
        self.host.reset()
        self.host.restore(blob)
        before = position[0]
        good = self._goes_on(middle, len(self.inputs[0]), position, "snapshot of the board, restored on the host")
        self.stages.append(Stage("snapshot of the board, restored on the host", good, position[0] - before, 1))
        self._flush("flush after the snapshots", position, len(self.inputs[0]), keep=False)

    def _output_counts(self, frames_in: int) -> list[range]:
        from tcnstream.timing import counts

        have = counts(self.program.plan, frames_in, ended=False)
        return [range(have[o]) for o in self.program.plan.outputs]

    def _goes_on(self, begin: int, end: int, position: list[int], name: str) -> bool:
        good, frames_in = True, begin
        for n, chunk in self._chunks(cut(end - begin, self.chunks, again=2), begin):
            frames_in += n
            seen = _Seen(-1, frames_in, False, name)
            good &= self._compare(self.host.push(chunk), self.board.push(chunk), position, seen, keep=False)
        return good

    def every_tensor(self) -> None:
        """One pass of the whole signal per tensor."""
        good, frames = True, 0
        wanted = [tensor for tensor in self.program.streams() if tensor not in self.program.plan.inputs]
        host = self.program.all_frames(wanted, self.inputs, flush=Can.FLUSH in self.board.can)
        for tensor in wanted:
            tapped = self._replay(tensor, len(self.inputs[0]), flushed=True, from_start=True)
            ours = host[tensor]
            frames += len(ours)
            if not self._tally("tensor", tensor).add(ours[tapped.first_frame :], tapped.frames, tapped.first_frame):
                self.seen.append(_Seen(tensor, len(self.inputs[0]), True, "every tensor"))
                good = False
        self.stages.append(Stage("every tensor", good, frames))

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
            begin = start
            for n in cut(frames_in - start, self.chunks):
                pushed = self.board.push([x[begin : begin + n] for x in self.inputs])
                first = self._gather(pushed, parts, first)
                begin += n
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
            found = locate(
                self.program,
                seen.tensor,
                [x[: seen.frames_in] for x in self.inputs],
                seen.flushed and Can.FLUSH in self.board.can,
                lambda tensor, seen=seen: self._replay(tensor, seen.frames_in, seen.flushed),  # type: ignore[misc]
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


def _cost(facts: BoardFacts, costs: list[Cost], rate_hz: float | None) -> CostReport | None:
    if not costs:
        return None
    unit = facts.ticks
    per_frame = np.array([facts.units(cost.ticks) / cost.frames for cost in costs])
    weights = np.array([cost.frames for cost in costs])
    order = np.argsort(per_frame)
    reached = np.cumsum(weights[order]) / weights.sum()

    def quantile(q: float) -> float:
        return float(per_frame[order][min(int(np.searchsorted(reached, q)), len(order) - 1)])

    deadline: float | None = None
    if rate_hz and unit == "nanoseconds":
        deadline = 1e9 / rate_hz
    elif rate_hz and unit == "cycles" and facts.clock_hz:
        deadline = facts.clock_hz / rate_hz
    worst = float(per_frame.max())
    counted, edges = np.histogram(per_frame, bins=min(40, max(1, len(np.unique(per_frame)))), weights=weights)
    return CostReport(
        unit=unit,
        frames=int(weights.sum()),
        median=quantile(0.5),
        p99=quantile(0.99),
        worst=worst,
        rate_hz=rate_hz,
        deadline=deadline,
        per_second=worst * rate_hz if rate_hz else None,
        histogram=tuple((float(edge), int(n)) for edge, n in zip(edges, counted, strict=False)),
    )
