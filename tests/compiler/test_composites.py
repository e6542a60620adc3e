"""What litert-torch calls by a name streams as the graph that says it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.oracle import reference_kernels
from helpers.singleop import tensor

import tcnstream
from tcnstream import ModelError
from tcnstream.tflite.graph import Graph, Op
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.writer import write_model

SHAPE = (1, 9, 4)
COMPOSITE = "STABLEHLO_COMPOSITE"


def called(number: int) -> dict[str, Any]:
    return {"name": "odml.rms_norm", "decomposition_subgraph_index": number, "composite_attributes": (1, 2, 250)}


def graphs(*inner: Graph) -> list[Graph]:
    """NEG, then what the first of ``inner`` does, of whose two operands the second is a constant."""
    x, y, z = (tensor(SHAPE, np.float32) for _ in range(3))
    scale = tensor((4,), np.float32, data=np.arange(4, dtype=np.float32))
    ops = (Op("NEG", (0,), (1,), {}, 0), Op(COMPOSITE, (1, 3), (2,), called(1), 1))
    return [Graph((x, y, z, scale), ops, (0,), (2,)), *inner]


def product(second: Op | None = None) -> Graph:
    """The product of two operands, and ``second`` behind it."""
    tensors = (tensor(SHAPE, np.float32), tensor((4,), np.float32), *(tensor(SHAPE, np.float32) for _ in range(2)))
    first = Op("MUL", (0, 1), (2,), {}, 0)
    return Graph(tensors, (first,) if second is None else (first, second), (0, 1), (2 if second is None else 3,))


def test_a_composite_is_what_its_graph_does() -> None:
    inside = Graph((tensor(SHAPE, np.float32), tensor(SHAPE, np.float32)), (Op("TANH", (0,), (1,), {}, 0),), (0,), (1,))
    content = write_model(graphs(product(Op(COMPOSITE, (2,), (3,), called(2), 1)), inside))
    (read, *_) = read_model(content).main.ops[1:]
    assert read.options["name"] == "odml.rms_norm" and read.options["composite_attributes"] == (1, 2, 250)
    signal = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    (expected,) = reference_kernels(content, [signal])
    model = tcnstream.load(content, time_axis=1)
    assert len(engines_here(model)) == 3
    for engine in engines_here(model):
        verify_contract(model, signal[0], expected[0], engine=engine)


def test_a_composite_with_other_ends_than_its_graph_is_no_sound_model() -> None:
    lone = Graph((tensor(SHAPE, np.float32), tensor(SHAPE, np.float32)), (Op("TANH", (0,), (1,), {}, 0),), (0,), (1,))
    with pytest.raises(ModelError, match="has other ends than the graph that it calls"):
        tcnstream.load(write_model(graphs(lone)))
