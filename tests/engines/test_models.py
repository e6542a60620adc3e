"""One file of each model family, unmodified, against its offline answer by the TFLite reference kernels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from helpers.contract import assert_frames, open_stream, verify_contract, verify_reach
from helpers.oracle import reference_kernels
from helpers.paths import MODELS

import tcnstream
from tcnstream import EngineError, Model, NotStreamableError, StreamError
from tcnstream.compiler.timing import timings
from tcnstream.engines.base import ENGINES
from tcnstream.tflite.graph import Array

NAMES = sorted(path.stem for path in MODELS.glob("*.tflite"))


@dataclass(frozen=True)
class Example:
    """A file and what it answers on one signal of its window's length, without the batch axis."""

    model: Model
    content: bytes
    x: Array
    y: Array
    streamable: str


@cache
def example(name: str) -> Example:
    path = MODELS / f"{name}.tflite"
    with np.load(MODELS / f"{name}.npz") as arrays:
        meta = json.loads(str(arrays["meta"]))
        x, y = arrays["x"][0], arrays["y"]
    return Example(tcnstream.load(path), path.read_bytes(), x, y, meta["streamable"])


def of_kind(*kinds: str) -> list[str]:
    return [name for name in NAMES if example(name).streamable in kinds]


EXACT = of_kind("exact")


def test_every_family_is_here() -> None:
    assert len(NAMES) >= 30
    assert {example(name).streamable for name in NAMES} == {"exact", "exact-last", "policy"}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", EXACT)
def test_streams_exactly(name: str, engine: str) -> None:
    it = example(name)
    verify_contract(it.model, it.x, it.y[0], engine=engine)


def overlap_save(model: Model, content: bytes, signal: Array) -> Array:
    """The offline answer over a signal longer than the window: the file itself, slid over it.

    Of each position the frames count that depend on no edge but the signal's own. Positions keep the
    phase of the strides.
    """
    window, plan = model.window_frames, model.plan
    timing = timings(plan)[plan.outputs[0]]
    assert timing is not None
    hop = int(timing.period * timing.step)
    last = len(signal) - window
    assert last % hop == 0
    parts: dict[int, Array] = {}
    for begin in (*range(0, last, hop * max(1, window // 4 // hop)), last):
        (y,) = reference_kernels(content, [signal[None, begin : begin + window]])
        for j, frame in enumerate(y[0]):
            left_is_real = begin == 0 or timing.oldest(j) >= 0
            right_is_real = begin == last or timing.newest(j) < window
            if left_is_real and right_is_real:
                parts.setdefault(j + int(begin / timing.step), frame)
    assert sorted(parts) == list(range(len(parts)))
    return np.stack([parts[j] for j in range(len(parts))])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", EXACT)
def test_streams_exactly_beyond_the_window(name: str, engine: str) -> None:
    it = example(name)
    rng = np.random.default_rng(1)
    signal = np.concatenate([it.x, it.x[::-1], rng.permutation(it.x)[: len(it.x) // 2]])
    expected = overlap_save(it.model, it.content, signal)
    stream = open_stream(it.model, engine=engine)
    for size in (len(signal), 7, 333):
        stream.reset()
        made = [stream.push(signal[k : k + size]) for k in range(0, len(signal), size)]
        made.append(stream.flush())
        assert_frames((np.concatenate(made),), (expected,), 1e-5, f"chunks of {size}")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", of_kind("exact-last"))
def test_a_head_on_the_last_frame_answers_at_every_frame(name: str, engine: str) -> None:
    it = example(name)
    # The answer at frame n is the file's answer on a signal that ends there; before it starts there is nothing,
    # which the file cannot be told, so only the frames count that do not look so far back.
    window, field = it.model.window_frames, it.model.receptive_field
    assert field is not None and field < window
    signal = np.concatenate([it.x, it.x[: window // 2]])
    stream = open_stream(it.model, engine=engine)
    made = np.concatenate([stream.push(signal), stream.flush()])
    assert len(made) == len(signal)
    assert_frames((made[window - 1 : window],), (it.y,), 1e-5, "the last frame of the window")
    for end in (field, window, window + 7, len(signal)):
        padded = np.concatenate([np.zeros_like(it.x), signal[:end]])[-window:]
        if end >= window:
            (y,) = reference_kernels(it.content, [padded[None]])
            assert_frames((made[end - 1 : end],), (y,), 1e-5, f"the answer after {end} frames")
    verify_contract(it.model, signal, made, engine=engine)


def integer_models_that_tflm_ran() -> list[str]:
    """nse_mb_d2b2 is not among them: there TFLite Micro computes a dilated depthwise convolution wrongly."""
    ran = []
    for name in EXACT:
        with np.load(MODELS / f"{name}.npz") as arrays:
            if "y_tflm" in arrays and name.partition(".")[2].startswith("i") and name != "nse_mb_d2b2.i8":
                ran.append(name)
    return ran


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("name", integer_models_that_tflm_ran())
def test_with_its_rounding_the_answer_is_tflite_micro_s(name: str, engine: str) -> None:
    it = example(name)
    with np.load(MODELS / f"{name}.npz") as arrays:
        expected = arrays["y_tflm"].reshape(it.y[0].shape)
    # How a signal may be cut does not hang on the rounding; test_streams_exactly has all of that.
    stream = open_stream(it.model, engine=engine, rounding="tflm")
    for size in (len(it.x), 97):
        stream.reset()
        made = [stream.push(it.x[k : k + size]) for k in range(0, len(it.x), size)]
        assert_frames((np.concatenate([*made, stream.flush()]),), (expected,), 0.0, f"chunks of {size}")


def test_the_two_roundings_differ_and_do_not_share_snapshots() -> None:
    it = example("causal.i16")
    once, twice = (it.model.stream(rounding=rounding) for rounding in ("litert", "tflm"))
    assert (once.push(it.x) != twice.push(it.x)).any()
    with pytest.raises(StreamError, match="snapshot"):
        once.restore(twice.snapshot())
    with pytest.raises(EngineError, match="rounds as LiteRT does"):
        it.model.stream("interpreter", rounding="tflm")
    with pytest.raises(StreamError, match="rounding='up' is unknown; use 'litert' or 'tflm'"):
        it.model.stream(rounding="up")


@pytest.mark.parametrize("name", of_kind("policy"))
def test_statistics_over_all_time_are_refused_by_name(name: str) -> None:
    it = example(name)
    assert it.model.needs_time_pooling
    for engine in (*ENGINES, "auto"):
        with pytest.raises(NotStreamableError) as refusal:
            it.model.stream(engine=engine)
        text = str(refusal.value)
        assert text.startswith("`MEAN` (op ")
        assert f"averages all {it.model.window_frames} frames" in text
        for way_out in ("time_pooling=", "'trailing'", "'cumulative'", "'frozen'", "end the model before it"):
            assert way_out in text


@pytest.mark.parametrize("name", [name for name in EXACT if name.endswith("f32") or name.endswith("f16")])
def test_delay_and_receptive_field_are_reached(name: str) -> None:
    it = example(name)
    rng = np.random.default_rng(2)
    field = it.model.receptive_field
    assert field is not None
    frames = min(len(it.x), 3 * field + 64)
    frames -= (frames - it.model.window_frames) % 64
    signal = rng.normal(0, 1, (frames, *it.x.shape[1:])).astype(np.float32)
    verify_reach(open_stream(it.model, engine="reference"), (signal,))
