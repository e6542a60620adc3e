"""Operations whose form over frames is more than their own name, as whole models in all engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.netfile import Net, Value
from helpers.oracle import reference_kernels
from helpers.singleop import tensor

import tcnstream
from tcnstream import NotStreamableError
from tcnstream.tflite.graph import Graph, Op, Tensor
from tcnstream.tflite.shapes import same_padding
from tcnstream.tflite.writer import write_model

FRAMES = 21


def model(kind: str, x: Tensor, y: Tensor, *constants: Any, **options: Any) -> bytes:
    tensors = [x, *(tensor(np.shape(c), np.asarray(c).dtype, data=c) for c in constants), y]
    op = Op(kind, tuple(range(len(tensors) - 1)), (len(tensors) - 1,), options)
    return write_model([Graph(tuple(tensors), (op,), (0,), (len(tensors) - 1,))])


def holds(content: bytes, x: Any, least_engines: int = 3) -> None:
    (expected,) = reference_kernels(content, [x[None]])
    loaded = tcnstream.load(content)
    engines = engines_here(loaded)
    assert len(engines) >= least_engines
    for engine in engines:
        verify_contract(loaded, x, expected[0], engine=engine)


def floats(*shape: int) -> Any:
    return np.random.default_rng(0).normal(0, 3, (FRAMES, *shape)).astype(np.float32)


@pytest.mark.parametrize("axes", [[2], [3], [2, 3], [-1]])
def test_values_of_a_frame_are_turned_around(axes: list[int]) -> None:
    x = tensor((1, FRAMES, 3, 4), np.float32)
    holds(model("REVERSE_V2", x, x, np.array(axes, np.int32)), floats(3, 4))


def test_one_value_turned_around_is_itself() -> None:
    x = tensor((1, FRAMES, 1, 4), np.float32)
    content = model("REVERSE_V2", x, x, np.array([2], np.int32))
    assert not tcnstream.load(content).plan.nodes


@pytest.mark.parametrize("kind", ["FLOOR_DIV", "FLOOR_MOD"])
def test_floors_of_quotients(kind: str) -> None:
    """Of tenths by a tenth: in float32 each third quotient is rounded up to the next integer."""
    x = tensor((1, FRAMES, 4), np.float32)
    tenths = (np.round(floats(4) * 10) * np.float32(0.1)).astype(np.float32)
    content = model(kind, x, x, np.array([0.1, -0.1, 0.7, 2.0], np.float32))
    holds(content, tenths, least_engines=2)
    assert f"lacks `{kind}`" in tcnstream.load(content).native_lacks()[0]


@pytest.mark.parametrize("length", [0.0, 1e-9, 1.0, 1e9, 1e20, 1e37])
def test_vectors_of_unit_length(length: float) -> None:
    x = tensor((1, FRAMES, 3, 4), np.float32)
    holds(model("L2_NORMALIZATION", x, x), floats(3, 4) * np.float32(length))


def test_vectors_of_unit_length_in_integers() -> None:
    x, y = tensor((1, FRAMES, 4), np.int8, 0.1, 5), tensor((1, FRAMES, 4), np.int8, 1 / 128)
    signal = np.random.default_rng(0).integers(-128, 128, (FRAMES, 4)).astype(np.int8)
    signal[3] = 5
    holds(model("L2_NORMALIZATION", x, y), signal, least_engines=2)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(("axis", "reverse"), [(1, False), (2, False), (-1, True)])
def test_running_sums(axis: int, reverse: bool, exclusive: bool) -> None:
    """Along time what is fed back, of which a pool and a snapshot know; beside time a chain."""
    x = tensor((1, FRAMES, 3, 4), np.float32)
    content = model("CUMSUM", x, x, np.int32(axis), exclusive=exclusive, reverse=reverse)
    holds(content, floats(3, 4))


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_sums_of_constants(reverse: bool, exclusive: bool) -> None:
    table = floats(4)[:3]
    tensors = [tensor((1, FRAMES, 3, 4), np.float32), tensor(table.shape, np.float32, data=table)]
    tensors += [tensor((), np.int32, data=np.int32(0)), tensor(table.shape, np.float32), tensors[0]]
    summed = Op("CUMSUM", (1, 2), (3,), {"exclusive": exclusive, "reverse": reverse}, 0)
    product = Op("MUL", (0, 3), (4,), {}, 1)
    holds(write_model([Graph(tuple(tensors), (summed, product), (0,), (4,))]), floats(3, 4))


def table_model(table: Tensor, y: Tensor, places: Any = np.int32) -> bytes:
    tensors = (tensor((1, FRAMES, 2), places), table, y)
    return write_model([Graph(tensors, (Op("GATHER", (1, 0), (2,), {"axis": 0}),), (0,), (2,))])


@pytest.mark.parametrize("places", [np.int32, np.int64])
def test_rows_of_a_table_by_the_signals_values(places: Any) -> None:
    rows, shape = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32), (1, FRAMES, 2, 3)
    x = np.random.default_rng(0).integers(0, 7, (FRAMES, 2)).astype(places)
    content = table_model(tensor(rows.shape, np.float32, data=rows), tensor(shape, np.float32), places)
    holds(content, x)
    # LiteRT stops at rows that are not there.
    assert not tcnstream.load(content).stream().push(np.array([[7, -1]], places)).any()


def test_rows_of_a_table_in_integers() -> None:
    rows = np.random.default_rng(1).integers(-128, 128, (200, 3)).astype(np.int8)
    y = tensor((1, FRAMES, 2, 3), np.int8, 0.3, -17)
    x = np.random.default_rng(0).integers(0, 200, (FRAMES, 2)).astype(np.int32)
    holds(table_model(tensor(rows.shape, np.int8, 0.3, -17, data=rows), y), x)


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_ones_at_the_signals_values(axis: int) -> None:
    """Beside time, on either side of it; 9 and -1 are no place."""
    shape = {-1: (1, FRAMES, 2, 5), 1: (1, 5, FRAMES, 2), 2: (1, FRAMES, 5, 2)}[axis]
    tensors = [tensor((1, FRAMES, 2), np.int32), tensor((), np.int32, data=np.int32(5))]
    tensors += [tensor((), np.float32, data=np.float32(v)) for v in (1.5, -0.5)]
    op = Op("ONE_HOT", (0, 1, 2, 3), (4,), {"axis": axis})
    content = write_model([Graph((*tensors, tensor(shape, np.float32)), (op,), (0,), (4,))])
    x = np.random.default_rng(0).integers(-1, 10, (FRAMES, 2)).astype(np.int32)
    (expected,) = reference_kernels(content, [x[None]])
    loaded = tcnstream.load(content, time_axis=1)
    frames = np.moveaxis(expected[0], 1, 0) if axis == 1 else expected[0]
    for engine in engines_here(loaded):
        verify_contract(loaded, x, frames, engine=engine)


def test_what_is_turned_around_may_have_a_scale_of_its_own() -> None:
    """The converter calibrates it by itself, and LiteRT moves the integers as they are."""
    x, y = tensor((1, FRAMES, 3, 4), np.int8, 0.1, 5), tensor((1, FRAMES, 3, 4), np.int8, 0.09, -7)
    signal = np.random.default_rng(0).integers(-128, 128, (FRAMES, 3, 4)).astype(np.int8)
    holds(model("REVERSE_V2", x, y, np.array([2, 3], np.int32)), signal)
    with pytest.raises(NotStreamableError, match="turns nothing around and gives its values another scale"):
        tcnstream.load(model("REVERSE_V2", x, y, np.array([0], np.int32)))


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (4, 1), (3, 3)])
def test_means_that_count_padding(size: int, stride: int) -> None:
    """PyTorch's pools, as onnx2tf writes them: a mean without padding, and the frames at its ends scaled."""
    net = Net()
    x = net.input((1, FRAMES, 1, 4))
    y = net.value((1, -(-FRAMES // stride), 1, 4), 1, 1.0)
    net.op(
        "AVERAGE_POOL_2D",
        [x.index],
        [y],
        padding="SAME",
        stride_h=stride,
        stride_w=1,
        filter_height=size,
        filter_width=1,
    )
    flat = net.reshape(y, (1, y.frames, 4), 1)
    before, after = same_padding(FRAMES, size, stride, 1)
    parts = [net.cut(flat, 1, k, k + 1) for k in range(y.frames)]
    counted = [
        (size - max(0, before - k * stride) - max(0, k * stride - before + size - FRAMES)) / size
        for k in range(y.frames)
    ]
    assert (before, after) != (0, 0) or min(counted) == 1
    scaled = [multiplied(net, part, share) if share < 1 else part for part, share in zip(parts, counted, strict=True)]
    whole = net.value(flat.shape, 1, 1.0)
    net.op("CONCATENATION", [part.index for part in scaled], [whole], axis=1)
    net.output(whole)
    holds(net.content(), floats(1, 4))


def multiplied(net: Net, x: Value, factor: float) -> Value:
    y = net.value(x.shape, 1, 1.0)
    net.op("MUL", [x.index, net.constant(factor, np.float32)], [y])
    return y


@pytest.mark.parametrize("frames", [7, 14, 28])
@pytest.mark.parametrize("half_pixel", [False, True])
def test_resized_at_a_ratio_of_whole_numbers(frames: int, half_pixel: bool) -> None:
    """To a third, to two thirds and to four thirds of as many frames."""
    net = Net()
    x = net.input((1, FRAMES, 1, 4))
    y = net.value((1, frames, 1, 4), 1, 1.0)
    size = net.constant([frames, 1], np.int32)
    net.op("RESIZE_BILINEAR", [x.index, size], [y], half_pixel_centers=half_pixel)
    net.output(y)
    holds(net.content(), floats(1, 4))


def test_rows_of_a_table_as_pytorch_looks_them_up() -> None:
    rows = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    tensors = [tensor((1, FRAMES), np.int32), tensor((1,), np.int32, data=[FRAMES]), tensor((FRAMES,), np.int32)]
    tensors += [tensor(rows.shape, np.float32, data=rows), tensor((FRAMES, 3), np.float32)]
    ops = (Op("RESHAPE", (0, 1), (2,), {}, 0), Op("EMBEDDING_LOOKUP", (2, 3), (4,), {}, 1))
    content = write_model([Graph(tuple(tensors), ops, (0,), (4,))])
    x = np.random.default_rng(0).integers(0, 7, FRAMES).astype(np.int32)
    (expected,) = reference_kernels(content, [x[None]])
    loaded = tcnstream.load(content)
    for engine in engines_here(loaded):
        verify_contract(loaded, x, expected, engine=engine)
