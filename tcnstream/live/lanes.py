"""Workers: threads that push blocks through chains; chains of one model are lanes of one pool.

A worker holds its ``gate`` while chains move. Who wants chains to stand still, as the journal does for a checkpoint,
takes ``still()``: between two steps, in turn, so that a worker that never waits cannot keep it out.
"""

from __future__ import annotations

import heapq
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest

import numpy as np

from tcnstream.errors import SignalError, TcnStreamError
from tcnstream.live.blocks import Block, Lost, Samples
from tcnstream.live.chain import Chain
from tcnstream.live.comparison import Comparison
from tcnstream.live.delay import Delay
from tcnstream.live.events import Event
from tcnstream.live.hub import Hub
from tcnstream.live.sinks.base import SampleBlock
from tcnstream.live.sources.base import Replay
from tcnstream.pipeline import PipelinePool
from tcnstream.signal.sources.base import Gap

MOST_FRAMES = 4096
_PACED_S = 0.02
_LOOK_S = 0.2


@dataclass
class Lane:
    """A chain and its place in a pool, with the board behind it; ``is_kept`` says that a sink keeps its samples,
    ``delay`` is from the arrival of samples until the sinks have what came of them.
    """

    chain: Chain
    pool: PipelinePool
    number: int
    failed: str = ""
    behind_s: float = 0.0
    is_gone: bool = False
    is_kept: bool = False
    board: Comparison | None = None
    delay: Delay = field(default_factory=Delay)


class Worker(ABC):
    """One thread, many lanes."""

    def __init__(self, hub: Hub, name: str, failed: Callable[[Lane, Exception], None]) -> None:
        self.hub = hub
        self.lanes: list[Lane] = []
        self._turn, self._gate = threading.Lock(), threading.Lock()
        self.stopping = threading.Event()
        self._failed = failed
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    @contextmanager
    def still(self) -> Iterator[None]:
        """No chain of this worker moves inside."""
        with self._turn, self._gate:
            yield

    @contextmanager
    def moving(self) -> Iterator[None]:
        """The worker's own side of ``still``."""
        with self._turn:
            self._gate.acquire()
        try:
            yield
        finally:
            self._gate.release()

    def await_room(self, lanes: Sequence[Lane]) -> None:
        """Between two steps: until no sink that lanes wait for is full, or the worker is to end."""
        while not self.stopping.is_set():
            full = (self.hub.full(chain.config.sinks, chain.replayed) for chain in _chains(lanes))
            sink = next((each for each in full if each is not None), None)
            if sink is None:
                return
            sink.wait_for_room(_LOOK_S)

    def start(self) -> None:
        self.thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether nothing will ever come of it again."""
        return False

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def remove(self, lane: Lane) -> None:
        """The lane moves no more; call it inside ``still``."""

    @abstractmethod
    def _run(self) -> None: ...

    def step(self, batch: Sequence[tuple[Lane, Block]]) -> None:
        """Blocks of different lanes through their pools; then what came of it is published."""
        together: dict[int, list[tuple[Lane, Block]]] = {}
        for lane, block in batch:
            chain = lane.chain
            if lane.is_kept or self.hub.watched:
                kept = SampleBlock(chain.config.name, block.first_frame, block.samples, chain.rate_hz, chain.units)
                self.hub.keep(chain.config.sinks, kept, may_wait=chain.replayed)
            together.setdefault(id(lane.pool), []).append((lane, block))
        for rows in together.values():
            push_together(rows)
        self.publish([lane for lane, _ in batch])
        now_s = time.monotonic()
        for lane, block in batch:
            lane.delay.took(now_s - block.arrived_s)

    def publish(self, lanes: Sequence[Lane]) -> None:
        """What came of lanes, in their order; neighbours that go to the same sinks wake them once."""
        sinks: tuple[str, ...] = ()
        together: list[Event] = []
        for lane in lanes:
            chain = lane.chain
            if lane.board is not None:
                lane.board.tell()
            if not (events := chain.take()):
                continue
            if chain.config.sinks != sinks:
                self.hub.publish(sinks, together, may_wait=chain.replayed)
                sinks, together = chain.config.sinks, []
            together += events
        if together:
            self.hub.publish(sinks, together, may_wait=lanes[0].chain.replayed)
        if self.hub.watched:
            for lane in lanes:
                self.hub.provide(lane.chain.config.name, lane.chain.provisional)

    def step_guarded(self, batch: Sequence[tuple[Lane, Block]]) -> None:
        """``step`` for the streams that have not failed; what it stumbles over fails them."""
        sound = [(lane, block) for lane, block in batch if not lane.failed and not lane.is_gone]
        try:
            self.step(sound)
        except (TcnStreamError, OSError, ValueError) as error:
            for lane, _ in sound:
                self._fail(lane, error)

    def _fail(self, lane: Lane, error: Exception) -> None:
        lane.failed = str(error)
        self._failed(lane, error)

    def guarded(self, lane: Lane, work: Callable[[], None]) -> None:
        """A stream that fails stops alone."""
        try:
            work()
        except (TcnStreamError, OSError, ValueError) as error:
            self._fail(lane, error)


@dataclass(order=True)
class _Next:
    """The next block of a replay: due at ``due_s`` of its own time, in the order of the configuration."""

    due_s: float
    order: int
    lane: Lane = field(compare=False)
    block: Block = field(compare=False)
    rest: Iterator[Block] = field(compare=False)
    speed: float = field(compare=False)


class ReplayWorker(Worker):
    """Replays side by side, in the order of their own time, so that what comes out is a function of the recordings.

    Those that keep a pace are waited for; ``finished`` is called when all have ended.
    """

    def __init__(
        self, hub: Hub, name: str, failed: Callable[[Lane, Exception], None], finished: Callable[[], None]
    ) -> None:
        super().__init__(hub, name, failed)
        self._replays: list[tuple[Lane, Replay]] = []
        self._finished = finished

    def add(self, lane: Lane, replay: Replay) -> None:
        """Before ``start``."""
        self.lanes.append(lane)
        self._replays.append((lane, replay))

    def stop(self) -> None:
        self.stopping.set()
        if self.thread.ident is not None:
            self.thread.join()

    @property
    def is_idle(self) -> bool:
        """Whether all of its replays are removed."""
        return all(lane.is_gone for lane in self.lanes)

    def remove(self, lane: Lane) -> None:
        lane.is_gone = True
        if self.is_idle:
            self.stopping.set()

    def _run(self) -> None:
        heap: list[_Next] = []
        for order, (lane, replay) in enumerate(self._replays):
            with self.moving():
                if not lane.chain.ended:
                    self.guarded(lane, partial(self._begin, heap, order, lane, replay))
        began_s, first_s = time.monotonic(), min((each.due_s for each in heap), default=0.0)
        while heap and not self.stopping.is_set():
            batch = [heapq.heappop(heap)]
            while heap and heap[0].due_s == batch[0].due_s:
                batch.append(heapq.heappop(heap))
            if batch[0].speed != float("inf"):
                wait_s = began_s + batch[0].due_s - first_s - time.monotonic()
                if wait_s > 0 and self.stopping.wait(wait_s):
                    return
                for each in batch:
                    each.lane.behind_s = max(0.0, -wait_s)
            # A recording has been read before it is due.
            due_s = min(time.monotonic(), began_s + batch[0].due_s - first_s)
            for each in batch:
                each.block = replace(each.block, arrived_s=due_s)
            self.await_room([each.lane for each in batch])
            with self.moving():
                self.step_guarded([(each.lane, each.block) for each in batch])
                for each in batch:
                    self.guarded(each.lane, partial(self._advance, heap, each))
        if not self.stopping.is_set():
            self._finished()

    def _begin(self, heap: list[_Next], order: int, lane: Lane, replay: Replay) -> None:
        chain = lane.chain
        block_frames = MOST_FRAMES
        if replay.speed != float("inf"):
            paced = round(chain.rate_hz * replay.speed * _PACED_S)
            block_frames = min(MOST_FRAMES, max(chain.config.hop_frames, paced if chain.config.hop_frames == 1 else 1))
        blocks = _numbered(replay.pieces(chain.next_frame, block_frames), chain.next_frame)
        self._advance(heap, _Next(0.0, order, lane, Block(0, np.zeros((0, 1), np.float32), 0.0), blocks, replay.speed))

    def _advance(self, heap: list[_Next], each: _Next) -> None:
        """The lane's next block is queued, or the signal ends."""
        if each.lane.is_gone:
            return
        block = next(each.rest, None)
        chain = each.lane.chain
        if block is None:
            chain.end()
            self.publish([each.lane])
            return
        seconds = (block.first_frame + len(block.samples)) / chain.rate_hz
        due_s = seconds if each.speed == float("inf") else seconds / each.speed
        heapq.heappush(heap, _Next(due_s, each.order, each.lane, block, each.rest, each.speed))


def push_together(rows: Sequence[tuple[Lane, Block]]) -> None:
    """Blocks of different lanes of one pool."""
    if len(rows) == 1:
        lane, block = rows[0]
        lane.chain.push(block)
        return
    pool, chains = rows[0][0].pool, {lane.number: lane.chain for lane, _ in rows}
    pieces = [chains[lane.number].begin(block) for lane, block in rows]
    for turn in zip_longest(*pieces):
        given = {number: piece for number, piece in zip(chains, turn, strict=True) if piece is not None}
        found = pool.push_lanes(given)
        for number, piece in given.items():
            chains[number].finish(piece, found[number])


def _chains(lanes: Sequence[Lane]) -> Iterator[Chain]:
    """Of the lanes that still move; one where several go to the same sinks."""
    seen: set[tuple[tuple[str, ...], bool]] = set()
    for lane in lanes:
        where = lane.chain.config.sinks, lane.chain.replayed
        if where not in seen and not (lane.is_gone or lane.failed):
            seen.add(where)
            yield lane.chain


def _numbered(pieces: Iterator[Samples | Gap], frame: int) -> Iterator[Block]:
    gap: Lost | None = None
    for piece in pieces:
        if isinstance(piece, Gap):
            lost = Lost(piece.frames, 0, "unplugged")
            gap = lost if gap is None else gap.and_then(lost)
            frame += piece.frames
            continue
        yield Block(frame, piece, time.monotonic(), gap)
        frame, gap = frame + len(piece), None
    if gap is not None:
        yield Block(frame, np.zeros((0, 1), np.float32), time.monotonic(), gap)


class Intake:
    """Blocks that wait for a worker: bounded in seconds of signal, the oldest go first, and a gap stands for them."""

    def __init__(self, lane: Lane, changed: threading.Condition, most_s: float = 30.0) -> None:
        self.lane, self._changed = lane, changed
        self._most_frames = int(most_s * lane.chain.rate_hz)
        self._blocks: deque[Block] = deque()
        self.frames = 0
        self.ended, self.trouble = False, ""

    def put(self, block: Block, may_wait: Callable[[], bool] | None = None) -> int:
        """Returns how many frames were dropped. ``may_wait`` says whether to wait for room instead."""
        dropped = 0
        with self._changed:
            room = max(len(block.samples), self._most_frames)  # a block that is larger than all of it waits alone
            while may_wait is not None and may_wait() and self.frames + len(block.samples) > room:
                self._changed.wait(0.2)
            self._blocks.append(block)
            self.frames += len(block.samples)
            while self.frames > self._most_frames and len(self._blocks) > 1:
                oldest, following = self._blocks.popleft(), self._blocks.popleft()
                self._blocks.appendleft(_without(oldest, following))
                self.frames -= len(oldest.samples)
                dropped += len(oldest.samples)
            self._changed.notify_all()
        return dropped

    def end(self, why: str = "") -> None:
        """Nothing more comes; ``why``, where that was not as it should."""
        with self._changed:
            self.ended, self.trouble = True, why
            self._changed.notify_all()

    def ready(self) -> bool:
        if not self._blocks:
            return self.ended and not (self.lane.chain.ended or self.lane.failed)
        return self.frames >= self.lane.chain.config.hop_frames or self.ended or not _goes_on(self._blocks[0])

    def take(self) -> Block | None:
        """The next stretch without a gap inside, as one block."""
        if not self._blocks:
            return None
        first = self._blocks.popleft()
        parts, frames = [first.samples], len(first.samples)
        arrived_s = first.arrived_s
        while self._blocks and _goes_on(self._blocks[0]) and frames + len(self._blocks[0].samples) <= MOST_FRAMES:
            block = self._blocks.popleft()
            parts.append(block.samples)
            frames += len(block.samples)
            arrived_s = block.arrived_s
        self.frames -= frames
        samples = first.samples if len(parts) == 1 else np.concatenate(parts)
        return Block(first.first_frame, samples, arrived_s, first.gap, first.notes)


def _goes_on(block: Block) -> bool:
    return block.gap is None and not block.notes


def _without(oldest: Block, following: Block) -> Block:
    """``following``, with a gap in place of ``oldest``."""
    lost = Lost(len(oldest.samples), 0, "overrun")
    for gap in (oldest.gap, following.gap):
        lost = lost if gap is None else lost.and_then(gap)
    notes = oldest.notes + following.notes
    return Block(following.first_frame, following.samples, following.arrived_s, lost if lost.frames else None, notes)


class LiveWorker(Worker):
    """Live sources: whatever has come since the last step."""

    def __init__(
        self, hub: Hub, name: str, failed: Callable[[Lane, Exception], None], finished: Callable[[], None]
    ) -> None:
        super().__init__(hub, name, failed)
        self.changed = threading.Condition()
        self._intakes: list[Intake] = []
        self._finished = finished

    def add(self, lane: Lane) -> Intake:
        """Also while the worker runs."""
        intake = Intake(lane, self.changed)
        with self.changed:
            self.lanes = [*self.lanes, lane]
            self._intakes = [*self._intakes, intake]
        return intake

    def remove(self, lane: Lane) -> None:
        """Also while the worker runs."""
        with self.changed:
            self.lanes = [each for each in self.lanes if each is not lane]
            self._intakes = [each for each in self._intakes if each.lane is not lane]

    def stop(self) -> None:
        """What has come is worked off first."""
        self.stopping.set()
        with self.changed:
            self.changed.notify_all()
        if self.thread.ident is not None:
            self.thread.join()

    def _run(self) -> None:
        told = False
        while True:
            with self.changed:
                while not self.stopping.is_set() and not any(intake.ready() for intake in self._intakes):
                    self.changed.wait(1.0)
                due = [intake.lane for intake in self._intakes if intake.ready()]
            self.await_room(due)
            with self.moving():
                with self.changed:
                    taken = [(intake, intake.take()) for intake in self._intakes if intake.ready()]
                    self.changed.notify_all()
                if self.stopping.is_set() and not taken:
                    return
                now_s = time.monotonic()
                for intake, block in taken:
                    if block is not None:
                        intake.lane.behind_s = now_s - block.arrived_s
                self.step_guarded([(intake.lane, block) for intake, block in taken if block is not None])
                for intake, block in taken:
                    if block is None:
                        self.guarded(intake.lane, intake.lane.chain.end)
                        self.publish([intake.lane])
                        if intake.trouble:
                            self._fail(
                                intake.lane, SignalError(f"{intake.lane.chain.config.source.uri}: {intake.trouble}")
                            )
            if not told and self._intakes and all(lane.chain.ended or lane.failed for lane in self.lanes):
                told = True
                self._finished()
