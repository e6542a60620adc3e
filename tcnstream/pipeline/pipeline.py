"""One signal, pushed piece by piece: samples in, segments out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import index
from pathlib import Path
from typing import Any, Unpack

import msgspec
import numpy as np
import numpy.typing as npt

from tcnstream.engines.native import real as native
from tcnstream.errors import SignalError, StreamError, TcnStreamError
from tcnstream.model import Model
from tcnstream.opened import OpenedModel, open_model
from tcnstream.options import StreamOptions
from tcnstream.pipeline.follower import Follower
from tcnstream.pipeline.lane import Lane
from tcnstream.pipeline.samples import Frames
from tcnstream.pipeline.setup import DEFAULT_OPTIONS, PipelineArguments, Setup
from tcnstream.pipeline.state import MODEL_HASH_BYTES, PipelineState, Tail, digest, read_snapshot, sealed
from tcnstream.signal.card import Card
from tcnstream.signal.preprocess import better_channels, must_have_a_sound_rate, no_rate
from tcnstream.signal.segments import Segment
from tcnstream.signal.sources.base import Gap, Recording
from tcnstream.stream import Stream

_MOST_MISSING_FRAMES = 1 << 52
"""Places beyond it have no exact number of seconds."""

_BLOCK_SAMPLES = 1 << 14
"""Of a longer chunk so many are prepared at a time: filters take much more memory than samples."""

GAP = "gap"
"""The label of the segment that stands for missing signal."""


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
        self._begin(Lane(setup), setup.stream())

    def __reduce__(self) -> tuple[Callable[..., Pipeline], tuple[object, ...]]:
        """What copy, deepcopy and pickle ask for: one more pipeline, with a stream of its own, at the same place.

        Whoever follows this one does not follow that. Raises StreamError as ``snapshot``.
        """
        if self.keeps_tail:
            with suppress(StreamError):  # it has ended, or was restored lately
                return _at_its_place, (self._setup, self.tail())
        return _at_its_place, (self._setup, self.snapshot())

    def _begin(self, lane: Lane, stream: Stream) -> None:
        self._setup, self._lane, self._stream = lane.setup, lane, stream
        self._follower: Follower | None = None
        self._settle()

    def _settle(self) -> None:
        """What follows from the stream and the filters as they are now."""
        self._chain = self._chained()
        self._tail_rule = self._stream.tail_rule
        self._tail_facts = self._facts(of_tail=True)

    def _chained(self) -> native.Chain | None:
        """What takes most chunks in one call; None where there is more to do than scale, filter, push and label."""
        setup, quick = self._setup, self._stream.quick
        preprocessor, segmenter = self._lane.preprocessor, self._lane.segmenter
        filters, rules = preprocessor.filters, None if segmenter is None else segmenter.run_rules
        if (
            quick is None
            or setup.answer is None
            or setup.channels is not None
            or setup.takes_full_scale
            or preprocessor.converts_rate
            or (rules is not None and setup.keep_frames)
        ):
            return None
        factor = float(preprocessor.factor)
        return native.chain(quick, setup.channel_count, factor, filters.table, filters.memory, setup.answer, rules)

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
        return () if self._lane.segmenter is None else self._lane.segmenter.labels

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
        return self._lane.preprocessor.frames_hz

    @property
    def waits_s(self) -> float:
        """Seconds of signal that a sample waits for before it reaches the model: what the rate's conversion takes."""
        return self._lane.preprocessor.waits_s

    @property
    def position_s(self) -> float:
        """The time of the next sample on the source's clock."""
        return self._lane.seconds(self._lane.at_frame)

    @property
    def provisional(self) -> Segment | None:
        """The newest segment that has begun and is not final, as far as it is known; None where there is none."""
        return None if self._lane.segmenter is None else self._lane.segmenter.provisional

    @property
    def reached_s(self) -> float | None:
        """Up to where the signal has labels; None without segments."""
        return None if self._lane.segmenter is None else self._lane.segmenter.reached_s

    @property
    def settled_s(self) -> float | None:
        """No segment to come begins before it; None without segments."""
        return None if self._lane.segmenter is None else self._lane.segmenter.settled_s

    @property
    def frames(self) -> Frames:
        """The output frames that the last call made, float32 (m, *frame_shape); StreamError without ``keep_frames``."""
        if not self._setup.keep_frames:
            raise StreamError("this pipeline keeps no frames: make it with keep_frames=True")
        made = self._lane.made
        if len(made) == 1:
            return made[0]
        return np.concatenate([np.zeros((0, *self._setup.spec.shape), np.float32), *made])

    def push(self, samples: npt.ArrayLike | Gap) -> list[Segment]:
        """Take in samples, (n,) or (n, channels) real numbers; return the segments that they make final.

        A Gap, as recordings have them, is as ``mark_gap``.

        Raises StreamError for another shape, for a value that is not finite, and after ``flush``; the pipeline is then
        as before. Ctrl-C within a long chunk leaves it broken: it then asks for ``reset`` or ``restore``.
        """
        if isinstance(samples, Gap):
            return self.mark_gap(samples.frames)
        lane = self._lane
        if self._chain is not None and not (lane.is_over or lane.is_broken or lane.is_gone) and self._follower is None:
            quick = self._pushed_at_once(lane, self._chain, samples)
            if quick is not None:
                return quick
        chunk = lane.accept(samples)
        lane.move()
        found = []
        for at in range(0, max(1, len(chunk)), _BLOCK_SAMPLES):
            found += lane.take(self._through(lane.prepare(chunk[at : at + _BLOCK_SAMPLES])))
        lane.is_broken = False
        return found

    def _pushed_at_once(self, lane: Lane, chain: native.Chain, samples: Any) -> list[Segment] | None:
        """``push`` in one call of the core; None, and nothing has moved, of what it does not take."""
        filters, segmenter = lane.preprocessor.filters, lane.segmenter
        if segmenter is not None and segmenter.is_early:
            return None
        lane.is_broken = True
        made = chain.push(samples, not filters.started)
        if made is None:
            lane.is_broken = False
            return None
        filters.started = True
        lane.frames_in += len(samples)
        found: list[Segment] = []
        if segmenter is not None:
            found = segmenter.push_runs(made)
        elif self._setup.keep_frames:
            lane.made = [made.reshape(-1, *self._setup.spec.shape)]
        lane.is_broken = False
        return found

    def flush(self) -> list[Segment]:
        """End the signal: the segments that were waiting for more of it.

        Raises StreamError if it has ended already, or is shorter than a mirrored edge of the model.
        """
        lane = self._lane
        lane.refuse_if_over("flush")
        lane.move()
        found = lane.take(self._through(lane.prepare_end()))
        found += lane.take(self._to_its_end())
        found += lane.close()
        lane.is_over, lane.is_broken = True, False
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
        lane = self._lane
        lane.refuse_if_over("mark_gap")
        lane.move()
        found = lane.take(self._through(lane.prepare_end()))
        with suppress(StreamError):  # shorter than a mirrored edge: nothing can be said of its end
            found += lane.take(self._to_its_end())
        found += lane.close()
        made, begin = lane.made, lane.at_frame
        self._restart()
        lane.preprocessor.reset()
        lane.begin(begin + missing)
        lane.made, lane.is_broken = made, False
        if missing and self._setup.segments:
            found.append(Segment(lane.seconds(begin), lane.seconds(begin + missing), GAP, 1.0))
        return found

    def reset(self) -> None:
        """Back to the start: the next sample is the first one of a new signal, at ``start_s``."""
        lane = self._lane
        lane.refuse_if_gone()
        lane.is_broken = True
        self._restart()
        lane.preprocessor.reset()
        lane.start_s = self._setup.start_s
        lane.begin(0)
        lane.is_broken = False

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
        lane = self._lane
        if lane.is_broken or lane.is_gone:
            lane.refuse_if_broken()
        if not of_tail:
            return lane.state(self._facts(of_tail), *lane.preprocessor.snapshot(), self._stream.snapshot())
        if self._chain is not None and self._tail_rule is not None:
            kept = self._chain.kept(self._tail_rule.least, self._tail_rule.period)
            if kept is not None:
                pushed, frames, memory = kept
                filters = lane.preprocessor.filters.snapshot_of(memory)
                return lane.state(self._tail_facts, None, filters, Tail(pushed - lane.frames_in, frames))
        (frames,) = self._stream.tail_blobs()  # a pipeline's model has one input
        tail = Tail(self._stream.frames_in - lane.frames_in, frames)
        return lane.state(self._tail_facts, *lane.preprocessor.snapshot(), tail)

    def _facts(self, of_tail: bool) -> bytes:
        """What must agree; a snapshot of the layers says itself of which policy they are."""
        return self._setup.model_hash + digest(self._setup.facts, self._stream.identity if of_tail else "")

    def restore(self, blob: bytes) -> None:
        """Continue where ``snapshot`` or ``tail`` was taken, bit for bit, on the clock that it had.

        Raises StreamError for a snapshot that is damaged, or of another model or pipeline; this one is then as before.
        """
        self._lane.refuse_if_gone()
        self.take_up(read_snapshot(blob))

    def take_up(self, state: PipelineState) -> None:
        """``restore`` of what ``state`` returned."""
        lane = self._lane
        lane.refuse_if_gone()
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
        before, lane.is_broken = lane.is_broken, True
        try:
            if isinstance(state.stream, Tail):
                self._resume(state.stream, state.frames_in)
            else:
                self._stream.restore(state.stream)
        except StreamError:
            lane.is_broken = before or self._stream.is_broken
            raise
        lane.go_on(preprocessor, segmenter, state.start_s, state.begin_frames, state.frames_in, state.ended)
        self._settle()

    def take_over(self, old: Pipeline) -> list[Segment]:
        """Continue the signal of a pipeline of another model, from its newest input frames.

        The network says from here on what it would have said had it had the signal from the start; segments begin
        here, and what waited in ``old`` is returned as far as it was known. Raises StreamError where the two do not
        take the same input (rate, unit, filters, quantization), where ``old`` keeps no tail, or remembers fewer frames
        than this model needs; this pipeline is then as before.
        """
        lane, other = self._lane, old._lane
        lane.refuse_if_gone()
        ours, theirs = self._setup.input_facts, old._setup.input_facts
        if ours != theirs:
            raise StreamError(
                f"the signal of {old._setup.opened.path.name} goes on in a model that takes the same input, and"
                f" {self._setup.opened.path.name} takes another: {theirs} and {ours}; begin without a state"
            )
        (frames,) = (old._stream.tail(),)
        assert isinstance(frames, np.ndarray)  # a pipeline's model has one input
        segmenter = self._setup.segmenter(self._setup.seconds(other.start_s, other.begin_frames))
        preprocessor = self._setup.preprocessor()
        preprocessor.restore(*other.preprocessor.snapshot())
        self._stream.resume(frames, old._stream.frames_in)
        if segmenter is not None:
            segmenter.skip(self.frames_out)
        lane.go_on(preprocessor, segmenter, other.start_s, other.begin_frames, other.frames_in, is_over=False)
        self._settle()
        return other.close()

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

    def _through(self, frames: Frames) -> Any:
        made = self._stream.push(frames)
        if self._follower is not None:
            self._follower.pushed(frames.copy(), made, self._lane.at_frame)
        return made

    def _to_its_end(self) -> Any:
        made = self._stream.flush()
        if self._follower is not None:
            self._follower.flushed(made, self._lane.at_frame)
        return made

    def _restart(self) -> None:
        self._stream.reset()
        if self._follower is not None:
            self._follower.was_reset()


def pipeline_of(lane: Lane, stream: Stream) -> Pipeline:
    """A lane at its start with its stream, as a pipeline."""
    pipeline = Pipeline.__new__(Pipeline)
    pipeline._begin(lane, stream)
    return pipeline


def pipeline_for(opened: OpenedModel, recording: Recording, **arguments: Unpack[PipelineArguments]) -> Pipeline:
    """The Pipeline for an opened recording, at the rate and in the unit that it says; other arguments as for Pipeline.

    Raises SignalError where the recording does not say its rate and one is needed, and as Pipeline.
    """
    source, rate_hz = recording.source, recording.rate_hz
    must_have_a_sound_rate(source, rate_hz)
    if rate_hz is None and opened.card is not None:
        raise SignalError(no_rate(recording))
    if rate_hz is None and arguments.get("segments", True):
        raise SignalError(f"{source} does not say its sample rate, so that seconds are unknown: give rate_hz=")
    arguments |= {"rate_hz": rate_hz, "units": recording.units}
    better = better_channels(recording, "" if opened.card is None else opened.card.units)
    setup = Setup.of(opened, source=source, better=better, **arguments)
    return pipeline_of(Lane(setup), setup.stream())


def _at_its_place(setup: Setup, snapshot: bytes) -> Pipeline:
    pipeline = pipeline_of(Lane(setup), setup.stream())
    pipeline.restore(snapshot)
    return pipeline
