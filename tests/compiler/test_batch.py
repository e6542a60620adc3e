"""A file of a batch above 1 is as many streams side by side, unless something mixes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.netfile import Net, Value
from helpers.oracle import reference_kernels

import tcnstream
from tcnstream import NotStreamableError

BATCH, FRAMES, CHANNELS = 4, 12, 6
Chain = Callable[[Net, Value], Value]


def made(
    net: Net, kind: str, inputs: list[int], shape: tuple[int, ...], like: Value, time: int = 1, **options: int
) -> Value:
    y = net.value(shape, time, like.spread, like.quantization)
    net.op(kind, inputs, [y], **options)
    return y


def dense(net: Net, x: Value) -> Value:
    """Frames of all entries one behind the other, as Keras hands them to a Dense layer."""
    rows = net.reshape(x, (BATCH * FRAMES, CHANNELS), 0)
    weights = net.constant(net.rng.normal(size=(3, CHANNELS)), np.float32)
    y = made(net, "FULLY_CONNECTED", [rows.index, weights], (BATCH * FRAMES, 3), rows, 0)
    return net.reshape(y, (BATCH, FRAMES, 3), 1)


def convolution(net: Net, x: Value) -> Value:
    wide = net.reshape(x, (BATCH, 1, FRAMES, CHANNELS), 2)
    weights = net.constant(net.rng.normal(size=(2, 1, 3, CHANNELS)), np.float32)
    bias = net.constant(np.ones(2), np.float32)
    y = net.value((BATCH, 1, FRAMES, 2), 2, 1.0)
    net.op("CONV_2D", [wide.index, weights, bias], [y], padding="SAME", stride_h=1, stride_w=1)
    return net.reshape(y, (BATCH, FRAMES, 2), 1)


def channels_first(net: Net, x: Value) -> Value:
    turned = net.transpose(x, (0, 2, 1))
    first = net.cut(turned, 1, 0, 2)
    both = made(net, "CONCATENATION", [first.index, turned.index], (BATCH, CHANNELS + 2, FRAMES), turned, 2, axis=1)
    return net.transpose(both, (0, 2, 1))


def table(net: Net, x: Value) -> Value:
    """A constant for each entry."""
    return made(net, "ADD", [x.index, net.constant(net.rng.normal(size=(BATCH, 1, CHANNELS)), np.float32)], x.shape, x)


def looked_up(net: Net, x: Value) -> Value:
    """Functions whose rule asks more than their shape."""
    return made(net, "LOGISTIC", [made(net, "TANH", [x.index], x.shape, x).index], x.shape, x)


def recurrent(net: Net, x: Value) -> Value:
    """A recurrent layer over each sequence."""
    weights = [net.constant(net.rng.normal(size=shape), np.float32) for shape in ((3, CHANNELS), (3, 3), (3,))]
    options = {"fused_activation_function": "TANH", "time_major": False}
    hidden = net.variable((BATCH, 3))
    return made(net, "UNIDIRECTIONAL_SEQUENCE_RNN", [x.index, *weights, hidden], (*x.shape[:2], 3), x, **options)


def matrix_in_front(net: Net, x: Value) -> Value:
    """A matrix times the columns of each entry."""
    turned = net.transpose(x, (0, 2, 1))
    matrix = net.constant(net.rng.normal(size=(5, CHANNELS)), np.float32)
    y = made(net, "BATCH_MATMUL", [matrix, turned.index], (BATCH, 5, FRAMES), turned, 2)
    return net.transpose(y, (0, 2, 1))


def running_sum(net: Net, x: Value) -> Value:
    return made(net, "CUMSUM", [x.index, net.constant(1, np.int32)], x.shape, x)


def mean_of_entries(net: Net, x: Value) -> Value:
    return made(net, "MEAN", [x.index, net.constant([0], np.int32)], (1, *x.shape[1:]), x, keep_dims=True)


def entries_side_by_side(net: Net, x: Value) -> Value:
    """The batch among the channels, and a dense layer over both."""
    turned = net.transpose(x, (1, 0, 2))
    rows = net.reshape(turned, (FRAMES, BATCH * CHANNELS), 0)
    weights = net.constant(net.rng.normal(size=(3, BATCH * CHANNELS)), np.float32)
    return made(net, "FULLY_CONNECTED", [rows.index, weights], (FRAMES, 3), rows, 0)


def second_entry(net: Net, x: Value) -> Value:
    return net.cut(x, 0, 1, 2)


CHAINS = [dense, convolution, channels_first, table, looked_up, recurrent, matrix_in_front, running_sum]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.__name__)
def test_the_first_entry_is_the_stream(chain: Chain) -> None:
    net = Net()
    x = net.input((BATCH, FRAMES, CHANNELS))
    net.output(chain(net, x))
    content = net.content()
    signal = net.rng.normal(size=(BATCH, FRAMES, CHANNELS)).astype(np.float32)
    expected = reference_kernels(content, [signal])[0]
    model = tcnstream.load(content, time_axis=1)
    for engine in engines_here(model):
        verify_contract(model, signal[0], expected[0], engine=engine)


@pytest.mark.parametrize(
    ("chain", "kind"),
    [(mean_of_entries, "MEAN"), (entries_side_by_side, "FULLY_CONNECTED"), (second_entry, "STRIDED_SLICE")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_mixes_the_entries_is_named(chain: Chain, kind: str) -> None:
    net = Net()
    net.output(chain(net, net.input((BATCH, FRAMES, CHANNELS))))
    with pytest.raises(NotStreamableError, match=rf"`{kind}` \(op .* mixes the 4 entries of the batch"):
        tcnstream.load(net.content(), time_axis=1)
