"""The front-end of the speech segmenter: band levels of 16 kHz audio, 100 times a second.

Each band has a pair of filters in quadrature, ``PAIR[n] = w[n] exp(i phi[n])``: a Hann window on a chirp that sweeps
over the band while the window lasts, so that few taps hear all of a wide band. A band's level is the eighth root of
``re^2 + im^2 + FLOOR``, the amplitude to the power 1/4: that compresses as a logarithm does, and is made of square
roots, which every processor rounds alike, so that integers computed from it are the same everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

RATE_HZ = 16_000
FRAME_SAMPLES = 160
TAPS = 200
BANDS = 24
LOWEST_HZ, HIGHEST_HZ = 120.0, 7200.0
FLOOR = 1e-8
"""Added to every band's power, where a sine of full scale has 1: 80 dB down. Far below it sums in float32 are noise."""


def centres_hz() -> npt.NDArray[np.float64]:
    """(BANDS,), evenly spaced on O'Shaughnessy's mel scale."""
    lowest, highest = 2595 * np.log10(1 + np.array([LOWEST_HZ, HIGHEST_HZ]) / 700)
    return np.asarray(700 * (10 ** (np.linspace(lowest, highest, BANDS) / 2595) - 1))


def kernel() -> Floats:
    """(TAPS, 2 * BANDS): the bands' cosines, then their sines; a sine of amplitude 1 on a band's centre has power 1."""
    centre_hz = centres_hz()
    width_hz = np.gradient(centre_hz)
    # What the window makes of a steady tone is wide enough for the low bands.
    sweep_hz = np.maximum(width_hz - 1.5 * RATE_HZ / TAPS, 0)
    n = (np.arange(TAPS) - (TAPS - 1) / 2)[:, None]
    window = 0.5 + 0.5 * np.cos(2 * np.pi * n / TAPS)
    phase = 2 * np.pi * (centre_hz * n + sweep_hz * n**2 / (2 * TAPS)) / RATE_HZ
    pair = window * np.exp(1j * phase)
    tone = np.exp(-2j * np.pi * centre_hz * n / RATE_HZ)
    pair *= 2 / np.abs((pair * tone).sum(axis=0))
    return np.concatenate([pair.real, pair.imag], axis=1).astype(np.float32)


def pairs(signal: Floats) -> Floats:
    """(samples,) -> (frames, 2 * BANDS), a frame for every FRAME_SAMPLES; what is left over at the end is dropped.

    Frame k is centred on the samples from ``k * FRAME_SAMPLES`` on; the signal is zero outside.
    """
    frames = len(signal) // FRAME_SAMPLES
    before = (TAPS - FRAME_SAMPLES) // 2
    padded = np.pad(signal[: frames * FRAME_SAMPLES], before)
    windows = np.lib.stride_tricks.sliding_window_view(padded, TAPS)[::FRAME_SAMPLES]
    return np.asarray(windows @ kernel(), np.float32)


def compressed(filtered: Floats) -> Floats:
    """What ``pairs`` gives, (..., 2 * BANDS), as levels (..., BANDS)."""
    squares = np.square(filtered)
    power = squares[..., :BANDS] + squares[..., BANDS:] + np.float32(FLOOR)
    return np.asarray(np.sqrt(np.sqrt(np.sqrt(power))), np.float32)


def levels(signal: Floats) -> Floats:
    """(samples,) -> (frames, BANDS)."""
    return compressed(pairs(signal))


def front_end(window_frames: int) -> Any:
    """The same as a Keras model from (window_frames * FRAME_SAMPLES, 1) to (window_frames, BANDS), nothing to train."""
    import keras

    inputs = keras.Input((window_frames * FRAME_SAMPLES, 1), name="inputs")
    filters = keras.layers.Conv1D(2 * BANDS, TAPS, strides=FRAME_SAMPLES, padding="same", use_bias=False)
    pairs = keras.ops.square(filters(inputs))
    filters.set_weights([kernel()[:, None]])
    power = pairs[..., :BANDS] + pairs[..., BANDS:] + FLOOR
    return keras.Model(inputs, keras.ops.sqrt(keras.ops.sqrt(keras.ops.sqrt(power))))
