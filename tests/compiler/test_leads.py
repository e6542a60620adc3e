"""The last frame of a window, an earlier one and a layer over all frames meet at the same window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers.contract import engines_here
from helpers.netfile import Net, Value
from helpers.oracle import reference_kernels

import tcnstream
from tcnstream.measure.compare import FLOAT_TOLERANCE, agrees

FRAMES, CHANNELS = 8, 4
Chain = Callable[[Net, Value], Value]


def frame(net: Net, x: Value, k: int) -> Value:
    """Frame ``k`` of the window, (1, CHANNELS)."""
    begin, end, steps = (net.constant(v, np.int32) for v in ([0, k, 0], [1, k + 1, CHANNELS], [1, 1, 1]))
    y = net.value((1, CHANNELS), 1, x.spread, x.quantization)
    net.op("STRIDED_SLICE", [x.index, begin, end, steps], [y], shrink_axis_mask=2)
    return y


def last(net: Net, x: Value) -> Value:
    return frame(net, x, x.shape[1] - 1)


def dense(net: Net, x: Value) -> Value:
    """A layer over all frames of the window, (1, CHANNELS)."""
    flat = net.value((1, FRAMES * CHANNELS), 1, x.spread, x.quantization)
    net.op("RESHAPE", [x.index, net.constant([1, FRAMES * CHANNELS], np.int32)], [flat])
    weights = net.constant(net.rng.normal(0, 1, (CHANNELS, FRAMES * CHANNELS)), np.float32)
    y = net.value((1, CHANNELS), 1, x.spread, x.quantization)
    net.op("FULLY_CONNECTED", [flat.index, weights], [y])
    return y


def sum_of(net: Net, *parts: Value) -> Value:
    total, *rest = parts
    for part in rest:
        y = net.value(total.shape, 1, total.spread, total.quantization)
        net.op("ADD", [total.index, part.index], [y])
        total = y
    return total


def pairs(net: Net, x: Value) -> Value:
    """Neighbouring frames added up: a window that is one frame shorter."""
    return sum_of(net, net.cut(x, 1, 0, FRAMES - 1), net.cut(x, 1, 1, FRAMES))


CHAINS: dict[str, Chain] = {
    "the last and an earlier frame": lambda net, x: sum_of(net, last(net, x), frame(net, x, 2)),
    "the last and a layer over all": lambda net, x: sum_of(net, last(net, x), dense(net, x)),
    "the last of two windows": lambda net, x: sum_of(net, last(net, x), last(net, pairs(net, x))),
    "what was joined and the last": lambda net, x: sum_of(
        net, last(net, x), frame(net, x, 2), last(net, pairs(net, x)), dense(net, x), last(net, x)
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_every_window_of_the_stream_has_the_answer_of_the_file(name: str) -> None:
    net = Net("float32")
    x = net.input((1, FRAMES, CHANNELS))
    net.output(CHAINS[name](net, x))
    content = net.content()
    signal = net.rng.normal(0, 1, (3 * FRAMES, CHANNELS)).astype(np.float32)
    windows = [signal[k : k + FRAMES] for k in range(len(signal) - FRAMES + 1)]
    expected = np.concatenate([reference_kernels(content, [window[None]])[0] for window in windows])
    model = tcnstream.load(content, time_axis=1)
    for engine in engines_here(model):
        stream = model.stream(engine)
        made = np.concatenate([*(stream.push(part) for part in np.split(signal, [1, 5, 6, 13])), stream.flush()])
        assert agrees(made[len(made) - len(expected) :], expected, FLOAT_TOLERANCE).all(), engine
