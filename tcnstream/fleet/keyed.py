"""Keyed: a key's state and its waiting chunks go in, its new state and rows come out.

A distributed engine keeps the states, decides which worker runs which key, and rolls both back together after a crash.
So that rollback, rescaling and a full cache are one path, the state alone says all: live pipelines are only a cache of
it, and are used where the bytes that come in are those that went out.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral, Real
from operator import index
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, Unpack, get_args

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.tails import tail_of
from tcnstream.errors import StreamError
from tcnstream.fleet.state import Doubted, KeyState, pack, unpack
from tcnstream.live.blocks import Lost, Samples
from tcnstream.live.gaps import POLICIES, GapRule, Policy, fill_part, overlap_s
from tcnstream.model import Model
from tcnstream.opened import OpenedModel, open_model
from tcnstream.options import StreamOptions
from tcnstream.pipeline import MODEL_HASH_BYTES, Frames, Pipeline, PipelineArguments
from tcnstream.signal.segments import Segment
from tcnstream.stream import as_array

Emitted: TypeAlias = Literal["segments", "frames"]
Counted: TypeAlias = Literal["chunks", "frames"]

_REAL = np.dtype(np.float32)
_NUMBER_BITS = 63
"""Beside the sign: as engines and brokers hold a number."""


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment of a key's signal; (key, epoch, number) is its identity. A gap has the label "gap".

    ``filled_s`` seconds of it were filled in. ``ventricular`` and ``noise`` are what Segment says, None where the model
    does not.
    """

    key: Hashable
    epoch: int
    number: int
    start_s: float
    end_s: float
    label: str
    probability: float
    filled_s: float = 0.0
    ventricular: float | None = None
    noise: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FramesRow:
    """Output frames (m, *frame_shape), float32, from ``first_frame`` of the epoch on; (key, epoch, first_frame) is its
    identity."""

    key: Hashable
    epoch: int
    first_frame: int
    frames: Frames


Row: TypeAlias = SegmentRow | FramesRow


class KeyedArguments(PipelineArguments, total=False):
    """The arguments of Keyed, for what passes them on."""

    emit: Emitted
    on_gap: Policy
    limit_s: float
    seq_counts: Counted
    most_lost_frames: int
    joined_frames: int
    cached: int
    takes_over: Model | str | Path | None


@dataclass
class Counts:
    """What a Keyed has met so far: messages that were there already, gaps, pipelines rebuilt from a state, messages
    whose number jumped too far and that no other followed."""

    duplicates: int = 0
    gaps: int = 0
    rebuilt: int = 0
    doubted: int = 0


class Keyed:
    """One model for any number of keys; not for two threads at a time.

    ``model`` and the arguments behind it are those of Pipeline. ``emit`` says whether segments or output frames come
    out. ``seq_counts``: a sequence number is that of a chunk ("chunks", all of one length, by which a gap is measured)
    or of its first sample ("frames"). ``on_gap``: "reset" ends the stretch and begins a new epoch, "hold" and
    "interpolate" fill at most ``limit_s`` seconds in. A number that leaves out more than ``most_lost_frames`` is
    doubted: its message waits in the state until the next one follows it, and a gap stands between; or until one goes
    on where the numbers were, and then it was false. ``joined_frames`` bounds what one push takes. ``cached`` is how
    many pipelines stay alive. ``takes_over`` is an older model of the same input, whose states are taken as well: the
    key goes on in the new model, as ``Pipeline.take_over`` says. ``counts`` says what was met.

    Raises SignalError and StreamError as Pipeline does, StreamError for an unknown word.
    """

    def __init__(
        self,
        model: Model | str | Path,
        *,
        emit: Emitted = "segments",
        on_gap: Policy = "reset",
        limit_s: float = 0.04,
        seq_counts: Counted = "chunks",
        most_lost_frames: int = 1_000_000,
        joined_frames: int = 4096,
        cached: int = 10_000,
        takes_over: Model | str | Path | None = None,
        **arguments: Unpack[PipelineArguments],
    ) -> None:
        for name, word, known in (
            ("emit", emit, get_args(Emitted)),
            ("on_gap", on_gap, POLICIES),
            ("seq_counts", seq_counts, get_args(Counted)),
        ):
            if word not in known:
                raise StreamError(f"{name}={word!r} is unknown; use {' or '.join(map(repr, known))}")
        _must_count("most_lost_frames", most_lost_frames, 0)
        _must_count("joined_frames", joined_frames, 1)
        _must_count("cached", cached, 0)
        _must_last("limit_s", limit_s)
        opened = open_model(model)
        self.older: dict[bytes, Pipeline] = {}
        if takes_over is not None:
            older = open_model(takes_over)
            self.older[_hash_of(older)] = _new_pipeline(older, emit, _keeps_tail(older.model), arguments)
        self.emit, self.joined_frames, self._cached = emit, joined_frames, cached
        self.most_lost_frames = most_lost_frames
        self.rule, self.seq_counts = GapRule(on_gap, limit_s), seq_counts
        self._model = _hash_of(opened)
        self._new_pipeline = partial(_new_pipeline, opened, emit, _keeps_tail(opened.model), arguments)
        self.counts = Counts()
        self._live: OrderedDict[Hashable, _Live] = OrderedDict()
        first = self._new_pipeline()
        self._spare = [_Live(self, first)]
        if on_gap != "reset" and first.rate_hz is None:
            raise StreamError(f"on_gap={on_gap!r} fills seconds in, and the rate is unknown: give rate_hz")

    def step(
        self, key: Hashable, state: bytes | None, messages: Iterable[tuple[int, npt.ArrayLike]]
    ) -> tuple[bytes, list[Row]]:
        """A key's new state and what its chunks made final.

        ``state`` is what the last call for the key returned, None for a new key. ``messages`` are (sequence number,
        samples), samples as ``Pipeline.push`` takes them. A chunk that was there already is dropped; numbers that are
        left out are a gap. The same state and messages give the same state and rows, on any worker. Raises StreamError
        for samples that cannot be taken or a state of another model; the state stands.
        """
        try:
            given = iter(messages)
        except TypeError:
            raise StreamError(f"messages are pairs (sequence number, samples), and got {messages!r:.80}") from None
        return self._run(key, state, given)

    def end(self, key: Hashable, state: bytes | None) -> tuple[bytes, list[Row]]:
        """The key's signal is over for now (it was idle too long): what was waiting. What follows is a new epoch."""
        return self._run(key, state, None)

    def _run(
        self, key: Hashable, state: bytes | None, messages: Iterable[tuple[int, npt.ArrayLike]] | None
    ) -> tuple[bytes, list[Row]]:
        """``step``, or ``end`` where there are no messages."""
        try:
            live = self._live.pop(key, None)
        except TypeError:
            raise StreamError(f"a key can be hashed, and {key!r:.80} cannot: give text, bytes or a number") from None
        try:
            if live is None:
                live = self._spare.pop() if self._spare else _Live(self, self._new_pipeline())
            rows: list[Row] = []
            live.rows = rows
            if state is None or live.key != key or live.state != state:
                live.begin(key, None if state is None else unpack(state, self._model, *self.older))
            if messages is None:
                live.end()
            else:
                live.take(messages)
            after = live.state = pack(live.known())
        except BaseException:
            if live is not None:
                self._free(live)
            raise
        self._live[key] = live
        if len(self._live) > self._cached:
            self._free(self._live.popitem(last=False)[1])
        return after, rows

    def _free(self, live: _Live) -> None:
        live.key = live.state = None
        self._spare.append(live)


class _Message(NamedTuple):
    """A sequence number and samples (n, channels), float32."""

    seq: int
    samples: Samples


def _read(message: tuple[int, npt.ArrayLike]) -> _Message:
    """A message as it was given, checked but for its values, which the pipeline looks at."""
    try:
        given, chunk = message
    except (TypeError, ValueError):
        raise StreamError(f"a message is (sequence number, samples), and got {message!r:.80}") from None
    try:
        seq = index(given)
    except TypeError:
        raise StreamError(f"a message's sequence number is an integer, and got {given!r:.80}") from None
    if seq.bit_length() > _NUMBER_BITS:
        raise StreamError(f"a message's sequence number has 64 bits, and got one of {seq.bit_length()}")
    if type(chunk) is np.ndarray and chunk.dtype == _REAL and chunk.ndim == 2:
        return _Message(seq, chunk)
    samples = as_array(chunk)
    if samples.dtype.kind not in "fiu" or samples.ndim not in (1, 2):
        raise StreamError(
            f"message {seq}: samples are real numbers (n,) or (n, channels), and got {samples.dtype} of shape"
            f" {samples.shape}"
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinity, and refused
        return _Message(seq, (samples[:, None] if samples.ndim == 1 else samples).astype(np.float32, copy=False))


def _kept(message: _Message) -> Doubted:
    return Doubted(message.seq, message.samples.shape[1], np.ascontiguousarray(message.samples, "<f4").tobytes())


def _held(doubted: Doubted) -> _Message:
    return _Message(doubted.seq, np.frombuffer(doubted.samples, "<f4").reshape(-1, doubted.channels))


class _Live:
    """A pipeline and what is known of the key whose signal it has; ``state`` are the bytes that say the same."""

    def __init__(self, keyed: Keyed, pipeline: Pipeline) -> None:
        self.key: Hashable = None
        self.state: bytes | None = None
        self.rows: list[Row] = []
        self._keyed, self._pipeline, self._keeps_tail = keyed, pipeline, pipeline.keeps_tail
        self._counts_chunks, self._keeps_last = keyed.seq_counts == "chunks", keyed.rule.policy != "reset"

    def begin(self, key: Hashable, known: KeyState | None) -> None:
        """From here on it is where ``known`` says; None is a new key."""
        self.key, self.state = key, None
        if known is None:
            self._pipeline.reset()
            self._epoch = self._next_seq = self._next_row = self._next_frame = 0
            self._last: Samples | None = None
            self._filled: list[tuple[float, float]] = []
            self._doubted: _Message | None = None
            return
        counted = "chunks" if known.counts_chunks else "frames"
        if counted != self._keyed.seq_counts:
            raise StreamError(
                f"the state's sequence numbers count {counted}, and seq_counts={self._keyed.seq_counts!r} was given:"
                " the same messages would be taken for others"
            )
        waited: list[Segment] = []
        older = self._keyed.older.get(known.pipeline.model)
        if older is None:
            self._pipeline.take_up(known.pipeline)
        else:
            older.take_up(known.pipeline)
            waited = self._pipeline.take_over(older)
        self._keyed.counts.rebuilt += 1
        self._epoch, self._next_seq = known.epoch, known.next_seq
        self._next_row, self._next_frame = known.next_row, known.next_frame
        self._last = np.frombuffer(known.last, "<f4") if known.last else None
        self._filled = known.filled
        self._doubted = None if known.doubted is None else _held(known.doubted)
        if older is not None:
            self._next_frame = self._pipeline.frames_out
            self._add(waited)

    def known(self) -> KeyState:
        """What is remembered now."""
        return KeyState(
            self._epoch,
            self._next_seq,
            self._keyed.seq_counts == "chunks",
            self._next_row,
            self._next_frame,
            None if self._last is None else self._last.tobytes(),
            self._filled,
            None if self._doubted is None else _kept(self._doubted),
            self._pipeline.state(of_tail=self._keeps_tail),
        )

    def take(self, messages: Iterable[tuple[int, npt.ArrayLike]]) -> None:
        """Push what is new of the messages."""
        waiting: list[Samples] = []
        frames = 0
        for message in messages:
            for missing, samples in self._certain(_read(message)):
                if not len(samples):
                    continue
                if waiting and samples.shape[1] != waiting[0].shape[1]:
                    self._push(waiting)  # each is checked as if it came alone
                    waiting, frames = [], 0
                if missing:
                    self._keyed.counts.gaps += 1
                    self._push(waiting)
                    waiting, frames = [], 0
                    self._over(missing, samples)
                waiting.append(samples)
                frames += len(samples)
                if frames >= self._keyed.joined_frames:
                    self._push(waiting)
                    waiting, frames = [], 0
        self._push(waiting)

    def end(self) -> None:
        """The signal is over. A message that is doubted has none behind it any more."""
        self._doubt(None)
        self.cut(0)

    def cut(self, missing_frames: int) -> None:
        """The epoch ends; the next one begins so many frames later."""
        self._add(self._pipeline.mark_gap(missing_frames))
        self._epoch += 1
        self._next_frame, self._last, self._filled = 0, None, []

    def _certain(self, message: _Message) -> tuple[tuple[int, Samples], ...]:
        """(frames that are missing in front, samples) of what a message makes certain, in order.

        As a receiver of RTP does it (RFC 3550, A.1), which believes a number far from the last one when the next
        agrees; but the message waits for that, and is not lost.
        """
        seq, doubted = message.seq, self._doubted
        if seq == self._next_seq or self._is_near(self._next_seq, message):
            if doubted is not None and seq >= self._next_seq and len(message.samples):
                self._doubt(None)
            return self._new(message)
        if doubted is not None:
            if seq == doubted.seq:
                self._keyed.counts.duplicates += 1
                return ()
            if seq > doubted.seq and self._is_near(doubted.seq, message):
                self._doubted = None
                return (*self._new(doubted), *self._new(message))
        self._doubt(message)
        return ()

    def _is_near(self, seq: int, message: _Message) -> bool:
        """Whether a message that follows one of number ``seq`` may be believed."""
        frames = message.seq - seq
        if self._counts_chunks:
            frames *= len(message.samples)
        return frames <= self._keyed.most_lost_frames or not len(message.samples)

    def _doubt(self, message: _Message | None) -> None:
        """What is doubted from here on; what was, was false."""
        self._keyed.counts.doubted += self._doubted is not None
        self._doubted = message

    def _new(self, message: _Message) -> tuple[tuple[int, Samples], ...]:
        """How many frames are missing in front of a chunk, and what of it has not been there yet.

        An empty chunk never opens a gap, whose length it cannot say: the next one does.
        """
        samples, early = message.samples, message.seq - self._next_seq
        count = len(samples)
        if early > 0 and not count:
            return ()
        if early < 0 and (self._counts_chunks or count <= -early):
            self._keyed.counts.duplicates += 1
            return ()
        if self._counts_chunks:
            self._next_seq += early + 1
            return ((early * count, samples),)
        if early < 0:
            samples, early = samples[-early:], 0
        self._next_seq += early + len(samples)
        return ((early, samples),)

    def _over(self, missing: int, samples: Samples) -> None:
        """What is done about a gap in front of ``samples``."""
        keyed, last = self._keyed, self._last
        done: Policy = "reset"
        if missing <= keyed.most_lost_frames:
            done = keyed.rule.done(Lost(missing, 0, "counter"), self._pipeline.rate_hz or 0.0, last)
        if done == "reset" or last is None:
            self.cut(missing)
            return
        if samples.shape[1:] != last.shape:
            raise StreamError(
                f"a gap is filled between samples of as many channels, and they are {len(last)} and {samples.shape[1]}"
            )
        if keyed.emit == "segments":
            begin_s = self._pipeline.position_s
            self._filled.append((begin_s, begin_s + missing / (self._pipeline.rate_hz or 0.0)))
        for begin in range(0, missing, keyed.joined_frames):
            end = min(missing, begin + keyed.joined_frames)
            self._push([fill_part(done, missing, last, samples[0], begin, end)])

    def _push(self, waiting: Sequence[Samples]) -> None:
        if not waiting:
            return
        samples = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
        self._add(self._pipeline.push(samples))
        if self._keeps_last:
            self._last = samples[-1]

    def _add(self, found: Sequence[Segment]) -> None:
        if self._keyed.emit == "frames":
            frames = self._pipeline.frames
            if len(frames):
                self.rows.append(FramesRow(self.key, self._epoch, self._next_frame, frames))
                self._next_frame += len(frames)
            return
        for each in found:
            filled_s = overlap_s(self._filled, each.start_s, each.end_s) if self._filled else 0.0
            self.rows.append(
                SegmentRow(
                    self.key,
                    self._epoch,
                    self._next_row,
                    each.start_s,
                    each.end_s,
                    each.label,
                    each.probability,
                    filled_s,
                    each.ventricular,
                    each.noise,
                )
            )
            self._next_row += 1
        if self._filled:
            settled_s = self._pipeline.settled_s
            self._filled = [stretch for stretch in self._filled if settled_s is not None and stretch[1] > settled_s]


def _hash_of(opened: OpenedModel) -> bytes:
    return bytes.fromhex(opened.model.file.sha256[: 2 * MODEL_HASH_BYTES])


def _must_count(name: str, given: object, least: int) -> None:
    if not isinstance(given, Integral) or given < least:
        raise StreamError(f"{name}={given!r}; give an integer from {least} on")


def _must_last(name: str, given: object) -> None:
    if not isinstance(given, Real) or not 0 <= float(given) < math.inf:
        raise StreamError(f"{name}={given!r}; give seconds from 0 on")


def _keeps_tail(model: Model) -> bool:
    """Whether the newest input frames are less than what the layers remember."""
    tail = tail_of(model.plan)
    frame_bytes = sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in model.inputs)
    return tail is not None and tail.most_frames * frame_bytes < model.state_bytes


def _new_pipeline(opened: OpenedModel, emit: Emitted, keeps_tail: bool, arguments: PipelineArguments) -> Pipeline:
    options = replace(arguments.get("options", StreamOptions()), keep_tail=keeps_tail)
    told: PipelineArguments = {"card": opened.card, **arguments, "options": options}
    told["segments"], told["keep_frames"] = emit == "segments", emit == "frames"
    return Pipeline(opened.model, **told)
