"""Every kernel against LiteRT's reference kernels, on models of one operation with random data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.singleop import Trial, assert_same, compute, interpret, interpret_micro, model_of, tensor
from helpers.trials.cases import ALL, CASES, PARAMETERS
from helpers.trials.drawing import (
    F32,
    I8,
    I16,
    I32,
    I64,
    QUANTIZED,
    U8,
    Build,
    bias_of,
    quantized,
    scale_to_fit,
    values,
    weights_of,
    zero_of,
)
from helpers.trials.sums import dense, reducing
from helpers.trials.windowed import transposed

from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.convolution import ConvolutionOptions
from tcnstream.compiler.operations.statistics import Statistic
from tcnstream.compiler.plan import Window
from tcnstream.engines.reference.kernels import KERNELS, mean_from_sum, mean_of
from tcnstream.errors import EngineError


@pytest.mark.parametrize(("build", "dtype"), PARAMETERS)
def test_kernel_equals_the_reference_kernel(build: Build, dtype: Any) -> None:
    for seed in range(12):
        trial = build(np.random.default_rng(seed), dtype)
        try:
            assert_same(compute(trial), interpret(trial))
        except AssertionError as error:
            error.add_note(f"seed {seed}: {trial.options}")
            raise


def test_every_operation_that_streams_has_a_kernel_and_is_drawn_by_a_trial() -> None:
    # Without types an operation is said by others (a spectrum, a gather along time): whole models show what it gives.
    streamed = {kind for kind, record in operations().items() if record.lower is not None and record.types}
    assert set(CASES) == streamed
    assert streamed == {kind for kind in KERNELS if operations()[kind].rule is not None}
    assert all(types for _, types in CASES.values())


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_mean_of_every_count_equals_the_reference_kernel(dtype: Any) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")
    rng = np.random.default_rng(1)
    x, output = quantized(rng, (1, 1, 24), dtype), quantized(rng, (1, 24), dtype, around=0.5)
    axes = tensor((1,), I32, data=[1])
    trial = Trial("MEAN", (x, axes), (), (output,), {"keep_dims": False})
    interpreter = litert.Interpreter(
        model_content=model_of(trial), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    index = interpreter.get_input_details()[0]["index"]
    for count in range(1, 2001):
        feed = values(rng, (1, count, 24), dtype)
        interpreter.resize_tensor_input(index, feed.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, feed)
        interpreter.invoke()
        expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        assert np.array_equal(mean_of(feed, (1,), x, output), expected), count
        assert np.array_equal(mean_from_sum(feed.sum(1, dtype=I64), count, x, output), expected), count


@pytest.mark.parametrize("kind", [Statistic.MEAN, Statistic.SUM])
@pytest.mark.parametrize("dtype", [I8, I16, I32, F32])
def test_a_running_sum_gives_what_the_window_gives(kind: Statistic, dtype: Any) -> None:
    rng = np.random.default_rng(2)
    x, output = quantized(rng, (5,), dtype), quantized(rng, (5,), dtype)
    window = values(rng, (37, 5), dtype)
    total = window.sum(0, dtype=np.float64 if dtype is F32 else I64)
    assert np.array_equal(mean_from_sum(total, 37, x, output, kind), mean_of(window, (0,), x, output, kind))


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_fully_connected_equals_tflite_micro_when_it_rounds_twice(dtype: Any) -> None:
    for seed in range(40):
        trial = dense(np.random.default_rng(seed), dtype)
        assert_same(compute(trial, rounding="tflm"), interpret_micro(trial))


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_quantized_sum_equals_tflite_micro(dtype: Any) -> None:
    # LiteRT 2.3's own reference kernel reads int8 as uint8 and int16 as int8 here.
    for seed in range(20):
        trial = reducing("SUM", rescales=True)(np.random.default_rng(seed), dtype)
        assert_same(compute(trial), interpret_micro(trial))


@pytest.mark.parametrize("dtype", ALL)
def test_any_frames_of_a_transposed_convolution_are_the_whole_ones(dtype: Any) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        trial = transposed(rng, dtype)
        whole = compute(trial)[0]
        first = int(rng.integers(0, len(whole)))
        count = int(rng.integers(1, len(whole) - first + 1))
        window, x = trial.window, trial.plan_arrays[0]
        oldest = -(-(first - window.pad_begin) // window.up)
        newest = (first + count - 1 - window.pad_begin + window.extent - 1) // window.up
        before, after = max(0, -oldest), max(0, newest + 1 - len(x))
        padded = np.pad(x, ((before, after), (0, 0), (0, 0)), constant_values=zero_of(trial.plan_operands[0]))
        needed = padded[oldest + before : newest + 1 + before]
        part = replace(
            trial,
            plan_arrays=(needed, *trial.plan_arrays[1:]),
            n_frames=count,
            first_frame=first,
            first_input_frame=oldest,
        )
        assert_same(compute(part), [whole[first : first + count]])


@pytest.mark.parametrize("dtype", ALL)
def test_a_convolution_with_the_arithmetic_of_a_dense_layer_is_that_layer(dtype: Any) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        t, depth, channels = 5, 3, 4
        frames = int(rng.integers(t, 12))
        x = quantized(rng, (frames, 1, depth), dtype)
        weights = weights_of(rng, dtype, (channels, t * depth), 0)
        bias = bias_of(rng, x, weights, channels, t * depth)
        n = frames - t + 1
        output = scale_to_fit(rng, x, weights, t * depth, (n, channels))
        feed = values(rng, x.shape, dtype)
        rows = np.stack([feed[i : i + t].reshape(-1) for i in range(n)])
        layer = Trial("FULLY_CONNECTED", (replace(x, shape=rows.shape), weights, bias), (rows,), (output,))
        kernel = replace(weights, shape=(channels, t, 1, depth), data=weights.data.reshape(channels, t, 1, depth))
        convolution_form = Trial(
            "CONV_2D",
            (x, kernel, bias),
            (feed,),
            (replace(output, shape=(n, 1, channels)),),
            plan_options=ConvolutionOptions(dense=True),
            window=Window(extent=t),
        )
        assert_same([compute(convolution_form)[0][:, 0]], compute(layer))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("PRELU", I16), ("HARD_SWISH", I16), ("LOG_SOFTMAX", I16), ("SQRT", I8), ("SIGN", I8), ("POW", I8)],
)
def test_a_form_without_reference_arithmetic_is_refused_by_name(kind: str, dtype: Any) -> None:
    x = tensor((4, 3), dtype, scale=0.1)
    trial = Trial(kind, (x, replace(x, shape=(3,), data=np.ones(3, dtype))), (np.ones((4, 3), dtype),), (x,))
    with pytest.raises(EngineError, match=rf"{kind} \(test\) with .* has no reference arithmetic; convert"):
        compute(trial)


def test_unsigned_integers_are_signed_ones_128_lower() -> None:
    x, y = tensor((4, 3), U8, scale=0.1, zero_point=131), tensor((4, 3), I8, scale=0.1, zero_point=3)
    values = np.random.default_rng(0).integers(0, 256, (2, 4, 3)).astype(U8)
    lower = tuple((part.astype(np.int16) - 128).astype(I8) for part in values)
    unsigned = compute(Trial("ADD", (x, x), tuple(values), (x,)))[0]
    signed = compute(Trial("ADD", (y, y), lower, (y,)))[0]
    assert unsigned.dtype == U8 and np.array_equal(unsigned, signed.astype(np.int16) + 128)


def test_a_scale_so_small_that_an_activation_has_no_last_step() -> None:
    x = tensor((4, 3), I8, scale=1e-45)
    trial = Trial("RELU6", (x,), (np.full((4, 3), 5, I8),), (x,))
    assert (compute(trial)[0] == 5).all()
