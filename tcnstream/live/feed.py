"""A feed: the reader thread of a live source. It numbers frames, keeps the clock, and puts a name on what is missing.

It never ends while the daemon runs: a source that is gone, silent or broken is tried again, later and later.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from tcnstream.errors import TcnStreamError
from tcnstream.live.blocks import Block, Lost, Note, Piece
from tcnstream.live.clock import SampleClock, WallClock
from tcnstream.live.lanes import Intake
from tcnstream.live.logs import Log
from tcnstream.live.sources.base import Live, SourceDownError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_ARRIVAL_TOLERANCE_S = 0.02
_COUNTER_RESTART_S = 0.25
_RATE_OFF = 0.01
_CLOCK_LOOK_S = 1.0


@dataclass(frozen=True)
class FeedState:
    """Whether samples come, and what is known of their clock."""

    is_up: bool
    says: str
    since_s: float
    drift_ppm: float
    reconnects: int
    dropped_frames: int


@dataclass(frozen=True)
class Before:
    """Where a stream was when the daemon ended: the next frame, and when its newest sample had arrived."""

    next_frame: int
    arrived_s: float
    tolerance_s: float


class Feed:
    """``live`` into ``intake``; ``before`` is None for a stream that begins."""

    def __init__(
        self,
        name: str,
        live: Live,
        intake: Intake,
        channels: int,
        rate_hz: float,
        wall: WallClock,
        log: Log,
        changed: Callable[[], None],
        before: Before | None = None,
    ) -> None:
        self.name, self.live, self._channels = name, live, channels
        self._intake, self._rate_hz, self._wall, self._log, self._changed = intake, rate_hz, wall, log, changed
        self.clock = SampleClock(rate_hz, live.has_crystal)
        self._before = before
        live.goes_on = before is not None
        self.next_frame = 0 if before is None else before.next_frame
        self._has_begun = False
        self._down_since_s: float | None = None
        self._pending: Lost | None = None
        self._notes: list[Note] = []
        self._heard_s = time.monotonic()
        self._looked_s = 0.0
        self._reconnects = self._dropped = 0
        self._rate_is_off = False
        self._unsound_frames = 0
        self.stop_flag = threading.Event()
        self.state = FeedState(False, "opening", time.monotonic(), 0.0, 0, 0)
        self.thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self, timeout_s: float) -> None:
        self.stop_flag.set()
        self.thread.join(timeout_s)

    def utc(self, frame: int) -> str | None:
        """The time of day of a frame, as far as arrivals tell."""
        return self._wall.utc(self.clock.monotonic_s(frame)) if self.clock.known else None

    def is_well(self) -> bool:
        """Its thread runs, and it delivers or knows that it does not."""
        silent_s = time.monotonic() - self._heard_s
        return self.thread.is_alive() and (not self.state.is_up or silent_s < self.live.silent_s + 5)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self.stop_flag.is_set():
            heard = False
            try:
                for piece in self.live.pieces(self.stop_flag):
                    if self.stop_flag.is_set():
                        break
                    if piece is None:
                        self._quiet(self.live.silent_s if heard else max(self.live.silent_s, self.live.opening_s))
                        continue
                    heard = True
                    for sound in self._sound(piece):
                        self._take(sound)
                why = "" if self.live.ends else "it ended"
            except SourceDownError as error:
                why = str(error)
            except TcnStreamError as error:
                why = str(error)
            except Exception as error:  # whatever a driver does, this thread goes on trying
                why = f"{type(error).__name__}: {error}"
                self._log.error("source.broke", stream=self.name, error=why)
            if self.stop_flag.is_set():
                return
            if self.live.ends:
                self._end(why)
                return
            self._down(why)
            pause_s = _FIRST_PAUSE_S if heard else pause_s
            self.stop_flag.wait(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    def _end(self, why: str) -> None:
        """The source is not tried again; ``why`` it ended, where that was not as it should."""
        if why:
            self._down(why)
        self._set_state(False, why or "ended")
        self._intake.end(why)
        self.stop_flag.wait()

    def _sound(self, piece: Piece) -> Iterator[Piece]:
        """Stretches of a piece whose values are numbers; frames that are none are lost."""
        if math.isfinite(piece.samples.sum()) and not self._unsound_frames:
            yield piece
            return
        is_sound = np.asarray(np.isfinite(piece.samples).all(axis=1))
        lost, count = piece.lost, len(is_sound)
        edges = [0, *(np.flatnonzero(np.diff(is_sound)) + 1).tolist(), count]
        for begin, end in pairwise(edges):
            if not is_sound[begin]:
                self._unsound_frames += end - begin
                continue
            if self._unsound_frames:
                unsound, self._unsound_frames = Lost(self._unsound_frames, 0, "counter"), 0
                lost = unsound if lost is None else lost.and_then(unsound)
            arrived_s = piece.arrived_s - (count - end) / self._rate_hz
            yield replace(piece, samples=piece.samples[begin:end], arrived_s=arrived_s, lost=lost)
            lost = None
        if lost is not None:  # nothing came behind it yet
            self._unsound_frames += lost.frames

    def _quiet(self, most_s: float) -> None:
        if time.monotonic() - self._heard_s > most_s:
            raise SourceDownError(f"nothing came for {most_s:g} s")

    def _down(self, why: str) -> None:
        self._heard_s = time.monotonic()
        if self._down_since_s is None:
            self._down_since_s = self._heard_s
            self._log.warn("source.down", stream=self.name, why=why)
            self._notes.append(Note("status", "down", {"why": why}))
            self._flush_notes()
        self._set_state(False, why)

    def _take(self, piece: Piece) -> None:
        count = len(piece.samples)
        now_s = piece.arrived_s
        lost, self._pending = self._missing(piece), None
        self._has_begun = True
        if self._down_since_s is not None or not self.state.is_up:
            down_s = 0.0 if self._down_since_s is None else now_s - self._down_since_s
            self._reconnects += self._down_since_s is not None
            self._down_since_s = None
            self._log.info("source.up", stream=self.name, down_s=round(down_s, 3))
            self._notes.append(Note("status", "up", {"down_s": round(down_s, 3)}))
            self._set_state(True, "delivers")
        self._heard_s = time.monotonic()
        if lost is not None:
            self.next_frame += lost.frames
            self._log.warn("gap", stream=self.name, reason=lost.reason, frames=lost.frames)
        first = self.next_frame
        self.next_frame += count
        missing = self.clock.arrived(self.next_frame, now_s, piece.fresh)
        if missing and not piece.modulus:
            tolerance = max(1, math.ceil(self.clock.deficit_tolerance_s * self._rate_hz))
            self._pending = Lost(missing, tolerance, "deficit")
        self._look_at_clocks(now_s)
        notes, self._notes = tuple(self._notes), []
        waits = (lambda: not self.stop_flag.is_set()) if self.live.ends else None
        dropped = self._intake.put(Block(first, piece.samples, now_s, lost, notes), waits)
        if dropped:
            self._dropped += dropped
            self._log.warn("source.overrun", stream=self.name, dropped_frames=self._dropped)

    def _missing(self, piece: Piece) -> Lost | None:
        """What is missing before a piece, by its counter, by the time, or by both."""
        if not self._has_begun:
            return self._since_restart(piece)
        lost = piece.lost if self._pending is None or piece.lost is None else self._pending.and_then(piece.lost)
        lost = self._pending if lost is None else lost
        was_down = self._down_since_s is not None
        if not (was_down or piece.modulus) or not self.clock.known:
            return lost
        by_time = self.clock.frames_since(self.next_frame + len(piece.samples) + piece.behind, piece.arrived_s)
        # This piece may be as late as others were of late.
        tolerance = max(1, round(max(_ARRIVAL_TOLERANCE_S, self.clock.lateness_s) * self._rate_hz))
        if piece.modulus:
            return self._by_counter(piece, by_time, tolerance, was_down)
        frames = max(0, round(by_time))
        return Lost(frames, tolerance, "unplugged") if frames > 0 or was_down else None

    def _by_counter(self, piece: Piece, by_time: float, tolerance: int, was_down: bool) -> Lost | None:
        counted = 0 if piece.lost is None else piece.lost.frames
        reason: Literal["unplugged", "counter"] = "unplugged" if was_down else "counter"
        # What waited for this program says nothing of turns: what comes fresh behind it does.
        if not was_down and (by_time < piece.modulus / 2 or not piece.fresh):
            return Lost(counted, 0, reason) if counted else None
        turns = max(0, round((by_time - counted) / piece.modulus))
        frames = counted + turns * piece.modulus
        if was_down and abs(frames - by_time) > max(2 * tolerance, _COUNTER_RESTART_S * self._rate_hz):
            # The counter does not go on where it was: the device began anew, and only the time is left.
            return Lost(max(0, round(by_time)), tolerance, reason)
        # The time must tell which turn of the counter it is; where it cannot, the count may be a turn off.
        off = 0 if tolerance < piece.modulus / 2 else piece.modulus
        return Lost(frames, off, reason) if frames or was_down else None

    def _since_restart(self, piece: Piece) -> Lost | None:
        if self._before is None:
            return piece.lost
        gone_s = piece.arrived_s - self._before.arrived_s
        frames = max(0, round(gone_s * self._rate_hz) - len(piece.samples))
        tolerance = max(1, round(self._before.tolerance_s * self._rate_hz))
        return Lost(frames, tolerance, "restart")

    def _look_at_clocks(self, now_s: float) -> None:
        if now_s - self._looked_s < _CLOCK_LOOK_S:
            return
        self._looked_s = now_s
        if step_s := self._wall.step_for(self.name):
            self._notes.append(Note("clock", "step", {"step_s": round(step_s, 3)}))
            self._log.warn("clock.step", stream=self.name, step_s=round(step_s, 3))
        is_off = abs(self.clock.drift_ppm) > _RATE_OFF * 1e6
        if is_off and not self._rate_is_off:
            measured = self._rate_hz / (1 + self.clock.drift_ppm * 1e-6)
            self._notes.append(Note("clock", "rate", {"says_hz": self._rate_hz, "measured_hz": round(measured, 2)}))
            self._log.warn("clock.rate", stream=self.name, says_hz=self._rate_hz, measured_hz=round(measured, 2))
        self._rate_is_off = is_off
        self._set_state(self.state.is_up, self.state.says)

    def _flush_notes(self) -> None:
        """Notes of a source that is down do not wait for its next sample."""
        if self._has_begun:
            notes, self._notes = tuple(self._notes), []
            empty = np.zeros((0, self._channels), np.float32)
            self._intake.put(Block(self.next_frame, empty, time.monotonic(), None, notes))

    def _set_state(self, is_up: bool, says: str) -> None:
        changed = (is_up, says) != (self.state.is_up, self.state.says)
        since_s = time.monotonic() if changed else self.state.since_s
        self.state = FeedState(is_up, says, since_s, self.clock.drift_ppm, self._reconnects, self._dropped)
        if changed:
            self._changed()
