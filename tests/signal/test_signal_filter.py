"""SignalFilter against the definition, the contract of every stream, and SciPy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers.contract import assert_frames, verify_contract
from helpers.signal_definition import definition, golden
from hypothesis import given, settings
from hypothesis import strategies as st

from tcnstream import EngineError, ModelError, Pool, SignalFilter, Stream, StreamError
from tcnstream.engines.base import ENGINES
from tcnstream.filters.polyphase import PADDINGS
from tcnstream.filters.signal_filter import low_pass
from tcnstream.measure.compare import chunk_sizes
from tcnstream.tflite.graph import Array


def streamed(it: SignalFilter, x: Array, sizes: list[int]) -> Array:
    ends = np.cumsum(sizes)
    return np.concatenate([*(it.push(x[e - n : e]) for n, e in zip(sizes, ends, strict=True)), it.flush()])


@dataclass
class AsModel:
    """What ``verify_contract`` asks a model for."""

    make: Callable[..., SignalFilter]
    plan: None = None
    state_bytes: int = 0

    def stream(self, engine: str, keep_tail: bool = False) -> Stream:
        stream = self.make(engine=engine)._stream
        return Stream(stream.executor, stream.inputs, stream.outputs, stream.identity, keep_tail=keep_tail)

    def pool(self, lanes: int, engine: str) -> Pool:
        it = self.stream(engine)
        return Pool([it.another() for _ in range(lanes)])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("up", "down"), [(1, 1), (1, 3), (3, 1), (3, 2), (2, 3), (4, 2)])
def test_holds_the_contract(up: int, down: int, padding: str, engine: str) -> None:
    rng = np.random.default_rng(up + down)
    for separable in (True, False):
        kernel = rng.normal(size=(6, 2, 3)).astype(np.float32)
        bias = rng.normal(size=6 if separable else 3).astype(np.float32)
        options: dict[str, Any] = dict(
            strides_up=up, strides_down=down, padding=padding, corr=separable, channel_separable=separable
        )
        x = rng.normal(size=(31, 2)).astype(np.float32)
        y = definition(x, kernel, bias, **options).astype(np.float32)
        model = AsModel(lambda engine, k=kernel, b=bias, o=options: SignalFilter(k, bias=b, engine=engine, **o))
        verify_contract(model, x, y, engine=engine, chunkings=1)  # type: ignore[arg-type]


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "corr": st.booleans(),
            "strides_down": st.integers(1, 5),
            "strides_up": st.integers(1, 5),
            "padding": st.sampled_from(PADDINGS),
            "extra_pad_end": st.sampled_from([None, True, False]),
        }
    ),
    st.integers(1, 9),
    st.integers(9, 40),
    st.one_of(st.none(), st.integers(1, 3)),
    st.integers(0, 99),
)
def test_any_arguments(arguments: dict[str, Any], support: int, frames: int, channels: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=support).astype(np.float32)
    x = rng.normal(size=frames if channels is None else (frames, channels)).astype(np.float32)
    it = SignalFilter(kernel, channels=channels, **arguments)
    y = streamed(it, x, chunk_sizes(frames, rng))
    each = np.broadcast_to(kernel[:, None, None], (support, channels or 1, 1))
    expected = definition(x.reshape(frames, -1), each, channel_separable=True, **arguments)
    assert it.frames_out(frames) == len(expected)
    assert it.rate == Fraction(arguments["strides_up"], arguments["strides_down"])
    assert_frames((y,), ((expected[:, 0] if channels is None else expected).astype(np.float32),), 1e-5, "filtered")


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.booleans(), st.integers(1, 9), st.integers(1, 9), st.integers(1, 30))
def test_a_frame_comes_with_the_last_frame_that_it_reads(corr: bool, up: int, down: int, support: int) -> None:
    it = SignalFilter(np.ones(support), corr=corr, strides_up=up, strides_down=down)
    came = [i for i in range(60) for _ in it.push(np.zeros(1))]
    after = support - 1 - support // 2 if corr else support // 2
    assert came == [(down * j + after) // up for j in range(len(came))] and len(came) > 1
    assert it.delay == max((down * j + after) // up - down * j // up for j in range(up))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("extra_pad_end", [True, False])
@pytest.mark.parametrize(("up", "down"), [(2, 13), (5, 24), (15, 14)])
def test_ratios_of_which_few_phases_are_kept(up: int, down: int, padding: str, extra_pad_end: bool) -> None:
    """Those alone are computed, and only when each is due."""
    rng = np.random.default_rng(up)
    for separable in (True, False):
        kernel = rng.normal(size=(2 * up + separable, 2, 3)).astype(np.float32)
        bias = rng.normal(size=6 if separable else 3).astype(np.float32)
        options: dict[str, Any] = dict(
            strides_up=up, strides_down=down, padding=padding, corr=separable, channel_separable=separable
        )
        options["extra_pad_end"] = extra_pad_end
        x = rng.normal(size=(61, 2)).astype(np.float32)
        y = definition(x, kernel, bias, **options).astype(np.float32)
        model = AsModel(lambda engine, k=kernel, b=bias, o=options: SignalFilter(k, bias=b, engine=engine, **o))
        it = model.make("auto")
        assert (it.rate, it.frames_out(61)) == (Fraction(up, down), len(y))
        for engine in ENGINES:
            verify_contract(model, x, y, engine=engine, chunkings=1)  # type: ignore[arg-type]


def test_equal_to_the_layer() -> None:
    for case in golden():
        if case.y is None or case.kernel is None:
            continue
        it = SignalFilter(case.kernel, bias=case.bias, **case.of_definition)
        for x, y in zip(case.x, case.y, strict=True):
            assert_frames((streamed(it, x, [4, len(x) - 4]),), (y,), 1e-5, str(case.config))
            it.reset()


class TestAgainstScipy:
    @pytest.fixture
    def scipy_signal(self) -> Any:
        return pytest.importorskip("scipy.signal", reason="SciPy is the judge (extra `train`)")

    @pytest.mark.parametrize(("up", "down"), [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2), (2, 3), (5, 7)])
    @pytest.mark.parametrize("support", [1, 2, 8, 31])
    def test_upfirdn(self, scipy_signal: Any, up: int, down: int, support: int) -> None:
        rng = np.random.default_rng(support)
        x, kernel = rng.normal(size=(100, 2)).astype(np.float32), rng.normal(size=support)
        y = streamed(SignalFilter(kernel, channels=2, strides_up=up, strides_down=down), x, [33, 0, 1, 66])
        # SciPy answers from the kernel's first weight on, as far as the kernel reaches.
        whole = scipy_signal.upfirdn(kernel, x, up, 1, axis=0)[support // 2 :]
        beyond = np.zeros((max(0, 100 * up - len(whole)), 2))
        expected = np.concatenate([whole, beyond])[: 100 * up : down].astype(np.float32)
        assert_frames((y,), (expected,), 1e-5, "upfirdn")

    @pytest.mark.parametrize(("up", "down"), [(1, 1), (1, 2), (1, 6), (4, 1), (3, 2), (4, 6), (25, 36), (160, 441)])
    @pytest.mark.parametrize("frames", [1, 100, 997])
    def test_resample_poly(self, scipy_signal: Any, up: int, down: int, frames: int) -> None:
        x = np.random.default_rng(frames).normal(size=frames).astype(np.float32)
        it = SignalFilter.resampler(up, down)
        expected = scipy_signal.resample_poly(x, up, down)
        assert_frames((streamed(it, x, [frames // 3, frames - frames // 3]),), (expected,), 1e-5, "resample_poly")
        assert it.rate == Fraction(up, down)

    def test_design(self, scipy_signal: Any) -> None:
        expected = scipy_signal.firwin(2 * 4 * 7 + 1, 1 / 4, window=("kaiser", 8.0))
        np.testing.assert_allclose(low_pass(4, 7, 8.0), expected, atol=1e-12)


def sine(hz: float, rate_hz: float = 16000, frames: int = 8000) -> Array:
    return np.sin(2 * np.pi * hz * np.arange(frames) / rate_hz).astype(np.float32)


class TestDecimator:
    def test_passes_what_fits_and_nothing_else(self) -> None:
        it = SignalFilter.decimator(4, zero_crossings=16, beta=8.0, rate_hz=16000)
        low = streamed(it, sine(1000), [8000])
        assert len(low) == 2000
        # Frame j stands at 4 * j, whatever the filter: no shift of phase.
        np.testing.assert_allclose(low[100:-100], sine(1000)[::4][100:-100], atol=2e-3)
        it.reset()
        alias = streamed(it, sine(3000), [8000])
        assert np.abs(alias[100:-100]).max() < 1e-4

    def test_by_two_is_half_band(self) -> None:
        kernel = SignalFilter.decimator(2).kernel
        centre = len(kernel) // 2
        beside = np.delete(kernel[centre % 2 :: 2], centre // 2)
        assert np.abs(beside).max() < 1e-8 < np.abs(kernel[centre]) and abs(kernel[centre] - 0.5) < 1e-3

    def test_delay_and_rate(self) -> None:
        it = SignalFilter.decimator(4, zero_crossings=5, rate_hz=8000)
        assert (it.rate, it.delay, it.delay_s) == (Fraction(1, 4), 20, 0.0025)
        assert [len(it.push(np.zeros(1))) for _ in range(26)] == [0] * 20 + [1, 0, 0, 0, 1, 0]
        with pytest.raises(StreamError, match="give rate_hz"):
            _ = SignalFilter.decimator(4).delay_s

    def test_a_constant_stays(self) -> None:
        for up, down in ((1, 3), (3, 1), (3, 2)):
            y = streamed(SignalFilter.resampler(up, down), np.ones(400, np.float32), [400])
            np.testing.assert_allclose(y[len(y) // 3 : -len(y) // 3], 1, atol=2e-3)


class TestStream:
    def test_times(self) -> None:
        it = SignalFilter.resampler(2, 3, rate_hz=100.0)
        y = it.push(np.zeros(100))
        np.testing.assert_allclose(it.times(y), np.arange(len(y)) * 0.015)
        tail = it.flush()
        np.testing.assert_allclose(it.times(tail), np.arange(len(y), len(y) + len(tail)) * 0.015)
        np.testing.assert_allclose(it.times(range(3), rate_hz=1.0), [0, 1.5, 3])

    @pytest.mark.parametrize("support", [4, 5])
    @pytest.mark.parametrize("corr", [True, False])
    def test_times_of_valid(self, support: int, corr: bool) -> None:
        """The kernel's centre stands at support // 2: an impulse there comes out where it went in."""
        kernel = np.zeros(support)
        kernel[support // 2] = 1
        it = SignalFilter(kernel, padding="valid", corr=corr, strides_up=3, rate_hz=1.0, channels=1)
        x = np.zeros((20, 1))
        x[7] = 1
        y = np.concatenate([it.push(x), it.flush()])
        assert it.times(y)[np.argmax(y[:, 0])] == 7

    def test_any_numbers(self) -> None:
        it = SignalFilter([1, 2, 1])
        for kind in (np.int16, np.float64, np.uint8, np.float32):
            it.reset()
            y = np.concatenate([it.push(np.array([1, 2, 3], kind)), it.flush()])
            np.testing.assert_array_equal(y, [4, 8, 8])
            assert y.dtype == np.float32

    def test_a_snapshot_continues_in_another_engine(self) -> None:
        x = np.random.default_rng(0).normal(size=(60, 2))
        expected = None
        for first in ENGINES:
            for second in ENGINES:
                try:
                    it, other = (SignalFilter.resampler(3, 2, channels=2, engine=e) for e in (first, second))
                except EngineError as error:
                    pytest.skip(str(error))
                begun = it.push(x[:31])
                other.restore(it.snapshot())
                assert other.frames_in == 31 and other.state_bytes == it.state_bytes > 0
                y = np.concatenate([begun, other.push(x[31:]), other.flush()])
                expected = y if expected is None else expected
                assert_frames((y,), (expected,), 1e-5, f"{first} to {second}")
        with pytest.raises(StreamError, match="snapshot"):
            SignalFilter.resampler(3, 2, channels=2, beta=4.0).restore(it.snapshot())

    def test_the_end(self) -> None:
        it = SignalFilter(np.ones(9), padding="same_reflect")
        it.push(np.ones(4))
        with pytest.raises(StreamError):
            it.flush()
        y = np.concatenate([it.push(np.ones(1)), it.flush()])
        np.testing.assert_array_equal(y, [9] * 5)
        with pytest.raises(StreamError, match="push after flush"):
            it.push(np.ones(1))

    @pytest.mark.parametrize(("up", "down"), [(1, 1), (1, 2), (3, 2)])
    def test_what_is_not_finite_stays_so(self, up: int, down: int) -> None:
        for engine in ENGINES:
            try:
                it = SignalFilter([1.0, 2.0, 4.0], strides_up=up, strides_down=down, engine=engine)
            except EngineError as error:
                pytest.skip(str(error))
            for value in (np.inf, -np.inf, np.nan):
                x = np.ones(40)
                x[20] = value
                y = streamed(it, x, [20, 20])
                it.reset()
                clean = streamed(it, np.ones(40), [40])
                it.reset()
                spoilt = ~np.isfinite(y)
                assert 0 < spoilt.sum() <= 3
                np.testing.assert_array_equal(y[~spoilt], clean[~spoilt])

    def test_engines(self) -> None:
        assert SignalFilter([1.0], engine="reference").engine == "reference"
        with pytest.raises(StreamError, match="engine='fast' is unknown"):
            SignalFilter([1.0], engine="fast")

    @pytest.mark.parametrize(
        ("chunk", "sentence"),
        [
            (np.zeros((3, 1)), r"takes chunks of shape \(n,\) and got \(3, 1\)"),
            (np.zeros((3, 1, 1)), r"takes chunks of shape \(n,\) and got \(3, 1, 1\)"),
            (np.zeros(3, complex), "takes real numbers and got complex128"),
            (["a"], "takes real numbers and got <U1"),
        ],
    )
    def test_bad_chunks(self, chunk: Any, sentence: str) -> None:
        it = SignalFilter([1.0])
        it.push([1.0, 2.0])
        with pytest.raises(StreamError, match=sentence):
            it.push(chunk)

    def test_the_first_chunk_says_how_many_channels(self) -> None:
        kernel, rng = [1.0, 2.0, 3.0], np.random.default_rng(0)
        it = SignalFilter(kernel, strides_down=2)
        for shape in ((9, 3), (9,), (9, 1)):
            it.reset()
            x = rng.normal(size=shape)
            it.push(x[:0])
            y = np.concatenate([it.push(x[:4]), it.push(x[4:]), it.flush()])
            assert y.shape == (5, *shape[1:])
            expected = definition(
                x.reshape(9, -1),
                np.broadcast_to(np.reshape(kernel, (3, 1, 1)), (3, x.size // 9, 1)),
                strides_down=2,
                padding="same_zeros",
                channel_separable=True,
            )
            np.testing.assert_allclose(y.reshape(5, -1), expected, atol=1e-5)
        with pytest.raises(StreamError, match="push after flush"):
            it.push(np.zeros((3, 2)))
        it.reset()
        with pytest.raises(StreamError, match="without channels"):
            it.push(np.zeros((3, 0)))
        it.flush()
        with pytest.raises(StreamError, match="push after flush"):
            it.push(np.zeros((3, 2)))

    def test_a_snapshot_says_how_many_channels(self) -> None:
        first, second = SignalFilter([1.0, 2.0]), SignalFilter([1.0, 2.0])
        first.push(np.ones((3, 2)))
        blob = first.snapshot()
        second.restore(blob)
        np.testing.assert_array_equal(second.push(np.ones((3, 2))), first.push(np.ones((3, 2))))
        for bad in (b"", blob[:9], b"x" + blob[1:], blob[:8] + b"\xff" * 4 + blob[12:], blob[:-1]):
            with pytest.raises(StreamError):
                second.restore(bad)
        with pytest.raises(StreamError, match="of a filter with 2 channels, and this one has 1"):
            SignalFilter([1.0, 2.0], channels=1).restore(blob)
        assert second.push(np.ones((1, 2))).shape == (1, 2)

    def test_wrong_channels(self) -> None:
        with pytest.raises(StreamError, match=r"takes chunks of shape \(n, 2\) and got \(3,\)"):
            SignalFilter([1.0], channels=2).push(np.zeros(3))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"kernel": np.ones((3, 3))}, r"a kernel of shape \(3, 3\); \(support,\) or"),
        ({"kernel": []}, r"a kernel of shape \(0,\)"),
        ({"kernel": [1, np.nan]}, "kernel should be an array of finite numbers"),
        ({"kernel": "fir"}, "kernel should be an array of finite numbers"),
        ({"kernel": [1], "strides_down": 0}, "strides_down = 0; it should be a whole number"),
        ({"kernel": [1], "channels": 0}, "channels = 0; it should be a whole number"),
        ({"kernel": [1], "corr": "no"}, "corr = 'no'; it should be True or False"),
        ({"kernel": [1], "channel_separable": 2}, "channel_separable = 2; it should be True or False"),
        ({"kernel": [1], "extra_pad_end": "yes"}, "extra_pad_end = 'yes'; it should be True or False"),
        ({"kernel": [1], "padding": "same"}, "padding = 'same'; it should be one of"),
        ({"kernel": np.ones((3, 2, 1)), "channels": 3}, "channels = 3, and the kernel is for 2"),
        ({"kernel": np.ones((3, 2, 1)), "bias": [1, 2]}, r"bias has shape \(2,\); \(1,\) is needed here"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=f"SignalFilter: {sentence}"):
        SignalFilter(**arguments)


@pytest.mark.parametrize("beta", [-1.0, np.nan, np.inf, "kaiser"])
def test_bad_windows(beta: Any) -> None:
    with pytest.raises(ModelError, match=r"SignalFilter: beta = .*; it should be a number from 0 on"):
        SignalFilter.resampler(1, 2, beta=beta)


@pytest.mark.parametrize("rate_hz", [0, -1.0, np.nan, np.inf, "16k"])
def test_bad_rates(rate_hz: Any) -> None:
    with pytest.raises(StreamError, match=r"rate_hz = .*; a sample rate is a number above 0"):
        SignalFilter([1.0], rate_hz=rate_hz)
    with pytest.raises(StreamError, match=r"rate_hz = .*; a sample rate is a number above 0"):
        SignalFilter([1.0]).times(range(3), rate_hz=rate_hz)


@pytest.mark.filterwarnings("error")
def test_what_float32_cannot_hold_is_infinite() -> None:
    assert SignalFilter([2.0]).push([1e300, -1e300, 1.0]).tolist() == [np.inf, -np.inf, 2.0]


def test_everything_public_has_a_docstring() -> None:
    for name, member in vars(SignalFilter).items():
        if not name.startswith("_"):
            assert inspect.getdoc(member), name


@pytest.mark.parametrize("blob", [None, "abc", 7])
def test_what_is_no_bytes_is_no_snapshot_of_a_filter(blob: Any) -> None:
    with pytest.raises(StreamError, match="a snapshot is bytes and this is"):
        SignalFilter([1.0, 2.0], channels=1).restore(blob)
