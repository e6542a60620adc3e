"""Training windows for the speech segmenter: who speaks, plays and rustles when, in which room, through which device.

Labels come from the clean recordings, before anything is mixed to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr
from scipy import fft, ndimage

from tcnstream.zoo.recipes.filterbank import FRAME_SAMPLES, RATE_HZ
from tcnstream.zoo.recipes.noises import band, noise, room, tune
from tcnstream.zoo.recipes.speech_material import Clip, Material, as_float

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

LABELS = ("other", "speech", "music")
OTHER, SPEECH, MUSIC = range(3)
FRAME_HZ = RATE_HZ / FRAME_SAMPLES
SNR_DB = (-5.0, 30.0)
TUNE_SHARE = 0.25
"""Of the music is made up; the rest are songs."""

QUIET_DB = 36.0
"""Speech this far below a recording's loud parts (the 95th percentile of its frames) is silence."""
HANGOVER_S = 0.05
"""So long a label outlasts the energy."""
BRIDGED_S = 0.25
"""A shorter pause within speech belongs to it."""
_TAIL_SAMPLES = 2 * RATE_HZ


@dataclass(frozen=True, eq=False)
class Window:
    """``signal`` (samples,), a ``label`` (frames,) for every FRAME_SAMPLES and how much each one counts."""

    signal: Floats
    label: npt.NDArray[np.int8]
    weight: Floats


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
    """Draws windows from the material; equal seeds draw equal windows."""

    def __init__(self, material: Material, seed: int, window_s: float = 10.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._voices = list(material.voices.values())
        # A voice with ten times the recordings is drawn about twice as often.
        share = np.array([sum(len(clip.samples) for clip in clips) for clips in self._voices]) ** 0.35
        self._share = share / share.sum()
        self._songs = material.songs
        self.frames = round(window_s * FRAME_HZ)
        self._samples = self.frames * FRAME_SAMPLES

    def draw(self) -> Window:
        """One window."""
        rng = self._rng
        speech, spoken = np.zeros(self._samples, np.float32), np.zeros(self.frames, bool)
        for _ in range(int(rng.choice([0, 1, 2], p=[0.2, 0.67, 0.13]))):
            line, said = self._line()
            speech += self._through(line, 0.5)
            spoken |= said
        loudness = level(speech, spoken)
        music, played = self._music() if rng.random() < 0.55 else (np.zeros_like(speech), np.zeros_like(spoken))
        if played.any():
            music = self._through(music, 0.2)
            music *= np.float32(loudness * 10 ** (-rng.uniform(*SNR_DB) / 20) / level(music, played))
        # Where neither is, the noise is as loud as it would be otherwise.
        reference = loudness if spoken.any() or not played.any() else level(music, played)
        behind = noise(rng, self._samples) * np.float32(reference * 10 ** (-rng.uniform(*SNR_DB) / 20))
        if played.any() and level(music, played) < level(behind, ~np.zeros_like(spoken)):
            # Music below the noise is nothing that anybody would call music.
            behind *= np.float32(rng.uniform(0.05, 1) * level(music, played) / level(behind, played))
        mixture = self._through(speech + music + (behind if rng.random() < 0.9 else 0), 0.0)
        label = np.where(spoken, SPEECH, np.where(played, MUSIC, OTHER)).astype(np.int8)
        return Window(self._recorded(mixture), label, self._weight(spoken))

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

    def _recorded(self, mixture: Floats) -> Floats:
        """At any level, with the noise and the steps of a converter."""
        rng = self._rng
        peak = float(np.abs(mixture).max())
        signal = mixture * np.float32(10 ** (rng.uniform(-36, 0) / 20) / max(peak, 1e-9))
        if rng.random() < 0.05:
            signal = signal * np.float32(rng.uniform(1, 6))
        if rng.random() < 0.7:
            signal = signal + (10 ** (rng.uniform(-95, -60) / 20) * rng.standard_normal(len(signal))).astype(np.float32)
        if rng.random() < 0.08:
            # mu-law of 8 bits (ITU-T G.711), as telephones have it.
            bent = np.sign(signal) * np.log1p(255 * np.minimum(np.abs(signal), 1)) / np.log(256)
            bent = np.round(bent * 127) / 127
            signal = (np.sign(bent) * np.expm1(np.abs(bent) * np.log(256)) / 255).astype(np.float32)
        return (np.round(signal * 32768).clip(-32768, 32767) / 32768).astype(np.float32)

    def _weight(self, spoken: Flags) -> Floats:
        """Where exactly speech begins and ends is a matter of taste."""
        border = np.flatnonzero(np.diff(spoken.astype(np.int8)))
        near = np.zeros(self.frames, bool)
        near[border] = True
        return np.where(ndimage.binary_dilation(near, iterations=3), 0.4, 1.0).astype(np.float32)


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
