"""Stand-ins for statistics over all of time, against a definition of their own (``policy_oracle``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.contract import assert_frames, engines_here, verify_contract
from helpers.netfile import Net
from helpers.paths import MODELS
from helpers.policy_oracle import by_definition

import tcnstream
from tcnstream import Model, NotStreamableError, StreamError
from tcnstream.tflite.graph import Array, OptionValue


def example(name: str) -> tuple[Model, bytes, Array, Array]:
    with np.load(MODELS / f"{name}.npz") as arrays:
        return (
            tcnstream.load(MODELS / f"{name}.tflite"),
            (MODELS / f"{name}.tflite").read_bytes(),
            arrays["x"],
            arrays["y"],
        )


def answer(model: Model, x: Array, **options: Any) -> Array:
    stream = model.stream(**options)
    return np.concatenate([stream.push(x[:100]), stream.push(x[100:101]), stream.push(x[101:]), stream.flush()])


@pytest.mark.parametrize(
    "name", ["nse_sm_se.i8", "nse_sm_se.f32", "nse_mb_se.i8", "nse_lg_se.i8", "nse_lg_se.f32", "nse_lg_layernorm.f32"]
)
def test_trailing_window_by_definition(name: str) -> None:
    model, content, x, _ = example(name)
    expected = by_definition(content, x, window_frames=50)
    for engine in engines_here(model, time_pooling="trailing:50"):
        got = answer(model, x[0], engine=engine, time_pooling="trailing:50")
        # The variance of the first two frames is small, and its root divides whatever the sums' order left.
        tolerance = 1e-4 if "layernorm" in name else 1e-5
        assert_frames((got,), (expected[0],), tolerance, engine)


@pytest.mark.parametrize("name", ["nse_sm_se.i8", "nse_mb_se.f32"])
def test_all_frames_so_far_by_definition(name: str) -> None:
    """On a signal as long as the file's window, trailing over that window is the same as cumulative."""
    model, content, x, _ = example(name)
    expected = by_definition(content, x)
    for policy in ("cumulative", "trailing", f"trailing:{model.window_frames}"):
        for engine in engines_here(model, time_pooling=policy):
            got = answer(model, x[0], engine=engine, time_pooling=policy)
            assert_frames((got,), (expected[0],), 1e-5, f"{policy} in {engine}")


@pytest.mark.parametrize("name", ["nse_sm_se.i8", "nse_sm_se.f32", "nse_lg_se.i8", "nse_lg_layernorm.f32"])
def test_frozen_on_the_signal_itself_is_the_offline_answer(name: str) -> None:
    model, _, x, y = example(name)
    for engine in engines_here(model, time_pooling="frozen", calibration=x[0]):
        got = answer(model, x[0], engine=engine, time_pooling="frozen", calibration=x[0])
        assert_frames((got,), (y[0],), 1e-5, engine)


@pytest.mark.parametrize("name", ["nse_sm_se.i8", "nse_lg_layernorm.f32"])
def test_frozen_on_another_recording_by_definition(name: str) -> None:
    model, content, x, y = example(name)
    recording = np.where(np.random.default_rng(0).random(x.shape) < 0.5, x.max(), x.min()).astype(x.dtype)
    expected = by_definition(content, x, frozen_on=recording)
    got = answer(model, x[0], engine="reference", time_pooling="frozen", calibration=recording[0])
    assert_frames((got,), (expected[0],), 1e-5, "frozen")
    assert (got != y[0]).any()


@pytest.mark.parametrize("policy", ["trailing:7", "cumulative", "frozen"])
@pytest.mark.parametrize("name", ["nse_sm_se.i8", "nse_sm_se.f32"])
def test_policies_hold_the_contract(name: str, policy: str) -> None:
    model, _, x, _ = example(name)
    signal = x[0][:160]
    options = {"time_pooling": policy} | ({"calibration": x[0]} if policy == "frozen" else {})
    expected = answer(model, signal, engine="reference", **options)
    for engine in engines_here(model, **options):
        verify_contract(model, signal, expected, engine=engine, chunkings=1, **options)


def statistic(kind: str, dtype: str = "float32", keep: bool = True, window: int = 12) -> Model:
    """x - statistic(x over time), or with time gone the statistic alone, as the file's only operations."""
    net = Net(dtype)
    x = net.input((1, window, 2))
    axes = net.constant([1], np.int32)
    shape = (1, 1, 2) if keep else (1, 2)
    made = net.value(shape, 1, 1.0)
    net.op(kind, [x.index, axes], [made], keep_dims=keep)
    if keep:
        y = net.value(x.shape, 1, 1.0)
        net.op("SUB", [x.index, made.index], [y], fused_activation_function="NONE")
        net.output(y)
    else:
        net.output(made)
    return tcnstream.load(net.content())


STATISTICS = {"MEAN": np.mean, "SUM": np.sum, "REDUCE_MAX": np.max, "REDUCE_MIN": np.min}


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize(
    ("policy", "window"), [("trailing", 12), ("trailing:5", 5), ("trailing:1", 1), ("cumulative", 999)]
)
def test_every_statistic_beyond_the_window(kind: str, keep: bool, policy: str, window: int) -> None:
    model = statistic(kind, keep=keep)
    x = np.random.default_rng(0).normal(0, 1, (40, 2)).astype(np.float32)
    past = [x[max(0, j + 1 - window) : j + 1].astype(np.float64) for j in range(len(x))]
    expected = np.stack([STATISTICS[kind](frames, axis=0) for frames in past])
    expected = (x - expected if keep else expected).astype(np.float32)
    for engine in engines_here(model, time_pooling=policy):
        stream = model.stream(engine, time_pooling=policy)
        got = np.concatenate([stream.push(x[:17]), *(stream.push(x[k : k + 1]) for k in range(17, 40)), stream.flush()])
        assert_frames((got,), (expected,), 1e-5, f"{kind} in {engine}")


def test_a_statistic_under_a_policy_reaches_back_as_far_as_it_says() -> None:
    model = statistic("MEAN")
    stream = model.stream("reference", time_pooling="trailing:5")
    x = np.zeros((40, 2), np.float32)
    quiet = stream.push(x)
    stream.reset()
    x[20] = 1
    moved = np.flatnonzero((stream.push(x) != quiet).any(axis=1))
    assert moved.tolist() == [20, 21, 22, 23, 24]


@pytest.mark.parametrize(
    ("kind", "verb"),
    [
        ("MEAN", "averages"),
        ("SUM", "sums"),
        ("REDUCE_MAX", "takes the maximum of"),
        ("REDUCE_MIN", "takes the minimum of"),
    ],
)
def test_statistics_over_all_time_are_refused_by_name(kind: str, verb: str) -> None:
    model = statistic(kind)
    assert model.needs_time_pooling
    assert f"needs time_pooling=: `{kind}` (op 0)" in model.summary()
    with pytest.raises(NotStreamableError) as refusal:
        model.stream()
    assert str(refusal.value) == (
        f"`{kind}` (op 0, `t2`) {verb} all 12 frames of the window, so it has no exact streaming form."
        " Choose what stands in for it: time_pooling='trailing' (the last frames), 'cumulative' (all frames so far)"
        " or 'frozen' (constants from a calibration recording); or end the model before it."
    )
    with pytest.raises(NotStreamableError):
        model.pool(lanes=2)


def test_a_policy_without_need_changes_nothing() -> None:
    net = Net()
    x = net.input((1, 12, 2))
    y = net.value(x.shape, 1, 1.0)
    net.op("TANH", [x.index], [y])
    net.output(y)
    model = tcnstream.load(net.content())
    assert not model.needs_time_pooling
    plain, pooled = model.stream("reference"), model.stream("reference", time_pooling="trailing")
    pooled.restore(plain.snapshot())


@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        (None, "time_pooling='frozen' needs a recording to measure on; pass calibration="),
        (np.zeros((0, 2), np.float32), "needs a recording to measure on"),
        (np.zeros((5, 3), np.float32), r"takes chunks of shape \(n, 2\) and got \(5, 3\)"),
        ([np.zeros((5, 2), np.float32)] * 2, "calibration takes 1 recordings, one per input, and got 2"),
    ],
)
def test_a_calibration_that_cannot_be_used(calibration: Any, sentence: str) -> None:
    with pytest.raises(StreamError, match=sentence):
        statistic("MEAN").stream(time_pooling="frozen", calibration=calibration)


def test_a_mean_over_channels_needs_no_policy() -> None:
    net = Net()
    x = net.input((1, 12, 4))
    made = net.value((1, 12, 1), 1, 1.0)
    net.op("MEAN", [x.index, net.constant([-1], np.int32)], [made], keep_dims=True)
    y = net.value(x.shape, 1, 1.0)
    net.op("MUL", [x.index, made.index], [y], fused_activation_function="NONE")
    net.output(y)
    model = tcnstream.load(net.content())
    assert not model.needs_time_pooling
    signal = np.random.default_rng(0).normal(0, 1, (30, 4)).astype(np.float32)
    verify_contract(model, signal, signal * signal.mean(axis=1, keepdims=True))


FRAMES, CHANNELS = 20, 6


def norm_over_time(groups: int) -> bytes:
    """An instance norm, or with ``groups`` a group norm, over (1, T, 6) as a converter writes it."""
    net = Net()
    x = net.input((1, FRAMES, CHANNELS))
    shape = (1, FRAMES, groups, CHANNELS // groups) if groups else x.shape
    parted = net.reshape(x, shape, 1) if groups else x
    axes = net.constant([1, 3] if groups else [1], np.int32)
    alone = (1, 1, groups, 1) if groups else (1, 1, CHANNELS)

    def step(kind: str, inputs: list[int], made: tuple[int, ...], **options: OptionValue) -> int:
        value = net.value(made, 1, 1.0)
        net.op(kind, inputs, [value], **options)
        return value.index

    plain: dict[str, OptionValue] = {"fused_activation_function": "NONE"}
    mean = step("MEAN", [parted.index, axes], alone, keep_dims=True)
    square = step("SQUARED_DIFFERENCE", [parted.index, mean], shape)
    variance = step("MEAN", [square, axes], alone, keep_dims=True)
    above = step("ADD", [variance, net.constant([1e-3], np.float32)], alone, **plain)
    factor = step("RSQRT", [above], alone)
    centred = step("SUB", [parted.index, mean], shape, **plain)
    made = net.value(shape, 1, 1.0)
    net.op("MUL", [centred, factor], [made], **plain)
    net.output(net.reshape(made, x.shape, 1) if groups else made)
    return net.content()


@pytest.mark.parametrize("groups", [0, 1, 2, 3])
@pytest.mark.parametrize(("policy", "window"), [("trailing:7", 7), ("trailing", FRAMES), ("cumulative", 10**6)])
def test_norms_over_time_are_as_defined_in_numpy(groups: int, policy: str, window: int) -> None:
    """Each statistic is that of the frames that the policy names: of the mean, and then of the squares around it."""
    content = norm_over_time(groups)
    model = tcnstream.load(content, time_axis=1)
    x = np.random.default_rng(3).normal(1, 2, (2 * FRAMES, CHANNELS)).astype(np.float32)
    parted = x.reshape(len(x), groups or CHANNELS, -1).astype(np.float64)

    def past_mean(values: Array) -> Array:
        rows = [values[max(0, t + 1 - window) : t + 1].mean(axis=(0, 2)) for t in range(len(values))]
        return np.array(rows)[:, :, None]

    mean = past_mean(parted)
    expected = (parted - mean) / np.sqrt(past_mean((parted - mean) ** 2) + 1e-3)
    for engine in engines_here(model, time_pooling=policy):
        verify_contract(
            model, x, expected.reshape(x.shape).astype(np.float32), engine=engine, chunkings=1, time_pooling=policy
        )
