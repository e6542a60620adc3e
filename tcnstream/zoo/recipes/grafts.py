"""Waves cut out of a record, and beats of ventricular origin of one heart put into the record of another.

Few persons of the databases have such beats, and a network that has heard of few calls a wide QRS ventricular. Put into
any person's record, they are what differs from the beats beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tcnstream.zoo.recipes.targets import QRS, UNKNOWN, Example, Labels, P, T, runs_of

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stretch:
    """A part of one lead, all (samples,); what each is says ``Example``."""

    signal: Doubles
    label: Labels
    weight: Floats
    ventricular: npt.NDArray[np.int8]
    rate_hz: float

    def copy(self) -> Stretch:
        each = (self.signal.copy(), self.label.copy(), self.weight.copy(), self.ventricular.copy())
        return Stretch(*each, self.rate_hz)


@dataclass(frozen=True, eq=False)
class Donor:
    """A record of two leads, and from where to where its beats of ventricular origin last, T wave and all."""

    example: Example
    beats: tuple[tuple[int, int], ...]

    def beat(self, number: int, angle: float) -> Stretch:
        """One of them between the two leads, as if the heart were looked at from there, from 0 to 0."""
        span, example = slice(*self.beats[number]), self.example
        leads = example.signal[:, span]
        x = np.cos(angle) * leads[0] + np.sin(angle) * leads[1]
        line = np.linspace(x[:4].mean(), x[-4:].mean(), len(x))
        return Stretch(
            x - line, example.label[0, span], example.weight[0, span], example.ventricular[0, span], example.rate_hz
        )


def donors(examples: Sequence[Example]) -> list[Donor]:
    """Those of two leads that have a beat of ventricular origin with a whole T wave behind it."""
    found = [(example, _whole_beats(example)) for example in examples if len(example.signal) == 2]
    return [Donor(example, tuple(beats)) for example, beats in found if beats]


def _whole_beats(example: Example) -> list[tuple[int, int]]:
    label, rate_hz = example.label[0], example.rate_hz
    beats = []
    for (a, b), (following, _) in pairwise(runs_of(label, QRS)):
        if not np.any(example.ventricular[0, a:b] == 1) or b - a < 0.1 * rate_hz or a < rate_hz:
            continue
        behind = label[b : min(following, b + round(0.45 * rate_hz))]
        waves = runs_of(behind, T)
        if waves and not np.any(behind[: waves[0][1]] == P):
            end = b + waves[0][1]
            if end + round(0.03 * rate_hz) < following:
                beats.append((a - round(0.016 * rate_hz), end + round(0.02 * rate_hz)))
    return beats


def grafted(rng: np.random.Generator, of: Sequence[Donor], old: Stretch) -> Stretch:
    """Some beats become those of another heart, and come as early as it pleases; no P wave is left in front of them.

    ``old`` is as it was where there are fewer than three beats, and where there is no room for one of the other's.
    """
    beats, rate_hz, new = runs_of(old.label, QRS), old.rate_hz, old.copy()
    if len(beats) < 3:
        return new
    height = float(np.median([np.ptp(old.signal[a:b]) for a, b in beats]))
    donor = of[int(rng.integers(len(of)))]
    number = int(rng.integers(len(donor.beats)))
    graft = _resampled(
        donor.beat(number, rng.uniform(-np.pi, np.pi)),
        height * np.exp(rng.uniform(-0.5, 0.9)),
        rate_hz,
        np.exp(rng.uniform(-0.15, 0.2)),
    )
    share, early_s = rng.choice([0.15, 0.3, 0.5]), rng.uniform(0, 0.25)
    changed, count = -1, len(graft.signal)
    for at in range(1, len(beats) - 1):
        if at - 1 == changed or rng.random() > share:
            continue
        (_, gone), (start, end), (following, _) = beats[at - 1 : at + 2]
        waves = runs_of(new.label[gone:start], T)
        free = gone + (waves[-1][1] if waves else 0) + round(0.04 * rate_hz)
        early = round(max(0.0, early_s + rng.normal(0, 0.02)) * rate_hz)
        a = min(start, max(free, start - early))
        b = max(a + count, end, *(a + last for _, last in runs_of(new.label[a:following], T)[:1]))
        if b > following - round(0.08 * rate_hz) or new.label[b] == P or new.weight[a:b].max() == 0:
            continue
        before = [(free + first, free + last) for first, last in runs_of(new.label[free:b], P)]
        without(new.signal, rate_hz, before)
        for first, last in before:
            new.label[first:last] = 0
        new.signal[a:b] = np.linspace(new.signal[a], new.signal[b], b - a)
        new.label[a:b], new.weight[a:b], new.ventricular[a:b] = 0, 1, UNKNOWN
        new.signal[a : a + count] += graft.signal
        new.label[a : a + count], new.weight[a : a + count] = graft.label, graft.weight
        new.ventricular[a : a + count][graft.label == QRS] = 1
        changed = at
    return new


def _resampled(beat: Stretch, height: float, rate_hz: float, slower: float) -> Stretch:
    at = np.linspace(0, len(beat.signal) - 1, round(len(beat.signal) * rate_hz / beat.rate_hz * slower))
    size, nearest = height / (np.ptp(beat.signal) + 1e-9), np.round(at).astype(np.int64)
    signal = size * np.interp(at, np.arange(len(beat.signal)), beat.signal)
    return Stretch(signal, beat.label[nearest], beat.weight[nearest], beat.ventricular[nearest], rate_hz)


def without(signal: Doubles, rate_hz: float, waves: Sequence[tuple[int, int]]) -> None:
    """Straight lines in place of ``waves``."""
    for wave in waves:
        inside, line = line_below(signal, rate_hz, wave)
        signal[inside] = line


def line_below(signal: Doubles, rate_hz: float, wave: tuple[int, int]) -> tuple[slice, Doubles]:
    """Where a wave is, with a little of what is beside it, and the straight line between the ends of that."""
    near = round(0.015 * rate_hz)
    start, end = max(wave[0] - near, 0), min(wave[1] + near, len(signal) - 1)
    return slice(start, end), np.linspace(signal[start], signal[end], max(end - start, 0), endpoint=False)
