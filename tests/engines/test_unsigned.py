"""uint8 with zero points of their own, as old converters write it, against LiteRT's kernels in every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from helpers.singleop import tensor

import tcnstream
from tcnstream import EngineError, Stream
from tcnstream.engines.base import ENGINES
from tcnstream.engines.interpreter.runtime import find_runtime, run_offline
from tcnstream.measure.verify import verify
from tcnstream.tflite.graph import Array, Graph, Op, OptionValue, Tensor
from tcnstream.tflite.writer import write_model

RNG = np.random.default_rng(0)
FRAMES, CHANNELS = 24, 5
FLAT, SQUARE = (1, FRAMES, CHANNELS), (1, FRAMES, 1, CHANNELS)
PLAIN: dict[str, OptionValue] = {"fused_activation_function": "NONE"}
CONV: dict[str, OptionValue] = {
    "stride_w": 1,
    "stride_h": 1,
    "dilation_w_factor": 1,
    "dilation_h_factor": 1,
    "fused_activation_function": "RELU6",
    "padding": "SAME",
}
POOL: dict[str, OptionValue] = {
    "padding": "SAME",
    "stride_h": 1,
    "stride_w": 1,
    "filter_height": 4,
    "filter_width": 1,
    "fused_activation_function": "RELU6",
}


def u8(shape: Sequence[int], scale: float = 0.05, zero: int | None = None) -> Tensor:
    return tensor(shape, np.uint8, scale, int(RNG.integers(0, 256)) if zero is None else zero)


def fixed(shape: Sequence[int], scale: float = 0.01, zero: int | None = None) -> Tensor:
    zero = int(RNG.integers(0, 256)) if zero is None else zero
    return tensor(shape, np.uint8, scale, zero, data=RNG.integers(0, 256, shape), name="weights")


def bias(filters: int) -> Tensor:
    return tensor((filters,), np.int32, 0.0005, 0, data=RNG.integers(-3000, 3000, filters), name="bias")


def whole(values: Any) -> Tensor:
    return tensor(np.shape(values), np.int32, data=np.array(values, np.int32))


def pair(kind: str, out: float, options: Mapping[str, OptionValue] = PLAIN) -> tuple[Any, ...]:
    return kind, [u8(FLAT), u8(FLAT, 0.03)], u8(FLAT, out), options


CASES: dict[str, tuple[str, list[Tensor], Tensor, Mapping[str, OptionValue]]] = {
    "conv": ("CONV_2D", [u8(SQUARE), fixed((7, 3, 1, CHANNELS)), bias(7)], u8((1, FRAMES, 1, 7), 0.04), CONV),
    "conv symmetric": (
        "CONV_2D",
        [u8(SQUARE), fixed((7, 3, 1, CHANNELS), zero=128), bias(7)],
        u8((1, FRAMES, 1, 7), 0.04),
        CONV,
    ),
    "conv of bands": (
        "CONV_2D",
        [u8((1, FRAMES, 8, 2)), fixed((4, 3, 3, 2), zero=3), bias(4)],
        u8((1, FRAMES, 8, 4), 0.03),
        CONV,
    ),
    "depthwise": (
        "DEPTHWISE_CONV_2D",
        [u8(SQUARE), fixed((1, 3, 1, 10)), bias(10)],
        u8((1, FRAMES, 1, 10), 0.02),
        CONV | {"depth_multiplier": 2},
    ),
    "dense": (
        "FULLY_CONNECTED",
        [u8(FLAT), fixed((6, CHANNELS)), bias(6)],
        u8((1, FRAMES, 6), 0.04),
        {"fused_activation_function": "RELU", "keep_num_dims": True, "weights_format": "DEFAULT"},
    ),
    "transposed": (
        "TRANSPOSE_CONV",
        [whole([1, 2 * FRAMES, 1, 4]), fixed((4, 3, 1, CHANNELS), zero=3), u8(SQUARE)],
        u8((1, 2 * FRAMES, 1, 4), 0.04),
        {"padding": "SAME", "stride_h": 2, "stride_w": 1},
    ),
    "add": pair("ADD", 0.09, {"fused_activation_function": "RELU"}),
    "sub": pair("SUB", 0.09),
    "mul": pair("MUL", 0.09, {"fused_activation_function": "RELU6"}),
    "add constant": ("ADD", [u8(FLAT), fixed((CHANNELS,), 0.03)], u8(FLAT, 0.09), PLAIN),
    "div": ("DIV", [u8(FLAT, 0.05, 10), u8(FLAT, 0.03, 0)], u8(FLAT, 0.2), PLAIN),
    "maximum": ("MAXIMUM", [u8(FLAT, 0.05, 17), u8(FLAT, 0.05, 17)], u8(FLAT, 0.05, 17), {}),
    "max pool": ("MAX_POOL_2D", [u8(SQUARE, 0.05, 100)], u8(SQUARE, 0.05, 100), POOL),
    "average pool": ("AVERAGE_POOL_2D", [u8(SQUARE, 0.05, 100)], u8(SQUARE, 0.05, 100), POOL),
    "relu6": ("RELU6", [u8(FLAT)], u8(FLAT, 0.03), {}),
    "logistic": ("LOGISTIC", [u8(FLAT)], u8(FLAT, 1 / 256, 0), {}),
    "tanh": ("TANH", [u8(FLAT)], u8(FLAT, 1 / 128, 128), {}),
    "hard swish": ("HARD_SWISH", [u8(FLAT)], u8(FLAT, 0.03), {}),
    "leaky relu": ("LEAKY_RELU", [u8(FLAT)], u8(FLAT, 0.03), {"alpha": 0.3}),
    "gelu": ("GELU", [u8(FLAT)], u8(FLAT, 0.03), {"approximate": False}),
    "prelu": ("PRELU", [u8(SQUARE), fixed((1, 1, CHANNELS), 0.02)], u8(SQUARE, 0.05), {}),
    "softmax": ("SOFTMAX", [u8(FLAT)], u8(FLAT, 1 / 256, 0), {"beta": 1.0}),
    "log softmax": ("LOG_SOFTMAX", [u8(FLAT)], u8(FLAT, 16 / 256, 255), {}),
    "concatenation": (
        "CONCATENATION",
        [u8(FLAT, 0.05, 9), u8((1, FRAMES, 3), 0.05, 9)],
        u8((1, FRAMES, CHANNELS + 3), 0.05, 9),
        PLAIN | {"axis": 2},
    ),
    "pad": (
        "PAD",
        [u8(FLAT, 0.05, 33), whole([[0, 0], [2, 3], [1, 0]])],
        u8((1, FRAMES + 5, CHANNELS + 1), 0.05, 33),
        {},
    ),
    "resize": (
        "RESIZE_NEAREST_NEIGHBOR",
        [u8(SQUARE, 0.05, 33), whole([2 * FRAMES, 1])],
        u8((1, 2 * FRAMES, 1, CHANNELS), 0.05, 33),
        {},
    ),
    "mean": ("MEAN", [u8(FLAT), whole([2])], u8((1, FRAMES, 1), 0.04), {"keep_dims": True}),
    "greatest": ("REDUCE_MAX", [u8(FLAT, 0.05, 33), whole([2])], u8((1, FRAMES, 1), 0.05, 33), {"keep_dims": True}),
    "less": ("LESS", [u8(FLAT), u8(FLAT, 0.03)], tensor(FLAT, np.bool_), {}),
    "requantized": ("QUANTIZE", [u8(FLAT)], u8(FLAT, 0.03), {}),
    "dequantized": ("DEQUANTIZE", [u8(FLAT)], tensor(FLAT, np.float32), {}),
}
LACKING = {
    ("conv of bands", "native"): "`CONV_2D` with weights that have a zero point",
    ("transposed", "native"): "`TRANSPOSE_CONV` with weights that have a zero point",
}


def file_of(*layers: tuple[str, list[Tensor], Tensor, Mapping[str, OptionValue]]) -> bytes:
    """Layers one after the other: each reads the output of the one before in the place of its first operand."""
    tensors: list[Tensor] = []
    ops: list[Op] = []
    for kind, operands, output, options in layers:
        places = []
        for k, operand in enumerate(operands):
            if ops and k == 0:
                places.append(ops[-1].outputs[0])
            else:
                tensors.append(operand)
                places.append(len(tensors) - 1)
        tensors.append(output)
        ops.append(Op(kind, tuple(places), (len(tensors) - 1,), options))
    made = {o for op in ops for o in op.outputs}
    inputs = tuple(i for i, t in enumerate(tensors) if t.data is None and i not in made)
    return write_model([Graph(tuple(tensors), tuple(ops), inputs, ops[-1].outputs)])


def streamed(stream: Stream, signal: Sequence[Array], sizes: Sequence[int]) -> Array:
    stream.reset()
    begin, parts = 0, []
    for n in sizes:
        parts.append(stream.push(*(x[begin : begin + n] for x in signal)))
        begin += n
    return np.concatenate([np.asarray(part) for part in (*parts, stream.flush())])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_uint8_is_what_the_reference_kernels_give(name: str, engine: str) -> None:
    content = file_of(CASES[name])
    model = tcnstream.load(content, time_axis=1)
    if (name, engine) in LACKING:
        with pytest.raises(EngineError, match=LACKING[name, engine]):
            model.stream(engine)
        return
    rng = np.random.default_rng(1)
    signal = [rng.integers(0, 256, (FRAMES, *spec.shape)).astype(np.uint8) for spec in model.inputs]
    arrays = [x.reshape(model.graph.tensors[i].shape) for x, i in zip(signal, model.file_inputs, strict=True)]
    (expected,) = run_offline(content, arrays)
    stream = model.stream(engine)
    for sizes in ([FRAMES], [1] * FRAMES, [5, 9, 10]):
        made = streamed(stream, signal, sizes)
        np.testing.assert_allclose(
            made.reshape(expected.shape), expected, rtol=0 if expected.dtype.kind == "u" else 1e-6
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dense_layer_rounds_once(engine: str) -> None:
    """LiteRT's kernel for uint8 does, as that for int8; one sum in two hundred showed that ours rounded twice."""
    rng, frames = np.random.default_rng(5), 400
    for _ in range(6):
        scales = rng.uniform(0.005, 0.05, 3)
        layer = (
            "FULLY_CONNECTED",
            [u8((1, frames, CHANNELS), scales[0]), fixed((6, CHANNELS), scales[1])],
            u8((1, frames, 6), scales[2], 128),
            {"fused_activation_function": "NONE", "keep_num_dims": True, "weights_format": "DEFAULT"},
        )
        x = rng.integers(0, 256, (frames, CHANNELS)).astype(np.uint8)
        content = file_of(layer)
        if find_runtime().wrong_dense_reference:
            pytest.skip(
                "the reference kernels of tflite-runtime 2.14 round uint8 twice; those of LiteRT are the oracle"
            )
        (expected,) = run_offline(content, [x[None]])
        np.testing.assert_array_equal(streamed(tcnstream.load(content).stream(engine), [x], [frames]), expected[0])


def network() -> bytes:
    hidden = (1, FRAMES, 1, 7)
    return file_of(
        CASES["conv"],
        ("AVERAGE_POOL_2D", [u8(hidden)], CASES["conv"][2], POOL),
        (
            "DEPTHWISE_CONV_2D",
            [u8(hidden), fixed((1, 3, 1, 7)), bias(7)],
            u8(hidden, 0.05),
            CONV | {"depth_multiplier": 1},
        ),
        ("LOGISTIC", [u8(hidden)], u8(hidden, 1 / 256, 0), {}),
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_of_uint8_passes_verify(engine: str) -> None:
    assert verify(tcnstream.load(network()), engine=engine, chunkings=2).passed


def test_snapshots_lanes_and_taps_of_uint8_are_uint8() -> None:
    model = tcnstream.load(network())
    x = RNG.integers(0, 256, (3, 60, *model.inputs[0].shape)).astype(np.uint8)
    whole_answers = [model.stream("reference").push(lane) for lane in x]
    for first in ("native", "reference"):
        for second in ("native", "reference"):
            one, other = model.stream(first), model.stream(second)
            begun = one.push(x[0][:23])
            other.restore(one.snapshot())
            made = np.concatenate([np.asarray(begun), np.asarray(other.push(x[0][23:]))])
            np.testing.assert_array_equal(made, whole_answers[0])
    pool = model.pool(lanes=3, engine="native")
    for made, expected in zip(pool.push(x), whole_answers, strict=True):
        np.testing.assert_array_equal(made, expected)


def test_what_uint8_does_otherwise_is_named_and_left_to_the_interpreter() -> None:
    scaled = file_of(
        (
            "CONCATENATION",
            [u8(FLAT, 0.05, 9), u8((1, FRAMES, 3), 0.02, 90)],
            u8((1, FRAMES, CHANNELS + 3), 0.06, 19),
            PLAIN | {"axis": 2},
        )
    )
    model = tcnstream.load(scaled)
    for engine in ("reference", "native"):
        with pytest.raises(EngineError, match="`CONCATENATION` with uint8 of several scales"):
            model.stream(engine)
    assert model.stream().engine == "interpreter"
    assert verify(model, chunkings=2).passed
