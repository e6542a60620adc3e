"""What a file takes apart along time and puts together again streams as what it is in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.netfile import Net, Value
from helpers.oracle import reference_kernels

import tcnstream
from tcnstream import NotStreamableError
from tcnstream.compiler.selection import OUTSIDE, interpolated, repeated, selected
from tcnstream.measure.compare import FLOAT_TOLERANCE

FRAMES, CHANNELS = 12, 4
Chain = Callable[[Net, Value], Value]


def made(net: Net, kind: str, inputs: list[int], shape: tuple[int, ...], like: Value, **options: int) -> Value:
    y = net.value(shape, 1, like.spread, like.quantization)
    net.op(kind, inputs, [y], **options)
    return y


def side_by_side(net: Net, parts: list[Value], axis: int = 1) -> Value:
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return made(net, "CONCATENATION", [p.index for p in parts], tuple(shape), parts[0], axis=axis)


def pieces(net: Net, x: Value) -> list[Value]:
    parts = [net.value((1, 1, CHANNELS), 1, x.spread, x.quantization) for _ in range(FRAMES)]
    net.op("SPLIT", [net.constant(1, np.int32), x.index], parts, num_splits=FRAMES)
    return parts


def repetition(net: Net, x: Value) -> Value:
    """As Keras writes UpSampling1D."""
    return side_by_side(net, [part for part in pieces(net, x) for _ in range(3)])


def reflection(net: Net, x: Value) -> Value:
    """Reflect padding as slices that are turned around."""
    left, right = net.cut(x, 1, 1, 4), net.cut(x, 1, FRAMES - 3, FRAMES - 1)
    turned = [net.same(v, "REVERSE_V2", v.shape, 1, net.constant([1], np.int32)) for v in (left, right)]
    return side_by_side(net, [turned[0], x, turned[1]])


def replication(net: Net, x: Value) -> Value:
    """Replicate padding as the first frame, once more and once more."""
    first = net.cut(x, 1, 0, 1)
    return side_by_side(net, [first, first, first, x])


def shift(net: Net, x: Value) -> Value:
    """Zeros in front, as many frames cut off behind."""
    zero = x.quantization.zero_point[0] if x.quantization else 0
    zeros = net.constant(np.full((1, 2, CHANNELS), zero), net.dtype, x.quantization)
    kept = net.cut(x, 1, 0, FRAMES - 2)
    return made(net, "CONCATENATION", [zeros, kept.index], x.shape, x, axis=1)


def network_for_each_frame(net: Net, x: Value) -> Value:
    """As Keras writes TimeDistributed: each frame sliced, the same layer for it, and all of them packed."""
    weights = net.constant(np.eye(3, CHANNELS) + 0.5, np.float32)
    frames = []
    for k in range(FRAMES):
        begin, end, steps = (net.constant(v, np.int32) for v in ([0, k, 0], [1, k + 1, CHANNELS], [1, 1, 1]))
        frame = made(net, "STRIDED_SLICE", [x.index, begin, end, steps], (1, CHANNELS), x, shrink_axis_mask=2)
        dense = made(net, "FULLY_CONNECTED", [frame.index, weights], (1, 3), x)
        frames.append(made(net, "TANH", [dense.index], (1, 3), x))
    return made(net, "PACK", [f.index for f in frames], (1, FRAMES, 3), x, axis=1, values_count=FRAMES)


def interpolation(net: Net, x: Value) -> Value:
    """As litert-torch writes Upsample(mode="linear"): two gathers and a table."""
    places = np.maximum((np.arange(2 * FRAMES) + 0.5) / 2 - 0.5, 0)
    low = np.floor(places).astype(np.int32)
    high = np.minimum(low + 1, FRAMES - 1).astype(np.int32)
    shape = (1, 2 * FRAMES, CHANNELS)
    a, b = (made(net, "GATHER", [x.index, net.constant(k)], shape, x, axis=1, batch_dims=0) for k in (low, high))
    table = net.constant((places - low).astype(np.float32).reshape(1, -1, 1))
    difference = made(net, "SUB", [b.index, a.index], shape, x)
    part = made(net, "MUL", [difference.index, table], shape, x)
    return made(net, "ADD", [a.index, part.index], shape, x)


MOVES = (repetition, reflection, replication, shift)
SUMS = (network_for_each_frame, interpolation)
"""In integers each frame of them would have a scale of its own."""


@pytest.mark.parametrize(
    ("chain", "dtype"),
    [*((chain, "float32") for chain in (*MOVES, *SUMS)), *((chain, "int8") for chain in MOVES)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_taken_apart_and_put_together(chain: Chain, dtype: str) -> None:
    net = Net(dtype)
    x = net.input((1, FRAMES, CHANNELS))
    net.output(chain(net, x))
    content = net.content()
    signal = net.rng.integers(-90, 90, (1, FRAMES, CHANNELS)).astype(dtype)
    expected = reference_kernels(content, [signal])[0]
    model = tcnstream.load(content, time_axis=1)
    for engine in engines_here(model):
        verify_contract(model, signal[0], expected[0], engine=engine)


def test_an_order_that_goes_on_in_no_stream_is_refused() -> None:
    net = Net()
    x = net.input((1, FRAMES, CHANNELS))
    halves = net.cut(x, 1, 0, 6), net.cut(x, 1, 6, FRAMES)
    net.output(side_by_side(net, [halves[1], halves[0]]))
    with pytest.raises(NotStreamableError, match="in an order that goes on in no stream"):
        tcnstream.load(net.content(), time_axis=1)


@pytest.mark.parametrize(("up", "down"), [(2, 1), (3, 1), (5, 1), (1, 2), (3, 2), (2, 3)])
@pytest.mark.parametrize("half", [0.5, 0.0])
def test_a_table_is_an_interpolation_where_it_repeats(up: int, down: int, half: float) -> None:
    """The filter gives what the table gives, on other windows than the one that it was found on."""

    def table(frames: int) -> tuple[np.ndarray, np.ndarray]:
        places = np.clip((np.arange(frames * up // down) + half) * down / up - half, 0, frames - 1)
        low = np.floor(places).astype(np.int64)
        return np.stack([low, np.minimum(low + 1, frames - 1)], 1), np.stack([1 - places + low, places - low], 1)

    found = interpolated(*table(60), 60)
    assert found is not None
    sets, window = found
    assert window.up == up and window.stride == down and window.edge == "hold"
    for frames in (12, 24, 90):
        index, weights = table(frames)
        x = np.random.default_rng(frames).normal(size=frames)
        held = np.pad(x, 8, mode="edge")
        for j, expected in zip(count(), (weights * x[index]).sum(1)):
            place = j * window.stride - window.pad_begin
            first = -(-place // up)
            got = sum(w * held[8 + first + t] for t, w in enumerate(sets[-place % up]))
            assert got == pytest.approx(expected, abs=FLOAT_TOLERANCE)


def test_a_table_that_follows_the_window_is_none() -> None:
    """Corners upon corners: the weights never repeat."""
    places = np.arange(24) * 11 / 23
    low = np.minimum(np.floor(places), 10).astype(np.int64)
    assert interpolated(np.stack([low, low + 1], 1), np.stack([1 - places + low, places - low], 1), 12) is None


def test_what_an_index_selects() -> None:
    ramp = np.arange(9)
    assert selected(np.r_[OUTSIDE, OUTSIDE, ramp], 9).pad_begin == 2
    assert selected(np.r_[OUTSIDE, ramp[:-1]], 9).pad_end == -1
    assert selected(ramp[::-1], 9) is None
    assert selected(np.roll(ramp, 3), 9) is None
    times, window = repeated(np.r_[0, np.repeat(ramp, 2)[:-1]], 9)
    assert times == 2 and window is not None and (window.pad_begin, window.edge) == (1, "hold")


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_the_first_frame_repeated_on_an_axis_of_its_own(dtype: str) -> None:
    """As ``tf.repeat`` writes it: padding by hold in front of a causal kernel."""
    net = Net(dtype)
    x = net.input((1, FRAMES, CHANNELS))
    first = net.reshape(net.cut(x, 1, 0, 1), (1, 1, 1, CHANNELS), 2)
    shape = (1, 1, 4, CHANNELS)
    held = net.reshape(net.same(first, "BROADCAST_TO", shape, 2, net.constant(shape, np.int32)), (1, 4, CHANNELS), 1)
    net.output(side_by_side(net, [held, x]))
    content, signal = net.content(), net.rng.integers(-90, 90, (1, FRAMES, CHANNELS)).astype(dtype)
    (expected,) = reference_kernels(content, [signal])
    model = tcnstream.load(content, time_axis=1)
    for engine in engines_here(model):
        verify_contract(model, signal[0], expected[0], engine=engine)


@pytest.mark.parametrize("frames", [18, 8, 30])
def test_the_nearest_frame_at_any_ratio(frames: int) -> None:
    """As litert-torch writes an up-sampling to a size: a gather at 3 to 2, 2 to 3 and 5 to 2."""
    net = Net()
    x = net.input((1, FRAMES, CHANNELS))
    places = np.arange(frames) * FRAMES // frames
    net.output(net.same(x, "GATHER", (1, frames, CHANNELS), 1, net.constant(places, np.int32)))
    net.ops[-1] = replace(net.ops[-1], options={"axis": 1})
    content, signal = net.content(), net.rng.normal(size=(1, FRAMES, CHANNELS)).astype(np.float32)
    (expected,) = reference_kernels(content, [signal])
    model = tcnstream.load(content, time_axis=1)
    for engine in engines_here(model):
        verify_contract(model, signal[0], expected[0], engine=engine)
