"""How well beats are found, and what is said of them: the counts behind the tables for MIT-BIH.

A beat is found if the middle of a QRS lies within 150 ms of its annotation, each QRS for one beat (ANSI/AAMI EC57).
All of a record counts, but for ventricular flutter, which has no beats. Counts of records are added up ("gross").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from tcnstream.signal.segments import Segment
from tcnstream.zoo.recipes.augment import is_stress, noise_gain, noise_rms
from tcnstream.zoo.recipes.mitdb import VENTRICULAR, BeatRecord, is_within

Floats = npt.NDArray[np.float32]

TOLERANCE_S = 0.150
WIDE_S = 0.100
NEAR_R_S = 0.100
STRESS_FROM_S = 300.0
"""Where the noise begins, and ``bxb`` with it."""
_NO_BEATS = frozenset({"VFL"})
_FIBRILLATES = frozenset({"AFIB", "AFL"})


@dataclass(frozen=True)
class BeatCounts:
    """``v_`` are beats of ventricular origin, and what was found at them; ``af_`` those in fibrillation or flutter.

    ``v_bordered`` were found by who gives borders and not instants alone, ``v_asked`` by who says what is ventricular.
    """

    hits: int = 0
    misses: int = 0
    extras: int = 0
    v_beats: int = 0
    v_found: int = 0
    v_wide: int = 0
    v_split: int = 0
    v_with_p: int = 0
    v_labelled: int = 0
    other_labelled: int = 0
    af_beats: int = 0
    af_p: int = 0
    v_bordered: int = 0
    v_asked: int = 0

    def __add__(self, other: BeatCounts) -> BeatCounts:
        return BeatCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def percentages(self) -> dict[str, float | None]:
        """What the tables show; None where there is nothing to divide by."""
        return {
            "se": _percent(self.hits, self.hits + self.misses),
            "ppv": _percent(self.hits, self.hits + self.extras),
            "v_se": _percent(self.v_found, self.v_beats),
            "v_wide": _percent(self.v_wide, self.v_bordered),
            "v_split": _percent(self.v_split, self.v_bordered),
            "v_with_p": _percent(self.v_with_p, self.v_bordered),
            "label_se": _percent(self.v_labelled, self.v_beats) if self.v_asked else None,
            "label_ppv": _percent(self.v_labelled, self.v_labelled + self.other_labelled),
            "p_in_af": None if not self.af_beats else round(self.af_p / self.af_beats, 4),
        }


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 3) if whole else None


def match_beats(annotated_s: Floats, found_s: Floats) -> dict[int, int]:
    """Annotated beat -> found one within the tolerance, the closest first; both in order of time."""
    lows = np.searchsorted(found_s, annotated_s - TOLERANCE_S - 1e-9)
    highs = np.searchsorted(found_s, annotated_s + TOLERANCE_S + 1e-9)
    near = sorted(
        (abs(annotated_s[i] - found_s[j]), i, j)
        for i, (low, high) in enumerate(zip(lows, highs, strict=True))
        for j in range(low, high)
    )
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in near:
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return pairs


def count(record: BeatRecord, found: Sequence[Segment], from_s: float = 0.0) -> BeatCounts:
    """What ``found`` makes of a record from ``from_s`` on."""

    def counts(time_s: float) -> bool:
        return time_s >= from_s and not is_within(record.rhythms, _NO_BEATS, time_s)

    beats = [beat for beat in record.beats if counts(beat.time_s)]
    qrs = sorted((s for s in found if s.label == "qrs"), key=_middle_s)
    middles_s = np.array([_middle_s(s) for s in qrs])
    starts_s = np.array([s.start_s for s in qrs])
    p = [s for s in found if s.label == "p"]
    p_starts_s, p_ends_s = np.array([s.start_s for s in p]), np.array([s.end_s for s in p])
    pairs = match_beats(np.array([beat.time_s for beat in beats]), middles_s)
    matched = set(pairs.values())
    extras = sum(counts(at) for j, at in enumerate(middles_s.tolist()) if j not in matched)
    v_found = v_wide = v_split = v_with_p = v_labelled = other_labelled = v_bordered = v_asked = 0
    for i, beat in enumerate(beats):
        if i not in pairs:
            continue
        segment, r_s = qrs[pairs[i]], beat.time_s
        says_v = segment.ventricular is not None and segment.ventricular > 0.5
        if beat.symbol in VENTRICULAR:
            v_found += 1
            v_wide += segment.end_s - segment.start_s >= WIDE_S - 1e-6
            v_split += int(np.sum(np.abs(starts_s - segment.start_s) <= TOLERANCE_S)) > 1
            v_with_p += bool(np.any((p_ends_s > r_s - NEAR_R_S) & (p_starts_s < r_s + NEAR_R_S)))
            v_labelled += says_v
            v_bordered += segment.end_s > segment.start_s
            v_asked += segment.ventricular is not None
        elif beat.ventricular is not None:
            other_labelled += says_v
    return BeatCounts(
        hits=len(pairs),
        misses=len(beats) - len(pairs),
        extras=extras,
        v_beats=sum(beat.symbol in VENTRICULAR for beat in beats),
        v_found=v_found,
        v_wide=v_wide,
        v_split=v_split,
        v_with_p=v_with_p,
        v_labelled=v_labelled,
        other_labelled=other_labelled,
        af_beats=sum(is_within(record.rhythms, _FIBRILLATES, beat.time_s) for beat in beats),
        af_p=sum(is_within(record.rhythms, _FIBRILLATES, _middle_s(s)) for s in p if _middle_s(s) >= from_s),
        v_bordered=v_bordered,
        v_asked=v_asked,
    )


def _middle_s(segment: Segment) -> float:
    return (segment.start_s + segment.end_s) / 2


def main_lead(record: BeatRecord) -> int:
    """MLII, else the first one."""
    return record.leads.index("MLII") if "MLII" in record.leads else 0


def stressed(record: BeatRecord, lead: int, noise: Floats, snr_db: float) -> Floats:
    """A lead with ``noise`` (samples,) of the same rate, as ``nst`` of the Noise Stress Test Database mixes it.

    The signal's size is the mean height of the QRS, from 50 ms before to 50 ms behind each annotation.
    """
    signal, near = record.signal[:, lead], round(0.05 * record.rate_hz)
    frames = [round(beat.time_s * record.rate_hz) for beat in record.beats if beat.time_s < STRESS_FROM_S]
    heights = [np.ptp(signal[max(at - near, 0) : at + near + 1]) for at in frames]
    gain = noise_gain(float(np.mean(heights)), noise_rms(noise, record.rate_hz), snr_db)
    on = is_stress(np.arange(len(signal)) / record.rate_hz)
    mixed: Floats = (signal + gain * on * noise[: len(signal)]).astype(np.float32)
    return mixed
