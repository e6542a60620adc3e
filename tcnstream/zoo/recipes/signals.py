"""The signal as the ECG networks see it: 250 Hz, without wander, companded, in the steps of int8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tcnstream.signal.filters import FilterChain, Sos

Floats = npt.NDArray[np.float32]

RATE_HZ = 250.0
HIGHPASS_HZ = 0.5
KNEE_MV = 1.0
"""A wave of 50 uV has 7 steps of int8, and the R peak of 5 mV is not cut off."""
LIMIT_MV = 0.85
"""What the input's int8 ends at, companded: 5.7 mV."""
STEP_MV = 2 * LIMIT_MV / 255


def highpass(rate_hz: float) -> Sos:
    """First order, 0.5 Hz, by the bilinear transform; starts in its steady state."""
    k = float(np.tan(np.pi * HIGHPASS_HZ / rate_hz))
    b = 1 / (1 + k)
    return Sos(sections=((b, -b, 0.0, 1.0, -(1 - k) / (1 + k), 0.0),), start="steady")


def conditioned(signal: Floats, rate_hz: float) -> Floats:
    """``signal`` (samples, channels) through the high-pass."""
    filtered: Floats = FilterChain((highpass(rate_hz),), signal.shape[1]).push(np.ascontiguousarray(signal, np.float32))
    return filtered


def companded(signal: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """As the card's ``compand`` does it."""
    x = np.asarray(signal, np.float64)
    return x / (1.0 + np.abs(x) / KNEE_MV)


def quantised(signal: npt.NDArray[np.floating]) -> Floats:
    """Companded, and rounded to the steps of the int8 input."""
    rounded: Floats = (np.round(np.clip(companded(signal), -LIMIT_MV, LIMIT_MV) / STEP_MV) * STEP_MV).astype(np.float32)
    return rounded
