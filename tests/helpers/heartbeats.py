"""An ECG made of Gaussian waves, whose beats are known, and the QRS complexes that a model finds in it."""

from __future__ import annotations

import numpy as np

from tcnstream import Pipeline

RATE_HZ = 500
_WAVES = ((0.15, -0.18, 0.025), (-0.1, -0.03, 0.010), (1.0, 0.0, 0.012), (-0.2, 0.03, 0.012), (0.3, 0.28, 0.05))
"""P, Q, R, S, T: height in mV, place after the R peak and width in s."""


def made_ecg(
    duration_s: float = 30.0, rate_hz: int = RATE_HZ, beats_per_min: float = 70.0
) -> tuple[np.ndarray, np.ndarray]:
    """Samples in mV, and the times of the beats in s, with 3 % of jitter.

    P and T come closer to a QRS and narrower as the root of the interval, as QT does by Bazett's formula.
    """
    rng = np.random.default_rng(1)
    beats = [0.5]
    while beats[-1] < duration_s - 0.5:
        beats.append(beats[-1] + 60 / beats_per_min * (1 + 0.03 * rng.standard_normal()))
    closer = np.sqrt(70 / beats_per_min)
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    signal = np.zeros_like(times)
    for beat in beats[:-1]:
        for height, place, width in _WAVES:
            if abs(place) > 0.1:
                place, width = place * closer, width * closer
            signal += height * np.exp(-0.5 * ((times - beat - place) / width) ** 2)
    return signal, np.array(beats[:-1])


def qrs_found(model: str, signal: np.ndarray, beats: np.ndarray, rate_hz: int = RATE_HZ) -> tuple[int, int]:
    """How many beats have a QRS within 0.1 s, and how many QRS complexes have no beat."""
    pipeline = Pipeline(model, rate_hz=rate_hz, units="mV")
    segments = pipeline.push(signal.astype(np.float32)) + pipeline.flush()
    middles = np.array([(s.start_s + s.end_s) / 2 for s in segments if s.label == "qrs"])
    apart = np.abs(middles[:, None] - beats[None, :])
    return int((apart < 0.1).any(axis=0).sum()), int((~(apart < 0.1).any(axis=1)).sum())
