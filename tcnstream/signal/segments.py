"""From output frames to labelled segments of time, as a stream."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError


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


class _Run(msgspec.Struct, array_like=True):
    """Neighbouring frames of one label, ``start <= frame < end``; gaps that were closed add length but no frames."""

    label: int
    start: int
    end: int
    frames: int
    probability_sum: float
    mark_sums: list[float] = []

    def add(self, probabilities: Sequence[float], marks: npt.NDArray[np.float64]) -> None:
        """What some of the frames say, one after the other, so that no cut into chunks can change a bit."""
        for probability in probabilities:
            self.probability_sum += probability
        for number, column in enumerate(marks.T.tolist()):
            for mark in column:
                self.mark_sums[number] += mark

    def take(self, later: _Run) -> None:
        """Goes on up to the end of a later run of the same label."""
        self.end = later.end
        self.frames += later.frames
        self.probability_sum += later.probability_sum
        self.mark_sums = [a + b for a, b in zip(self.mark_sums, later.mark_sums, strict=True)]


class _State(msgspec.Struct, array_like=True):
    frame: int
    open: _Run | None
    pending: list[_Run]


_FEW = 64
"""Of fewer frames in one push the probabilities wait until there are more, or their run ends."""
_MOST_WAITING = 256


def _largest(values: list[float]) -> int:
    """As ``argmax``, which takes more time than a few numbers do: the first one of equals, or the first NaN."""
    label = values.index(max(values))
    if math.isfinite(sum(values)):
        return label
    return int(np.argmax(values))


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
        self._waiting: list[list[float]] = []

    def snapshot(self) -> bytes:
        """All that the segmenter remembers; ``restore`` continues from it."""
        self._settle()
        return msgspec.msgpack.encode(_State(self._frame, self._open, self._pending))

    def restore(self, blob: bytes) -> None:
        """Raises ValueError for a snapshot that is damaged or of other labels."""
        state = msgspec.msgpack.decode(blob, type=_State)
        runs = [*state.pending, *([] if state.open is None else [state.open])]
        if any(not 0 <= run.label < len(self.labels) or len(run.mark_sums) != len(self.marks) for run in runs):
            raise ValueError("the snapshot is of other labels")
        self._frame, self._open, self._pending = state.frame, state.open, state.pending
        self._waiting = []

    def push(self, frames: npt.ArrayLike) -> list[Segment]:
        """``frames`` (n, labels + marks): logits, or probabilities if the Segmenter was told so.

        Returns what is final.
        """
        values = np.array(frames, np.float64)
        self._must_fit(values)
        if len(values) > _FEW:
            return self.push_labelled(*self.labelled(values))
        labels = [] if len(values) <= 2 else self._best(values).tolist()
        for at, values_of_one in enumerate(values.tolist()):
            if self._frame < 0:
                self._frame += 1
                continue
            label = labels[at] if labels else _largest(values_of_one[: len(self.labels)])
            run = self._open
            if run is None or run.label != label:
                run = self._begin(label)
            self._frame += 1
            run.end = self._frame
            run.frames += 1
            if label != self._background:
                self._waiting.append(values_of_one)
        if len(self._waiting) >= _MOST_WAITING:
            self._settle()
        return self._final()

    def push_labelled(
        self, labels: list[int], probabilities: list[float], marks: npt.NDArray[np.float64]
    ) -> list[Segment]:
        """``push`` of what ``labelled`` says of frames."""
        self._settle()
        at = max(0, min(-self._frame, len(labels)))
        self._frame += at
        while at < len(labels):
            label, end = labels[at], at + 1
            while end < len(labels) and labels[end] == label:
                end += 1
            run = self._open
            if run is None or run.label != label:
                run = self._begin(label)
            self._frame += end - at
            run.end = self._frame
            run.frames += end - at
            if label != self._background:
                run.add(probabilities[at:end], marks[at:end])
            at = end
        return self._final()

    def flush(self) -> list[Segment]:
        """Ends the signal: the segments that were waiting for more."""
        self._close()
        finished = [segment for run in self._pending for segment in self._segment(run)]
        self._pending = []
        return finished

    @property
    def provisional(self) -> Segment | None:
        """The last segment that ``flush`` would give now: it has begun, and frames to come may change it."""
        self._settle()
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

    def labelled(self, values: npt.NDArray[np.float64]) -> tuple[list[int], list[float], npt.NDArray[np.float64]]:
        """Each frame's label, by number, its probability, and those of its marks (n, marks).

        The frames may be of any signals with the same rules.
        """
        self._must_fit(values)
        best = self._best(values)
        return best.tolist(), self._likely(values, best), self._marked(values)

    def _best(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        best: npt.NDArray[np.int64] = values[:, : len(self.labels)].argmax(axis=1)
        return best

    def _marked(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        beside = values[:, len(self.labels) :]
        return beside if self.probabilities else 1.0 / (1.0 + np.exp(-beside))

    def _must_fit(self, values: npt.NDArray[np.float64]) -> None:
        count = len(self.labels)
        if values.ndim != 2 or values.shape[1] != count + len(self.marks):
            marks = f" and {len(self.marks)} marks ({', '.join(self.marks)})" if self.marks else ""
            raise SignalError(
                f"frames of shape {values.shape[1:]} do not fit {count} labels ({', '.join(self.labels)}){marks}: "
                "correct the labels of the card"
            )

    def _likely(self, values: npt.NDArray[np.float64], best: npt.NDArray[np.int64]) -> list[float]:
        """The probability of each frame's label."""
        if not len(values):
            return []
        values = values[:, : len(self.labels)]
        largest = values[np.arange(len(values)), best]
        # Softmax at its largest, where exp is 1.
        likely = largest if self.probabilities else 1.0 / np.exp(values - largest[:, None]).sum(axis=1)
        numbers: list[float] = likely.tolist()
        return numbers

    def _settle(self) -> None:
        """Adds up the probabilities of the frames that were waiting; one frame costs as much as hundreds do."""
        if self._waiting:
            assert self._open is not None
            values, self._waiting = np.array(self._waiting), []
            label = np.full(len(values), self._open.label)
            self._open.add(self._likely(values, label), self._marked(values))

    def _begin(self, label: int) -> _Run:
        """The run that the next frame opens."""
        self._close()
        self._open = _Run(label, self._frame, self._frame, 0, 0.0, [0.0] * len(self.marks))
        return self._open

    def _close(self) -> None:
        """The open run has ended: it continues a waiting run, or waits itself."""
        self._settle()
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
            means = {mark: total / run.frames for mark, total in zip(self.marks, run.mark_sums, strict=True)}
            yield Segment(
                start_s=max(self.not_before_s, self.start_s + run.start / self.rate_hz),
                end_s=self.start_s + run.end / self.rate_hz,
                label=label,
                probability=run.probability_sum / run.frames,
                ventricular=means.get(VENTRICULAR) if label == _QRS else None,
                noise=means.get(NOISE),
            )
