"""The resampler: nothing lost, nothing shifted in time, the same however it is fed."""

from __future__ import annotations

import numpy as np
import pytest

from tcnstream.errors import SignalError
from tcnstream.signal.resample import Resampler

RATES = [(360, 250), (500, 250), (128, 250), (250, 250), (16000, 8000)]


def run(from_hz: int, to_hz: int, x: np.ndarray, chunk: int, quality: str = "HQ") -> np.ndarray:
    resampler = Resampler(from_hz, to_hz, x.shape[1], quality)
    pieces = [resampler.push(x[at : at + chunk]) for at in range(0, len(x), chunk)]
    return np.concatenate([*pieces, resampler.flush()])


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_every_frame_stands_for_its_time(from_hz: int, to_hz: int) -> None:
    frames = 10 * from_hz
    x = np.sin(2 * np.pi * 5 * np.arange(frames) / from_hz).astype(np.float32)[:, None]
    y = run(from_hz, to_hz, x, 100)
    assert len(y) == pytest.approx(frames * to_hz / from_hz, abs=1)
    expected = np.sin(2 * np.pi * 5 * np.arange(len(y)) / to_hz)
    inner = slice(len(y) // 4, -len(y) // 4)
    # A shift by a hundredth of a sample of 250 Hz would be 1.3e-3.
    np.testing.assert_allclose(y[inner, 0], expected[inner], atol=2e-5)


@pytest.mark.parametrize("chunk", [1, 7, 999, 4000])
def test_any_cut_gives_the_same_bits(chunk: int) -> None:
    x = np.random.default_rng(1).normal(size=(3000, 2)).astype(np.float32)
    np.testing.assert_array_equal(run(360, 250, x, chunk), run(360, 250, x, len(x)))


def test_delay_is_what_was_held_back() -> None:
    resampler = Resampler(360, 250)
    out = len(resampler.push(np.zeros((3600, 1), np.float32)))
    assert resampler.delay_s == pytest.approx(10 - out / 250)
    resampler.flush()
    assert resampler.delay_s == pytest.approx(0, abs=1 / 250)


def test_low_latency_waits_for_less_than_ten_milliseconds() -> None:
    resampler = Resampler(360, 250, quality="QQ")
    resampler.push(np.zeros((360, 1), np.float32))
    assert resampler.delay_s < 0.01


def test_equal_rates_pass_at_once() -> None:
    x = np.ones((3, 1), np.float32)
    resampler = Resampler(250, 250)
    np.testing.assert_array_equal(resampler.push(x), x)
    assert resampler.delay_s == 0 and len(resampler.flush()) == 0


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), float("inf")])
def test_impossible_rates_are_refused(rate_hz: float) -> None:
    with pytest.raises(SignalError, match="cannot be converted"):
        Resampler(rate_hz, 250)
