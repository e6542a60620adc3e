"""Training windows for the speech segmenter, made anew each time: stems on top of each other at any loudness.

The filters of the front-end (``filterbank.pairs``) are linear, so filtered stems add up to the filtered mixture: they
are filtered once, and each window is another choice of stems, loudness and device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from tcnstream.zoo.recipes.filterbank import BANDS, FLOOR, RATE_HZ, centres_hz, compressed, pairs
from tcnstream.zoo.recipes.mixing import FRAME_HZ, LABELS, MUSIC, OTHER, SPEECH, Stem
from tcnstream.zoo.recipes.noises import band

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

LOWEST_LEVEL, HIGHEST_LEVEL = FLOOR**0.125, 1.2
LOUDNESS_DB = (-52.0, -12.0)
HISS_DB = (-95.0, -60.0)
"""Of the device itself; dB of full scale."""
_RESPONSE_POINTS = 640


@dataclass(frozen=True, eq=False)
class Filtered:
    """Stems behind the filters, ``pairs`` (stems, frames, 2 * BANDS), and where each one ``sounds`` (stems, frames)."""

    pairs: npt.NDArray[np.float16]
    sounds: Flags


def filtered(stems: Sequence[Stem]) -> Filtered:
    return Filtered(
        np.stack([pairs(stem.signal).astype(np.float16) for stem in stems]), np.stack([s.sounds for s in stems])
    )


def joined(parts: Sequence[Filtered]) -> Filtered:
    return Filtered(np.concatenate([p.pairs for p in parts]), np.concatenate([p.sounds for p in parts]))


@dataclass(frozen=True, eq=False)
class Stems:
    """All that windows are blended from."""

    speech: Filtered
    music: Filtered
    noise: Filtered

    @property
    def hours(self) -> float:
        """Of each of the three."""
        return self.speech.sounds.size / FRAME_HZ / 3600


@dataclass(frozen=True)
class Mix:
    """What windows have in them. ``speakers`` are the shares with no voice, one, two.

    ``music`` is the share with music of those with a voice, ``music_alone`` of those without, ``noise`` of all.
    ``music_db`` and ``noise_db`` are how far these are below the voice, at least and at most.
    """

    speakers: tuple[float, float, float] = (0.2, 0.68, 0.12)
    music: float = 0.55
    music_alone: float = 0.75
    noise: float = 0.9
    music_db: tuple[float, float] = (-3.0, 25.0)
    noise_db: tuple[float, float] = (-7.0, 24.0)


class Blender:
    """Batches of windows; equal seeds blend equal windows."""

    def __init__(self, stems: Stems, seed: int, mix: Mix = Mix()) -> None:
        self._stems, self._mix = stems, mix
        self._rng = np.random.default_rng(seed)
        self._frames = stems.speech.sounds.shape[1]
        self._hiss = pairs(self._rng.standard_normal(int(self._frames * RATE_HZ / FRAME_HZ)).astype(np.float32))

    def draw(self, lanes: int) -> tuple[Floats, Floats, Floats]:
        """``(x, target, weight)``: (lanes, frames, BANDS), (lanes, frames, labels), (lanes, frames)."""
        x, label = self.windows(lanes)
        return x, np.eye(len(LABELS), dtype=np.float32)[label], np.ones(label.shape, np.float32)

    def windows(self, count: int) -> tuple[Floats, npt.NDArray[np.int8]]:
        """``(levels, label)``: (count, frames, BANDS), (count, frames)."""
        drawn = [self._window() for _ in range(count)]
        return np.stack([levels for levels, _ in drawn]), np.stack([label for _, label in drawn])

    def _window(self) -> tuple[Floats, npt.NDArray[np.int8]]:
        rng, stems, mix = self._rng, self._stems, self._mix
        mixture = np.zeros((self._frames, 2 * BANDS), np.float32)
        spoken, played = np.zeros(self._frames, bool), np.zeros(self._frames, bool)
        power, music_db = 0.0, 0.0
        for _ in range(rng.choice(len(mix.speakers), p=mix.speakers)):
            spoken |= self._add(mixture, stems.speech, loudness := np.exp(rng.normal(0, 0.3)))
            power += loudness**2
        if rng.random() < (mix.music if spoken.any() else mix.music_alone):
            music_db = -rng.uniform(*mix.music_db) if spoken.any() else 0.0
            played = self._add(mixture, stems.music, 10 ** (music_db / 20))
            power += 10 ** (music_db / 10)
        if rng.random() < mix.noise:
            noise_db = -rng.uniform(*mix.noise_db)
            if played.any() and noise_db > music_db:
                # Music below the noise is nothing that anybody would call music.
                noise_db = music_db - rng.uniform(0, 25)
            self._add(mixture, stems.noise, 10 ** (noise_db / 20))
            power += 10 ** (noise_db / 10)
        mixture *= np.float32(10 ** (rng.uniform(*LOUDNESS_DB) / 20) / np.sqrt(max(power, 1e-3)))
        hz = fft.rfftfreq(_RESPONSE_POINTS, 1 / RATE_HZ)
        device = np.interp(centres_hz(), hz, band(rng, _RESPONSE_POINTS))
        mixture *= np.tile(device, 2).astype(np.float32)
        mixture += np.float32(10 ** (rng.uniform(*HISS_DB) / 20)) * np.roll(self._hiss, rng.integers(self._frames), 0)
        levels = compressed(mixture).clip(np.float32(LOWEST_LEVEL), np.float32(HIGHEST_LEVEL))
        return levels, np.where(spoken, SPEECH, np.where(played, MUSIC, OTHER)).astype(np.int8)

    def _add(self, mixture: Floats, of: Filtered, gain: float) -> Flags:
        picked = self._rng.integers(len(of.pairs))
        mixture += np.float32(gain) * of.pairs[picked]
        return np.asarray(of.sounds[picked])
