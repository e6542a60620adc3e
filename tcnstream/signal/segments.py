"""From output frames to labelled segments of time, as a stream."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from operator import add

import msgspec
import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.likelihood import PARTS, label_runs, rules_of


@dataclass(frozen=True)
class Segment:
    """A stretch of one label, ``start_s <= time < end_s``; ``probability`` is the mean over its frames.

    ``ventricular`` and ``noise`` are means of the same kind: that the beat is of ventricular origin (of a QRS alone),
    and that the signal is too noisy for the segment to be believed. None where the model does not say.
    """

    start_s: float
    end_s: float
    label: str
    probability: float
    ventricular: float | None = None
    noise: float | None = None

    @property
    def is_ventricular(self) -> bool:
        """More likely than not; of a QRS that is to be believed."""
        return self.ventricular is not None and self.ventricular > 0.5 and not self.is_noise

    @property
    def is_noise(self) -> bool:
        """More likely than not."""
        return self.noise is not None and self.noise > 0.5

    @property
    def name(self) -> str:
        """For people: the label, with a V for ventricular, or "noise"."""
        if self.is_noise:
            return NOISE
        return f"{self.label} V" if self.is_ventricular else self.label


VENTRICULAR, NOISE = MARKS = ("ventricular", "noise")
"""What a model may say of a frame beside its label: yes or no, each for itself."""
_QRS = "qrs"


@dataclass(slots=True)
class _Run:
    """Neighbouring frames of one label, ``start <= frame < end``; gaps that were closed add length but no frames.

    ``sums`` over the frames, in PARTS: the label's probability, then those of the marks.
    """

    label: int
    start: int
    end: int
    frames: int
    sums: list[int]

    def take(self, later: _Run) -> None:
        """Goes on up to the end of a later run of the same label."""
        self.end = later.end
        self.frames += later.frames
        self.sums = list(map(add, self.sums, later.sums))


class SegmenterState(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """What a Segmenter remembers, in few bytes: runs in their order, the last one of which is open if ``is_open``.

    ``runs`` have four numbers each: the label, the first frame and the one behind the last, counted back from
    ``frame``, which is the next one, and how much of the length is gaps. ``sums`` are those of all runs, little-endian,
    with as many bytes each as the largest needs; only those that a segment of such a label says. ``marks`` counts what
    the model marks.
    """

    frame: int
    marks: int
    is_open: bool
    runs: list[int]
    sums: bytes


_RUN_NUMBERS = 4


class Segmenter:
    """Turns output frames into segments, the same ones however the frames are cut into chunks.

    Each frame belongs to the label with the largest value (the first one of equals). Runs of one label make a
    segment; those of ``background`` make none. Two runs of a label become one if at most ``merge_gap_s[label]`` lies
    between them and no run of another label in that gap is as long as its own minimum (the ``background`` never is in
    the way). What then is shorter than ``min_duration_s[label]`` is dropped. A segment is given as soon as nothing to
    come can change it, in order of start.

    Frame k covers the time from ``start_s + (k - label_delay_frames) / rate_hz`` on for one frame; no segment starts
    before ``not_before_s``, where the signal begins. The first ``label_delay_frames`` frames speak of the time before
    the signal and are ignored; the last ones of a signal have no label. ``marks`` name the channels behind the labels,
    each one of MARKS.
    """

    def __init__(
        self,
        labels: Sequence[str],
        rate_hz: float,
        *,
        marks: Sequence[str] = (),
        probabilities: bool = False,
        background: str | None = None,
        min_duration_s: Mapping[str, float] | None = None,
        merge_gap_s: Mapping[str, float] | None = None,
        label_delay_frames: int = 0,
        start_s: float = 0.0,
        not_before_s: float = 0.0,
    ) -> None:
        self.labels, self.marks = tuple(labels), tuple(marks)
        self.rate_hz = rate_hz
        self.probabilities = probabilities
        self.label_delay_frames = label_delay_frames
        self.start_s = start_s
        self.not_before_s = not_before_s
        self._background = self.labels.index(background) if background in self.labels else -1
        # A thousandth of a frame forgives that 0.04 s * 250 Hz is not quite 10.
        self._min_frames = [(min_duration_s or {}).get(label, 0.0) * rate_hz - 1e-3 for label in self.labels]
        # Which sums a segment says: of the marks the ventricular one for a QRS alone.
        self._said = [
            [
                number
                for number, mark in enumerate((None, *self.marks))
                if at != self._background and (mark != VENTRICULAR or label == _QRS)
            ]
            for at, label in enumerate(self.labels)
        ]
        self._gap_frames = [(merge_gap_s or {}).get(label, 0.0) * rate_hz + 1e-3 for label in self.labels]
        # From how many frames on a run is a segment, and up to how many two become one.
        self._least = [max(1, math.ceil(frames)) for frames in self._min_frames]
        self._widest_gap = [math.floor(frames) for frames in self._gap_frames]
        # Where a run's sums have the marks, 0 for none.
        self._ventricular_at, self._noise_at = (
            1 + self.marks.index(mark) if mark in self.marks else 0 for mark in (VENTRICULAR, NOISE)
        )
        self.reset()

    @property
    def rules(self) -> tuple[object, ...]:
        """All that decides how frames become segments, but for the time of the first one."""
        rules = (
            self.labels,
            self.rate_hz,
            self.probabilities,
            self._background,
            self._min_frames,
            self._gap_frames,
            self.label_delay_frames,
        )
        return (*rules, self.marks) if self.marks else rules

    def reset(self) -> None:
        """Back to before the first frame."""
        self._frame = -self.label_delay_frames
        self._open: _Run | None = None
        self._pending: list[_Run] = []
        self._look_at: float = self._frame

    def skip(self, frames: int) -> None:
        """So many frames are over, which somebody else has labelled; for a segmenter at its start."""
        self._frame += frames
        self._look_at = self._frame

    def state(self) -> SegmenterState:
        """All that the segmenter remembers; ``restore`` continues from it."""
        frame, kept = self._frame, self._pending
        if self._open is not None:
            kept = [*kept, self._open]
        runs: list[int] = []
        sums: list[int] = []
        for run in kept:
            start, end = frame - run.start, frame - run.end
            runs += run.label, start, end, start - end - run.frames
            for number in self._said[run.label]:
                sums.append(run.sums[number])
        packed = b""
        if sums:
            width = max(max(sums).bit_length(), min(sums).bit_length()) // 8 + 1
            packed = b"".join([total.to_bytes(width, "little", signed=True) for total in sums])
        return SegmenterState(frame, len(self.marks), self._open is not None, runs, packed)

    def restore(self, state: SegmenterState) -> None:
        """Raises ValueError for a state that is of other labels."""
        numbers = [state.runs[at : at + _RUN_NUMBERS] for at in range(0, len(state.runs), _RUN_NUMBERS)]
        if state.marks != len(self.marks) or any(
            len(each) != _RUN_NUMBERS or not 0 <= each[0] < len(self.labels) for each in numbers
        ):
            raise ValueError("the state is of other labels")
        said = [(run, number) for run, each in enumerate(numbers) for number in self._said[each[0]]]
        width = len(state.sums) // max(1, len(said))
        if width * len(said) != len(state.sums) or (state.is_open and not numbers):
            raise ValueError("the state has no such sums")
        sums = [[0] * (1 + len(self.marks)) for _ in numbers]
        for at, (run, number) in enumerate(said):
            piece = state.sums[at * width : (at + 1) * width]
            sums[run][number] = int.from_bytes(piece, "little", signed=True)
        self._frame = state.frame
        self._pending = [
            _Run(label, state.frame - start, state.frame - end, start - end - gaps, sums[at])
            for at, (label, start, end, gaps) in enumerate(numbers)
        ]
        self._open = self._pending.pop() if state.is_open else None
        self._look_at = self._frame

    def push(self, frames: npt.ArrayLike) -> list[Segment]:
        """``frames`` (n, labels + marks): logits, or probabilities if the Segmenter was told so.

        Returns what is final.
        """
        values = np.ascontiguousarray(frames, np.float32)
        self._must_fit(values)
        if self._frame < 0:
            early = min(-self._frame, len(values))
            values, self._frame = values[early:], self._frame + early
        return self.push_runs(label_runs(values, len(self.labels), self._background, self.probabilities))

    @property
    def run_rules(self) -> tuple[int, int, bool, float, int]:
        """How frames become what ``push_runs`` takes."""
        return rules_of(len(self.labels), self._background, self.probabilities)

    @property
    def is_early(self) -> bool:
        """Whether the next frame is to be ignored, as the first ``label_delay_frames`` are."""
        return self._frame < 0

    def push_runs(self, runs: Sequence[Sequence[int]]) -> list[Segment]:
        """``push`` of frames of which ``label_runs`` says so, and of which none is to be ignored."""
        for label, count, *sums in runs:
            run, begin = self._open, self._frame
            self._frame = end = begin + count
            if run is not None and run.label == label:
                run.end = end
                run.frames += count
                run.sums = list(map(add, run.sums, sums))
                continue
            self._close()
            self._open = _Run(label, begin, end, count, sums)
            self._look_at = begin
        return self._final() if self._frame >= self._look_at else []

    def flush(self) -> list[Segment]:
        """Ends the signal: the segments that were waiting for more."""
        self._close()
        finished = [self._segment(run) for run in self._pending if self._long(run)]
        self._pending = []
        return finished

    @property
    def provisional(self) -> Segment | None:
        """The last segment that ``flush`` would give now: it has begun, and frames to come may change it."""
        waiting, run = list(self._pending), self._open
        if run is not None and run.label != self._background:
            before = self._joins(run)
            if before is not None:
                joined = copy(waiting[before])
                joined.take(run)
                run = joined
                del waiting[before:]
            waiting.append(run)
        return next((self._segment(run) for run in reversed(waiting) if self._long(run)), None)

    @property
    def reached_s(self) -> float:
        """Up to where frames have labels: a provisional segment that ends there may go on."""
        return self.start_s + self._frame / self.rate_hz

    @property
    def settled_s(self) -> float:
        """No segment to come begins before it."""
        runs = [*self._pending, *([] if self._open is None or self._open.label == self._background else [self._open])]
        return max(self.not_before_s, self.start_s + (runs[0].start if runs else self._frame) / self.rate_hz)

    def _must_fit(self, frames: npt.NDArray[np.float32]) -> None:
        count = len(self.labels)
        if frames.ndim != 2 or frames.shape[1] != count + len(self.marks):
            marks = f" and {len(self.marks)} marks ({', '.join(self.marks)})" if self.marks else ""
            raise SignalError(
                f"frames of shape {frames.shape[1:]} do not fit {count} labels ({', '.join(self.labels)}){marks}: "
                "correct the labels of the card"
            )

    def _close(self) -> None:
        """The open run has ended: it continues a waiting run, or waits itself."""
        run, self._open = self._open, None
        if run is None or run.label == self._background:
            return
        before = self._joins(run)
        if before is None:
            self._pending.append(run)
            return
        del self._pending[before + 1 :]
        self._pending[before].take(run)

    def _joins(self, run: _Run) -> int | None:
        """Which waiting run this one continues."""
        for at in range(len(self._pending) - 1, -1, -1):
            other = self._pending[at]
            if other.label == run.label:
                return at if run.start - other.end <= self._widest_gap[run.label] else None
            if self._long(other):
                return None
        return None

    def _final(self) -> list[Segment]:
        found: list[Segment] = []
        while (until := self._grows_until()) <= self._frame:
            run = self._pending.pop(0)
            if self._long(run):
                found.append(self._segment(run))
        self._look_at = until
        return found

    def _grows_until(self) -> float:
        """The frame from which on no frame to come, nor one that is there already, may join the first waiting run, if
        no other run begins before it; infinity where none waits."""
        if not self._pending:
            return math.inf
        first = self._pending[0]
        for run in self._pending[1:]:
            if run.label == first.label or self._long(run):
                return self._frame
        opened, until = self._open, first.end + self._widest_gap[first.label] + 1
        if opened is None or opened.label == self._background:
            return until
        if opened.label == first.label:
            return math.inf if opened.start < until else self._frame
        return min(until, opened.start + self._least[opened.label])

    def _long(self, run: _Run) -> bool:
        return run.end - run.start >= self._least[run.label]

    def _segment(self, run: _Run) -> Segment:
        label, sums, parts = self.labels[run.label], run.sums, run.frames * PARTS
        return Segment(
            max(self.not_before_s, self.start_s + run.start / self.rate_hz),
            self.start_s + run.end / self.rate_hz,
            label,
            sums[0] / parts,
            sums[self._ventricular_at] / parts if self._ventricular_at and label == _QRS else None,
            sums[self._noise_at] / parts if self._noise_at else None,
        )
