"""Operations whose form over frames is more than their own name, as whole models in all engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.oracle import reference_kernels
from helpers.singleop import tensor

import tcnstream
from tcnstream.tflite.graph import Graph, Op, Tensor
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
