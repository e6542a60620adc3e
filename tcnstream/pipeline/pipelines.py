"""What has a life: a signal that is pushed piece by piece, and many of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any, NoReturn, Protocol, SupportsIndex, Unpack

import msgspec
import numpy as np
import numpy.typing as npt

from tcnstream.engines.native import real as native
from tcnstream.errors import SignalError, StreamError, TcnStreamError
from tcnstream.model import Model
from tcnstream.opened import OpenedModel, open_model
from tcnstream.options import StreamOptions
from tcnstream.pipeline.setup import DEFAULT_OPTIONS, PipelineArguments, Setup, sound_seconds
from tcnstream.pipeline.state import MODEL_HASH_BYTES, PipelineState, Tail, digest, read_snapshot, sealed
from tcnstream.signal.card import Card
from tcnstream.signal.preprocess import (
    Preprocessor,
    better_channels,
    must_have_a_sound_rate,
    no_rate,
    too_loud,
)
from tcnstream.signal.segments import Segment
from tcnstream.signal.sources.base import Gap, Recording
from tcnstream.stream import Stream, as_array

Frames = npt.NDArray[np.float32]

_MOST_MISSING_FRAMES = 1 << 52
"""Places beyond it have no exact number of seconds."""

_BLOCK_SAMPLES = 1 << 14
"""Of a longer chunk so many are prepared at a time: filters take much more memory than samples."""

GAP = "gap"
"""The label of the segment that stands for missing signal."""


class Follower(Protocol):
    """Hears what a pipeline's stream takes and gives; must neither change it nor wait.

    ``at_frame`` is the source's frame behind the last one that was pushed, counted from the pipeline's start.
    """

    def pushed(self, frames: Frames, made: Any, at_frame: int) -> None:
        """The stream took input frames and gave ``made``, as ``Stream.push`` does."""

    def flushed(self, made: Any, at_frame: int) -> None:
        """The stream ended and gave ``made``."""

    def was_reset(self) -> None:
        """The stream is at its start again."""


class Pipeline:
    """One signal, from the source's samples to segments.

    ``model`` is a shipped name ("ecg"), a .tflite file or a card, whose card then says rate, unit, filters and labels;
    or a Model, with ``card`` (a Card or its path) or without one. Without a card samples go in as they are, and labels
    are the numbers of the output's channels.

    ``rate_hz`` and ``units`` are the source's; left out, they are what the card asks for, and a warning says so. A unit
    that cannot be turned into the card's is a SignalError. ``channels`` are the columns of a chunk that the model
    takes, by number; else all. ``gain`` multiplies the samples first. ``output`` is one of several outputs, by number
    or name. ``low_latency`` converts the rate by interpolation, which waits for milliseconds and lets aliases through.
    ``start_s`` is the time of the first sample on the source's clock; all times are seconds of that clock. ``options``
    as for ``Model.stream``.

    ``segments=False`` makes none, and then no rate need be known; ``keep_frames`` keeps what ``frames`` shows.

    Thread-compatible: one thread at a time. Raises SignalError for a card, a rate or an output that does not fit, else
    as ``tcnstream.load`` and ``Model.stream``.
    """

    def __init__(
        self,
        model: Model | str | Path,
        *,
        card: Card | str | Path | None = None,
        rate_hz: float | None = None,
        units: str | None = None,
        channels: Sequence[int] | None = None,
        gain: float = 1.0,
        output: int | str | None = None,
        low_latency: bool = False,
        start_s: float = 0.0,
        segments: bool = True,
        keep_frames: bool = False,
        options: StreamOptions = DEFAULT_OPTIONS,
    ) -> None:
        setup = Setup.of(
            open_model(model),
            card=card,
            rate_hz=rate_hz,
            units=units,
            channels=channels,
            gain=gain,
            output=output,
            low_latency=low_latency,
            start_s=start_s,
            segments=segments,
            keep_frames=keep_frames,
            options=options,
        )
        self._begin(setup, setup.stream())

    def __reduce__(self) -> tuple[Callable[..., Pipeline], tuple[object, ...]]:
        """What copy, deepcopy and pickle ask for: one more pipeline, with a stream of its own, at the same place.

        Whoever follows this one does not follow that. Raises StreamError as ``snapshot``.
        """
        if self.keeps_tail:
            with suppress(StreamError):  # it has ended, or was restored lately
                return _at_its_place, (self._setup, self.tail())
        return _at_its_place, (self._setup, self.snapshot())

    def _begin(self, setup: Setup, stream: Stream) -> None:
        self._setup, self._stream = setup, stream
        self._gone = self._broken = False
        self._preprocessor = setup.preprocessor()
        self._start_s = setup.start_s
        self._follower: Follower | None = None
        self._at(0)
        self._settle()

    def _settle(self) -> None:
        """What follows from the stream and the filters as they are now."""
        self._chain = self._chained()
        self._tail_rule = self._stream.tail_rule
        self._tail_facts = self._facts(of_tail=True)

    def _chained(self) -> native.Chain | None:
        """What takes most chunks in one call; None where there is more to do than scale, filter, push and label."""
        setup, quick, filters = self._setup, self._stream.quick, self._preprocessor.filters
        rules = None if self._segmenter is None else self._segmenter.run_rules
        if (
            quick is None
            or setup.answer is None
            or setup.channels is not None
            or setup.takes_full_scale
            or self._preprocessor.converts_rate
            or (rules is not None and setup.keep_frames)
        ):
            return None
        factor = float(self._preprocessor.factor)
        return native.chain(quick, setup.channel_count, factor, filters.table, filters.memory, setup.answer, rules)

    def _at(self, begin_frames: int) -> None:
        """The signal begins (again) at a source frame; all before it is over."""
        self._begin_frames, self._frames_in = begin_frames, 0
        self._segmenter = self._setup.segmenter(self._seconds(begin_frames))
        self._made: list[Frames] = []
        self._ended = False

    @classmethod
    def _lane(cls, setup: Setup, stream: Stream) -> Pipeline:
        lane = cls.__new__(cls)
        lane._begin(setup, stream)
        return lane

    @property
    def model(self) -> Model:
        """The model that runs."""
        return self._setup.opened.model

    @property
    def card(self) -> Card | None:
        """The card that says rate, unit, filters and labels."""
        return self._setup.opened.card

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that segments may have, the background among them; empty where no segments are made."""
        return () if self._segmenter is None else self._segmenter.labels

    @property
    def engine(self) -> str:
        """The name of the engine that computes."""
        return self._stream.engine

    @property
    def keeps_tail(self) -> bool:
        """Whether ``tail`` can be asked for."""
        return self._stream.keeps_tail

    @property
    def rate_hz(self) -> float | None:
        """Samples per second that go in."""
        return self._setup.rate_hz

    @property
    def frames_hz(self) -> float | None:
        """Input frames of the model per second."""
        return self._preprocessor.frames_hz

    @property
    def waits_s(self) -> float:
        """Seconds of signal that a sample waits for before it reaches the model: what the rate's conversion takes."""
        return self._preprocessor.waits_s

    @property
    def position_s(self) -> float:
        """The time of the next sample on the source's clock."""
        return self._seconds(self._begin_frames + self._frames_in)

    @property
    def provisional(self) -> Segment | None:
        """The newest segment that has begun and is not final, as far as it is known; None where there is none."""
        return None if self._segmenter is None else self._segmenter.provisional

    @property
    def reached_s(self) -> float | None:
        """Up to where the signal has labels; None without segments."""
        return None if self._segmenter is None else self._segmenter.reached_s

    @property
    def settled_s(self) -> float | None:
        """No segment to come begins before it; None without segments."""
        return None if self._segmenter is None else self._segmenter.settled_s

    @property
    def frames(self) -> Frames:
        """The output frames that the last call made, float32 (m, *frame_shape); StreamError without ``keep_frames``."""
        if not self._setup.keep_frames:
            raise StreamError("this pipeline keeps no frames: make it with keep_frames=True")
        if len(self._made) == 1:
            return self._made[0]
        return np.concatenate([np.zeros((0, *self._setup.spec.shape), np.float32), *self._made])

    def push(self, samples: npt.ArrayLike | Gap) -> list[Segment]:
        """Take in samples, (n,) or (n, channels) real numbers; return the segments that they make final.

        A Gap, as recordings have them, is as ``mark_gap``.

        Raises StreamError for another shape, for a value that is not finite, and after ``flush``; the pipeline is then
        as before. Ctrl-C within a long chunk leaves it broken: it then asks for ``reset`` or ``restore``.
        """
        if isinstance(samples, Gap):
            return self.mark_gap(samples.frames)
        if self._chain is not None and not (self._ended or self._broken or self._gone) and self._follower is None:
            quick = self._pushed_at_once(self._chain, samples)
            if quick is not None:
                return quick
        chunk = self._accept(samples)
        self._move()
        found = []
        for at in range(0, max(1, len(chunk)), _BLOCK_SAMPLES):
            found += self._take(self._through(self._prepare(chunk[at : at + _BLOCK_SAMPLES])))
        self._broken = False
        return found

    def _pushed_at_once(self, chain: native.Chain, samples: Any) -> list[Segment] | None:
        """``push`` in one call of the core; None, and nothing has moved, of what it does not take."""
        filters, segmenter = self._preprocessor.filters, self._segmenter
        if segmenter is not None and segmenter.is_early:
            return None
        self._broken = True
        made = chain.push(samples, not filters.started)
        if made is None:
            self._broken = False
            return None
        filters.started = True
        self._frames_in += len(samples)
        found: list[Segment] = []
        if segmenter is not None:
            found = segmenter.push_runs(made)
        elif self._setup.keep_frames:
            self._made = [made.reshape(-1, *self._setup.spec.shape)]
        self._broken = False
        return found

    def flush(self) -> list[Segment]:
        """End the signal: the segments that were waiting for more of it.

        Raises StreamError if it has ended already, or is shorter than a mirrored edge of the model.
        """
        self._refuse_if_over("flush")
        self._move()
        found = self._take(self._through(self._shaped(self._preprocessor.flush())))
        found += self._take(self._to_its_end())
        found += self._close()
        self._ended, self._broken = True, False
        return found

    def mark_gap(self, frames: int) -> list[Segment]:
        """So many of the source's frames are missing here; what was before them is finished, what follows begins anew.

        The signal before the gap ends as at ``flush``, both edges of the gap are padded as those of a signal, and
        times go on behind it. A Segment with the label "gap" stands for it, after those that the end of the signal
        made final. 0 frames cut the signal and leave no such segment. A stretch that is too short for the model's
        mirrored edges gives nothing from its end on.
        """
        try:
            missing = index(frames)
        except TypeError:
            missing = -1
        if not 0 <= missing <= _MOST_MISSING_FRAMES:
            raise StreamError(f"a gap of {frames!r} frames; give how many samples are missing, from 0 to 2^52")
        self._refuse_if_over("mark_gap")
        self._move()
        found = self._take(self._through(self._shaped(self._preprocessor.flush())))
        with suppress(StreamError):  # shorter than a mirrored edge: nothing can be said of its end
            found += self._take(self._to_its_end())
        found += self._close()
        made, begin = self._made, self._begin_frames + self._frames_in
        self._restart()
        self._preprocessor.reset()
        self._at(begin + missing)
        self._made, self._broken = made, False
        if missing and self._setup.segments:
            found.append(Segment(self._seconds(begin), self._seconds(begin + missing), GAP, 1.0))
        return found

    def reset(self) -> None:
        """Back to the start: the next sample is the first one of a new signal, at ``start_s``."""
        self._refuse_if_gone()
        self._broken = True
        self._restart()
        self._preprocessor.reset()
        self._start_s = self._setup.start_s
        self._at(0)
        self._broken = False

    def follow(self, follower: Callable[[Stream], Follower]) -> None:
        """From here on ``follower(stream)`` hears what the stream takes and gives; pushed alone, not by a pool."""
        self._follower = follower(self._stream)

    def snapshot(self) -> bytes:
        """All that the pipeline remembers, its clock included, for ``restore`` in any process and engine."""
        return sealed(self.state(of_tail=False))

    def tail(self) -> bytes:
        """As ``snapshot``, with the model's newest input frames for what its layers remember: 1.4 KB for ``ecg``.

        Raises StreamError for a pipeline that was made without ``StreamOptions(keep_tail=True)``, that has ended, or
        that was restored from a snapshot and has not had so many frames since.
        """
        return sealed(self.state(of_tail=True))

    def state(self, *, of_tail: bool) -> PipelineState:
        """What ``tail`` or ``snapshot`` makes bytes of."""
        if self._broken or self._gone:
            self._refuse_if_broken()
        if not of_tail:
            return self._state(self._facts(of_tail), *self._preprocessor.snapshot(), self._stream.snapshot())
        if self._chain is not None and self._tail_rule is not None:
            kept = self._chain.kept(self._tail_rule.least, self._tail_rule.period)
            if kept is not None:
                pushed, frames, memory = kept
                filters = self._preprocessor.filters.snapshot_of(memory)
                return self._state(self._tail_facts, None, filters, Tail(pushed - self._frames_in, frames))
        (frames,) = self._stream.tail_blobs()  # a pipeline's model has one input
        tail = Tail(self._stream.frames_in - self._frames_in, frames)
        return self._state(self._tail_facts, *self._preprocessor.snapshot(), tail)

    def _state(self, facts: bytes, rate: bytes | None, filters: bytes, stream: bytes | Tail) -> PipelineState:
        return PipelineState(
            facts,
            self._start_s or 0,
            self._begin_frames,
            self._frames_in,
            self._ended,
            rate,
            filters,
            None if self._segmenter is None else self._segmenter.state(),
            stream,
        )

    def _facts(self, of_tail: bool) -> bytes:
        """What must agree; a snapshot of the layers says itself of which policy they are."""
        return self._setup.model_hash + digest(self._setup.facts, self._stream.identity if of_tail else "")

    def restore(self, blob: bytes) -> None:
        """Continue where ``snapshot`` or ``tail`` was taken, bit for bit, on the clock that it had.

        Raises StreamError for a snapshot that is damaged, or of another model or pipeline; this one is then as before.
        """
        self._refuse_if_gone()
        self.take_up(read_snapshot(blob))

    def take_up(self, state: PipelineState) -> None:
        """``restore`` of what ``state`` returned."""
        self._refuse_if_gone()
        of_tail = isinstance(state.stream, Tail)
        if of_tail and state.model != self._setup.model_hash:
            raise StreamError(
                f"the tail is of another model or policy ({state.model.hex()}) than this pipeline runs"
                f" ({self._setup.model_hash.hex()}); restore it into one of the same"
            )
        if state.facts[MODEL_HASH_BYTES:] != self._facts(of_tail)[MODEL_HASH_BYTES:]:
            raise StreamError(
                "the snapshot is of a pipeline with another rate, unit, filter, output, labels or policy: restore it "
                "into one that was made with the same arguments"
            )
        preprocessor = self._setup.preprocessor()
        begin_s = self._setup.seconds(state.start_s, state.begin_frames)
        segmenter = self._setup.segmenter(begin_s)
        try:
            preprocessor.restore(state.rate, state.filters)
            if segmenter is not None and state.segmenter is not None:
                segmenter.restore(state.segmenter)
        except (TcnStreamError, ValueError, msgspec.MsgspecError) as error:
            raise StreamError(
                f"the snapshot does not fit the pipeline that it names ({error}); take a new one"
            ) from error
        before, self._broken = self._broken, True
        try:
            if isinstance(state.stream, Tail):
                self._resume(state.stream, state.frames_in)
            else:
                self._stream.restore(state.stream)
        except StreamError:
            self._broken = before or self._stream.is_broken
            raise
        self._start_s, self._begin_frames, self._frames_in = state.start_s, state.begin_frames, state.frames_in
        self._preprocessor, self._segmenter, self._ended = preprocessor, segmenter, state.ended
        self._settle()
        self._made, self._broken = [], False

    def take_over(self, old: Pipeline) -> list[Segment]:
        """Continue the signal of a pipeline of another model, from its newest input frames.

        The network says from here on what it would have said had it had the signal from the start; segments begin
        here, and what waited in ``old`` is returned as far as it was known. Raises StreamError where the two do not
        take the same input (rate, unit, filters, quantization), where ``old`` keeps no tail, or remembers fewer frames
        than this model needs; this pipeline is then as before.
        """
        self._refuse_if_gone()
        ours, theirs = self._setup.input_facts, old._setup.input_facts
        if ours != theirs:
            raise StreamError(
                f"the signal of {old._setup.opened.path.name} goes on in a model that takes the same input, and"
                f" {self._setup.opened.path.name} takes another: {theirs} and {ours}; begin without a state"
            )
        (frames,) = (old._stream.tail(),)
        assert isinstance(frames, np.ndarray)  # a pipeline's model has one input
        segmenter = self._setup.segmenter(self._setup.seconds(old._start_s, old._begin_frames))
        preprocessor = self._setup.preprocessor()
        preprocessor.restore(*old._preprocessor.snapshot())
        self._stream.resume(frames, old._stream.frames_in)
        if segmenter is not None:
            segmenter.skip(self.frames_out)
        self._start_s, self._begin_frames, self._frames_in = old._start_s, old._begin_frames, old._frames_in
        self._preprocessor, self._segmenter, self._ended = preprocessor, segmenter, False
        self._settle()
        self._made, self._broken = [], False
        return old._close()

    @property
    def frames_out(self) -> int:
        """Output frames that have come out since the signal began."""
        return self._stream.frames_out[self._setup.output]

    def _resume(self, tail: Tail, frames_in: int) -> None:
        (spec,) = self.model.inputs
        try:
            frames = np.frombuffer(tail.frames, spec.dtype).reshape(-1, *spec.shape)
        except ValueError as error:
            raise StreamError(f"the tail does not fit the model that it names ({error}); take a new one") from error
        self._stream.resume(frames, frames_in + tail.more_frames)

    def _accept(self, samples: npt.ArrayLike) -> Frames:
        """The samples (n, channels) that the model takes; StreamError, and nothing has moved, for what is none."""
        if self._ended or self._broken or self._gone:
            self._refuse_if_over("push")
        setup = self._setup
        accepted: Frames
        if (
            setup.channels is None
            and isinstance(samples, np.ndarray)
            and not isinstance(samples, np.ma.MaskedArray)
            and native.is_finite(samples)
            and samples.ndim == 2
            and samples.shape[1] == setup.channel_count
        ):
            accepted = samples
        else:
            accepted = self._checked(samples)
        if setup.takes_full_scale and (why := too_loud(accepted, setup.factor, setup.wanted_units)):
            raise StreamError(f"{setup.source} {why}")
        return accepted

    def _checked(self, samples: npt.ArrayLike) -> Frames:
        chunk, channels, count = as_array(samples), self._setup.channels, self._setup.opened.channels
        if chunk.dtype.kind not in "fiu":
            raise StreamError(f"the pipeline takes real numbers and got {chunk.dtype}; convert the samples")
        if chunk.ndim == 1 and (not chunk.size or (count == 1 and channels is None)):
            chunk = chunk.reshape(-1, count)
        elif chunk.ndim == 2 and channels is not None and chunk.shape[1] > max(channels):
            chunk = chunk[:, channels]
        elif chunk.ndim != 2 or channels is not None or chunk.shape[1] != count:
            wanted = f"{count}" if channels is None else f"more than {max(channels)}"
            raise StreamError(f"the pipeline takes samples of shape (n, {wanted} channels) and got {chunk.shape}")
        with np.errstate(over="ignore"):  # beyond float32 is infinity, and refused
            accepted: Frames = chunk.astype(np.float32, copy=False)
        if not np.isfinite(accepted).all():
            frame, channel = np.argwhere(~np.isfinite(accepted))[0].tolist()
            raise StreamError(
                f"there is no value at sample {frame} of channel {channel}: repeat the last one, or say how many are "
                "missing with mark_gap"
            )
        return accepted

    def _prepare(self, chunk: Frames) -> Frames:
        """Samples of the source -> input frames of the model."""
        self._frames_in += len(chunk)
        return self._shaped(self._preprocessor.push(chunk))

    def _shaped(self, frames: Frames) -> Frames:
        return frames.reshape(len(frames), *self._setup.frame_shape)

    def _through(self, frames: Frames) -> Any:
        made = self._stream.push(frames)
        if self._follower is not None:
            self._follower.pushed(frames.copy(), made, self._begin_frames + self._frames_in)
        return made

    def _to_its_end(self) -> Any:
        made = self._stream.flush()
        if self._follower is not None:
            self._follower.flushed(made, self._begin_frames + self._frames_in)
        return made

    def _restart(self) -> None:
        self._stream.reset()
        if self._follower is not None:
            self._follower.was_reset()

    def _take(self, answer: Any) -> list[Segment]:
        """What the stream returned -> segments."""
        setup = self._setup
        real = setup.spec.dequantize(answer[setup.output] if isinstance(answer, tuple) else answer)
        if setup.keep_frames:
            self._made.append(real)
        if self._segmenter is None:
            return []
        return self._segmenter.push(real.reshape(len(real), setup.values))

    def _close(self) -> list[Segment]:
        return [] if self._segmenter is None else self._segmenter.flush()

    def _seconds(self, frames: int) -> float:
        return self._setup.seconds(self._start_s, frames)

    def _move(self) -> None:
        """From here on until ``_broken`` is taken back an error leaves the steps apart from each other."""
        self._broken, self._made = True, []

    def _leave(self) -> None:
        """The stream below belongs to whoever joins next."""
        self.reset()
        self._gone = True

    def _refuse_if_gone(self) -> None:
        if self._gone:
            raise StreamError("this lane has left its pool; join() gives a new one")

    def _refuse_if_broken(self) -> None:
        self._refuse_if_gone()
        if self._broken:
            raise StreamError("an earlier call failed midway; call reset() or restore() before going on")

    def _refuse_if_over(self, what: str) -> None:
        self._refuse_if_broken()
        if self._ended:
            raise StreamError(f"{what} after flush: the signal has ended; call reset() to start a new one")


class PipelinePool:
    """Many signals through one model, side by side: a Pipeline a lane, and one call of the engine for all.

    ``pool[k]`` is lane k's Pipeline, for flush, mark_gap, reset, snapshot and restore of its own; nothing that one lane
    is given reaches another. A lane may pause, ``leave``, and its number be taken again by the next one to ``join``.
    Arguments as for Pipeline.
    """

    def __init__(self, model: Model | str | Path, lanes: int, **arguments: Unpack[PipelineArguments]) -> None:
        self._setup = Setup.of(open_model(model), **arguments)
        self._pool = self._setup.opened.model.open_pool(lanes, self._setup.options)
        self._lanes = {k: Pipeline._lane(self._setup, self._pool[k]) for k in self._pool.lanes}

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """What copy, deepcopy and pickle ask for: see ``Stream``."""
        raise StreamError(
            "a pool cannot be copied or pickled; make another one and restore() lane by lane what each lane's"
            " snapshot() returns here"
        )

    def __len__(self) -> int:
        return len(self._lanes)

    def __getitem__(self, lane: int) -> Pipeline:
        if lane not in self._lanes:
            raise StreamError(f"there is no lane {lane} in the pool; join() makes one")
        return self._lanes[lane]

    def __iter__(self) -> Iterator[Pipeline]:
        return (self._lanes[k] for k in self.lanes)

    @property
    def lanes(self) -> tuple[int, ...]:
        """The numbers of the lanes, in the order in which ``push`` takes their samples."""
        return tuple(sorted(self._lanes))

    def join(self, start_s: float | None = None) -> int:
        """The number of one lane more, at its start; ``start_s`` is the time of its first sample, else the pool's."""
        setup = self._setup if start_s is None else replace(self._setup, start_s=sound_seconds(start_s))
        lane = self._pool.join()
        self._lanes[lane] = Pipeline._lane(setup, self._pool[lane])
        return lane

    def leave(self, lane: int) -> None:
        """Lane ``lane`` is gone, with what it remembered. Raises StreamError if there is no such lane."""
        self[lane]._leave()
        self._pool.leave(lane)
        del self._lanes[lane]

    def push(self, samples: Sequence[npt.ArrayLike | Gap | None]) -> list[list[Segment]]:
        """Push ``samples[k]`` into the k-th lane; return the segments of each. None lets a lane pause.

        All samples are checked before any lane moves: StreamError as ``Pipeline.push``, naming the lane.
        """
        lanes = self.lanes
        if len(samples) != len(lanes):
            raise StreamError(f"{len(lanes)} lanes are to be pushed and got {len(samples)}; pass None to pause one")
        given = {k: chunk for k, chunk in zip(lanes, samples, strict=True) if chunk is not None}
        found = self.push_lanes(given)
        return [found.get(k, []) for k in lanes]

    def push_lanes(self, samples: Mapping[int, npt.ArrayLike | Gap]) -> dict[int, list[Segment]]:
        """``push`` of the lanes that are named; all others pause."""
        accepted: dict[int, Frames] = {}
        gaps: dict[int, Gap] = {}
        for k, chunk in samples.items():
            try:
                if isinstance(chunk, Gap):
                    self[k]._refuse_if_over("push")
                    gaps[k] = chunk
                else:
                    accepted[k] = self[k]._accept(chunk)
            except StreamError as error:
                raise StreamError(f"lane {k}: {error}") from error
        if self._setup.keep_frames:
            for lane in self._lanes.values():
                lane._made = []
        for k in accepted:
            self._lanes[k]._move()
        found: dict[int, list[Segment]] = {}
        # Lanes of as many frames go through the engine together.
        for group, frames in self._prepared(accepted):
            found |= zip(group, self._take(group, self._pool.push(frames, group)), strict=True)
        for k in accepted:
            self._lanes[k]._broken = False
        for k, gap in gaps.items():
            found[k] = self._lanes[k].mark_gap(gap.frames)
        return found

    def _prepared(self, accepted: Mapping[int, Frames]) -> Iterator[tuple[list[int], Any]]:
        """Lanes that have as many input frames of the model each, with those frames (lanes, n, *frame_shape)."""
        lengths: dict[int, list[int]] = {}
        for k, chunk in accepted.items():
            lengths.setdefault(len(chunk), []).append(k)
        apart: dict[int, tuple[list[int], list[Frames]]] = {}
        for length, numbers in lengths.items():
            lanes = [self._lanes[k] for k in numbers]
            chunks = np.array([accepted[k] for k in numbers])
            frames = Preprocessor.push_together([lane._preprocessor for lane in lanes], chunks)
            if frames is not None:
                for lane in lanes:
                    lane._frames_in += length
                yield numbers, frames.reshape(*frames.shape[:2], *self._setup.frame_shape)
                continue
            for k, lane, chunk in zip(numbers, lanes, chunks, strict=True):
                made = lane._prepare(chunk)
                group = apart.setdefault(len(made), ([], []))
                group[0].append(k)
                group[1].append(made)
        for numbers, each in apart.values():
            yield numbers, np.array(each)

    def _take(self, group: Sequence[int], answers: Sequence[Any]) -> list[list[Segment]]:
        """What the pool returned -> segments of each lane; numbers of all of them in one go."""
        setup, lanes = self._setup, [self._lanes[k] for k in group]
        if not setup.segments or setup.keep_frames or len(group) == 1:
            return [lane._take(answer) for lane, answer in zip(lanes, answers, strict=True)]
        frames = [answer[setup.output] if isinstance(answer, tuple) else answer for answer in answers]
        real = setup.spec.dequantize(np.concatenate(frames))
        real, found, begin = real.reshape(len(real), setup.values), [], 0
        for lane, made in zip(lanes, frames, strict=True):
            assert lane._segmenter is not None
            end = begin + len(made)
            found.append(lane._segmenter.push(real[begin:end]))
            begin = end
        return found

    def flush(self) -> list[list[Segment]]:
        """End every lane that has not ended; the segments that were waiting, per lane."""
        return [[] if lane._ended else lane.flush() for lane in self]

    def reset(self) -> None:
        """Every lane back to its start."""
        for lane in self:
            lane.reset()


def pipeline_for(opened: OpenedModel, recording: Recording, **arguments: Unpack[PipelineArguments]) -> Pipeline:
    """The Pipeline for an opened recording, at the rate and in the unit that it says; other arguments as for Pipeline.

    Raises SignalError where the recording does not say its rate and one is needed, and as Pipeline.
    """
    source, rate_hz = recording.source, recording.rate_hz
    must_have_a_sound_rate(source, rate_hz)
    if rate_hz is None and opened.card is not None:
        raise SignalError(no_rate(recording))
    if rate_hz is None and arguments.get("segments", True):
        raise SignalError(f"{source} does not say its sample rate, so that seconds are unknown: give --rate")
    arguments |= {"rate_hz": rate_hz, "units": recording.units}
    better = better_channels(recording, "" if opened.card is None else opened.card.units)
    setup = Setup.of(opened, source=source, better=better, **arguments)
    return Pipeline._lane(setup, setup.stream())


def _at_its_place(setup: Setup, snapshot: bytes) -> Pipeline:
    pipeline = Pipeline._lane(setup, setup.stream())
    pipeline.restore(snapshot)
    return pipeline
