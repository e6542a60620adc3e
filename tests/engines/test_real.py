"""The arithmetic around a plan: the compiled core gives NumPy's and Python's bits, and takes only what it should."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from helpers.draws import drawn
from hypothesis import given
from hypothesis import strategies as st

from tcnstream.engines.native import real
from tcnstream.errors import StreamError
from tcnstream.model import load
from tcnstream.signal import likelihood
from tcnstream.signal.card import shipped_models
from tcnstream.signal.filters import Clip, FilterChain, Gain, Offset, Sos
from tcnstream.signal.likelihood import PARTS, exponential, label_runs
from tcnstream.spec import TensorSpec
from tcnstream.tflite.graph import Quantization

pytest.importorskip("tcnstream._native", reason="the core was not built")

DTYPES = (np.int8, np.uint8, np.int16)
EDGES = [0.0, -0.0, np.inf, -np.inf, 1e-40, 3.4e38, -3.4e38, 2.0**23, 2.0**31, -(2.0**31)]


def port(dtype: npt.DTypeLike, scale: float, zero_point: int) -> TensorSpec:
    quantization = Quantization(np.array([scale], np.float32), np.array([zero_point]), 0)
    return TensorSpec("x", (3,), np.dtype(dtype), quantization, Fraction(1))


def without_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "_core", lambda: None)


@drawn(60)
@given(
    dtype=st.sampled_from(DTYPES),
    scale=st.floats(2.0**-20, 1024, width=32),
    zero_point=st.integers(-128, 255),
    values=st.lists(st.one_of(st.floats(allow_nan=False, width=32), st.sampled_from(EDGES)), max_size=40),
)
def test_integers_and_back_have_the_bits_of_numpy(
    dtype: npt.DTypeLike, scale: float, zero_point: int, values: list[float]
) -> None:
    spec = port(dtype, scale, zero_point)
    halves = (np.arange(-20, 20, dtype=np.float32) + np.float32(0.5)) * np.float32(scale)
    x = np.concatenate([np.array(values, np.float32), halves])
    with np.errstate(over="ignore"), pytest.MonkeyPatch.context() as patch:
        raw, back = spec.quantize(x), spec.dequantize(spec.quantize(x))
        assert real.quantize(x, spec.dtype, scale, zero_point) is not None
        without_core(patch)
        np.testing.assert_array_equal(raw, spec.quantize(x))
        np.testing.assert_array_equal(back.view(np.int32), spec.dequantize(raw).view(np.int32))


def test_what_has_no_integer_is_left_to_numpy() -> None:
    spec = port(np.int8, 0.1, 3)
    with pytest.raises(StreamError, match="frame 1 of the chunk holds NaN"):
        spec.quantize(np.array([0.0, np.nan], np.float32))
    assert real.quantize(np.zeros(3), spec.dtype, 0.1, 3) is None
    assert real.quantize(np.zeros((4, 4), np.float32)[:, ::2], spec.dtype, 0.1, 3) is None
    assert real.quantize(np.zeros(3, np.float32), spec.dtype, 0.0, 3) is None
    assert real.is_finite(np.zeros(3)) is None
    assert real.is_finite(np.array([0, np.inf], np.float32)) is False


def test_a_card_s_filters_have_the_bits_of_python() -> None:
    section = (0.3, -0.2, 0.1, 2.0, -0.4, 0.7)
    filters = (Offset(0.1), Sos((section, section), start="steady"), Gain(1.7), Sos((section,)), Clip(-0.5, 0.5))
    x = np.random.default_rng(1).normal(0, 1, (700, 2)).astype(np.float32)
    quick, plain = FilterChain(filters, 2), FilterChain(filters, 2)
    for cut in np.split(x, [1, 2, 130, 400]):
        made = quick.push(cut)
        with pytest.MonkeyPatch.context() as patch:
            without_core(patch)
            np.testing.assert_array_equal(made.view(np.int32), plain.push(cut).view(np.int32))
        assert quick.snapshot() == plain.snapshot()


@pytest.mark.parametrize("name", ["ecg", "ecg.f32", "speech"])
def test_a_push_of_one_array_is_the_push_of_the_others(name: str) -> None:
    model = load(shipped_models()[name])
    (spec,) = model.inputs
    quick, plain = model.stream(engine="native"), model.stream(engine="native", keep_tail=True)
    rng = np.random.default_rng(2)
    for frames in (1, 0, 5, 1, 300, 7, 1, 2000):
        x = rng.normal(0, 1, (frames, *spec.shape)).astype(np.float32)
        for chunk in (x, x if spec.quantization is None else spec.quantize(x)):
            made, expected = quick.push(chunk), plain.push(chunk)
            assert made.dtype == expected.dtype and made.shape == expected.shape
            np.testing.assert_array_equal(made, expected)
    np.testing.assert_array_equal(quick.flush(), plain.flush())
    with pytest.raises(StreamError, match="after flush"):
        quick.push(x)


def test_a_push_that_is_refused_moves_nothing() -> None:
    model = load(shipped_models()["ecg"])
    stream = model.stream(engine="native")
    for chunk, why in (
        (np.zeros((3, 2), np.float32), "takes chunks of shape"),
        (np.zeros(3, np.float32), "takes chunks of shape"),
        (np.zeros((3, 1)), "convert the chunk"),
        (np.array([[0], [np.nan]], np.float32), "frame 1 of the chunk holds NaN"),
    ):
        with pytest.raises(StreamError, match=why):
            stream.push(chunk)
    assert stream.frames_in == 0


@drawn(60)
@given(
    values=st.lists(st.one_of(st.floats(width=32), st.sampled_from(EDGES), st.floats(-9, 9, width=32)), max_size=60),
    marks=st.integers(0, 2),
    background=st.integers(-1, 2),
    probabilities=st.booleans(),
)
def test_runs_have_the_bits_of_numpy(values: list[float], marks: int, background: int, probabilities: bool) -> None:
    frames = np.repeat(np.resize(np.array([*values, 1.5], np.float32), (12, 3 + marks)), [1, 2, 9] * 4, axis=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likelihood, "_LONGEST_FRAMES", 4)
        quick = label_runs(frames, 3, background, probabilities)
        assert real.label_runs(frames, 3, background, probabilities, PARTS, 4) == quick
        without_core(patch)
        assert label_runs(frames, 3, background, probabilities) == quick
    assert sum(count for _, count, *_ in quick) == len(frames) and max(count for _, count, *_ in quick) <= 4


def test_the_exponential_is_that_of_numpy_but_for_the_last_bits() -> None:
    x = np.concatenate([np.linspace(-700, 700, 20_001), np.linspace(-1, 1, 2_001), [-1e300, 1e300]])
    np.testing.assert_allclose(exponential(x), np.exp(np.clip(x, -700, 700)), rtol=4e-16, atol=0)
    assert exponential(np.zeros(1))[0] == 1
