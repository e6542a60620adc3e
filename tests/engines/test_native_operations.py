"""Every operation of the core alone: what the reference kernels' own functions give, in chunks of any size.

The operations and their data are those of ``test_kernels``, where the functions are compared with TFLite.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.many_operations import FRAMES, many_operations, signal
from helpers.oracle import reference_kernels
from helpers.singleop import Trial, assert_same, compute, feeds_of, framed, plan_of, streamed_by_core, tensor
from helpers.trials.cases import CASES, PARAMETERS
from helpers.trials.drawing import Build

import tcnstream
from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import SAME_FRAME, Node, Plan, Window
from tcnstream.engines.native.core import load_core
from tcnstream.engines.native.executor import NativeExecutor
from tcnstream.engines.native.layout.file import Header, NodeRecord, sections
from tcnstream.engines.native.pack import PACKERS
from tcnstream.engines.native.planfile.write import write_plan
from tcnstream.engines.reference.executor import ReferenceExecutor
from tcnstream.engines.state import State
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Graph, Op
from tcnstream.tflite.writer import write_model

pytest.importorskip("tcnstream._native", reason="the core was not built")


LACKED = {
    "BATCH_MATMUL-float32": "a transposed left operand",
    "BATCH_MATMUL-int8": "a transposed left operand",
    "BATCH_MATMUL-int16": "a transposed left operand",
    "DEQUANTIZE-float16": "float16 streams",
}
"""Forms that the core leaves to another engine, and what it says of them. A form may be lacking for some data alone.

An operation that it lacks altogether is named itself.
"""


@pytest.mark.parametrize(("build", "dtype"), PARAMETERS)
def test_an_operation_of_the_core_equals_the_reference(
    build: Build, dtype: Any, request: pytest.FixtureRequest
) -> None:
    for seed in range(12):
        trial = build(np.random.default_rng(seed), dtype)
        lacked = LACKED.get(request.node.callspec.id) if trial.kind in PACKERS else trial.kind
        if trial.window is not SAME_FRAME:
            continue
        plan = plan_of(trial)
        try:
            got = streamed_by_core(plan, feeds_of(trial, plan), np.random.default_rng(seed))
        except EngineError as error:
            assert lacked is not None, str(error)
            assert f"lacks `{trial.kind}`" in str(error) or "streams" in str(error), str(error)
            assert lacked in str(error)
            continue
        try:
            assert_same(got, compute(trial))
        except AssertionError as error:
            error.add_note(f"seed {seed}: {trial.options}")
            raise


def test_what_is_said_to_be_lacking_is() -> None:
    for name in LACKED:
        kind, dtype = name.split("-")
        build, dtypes = CASES[kind]
        (chosen,) = [d for d in dtypes if np.dtype(d).name == dtype]
        refused = 0
        for seed in range(12):
            try:
                NativeExecutor(plan_of(build(np.random.default_rng(seed), chosen)))
            except EngineError:
                refused += 1
        assert refused, f"{name} is not lacking any more"


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int16])
def test_many_operations_in_one_model_hold_the_contract(dtype: Any) -> None:
    content = many_operations(dtype)
    model = tcnstream.load(content)
    assert not model.native_lacks()
    x = signal(dtype, FRAMES)
    (expected,) = reference_kernels(content, [x[None]])
    for engine in engines_here(model):
        verify_contract(model, x, expected[0], engine=engine)


def test_constants_between_streams_are_joined() -> None:
    """The core counted constants among the streams, so that a plan with one between two streams was refused."""
    rng = np.random.default_rng(3)
    parts = [tensor((7, n), np.float32) for n in (2, 1, 3)]
    constant = tensor((1, 1), np.float32, data=[[0.25]])
    feeds = (rng.normal(size=(7, 2)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32))
    trial = Trial(
        "CONCATENATION",
        parts,
        feeds,
        (tensor((7, 6), np.float32),),
        {"axis": 1},
        plan_operands=(framed(parts[0]), constant, framed(parts[2])),
        plan_arrays=(feeds[0], constant.data, feeds[1]),
    )
    (got,) = streamed_by_core(plan_of(trial), list(feeds), rng)
    assert np.array_equal(got, np.concatenate([feeds[0], np.full((7, 1), 0.25, np.float32), feeds[1]], axis=1))


def test_an_operand_too_many_is_refused() -> None:
    """Its place decides where another operand is read in the steady state, which could be outside of a ring."""
    x = tensor((9, 2), np.int8, 0.1)
    trial = Trial(
        "ADD", (x, replace(x, shape=(2,), data=np.array([3, -4], np.int8))), (np.zeros((9, 2), np.int8),), (x,)
    )
    plan = plan_of(trial)
    content = bytearray(write_plan(plan))
    places = sections(Header.read(content))
    node_at, operands_at = places.nodes_at, places.operands_at
    source, made = struct.unpack_from("<2H", content, operands_at)
    assert not any(content[operands_at + 4 : operands_at + 6]), "there is room for another one"
    struct.pack_into("<B", content, node_at + NodeRecord.offset("n_inputs"), 2)
    struct.pack_into("<H", content, Header.offset("n_operands"), 3)
    struct.pack_into("<3H", content, operands_at, source, source, made)
    checked_from = Header.offset("family")
    struct.pack_into("<I", content, Header.offset("crc32"), zlib.crc32(content[checked_from:]))
    with pytest.raises(EngineError, match="value that no writer makes"):
        load_core().Plan(bytes(content))


@pytest.mark.parametrize("extent", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("kind", ["REDUCE_MAX", "REDUCE_MIN"])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int16])
def test_the_extremes_of_the_last_frames(dtype: Any, kind: str, extent: int) -> None:
    """By definition, with NaN passed over, and across a snapshot into the same and into the reference engine."""
    x = tensor((1, 3, 2), dtype, None if dtype is np.float32 else 0.1)
    facts = replace(x, shape=(3, 2)), replace(x, shape=(2,))
    window = Window(extent=extent, pad_begin=extent - 1, edge="clip")
    node = Node("TIME_TRAILING", (0,), (1,), ((3, 2),), StatisticOptions(Statistic(kind), (0, 1)), window, label="test")
    plan = Plan(facts, (node,), (0,), (1,), ((2,),), 1, (1, 1))
    frames = np.asarray(signal(dtype, 150).reshape(-1, 3, 2)[:, :, :2].repeat(2, axis=0)[:100])
    limits = np.finfo(np.float32) if dtype is np.float32 else np.iinfo(dtype)
    function, worst = (np.fmax, limits.min) if kind == "REDUCE_MAX" else (np.fmin, limits.max)
    if dtype is np.float32:
        frames[5, 1, 0], frames[40:60], frames[70, :, 1] = np.nan, np.nan, -0.0
    past = [frames[max(0, k + 1 - extent) : k + 1] for k in range(len(frames))]
    expected = np.stack([function.reduce(part, axis=(0, 1), initial=worst) for part in past]).astype(dtype)
    rng = np.random.default_rng(extent)
    (got,) = streamed_by_core(plan, [frames], rng)
    assert np.array_equal(got, expected)
    executor = NativeExecutor(plan)
    for cut in (0, 1, 3, 41, 64, 99):
        one, other = executor.new_memory(), executor.new_memory()
        executor.advance(one, [frames[:cut]])
        executor.advance(other, [frames[50:60]])
        blob = one.snapshot("model")
        other.restore(blob, "model")
        assert np.array_equal(executor.advance(other, [frames[cut:]])[0], expected[cut:])
        state = State(plan)
        state.restore(blob, "model")
        assert np.array_equal(ReferenceExecutor(plan).advance(state, [frames[cut:]])[0], expected[cut:])


def unpacked(n: int, joined: bool) -> bytes:
    """A frame of ``n`` values taken apart, and put together the other way round or left as ``n`` outputs."""
    shapes = tensor((1, 8, n), np.float32), *[tensor((1, 8), np.float32)] * n
    ops = [Op("UNPACK", (0,), tuple(range(1, n + 1)), {"num": n, "axis": 2})]
    outputs = tuple(range(1, n + 1))
    if joined:
        shapes += (tensor((1, 8, n), np.float32),)
        ops.append(Op("PACK", outputs[::-1], (n + 1,), {"values_count": n, "axis": 2}))
        outputs = (n + 1,)
    return write_model([Graph(shapes, tuple(ops), (0,), outputs)])


def test_a_softmax_of_too_many_integers_is_said_to_be_lacking() -> None:
    x, y = tensor((4, 2049), np.int8, 0.1), tensor((4, 2049), np.int8, 1 / 256, -128)
    trial = Trial("SOFTMAX", (x,), (np.zeros((4, 2049), np.int8),), (y,), {"beta": 1.0})
    with pytest.raises(EngineError, match="lacks `SOFTMAX` with more than 2048 integers"):
        NativeExecutor(plan_of(trial))


@pytest.mark.parametrize(
    ("n", "joined", "lacked"), [(64, True, ""), (65, True, "64"), (16, False, ""), (17, False, "16")]
)
def test_as_many_operands_and_ports_as_the_core_has_room_for(n: int, joined: bool, lacked: str) -> None:
    """One more is said to be lacking; it was a plan that the core then called damaged."""
    model = tcnstream.load(unpacked(n, joined))
    x = np.random.default_rng(0).normal(size=(11, n)).astype(np.float32)
    if lacked:
        assert f"more than {lacked} inputs or outputs" in model.native_lacks()[0]
        with pytest.raises(EngineError, match=f"lacks .*more than {lacked} inputs or outputs"):
            model.stream(engine="native")
        return
    got = model.stream(engine="native").push(x)
    assert np.array_equal(got if joined else np.stack(got, axis=1), x[:, ::-1] if joined else x)
