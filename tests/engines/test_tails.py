"""A stream is rebuilt from its newest input frames: ``Stream.tail`` and ``Stream.resume``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.contract import engines_here, garbage

import tcnstream
from tcnstream import Model, StreamError
from tcnstream.compiler.tails import tail_of
from tcnstream.tflite.graph import Array

CONVERTED = Path(__file__).parents[1] / "data" / "converted"
NAMES = (
    "ecg",
    "ecg_fast",
    "k3_dyn_unet",
    "k3_causal_s2.i8",
    "k3_tf_frames",
    "lt_reflect",
    "lt_replicate",
    "k3_two_in",
)


def model_of(name: str) -> Model:
    return tcnstream.load(name if name.startswith("ecg") else CONVERTED / f"{name}.tflite")


def signal_of(model: Model, frames: int, seed: int = 0) -> tuple[Array, ...]:
    rng = np.random.default_rng(seed)

    def values(spec: tcnstream.TensorSpec) -> Array:
        shape = (frames, *spec.shape)
        return rng.normal(size=shape).astype(spec.dtype) if spec.dtype.kind == "f" else garbage(rng, shape, spec.dtype)

    return tuple(values(spec) for spec in model.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_remembered_is_the_same_after_as_few_frames_as_are_said_to_be_needed(name: str) -> None:
    model = model_of(name)
    tail = tail_of(model.plan)
    assert tail is not None
    for engine in engines_here(model):
        for frames in range(tail.least + 5 * tail.period, tail.least + 7 * tail.period, max(1, tail.period // 3)):
            signal = signal_of(model, frames, frames)
            whole = model.stream(engine=engine, keep_tail=True)
            whole.push(*signal)
            resumed = model.stream(engine=engine)
            resumed.resume(whole.tail(), frames)
            assert resumed.snapshot() == whole.snapshot()


@pytest.mark.parametrize("name", NAMES)
def test_one_frame_less_is_refused_and_changes_nothing(name: str) -> None:
    model = model_of(name)
    stream = model.stream()
    needed = stream.tail_frames(5000)
    signal = signal_of(model, 5000)
    stream.push(*signal)
    before = stream.snapshot()
    with pytest.raises(StreamError, match=f"from {needed} of them or more, and got {needed - 1}"):
        stream.resume(tuple(x[5000 - needed + 1 :] for x in signal), 5000)
    with pytest.raises(StreamError, match="after 3 frames"):
        stream.resume(tuple(x[:4] for x in signal), 3)
    assert stream.snapshot() == before


def test_older_frames_than_needed_change_nothing() -> None:
    model = model_of("ecg")
    signal = signal_of(model, 4000)
    whole, resumed = model.stream(), model.stream()
    whole.push(*signal)
    resumed.resume(signal[0][77:], 4000)
    assert resumed.snapshot() == whole.snapshot()


def test_frames_far_into_a_signal_count_on_from_there() -> None:
    model = model_of("ecg")
    (signal,) = signal_of(model, 3000)
    near, far = model.stream(), model.stream()
    near.resume(signal, 3000)
    far.resume(signal, 3000 + (1 << 42))
    assert far.frames_in == 3000 + (1 << 42)
    assert np.array_equal(near.push(signal), far.push(signal))
    assert np.array_equal(near.flush(), far.flush())


def test_a_tail_near_the_start_is_the_whole_signal() -> None:
    model = model_of("ecg")
    (signal,) = signal_of(model, 40)
    stream = model.stream(keep_tail=True)
    stream.push(signal)
    assert np.array_equal(stream.tail(), signal)


def test_a_reset_stream_has_an_empty_tail_and_a_restored_one_says_what_it_lacks() -> None:
    model = model_of("ecg")
    (signal,) = signal_of(model, 3000)
    stream = model.stream(keep_tail=True)
    stream.push(signal)
    blob = stream.snapshot()
    stream.reset()
    assert len(stream.tail()) == 0
    stream.restore(blob)
    with pytest.raises(StreamError, match="only after 1312 more"):
        stream.tail()
    stream.push(signal)
    resumed = model.stream()
    resumed.resume(stream.tail(), 6000)
    assert resumed.snapshot() == stream.snapshot()


def test_a_tail_is_kept_on_demand_alone() -> None:
    with pytest.raises(StreamError, match="keep_tail=True"):
        model_of("ecg").stream().tail()


def test_inputs_of_different_rates_are_resumed_together() -> None:
    model = model_of("m2_two_rates")
    stream = model.stream(keep_tail=True)
    steps = stream.input_steps
    slow, fast = signal_of(model, 40 * max(steps))
    stream.push(slow[: 40 * steps[0]], fast[: 40 * steps[1]])
    resumed = model.stream()
    resumed.resume(stream.tail(), 40 * steps[0])
    assert resumed.snapshot() == stream.snapshot()
    with pytest.raises(StreamError, match="different rates"):
        resumed.resume((slow[:3], fast[:5]), 40 * steps[0])
