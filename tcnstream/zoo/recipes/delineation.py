"""How well waves are found: sensitivity, positive predictive value, F1 and timing errors of onsets and offsets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tcnstream.zoo.recipes.ludb import LABELS, Wave

TOLERANCE_S = 0.150
"""A border counts as found within this time (ANSI/AAMI EC57, as used by Martinez et al., 2004, and all since)."""

BORDERS = ("onset", "offset")


@dataclass
class Score:
    """Counts of one kind of border, and the errors (found minus annotated, seconds) of those that were found."""

    hits: int = 0
    misses: int = 0
    extras: int = 0
    errors_s: list[float] = field(default_factory=list)

    def __add__(self, other: Score) -> Score:
        return Score(
            self.hits + other.hits,
            self.misses + other.misses,
            self.extras + other.extras,
            self.errors_s + other.errors_s,
        )

    @property
    def sensitivity(self) -> float:
        return self.hits / max(1, self.hits + self.misses)

    @property
    def predictive_value(self) -> float:
        return self.hits / max(1, self.hits + self.extras)

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(1, 2 * self.hits + self.misses + self.extras)

    @property
    def mean_ms(self) -> float:
        return float(np.mean(self.errors_s) * 1000) if self.errors_s else 0.0

    @property
    def std_ms(self) -> float:
        return float(np.std(self.errors_s) * 1000) if self.errors_s else 0.0


Scores = dict[tuple[str, str], Score]
"""(label, "onset" or "offset") -> Score."""


def match(annotated_s: Sequence[float], found_s: Sequence[float], tolerance_s: float) -> list[tuple[int, int]]:
    """Pairs (annotated, found) within the tolerance, the closest first, each border in one pair at most."""
    near = sorted(
        (abs(a - f), i, j)
        for i, a in enumerate(annotated_s)
        for j, f in enumerate(found_s)
        if abs(a - f) <= tolerance_s + 1e-9
    )
    taken: set[int] = set()
    used: set[int] = set()
    pairs = []
    for _, i, j in near:
        if i not in taken and j not in used:
            taken.add(i)
            used.add(j)
            pairs.append((i, j))
    return pairs


def score(waves: Sequence[Wave], found: Iterable[tuple[str, float, float]], tolerance_s: float = TOLERANCE_S) -> Scores:
    """Scores of one lead; ``found`` are (label, start, end) in seconds.

    LUDB's first and last beats are not annotated, so what is found before the first annotated wave
    or after the last one, and matches none, is neither right nor wrong and is left out.
    """
    found = list(found)
    first, last = waves[0].start_s, waves[-1].end_s
    scores: Scores = {}
    for number, label in enumerate(LABELS[1:], start=1):
        for which, border in enumerate(BORDERS):
            borders = [(w.onset_s, w.offset_s)[which] for w in waves if w.label == number]
            annotated = [b for b in borders if b is not None]
            times = [(start, end)[which] for name, start, end in found if name == label]
            pairs = match(annotated, times, tolerance_s)
            matched = {j for _, j in pairs}
            extras = sum(first <= t <= last for j, t in enumerate(times) if j not in matched)
            errors = [times[j] - annotated[i] for i, j in pairs]
            scores[label, border] = Score(len(pairs), len(annotated) - len(pairs), extras, errors)
    return scores


def total(parts: Iterable[Scores]) -> Scores:
    """The sum over leads and records."""
    sums: Scores = {(label, border): Score() for label in LABELS[1:] for border in BORDERS}
    for part in parts:
        for key, value in part.items():
            sums[key] = sums[key] + value
    return sums


def both(scores: Scores, label: str) -> Score:
    """Onsets and offsets of one wave together."""
    return scores[label, "onset"] + scores[label, "offset"]
