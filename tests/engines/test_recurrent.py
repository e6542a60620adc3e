"""Recurrent layers: a whole signal from the state at its start, in every engine, whatever the chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.contract import assert_frames, engines_here, verify_contract
from helpers.networks import build, layer, signals
from helpers.paths import DATA
from helpers.recurrent_files import lstm, lstm_int8, rnn, svdf, svdf_int8, whole_answer

import tcnstream
from tcnstream import ModelError, NotStreamableError
from tcnstream.compiler.unrolled import roll_up
from tcnstream.measure.compare import FLOAT_TOLERANCE, chunks
from tcnstream.measure.verify import verify
from tcnstream.tflite.graph import Array, Quantization, Tensor
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.writer import write_model

CONVERTED = DATA / "converted"
LOOPS = ("k2_gru", "k3_conv_gru_last")
LAYERS = {
    "plain": lambda: lstm(9, 3, 5),
    "clipped": lambda: lstm(9, 3, 5, cell_clip=0.3),
    "coupled": lambda: lstm(9, 3, 5, coupled=True, peephole=True),
    "peephole": lambda: lstm(9, 3, 5, peephole=True),
    "projection": lambda: lstm(9, 3, 5, units=4, proj_clip=0.4),
    "norm": lambda: lstm(9, 3, 5, norm=True),
    "all of it": lambda: lstm(9, 3, 6, units=4, norm=True, peephole=True, cell_clip=0.5),
    "time first": lambda: lstm(9, 3, 5, time_major=True),
    "another activation": lambda: lstm(9, 3, 5, activation="RELU6", cell_clip=3.0),
    "rnn": lambda: rnn(9, 3, 5),
    "rnn, time first": lambda: rnn(9, 3, 5, time_major=True, activation="RELU"),
    "svdf": lambda: svdf(3, 4, 1, 5),
    "svdf of rank 2": lambda: svdf(3, 4, 2, 5, activation="RELU"),
}
ENGINES = ("reference", "interpreter", "native")


def opened(name: str) -> tcnstream.Model:
    return tcnstream.load(CONVERTED / f"{name}.tflite")


def whole_signal(model: tcnstream.Model, frames: int) -> tuple[Array, tuple[Array, ...]]:
    """Noise, and the reference engine's answer to all of it at once."""
    x = np.random.default_rng(frames).standard_normal((frames, *model.inputs[0].shape)).astype(np.float32)
    if model.inputs[0].dtype != np.float32:
        x = np.round(x * 50).clip(-128, 127).astype(model.inputs[0].dtype)
    stream = model.stream("reference")
    parts = [_each(stream.push(x)), _each(stream.flush())]
    return x, tuple(np.concatenate(made) for made in zip(*parts, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", LOOPS)
def test_the_contract_holds_over_many_windows(name: str, engine: str) -> None:
    model = opened(name)
    if engine not in engines_here(model):
        pytest.skip(f"the {engine} engine is not installed")
    x, expected = whole_signal(model, 40)
    verify_contract(model, x, expected, engine=engine, chunkings=1)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_goes_on_where_the_window_ends(layer: str) -> None:
    """LiteRT's kernels remember from one invocation to the next, so that its windows in a row are the whole signal."""
    content = LAYERS[layer]()
    model = tcnstream.load(content)
    (axis,) = model.plan.input_axes
    assert axis is not None
    x = np.random.default_rng(1).standard_normal((36, *model.inputs[0].shape)).astype(np.float32)
    expected = (whole_answer(content, x, axis),)
    for engine in engines_here(model):
        stream = model.stream(engine)
        for sizes in ([36], [1] * 36, [2, 17, 0, 9, 8]):
            stream.reset()
            got = [stream.push(chunk) for (chunk,) in chunks((x,), sizes)]
            whole = np.concatenate([*got, stream.flush()]).reshape(36, -1)
            assert_frames((whole,), expected, FLOAT_TOLERANCE, f"{engine}, {sizes[:3]}")


ENDLESS = {
    "rnn without activation": lambda: rnn(9, 3, 5, activation="NONE"),
    "rectified rnn": lambda: rnn(9, 3, 5, activation="RELU"),
    "svdf": lambda: svdf(3, 4, 2, 3),
    "rectified svdf": lambda: svdf(3, 4, 2, 3, activation="RELU"),
    "lstm": lambda: lstm(9, 3, 5),
    "rectified lstm": lambda: lstm(9, 3, 5, activation="RELU"),
    "lstm with norms": lambda: lstm(9, 3, 5, norm=True),
}


@pytest.mark.parametrize(
    ("name", "special"),
    # A norm's mean of numbers near the largest overflows in the kernel's float32, not in float64.
    [(n, v) for n in ENDLESS for v in (np.inf, -np.inf, np.nan, 3e38) if (n, v) != ("lstm with norms", 3e38)],
)
def test_a_layer_keeps_an_infinity_where_its_kernel_does(name: str, special: float) -> None:
    """It held the largest number, as an operation of its own does, and went on from there."""
    content = ENDLESS[name]()
    model = tcnstream.load(content)
    (axis,) = model.plan.input_axes
    assert axis is not None
    x = np.random.default_rng(1).standard_normal((18, *model.inputs[0].shape)).astype(np.float32)
    x[4].reshape(-1)[0] = special
    expected = (whole_answer(content, x, axis),)
    for engine in ("reference", "native"):
        stream = model.stream(engine)
        whole = np.concatenate([stream.push(x[:7]), stream.push(x[7:]), stream.flush()]).reshape(18, -1)
        assert_frames((whole,), expected, FLOAT_TOLERANCE, engine)


@pytest.mark.parametrize("content", [LAYERS["plain"](), svdf(3, 4, 2, 5), lstm_int8(8, 3, 4), svdf_int8(3, 4, 2, 5)])
def test_a_layer_keeps_the_contract(content: bytes) -> None:
    model = tcnstream.load(content)
    x, expected = whole_signal(model, 30)
    verify_contract(model, x, expected, engine="native", chunkings=1)


@pytest.mark.parametrize("seed", range(10))
def test_layers_of_integers_are_identical(seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth, units = (int(n) for n in rng.integers(1, 10, 2))
    clip, exponent = (0.0, 0.5, 10.0)[seed % 3], (-12, -11, -15, -9, -14)[seed % 5]
    files = (
        (lstm_int8(8, depth, units, coupled=seed % 2 == 1, cell_clip=clip, cell_exponent=exponent, seed=seed), 1),
        (svdf_int8(depth, units, 1 + seed % 3, 1 + seed % 5, seed=seed), 0),
    )
    for content, axis in files:
        model = tcnstream.load(content)
        x = rng.integers(-128, 128, (32, depth)).astype(np.int8)
        expected = whole_answer(content, x, axis)
        for engine in engines_here(model):
            stream = model.stream(engine)
            got = [stream.push(chunk) for (chunk,) in chunks((x,), [5, 1, 26])]
            assert_frames((np.concatenate([*got, stream.flush()]),), (expected,), 0, f"{engine}, seed {seed}")


@pytest.mark.parametrize("exponent", [-16, -8])
def test_cells_in_other_steps_than_the_kernels_have_are_refused(exponent: int) -> None:
    with pytest.raises(NotStreamableError, match="no power of two from"):
        tcnstream.load(lstm_int8(8, 3, 4, cell_exponent=exponent))


def test_what_has_no_answer_of_its_own_is_refused() -> None:
    with pytest.raises(NotStreamableError, match="give whatever their memory held before"):
        tcnstream.load(lstm(9, 3, 5, activation="NONE"))


@pytest.mark.parametrize(
    ("content", "operand"),
    [
        (svdf_int8(1, 2, 1, 3), 3),
        (svdf(2, 2, 1, 3), 3),
        (lstm_int8(8, 3, 4), 13),
        (lstm(8, 3, 4), 13),
        (rnn(8, 3, 4), 3),
    ],
    ids=["svdf of int8", "svdf", "lstm of int8", "lstm", "rnn"],
)
def test_weights_in_the_place_of_a_bias_are_refused(content: bytes, operand: int) -> None:
    """Its size was that of a bias, and the first push raised ValueError."""
    graph = read_model(content).main
    op = graph.ops[0]
    inputs = (*op.inputs[:operand], op.inputs[2], *op.inputs[operand + 1 :])
    swapped = replace(graph, ops=(replace(op, inputs=inputs),))
    with pytest.raises(ModelError):
        tcnstream.load(write_model([swapped]))
    other = list(graph.tensors)
    bias = other[op.inputs[operand]]
    assert bias.data is not None
    other[op.inputs[operand]] = replace(bias, dtype=np.dtype(np.int8), data=bias.data.astype(np.int8))
    with pytest.raises(ModelError, match="adds the int8 of"):
        tcnstream.load(write_model([replace(graph, tensors=tuple(other))]))


@pytest.mark.parametrize("name", LOOPS)
def test_what_depends_on_all_of_the_past_says_so(name: str) -> None:
    model = opened(name)
    assert model.receptive_field is None
    assert "receptive field all of the past" in model.summary()


def test_only_what_waits_for_its_own_past_runs_frame_by_frame() -> None:
    """What a layer makes of its inputs alone, and the layers around it, take whole blocks."""
    plan = opened("k3_lstm").plan
    (loop,) = plan.loops
    reads_signal = [k for k, node in enumerate(plan.nodes) if node.inputs[0] == plan.inputs[0]]
    assert reads_signal and all(k < loop.start for k in reads_signal)
    assert len(plan.states) == sum(node.kind == "TIME_STATE" for node in plan.nodes) == 2


def _each(frames: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return frames if isinstance(frames, tuple) else (frames,)


@pytest.mark.parametrize("kind", ["tile", "resize", "pieces"])
def test_a_recurrent_layer_behind_an_upsampling_takes_its_frames_one_by_one(kind: str) -> None:
    """The core ran each operation of the loop for all frames of a step, once a stream was in its steady state."""
    layers = [layer("upsampling", ratio=2, kind=kind), layer("lstm", cells=2), layer("dense")]
    model = tcnstream.load(build(layers, 12).content)
    (x,) = signals(model.inputs, 24)
    stream = model.stream("reference")
    verify_contract(model, x, np.concatenate([stream.push(x), stream.flush()]), engine="native", chunkings=2)


def test_what_pytorch_steps_through_is_rolled_up() -> None:
    """litert-torch cuts every frame out by itself, and the first step has what zeros make of the others."""
    assert len(opened("lt_gru").plan.loops) == 1
    assert len(opened("lt_lstm2_last").plan.loops) == 2


def test_an_unrolled_layer_is_rolled_up() -> None:
    assert len(opened("k3_gru_unroll").plan.loops) == 1
    assert len(opened("k3_lstm_unroll_last").plan.loops) == 1


def test_steps_that_differ_are_no_layer() -> None:
    """One weight of one step changed: what one step computes is not what all compute."""
    (graph,) = read_model(CONVERTED / "k3_gru_unroll.tflite").graphs
    dense = [op for op in graph.ops if op.kind == "FULLY_CONNECTED"][-2]
    weights = graph.tensors[dense.inputs[1]]
    assert weights.data is not None
    changed = replace(dense, inputs=(dense.inputs[0], len(graph.tensors), *dense.inputs[2:]))
    other = replace(weights, data=weights.data + np.float32(0.01))
    ops = tuple(changed if op is dense else op for op in graph.ops)
    unlike = replace(graph, tensors=(*graph.tensors, other), ops=ops)
    assert len(roll_up(unlike).ops) == len(ops)
    with pytest.raises(NotStreamableError, match="unrolled over the window, whose steps differ"):
        tcnstream.load(write_model([unlike]))


@pytest.mark.parametrize(("name", "rows"), [("k2_lstm", 1), ("k2_conv_lstm", 0), ("k3_lstm", 0)])
def test_verify_asks_for_windows_in_a_row_where_they_are_the_signal(name: str, rows: int) -> None:
    pytest.importorskip("ai_edge_litert", reason="verify asks an interpreter")
    report = verify(opened(name), chunkings=1)
    assert report.passed
    assert sum("windows in a row" in check.name for check in report.checks) == rows


def test_it_is_said_that_a_window_forgets_and_a_stream_does_not() -> None:
    assert "each window of the file starts anew" in opened("k3_lstm").summary()
    assert "until reset_all_variables()" in opened("k2_lstm").summary()
    assert opened("k3_causal").recurrence == ""


CELLS = 4


def with_operands(content: bytes, places: Sequence[int], made: Tensor) -> bytes:
    """The one operation of a file with ``made`` as its operands ``places``."""
    (graph,) = read_model(content).graphs
    (op,) = graph.ops
    inputs = list(op.inputs)
    for k in places:
        inputs[k] = len(graph.tensors)
    ops = (replace(op, inputs=tuple(inputs)),)
    return write_model([replace(graph, tensors=(*graph.tensors, made), ops=ops)])


def small(shape: tuple[int, ...], dtype: Any) -> Tensor:
    q = Quantization(np.full(1, 0.01, np.float32), np.zeros(1, np.int64))
    return Tensor("extra", shape, np.dtype(dtype), q, np.ones(shape, dtype))


@pytest.mark.parametrize(
    ("places", "made"),
    [
        ((9, 10, 11), small((CELLS,), np.int16)),
        ((16,), small((CELLS, CELLS), np.int8)),
        ((20, 21, 22, 23), small((CELLS,), np.int16)),
    ],
    ids=["peepholes", "projection", "layer norms"],
)
def test_what_an_integer_lstm_may_not_have_is_said(places: tuple[int, ...], made: Tensor) -> None:
    told = "is of int8 with peepholes, a projection or layer norms, which have no streaming form here"
    with pytest.raises(NotStreamableError, match=rf"`UNIDIRECTIONAL_SEQUENCE_LSTM` \(op 0, .*{told}"):
        tcnstream.load(with_operands(lstm_int8(8, 3, CELLS), places, made))


def test_an_integer_svdf_that_remembers_int8_is_refused_in_words() -> None:
    """As TFLite Micro has it; LiteRT keeps 16 bits."""
    (graph,) = read_model(svdf_int8(3, 4, 1, 5)).graphs
    tensors, (op,) = list(graph.tensors), graph.ops
    weights, kept = op.inputs[2], op.inputs[4]
    assert tensors[weights].data is not None
    data = np.clip(np.asarray(tensors[weights].data), -127, 127).astype(np.int8)
    tensors[weights] = replace(tensors[weights], dtype=data.dtype, data=data)
    tensors[kept] = replace(tensors[kept], dtype=data.dtype)
    with pytest.raises(NotStreamableError, match="remembers int8 and weighs them with int8, where LiteRT has int16"):
        tcnstream.load(write_model([replace(graph, tensors=tuple(tensors))]))
