"""Channels first, as PyTorch has them: reshapes that cut time or make it, and layers over all of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.netfile import Net, Value
from helpers.oracle import reference_kernels

import tcnstream

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


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("chain", [repeat_interleave, pixel_shuffle, patches], ids=lambda chain: chain.__name__)
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
