"""Bugs that were found, each kept as the smallest model that showed it."""

from __future__ import annotations

import numpy as np
import pytest

import tcnstream
from tcnstream.tflite.graph import Graph, Op, Quantization, Tensor
from tcnstream.tflite.writer import write_model


def _float(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, np.dtype(np.float32))


def _padded_pool(frames: int) -> bytes:
    pairs = np.array([[0, 0], [3, 0], [0, 0], [0, 0]], np.int32)
    pool = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "filter_height": 4, "filter_width": 1}
    tensors = (
        _float("x", 1, frames, 1, 2),
        Tensor("pairs", pairs.shape, pairs.dtype, None, pairs),
        _float("padded", 1, frames + 3, 1, 2),
        _float("y", 1, frames, 1, 2),
    )
    ops = (Op("PAD", (0, 1), (2,)), Op("AVERAGE_POOL_2D", (2,), (3,), pool))
    return write_model([Graph(tensors, ops, (0,), (3,))])


@pytest.mark.parametrize("chunk_frames", [0, 1, 5, 24])
def test_frames_of_a_padding_operation_are_made_and_not_only_counted(chunk_frames: int) -> None:
    """A PAD that no convolution takes in counted its padding as made before the first frame came."""
    x = np.random.default_rng(0).standard_normal((24, 1, 2)).astype(np.float32)
    stream = tcnstream.load(_padded_pool(24)).stream("reference")
    parts = [stream.push(x[:0])]
    parts += [stream.push(x[i : i + max(chunk_frames, 1)]) for i in range(0, 24, max(chunk_frames, 1))]
    padded = np.concatenate([np.zeros((3, 1, 2), np.float32), x])
    expected = np.stack([padded[j : j + 4].mean(axis=0) for j in range(24)])
    np.testing.assert_allclose(np.concatenate([*parts, stream.flush()]), expected, rtol=0, atol=1e-6)


def _constant(name: str, data: np.ndarray) -> Tensor:
    return Tensor(name, data.shape, data.dtype, None, data)


def test_dense_layer_over_flattened_time_is_a_sliding_window() -> None:
    """(1, 6, 2) -> (1, 12) was taken for 12 frames of one value, and the fused convolution for 3 frequencies."""
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((3, 12)).astype(np.float32)
    tensors = (
        _float("x", 1, 6, 2),
        _constant("shape", np.array([1, 12], np.int32)),
        _float("flat", 1, 12),
        _constant("weights", weights),
        _float("y", 1, 3),
    )
    ops = (Op("RESHAPE", (0, 1), (2,)), Op("FULLY_CONNECTED", (2, 3, -1), (4,)))
    model = tcnstream.load(write_model([Graph(tensors, ops, (0,), (4,))]))
    x = rng.standard_normal((20, 2)).astype(np.float32)
    expected = np.stack([weights @ x[j : j + 6].reshape(-1) for j in range(15)])
    stream = model.stream("reference")
    got = np.concatenate([stream.push(x[:4]), stream.push(x[4:]), stream.flush()])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    assert (model.delay, model.receptive_field) == (5, 6)


def _wide_convolution(rng: np.random.Generator, *, filters: int, channels: int) -> bytes:
    """A file of one float convolution over 60 frames, with weights so large that its sums cancel."""
    tensors = (
        _float("x", 1, 1, 60, channels),
        _constant("weights", (8 * rng.standard_normal((filters, 1, 5, channels))).astype(np.float32)),
        _constant("bias", rng.standard_normal(filters).astype(np.float32)),
        _float("y", 1, 1, 60, filters),
    )
    options = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    return write_model([Graph(tensors, (Op("CONV_2D", (0, 1, 2), (3,), options),), (0,), (3,))])


def test_float_sums_cancel_as_in_the_reference_kernels() -> None:
    """Another order of the same products is 4e-5 away where terms cancel, four times what the contract allows."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="the oracle: pip install ai-edge-litert")
    rng = np.random.default_rng(2)
    content = _wide_convolution(rng, filters=32, channels=64)
    x = (8 * rng.standard_normal((60, 1, 64))).astype(np.float32)
    oracle = interpreter.Interpreter(
        model_content=content, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    oracle.allocate_tensors()
    oracle.set_tensor(oracle.get_input_details()[0]["index"], x.reshape(1, 1, 60, 64))
    oracle.invoke()
    expected = oracle.get_tensor(oracle.get_output_details()[0]["index"])
    stream = tcnstream.load(content, time_axis=2).stream("reference")
    got = np.concatenate([stream.push(x), stream.flush()])
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


def test_a_signal_shorter_than_an_inner_mirrored_edge_is_refused_and_can_go_on() -> None:
    """The length was checked before the tail had reached the inner layer, and flush ended in an IndexError."""
    pairs = np.array([[0, 0], [4, 4], [0, 0]], np.int32)
    shape = np.array([1, 20, 1], np.int32)
    options = {"padding": "SAME", "stride_h": 1, "stride_w": 1, "filter_height": 5, "filter_width": 1}
    tensors = (
        _float("x", 1, 20, 1, 1),
        _float("pooled", 1, 20, 1, 1),
        _constant("shape", shape),
        _float("flat", 1, 20, 1),
        _constant("pairs", pairs),
        _float("y", 1, 28, 1),
    )
    ops = (
        Op("MAX_POOL_2D", (0,), (1,), options),
        Op("RESHAPE", (1, 2), (3,)),
        Op("MIRROR_PAD", (3, 4), (5,), {"mode": "REFLECT"}),
    )
    stream = tcnstream.load(write_model([Graph(tensors, ops, (0,), (5,))])).stream("reference")
    x = np.arange(9, dtype=np.float32).reshape(9, 1, 1)
    early = stream.push(x[:4])
    with pytest.raises(tcnstream.StreamError, match="too short to end"):
        stream.flush()
    got = np.concatenate([early, stream.push(x[4:]), stream.flush()])
    pooled = np.array([x[max(0, j - 2) : j + 3].max() for j in range(9)])
    np.testing.assert_array_equal(got.reshape(-1), np.pad(pooled, 4, mode="reflect"))


def test_queues_are_measured_past_a_crop_at_the_start() -> None:
    """Steady state was looked for before the crop had let a frame through, and found queues of nothing."""
    begin, end, strides = (np.array(v, np.int32) for v in ([0, 40, 0], [1, 48, 2], [1, 1, 1]))
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((3, 16)).astype(np.float32)
    tensors = (
        _float("x", 1, 48, 2),
        _constant("begin", begin),
        _constant("end", end),
        _constant("strides", strides),
        _float("last", 1, 8, 2),
        _constant("shape", np.array([1, 16], np.int32)),
        _float("flat", 1, 16),
        _constant("weights", weights),
        _float("y", 1, 3),
    )
    ops = (
        Op("STRIDED_SLICE", (0, 1, 2, 3), (4,)),
        Op("RESHAPE", (4, 5), (6,)),
        Op("FULLY_CONNECTED", (6, 7, -1), (8,)),
    )
    model = tcnstream.load(write_model([Graph(tensors, ops, (0,), (8,))]))
    assert model.state_bytes == 7 * 2 * 4
    x = rng.standard_normal((60, 2)).astype(np.float32)
    expected = np.stack([weights @ x[j + 40 : j + 48].reshape(-1) for j in range(13)])
    stream = model.stream()
    got = np.concatenate([*(stream.push(x[i : i + 1]) for i in range(60)), stream.flush()])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("engine", tcnstream.engines.base.ENGINES)
def test_a_sum_of_int8_values_is_not_left_to_a_kernel_that_misreads_them(engine: str) -> None:
    """LiteRT's reference SUM takes int8 for uint8."""
    scale, zero = np.array([0.5], np.float32), np.array([3], np.int64)
    q = Quantization(scale, zero)
    tensors = (
        Tensor("x", (1, 10, 4), np.dtype(np.int8), q),
        _constant("axes", np.array([2], np.int32)),
        Tensor("y", (1, 10, 1), np.dtype(np.int8), q),
    )
    content = write_model([Graph(tensors, (Op("SUM", (0, 1), (2,), {"keep_dims": True}),), (0,), (2,))])
    x = np.random.default_rng(4).integers(-20, 20, (10, 4)).astype(np.int8)
    try:
        stream = tcnstream.load(content).stream(engine)
    except tcnstream.EngineError as e:
        pytest.skip(str(e))
    expected = np.clip((x.astype(int) - 3).sum(axis=1, keepdims=True) + 3, -128, 127)
    np.testing.assert_array_equal(np.concatenate([stream.push(x), stream.flush()]), expected)


@pytest.mark.parametrize("chunk_frames", [1, 2, 7, 64])
def test_native_float_sums_are_the_reference_s_bits_whatever_the_chunk(chunk_frames: int) -> None:
    """Split and fused sums were 3e-5 from the reference where terms cancel, and differed with the chunk."""
    rng = np.random.default_rng(5)
    model = tcnstream.load(_wide_convolution(rng, filters=20, channels=33), time_axis=2)
    try:
        stream = model.stream("native")
    except tcnstream.EngineError as e:
        pytest.skip(str(e))
    x = (8 * rng.standard_normal((128, 1, 33))).astype(np.float32)
    whole = model.stream("reference")
    expected = np.concatenate([whole.push(x), whole.flush()])
    parts = [stream.push(x[i : i + chunk_frames]) for i in range(0, 128, chunk_frames)]
    np.testing.assert_array_equal(np.concatenate([*parts, stream.flush()]), expected)
