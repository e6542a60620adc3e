"""Channels first, as PyTorch has them: reshapes that cut time or make it, and layers over all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.netfile import Net, Value, quantization
from helpers.oracle import reference_kernels

import tcnstream
from tcnstream import NotStreamableError

CHANNELS, FRAMES = 3, 12
Chain = Callable[[Net, Value], Value]


def repeat_interleave(net: Net, x: Value) -> Value:
    wide = net.reshape(x, (1, CHANNELS, FRAMES, 1), 2)
    shape = (1, CHANNELS, FRAMES, 4)
    each = net.same(wide, "BROADCAST_TO", shape, 2, net.constant(shape, np.int32))
    return net.reshape(each, (1, CHANNELS, 4 * FRAMES), 2)


def pixel_shuffle(net: Net, x: Value) -> Value:
    """Channels become frames between the frames."""
    apart = net.reshape(x, (1, 1, CHANNELS, FRAMES), 3)
    return net.reshape(net.transpose(apart, (0, 1, 3, 2)), (1, 1, CHANNELS * FRAMES), 2)


def patches(net: Net, x: Value) -> Value:
    """Every four frames of all channels as one vector."""
    cut = net.transpose(net.reshape(x, (1, CHANNELS, FRAMES // 4, 4), 2), (0, 2, 1, 3))
    return net.reshape(cut, (1, FRAMES // 4, 4 * CHANNELS), 1)


def einsum(net: Net, x: Value) -> Value:
    """A matrix times all frames, channels in the place of the batch."""
    return net.reshape(times(net, net.reshape(x, (CHANNELS, FRAMES), 1)), (1, 5, FRAMES), 2)


def columns(net: Net, x: Value) -> Value:
    """A matrix times what stands beside time, of each channel."""
    return times(net, net.reshape(x, (CHANNELS, FRAMES, 1, 1), 1))


def rows_beside(net: Net, x: Value) -> Value:
    """Rows of a frame times a matrix, both turned around."""
    cube = net.transpose(net.reshape(x, (1, CHANNELS, FRAMES // 4, 4), 2), (2, 0, 1, 3))
    return times(net, cube, right=True, turned=True)


def times(net: Net, x: Value, right: bool = False, turned: bool = False) -> Value:
    """``x`` times a constant matrix, on its left, or on its ``right``; ``turned``: both are stored turned around."""
    depth, rows = x.shape[-2:] if turned or not right else x.shape[:-3:-1]
    matrix = net.weights((5, depth) if not right or turned else (depth, 5), 0, depth)[0]
    q = net.tensors[matrix].quantization
    if q is not None:  # a product has one scale
        net.tensors[matrix] = replace(net.tensors[matrix], quantization=quantization(float(q.scale[0]), 3))
    y = net.value((*x.shape[:-2], rows, 5) if right else (*x.shape[:-2], 5, rows), x.axis, 1.0)
    net.op("BATCH_MATMUL", [x.index, matrix] if right else [matrix, x.index], [y], adj_x=turned, adj_y=turned)
    return y


def stacked_in_front(net: Net, x: Value) -> Value:
    y = net.value((2, *x.shape), 3, 1.0, x.quantization)
    net.op("PACK", [x.index, x.index], [y], axis=0, values_count=2)
    return y


def repeated_in_front(net: Net, x: Value) -> Value:
    shape = (2, CHANNELS, FRAMES)
    return net.same(x, "BROADCAST_TO", shape, 2, net.constant(shape, np.int32))


def first_of_a_batch_of_one(net: Net, x: Value) -> Value:
    """And then its second channel."""
    channels = net.value((CHANNELS, FRAMES), 1, 1.0, x.quantization)
    net.op("GATHER", [x.index, net.constant(0, np.int32)], [channels], axis=0)
    second = net.value((FRAMES,), 0, 1.0, x.quantization)
    net.op("GATHER", [channels.index, net.constant(1, np.int32)], [second], axis=0)
    return second


FRONT = [einsum, columns, rows_beside, stacked_in_front, repeated_in_front, first_of_a_batch_of_one]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("chain", [repeat_interleave, pixel_shuffle, patches, *FRONT], ids=lambda chain: chain.__name__)
def test_reshapes_of_time(chain: Chain, dtype: str) -> None:
    net = Net(dtype)
    x = net.input((1, CHANNELS, FRAMES), 2)
    y = chain(net, x)
    net.output(y)
    content, signal = net.content(), net.rng.integers(-90, 90, (1, CHANNELS, FRAMES)).astype(dtype)
    expected = np.moveaxis(reference_kernels(content, [signal])[0], y.axis, 0)
    model = tcnstream.load(content, time_axis=2)
    for engine in engines_here(model):
        whole = expected.reshape(-1, *model.outputs[0].shape)
        verify_contract(model, signal[0].T, whole, engine=engine)


def test_a_dense_layer_over_all_frames_of_each_channel() -> None:
    """Each channel has its own answer, made of its own frames."""
    net = Net()
    x = net.input((1, CHANNELS, FRAMES), 2)
    weights = net.constant(net.rng.normal(size=(5, FRAMES)), np.float32)
    y = net.value((1, CHANNELS, 5), 1, 1.0)
    net.op("FULLY_CONNECTED", [x.index, weights], [y], keep_num_dims=True)
    net.output(y)
    content, signal = net.content(), net.rng.normal(size=(1, CHANNELS, FRAMES)).astype(np.float32)
    expected = reference_kernels(content, [signal])[0]
    model = tcnstream.load(content, time_axis=2)
    for engine in engines_here(model):
        got = model.stream(engine=engine).push(signal[0].T)
        np.testing.assert_allclose(got[-1], expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_channels_and_time_without_a_batch(dtype: str) -> None:
    """As PyTorch's layers take a signal without a batch: (C, T)."""
    net = Net(dtype)
    x = net.input((CHANNELS, FRAMES), 1)
    four = net.transpose(net.reshape(x, (1, CHANNELS, 1, FRAMES), 3), (0, 2, 3, 1))
    options = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    y = net.weighted("CONV_2D", four, (1, 1, FRAMES, 5), (5, 1, 3, CHANNELS), 0, 9, **options)
    net.output(net.reshape(net.transpose(y, (0, 3, 1, 2)), (5, FRAMES), 1))
    content, signal = net.content(), net.rng.integers(-90, 90, (CHANNELS, FRAMES)).astype(dtype)
    (expected,) = reference_kernels(content, [signal])
    model = tcnstream.load(content)
    assert model.plan.input_axes == (1,)
    for engine in engines_here(model):
        verify_contract(model, signal.T, expected.T, engine=engine)


def test_a_dense_layer_over_all_frames_of_channels_without_a_batch() -> None:
    net = Net()
    x = net.input((CHANNELS, FRAMES), 1)
    weights = net.constant(net.rng.normal(size=(5, FRAMES)), np.float32)
    y = net.value((CHANNELS, 5), 0, 1.0)
    net.op("FULLY_CONNECTED", [x.index, weights], [y], keep_num_dims=True)
    net.output(y)
    content, signal = net.content(), net.rng.normal(size=(CHANNELS, FRAMES)).astype(np.float32)
    (expected,) = reference_kernels(content, [signal])
    model = tcnstream.load(content, time_axis=1)
    for engine in engines_here(model):
        verify_contract(model, signal.T, expected[None], engine=engine)


def test_a_norm_over_groups_of_channels_and_time() -> None:
    """As onnx2tf writes PyTorch's GroupNorm; over all frames so far the last one is as the file has it."""
    net, channels, groups = Net(), 6, 2
    x = net.input((1, channels, FRAMES), 2)
    merged = net.transpose(net.reshape(x, (1, groups, channels // groups * FRAMES), 2), (0, 2, 1))
    mean = over_both(net, "MEAN", merged, net.constant([1], np.int32))
    centred = pair(net, "SUB", merged, mean)
    power = over_both(net, "MEAN", pair(net, "MUL", merged, merged), net.constant([1], np.int32))
    scaled = pair(net, "MUL", centred, net.same(power, "RSQRT", power.shape, 1))
    net.output(net.reshape(net.transpose(scaled, (0, 2, 1)), (1, channels, FRAMES), 2))
    content, signal = net.content(), net.rng.normal(size=(1, channels, FRAMES)).astype(np.float32)
    (expected,) = reference_kernels(content, [signal])
    model = tcnstream.load(content, time_axis=2)
    with pytest.raises(NotStreamableError, match=r"`MEAN` \(op 2, .*averages all 12 frames of the window"):
        model.stream()
    for engine in engines_here(model, time_pooling="cumulative"):
        stream = model.stream(engine=engine, time_pooling="cumulative")
        made = np.concatenate([stream.push(signal[0].T), stream.flush()])
        np.testing.assert_allclose(made[-1], expected[0, :, -1], rtol=1e-4, atol=1e-5)


def over_both(net: Net, kind: str, x: Value, axes: int) -> Value:
    return net.same(x, kind, (1, 1, x.shape[2]), 1, axes, keep_dims=True)


def pair(net: Net, kind: str, x: Value, y: Value) -> Value:
    return net.same(x, kind, x.shape, x.axis, y.index)
