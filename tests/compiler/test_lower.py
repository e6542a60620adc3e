"""What has a streaming form, what is refused by name, and what is no sound model at all."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.contract import verify_contract
from helpers.draws import drawn
from helpers.layers import arithmetic, convolution
from helpers.mutate import mutations
from helpers.netfile import Net, Value
from helpers.networks import build, layer, signals
from helpers.oracle import reference_kernels
from helpers.paths import DATA, MODELS
from hypothesis import given
from hypothesis import strategies as st

import tcnstream
from tcnstream import ModelError, NotStreamableError, TcnStreamError
from tcnstream.compiler.examine import examine
from tcnstream.engines.base import ENGINES
from tcnstream.tflite import validate
from tcnstream.tflite.graph import Graph, Op, Quantization, Tensor
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.writer import write_model

Chain = Callable[[Net, Value], Value]


def file_of(chain: Chain, shape: tuple[int, ...] = (1, 12, 4), dtype: str = "float32", seed: int = 0) -> bytes:
    net = Net(dtype, seed)
    net.output(chain(net, net.input(shape)))
    return net.content()


def one(net: Net, kind: str, x: Value, shape: tuple[int, ...], *operands: int, axis: int = 1, **options: Any) -> Value:
    y = net.value(shape, axis, 1.0)
    net.op(kind, [x.index, *operands], [y], **options)
    return y


def joined(net: Net, kind: str, a: Value, b: Value, shape: tuple[int, ...], **options: Any) -> Value:
    y = net.value(shape, 1, 1.0)
    net.op(kind, [a.index, b.index], [y], **options)
    return y


# --- refused by name ---------------------------------------------------------------------------


def attention(net: Net, x: Value) -> Value:
    scores = joined(net, "BATCH_MATMUL", x, x, (1, 12, 12), adj_y=True)
    weights = one(net, "SOFTMAX", scores, (1, 12, 12), beta=1.0)
    return joined(net, "BATCH_MATMUL", weights, x, (1, 12, 4))


def softmax_over_time(net: Net, x: Value) -> Value:
    return one(net, "SOFTMAX", net.transpose(x, (0, 2, 1)), (1, 4, 12), axis=2, beta=1.0)


def log_softmax_over_time(net: Net, x: Value) -> Value:
    return one(net, "LOG_SOFTMAX", net.transpose(x, (0, 2, 1)), (1, 4, 12), axis=2)


def argmax_over_time(net: Net, x: Value) -> Value:
    y = Tensor("y", (1, 4), np.dtype(np.int64))
    net.tensors.append(y)
    made = Value(len(net.tensors) - 1, y.shape, 1, 1.0, None)
    net.op("ARG_MAX", [x.index, net.constant(1, np.int32)], [made], output_type="INT64")
    return made


def product_over_time(net: Net, x: Value) -> Value:
    return one(net, "REDUCE_PROD", x, (1, 4), net.constant([1], np.int32))


def reversed_in_time(net: Net, x: Value) -> Value:
    return one(net, "REVERSE_V2", x, x.shape, net.constant([1], np.int32))


def backwards_slice(net: Net, x: Value) -> Value:
    begin, end, steps = (net.constant(v, np.int32) for v in ([0, 11, 0], [1, -13, 4], [1, -1, 1]))
    return one(net, "STRIDED_SLICE", x, x.shape, begin, end, steps)


def positional_code(net: Net, x: Value) -> Value:
    code = net.constant(np.arange(48).reshape(1, 12, 4), np.float32)
    y = net.value(x.shape, 1, 1.0)
    net.op("ADD", [x.index, code], [y], **arithmetic("ADD"))
    return y


def mixed_axes(net: Net, x: Value) -> Value:
    return net.reshape(x, (1, 8, 6), 1)


def two_halves_exchanged(net: Net, x: Value) -> Value:
    y = net.value(x.shape, 1, 1.0)
    net.op("CONCATENATION", [net.cut(x, 1, 6, 12).index, net.cut(x, 1, 0, 6).index], [y], axis=1)
    return y


def halves_of_halves(net: Net, x: Value) -> Value:
    y = net.value(x.shape, 1, 1.0)
    net.op("CONCATENATION", [net.cut(x, 1, 0, 12, 2).index, net.cut(x, 1, 0, 6).index], [y], axis=1)
    return y


def repeated_signal(net: Net, x: Value) -> Value:
    return one(net, "TILE", x, (1, 24, 4), net.constant([1, 2, 1], np.int32))


def kernels_over_a_batch_of_two(net: Net, x: Value) -> Value:
    twice = one(net, "TILE", net.reshape(x, (1, 1, 12, 4), 2), (2, 1, 12, 4), net.constant([2, 1, 1, 1], np.int32))
    return net.weighted("CONV_2D", twice, (2, 1, 12, 3), (3, 1, 1, 4), 0, 4, padding="SAME", stride_h=1, stride_w=1)


def minus_the_last_frame(net: Net, x: Value) -> Value:
    last = net.cut(x, 1, 11, 12)
    return joined(net, "SUB", x, last, x.shape, **arithmetic("SUB"))


def gated_by_all_frames(net: Net, x: Value) -> Value:
    gate = net.weighted("FULLY_CONNECTED", net.reshape(x, (1, 48), 1), (1, 4), (4, 48), 0, 48)
    return joined(net, "MUL", x, gate, x.shape, **arithmetic("MUL"))


def frames_of_two_rates(net: Net, x: Value) -> Value:
    slow = one(net, "MEAN", net.cut(x, 1, 2, 12, 2), (1, 1, 4), net.constant([1], np.int32), keep_dims=True)
    return joined(net, "MUL", x, slow, x.shape, **arithmetic("MUL"))


def bilinear(net: Net, x: Value) -> Value:
    four = net.reshape(x, (1, 12, 1, 4), 1)
    return one(net, "RESIZE_BILINEAR", four, (1, 17, 1, 4), net.constant([17, 1], np.int32))


def aligned_corners(net: Net, x: Value) -> Value:
    four = net.reshape(x, (1, 12, 1, 4), 1)
    size = net.constant([24, 1], np.int32)
    return one(net, "RESIZE_NEAREST_NEIGHBOR", four, (1, 24, 1, 4), size, align_corners=True)


def bilinear_corners(net: Net, x: Value) -> Value:
    four = net.reshape(x, (1, 12, 1, 4), 1)
    return one(net, "RESIZE_BILINEAR", four, (1, 24, 1, 4), net.constant([24, 1], np.int32), align_corners=True)


def masked_in_time(net: Net, x: Value) -> Value:
    mask = net.constant((np.arange(12) < 8).reshape(1, 12, 1), np.bool_)
    y = net.value(x.shape, 1, 1.0)
    net.op("SELECT_V2", [mask, x.index, net.constant(np.zeros((1, 1, 1)), np.float32)], [y])
    return y


def no_whole_multiple(net: Net, x: Value) -> Value:
    four = net.reshape(x, (1, 12, 1, 4), 1)
    return one(net, "RESIZE_NEAREST_NEIGHBOR", four, (1, 18, 1, 4), net.constant([18, 1], np.int32))


def sum_from_the_end(net: Net, x: Value) -> Value:
    return one(net, "CUMSUM", x, x.shape, net.constant(1, np.int32), reverse=True)


def spectrum(net: Net, x: Value) -> Value:
    return one(net, "RFFT2D", net.reshape(x, (1, 4, 12), 2), (1, 1, 9), net.constant([1, 16], np.int32))


def backwards(net: Net, x: Value) -> Value:
    y = net.value(x.shape, 1, 1.0)
    net.op("BIDIRECTIONAL_SEQUENCE_LSTM", [x.index, *[-1] * 47], [y], fused_activation_function="TANH")
    return y


def foreign(net: Net, x: Value) -> Value:
    return one(net, "CUSTOM", x, x.shape, custom_code="Wavelet")


REFUSED: list[tuple[Chain, str, str]] = [
    (attention, "BATCH_MATMUL", "multiplies the signal's frames with each other, as attention does"),
    (softmax_over_time, "SOFTMAX", "normalises over time"),
    (log_softmax_over_time, "LOG_SOFTMAX", "normalises over time"),
    (argmax_over_time, "ARG_MAX", "looks for an extreme along time"),
    (product_over_time, "REDUCE_PROD", "multiplies all 12 frames"),
    (reversed_in_time, "REVERSE_V2", "turns time around"),
    (backwards_slice, "STRIDED_SLICE", "turns time around"),
    (positional_code, "ADD", "which differs from frame to frame of the window"),
    (mixed_axes, "RESHAPE", "turns (1, 12, 4) into (1, 8, 6), which mixes time with other axes"),
    (two_halves_exchanged, "CONCATENATION", "puts the end of the window before its beginning"),
    (halves_of_halves, "CONCATENATION", "puts two signals one behind the other in time"),
    (repeated_signal, "TILE", "repeats the whole signal along time"),
    (kernels_over_a_batch_of_two, "CONV_2D", "works on a batch of 2"),
    (minus_the_last_frame, "SUB", "hands every frame what only the end of the window knows"),
    (gated_by_all_frames, "MUL", "hands every frame what only the end of the window knows"),
    (frames_of_two_rates, "MUL", "joins a statistic over 5 frames with others over 12"),
    (bilinear, "RESIZE_BILINEAR", "resizes 12 frames to 17, which is no whole multiple"),
    (aligned_corners, "RESIZE_NEAREST_NEIGHBOR", "aligns the corners of the window"),
    (bilinear_corners, "RESIZE_BILINEAR", "each of 23 steps is 11/23 of a frame: it depends on the length"),
    (masked_in_time, "SELECT_V2", "as circular padding and masks over time do"),
    (no_whole_multiple, "RESIZE_NEAREST_NEIGHBOR", "resizes 12 frames to 18, which is no whole multiple"),
    (sum_from_the_end, "CUMSUM", "sums from the end of the window"),
    (spectrum, "RFFT2D", "transforms the whole window at once"),
    (backwards, "BIDIRECTIONAL_SEQUENCE_LSTM", "steps backwards through the window"),
    (foreign, "CUSTOM", "is the custom operation `Wavelet`, whose code is not in the file"),
]


def test_what_is_picked_at_the_end_of_a_refused_file_is_in_the_way_too() -> None:
    seen = examine(read_model(file_of(lambda net, x: backwards_slice(net, sum_from_the_end(net, x)))))
    assert [refusal.text.split("`")[1] for refusal in seen.refusals] == ["CUMSUM", "STRIDED_SLICE"]


def test_what_mixes_a_batch_is_all_that_is_in_the_way_of_it() -> None:
    net = Net()
    x = net.input((3, 12, 4))
    net.output(net.same(x, "MEAN", (1, 12, 4), 1, net.constant([0], np.int32), keep_dims=True))
    (refusal,) = examine(read_model(net.content())).refusals
    assert "`MEAN` (op 0" in refusal.text and "mixes the 3 entries of the batch" in refusal.text


@pytest.mark.parametrize(("chain", "kind", "why"), REFUSED, ids=[chain.__name__ for chain, _, _ in REFUSED])
def test_what_has_no_streaming_form_is_refused_by_name(chain: Chain, kind: str, why: str) -> None:
    with pytest.raises(NotStreamableError) as refusal:
        tcnstream.load(file_of(chain)).stream()
    text = str(refusal.value)
    assert text.startswith(f"`{kind}` (op "), text
    assert why in text
    assert "End the model before it" in text or "Train with" in text


def test_inputs_that_cannot_be_signals() -> None:
    def batches_of_8_and_4(net: Net, x: Value) -> Value:
        net.output(one(net, "TANH", x, x.shape))
        return one(net, "SQRT", net.input((4, 12, 2)), (4, 12, 2))

    with pytest.raises(NotStreamableError, match=r"has a batch of 4; convert the model with a batch of 1"):
        tcnstream.load(file_of(batches_of_8_and_4, (8, 12, 2)), time_axis=1)
    with pytest.raises(NotStreamableError, match=r"has no axis 7; name one with time_axis="):
        tcnstream.load(file_of(lambda net, x: one(net, "TANH", x, x.shape)), time_axis=7)

    def unequal(net: Net, x: Value) -> Value:
        other = net.input((1, 24, 4))
        return joined(net, "ADD", x, net.cut(other, 1, 0, 12), x.shape, **arithmetic("ADD"))

    with pytest.raises(NotStreamableError, match="joins tensors of 1 and 2 frames per input frame"):
        tcnstream.load(file_of(unequal))


def test_the_time_axis_can_be_named() -> None:
    content = file_of(lambda net, x: one(net, "TANH", x, x.shape), (1, 6, 12, 4))
    assert tcnstream.load(content).inputs[0].shape == (12, 4)
    assert tcnstream.load(content, time_axis=2).inputs[0].shape == (6, 4)


# --- what has a form ---------------------------------------------------------------------------


def test_a_window_over_the_frames_of_a_spectrogram_with_its_bins() -> None:
    def head(net: Net, x: Value) -> Value:
        y = convolution(net, x, kernel=3, kernel_f=3, stride_f=2, channels=2)
        flat = net.reshape(y, (1, 12 * y.shape[2] * 2), 1)
        return net.weighted("FULLY_CONNECTED", flat, (1, 3), (3, flat.shape[1]), 0, flat.shape[1])

    content = file_of(head, (1, 12, 7, 1))
    model = tcnstream.load(content)
    (signal,) = signals(model.inputs, 12)
    verify_contract(model, signal, reference_kernels(content, [signal[None]])[0])


def test_dynamic_range_weights_stream_as_the_floats_they_stand_for() -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(-127, 128, (8, 1, 5, 4)).astype(np.int8)
    scale = rng.uniform(0.01, 0.02, 8).astype(np.float32)
    options = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    real = (raw * scale.reshape(-1, 1, 1, 1)).astype(np.float32)

    def content(weights: Tensor) -> bytes:
        x, y = (Tensor(n, (1, 1, 60, c), np.dtype(np.float32)) for n, c in (("x", 4), ("y", 8)))
        bias = Tensor("bias", (8,), np.dtype(np.float32), None, np.ones(8, np.float32))
        return write_model([Graph((x, weights, bias, y), (Op("CONV_2D", (0, 1, 2), (3,), options),), (0,), (3,))])

    q = Quantization(scale, np.zeros(8, np.int64), 0)
    dynamic = content(Tensor("w", raw.shape, raw.dtype, q, raw))
    model = tcnstream.load(dynamic)
    assert model.is_dynamic_range
    assert "dynamic-range weights: streamed with float activations" in model.summary()
    signal = rng.normal(0, 1, (60, 1, 4)).astype(np.float32)
    (expected,) = reference_kernels(
        content(Tensor("w", real.shape, real.dtype, None, real)), [signal.reshape(1, 1, 60, 4)]
    )
    verify_contract(model, signal, expected.reshape(60, 1, 8))
    (hybrid,) = reference_kernels(dynamic, [signal.reshape(1, 1, 60, 4)])
    distance = np.abs(hybrid - expected).max()
    assert 0 < distance < 0.05 * np.abs(expected).max()


# --- no sound model ----------------------------------------------------------------------------


def changed(content: bytes, **tensor_shapes: tuple[int, ...]) -> bytes:
    """The file with other shapes stated for tensors by name."""
    graph = read_model(content).graphs[0]
    tensors = tuple(dataclasses.replace(t, shape=tensor_shapes.get(t.name, t.shape)) for t in graph.tensors)
    return write_model([dataclasses.replace(graph, tensors=tensors)])


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_an_output_of_another_shape_than_it_must_have(kind: str, dtype: str) -> None:
    content = file_of(lambda net, x: convolution(net, net.as_4d(x), kernel=3, channels=4, kind=kind), dtype=dtype)
    tcnstream.load(content)
    graph = read_model(content).graphs[0]
    name = graph.tensors[graph.outputs[0]].name
    for shape in ((1, 11, 1, 4), (1, 12, 1, 5), (1, 12, 2, 4), (1, 12, 4)):
        with pytest.raises(
            ModelError, match=f"`{kind}` .* makes a tensor of shape .*; convert the model again|dimension"
        ):
            tcnstream.load(changed(content, **{name: shape}))


def operation(kind: str, operands: list[Any], out: tuple[int, ...], **options: Any) -> bytes:
    net = Net()
    x = net.input((1, 12, 1, 4))
    y = net.value(out, 1, 1.0)
    indices = []
    for operand in operands:
        absent = isinstance(operand, int)
        indices.append(operand if absent else x.index if isinstance(operand, str) else net.constant(operand))
    net.op(kind, indices, [y], **options)
    net.output(y)
    return net.content()


W = np.ones((4, 3, 1, 4), np.float32)
UNSOUND: dict[str, bytes] = {
    "no weights": operation("CONV_2D", ["x"], (1, 12, 1, 4), padding="SAME", stride_h=1, stride_w=1),
    "too many operands": operation("CONV_2D", ["x", W, W[:, 0, 0, 0], W], (1, 12, 1, 4), stride_h=1, stride_w=1),
    "weights of another depth": operation("CONV_2D", ["x", W[..., :3]], (1, 12, 1, 4), stride_h=1, stride_w=1),
    "weights of another rank": operation("CONV_2D", ["x", W[0]], (1, 12, 1, 4), stride_h=1, stride_w=1),
    "a stride of 0": operation("CONV_2D", ["x", W], (1, 12, 1, 4), stride_h=0, stride_w=1),
    "a stride below 0": operation("CONV_2D", ["x", W], (1, 12, 1, 4), stride_h=-1, stride_w=1),
    "a dilation of 0": operation("CONV_2D", ["x", W], (1, 12, 1, 4), stride_h=1, stride_w=1, dilation_h_factor=0),
    "a window longer than the signal": operation(
        "CONV_2D", ["x", W], (1, 1, 1, 4), padding="VALID", stride_h=1, stride_w=1, dilation_h_factor=9
    ),
    "a window of gigabytes": operation(
        "CONV_2D", ["x", W], (1, 12, 1, 4), padding="SAME", stride_h=1, stride_w=1, dilation_h_factor=2**31 - 1
    ),
    "a short bias": operation("CONV_2D", ["x", W, np.ones(3, np.float32)], (1, 12, 1, 4), stride_h=1, stride_w=1),
    "integer weights": operation("CONV_2D", ["x", W.astype(np.int32)], (1, 12, 1, 4), stride_h=1, stride_w=1),
    "ends that count from the begin": operation(
        "STRIDED_SLICE",
        ["x", *np.array([[0, 2, 0, 0], [1, 5, 1, 4], [1, 1, 1, 1]], np.int32)],
        (1, 3, 1, 4),
        offset=True,
    ),
    "two axes made of one": operation("EXPAND_DIMS", ["x", np.array(0, np.int32)], (1, 1, 1, 12, 1, 4)),
    "an axis left that is squeezed": operation("SQUEEZE", ["x"], (1, 12, 1, 4), squeeze_dims=(2,)),
    "a pool of nothing": operation("MAX_POOL_2D", ["x"], (1, 12, 1, 4), filter_height=0, filter_width=1),
    "paddings for other axes": operation("PAD", ["x", np.zeros((3, 2), np.int32)], (1, 12, 1, 4)),
    "paddings below 0": operation("PAD", ["x", np.array([[0, 0], [-1, 1], [0, 0], [0, 0]], np.int32)], (1, 12, 1, 4)),
    "paddings that are no integers": operation("PAD", ["x", np.zeros((4, 2), np.float32)], (1, 12, 1, 4)),
    "a mirror longer than the signal": operation(
        "MIRROR_PAD", ["x", np.array([[0, 0], [12, 0], [0, 0], [0, 0]], np.int32)], (1, 24, 1, 4), mode="REFLECT"
    ),
    "a huge padding": operation(
        "PAD", ["x", np.array([[0, 0], [2**26, 0], [0, 0], [0, 0]], np.int32)], (1, 2**26 + 12, 1, 4)
    ),
    "an axis that is not there": operation("CONCATENATION", ["x", W], (1, 12, 1, 8), axis=9),
    "a permutation with a repeat": operation("TRANSPOSE", ["x", np.array([0, 1, 1, 3], np.int32)], (1, 12, 12, 4)),
    "a dense layer of another depth": operation("FULLY_CONNECTED", ["x", np.ones((3, 5), np.float32)], (12, 3)),
    "shapes that do not broadcast": operation("ADD", ["x", np.ones(5, np.float32)], (1, 12, 1, 4)),
    "types that do not mix": operation("ADD", ["x", np.ones(4, np.int32)], (1, 12, 1, 4)),
    "an index out of range": operation("GATHER", ["x", np.array([9], np.int32)], (1, 12, 1, 1), axis=3),
    "a slice out of range": operation(
        "SLICE", ["x", np.array([0, 5, 0, 0], np.int32), np.array([1, 12, 1, 4], np.int32)], (1, 12, 1, 4)
    ),
    "a slice with a stride of 0": operation(
        "STRIDED_SLICE", ["x", *(np.array(v, np.int32) for v in ([0] * 4, [1, 12, 1, 4], [1, 0, 1, 1]))], (1, 12, 1, 4)
    ),
    "a statistic over an axis that is not there": operation("MEAN", ["x", np.array([7], np.int32)], (1, 12, 1)),
    "a signal that holds nothing": operation("CONV_2D", [np.zeros((1, 0, 1, 4), np.float32), W], (1, 12, 1, 4)),
    "a concatenation of nothing": operation("CONCATENATION", ["x", -1], (1, 12, 1, 4), axis=3),
    "a slope that is no number": operation("LEAKY_RELU", ["x"], (1, 12, 1, 4), alpha=math.nan),
    "a concatenation with an activation": operation(
        "CONCATENATION", ["x", W[:1]], (1, 15, 1, 4), axis=1, fused_activation_function="RELU"
    ),
    "shuffled weights": operation(
        "FULLY_CONNECTED", ["x", np.ones((3, 4), np.float32)], (12, 3), weights_format="SHUFFLED4x16INT8"
    ),
    "two values to pad with": operation(
        "PADV2", ["x", np.zeros((4, 2), np.int32), np.zeros(2, np.float32)], (1, 12, 1, 4)
    ),
    "an axis to squeeze that is not there": operation("SQUEEZE", ["x"], (1, 12, 4), squeeze_dims=(7,)),
    "axes to turn around twice": operation("REVERSE_V2", ["x", np.array([3, -1], np.int32)], (1, 12, 1, 4)),
    "a statistic that drops the axis that the file states": operation(
        "MEAN", ["x", np.array([3], np.int32)], (1, 12, 1, 1), keep_dims=False
    ),
    "the place of an extreme as a real number": operation(
        "ARG_MAX", ["x", np.array([3], np.int32)], (1, 12, 1), output_type="INT64"
    ),
    "strides in no list": operation("STRIDED_SLICE", [np.ones(3, np.float32), *np.int32([0, 2, 1])], (2,)),
    "a slice from no list": operation("SLICE", [np.ones(3, np.float32), *np.int32([0, 2])], (2,)),
    "paddings in a flat list": operation("PAD", ["x", np.zeros(8, np.int32)], (1, 12, 1, 4)),
    "a reshape whose shape is left out": operation("RESHAPE", ["x", -1], (1, 12, 4)),
    "a reshape to another size": operation("RESHAPE", ["x", np.array([1, 12, 5], np.int32)], (1, 12, 5)),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_operands_that_do_not_fit_together(what: str) -> None:
    with pytest.raises(ModelError) as error:
        tcnstream.load(UNSOUND[what])
    assert "op 0" in str(error.value)
    assert str(error.value).endswith("convert the model again")


@pytest.mark.parametrize("ends", ["inputs", "outputs"])
def test_a_model_without_an_end(ends: str) -> None:
    graph = graph_of("sig_valid.f32")
    graph = dataclasses.replace(graph, **{ends: (), "ops": () if ends == "inputs" else graph.ops})
    if ends == "inputs":
        graph = dataclasses.replace(graph, outputs=())
    with pytest.raises(ModelError, match="where both are needed; convert the model again"):
        tcnstream.load(write_model([graph]))


def test_more_indices_than_a_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged count of frames made forty million of them, each of which took a Python integer."""
    monkeypatch.setattr(validate, "MOST_INTEGERS", 3)
    content = operation("GATHER", ["x", np.zeros(4, np.int32)], (1, 12, 1, 4), axis=3)
    with pytest.raises(ModelError, match="has 4 values"):
        tcnstream.load(content)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_an_axis_that_grows_beside_a_kernel_over_every_frame_is_refused_by_name(padding: str) -> None:
    """Frames of (6, 1, 2) became (12, 3), not (12, 2, 3): the axis that the kernel does not weigh was taken for 1."""
    net = Net()
    x, weights = net.input((1, 6, 1, 2), 0), net.constant(np.ones((3, 2, 1, 2)), np.float32)
    y = net.value((1, 12, 2, 3), 0, 1.0)
    shape = net.constant(y.shape, np.int32)
    net.op("TRANSPOSE_CONV", [shape, weights, x.index], [y], padding=padding, stride_h=2, stride_w=2)
    net.output(y)
    with pytest.raises(NotStreamableError, match="makes 2 places of one"):
        tcnstream.load(net.content(), time_axis=0)


@pytest.mark.parametrize("kind", ["RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"])
@pytest.mark.parametrize("shape", [(1, 2, 1, 2), (1, 1, 1, 2)])
def test_an_axis_that_is_resized_beside_the_one_of_every_frame_is_refused_by_name(kind: str, shape: Any) -> None:
    """Frames of (2, 1, 2) were repeated in time, to (2, 2), not made (2, 5, 2)."""
    net = Net()
    x, size = net.input((9, *shape[1:]), 0), (shape[1], 5) if shape[1] > 1 else (5, 1)
    y = net.value((9, *size, 2), 0, 1.0)
    net.op(kind, [x.index, net.constant(size, np.int32)], [y])
    net.output(y)
    with pytest.raises(NotStreamableError, match="makes 5 places of one"):
        tcnstream.load(net.content(), time_axis=0)


@pytest.mark.parametrize("kind", ["RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_frame_of_one_place_is_resized(kind: str, engine: str) -> None:
    net = Net()
    x, y = net.input((9, 1, 1, 2), 0), net.value((9, 1, 11, 2), 0, 1.0)
    net.op(kind, [x.index, net.constant((1, 11), np.int32)], [y])
    net.output(y)
    frames = np.random.default_rng(0).normal(0, 1, (9, 1, 1, 2)).astype(np.float32)
    made = tcnstream.load(net.content(), time_axis=0).stream(engine).push(frames)
    np.testing.assert_array_equal(made, np.repeat(frames, 11, axis=2))


def test_the_length_of_a_complex_number_is_real() -> None:
    tensors = (
        Tensor("x", (4, 1, 16), np.dtype(np.float32)),
        Tensor("length", (2,), np.dtype(np.int32), data=np.array([1, 16], np.int32)),
        Tensor("bins", (4, 1, 9), np.dtype(np.complex64)),
        Tensor("y", (4, 1, 9), np.dtype(np.bool_)),
    )
    ops = (Op("RFFT2D", (0, 1), (2,)), Op("COMPLEX_ABS", (2,), (3,), index=1))
    with pytest.raises(ModelError, match="`y` is bool, not real numbers"):
        tcnstream.load(write_model([Graph(tensors, ops, (0,), (3,))]), time_axis=0)


def test_a_cut_that_leaves_nothing_of_a_frame_is_refused_by_name() -> None:
    """A file of nothing but 1s states 1 for a length of 0 as well."""
    net = Net()
    x = net.input((1, 1, 1))
    begin, end, strides = (net.constant(v, np.int32) for v in ([0, 0, 1], [1, 1, 1], [1, 1, 1]))
    net.output(one(net, "STRIDED_SLICE", x, (1, 1, 1), begin, end, strides, begin_mask=3, end_mask=3))
    with pytest.raises(NotStreamableError, match="cuts nothing out of a frame"):
        tcnstream.load(net.content(), time_axis=1)


def test_scales_along_another_axis_than_the_filters() -> None:
    """The core and the kernels would have scaled the outputs by those of other channels."""
    content = file_of(lambda net, x: convolution(net, net.as_4d(x), kernel=3, channels=4), dtype="int8")
    graph = read_model(content).graphs[0]
    weights = graph.tensors[graph.ops[-1].inputs[1]]
    q = Quantization(np.full(weights.shape[3], 0.1, np.float32), np.zeros(weights.shape[3], np.int64), 3)
    tensors = tuple(dataclasses.replace(t, quantization=q) if t is weights else t for t in graph.tensors)
    with pytest.raises(ModelError, match="with scales along axis 3; convert the model again"):
        tcnstream.load(write_model([dataclasses.replace(graph, tensors=tensors)]))


def test_a_batch_that_is_cut_by_what_is_computed_is_refused_by_name() -> None:
    """Of blocks that no constant says nothing is known; it was an assertion that failed."""
    net = Net()
    x = net.input((1, 12, 4))
    block = net.value((1,), 0, 1.0)
    net.tensors[block.index] = dataclasses.replace(net.tensors[block.index], dtype=np.dtype(np.int32))
    net.op("ARG_MAX", [x.index, net.constant(np.array([1], np.int32))], [block], output_type="INT32")
    y = net.value((2, 6, 4), 1, 1.0)
    net.op("SPACE_TO_BATCH_ND", [x.index, block.index, net.constant(np.zeros((1, 2), np.int32))], [y])
    net.output(y)
    with pytest.raises(TcnStreamError):
        tcnstream.load(net.content())


SEEDS = ("sig_valid.f32", "sig_decim2.f32", "sig_reflect.f32", "strided.i8", "nse_sm_se.i8", "spectro.i8", "causal.i16")
MAX_SECONDS = 3.0


def load_and_run(content: bytes) -> bool:
    """True if the file was streamed; any other exception than the package's own fails the test."""
    start = time.process_time()
    try:
        model = tcnstream.load(content)
        stream = model.stream("reference", time_pooling="trailing:5")
        stream.push(*signals(model.inputs, 9))
        stream.flush()
        return True
    except TcnStreamError:
        return False
    finally:
        assert time.process_time() - start < MAX_SECONDS


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_streamed_or_refused(name: str) -> None:
    """With the reader's own ten thousand: what it lets through must not break anything after it."""
    content = (MODELS / f"{name}.tflite").read_bytes()
    count = 300
    streamed = sum(load_and_run(damaged) for damaged in mutations(content, count, random.Random(name)))
    assert 0 < streamed < count


@pytest.mark.parametrize("name", ["stateful/ring2", "stateful/gru.i8", "stateful/tcn.u8", "spectra/preemph"])
def test_damaged_steps_and_front_ends_are_streamed_or_refused(name: str) -> None:
    content = (DATA / f"{name}.tflite").read_bytes()
    count = 200
    streamed = sum(load_and_run(damaged) for damaged in mutations(content, count, random.Random(name)))
    assert 0 < streamed < count


@drawn(300)
@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False))
def test_damaged_graphs_are_streamed_or_refused(name: str, rng: random.Random) -> None:
    """Sound files of unsound models: operands, options, constants and shapes changed one by one."""
    load_and_run(write_model([damaged_graph(graph_of(name), rng)]))


def graph_of(name: str) -> Graph:
    return read_model((MODELS / f"{name}.tflite").read_bytes()).graphs[0]


def damaged_graph(graph: Graph, rng: random.Random) -> Graph:
    tensors, ops = list(graph.tensors), list(graph.ops)
    numbers = (-1, 0, 1, 2, 3, 7, 255, 100_000, 2**31 - 1)
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.choice(("shape", "constant", "operand", "option", "kind", "type", "scale"))
        i, k = rng.randrange(len(tensors)), rng.randrange(len(ops))
        tensor, op = tensors[i], ops[k]
        if kind == "shape" and tensor.data is None and tensor.shape:
            shape = list(tensor.shape)
            shape[rng.randrange(len(shape))] = max(0, rng.choice(numbers[:-1]))
            tensors[i] = dataclasses.replace(tensor, shape=tuple(shape))
        elif kind == "constant" and tensor.data is not None and tensor.data.size and tensor.dtype.kind == "i":
            data = tensor.data.copy()
            limits = np.iinfo(data.dtype.str)
            data.reshape(-1)[rng.randrange(data.size)] = max(limits.min, min(limits.max, rng.choice(numbers)))
            tensors[i] = dataclasses.replace(tensor, data=data)
        elif kind == "operand" and op.inputs:
            inputs = list(op.inputs)
            inputs[rng.randrange(len(inputs))] = rng.choice((-1, *range(len(tensors))))
            ops[k] = dataclasses.replace(op, inputs=tuple(inputs))
        elif kind == "option" and op.options:
            name = rng.choice(sorted(op.options))
            if isinstance(op.options[name], int):
                value = bool(rng.getrandbits(1)) if isinstance(op.options[name], bool) else rng.choice(numbers)
                ops[k] = dataclasses.replace(op, options={**op.options, name: value})
        elif kind == "kind":
            other = rng.choice(ops)
            ops[k] = dataclasses.replace(op, kind=other.kind, options=other.options)
        elif kind == "type" and tensor.data is None:
            dtype = rng.choice((np.int8, np.int16, np.float32, np.int32, np.bool_))
            tensors[i] = dataclasses.replace(tensor, dtype=np.dtype(dtype))
        elif kind == "scale":
            q = Quantization(np.float32([rng.choice((1e-30, 1.0, 1e30))]), np.int64([0]), 0)
            tensors[i] = dataclasses.replace(tensor, quantization=rng.choice((None, q)))
    return dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def test_a_file_for_signals_of_any_length_states_ones() -> None:
    """Every axis of any length is 1 in such a file, and a window of three frames does not fit into it."""
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1}
    content = operation("CONV_2D", ["x", W[:1, :, :, :1]], (1, 12, 1, 1), **options)
    any_length = changed(content, t0=(1, 1, 1, 1), t1=(1, 1, 1, 1))
    model = tcnstream.load(any_length)
    assert (model.delay, model.receptive_field) == (2, 3)


def test_a_window_longer_than_a_frame_is_refused_where_the_file_states_ones() -> None:
    """The shape below 0 that followed was taken for one of any length, and the first push raised ValueError."""
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1}
    content = operation("CONV_2D", ["x", W[:1, :1, :, :1].repeat(2, 2)], (1, 12, 1, 1), **options)
    ones = changed(content, t0=(1, 1, 1, 1), t1=(1, 1, 1, 1))
    with pytest.raises(NotStreamableError, match="goes over a frame of 1 with a window of 2"):
        tcnstream.load(ones, time_axis=1)


def test_a_model_that_only_passes_the_signal_on() -> None:
    content = build([layer("crop", before=0, after=0)], 20).content
    model = tcnstream.load(content)
    (signal,) = signals(model.inputs, 33)
    verify_contract(model, signal, signal)
