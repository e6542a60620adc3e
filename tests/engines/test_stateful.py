"""Models that bring their own state, against the same file in the real interpreter."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers.paths import DATA

import tcnstream
from tcnstream.compiler.operations.time import STATEFUL_GRAPH
from tcnstream.engines.interpreter import runtime
from tcnstream.engines.interpreter.export import export_streaming
from tcnstream.engines.interpreter.stateful import StatefulExecutor, StatefulModel
from tcnstream.engines.state import State
from tcnstream.errors import EngineError, ModelError, NotStreamableError
from tcnstream.tflite.graph import Array, Graph, Op, Tensor
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.schema import OBJECT
from tcnstream.tflite.writer import write_model

WAKE_WORD = DATA / "stateful" / "hey_mycroft.tflite"


@cache
def wake_word() -> StatefulModel:
    return StatefulModel(read_model(WAKE_WORD))


def features(frames: int, seed: int = 0) -> Array:
    """Loud and quiet stretches of features, so that the probability moves."""
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(-128, 60, frames // 6 + 1), 6)[:frames, None]
    return np.clip(loudness + rng.normal(0, 25, (frames, 40)), -128, 127).astype(np.int8)


def unmodified(content: bytes, x: Array, hop: int) -> Array:
    """Every hop through a fresh interpreter that keeps its own variables."""
    interpreter = runtime.open_interpreter(content, exact=True)
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for k in range(0, len(x) - hop + 1, hop):
        interpreter.set_tensor(source["index"], x[None, k : k + hop])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(sink["index"]).copy())
    return np.concatenate(answers)


def drive(executor: StatefulExecutor, state: State, x: Array, chunks: Sequence[int], *, flush: bool = True) -> Array:
    parts, begin, k = [], 0, 0
    while begin < len(x):
        n = chunks[k % len(chunks)]
        parts.append(executor.advance(state, [x[begin : begin + n]])[0].copy())
        begin, k = begin + n, k + 1
    if flush:
        parts.append(executor.advance(state, None)[0].copy())
    return np.concatenate(parts)


def test_state_variables_are_recognised() -> None:
    assert read_model(WAKE_WORD).is_stateful
    assert not read_model(DATA / "models" / "causal.i8.tflite").is_stateful


def test_the_facts_of_a_wake_word_model() -> None:
    model = wake_word()
    assert model.hop_frames == 3
    assert [t.shape for t in model.plan.tensors] == [(40,), (1,)]
    assert [t.dtype.name for t in model.plan.tensors] == ["int8", "uint8"]
    assert [node.kind for node in model.plan.nodes] == [STATEFUL_GRAPH.kind]
    assert len(model.start) == 6
    assert model.state_bytes == sum(s.nbytes for s in model.start)


def test_every_chunking_equals_the_unmodified_file() -> None:
    model, x = wake_word(), features(600)
    expected = unmodified(WAKE_WORD.read_bytes(), x, 3)
    assert len(np.unique(expected)) > 3
    executor = model.executor()
    for chunks in ([600], [1], [2, 0, 7, 40]):
        got = drive(executor, State(model.plan), x, chunks)
        assert got.dtype == expected.dtype
        assert np.array_equal(got, expected)


def test_an_incomplete_hop_at_the_end_gives_nothing() -> None:
    model = wake_word()
    state = State(model.plan)
    assert len(drive(model.executor(), state, features(5), [5])) == 1
    assert state.ended


def test_a_reset_really_resets() -> None:
    model, x = wake_word(), features(90)
    executor, state = model.executor(), State(model.plan)
    first = drive(executor, state, x, [4])
    assert np.any(drive(executor, State(model.plan), features(90, seed=1), [4]) != first)
    state.reset()
    assert np.array_equal(drive(executor, state, x, [4]), first)


def test_a_snapshot_carries_the_variables() -> None:
    model, x = wake_word(), features(300)
    executor, state, other = model.executor(), State(model.plan), State(model.plan)
    drive(executor, state, x[:100], [7], flush=False)
    blob = state.snapshot("wake word")
    expected = drive(executor, state, x[100:], [7])
    other.restore(blob, "wake word")
    assert np.array_equal(drive(model.executor(), other, x[100:], [11]), expected)


def test_streams_in_threads_keep_their_states_apart() -> None:
    model = wake_word()
    executor = model.executor()
    answers: dict[int, Array] = {}

    def work(seed: int) -> None:
        answers[seed] = drive(executor, State(model.plan), features(150, seed), [1])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(3):
        assert np.array_equal(answers[seed], unmodified(WAKE_WORD.read_bytes(), features(150, seed), 3))


@pytest.mark.parametrize("name", ["nse_lg.i8", "strided.i8", "causal.f32"])
def test_an_exported_model_streams_again(name: str) -> None:
    source = tcnstream.load(DATA / "models" / f"{name}.tflite")
    export = export_streaming(source, 3 * export_streaming(source).hop_frames)
    if runtime.find_runtime().wrong_dense_reference and runtime.dense_is_wrong(source.graph):
        pytest.skip("tflite-runtime's reference kernels are wrong for this model")
    model = StatefulModel(read_model(export.content))
    assert model.hop_frames == export.hop_frames
    with np.load(DATA / "models" / f"{name}.npz") as arrays:
        x = arrays["x"][0][: 4 * export.hop_frames + 60]
    got = drive(model.executor(), State(model.plan), x, [5])[export.lag_frames[0] :]
    expected = source.stream("reference").push(x)
    assert isinstance(expected, np.ndarray)
    assert len(got) > 10
    assert np.allclose(got, expected[: len(got)], rtol=1e-5, atol=1e-5 if got.dtype.kind == "f" else 0)


# --- crafted files -----------------------------------------------------------------------------


def crafted(ops: Sequence[Op], start: Sequence[Op] | None = None, state_shape: tuple[int, ...] = (1, 2)) -> bytes:
    """Tensors: 0 x (1, 2), 1 handle, 2 what is read, 3 the sum (output), 4 a second read, 5 another sum."""
    f32 = np.dtype(np.float32)
    tensors = [Tensor("x", (1, 2), f32), Tensor("h", (), OBJECT)]
    tensors += [Tensor(f"t{k}", (1, 2), f32) for k in range(2, 6)]
    main = Graph(tuple(tensors), tuple(ops), (0,), (3,), "main")
    zeros = Tensor("zeros", state_shape, f32, None, np.ones(state_shape, np.float32))
    inner = [Op("VAR_HANDLE", (), (0,), VARIABLE), Op("ASSIGN_VARIABLE", (0, 1), ())] if start is None else start
    return write_model([main, Graph((Tensor("h", (), OBJECT), zeros), tuple(inner), (), ())])


VARIABLE: dict[str, Any] = {"container": "", "shared_name": "v"}
ONCE = Op("CALL_ONCE", (), (), {"init_subgraph_index": 1})
HANDLE = Op("VAR_HANDLE", (), (1,), VARIABLE)
READ = Op("READ_VARIABLE", (1,), (2,))
SUM = Op("ADD", (0, 2), (3,))


def stream_of(content: bytes, frames: int = 8) -> Array:
    model = StatefulModel(read_model(content))
    assert model.hop_frames == 2
    return drive(model.executor(), State(model.plan), np.arange(frames, dtype=np.float32), [3])


def test_a_read_after_an_assignment_gives_what_was_assigned() -> None:
    again = Op("READ_VARIABLE", (1,), (4,))
    sums = Op("ADD", (2, 0), (5,)), Op("ADD", (4, 0), (3,))
    content = crafted([ONCE, HANDLE, READ, sums[0], Op("ASSIGN_VARIABLE", (1, 5), ()), again, sums[1]])
    x = np.arange(8, dtype=np.float32)
    assert np.array_equal(stream_of(content), unmodified_flat(content, x))


def test_the_input_itself_may_be_remembered() -> None:
    content = crafted([ONCE, HANDLE, READ, SUM, Op("ASSIGN_VARIABLE", (1, 0), ())])
    assert stream_of(content).tolist() == [[1, 2], [2, 4], [6, 8], [10, 12]]


def test_the_output_itself_may_be_remembered() -> None:
    content = crafted([ONCE, HANDLE, READ, SUM, Op("ASSIGN_VARIABLE", (1, 3), ())])
    assert stream_of(content).tolist() == [[1, 2], [3, 5], [7, 10], [13, 17]]


def unmodified_flat(content: bytes, x: Array) -> Array:
    interpreter = runtime.open_interpreter(content, exact=True)
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for k in range(0, len(x), 2):
        interpreter.set_tensor(source["index"], x[None, k : k + 2])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(sink["index"]).copy())
    return np.concatenate(answers)


def test_variables_that_cannot_be_made_explicit_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match="`/v` is read before"):
        StatefulModel(read_model(crafted([HANDLE, READ, SUM])))
    with pytest.raises(NotStreamableError, match=r"`ADD` .* computes what the state starts as"):
        StatefulModel(read_model(crafted([ONCE, HANDLE, READ, SUM], [Op("ADD", (1, 1), (0,))])))
    with pytest.raises(ModelError, match=r"starts as float32 \(1, 3\) and becomes float32 \(1, 2\)"):
        wrong = [ONCE, HANDLE, READ, SUM, Op("ASSIGN_VARIABLE", (1, 3), ())]
        StatefulModel(read_model(crafted(wrong, state_shape=(1, 3))))
    with pytest.raises(NotStreamableError, match="has no time on axis 2"):
        StatefulModel(read_model(crafted([ONCE, HANDLE, READ, SUM])), time_axis=2)


def test_wrong_dense_kernels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tcnstream.load(DATA / "models" / "causal.i8.tflite")
    stateful = StatefulModel(read_model(export_streaming(model).content))
    old = runtime.Runtime("tflite-runtime", "2.14.0", runtime.find_runtime().module)
    monkeypatch.setattr(tcnstream.engines.interpreter.stateful, "find_runtime", lambda: old)
    with pytest.raises(EngineError, match=r"tflite-runtime 2\.14\.0 .*exact=False"):
        stateful.executor()
    assert stateful.executor(exact=False).name == "interpreter"
