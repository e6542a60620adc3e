"""A chain: the blocks of one source become the events of one stream.

It owns what the Pipeline does not know: frame numbers of the source, epochs, sequence numbers, what was filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from tcnstream.live.beats import Beats
from tcnstream.live.blocks import Block, Lost, Samples
from tcnstream.live.config import StreamConfig
from tcnstream.live.events import Event, EventType
from tcnstream.live.gaps import fill, overlap_s
from tcnstream.live.quality import WINDOW_S, Flag, Quality
from tcnstream.pipeline import GAP, Pipeline
from tcnstream.signal.segments import Segment
from tcnstream.signal.sinks.base import said_marks
from tcnstream.signal.units import unit_factor

Stamp = Callable[[int], str | None]
"""The time of day of a frame of the source; None if nobody knows it."""


class _State(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    base_frame: int
    next_frame: int
    epoch: int
    next_seq: int
    ended: bool
    last: list[float] | None
    filled: list[tuple[float, float]]
    beats: bytes
    quality: bytes
    noisy: bool
    pipeline: bytes


_DECODER = msgspec.msgpack.Decoder(_State)


@dataclass(frozen=True)
class Facts:
    """What a chain is asked for from other threads; replaced, never changed."""

    next_frame: int
    next_seq: int
    epoch: int
    ended: bool
    gaps: int = 0
    missing_frames: int = 0


class Chain:
    """One thread at a time: the worker that owns it, or the journal while the worker waits."""

    def __init__(
        self,
        config: StreamConfig,
        pipeline: Pipeline,
        stamp: Stamp,
        *,
        replayed: bool,
        units: str = "",
    ) -> None:
        self.config, self.pipeline, self.replayed = config, pipeline, replayed
        self.stamp = stamp
        rate_hz = pipeline.rate_hz
        assert rate_hz is not None
        self.rate_hz = rate_hz
        self.units = units
        self.ended = False
        self.base_frame = self.next_frame = 0
        self.epoch = self.next_seq = 0
        self.gaps = self.missing_frames = 0
        self.synchronised: Callable[[], bool] = lambda: True
        self._last: Samples | None = None
        self._filled: list[tuple[float, float]] = []
        self._beats = Beats.for_labels(pipeline.labels)
        self._quality: Quality | None = None
        self._noisy = False
        if "qrs" in pipeline.labels:
            self._quality = Quality(rate_hz, (unit_factor(units, "mV") or 1.0) * config.gain)
        self._out: list[Event] = []
        self.arrived_s = 0.0

    @property
    def facts(self) -> Facts:
        """Numbers for status and metrics."""
        return Facts(self.next_frame, self.next_seq, self.epoch, self.ended, self.gaps, self.missing_frames)

    def begin_at(self, frame: int, epoch: int, seq: int) -> None:
        """Nothing is remembered; the next sample is that ``frame`` or a later one, after a gap."""
        self.pipeline.reset()
        self.base_frame = self.next_frame = frame
        self.epoch, self.next_seq = epoch, seq
        self._last, self._filled, self.ended, self._noisy = None, [], False, False
        self._beats.reset()
        if self._quality is not None:
            self._quality.reset(frame)

    def push(self, block: Block) -> None:
        """``begin``, and all of what follows from it, through this chain's own pipeline."""
        for piece in self.begin(block):
            self.finish(piece, self.pipeline.push(piece))

    def begin(self, block: Block) -> list[Samples]:
        """What is to be pushed for a block, piece by piece; a gap in front of it is dealt with first.

        A piece ends where one of the rules' windows does, so that what they and the model say comes in one order,
        whatever the blocks.
        """
        samples = block.samples
        if len(samples):
            self.arrived_s = block.arrived_s
        for note in block.notes:
            self.say(note.type, note.label, dict(note.more))
        if block.gap is not None:
            samples = self._over(block.gap, samples)
        assert self.next_frame + len(samples) == block.first_frame + len(block.samples), (self.next_frame, block)
        if not len(samples):
            return []
        self._last = samples[-1]
        return [samples] if self._quality is None else self._quality.cut(samples)

    def finish(self, piece: Samples, segments: Sequence[Segment]) -> None:
        """What the pipeline made final at a piece, and what the rules make of it."""
        self._segments(segments)
        if self._quality is not None:
            before = self._flag
            for frame, rules in self._quality.push(piece[:, 0]):
                flag, at_s = self._with_model(rules), frame / self.rate_hz
                if flag != before:
                    self._emit("status", frame, at_s, at_s + WINDOW_S, flag, 1.0, {"quality": flag})
                before = flag
        self.next_frame += len(piece)

    def end(self) -> None:
        """The signal is over."""
        if not self.ended:
            self._segments(self.pipeline.flush())
            self._derived(self._beats.flush(), self.next_frame)
            self.ended = True

    @property
    def provisional(self) -> dict[str, Any] | None:
        """What has begun and is not final: ``label``, ``start_s`` and ``end_s`` on the source's clock, ``end_s`` None
        while it goes on.
        """
        segment = None if self.ended else self.pipeline.provisional
        if segment is None:
            return None
        base_s, reached_s = self.base_frame / self.rate_hz, self.pipeline.reached_s
        goes_on = reached_s is not None and segment.end_s >= reached_s
        end_s = None if goes_on else round(base_s + segment.end_s, 4)
        return {"label": segment.label, "start_s": round(base_s + segment.start_s, 4), "end_s": end_s}

    def take(self) -> list[Event]:
        """The events since the last call, in order."""
        events, self._out = self._out, []
        return events

    def say(self, type: EventType, label: str, more: dict[str, Any], at_frame: int | None = None) -> None:
        """An event that is no stretch of the signal, at the next frame if none is given."""
        at = self.next_frame if at_frame is None else at_frame
        self._emit(type, at, at / self.rate_hz, at / self.rate_hz, label, 1.0, more)

    def snapshot(self) -> bytes:
        """All that the chain remembers, for the same version of this package."""
        last = None if self._last is None else self._last.tolist()
        return msgspec.msgpack.encode(
            _State(
                self.base_frame,
                self.next_frame,
                self.epoch,
                self.next_seq,
                self.ended,
                last,
                self._filled,
                self._beats.snapshot(),
                b"" if self._quality is None else self._quality.snapshot(),
                self._noisy,
                self.pipeline.snapshot(),
            )
        )

    def restore(self, blob: bytes) -> None:
        """Raises TcnStreamError or ValueError where the snapshot is of another chain."""
        state = _DECODER.decode(blob)
        self.pipeline.restore(state.pipeline)
        self._beats.restore(state.beats)
        if self._quality is not None:
            self._quality.restore(state.quality)
        self.base_frame, self.next_frame = state.base_frame, state.next_frame
        self.epoch, self.next_seq, self.ended = state.epoch, state.next_seq, state.ended
        self._noisy = state.noisy
        self._last = None if state.last is None else np.array(state.last, np.float32)
        self._filled = state.filled

    def _over(self, lost: Lost, samples: Samples) -> Samples:
        done = self.config.gap.done(lost, self.rate_hz, self._last if len(samples) else None)
        first = self.next_frame
        self.gaps += 1
        self.missing_frames += lost.frames
        if done == "reset":
            self._segments(self.pipeline.mark_gap(lost.frames))
            self._derived(self._beats.flush(), first)
            self._gap(lost, first, done)
            self.next_frame += lost.frames
            self.epoch += 1
            if self._quality is not None:
                self._quality.reset(self.next_frame)
            self._last, self._filled, self._noisy = None, [], False
            return samples
        self._gap(lost, first, done)
        assert self._last is not None
        begin_s = (first - self.base_frame) / self.rate_hz
        self._filled.append((begin_s, begin_s + lost.frames / self.rate_hz))
        return np.concatenate([fill(done, lost.frames, self._last, samples[0]), samples])

    def _gap(self, lost: Lost, first: int, done: str) -> None:
        more = {
            "first_frame": first,
            "frames": lost.frames,
            "tolerance_frames": lost.tolerance_frames,
            "reason": lost.reason,
            "done": done,
        }
        self._emit("gap", first, first / self.rate_hz, (first + lost.frames) / self.rate_hz, "gap", 1.0, more)

    def _segments(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            if segment.label != GAP:
                self._segment(segment)

    def _segment(self, segment: Segment) -> None:
        more: dict[str, Any] = dict(said_marks(segment))
        if self._filled:
            filled_s = overlap_s(self._filled, segment.start_s, segment.end_s)
            if filled_s > 0:
                more["filled_s"] = round(filled_s, 4)
            self._filled = [each for each in self._filled if each[1] > segment.start_s]
        self._at("segment", segment.start_s, segment.end_s, segment.label, segment.probability, more)
        self._hear_noise(segment)
        self._derived(self._beats.take(self._as_believed(segment)), self._frame(segment.end_s))

    def _as_believed(self, segment: Segment) -> Segment:
        """Where the rules of Quality know that the signal is noisy, a QRS is noise whatever the model says."""
        if self._quality is None or self._quality.known_at(self._frame(segment.start_s)) != "noisy":
            return segment
        return replace(segment, noise=1.0)

    def _hear_noise(self, segment: Segment) -> None:
        """The model itself may find the signal too noisy, where the rules of Quality do not."""
        if segment.noise is None or self._quality is None:
            return
        before, self._noisy = self._flag, segment.is_noise
        if self._flag != before:
            self._at("status", segment.start_s, segment.end_s, self._flag, segment.noise, {"quality": self._flag})

    @property
    def _flag(self) -> Flag:
        return self._with_model("good" if self._quality is None else self._quality.flag)

    def _with_model(self, rules: Flag) -> Flag:
        return "noisy" if self._noisy and rules == "good" else rules

    def _derived(self, beats: Sequence[tuple[EventType, Segment, dict[str, Any]]], now: int) -> None:
        """What became certain at frame ``now``, whatever block it came in."""
        for type, where, more in beats:
            if (flag := self._flag_of(where, more.get("rr_ms", 0.0), now)) != "good":
                more["quality"] = flag
            self._at(type, where.start_s, where.end_s, where.label, where.probability, more)

    def _flag_of(self, beat: Segment, rr_ms: float, now: int) -> Flag:
        """That of ``now``, or where that is good the one of the beat and of the interval that ends with it."""
        if self._quality is None:
            return "good"
        begin = self._frame(beat.start_s - rr_ms / 1000)
        self._quality.forget(begin)
        if (flag := self._with_model(self._quality.known_at(now))) != "good":
            return flag
        return self._quality.between(begin, self._frame(beat.end_s), now)

    def _frame(self, at_s: float) -> int:
        """Of the source, for a time of the pipeline."""
        return self.base_frame + round(at_s * self.rate_hz)

    def _at(
        self, type: EventType, start_s: float, end_s: float, label: str, probability: float, more: dict[str, Any]
    ) -> None:
        """Times are the pipeline's, which begin at ``base_frame``."""
        base_s = self.base_frame / self.rate_hz
        self._emit(type, self._frame(start_s), base_s + start_s, base_s + end_s, label, probability, more)

    def _emit(
        self,
        type: EventType,
        frame: int,
        start_s: float,
        end_s: float,
        label: str,
        probability: float,
        more: dict[str, Any],
    ) -> None:
        if not self.synchronised():
            more = {**more, "unsynchronised": True}
        self._out.append(
            Event(
                type,
                self.config.name,
                self.epoch,
                self.next_seq,
                frame,
                start_s,
                end_s,
                label,
                probability,
                self.stamp(frame),
                more,
            )
        )
        self.next_seq += 1
