"""What a network is to say about every frame of a record, and how far that is to be believed.

Cardiologists drew the borders of waves in LUDB, and of some beats of the QT database. MIT-BIH knows where beats are and
of which type, and no borders; the other beats of the QT database have a program's. There the frames are labelled by a
network that was trained on LUDB (the *teacher*), which looks at every lead at several gains, and by what is known:

* Frames whose label depends on the gain, or is not that of the QT database's program, count nothing.
* A beat that the teacher does not see is a QRS for 28 ms around its R peak; of the rest around it nothing is known.
* A QRS of the teacher's without a beat is none. In atrial fibrillation and flutter a P wave is none.
* A beat of a wide type (ventricular, paced, a bundle branch blocked) is a QRS for as long as the slope is above an
  eighth of its largest, at least 112 ms and at most 300 ms. In the 100 ms before a ventricular or a paced one there is
  no P wave; one farther off and still in front of a ventricular beat counts nothing. Before a blocked one a P wave that
  runs into it may be its upstroke, and counts nothing.
* The atria go before a beat that comes from above the ventricles, whether the teacher sees that or not: where it sees
  no P wave in front of such a beat, nothing is known, but in atrial fibrillation and flutter.
* Ventricular flutter counts nothing.
* In LUDB no beat is of ventricular origin (a paced one is not, as in MIT-BIH); of records whose diagnosis names such
  beats nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import soxr

from tcnstream.zoo.recipes.ludb import LABELS, Record, Wave
from tcnstream.zoo.recipes.mitdb import WIDE, Beat, BeatRecord, Rhythm, is_within
from tcnstream.zoo.recipes.qtdb import QtRecord
from tcnstream.zoo.recipes.signals import RATE_HZ, conditioned

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]
Teacher = Callable[[Floats], Floats]
"""A lead (frames,) in mV at 250 Hz -> logits (frames, labels)."""

P, QRS, T = (LABELS.index(label) for label in ("p", "qrs", "t"))
UNKNOWN = -1
GAINS = (1.0, 0.5, 0.3)
"""At which the teacher looks at a lead."""

_WITHOUT_P = frozenset({"AFIB", "AFL"})
_WITHOUT_WAVES = frozenset({"VFL"})
_BLOCKED = frozenset("LRB")
"""Beats that come through one bundle branch alone."""
_AFTER_ATRIA = frozenset("NAaS") | _BLOCKED
"""Beats in front of which the atria beat, though a wave of theirs may lie in the T wave or be too small to see."""
_LONGEST_PR, _SHORTEST_P = round(0.36 * RATE_HZ), round(0.032 * RATE_HZ)
_LEAST_WIDE, _MOST_WIDE = round(0.112 * RATE_HZ), round(0.3 * RATE_HZ)


@dataclass(frozen=True, eq=False)
class Example:
    """A record as training needs it. ``signal`` (leads, samples) is high-passed, at its own rate.

    Of every sample: its ``label``, the ``weight`` that this has, and whether it belongs to a beat of ventricular origin
    (1, 0, or UNKNOWN), all (leads, samples). ``rare`` are the instants of beats that are worth more than others.
    """

    signal: Doubles
    rate_hz: float
    label: Labels
    weight: Floats
    ventricular: npt.NDArray[np.int8]
    rare_s: tuple[float, ...] = ()

    @property
    def duration_s(self) -> float:
        return float(self.signal.shape[1] / self.rate_hz)

    @property
    def lacks_p(self) -> bool:
        """Whether most leads have hardly a P wave: atrial fibrillation, flutter, some paced hearts."""
        few = [len(runs_of(lead, P)) < 0.3 * len(runs_of(lead, QRS)) for lead in self.label]
        return sum(few) > len(few) / 2

    @property
    def is_ectopic(self) -> bool:
        """Whether more than one beat in a hundred is of ventricular origin."""
        return bool(np.sum(self.ventricular == 1) > 0.01 * np.sum(self.ventricular >= 0))


def runs_of(label: Labels, value: int) -> list[tuple[int, int]]:
    """Where runs of ``value`` begin and end, in order."""
    inside = np.concatenate([[0], (label == value).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(inside))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def ludb_example(record: Record) -> Example:
    """The cardiologists' waves; what is before the first and behind the last one counts nothing."""
    signal = _signal(record.signal, record.rate_hz)
    label, weight = _blank(signal)
    for lead, waves in enumerate(record.waves):
        first, last = waves[0].start_s, waves[-1].end_s
        weight[lead, int(np.ceil(first * record.rate_hz)) : int(last * record.rate_hz) + 1] = 1
        _draw(waves, record.rate_hz, label[lead], weight[lead])
    ventricular = np.where((label == QRS) & (not record.has_ventricular_beats), 0, UNKNOWN).astype(np.int8)
    return Example(signal, record.rate_hz, label, weight, ventricular)


def beats_example(record: BeatRecord, teacher: Teacher) -> Example:
    """MIT-BIH and its like: the teacher's waves, as far as the beats agree with them."""
    signal = _signal(soxr.resample(record.signal, record.rate_hz, RATE_HZ), RATE_HZ)
    return _typed(signal, record.beats, record.rhythms, [_agreed(lead, teacher) for lead in signal])


def qtdb_example(record: QtRecord, teacher: Teacher) -> Example:
    """The cardiologist's beats; of the others the teacher's waves where the program says the same."""
    signal = _signal(record.beats.signal, record.beats.rate_hz)
    assert record.beats.rate_hz == RATE_HZ
    voices = []
    for lead, waves in zip(signal, record.automatic, strict=True):
        voice = _agreed(lead, teacher)
        if waves:
            program, weight = _blank(lead)
            _draw(waves, RATE_HZ, program, weight)
            # The program leaves out where most T waves begin.
            voice.weight[(program != voice.label) & ~((program == 0) & (voice.label == T))] = 0
        voices.append(voice)
    beats = record.beats.beats
    example = _typed(signal, beats, record.beats.rhythms, voices) if beats else _untyped(signal, voices)
    for lead in range(len(signal)):
        _draw_manual(record.manual, example.label[lead], example.weight[lead])
    return example


@dataclass(frozen=True, eq=False)
class _Voice:
    """``label`` and ``weight`` (frames,) of a lead; ``second`` is the likeliest label but for the QRS."""

    label: Labels
    weight: Floats
    second: Labels


def _signal(signal: Floats, rate_hz: float) -> Doubles:
    if rate_hz > RATE_HZ:
        # Half of 250 Hz is the new Nyquist frequency: a zero there keeps linear interpolation from aliasing.
        signal = np.apply_along_axis(lambda x: np.convolve(x, [0.25, 0.5, 0.25], "same"), 0, signal)
    return conditioned(signal, rate_hz).T.astype(np.float64)


def _blank(like: Doubles) -> tuple[Labels, Floats]:
    return np.zeros(like.shape, np.uint8), np.zeros(like.shape, np.float32)


def _draw(waves: Sequence[Wave], rate_hz: float, label: Labels, weight: Floats) -> None:
    near = round(2 * rate_hz / RATE_HZ)
    for wave in waves:
        start, end = int(np.ceil(wave.start_s * rate_hz - 1e-6)), int(np.floor(wave.end_s * rate_hz + 1e-6)) + 1
        label[start:end] = wave.label
        for border in (start, end):
            # Where exactly a wave ends is the annotator's taste.
            weight[max(border - near, 0) : max(border + near, 0)] *= 0.5


def _agreed(lead: Doubles, teacher: Teacher) -> _Voice:
    """What the teacher says at every gain; where it depends on the gain, the mean of what it says, at no weight."""
    views = []
    for gain in GAINS:
        logits = teacher((gain * lead).astype(np.float32)).astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        views.append(odds / odds.sum(axis=1, keepdims=True))
    mean = np.mean(views, axis=0)
    label = mean.argmax(axis=1).astype(np.uint8)
    same = np.all([view.argmax(axis=1) == label for view in views], axis=0)
    sure = mean.max(axis=1)
    weight = np.where(same, np.clip(2 * sure - 0.7, 0, 1), 0).astype(np.float32)
    others = mean.copy()
    others[:, QRS] = 0
    return _Voice(label, weight, others.argmax(axis=1).astype(np.uint8))


def _untyped(signal: Doubles, voices: Sequence[_Voice]) -> Example:
    label, weight = np.stack([v.label for v in voices]), np.stack([v.weight for v in voices])
    return Example(signal, RATE_HZ, label, weight, np.full(label.shape, UNKNOWN, np.int8))


def _typed(signal: Doubles, beats: Sequence[Beat], rhythms: Sequence[Rhythm], voices: Sequence[_Voice]) -> Example:
    example = _untyped(signal, voices)
    near = round(0.15 * RATE_HZ)
    at = np.array([round(beat.time_s * RATE_HZ) for beat in beats])
    for lead, voice in enumerate(voices):
        label, weight, ventricular = example.label[lead], example.weight[lead], example.ventricular[lead]
        for start, end in runs_of(voice.label, QRS):
            if not np.any((at > start - near) & (at < end + near)):
                label[start:end], weight[start:end] = voice.second[start:end], 0.7
        for rhythm in rhythms:
            span = slice(round(rhythm.start_s * RATE_HZ), round(rhythm.end_s * RATE_HZ))
            if rhythm.name in _WITHOUT_P:
                waves = label[span] == P
                label[span][waves], weight[span][waves] = 0, 1
        bends = _slope(signal[lead])
        for frame, beat in zip(at.tolist(), beats, strict=True):
            if near < frame < len(label) - near:
                start, end = (
                    _wide(frame, beat, bends, label, weight) if beat.symbol in WIDE else _narrow(frame, label, weight)
                )
                if beat.ventricular:
                    before = slice(max(start - 50, 0), start)
                    weight[before][label[before] == P] = 0
                elif beat.symbol in _AFTER_ATRIA and not is_within(rhythms, _WITHOUT_P, beat.time_s):
                    before = slice(max(start - _LONGEST_PR, 0), start)
                    if not any(b - a >= _SHORTEST_P for a, b in runs_of(label[before], P)):
                        weight[before][(label[before] == 0) | (label[before] == P)] = 0
                ventricular[start:end] = UNKNOWN if beat.ventricular is None else beat.ventricular
        for rhythm in rhythms:
            if rhythm.name in _WITHOUT_WAVES:
                span = slice(round(rhythm.start_s * RATE_HZ), round(rhythm.end_s * RATE_HZ))
                weight[span], ventricular[span] = 0, UNKNOWN
        if len(at):
            weight[: max(at[0] - 100, 0)] = 0
    rare = tuple(beat.time_s for beat in beats if beat.symbol not in "NLR/")
    return Example(signal, RATE_HZ, example.label, example.weight, example.ventricular, rare)


def _slope(lead: Doubles) -> Doubles:
    steps = np.zeros(len(lead))
    steps[1:-1] = np.abs(lead[2:] - lead[:-2])
    return np.convolve(steps, np.ones(5) / 5, "same")


def _narrow(frame: int, label: Labels, weight: Floats) -> tuple[int, int]:
    """The teacher's QRS at a beat; where it has none, or a strange one, little is known."""
    window = slice(frame - 25, frame + 25)
    runs = [(frame - 25 + a, frame - 25 + b) for a, b in runs_of(label[window], QRS)]
    if len(runs) == 1 and 10 <= runs[0][1] - runs[0][0] <= 45:
        return runs[0]
    weight[frame - 38 : frame + 38] = 0
    label[frame - 3 : frame + 4], weight[frame - 3 : frame + 4] = QRS, 1
    return frame - 3, frame + 4


def _wide(frame: int, beat: Beat, bends: Doubles, label: Labels, weight: Floats) -> tuple[int, int]:
    """A wide QRS from its slopes; where the teacher ends it elsewhere, nothing is known."""
    steepest = frame - 20 + int(bends[frame - 20 : frame + 21].argmax())
    enough = bends[steepest] / 8
    start = end = steepest
    while start > frame - 35 and bends[max(start - 4, 0) : start].max() >= enough:
        start -= 1
    while end < frame + 37 and bends[end : end + 4].max() >= enough:
        end += 1
    start, end = min(start, frame - 4), max(end, frame + 5)
    while end - start < _LEAST_WIDE:
        if bends[start - 1] > bends[min(end, len(bends) - 1)] and start > frame - 35:
            start -= 1
        else:
            end += 1
    end = min(end, start + _MOST_WIDE)
    if beat.symbol in _BLOCKED:
        weight[start - 25 : start][label[start - 25 : start] == QRS] = 0
        if P in label[start - 5 : start]:
            weight[start - 25 : start] = 0
    else:
        label[start - 25 : start][label[start - 25 : start] != T] = 0
        weight[start - 25 : start] = np.where(label[start - 25 : start] == T, 0, 1)
    behind = label[end : end + 25]
    weight[end : end + 25][(behind == QRS) | (behind == P)] = 0
    label[start:end], weight[start:end] = QRS, 1
    for border in (start, end):
        weight[border - 3 : border + 3] *= 0.3
    return start, end


def _draw_manual(waves: Sequence[Wave], label: Labels, weight: Floats) -> None:
    """The cardiologist's beats. Where a T wave begins is known of few; then it is where the teacher has it begin."""
    for first, last in _beats_of(waves):
        beat = waves[first:last]
        taught = label.copy()
        start, end = round(beat[0].start_s * RATE_HZ), round(beat[-1].end_s * RATE_HZ) + 1
        label[start:end], weight[start:end] = 0, 1
        for before, wave in pairwise([None, *beat]):
            assert wave is not None
            if wave.label == T and wave.onset_s is None and before is not None:
                gap = slice(round(before.end_s * RATE_HZ) + 1, round(wave.peak_s * RATE_HZ))
                label[gap] = np.where(taught[gap] == T, T, 0)
                weight[gap] *= 0.3
        _draw(beat, RATE_HZ, label, weight)


def _beats_of(waves: Sequence[Wave]) -> list[tuple[int, int]]:
    """Runs of waves that make one beat: a T wave ends it, and so does a pause."""
    cuts = [0]
    for number, (wave, following) in enumerate(pairwise(waves), start=1):
        if wave.label == T or following.start_s - wave.end_s > 0.5:
            cuts.append(number)
    return list(pairwise([*cuts, len(waves)])) if waves else []
