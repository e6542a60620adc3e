"""Integers of scales that no converter writes: as the reference kernels, or refused; alike in all engines.

Multipliers above 1, sums shifted left and beyond 32 bits, scales of channels far apart, zero points at the ends, biases
on scales of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.contract import assert_frames, engines_here, verify_contract
from helpers.draws import drawn
from helpers.netfile import DoesNotFitError
from helpers.networks import build, signals
from helpers.oracle import OracleError, OracleProcess, reference_kernels
from helpers.random_layers import ANY_LAYER, SETUPS, at_window, streamed
from helpers.singleop import (
    ONE_IMPLEMENTATION,
    Trial,
    assert_same,
    compute,
    feeds_of,
    model_of,
    plan_of,
    streamed_by_core,
    tensor,
)
from helpers.trials.cases import CASES, PARAMETERS
from helpers.trials.drawing import Build, FarScales
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

import tcnstream
from tcnstream.compiler.plan import SAME_FRAME
from tcnstream.engines.base import ENGINES
from tcnstream.engines.reference.defined import check_defined
from tcnstream.errors import EngineError, ModelError
from tcnstream.measure.verify import verify

INTEGERS = [p for p in PARAMETERS if np.dtype(p.values[1]) in (np.dtype(np.int8), np.dtype(np.int16))]


@pytest.fixture(scope="module")
def oracle() -> Iterator[OracleProcess]:
    pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")
    process = OracleProcess()
    yield process
    process.close()


def defined(trial: Trial) -> bool:
    """Whether the operation is computed; what is refused is refused by that alone."""
    try:
        check_defined(plan_of(trial))
    except EngineError as e:
        assert "no defined answer" in str(e)
        return False
    return True


@pytest.mark.parametrize(("build_trial", "dtype"), INTEGERS)
def test_an_operation_equals_the_reference_kernel(build_trial: Build, dtype: Any, oracle: OracleProcess) -> None:
    judged = 0
    for seed in range(12):
        trial = build_trial(FarScales.of(seed), dtype)
        if trial.kind in ONE_IMPLEMENTATION or not defined(trial):
            continue
        ours = compute(trial)
        if trial.window is SAME_FRAME:
            plan = plan_of(trial)
            try:
                assert_same(streamed_by_core(plan, feeds_of(trial, plan), np.random.default_rng(seed)), ours)
            except EngineError as e:
                assert "lacks" in str(e)
        try:
            expected = oracle.answer(model_of(trial), trial.feeds)
        except OracleError as e:
            assert "aborted" not in str(e), f"seed {seed}: the interpreter ends the process, which nothing here refuses"
            continue
        assert_same(ours, expected)
        judged += 1
    assert judged > 0 or build_trial(FarScales.of(0), dtype).kind in ONE_IMPLEMENTATION


@drawn(60, suppress_health_check=list(HealthCheck))
@given(st.lists(ANY_LAYER, min_size=1, max_size=3), st.integers(12, 40), SETUPS)
def test_a_network_equals_the_reference_kernels_in_every_engine(
    oracle: OracleProcess, layers: list[Any], window: int, setup: dict[str, Any]
) -> None:
    setup = {**setup, "dtype": "int16" if setup["dtype"] == "int16" else "int8"}
    try:
        network = build(layers, window, **setup, far_scales=True)
    except DoesNotFitError:
        assume(False)
    model = tcnstream.load(network.content, time_axis=2 if setup["bins"] and setup["sideways"] else 1)
    signal = signals(model.inputs, window)
    try:
        engines = engines_here(model)
    except AssertionError:  # none has it
        return
    answers = [streamed(model.stream(engine), signal, [window]) for engine in engines]
    for engine, answer in zip(engines, answers, strict=True):
        assert_frames(answer, answers[-1], 0, f"{engine} and {engines[-1]}")
    try:
        raw = oracle.answer(
            network.content, [at_window(x, a) for x, a in zip(signal, model.plan.input_axes, strict=True)]
        )
    except OracleError:
        return
    for ours, theirs, axis, port in zip(answers[0], raw, model.plan.output_axes, model.outputs, strict=True):
        frames = (theirs if axis is None else np.moveaxis(theirs, axis, 0)).reshape(-1, *port.shape)
        assert np.array_equal(ours[-len(frames) :], frames)


def equals_the_file(content: bytes, trial: Trial, oracle: OracleProcess, what: str) -> bool:
    """Whether the file streams at all; then all engines must give the reference kernels' answer."""
    dense = trial.kind == "FULLY_CONNECTED"
    try:
        model = tcnstream.load(content, time_axis=0 if dense else 1)
    except tcnstream.NotStreamableError:
        return False
    (expected,) = oracle.answer(content, trial.feeds)
    frames = trial.feeds[0] if dense else trial.feeds[0][0]
    for engine in engines_here(model):
        (got,) = streamed(model.stream(engine), (frames.reshape(-1, *model.inputs[0].shape),), [len(frames)])
        assert np.array_equal(got.reshape(expected.shape), expected), f"{engine}, {what}"
    return True


# --- what once did not hold ---------------------------------------------------------------------


def dense_of(bias: Any, bias_dtype: Any, scale_out: float = 1e-3, bias_scale: float = 1e-6, **options: Any) -> bytes:
    """int16 frames of 4 channels through a dense layer of 2 units."""
    x = tensor((1, 9, 4), np.int16, scale=1e-4)
    weights = tensor((2, 4), np.int8, scale=0.01, data=[[127, -127, 127, 90], [1, 2, 3, 4]])
    b = tensor((2,), bias_dtype, scale=bias_scale, data=bias)
    y = tensor((1, 9, 2), np.int16, scale=scale_out)
    return model_of(Trial("FULLY_CONNECTED", (x, weights, b), (), (y,), {"keep_num_dims": True, **options}))


def agree(content: bytes, oracle: OracleProcess) -> None:
    """All engines answer as the reference kernels."""
    model = tcnstream.load(content)
    signal = signals(model.inputs, model.window_frames)
    (expected,) = oracle.answer(content, [signal[0][None]])
    for engine in engines_here(model):
        assert_frames(streamed(model.stream(engine), signal, [model.window_frames]), (expected[0],), 0, engine)


def test_sums_of_int16_beyond_32_bits(oracle: OracleProcess) -> None:
    """The core cut sums of dense layers to 32 bits."""
    agree(dense_of([2**33, -(2**34)], np.int64, scale_out=0.9), oracle)


@pytest.mark.parametrize("bias_scale", [1e-6, 1.9e-5, 2.2e-5, 1e-3])
def test_a_bias_counts_in_steps_of_the_products_whatever_its_own_scale(bias_scale: float) -> None:
    model = tcnstream.load(dense_of([100_000, -200_000], np.int64, bias_scale=bias_scale))
    (signal,) = signals(model.inputs, 40)
    weights = np.array([[127, -127, 127, 90], [1, 2, 3, 4]])
    sums = signal.astype(np.int64) @ weights.T + [100_000, -200_000]
    for engine in ENGINES:
        got = model.stream(engine).push(signal)
        exact = sums * (1e-4 * 0.01 / 1e-3)
        # Sums of 64 bits are rescaled by a multiplier of 16 bits, in some versions.
        assert np.all(np.abs(got - exact) <= 0.5 + np.abs(exact) * 2**-16)


@pytest.mark.usefixtures("oracle")
@pytest.mark.parametrize("bias_scale", [1e-6, 1.9e-5, 2.2e-5, 1e-3])
def test_verify_says_why_a_bias_of_another_scale_cannot_be_compared(bias_scale: float) -> None:
    """LiteRT's reference kernels refuse a scale that is further off than 2 % of the output's."""
    model = tcnstream.load(dense_of([100_000, -200_000], np.int64, bias_scale=bias_scale))
    report = verify(model, signals(model.inputs, 40), chunkings=1)
    reasons = {check.note for check in report.checks if check.name.startswith("file")}
    refused = bias_scale > 2e-5
    assert report.holds and report.passed == (not refused)
    assert all(("scale_diff" in reason) == refused for reason in (*reasons, report.not_asked)), reasons


@pytest.mark.parametrize("kind", ["CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"])
def test_products_of_int16_are_summed_in_32_bits_where_the_file_says_so(kind: str, oracle: OracleProcess) -> None:
    """They round twice there, and once where the sums have 64 bits."""
    for seed in range(8):
        trial = CASES[kind][0](np.random.default_rng(seed), np.int16)
        position = 3 if kind == "TRANSPOSE_CONV" else 2
        operands = list(trial.operands)
        if len(operands) > position and operands[position] is not None:
            bias = operands[position]
            operands[position] = replace(bias, dtype=np.dtype(np.int32), data=bias.data.astype(np.int32))
        elif kind == "CONV_2D":
            continue
        content = model_of(replace(trial, operands=operands, options={**trial.options, "quantized_bias_type": "INT32"}))
        equals_the_file(content, trial, oracle, f"seed {seed}")


@pytest.mark.parametrize(
    ("dtype", "options"), [(np.int32, {}), (np.int64, {"quantized_bias_type": "INT32"}), (np.float32, {})]
)
def test_a_bias_of_another_length_than_the_sums_is_refused(dtype: Any, options: dict[str, Any]) -> None:
    """The reference kernels read beyond it."""
    with pytest.raises(ModelError, match="adds the"):
        tcnstream.load(dense_of([1, 2], dtype, **options))


@pytest.mark.parametrize("kind", ["DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_zero_points_of_weights_are_taken_where_the_reference_kernels_take_them(
    kind: str, dtype: Any, oracle: OracleProcess
) -> None:
    """The core subtracted those of depthwise and transposed convolutions, which TFLite ignores."""
    judged = 0
    for seed in range(8):
        trial = CASES[kind][0](np.random.default_rng(seed), dtype)
        operands = list(trial.operands)
        weights = operands[1]
        zeros = np.random.default_rng(seed).integers(-9, 9, weights.quantization.scale.size)
        operands[1] = replace(weights, quantization=replace(weights.quantization, zero_point=zeros))
        content = model_of(replace(trial, operands=operands))
        judged += equals_the_file(content, trial, oracle, f"seed {seed}")
    assert judged


def test_weights_of_a_convolution_with_a_zero_point_are_refused() -> None:
    trial = CASES["CONV_2D"][0](np.random.default_rng(0), np.int8)
    operands = list(trial.operands)
    weights = operands[1]
    shifted = np.ones(weights.quantization.scale.size, np.int64)
    operands[1] = replace(weights, quantization=replace(weights.quantization, zero_point=shifted))
    with pytest.raises(ModelError, match="with a zero point, which TFLite does not take"):
        tcnstream.load(model_of(replace(trial, operands=operands)))


def one_operation(kind: str, operands: list[Any], output: Any, **options: Any) -> bytes:
    return model_of(Trial(kind, operands, (), (output,), options))


Q8 = {"scale": 0.1, "zero_point": 3}
FRAMES8 = (1, 9, 2)


@pytest.mark.parametrize(
    ("kind", "operands", "output", "told"),
    [
        (
            "RESHAPE",
            [tensor((4,), np.int32, data=[1, 9, 1, 2])],
            tensor((1, 9, 1, 2), np.int8, scale=0.2),
            "moves values",
        ),
        ("TRANSPOSE", [tensor((3,), np.int32, data=[0, 1, 2])], tensor(FRAMES8, np.int8, scale=0.1), "moves values"),
        ("MIRROR_PAD", [tensor((3, 2), np.int32, data=[[0, 0]] * 3)], tensor(FRAMES8, np.int8), "moves values"),
        ("PRELU", [tensor((2,), np.int8, data=[1, 2])], tensor(FRAMES8, np.int8, **Q8), "needs one scale"),
        ("DEQUANTIZE", [], tensor(FRAMES8, np.int8, **Q8), "it gives real numbers, not int8"),
        ("QUANTIZE", [], tensor(FRAMES8, np.float32), "is float32, not integers"),
    ],
)
def test_operands_whose_scales_do_not_fit_are_no_sound_model(
    kind: str, operands: list[Any], output: Any, told: str
) -> None:
    """What moves values does not rescale them: the next operation read them at the scale before."""
    with pytest.raises(ModelError, match=told):
        tcnstream.load(one_operation(kind, [tensor(FRAMES8, np.int8, **Q8), *operands], output))


@pytest.mark.parametrize(("source", "target"), [((np.int32,), (np.int16, 0.1)), ((np.int16, 0.1), (np.int32,))])
def test_integers_that_are_rescaled_have_scales(source: tuple[Any, ...], target: tuple[Any, ...]) -> None:
    """A stream was opened, and noticed it at the first frame."""
    with pytest.raises(ModelError, match="is int32 and needs one scale"):
        tcnstream.load(one_operation("QUANTIZE", [tensor(FRAMES8, *source)], tensor(FRAMES8, *target)))


@pytest.mark.parametrize(("kind", "dtype"), [("LESS", np.int8), ("GREATER", np.uint8), ("EQUAL", np.int16)])
def test_integers_that_are_compared_by_their_scales_have_them(kind: str, dtype: Any) -> None:
    """LiteRT ends the process, or leaves the answer as it was in memory."""
    output = tensor(FRAMES8, np.bool_)
    for first, second in ({}, Q8), (Q8, {}):
        operands = [tensor(FRAMES8, dtype, **first), tensor((2,), dtype, data=[3, 4], **second)]
        with pytest.raises(ModelError, match="needs one scale"):
            tcnstream.load(one_operation(kind, operands, output))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("SQRT", np.bool_),
        ("FLOOR", np.int32),
        ("NEG", np.bool_),
        ("LOGICAL_NOT", np.float32),
        ("L2_NORMALIZATION", np.int32),
    ],
)
def test_a_function_of_another_type_is_no_sound_model(kind: str, dtype: Any) -> None:
    """A stream was opened, and noticed it at the first frame, or numpy did."""
    with pytest.raises(ModelError, match=f"is {np.dtype(dtype)}"):
        tcnstream.load(one_operation(kind, [tensor(FRAMES8, dtype)], tensor(FRAMES8, dtype)))


def test_uint8_weights_have_a_scale() -> None:
    """As those of int8; a stream was opened, and noticed it at the first frame."""
    x, y = tensor(FRAMES8, np.uint8, **Q8), tensor((1, 9, 3), np.uint8, **Q8)
    weights = tensor((3, 2), np.uint8, data=np.ones((3, 2), np.uint8))
    with pytest.raises(ModelError, match="without a scale"):
        tcnstream.load(one_operation("FULLY_CONNECTED", [x, weights], y, keep_num_dims=True))


def test_uint8_that_are_moved_keep_their_scale() -> None:
    """Only where signals are put side by side do the kernels for uint8 rescale; LiteRT refuses this file."""
    pads = tensor((3, 2), np.int32, data=[[0, 0], [1, 1], [0, 0]])
    source, output = tensor(FRAMES8, np.uint8, scale=0.1), tensor((1, 11, 2), np.uint8, scale=0.2)
    with pytest.raises(ModelError, match="moves values"):
        tcnstream.load(one_operation("MIRROR_PAD", [source, pads], output))


@pytest.mark.parametrize("kind", ["TANH", "LOGISTIC"])
@pytest.mark.parametrize("scale", [1e-40, 1e-15, 2e5, 1e30])
def test_a_scale_that_cannot_be_brought_to_a_table_is_refused(kind: str, scale: float) -> None:
    """The plan file could not hold the multiplier; TFLite shifts 3 by 31 places."""
    source, output = tensor(FRAMES8, np.int16, scale=scale), tensor(FRAMES8, np.int16, scale=2.0**-15)
    with pytest.raises(ModelError, match="cannot bring to its table's"):
        tcnstream.load(one_operation(kind, [source], output))


@pytest.mark.parametrize("engine", ["native", "interpreter", "reference"])
@pytest.mark.parametrize(
    ("kind", "operands", "dtype", "scale", "options"),
    [
        ("PRELU", [tensor((2,), np.int8, scale=0.1, data=[1, 2])], np.int8, 1e-20, {}),
        ("LEAKY_RELU", [], np.int8, 0.1, {"alpha": 1e30}),
        ("HARD_SWISH", [], np.int8, 1e5, {}),
        ("SOFTMAX", [], np.int8, 1 / 256, {"beta": 1e3}),
        ("SOFTMAX", [], np.int8, 1 / 256, {"beta": -1.0}),
        ("SOFTMAX", [], np.uint8, 1 / 256, {"beta": -1.0}),
        ("ADD", [tensor((2,), np.int16, scale=2.0**-13, data=[1, 2])], np.int16, 2.0**-11, {"pot_scale_int16": True}),
    ],
)
def test_what_tflite_has_no_answer_for_is_refused_when_a_stream_is_opened(
    engine: str, kind: str, operands: list[Any], dtype: Any, scale: float, options: dict[str, Any]
) -> None:
    source = tensor(FRAMES8, dtype, scale=2.0**-13 if dtype is np.int16 else 0.1)
    output = tensor(FRAMES8, dtype, scale=scale)
    model = tcnstream.load(one_operation(kind, [source, *operands], output, **options))
    with pytest.raises(EngineError, match=r"no defined answer|has no reference arithmetic"):
        model.stream(engine)


def test_a_function_of_a_type_that_it_lacks_is_refused_at_load() -> None:
    """No kernel of TFLite rounds int8; it was noticed when a stream was opened."""
    x = tensor(FRAMES8, np.int8, scale=0.1)
    with pytest.raises(ModelError, match=r"`ROUND` .* do not fit together \(`.*` is int8\)"):
        tcnstream.load(one_operation("ROUND", [x], x))


def test_strides_that_repeat_only_after_years_are_refused() -> None:
    """Counting what is remembered over a period took minutes."""
    x, shape = tensor((1, 4, 1, 1), np.float32), (1, 1, 1, 1)
    weights = tensor(shape, np.float32, data=np.ones(shape))
    bias = tensor((1,), np.float32, data=[0.0])
    options = {"padding": "SAME", "stride_h": 1 << 30, "stride_w": 1}
    content = one_operation("CONV_2D", [x, weights, bias], tensor(shape, np.float32), **options)
    with pytest.raises(tcnstream.NotStreamableError, match="repeats only every"):
        tcnstream.load(content)


@pytest.mark.parametrize("engine", ["native", "interpreter", "reference"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_a_kernel_that_ends_the_run_at_some_values_runs_elsewhere(engine: str, dtype: Any) -> None:
    """The interpreter engine raised RuntimeError in the midst of a stream."""
    scale = 0.1 if dtype is np.int8 else 2.0**-11
    content = one_operation("RSQRT", [tensor((1, 9, 2), dtype, scale=scale)], tensor((1, 9, 2), dtype, scale=scale))
    x = np.random.default_rng(0).integers(-100, 100, (30, 2)).astype(dtype)
    made = tcnstream.load(content).stream(engine).push(x)
    assert dtype is np.int16 or (made[x <= 0] == 127).all()
    np.testing.assert_array_equal(made, tcnstream.load(content).stream("reference").push(x))


def test_zeros_may_have_a_scale_of_zero() -> None:
    """As converters write it for a layer that training left at nothing; LiteRT multiplies by it."""
    x, y = tensor(FRAMES8, np.int8, **Q8), tensor((1, 9, 3), np.int8, scale=0.2, zero_point=-5)
    weights = tensor((3, 2), np.int8, scale=0.0, data=np.zeros((3, 2), np.int8))
    bias = tensor((3,), np.int32, scale=0.0, data=np.zeros(3, np.int32))
    content = one_operation("FULLY_CONNECTED", [x, weights, bias], y, keep_num_dims=True)
    signal = np.random.default_rng(0).integers(-128, 128, (9, 2)).astype(np.int8)
    (expected,) = reference_kernels(content, [signal[None]])
    assert (expected == -5).all()
    loaded = tcnstream.load(content)
    for engine in engines_here(loaded):
        verify_contract(loaded, signal, expected[0], engine=engine)
    with pytest.raises(ModelError, match="a quantization scale that is not a positive number"):
        tcnstream.load(one_operation("RELU", [tensor(FRAMES8, np.int8, scale=0.0)], y))


@pytest.mark.parametrize("engine", ["native", "interpreter", "reference"])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("DIV", np.int8),
        ("DIV", np.int32),
        ("FLOOR_DIV", np.float32),
        ("FLOOR_DIV", np.int8),
        ("FLOOR_MOD", np.int16),
        ("POW", np.int32),
    ],
)
def test_a_signal_may_divide_by_zero_and_raise_to_negative_powers(engine: str, kind: str, dtype: Any) -> None:
    """LiteRT's kernels end the run there, and the interpreter engine raised RuntimeError in the midst of a stream."""
    x = tensor((1, 9, 2), dtype, scale=0.1) if dtype in (np.int8, np.int16) else tensor((1, 9, 2), dtype)
    model = tcnstream.load(one_operation(kind, [x, x], x))
    try:
        stream = model.stream(engine)
    except EngineError:
        assert engine == "native"
        return
    signal = [np.random.default_rng(seed).integers(-3, 4, (60, 2)).astype(dtype) for seed in range(2)]
    np.testing.assert_array_equal(stream.push(*signal), model.stream("reference").push(*signal))
