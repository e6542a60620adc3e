"""One signal around its stream: what stands before the model, the clock, what comes behind it."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from tcnstream.errors import StreamError
from tcnstream.pipeline.samples import Frames, accepted_samples
from tcnstream.pipeline.setup import Setup
from tcnstream.pipeline.state import PipelineState, Tail
from tcnstream.signal.preprocess import Preprocessor
from tcnstream.signal.segments import Segment, Segmenter


class Lane:
    """All of a pipeline but its stream, which a pool pushes together with others.

    ``is_broken``: a call failed midway and left the steps apart from each other; ``is_gone``: the stream belongs to
    whoever joins next. ``made`` are the frames of the last call, where they are kept.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.preprocessor = setup.preprocessor()
        self.start_s = setup.start_s
        self.is_broken = self.is_gone = False
        self.begin(0)

    def begin(self, begin_frames: int) -> None:
        """The signal begins (again) at a source frame; all before it is over."""
        self.begin_frames, self.frames_in = begin_frames, 0
        self.segmenter = self.setup.segmenter(self.seconds(begin_frames))
        self.made: list[Frames] = []
        self.is_over = False

    def go_on(
        self,
        preprocessor: Preprocessor,
        segmenter: Segmenter | None,
        start_s: float,
        begin_frames: int,
        frames_in: int,
        is_over: bool,
    ) -> None:
        """Be where another lane was."""
        self.preprocessor, self.segmenter = preprocessor, segmenter
        self.start_s, self.begin_frames, self.frames_in = start_s, begin_frames, frames_in
        self.made, self.is_over, self.is_broken = [], is_over, False

    @property
    def at_frame(self) -> int:
        """The source's frame behind the last one that was pushed, counted from the start."""
        return self.begin_frames + self.frames_in

    def seconds(self, frames: int) -> float:
        """The time of a source frame."""
        return self.setup.seconds(self.start_s, frames)

    def accept(self, samples: npt.ArrayLike) -> Frames:
        """The samples (n, channels) that the model takes; StreamError, and nothing has moved, for what is none."""
        if self.is_over or self.is_broken or self.is_gone:
            self.refuse_if_over("push")
        return accepted_samples(self.setup, samples)

    def move(self) -> None:
        """From here on until ``is_broken`` is taken back an error leaves the steps apart from each other."""
        self.is_broken, self.made = True, []

    def prepare(self, chunk: Frames) -> Frames:
        """Samples of the source -> input frames of the model."""
        self.frames_in += len(chunk)
        return self._shaped(self.preprocessor.push(chunk))

    def prepare_end(self) -> Frames:
        """The signal ends -> the input frames that were waiting for more of it."""
        return self._shaped(self.preprocessor.flush())

    def _shaped(self, frames: Frames) -> Frames:
        return frames.reshape(len(frames), *self.setup.frame_shape)

    def take(self, answer: Any) -> list[Segment]:
        """What the stream returned -> segments."""
        setup = self.setup
        real = setup.spec.dequantize(answer[setup.output] if isinstance(answer, tuple) else answer)
        if setup.keep_frames:
            self.made.append(real)
        if self.segmenter is None:
            return []
        return self.segmenter.push(real.reshape(len(real), setup.values))

    def close(self) -> list[Segment]:
        """The segments that were waiting for more of the signal."""
        return [] if self.segmenter is None else self.segmenter.flush()

    def state(self, facts: bytes, rate: bytes | None, filters: bytes, stream: bytes | Tail) -> PipelineState:
        """With what its stream and the steps before it say of themselves."""
        return PipelineState(
            facts,
            self.start_s or 0,
            self.begin_frames,
            self.frames_in,
            self.is_over,
            rate,
            filters,
            None if self.segmenter is None else self.segmenter.state(),
            stream,
        )

    def refuse_if_gone(self) -> None:
        if self.is_gone:
            raise StreamError("this lane has left its pool; join() gives a new one")

    def refuse_if_broken(self) -> None:
        self.refuse_if_gone()
        if self.is_broken:
            raise StreamError("an earlier call failed midway; call reset() or restore() before going on")

    def refuse_if_over(self, what: str) -> None:
        self.refuse_if_broken()
        if self.is_over:
            raise StreamError(f"{what} after flush: the signal has ended; call reset() to start a new one")
