"""The preprocessing chain: equal to scipy's filter, exact under any cut, resumable."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from helpers.draws import drawn
from hypothesis import given
from hypothesis import strategies as st

from tcnstream.errors import SignalError
from tcnstream.signal.filters import Clip, Compand, FilterChain, Gain, Offset, Sos

# scipy.signal.butter(2, [0.5, 40], "bandpass", fs=250, output="sos"), rounded.
BANDPASS = (
    (0.1453, 0.2906, 0.1453, 1.0, -0.6697, 0.2523),
    (1.0, -2.0, 1.0, 1.0, -1.98222, 0.98238),
)
CHAIN = (Offset(0.5), Sos(BANDPASS, start="steady"), Gain(2.0), Compand(0.8), Clip(-0.7, 0.7))


def signal(frames: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(frames).normal(1.0, 1.0, (frames, channels)).astype(np.float32)


@pytest.mark.parametrize("start", ["zero", "steady"])
def test_second_order_sections_equal_scipy(start: str) -> None:
    scipy_signal = pytest.importorskip("scipy.signal")
    x = signal(500)
    sos = np.array(BANDPASS)
    state = scipy_signal.sosfilt_zi(sos)[..., None] * x[0] * (start == "steady")
    expected, _ = scipy_signal.sosfilt(sos, x.astype(float), axis=0, zi=state)
    got = FilterChain([Sos(BANDPASS, start=start)]).push(x)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


@drawn(50)
@given(cuts=st.lists(st.integers(0, 40), max_size=12), channels=st.integers(1, 3))
def test_any_cut_gives_the_same_bits(cuts: list[int], channels: int) -> None:
    x = signal(300, channels)
    expected = FilterChain(CHAIN, channels).push(x)
    chain = FilterChain(CHAIN, channels)
    pieces = np.split(x, np.minimum(np.cumsum(cuts, dtype=int), len(x)))
    np.testing.assert_array_equal(np.concatenate([chain.push(piece) for piece in pieces]), expected)


def test_steady_start_has_no_step() -> None:
    constant = np.full((100, 1), 3.0, np.float32)
    highpass = Sos((BANDPASS[1],), start="steady")
    np.testing.assert_allclose(FilterChain([highpass]).push(constant), 0.0, atol=1e-9)
    assert abs(FilterChain([Sos((BANDPASS[1],))]).push(constant)[0, 0]) > 1.0


def test_a_snapshot_continues_in_another_chain_bit_for_bit() -> None:
    x = signal(200, 2)
    first = FilterChain(CHAIN, 2)
    expected = first.push(x)
    first.reset()
    first.push(x[:77])
    second = FilterChain(CHAIN, 2)
    second.restore(first.snapshot())
    np.testing.assert_array_equal(second.push(x[77:]), expected[77:])


def test_a_snapshot_of_another_chain_is_refused() -> None:
    with pytest.raises(SignalError, match="another preprocessing"):
        FilterChain(CHAIN, 2).restore(FilterChain(CHAIN, 1).snapshot())


def test_channels_do_not_mix() -> None:
    x = signal(50, 2)
    both = FilterChain(CHAIN, 2).push(x)
    for channel in range(2):
        alone = FilterChain(CHAIN, 1).push(x[:, channel : channel + 1])
        np.testing.assert_array_equal(both[:, channel : channel + 1], alone)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kind": "sos", "sections": [[1, 0, 0, 0, 0, 0]]}, "a0 = 0"),
        ({"kind": "sos", "sections": [[1, 0, 0, 1, -2, 1]], "start": "steady"}, "no steady state"),
        ({"kind": "sos", "sections": [[1, 0, 0]]}, "length 6"),
        ({"kind": "clip", "low": 1, "high": -1}, "low < high"),
        ({"kind": "gain", "value": 1, "unit": "mV"}, "unknown field `unit`"),
    ],
)
def test_wrong_steps_are_named(fields: dict[str, object], text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=text):
        msgspec.convert(fields, Sos | Gain | Offset | Clip)


def test_companding_keeps_small_values_and_their_order() -> None:
    x = np.array([[0.0], [0.01], [1.0], [-1.0], [5.0], [1e30]], np.float32)
    y = FilterChain([Compand(1.0)]).push(x)[:, 0]
    np.testing.assert_allclose(y, [0, 0.01 / 1.01, 0.5, -0.5, 5 / 6, 1.0], rtol=1e-6)
    few = FilterChain([Compand(0.3)]).push(signal(60))
    np.testing.assert_array_equal(few, FilterChain([Compand(0.3)]).push(np.tile(signal(60), (2, 1)))[:60])
    with pytest.raises(ValueError, match="knee above 0"):
        Compand(0.0)


@pytest.mark.parametrize("channels", [1, 2])
def test_chains_pushed_together_give_what_each_gives_alone(channels: int) -> None:
    rng = np.random.default_rng(5)
    alone = [FilterChain(CHAIN, channels) for _ in range(5)]
    together = [FilterChain(CHAIN, channels) for _ in range(5)]
    for step in range(6):
        chunks = rng.normal(size=(5, 1 + step, channels)).astype(np.float32)
        wanted = np.array([chain.push(chunk) for chain, chunk in zip(alone, chunks, strict=True)])
        if step == 3:  # some go a step of their own, and from a snapshot
            found = np.array([chain.push(chunk) for chain, chunk in zip(together, chunks, strict=True)])
            together[2].restore(together[2].snapshot())
        else:
            made = FilterChain.push_together(together, chunks)
            assert made is not None
            found = made
        np.testing.assert_array_equal(found, wanted)
        assert [chain.snapshot() for chain in together] == [chain.snapshot() for chain in alone]
    together[1].reset()  # one that begins stands apart from the others
    before = [chain.snapshot() for chain in together]
    assert FilterChain.push_together(together, chunks) is None
    assert [chain.snapshot() for chain in together] == before
