"""Noise, tunes, rooms and channels for training on audio, from random numbers; (samples,) float32 at RATE_HZ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import fft

from tcnstream.zoo.recipes.filterbank import RATE_HZ

Floats = npt.NDArray[np.float32]
Rng = np.random.Generator


def shaped(rng: Rng, samples: int, gain: npt.NDArray[np.float64]) -> Floats:
    """Gaussian noise with the amplitude spectrum ``gain`` (samples // 2 + 1,)."""
    spectrum = rng.standard_normal(len(gain)) + 1j * rng.standard_normal(len(gain))
    return np.asarray(fft.irfft(spectrum * gain, samples), np.float32)


def curve(rng: Rng, samples: int, spread_db: float, slope_db: float = 0.0) -> npt.NDArray[np.float64]:
    """A smooth random amplitude spectrum (samples // 2 + 1,): so many dB around a slope in dB per octave."""
    hz = fft.rfftfreq(samples, 1 / RATE_HZ)
    octave = np.log2(np.maximum(hz, 20) / 1000)
    knots = np.linspace(octave[0], octave[-1], 9)
    db = np.interp(octave, knots, rng.normal(0, spread_db, len(knots))) + slope_db * octave
    return np.asarray(10 ** (db / 20))


def wander(rng: Rng, samples: int, every_s: float) -> npt.NDArray[np.float64]:
    """A smooth random walk of variance about 1."""
    knots = max(4, int(samples / RATE_HZ / every_s) + 3)
    return np.interp(np.arange(samples), np.linspace(0, samples, knots), rng.standard_normal(knots))


def hiss(rng: Rng, samples: int) -> Floats:
    """Wind, traffic, fans: any colour from white to beyond brown."""
    return shaped(rng, samples, curve(rng, samples, 5.0, rng.uniform(-7, 1)))


def gusts(rng: Rng, samples: int) -> Floats:
    """The same, rising and falling."""
    level_db = rng.uniform(3, 12) * wander(rng, samples, rng.uniform(0.05, 1.5))
    return hiss(rng, samples) * (10 ** (level_db / 20)).astype(np.float32)


def engine(rng: Rng, samples: int) -> Floats:
    """A harmonic hum with a slowly wandering pitch: mains, motors, pumps."""
    pitch_hz = np.exp(rng.uniform(np.log(40), np.log(400))) * (
        1 + rng.choice([0, 0.002, 0.03]) * wander(rng, samples, 1)
    )
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    count = int(rng.integers(1, 25))
    level = rng.uniform(0, 1, count) * np.arange(1, count + 1) ** rng.uniform(-1.5, 0)
    total = np.zeros(samples, np.float32)
    for harmonic in range(1, count + 1):
        if harmonic * pitch_hz.max() < RATE_HZ / 2:
            total += (level[harmonic - 1] * np.sin(harmonic * phase + rng.uniform(0, 6.3))).astype(np.float32)
    return total + np.float32(rng.uniform(0, 0.5)) * hiss(rng, samples)


def knocks(rng: Rng, samples: int) -> Floats:
    """Keys, steps, dishes: resonances that ring and die."""
    total = np.zeros(samples, np.float32)
    for _ in range(rng.poisson(rng.uniform(0.5, 8) * samples / RATE_HZ)):
        decay_s, at = np.exp(rng.uniform(np.log(0.002), np.log(0.12))), int(rng.integers(samples))
        t = np.arange(min(samples - at, int(6 * decay_s * RATE_HZ))) / RATE_HZ
        ring = np.sin(2 * np.pi * np.exp(rng.uniform(np.log(80), np.log(6000))) * t)
        hit = rng.uniform(0, 1) * ring + rng.uniform(0, 1) * rng.standard_normal(len(t))
        total[at : at + len(t)] += (np.exp(rng.normal(0, 1)) * hit * np.exp(-t / decay_s)).astype(np.float32)
    return total + np.float32(1e-4) * hiss(rng, samples)


def beeps(rng: Rng, samples: int) -> Floats:
    """Dials, alarms, sirens: one or two tones, on and off, some of them sweeping."""
    t = np.arange(samples) / RATE_HZ
    sweep = 1 + rng.choice([0, 0, 0.3]) * np.sin(2 * np.pi * rng.uniform(0.3, 8) * t)
    total = np.zeros(samples)
    for _ in range(int(rng.integers(1, 3))):
        hz = np.exp(rng.uniform(np.log(300), np.log(3500)))
        total += rng.uniform(0.3, 1) * np.sin(2 * np.pi * np.cumsum(hz * sweep) / RATE_HZ)
    period_s, share = np.exp(rng.uniform(np.log(0.15), np.log(4))), rng.uniform(0.2, 1)
    on = (t + rng.uniform(0, period_s)) % period_s < share * period_s
    return np.asarray(total * on, np.float32)


NOISES: tuple[Callable[[Rng, int], Floats], ...] = (hiss, hiss, gusts, gusts, engine, knocks, knocks, beeps)


def noise(rng: Rng, samples: int) -> Floats:
    """One kind, or two on top of each other, of mean square 1."""
    total = np.zeros(samples, np.float32)
    for _ in range(int(rng.integers(1, 3))):
        total += np.float32(rng.uniform(0.2, 1)) * scaled(NOISES[rng.integers(len(NOISES))](rng, samples))
    return scaled(total)


def scaled(x: Floats) -> Floats:
    """``x`` at a mean square of 1; silence stays silent."""
    power = float(np.mean(np.square(x, dtype=np.float64)))
    return (x / np.sqrt(power)).astype(np.float32) if power > 0 else x


def tune(rng: Rng, samples: int) -> Floats:
    """Instruments that nobody built play notes of one scale in time: a melody, chords, a bass, perhaps a drum."""
    beat_s = 60 / rng.uniform(70, 180)
    scale = np.sort(rng.permutation(12)[: int(rng.integers(5, 8))])
    total = np.zeros(samples, np.float32)
    for low_hz, high_hz, voices, share in ((180, 900, 1, 0.8), (130, 500, 3, 0.7), (45, 130, 1, 0.7)):
        if rng.random() > share:
            continue
        partials = np.arange(1, int(rng.integers(2, 16)))
        colour = rng.uniform(0.2, 1, len(partials)) * partials ** rng.uniform(-2, -0.3)
        decay_s, attack_s = (
            np.exp(rng.uniform(np.log(0.08), np.log(3))),
            np.exp(rng.uniform(np.log(0.002), np.log(0.1))),
        )
        every = rng.choice([0.5, 1, 1, 2, 4]) if voices == 1 else rng.choice([1, 2, 4])
        vibrato = rng.choice([0, 0, 0.006])
        for start in np.arange(0, samples / RATE_HZ, every * beat_s):
            if rng.random() < 0.15:
                continue
            at = int(start * RATE_HZ)
            t = np.arange(min(samples - at, int(min(4 * decay_s, 1.2 * every * beat_s) * RATE_HZ))) / RATE_HZ
            for _ in range(voices):
                octave = low_hz * 2 ** rng.integers(0, max(1, int(np.log2(high_hz / low_hz)) + 1))
                hz = octave * 2 ** (rng.choice(scale) / 12)
                phase = 2 * np.pi * hz * (t + vibrato / 30 * np.sin(2 * np.pi * 5 * t))
                heard = partials * hz < RATE_HZ / 2
                wave = np.sin(phase[:, None] * partials[heard]) @ colour[heard]
                shape = np.minimum(t / attack_s, 1) * np.exp(-t / decay_s) * np.minimum((t[-1:] - t) / 0.01, 1)
                total[at : at + len(t)] += (wave * shape * np.exp(rng.normal(0, 0.3)) / voices).astype(np.float32)
    if rng.random() < 0.5:
        decay_s, loud = rng.uniform(0.01, 0.15), rng.uniform(0.1, 1)
        for start in np.arange(0, samples / RATE_HZ, rng.choice([0.5, 1]) * beat_s):
            at = int(start * RATE_HZ)
            t = np.arange(min(samples - at, int(5 * decay_s * RATE_HZ))) / RATE_HZ
            hit = loud * rng.standard_normal(len(t)) + np.sin(2 * np.pi * 60 * t)
            total[at : at + len(t)] += (hit * np.exp(-t / decay_s)).astype(np.float32)
    return scaled(total)


def room(rng: Rng) -> Floats:
    """An impulse response: the direct sound, then noise that dies within 0.1 to 0.8 s (-60 dB), duller as it does."""
    decay_s = np.exp(rng.uniform(np.log(0.1), np.log(0.8)))
    t = np.arange(int(decay_s * RATE_HZ)) / RATE_HZ
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / decay_s)
    dull = np.exp(-np.arange(24) / rng.uniform(0.3, 4))
    tail = np.convolve(tail, dull / np.sqrt((dull**2).sum()))[: len(t)]
    tail[: int(rng.uniform(0.001, 0.02) * RATE_HZ)] = 0
    direct_to_rest_db = rng.uniform(-3, 15)
    tail *= 10 ** (-direct_to_rest_db / 20) / (np.sqrt((tail**2).sum()) + 1e-9)
    tail[0] = 1
    return tail.astype(np.float32)


def band(rng: Rng, samples: int) -> npt.NDArray[np.float64]:
    """The amplitude response (samples // 2 + 1,) of a device: telephones, dull and tinny ones, or hardly any."""
    hz = fft.rfftfreq(samples, 1 / RATE_HZ)
    gain = curve(rng, samples, 3.0, rng.uniform(-2, 2))
    kind = rng.random()
    low_hz, high_hz = (300, 3400) if kind < 0.2 else (0, rng.uniform(3000, 7500)) if kind < 0.45 else (0, 9000)
    return np.asarray(gain / (1 + (low_hz / np.maximum(hz, 1)) ** 8) / (1 + (hz / high_hz) ** 24))
