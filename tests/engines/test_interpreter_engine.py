"""The interpreter engine's own promises: which steps are compiled, what falls back, what is refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers.paths import MODELS

import tcnstream
from tcnstream.compiler.plan import Plan
from tcnstream.engines.interpreter import executor as engine
from tcnstream.engines.interpreter import runtime
from tcnstream.engines.interpreter.executor import InterpreterExecutor, measure_deviation
from tcnstream.engines.interpreter.quiet import without_chatter
from tcnstream.engines.reference.executor import ReferenceExecutor
from tcnstream.engines.state import State
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array, Graph, Op, OptionValue, Quantization, Tensor
from tcnstream.tflite.writer import write_model

CHUNKS = ([64, 16, 4, 1, 1], [1], [7, 0, 40, 3])

try:
    runtime.find_runtime()
except EngineError as e:
    pytest.skip(str(e), allow_module_level=True)


@cache
def content(name: str) -> bytes:
    return (MODELS / f"{name}.tflite").read_bytes()


@cache
def plan(name: str) -> Plan:
    return tcnstream.load(content(name)).plan


def signal(a_plan: Plan, frames: int, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    made = []
    for i in a_plan.inputs:
        tensor = a_plan.tensors[i]
        size = (frames, *tensor.shape)
        if tensor.dtype.kind == "f":
            made.append(rng.normal(size=size).astype(tensor.dtype))
        else:
            made.append(rng.integers(-100, 100, size).astype(tensor.dtype))
    return made


def drive(executor: Any, xs: Sequence[Array], chunks: Sequence[int], *, advance: bool = False) -> list[Array]:
    """Push ``xs`` in chunks, over and over, and flush."""
    a_plan = executor.plan
    state = State(a_plan)
    parts: list[list[Array]] = [[] for _ in a_plan.outputs]

    def run(goal: list[int]) -> None:
        before = list(state.have)
        executor.run(state, goal)
        for part, o in zip(parts, a_plan.outputs, strict=True):
            part.append(state.queues[o].read(before[o], goal[o]).copy())
        state.trim()

    begin, k = 0, 0
    while begin < len(xs[0]):
        n = chunks[k % len(chunks)]
        pieces = [x[begin : begin + n] for x in xs]
        if advance:
            for part, frames in zip(parts, executor.advance(state, pieces), strict=True):
                part.append(frames.copy())
        else:
            run(state.arrive(pieces))
        begin, k = begin + n, k + 1
    run(state.end())
    return [np.concatenate(part) for part in parts]


def assert_same(got: Sequence[Array], expected: Sequence[Array]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        if a.dtype.kind == "f":
            assert np.all(np.abs(a - b) <= 1e-5 * np.maximum(1, np.abs(b)))
        else:
            assert np.array_equal(a, b)


# --- steps -------------------------------------------------------------------------------------


def test_the_middle_of_a_signal_is_one_graph_per_phase() -> None:
    executor = InterpreterExecutor(plan("nse_lg.f32"))
    xs = signal(executor.plan, 500)
    drive(executor, xs, [1])
    compiled = len(executor._programs)
    drive(executor, signal(executor.plan, 900), [1])
    assert len(executor._programs) == compiled
    assert [len(push.program.stages) for push in executor._pushes.values()] == []
    drive(executor, xs, [1], advance=True)
    assert len(executor._pushes) == 1
    strided = InterpreterExecutor(plan("strided.f32"))
    drive(strided, signal(strided.plan, 300), [1], advance=True)
    assert len(strided._pushes) == strided._period == 16


def test_what_a_step_touches_does_not_grow_with_the_dilation() -> None:
    executor = InterpreterExecutor(plan("wavenet.f32"))
    drive(executor, signal(executor.plan, 300), [1], advance=True)
    (push,) = executor._pushes.values()
    (stage,) = push.program.stages
    assert isinstance(stage, engine._Invoke)
    assert {len(fill.memory) for fill in stage.fills} <= {1, 2}


@pytest.mark.parametrize("name", ["nse_lg.i8", "strided.i8", "sig_reflect.f32", "unet_max.f32"])
def test_steady_pushes_equal_counted_ones(name: str) -> None:
    executor = InterpreterExecutor(plan(name))
    xs = signal(executor.plan, 420)
    expected = drive(ReferenceExecutor(executor.plan), xs, [420])
    for chunks in CHUNKS:
        assert_same(drive(executor, xs, chunks), expected)
        assert_same(drive(executor, xs, chunks, advance=True), expected)


def remembered(executor: Any, xs: Sequence[Array], chunks: Sequence[int]) -> bytes:
    """The state's bytes after pushing ``xs``, over and over in ``chunks``."""
    state = State(executor.plan)
    begin, k = 0, 0
    while begin < len(xs[0]):
        n = chunks[k % len(chunks)]
        executor.advance(state, [x[begin : begin + n] for x in xs])
        begin, k = begin + n, k + 1
    return state.snapshot("same")


@pytest.mark.parametrize("name", ["nse_lg.i8", "strided.i8", "causal.i8"])
def test_it_remembers_what_the_reference_engine_remembers(name: str) -> None:
    a_plan = plan(name)
    executor, reference = InterpreterExecutor(a_plan), ReferenceExecutor(a_plan)
    for frames, chunks in ((60, [1]), (95, [40, 7, 3])):
        xs = signal(a_plan, frames)
        assert remembered(executor, xs, chunks) == remembered(reference, xs, chunks)


@pytest.mark.parametrize("before, after", [(0, 5), (3, 5), (5, 2)])
def test_frames_that_the_end_will_mirror_are_kept_from_the_first_steady_push_on(before: int, after: int) -> None:
    paddings = ints(0, 0, before, after, 0, 0, 0, 0).reshape(4, 2)
    model = one_op("MIRROR_PAD", (1, 48 + before + after, 4, 6), {}, [paddings], dtype=np.int8)
    a_plan = tcnstream.load(model).plan
    executor, reference = InterpreterExecutor(a_plan), ReferenceExecutor(a_plan)
    for frames in (3, 6, 12, 24):
        xs = signal(a_plan, frames)
        assert remembered(executor, xs, [2, 1]) == remembered(reference, xs, [2, 1])


def test_steps_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MAX_PROGRAMS", 3)
    executor = InterpreterExecutor(plan("strided.f32"))
    xs = signal(executor.plan, 200)
    expected = drive(ReferenceExecutor(executor.plan), xs, [200])
    assert_same(drive(executor, xs, [3, 5], advance=True), expected)
    assert len(executor._programs) <= 3


def test_streams_in_threads_share_an_executor() -> None:
    executor = InterpreterExecutor(plan("nse_mb.i8"))
    answers: dict[int, list[Array]] = {}

    def work(seed: int) -> None:
        answers[seed] = drive(executor, signal(executor.plan, 200, seed), [1, 4, 2], advance=True)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert_same(answers[seed], drive(ReferenceExecutor(executor.plan), signal(executor.plan, 200, seed), [200]))


# --- operations that the model files lack ------------------------------------------------------

INT8 = Quantization(np.array([0.05], np.float32), np.array([3], np.int64))


def one_op(
    kind: str,
    out_shape: tuple[int, ...],
    options: Mapping[str, OptionValue] | None = None,
    constants: Sequence[Array] = (),
    *,
    dtype: Any = np.float32,
    shape: tuple[int, ...] = (1, 48, 4, 6),
    values_last: bool = False,
    outputs: int = 1,
) -> bytes:
    """A model of one operation between two joins, so that its input is made within a step."""
    q = INT8 if dtype == np.int8 else None
    tensors = [Tensor("x", shape, np.dtype(dtype), q), Tensor("two", (1,), np.dtype(dtype), q, np.array([20], dtype))]
    tensors.append(Tensor("h", shape, np.dtype(dtype), q))
    ops = [Op("ADD", (0, 1), (2,))]
    first = len(tensors)
    for data in constants:
        tensors.append(Tensor("c", data.shape, data.dtype, q if data.dtype == np.int8 else None, data))
    operands = tuple(range(first, len(tensors)))
    made = tuple(range(len(tensors), len(tensors) + outputs))
    tensors += [Tensor(f"y{k}", out_shape, np.dtype(dtype), q) for k in range(outputs)]
    ops.append(Op(kind, (*operands, 2) if values_last else (2, *operands), made, options or {}))
    return write_model([Graph(tuple(tensors), tuple(ops), (0,), made)])


def ints(*values: int) -> Array:
    return np.array(values, np.int32)


def floats(*shape: int) -> Array:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


POOL: dict[str, OptionValue] = {"filter_height": 3, "filter_width": 2, "stride_h": 2, "stride_w": 2}
OPERATIONS = {
    "transpose_conv": one_op(
        "TRANSPOSE_CONV", (1, 96, 4, 5), {"stride_h": 2, "stride_w": 1, "padding": "SAME"},
        [ints(1, 96, 4, 5), floats(5, 4, 1, 6)], values_last=True,
    ),
    "transpose_conv_valid": one_op(
        "TRANSPOSE_CONV", (1, 145, 4, 5), {"stride_h": 3, "stride_w": 1, "padding": "VALID"},
        [ints(1, 145, 4, 5), floats(5, 4, 1, 6)], values_last=True,
    ),
    "max_pool_same": one_op("MAX_POOL_2D", (1, 24, 2, 6), {**POOL, "padding": "SAME"}),
    "average_pool_same": one_op("AVERAGE_POOL_2D", (1, 24, 2, 6), {**POOL, "padding": "SAME"}, dtype=np.int8),
    "average_pool_valid": one_op("AVERAGE_POOL_2D", (1, 23, 2, 6), {**POOL, "padding": "VALID"}, dtype=np.int8),
    "split": one_op("SPLIT", (1, 48, 4, 3), {"num_splits": 2}, [np.array(3, np.int32)], values_last=True, outputs=2),
    "tile": one_op("TILE", (1, 48, 8, 6), {}, [ints(1, 1, 2, 1)]),
    "transpose": one_op("TRANSPOSE", (1, 48, 6, 4), {}, [ints(0, 1, 3, 2)], dtype=np.int8),
    "strided_slice": one_op(
        "STRIDED_SLICE", (1, 48, 2, 6), {}, [ints(0, 0, 1, 0), ints(1, 48, 4, 6), ints(1, 1, 2, 1)], dtype=np.int8
    ),
    "decimation": one_op(
        "STRIDED_SLICE", (1, 15, 4, 6), {}, [ints(0, 2, 0, 0), ints(1, 47, 4, 6), ints(1, 3, 1, 1)], dtype=np.int8
    ),
    "pad_frequency": one_op("PAD", (1, 48, 7, 6), {}, [ints(0, 0, 0, 0, 1, 2, 0, 0).reshape(4, 2)], dtype=np.int8),
    "pad_time": one_op("PAD", (1, 53, 4, 6), {}, [ints(0, 0, 3, 2, 0, 0, 0, 0).reshape(4, 2)], dtype=np.int8),
    "mirror": one_op(
        "MIRROR_PAD", (1, 53, 4, 6), {"mode": "SYMMETRIC"}, [ints(0, 0, 3, 2, 0, 0, 0, 0).reshape(4, 2)]
    ),
    "mean_frequency": one_op("MEAN", (1, 48, 6), {"keep_dims": False}, [ints(2)]),
    "mean_channels": one_op("MEAN", (1, 48, 4, 1), {"keep_dims": True}, [ints(3)], dtype=np.int8),
    "sum": one_op("SUM", (1, 48, 4, 1), {"keep_dims": True}, [ints(3)]),
    "reduce_max": one_op("REDUCE_MAX", (1, 48, 4), {"keep_dims": False}, [ints(3)], dtype=np.int8),
    "prelu": one_op("PRELU", (1, 48, 4, 6), {}, [floats(1, 1, 6)]),
    "softmax": one_op("SOFTMAX", (1, 48, 4, 6), {"beta": 1.0}),
    "maximum": one_op("MAXIMUM", (1, 48, 4, 6), {}, [floats(1, 1, 4, 1)]),
    "batch_matmul": one_op("BATCH_MATMUL", (1, 48, 4, 3), {}, [floats(6, 3)]),
    "batch_matmul_int8": one_op(
        "BATCH_MATMUL", (1, 48, 4, 3), {}, [(20 * floats(6, 3)).astype(np.int8)], dtype=np.int8
    ),
    "mirror_frequency": one_op(
        "MIRROR_PAD", (1, 48, 7, 6), {"mode": "REFLECT"}, [ints(0, 0, 0, 0, 1, 2, 0, 0).reshape(4, 2)]
    ),
    "stretched_frequency": one_op("RESIZE_NEAREST_NEIGHBOR", (1, 48, 12, 6), {}, [ints(48, 12)], dtype=np.int8),
    "mean_int8": one_op("MEAN", (1, 48, 6), {"keep_dims": False}, [ints(2)], dtype=np.int8),
    "gather": one_op("GATHER", (1, 48, 4, 3), {"axis": 3}, [ints(5, 0, 2)]),
    "concatenation": one_op("CONCATENATION", (1, 48, 4, 7), {"axis": 3}, [np.ones((1, 48, 4, 1), np.float32)]),
    "upsampling": one_op(
        "RESIZE_NEAREST_NEIGHBOR", (1, 144, 4, 6), {"half_pixel_centers": True}, [ints(144, 4)]
    ),
    "window": one_op("RESHAPE", (1, 16, 72), {"new_shape": (1, 16, 72)}, [ints(1, 16, 72)], dtype=np.int8),
    "unfold": one_op("RESHAPE", (1, 96, 2, 6), {"new_shape": (1, 96, 2, 6)}, [ints(1, 96, 2, 6)], dtype=np.int8),
    "dense": one_op(
        "FULLY_CONNECTED", (1, 48, 4, 2), {"keep_num_dims": True, "fused_activation_function": "RELU6"},
        [floats(2, 6)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_equal_the_offline_answer(name: str) -> None:
    model = OPERATIONS[name]
    a_plan = tcnstream.load(model).plan
    executor = InterpreterExecutor(a_plan)
    (x,) = signal(a_plan, 48)
    expected = runtime.run_offline(model, [x.reshape(1, *x.shape)])
    for chunks in CHUNKS:
        got = drive(executor, [x], chunks)
        assert_same([y.reshape(e.shape) for y, e in zip(got, expected, strict=True)], expected)
        assert_same(drive(executor, [x], chunks, advance=True), got)


def test_a_dense_layer_over_the_window_keeps_its_arithmetic() -> None:
    rng = np.random.default_rng(4)
    weights = rng.integers(-127, 127, (3, 48 * 24)).astype(np.int8)
    model = one_op("FULLY_CONNECTED", (1, 3), {}, [weights], dtype=np.int8)
    a_plan = tcnstream.load(model).plan
    (x,) = signal(a_plan, 60)
    got = drive(InterpreterExecutor(a_plan), [x], [1, 3])
    assert_same(got, drive(ReferenceExecutor(a_plan), [x], [60]))
    (last,) = runtime.run_offline(model, [x[None, 12:]])
    assert np.array_equal(got[0][-1].reshape(-1), last.reshape(-1))


# --- what falls back, what is refused ----------------------------------------------------------


def test_an_operation_that_the_interpreter_rejects_runs_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = engine.open_interpreter

    def picky(model: bytes, exact: bool) -> Any:
        if "TANH" in {op.kind for op in tcnstream.tflite.reader.read_model(model).graphs[0].ops}:
            raise RuntimeError("no kernel")
        return honest(model, exact)

    monkeypatch.setattr(engine, "open_interpreter", picky)
    executor = InterpreterExecutor(plan("wavenet.i8"))
    xs = signal(executor.plan, 40)
    assert_same(drive(executor, xs, [40]), drive(ReferenceExecutor(executor.plan), xs, [40]))
    assert {executor.plan.nodes[k].kind for k in executor._never_emitted} == {"TANH"}


def test_without_an_interpreter_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_CANDIDATES", (("no-such-package", "no_such_module"),))
    runtime.find_runtime.cache_clear()
    try:
        with pytest.raises(EngineError, match=r"pip install ai-edge-litert.*tflite-runtime.*engine=\"reference\""):
            InterpreterExecutor(plan("causal.f32"))
    finally:
        runtime.find_runtime.cache_clear()


def test_an_interpreter_that_is_not_exact_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: "2.2.0")
    runtime.find_runtime.cache_clear()
    try:
        with pytest.raises(EngineError, match=r"ai-edge-litert 2\.2\.0 .* not exact: `pip install --upgrade"):
            InterpreterExecutor(plan("causal.f32"))
        assert tcnstream.load(MODELS / "causal.f32.tflite").stream("auto").engine in ("native", "reference")
    finally:
        runtime.find_runtime.cache_clear()


def test_wrong_dense_kernels_are_neither_engine_nor_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    old = runtime.Runtime("tflite-runtime", "2.14.0", runtime.find_runtime().module)
    monkeypatch.setattr(runtime, "find_runtime", lambda: old)
    monkeypatch.setattr(engine, "find_runtime", lambda: old)
    executor = InterpreterExecutor(plan("causal.i8"))
    xs = signal(executor.plan, 40)
    assert_same(drive(executor, xs, [40]), drive(ReferenceExecutor(executor.plan), xs, [40]))
    stages = [s for p in executor._programs.values() for s in p.stages if isinstance(s, engine._OnHost)]
    on_host = [k for s in stages for k in s.nodes]
    assert {executor.plan.nodes[k].kind for k in on_host} == {"FULLY_CONNECTED"}
    with pytest.raises(EngineError, match=r"tflite-runtime 2\.14\.0 .* FULLY_CONNECTED"):
        runtime.run_offline(content("causal.i8"), [np.zeros((1, 400, 1), np.int8)])


def test_operations_without_any_kernel_are_refused_by_name() -> None:
    with pytest.raises(EngineError, match="`TIME_REDUCE`"):
        InterpreterExecutor(plan("nse_lg_se.f32"))


# --- fast kernels ------------------------------------------------------------------------------


def test_fast_kernels_stay_close_and_the_distance_is_measured() -> None:
    for name, largest in (("nse_lg.f32", 1e-4), ("nse_lg.i8", 8.0)):
        a_plan = plan(name)
        assert 0 <= measure_deviation(a_plan, signal(a_plan, 400)) <= largest


def test_fast_kernels_announce_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_has_announced", False)
    runtime.open_interpreter(content("causal.f32"), exact=False)
    assert capfd.readouterr().err == ""


def test_what_others_say_while_an_interpreter_is_opened_comes_out(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = runtime.find_runtime().module
    interpreter = module.Interpreter

    def opened(**options: Any) -> Any:
        os.write(2, b"of another thread\n")
        return interpreter(**options)

    monkeypatch.setattr(runtime, "_has_announced", False)
    monkeypatch.setattr(module, "Interpreter", opened)
    runtime.open_interpreter(content("causal.f32"), exact=False)
    assert capfd.readouterr().err == "of another thread\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_meanwhile_has_the_standard_error_of_its_parent(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with without_chatter():
        if (child := os.fork()) == 0:
            os.write(2, b"of the child\n")
            os._exit(0)
        os.waitpid(child, 0)
        assert capfd.readouterr().err == "of the child\n"
        os.write(2, b"of the parent\n")
    assert capfd.readouterr().err == "of the parent\n"
