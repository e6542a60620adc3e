"""The rate converter: nothing lost, nothing shifted in time, the same however it is fed."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from tcnstream.errors import SignalError
from tcnstream.signal.rate import RateConverter

RATES = [(360, 250), (500, 250), (128, 250), (250, 250), (16000, 8000)]


def run(from_hz: int, to_hz: int, x: np.ndarray, chunk: int) -> np.ndarray:
    converter = RateConverter(from_hz, to_hz, x.shape[1])
    pieces = [converter.push(x[at : at + chunk]) for at in range(0, len(x), chunk)]
    return np.concatenate([*pieces, converter.flush()])


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
    converter = RateConverter(360, 250)
    out = len(converter.push(np.zeros((3600, 1), np.float32)))
    assert converter.delay_s == pytest.approx(10 - out / 250)
    converter.flush()
    assert converter.delay_s == pytest.approx(0, abs=1 / 250)


def test_low_latency_waits_for_less_than_ten_milliseconds() -> None:
    converter = RateConverter(360, 250, low_latency=True)
    converter.push(np.zeros((360, 1), np.float32))
    assert converter.delay_s < 0.01


def test_equal_rates_pass_at_once() -> None:
    x = np.ones((3, 1), np.float32)
    converter = RateConverter(250, 250)
    np.testing.assert_array_equal(converter.push(x), x)
    assert converter.delay_s == 0 and len(converter.flush()) == 0


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), float("inf")])
def test_impossible_rates_are_refused(rate_hz: float) -> None:
    with pytest.raises(SignalError, match="cannot be converted"):
        RateConverter(rate_hz, 250)


ODD_RATES = [(360, 250), (128, 250), (48000, 16000), (44100, 16000), (333.25, 250), (250, 360.5)]


@pytest.mark.parametrize("low_latency", [False, True])
@pytest.mark.parametrize(("from_hz", "to_hz"), ODD_RATES)
def test_a_constant_stays_one_to_both_edges(from_hz: float, to_hz: float, low_latency: bool) -> None:
    for frames in (1, 2, 17, 700):
        converter = RateConverter(from_hz, to_hz, low_latency=low_latency)
        y = np.concatenate([converter.push(np.full((frames, 1), 5.0, np.float32)), converter.flush()])
        assert len(y) == math.ceil(frames * converter.ratio)
        np.testing.assert_array_equal(y, 5.0)


@pytest.mark.parametrize("low_latency", [False, True])
def test_the_edges_are_held(low_latency: bool) -> None:
    """As if the first and the last sample had always been there."""
    x = np.random.default_rng(2).normal(3.0, 1.0, (400, 1)).astype(np.float32)
    whole = RateConverter(500, 250, low_latency=low_latency)
    y = np.concatenate([whole.push(x), whole.flush()])
    padded = np.concatenate([np.repeat(x[:1], 1000, axis=0), x, np.repeat(x[-1:], 1000, axis=0)])
    longer = RateConverter(500, 250, low_latency=low_latency)
    np.testing.assert_allclose(y, longer.push(padded)[500:700], atol=2e-6)


@pytest.mark.parametrize("low_latency", [False, True])
@pytest.mark.parametrize("at", [0, 1, 500, 1777, 3000])
def test_a_snapshot_continues_in_another_converter_bit_for_bit(at: int, low_latency: bool) -> None:
    x = np.random.default_rng(1).normal(size=(3000, 2)).astype(np.float32)
    first, second = (RateConverter(360, 250, 2, low_latency) for _ in range(2))
    expected = np.concatenate([first.push(x), first.flush()])
    first.reset()
    begun = first.push(x[:at])
    second.push(x[:33])
    second.restore(first.snapshot())
    np.testing.assert_array_equal(np.concatenate([begun, second.push(x[at:]), second.flush()]), expected)


def level_db(from_hz: float, to_hz: float, tone_hz: float) -> float:
    """What is left of a tone, by its power."""
    x = np.sin(2 * np.pi * tone_hz * np.arange(round(12 * from_hz)) / from_hz).astype(np.float32)[:, None]
    converter = RateConverter(from_hz, to_hz)
    y = np.concatenate([converter.push(x), converter.flush()]).astype(np.float64)
    inner = y[len(y) // 4 : -len(y) // 4]
    return float(10 * np.log10(2 * np.mean(inner**2) + 1e-20))


@pytest.mark.parametrize(("from_hz", "to_hz"), [(360, 250), (500, 250), (480, 160)])
def test_what_would_alias_is_held_back_and_the_rest_is_flat(from_hz: float, to_hz: float) -> None:
    edge_hz = to_hz / 2
    assert all(level_db(from_hz, to_hz, part * edge_hz) < -110 for part in (1.02, 1.1, 1.3))
    assert all(abs(level_db(from_hz, to_hz, part * edge_hz)) < 0.002 for part in (0.1, 0.5, 0.8, 0.9))


def test_decimal_rates_are_kept_exactly_and_others_to_the_nearest_ratio() -> None:
    assert RateConverter(44.1, 16).ratio == Fraction(160, 441)
    assert RateConverter(333.25, 250).to_hz == 250.0
    odd = RateConverter(360.12345, 250)
    assert odd.ratio.denominator <= 1 << 12 and odd.to_hz == pytest.approx(250, rel=1e-6)
    assert odd.to_hz == float(Fraction("360.12345") * odd.ratio)
    near = RateConverter(249.99, 250)
    assert near.ratio == 1 and near.to_hz == 249.99 and len(near.push(np.ones((5, 1), np.float32))) == 5
    with pytest.raises(SignalError, match="lie more than 4,096 times apart"):
        RateConverter(1e9, 250)
