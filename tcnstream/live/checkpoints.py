"""Checkpoints: chains stand still for the moment of a snapshot, sinks say how far they are, the journal commits it all.

This runs on a thread of its own. A disk that is full or gone stops checkpoints, never the chains, and is told in the
log and in the health of the daemon.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tcnstream.live.config import CheckpointConfig
from tcnstream.live.journal import Checkpoint, Journal, boot_id
from tcnstream.live.lanes import Lane, Worker
from tcnstream.live.logs import Log
from tcnstream.live.sinks.base import Mark, Position, Sink
from tcnstream.live.sinks.jsonl import JsonlSink

RESERVED_SEQS = 1_000_000  # a journal that cannot be written for a day must not use one twice
_LOOK_S = 0.2  # and a quarter of the shortest pace, if that is less
_SINKS_S, _LAST_S, _LOOK_AGAIN_S = 20.0, 8.0, 0.1
"""How long sinks may take for a checkpoint, and for the last one: systemd waits 30 s for the end of all."""
_TROUBLED_S = 2.0
"""How long those may that cannot write now."""
_AT_ONCE = 8


@dataclass(eq=False)
class Watched:
    """A lane with what the journal must know of it."""

    lane: Lane
    worker: Worker
    identity: str
    done_s: float = 0.0
    done_frame: int = -1
    done_epoch: int = -1
    done_ended: bool = False
    reserved_seq: int = 0
    files: Mapping[str, Position] | None = None


class Checkpoints:
    """Owns the journal from ``start`` on."""

    def __init__(self, journal: Journal, sinks: Mapping[str, Sink], pace: CheckpointConfig, log: Log) -> None:
        self._journal, self._sinks, self._pace, self._log = journal, sinks, pace, log
        self._watched: list[Watched] = []
        self._boot = boot_id()
        self._stop = threading.Event()
        # Of what is watched and committed: an older checkpoint never takes the place of a newer one.
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.trouble = ""
        self.commits = 0
        self.committed_s = time.monotonic()

    def watch(self, lanes: Sequence[Watched]) -> None:
        """More lanes, checkpointed now."""
        with self._lock:
            self._watched = [*self._watched, *lanes]
        self.checkpoint(lanes)

    def end(self, lanes: Collection[Lane]) -> None:
        """The last checkpoint of lanes that move no more."""
        gone = {id(lane) for lane in lanes}
        with self._lock:
            ending = [each for each in self._watched if id(each.lane) in gone]
            self._watched = [each for each in self._watched if id(each.lane) not in gone]
        self.checkpoint(ending, clean=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """The last checkpoint, of chains that move no more."""
        self._stop.set()
        self._thread.join()
        self.checkpoint(self._watched, clean=True, sinks_s=_LAST_S)
        self._journal.close()

    def _run(self) -> None:
        look_s = min(_LOOK_S, self._pace.replayed_s / 4, self._pace.live_s / 4)
        while not self._stop.wait(look_s):
            try:
                for together in self._due():
                    self.checkpoint(together, is_due=True)
            except Exception as error:  # the next one may go well
                self._has_trouble(f"a checkpoint broke off: {type(error).__name__}: {error}")

    def _due(self) -> Iterable[Sequence[Watched]]:
        """Replays of one worker go together, since they write one order of events; of live ones a few at a time.

        A stream that has ended is due at once: sinks write what they hold back, for nothing more comes to go with it.
        """
        now_s = time.monotonic()
        live: list[Watched] = []
        replays: dict[int, list[Watched]] = {}
        wanted: set[int] = set()
        for each in self._watched:
            chain = each.lane.chain
            moved = chain.next_frame != each.done_frame
            has_ended = chain.ended and not each.done_ended
            if chain.replayed:
                replays.setdefault(id(each.worker), []).append(each)
                if has_ended or (moved and now_s - each.done_s >= self._pace.replayed_s):
                    wanted.add(id(each.worker))
            elif has_ended or (
                moved
                and (
                    now_s - each.done_s >= self._pace.live_s
                    or chain.next_seq > each.reserved_seq - RESERVED_SEQS // 2
                    or (chain.epoch != each.done_epoch and now_s - each.done_s >= self._pace.replayed_s)
                )
            ):
                live.append(each)
        yield from (lanes for worker, lanes in replays.items() if worker in wanted)
        by_worker: dict[int, list[Watched]] = {}
        for each in live:
            by_worker.setdefault(id(each.worker), []).append(each)
        for lanes in by_worker.values():
            yield from (lanes[begin : begin + _AT_ONCE] for begin in range(0, len(lanes), _AT_ONCE))

    def checkpoint(
        self, together: Sequence[Watched], *, clean: bool = False, is_due: bool = False, sinks_s: float = _SINKS_S
    ) -> None:
        """One transaction for lanes of any workers; chains of one worker stand still together.

        One that only ``is_due`` is given up at the end, and for lanes that have ended meanwhile: theirs was the last.
        """
        taken: list[tuple[Watched, Checkpoint]] = []
        marks: dict[str, Mark] = {}
        for worker in {id(each.worker): each.worker for each in together}.values():
            with worker.still():
                lanes = [each for each in together if each.worker is worker and not each.lane.failed]
                if is_due:
                    lanes = self._still_watched(lanes)
                taken += [(each, self._snapshot(each, clean)) for each in lanes]
                names = {name for each in lanes for name in each.lane.chain.config.sinks}
                marks |= {name: self._sinks[name].mark() for name in sorted(names)}
        if not taken:
            return
        began_s = time.monotonic()
        while late := [name for name, mark in marks.items() if not mark.wait(_LOOK_AGAIN_S)]:
            if is_due and self._stop.is_set():
                return
            waited_s = time.monotonic() - began_s
            if waited_s > sinks_s or (waited_s > _TROUBLED_S and self._is_hopeless(late)):
                break
        if late:
            self._has_trouble(f"the sinks {', '.join(late)} are behind")
            return
        positions = {name: mark.position for name, mark in marks.items() if mark.position is not None}
        with self._lock:
            if is_due:
                watched = self._still_watched([each for each, _ in taken])
                taken = [(each, checkpoint) for each, checkpoint in taken if each in watched]
            self._commit(taken, positions)
        self._let_go(positions)

    def _is_hopeless(self, late: Sequence[str]) -> bool:
        return all((sink := self._sinks.get(name)) is None or sink.disk_trouble for name in late)

    def _still_watched(self, lanes: Sequence[Watched]) -> list[Watched]:
        return [each for each in lanes if each in self._watched]

    def _commit(self, taken: Sequence[tuple[Watched, Checkpoint]], positions: Mapping[str, Position]) -> None:
        complete = [self._with_files(each, checkpoint, positions) for each, checkpoint in taken]
        outboxes = {name: sink.unsent() for name, sink in list(self._sinks.items()) if sink.sends}
        try:
            self._journal.commit(complete, outboxes, self._boot)
        except sqlite3.Error as error:
            self._has_trouble(f"the journal cannot be written: {error}")
            return
        if self.trouble:
            self._log.info("journal.recovered")
        self.trouble, self.committed_s = "", time.monotonic()
        self.commits += 1
        for (each, _), checkpoint in zip(taken, complete, strict=True):
            each.done_s, each.done_frame, each.done_epoch = self.committed_s, checkpoint.next_frame, checkpoint.epoch
            each.done_ended, each.reserved_seq, each.files = checkpoint.ended, checkpoint.reserved_seq, checkpoint.files

    def _snapshot(self, each: Watched, clean: bool) -> Checkpoint:
        chain = each.lane.chain
        now_s = time.monotonic()
        arrived_s = chain.arrived_s or now_s
        reserve = 0 if chain.replayed or clean else RESERVED_SEQS
        return Checkpoint(
            chain.config.name,
            each.identity,
            chain.epoch,
            chain.next_frame,
            chain.next_seq,
            chain.next_seq + reserve,
            chain.ended,
            clean,
            arrived_s,
            time.time() - (now_s - arrived_s),
            {},
            # After a crash a live source begins anew: what its chain remembers is wanted of a clean end alone.
            chain.snapshot() if chain.replayed or clean else b"",
        )

    def _with_files(self, each: Watched, checkpoint: Checkpoint, positions: Mapping[str, Position]) -> Checkpoint:
        files = {name: positions[name] for name in each.lane.chain.config.sinks if name in positions}
        return replace(checkpoint, files=files)

    def _let_go(self, positions: Mapping[str, Position]) -> None:
        """Turned-over files that no stream would go back to."""
        for name in positions:
            sink = self._sinks.get(name)  # it may have been exchanged since it told its position
            if isinstance(sink, JsonlSink):
                needed = [each.files[name] for each in self._watched if each.files and name in each.files]
                if needed:
                    sink.file.needed_from(min(needed))

    def _has_trouble(self, why: str) -> None:
        self.trouble = why
        self._log.error("journal.stopped", why=why)
