"""From output frames to labelled segments of time, as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.likelihood import PARTS, label_runs


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
        self.sums = [a + b for a, b in zip(self.sums, later.sums, strict=True)]


class _Kept(msgspec.Struct, array_like=True):
    """A run in a snapshot, in few bytes: its place counted back from the next frame, and how much of it is gaps.

    ``sums`` have as many bytes each as the largest needs.
    """

    label: int
    start: int
    end: int
    gaps: int
    sums: bytes

    @classmethod
    def of(cls, run: _Run, frame: int) -> _Kept:
        length = run.end - run.start
        width = max(total.bit_length() for total in run.sums) // 8 + 1
        sums = b"".join([total.to_bytes(width, "little", signed=True) for total in run.sums])
        return cls(run.label, frame - run.start, frame - run.end, length - run.frames, sums)

    def run(self, frame: int, count: int) -> _Run:
        length, width = self.start - self.end, max(1, len(self.sums) // count)
        pieces = [self.sums[at : at + width] for at in range(0, len(self.sums), width)]
        sums = [int.from_bytes(piece, "little", signed=True) for piece in pieces]
        return _Run(self.label, frame - self.start, frame - self.end, length - self.gaps, sums)


class _State(msgspec.Struct, array_like=True):
    frame: int
    marks: int
    open: _Kept | None
    pending: list[_Kept]


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
        self._gap_frames = [(merge_gap_s or {}).get(label, 0.0) * rate_hz + 1e-3 for label in self.labels]
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

    def snapshot(self) -> bytes:
        """All that the segmenter remembers; ``restore`` continues from it."""
        frame, opened = self._frame, self._open
        kept = None if opened is None else _Kept.of(opened, frame)
        return msgspec.msgpack.encode(
            _State(frame, len(self.marks), kept, [_Kept.of(run, frame) for run in self._pending])
        )

    def restore(self, blob: bytes) -> None:
        """Raises ValueError for a snapshot that is damaged or of other labels."""
        state = msgspec.msgpack.decode(blob, type=_State)
        kept = [*state.pending, *([] if state.open is None else [state.open])]
        if state.marks != len(self.marks) or any(not 0 <= run.label < len(self.labels) for run in kept):
            raise ValueError("the snapshot is of other labels")
        runs = [run.run(state.frame, 1 + len(self.marks)) for run in kept]
        self._frame = state.frame
        self._open = None if state.open is None else runs.pop()
        self._pending = runs

    def push(self, frames: npt.ArrayLike) -> list[Segment]:
        """``frames`` (n, labels + marks): logits, or probabilities if the Segmenter was told so.

        Returns what is final.
        """
        values = np.ascontiguousarray(frames, np.float32)
        self._must_fit(values)
        if self._frame < 0:
            early = min(-self._frame, len(values))
            values, self._frame = values[early:], self._frame + early
        for label, count, *sums in label_runs(values, len(self.labels), self._background, self.probabilities):
            run = self._open
            if run is None or run.label != label:
                run = self._begin(label)
            self._frame += count
            run.end = self._frame
            run.frames += count
            run.sums = [a + b for a, b in zip(run.sums, sums, strict=True)]
        return self._final() if self._pending else []

    def flush(self) -> list[Segment]:
        """Ends the signal: the segments that were waiting for more."""
        self._close()
        finished = [segment for run in self._pending for segment in self._segment(run)]
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
        return next((segment for run in reversed(waiting) for segment in self._segment(run)), None)

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

    def _begin(self, label: int) -> _Run:
        """The run that the next frame opens."""
        self._close()
        self._open = _Run(label, self._frame, self._frame, 0, [0] * (1 + len(self.marks)))
        return self._open

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
                return at if run.start - other.end <= self._gap_frames[run.label] else None
            if self._long(other):
                return None
        return None

    def _final(self) -> list[Segment]:
        found: list[Segment] = []
        while self._pending and not self._may_grow():
            found.extend(self._segment(self._pending.pop(0)))
        return found

    def _may_grow(self) -> bool:
        """Whether a frame to come may still join the first waiting run, or a frame that is there already."""
        first = self._pending[0]
        for run in self._pending[1:]:
            if run.label == first.label or self._long(run):
                return False
        end, opened = self._frame, self._open
        if opened is not None and opened.label != self._background:
            if opened.label == first.label:
                end = opened.start
            elif self._long(opened):
                return False
        return end - first.end <= self._gap_frames[first.label]

    def _long(self, run: _Run) -> bool:
        return run.end - run.start >= max(1.0, self._min_frames[run.label])

    def _segment(self, run: _Run) -> Iterator[Segment]:
        if self._long(run):
            label = self.labels[run.label]
            probability, *marks = (total / (run.frames * PARTS) for total in run.sums)
            means = dict(zip(self.marks, marks, strict=True))
            yield Segment(
                start_s=max(self.not_before_s, self.start_s + run.start / self.rate_hz),
                end_s=self.start_s + run.end / self.rate_hz,
                label=label,
                probability=probability,
                ventricular=means.get(VENTRICULAR) if label == _QRS else None,
                noise=means.get(NOISE),
            )
