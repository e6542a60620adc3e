"""Stems for training the speech segmenter: a voice, music or noise alone, in which room and through which device.

Labels come from the clean recordings, before anything happens to them. ``blending.py`` lays stems on each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr
from scipy import fft

from tcnstream.zoo.recipes.filterbank import FRAME_SAMPLES, RATE_HZ
from tcnstream.zoo.recipes.noises import band, noise, room, scaled, tune
from tcnstream.zoo.recipes.speech_material import Clip, Material, as_float

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

LABELS = ("other", "speech", "music")
OTHER, SPEECH, MUSIC = range(3)
FRAME_HZ = RATE_HZ / FRAME_SAMPLES
TUNE_SHARE = 0.2
"""Of the music is made up; the rest are songs."""
SOUNDS_SHARE = 0.3
"""Of the noise has recorded sounds in it; the rest is made up."""

QUIET_DB = 36.0
"""Speech this far below a recording's loud parts (the 95th percentile of its frames) is silence."""
HANGOVER_S = 0.05
"""So long a label outlasts the energy."""
BRIDGED_S = 0.25
"""A shorter pause within speech belongs to it."""
_TAIL_SAMPLES = 2 * RATE_HZ


@dataclass(frozen=True, eq=False)
class Stem:
    """``signal`` (samples,), of mean square 1 where it ``sounds`` (frames,)."""

    signal: Floats
    sounds: Flags


def frame_db(signal: Floats) -> Floats:
    """Energy of 20 ms around each frame (frames,), dB of full scale."""
    frames = len(signal) // FRAME_SAMPLES
    half = FRAME_SAMPLES // 2
    squares = np.pad(np.square(signal[: frames * FRAME_SAMPLES], dtype=np.float64), half)
    sums = squares.reshape(-1, half).sum(axis=1)
    around = sums[:-3:2] + sums[1:-2:2] + sums[2:-1:2] + sums[3::2]
    return np.asarray(10 * np.log10(around / (2 * FRAME_SAMPLES) + 1e-12), np.float32)


def active(signal: Floats) -> Flags:
    """Where a clean recording speaks: (frames,), by energy, with bridged pauses and hang-over.

    A recording with noise of its own needs 8 dB above that, but never more than 20 dB below its loud parts.
    """
    db = frame_db(signal)
    if not len(db):
        return np.zeros(0, bool)
    loud, floor = np.percentile(db, [95, 5])
    threshold = max(loud - QUIET_DB, min(floor + 8, loud - 20), -75.0)
    return hung_over(db > threshold)


def hung_over(loud: Flags) -> Flags:
    """``loud`` (frames,) with pauses up to BRIDGED_S filled and HANGOVER_S after every end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]).astype(np.int8)))
    spoken = loud.copy()
    for end, begin in zip(edges[1:-1:2], edges[2::2], strict=True):
        spoken[end:begin] |= begin - end <= BRIDGED_S * FRAME_HZ
    for end in edges[1::2]:
        spoken[end : end + round(HANGOVER_S * FRAME_HZ)] = True
    return spoken


class Mixer:
    """Draws stems from the material; equal seeds draw equal stems."""

    def __init__(self, material: Material, seed: int, window_s: float = 10.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._voices = list(material.voices.values())
        # A voice with ten times the recordings is drawn about three times as often.
        share = np.array([sum(len(clip.samples) for clip in clips) for clips in self._voices]) ** 0.5
        self._share = share / share.sum()
        self._songs, self._sounds = material.songs, material.sounds
        self.frames = round(window_s * FRAME_HZ)
        self._samples = self.frames * FRAME_SAMPLES

    def speech(self) -> Stem:
        """One voice, in half of the stems in a room."""
        line, spoken = self._line()
        return self._stem(self._worn(self._through(line, 0.5)), spoken)

    def music(self) -> Stem:
        """A tune or a piece of a song."""
        music, played = self._music()
        return self._stem(self._worn(self._through(music, 0.2)), played)

    def noise(self) -> Stem:
        """Made up, or recorded sounds with it. It always sounds."""
        rng = self._rng
        signal = noise(rng, self._samples)
        if self._sounds and rng.random() < SOUNDS_SHARE:
            signal = np.float32(rng.uniform(0, 0.5)) * signal + scaled(self._row_of_sounds())
        return self._stem(self._through(signal, 0.2), np.ones(self.frames, bool))

    def _stem(self, signal: Floats, sounds: Flags) -> Stem:
        return Stem(signal / np.float32(level(signal, sounds)), sounds)

    def _row_of_sounds(self) -> Floats:
        rng = self._rng
        signal = np.zeros(self._samples, np.float32)
        at = 0
        while at < self._samples:
            sound = scaled(as_float(self._sounds[rng.integers(len(self._sounds))].samples))
            room_for = self._samples - at
            signal[at : at + len(sound)] += np.float32(np.exp(rng.normal(0, 0.5))) * sound[:room_for]
            at += int(rng.exponential(0.7) * RATE_HZ) + len(sound) // 2
        return signal

    def _line(self) -> tuple[Floats, Flags]:
        """One voice, its recordings in any order with pauses between them; slower or faster, which moves its pitch."""
        rng = self._rng
        clips = self._voices[rng.choice(len(self._voices), p=self._share)]
        pitch = np.exp(rng.uniform(-0.2, 0.2))
        signal, spoken = np.zeros(self._samples, np.float32), np.zeros(self.frames, bool)
        at = int(rng.exponential(0.8) * FRAME_HZ) if rng.random() < 0.7 else 0
        while at < self.frames:
            clip = soxr.resample(_piece(rng, clips[rng.integers(len(clips))]), pitch, 1, quality="LQ")
            said = active(clip)
            clip = clip[: len(said) * FRAME_SAMPLES] * np.float32(
                np.exp(rng.normal(0, 0.4)) / (level(clip, said) + 1e-6)
            )
            begin, room_for = at * FRAME_SAMPLES, self._samples - at * FRAME_SAMPLES
            signal[begin : begin + len(clip)] += clip[:room_for]
            spoken[at : at + len(said)] |= said[: self.frames - at]
            pause_s = rng.uniform(0, 0.4) if rng.random() < 0.5 else rng.exponential(1.2)
            at += len(said) + int(pause_s * FRAME_HZ)
        return signal, spoken

    def _music(self) -> tuple[Floats, Flags]:
        """A tune or a piece of a song, of the whole window or with a beginning and an end."""
        rng = self._rng
        signal = np.zeros(self._samples, np.float32)
        if rng.random() < TUNE_SHARE:
            signal += tune(rng, self._samples)
        else:
            song = self._songs[rng.integers(len(self._songs))].samples
            speed = np.exp(rng.uniform(-0.2, 0.2))
            start = rng.integers(max(1, len(song) - int(self._samples * speed) - RATE_HZ))
            piece = as_float(song[start : start + int(self._samples * speed) + 100])
            piece = soxr.resample(piece, speed, 1, quality="LQ")[: self._samples]
            signal[: len(piece)] = piece
        if rng.random() < 0.6:
            begin_s, end_s = np.sort(rng.uniform(0, self.frames / FRAME_HZ, 2))
            fade_s = rng.choice([0.01, 0.5])
            t = np.arange(self._samples, dtype=np.float32) / RATE_HZ
            signal *= np.clip((t - begin_s) / fade_s, 0, 1) * np.clip((end_s - t) / fade_s, 0, 1)
        db = frame_db(signal)
        # A rest of a quarter of a second is part of the piece.
        return signal, hung_over(db > max(float(np.percentile(db, 95)) - QUIET_DB, -70.0))

    def _through(self, signal: Floats, room_share: float) -> Floats:
        """Through a room (with a chance) and a device. The room's tail does not come around to the beginning."""
        rng = self._rng
        samples = self._samples + _TAIL_SAMPLES
        spectrum = fft.rfft(signal, samples) * band(rng, samples)
        if rng.random() < room_share:
            spectrum *= fft.rfft(room(rng), samples)
        return np.asarray(fft.irfft(spectrum, samples)[: self._samples], np.float32)

    def _worn(self, signal: Floats) -> Floats:
        """Some recordings are overdriven, some come through a telephone: mu-law of 8 bits (ITU-T G.711)."""
        rng = self._rng
        kind, peak = rng.random(), max(float(np.abs(signal).max()), 1e-9)
        if kind < 0.05:
            return (signal / peak * np.float32(rng.uniform(1, 6))).clip(-1, 1)
        if kind < 0.15:
            loud = signal * np.float32(10 ** (rng.uniform(-30, 0) / 20) / peak)
            bent = np.round(np.sign(loud) * np.log1p(255 * np.abs(loud)) / np.log(256) * 127) / 127
            return np.asarray(np.sign(bent) * np.expm1(np.abs(bent) * np.log(256)) / 255, np.float32)
        return signal


def _piece(rng: np.random.Generator, clip: Clip) -> Floats:
    """A recording, or up to 6 s of a long one."""
    most = 6 * RATE_HZ
    start = int(rng.integers(max(1, len(clip.samples) - most)))
    return as_float(clip.samples[start : start + most])


def level(signal: Floats, frames: Flags) -> float:
    """Root mean square over the flagged frames; 1 if there are none."""
    count = int(frames.sum())
    if not count:
        return 1.0
    squares = np.square(signal[: len(frames) * FRAME_SAMPLES], dtype=np.float64).reshape(-1, FRAME_SAMPLES)
    return float(np.sqrt(squares[frames].mean())) or 1.0
