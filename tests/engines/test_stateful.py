"""Models that bring their own state, in every engine, against the same file in the real interpreter."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers.paths import DATA

import tcnstream
from tcnstream import Model, Stream
from tcnstream.engines.base import ENGINES
from tcnstream.engines.interpreter import runtime
from tcnstream.engines.interpreter.export import export_streaming
from tcnstream.errors import EngineError, ModelError, NotStreamableError
from tcnstream.measure.verify import verify
from tcnstream.tflite.graph import Array, Graph, Op, Tensor
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.schema import OBJECT
from tcnstream.tflite.writer import write_model

WAKE_WORD = DATA / "stateful" / "hey_mycroft.tflite"


every_engine = pytest.mark.parametrize("engine", ENGINES)


@cache
def wake_word() -> Model:
    return tcnstream.load(WAKE_WORD)


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


def drive(stream: Stream, x: Array, chunks: Sequence[int], *, flush: bool = True) -> Array:
    parts, begin, k = [], 0, 0
    while begin < len(x):
        n = chunks[k % len(chunks)]
        parts.append(stream.push(x[begin : begin + n]))
        begin, k = begin + n, k + 1
    if flush:
        parts.append(stream.flush())
    return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])


def test_state_variables_are_recognised() -> None:
    assert read_model(WAKE_WORD).is_stateful
    assert not read_model(DATA / "models" / "causal.i8.tflite").is_stateful


def test_the_facts_of_a_wake_word_model() -> None:
    model = wake_word()
    assert model.is_stateful and model.window_frames == 3
    assert (model.inputs[0].shape, model.outputs[0].shape) == ((40,), (1,))
    assert (str(model.inputs[0].dtype), str(model.outputs[0].dtype)) == ("int8", "uint8")
    assert (model.graph.tensors[model.file_inputs[0]].shape, model.plan.input_axes) == ((1, 3, 40), (1,))
    assert len(model.plan.states) == len(model.plan.loops) == 6
    assert model.native_lacks() == []
    assert model.plan.steps is not None
    assert model.state_bytes == 2 * 40 + sum(start.nbytes for start in model.plan.steps.start)


@every_engine
def test_every_chunking_equals_the_unmodified_file(engine: str) -> None:
    x = features(600)
    expected = unmodified(WAKE_WORD.read_bytes(), x, 3)
    assert len(np.unique(expected)) > 3
    stream = wake_word().stream(engine)
    for chunks in ([600], [1], [2, 0, 7, 40]):
        stream.reset()
        got = drive(stream, x, chunks)
        assert got.dtype == expected.dtype
        assert np.array_equal(got, expected)


@every_engine
def test_an_incomplete_hop_at_the_end_gives_nothing(engine: str) -> None:
    assert len(drive(wake_word().stream(engine), features(5), [5])) == 1


@every_engine
def test_a_reset_really_resets(engine: str) -> None:
    model, x = wake_word(), features(90)
    stream = model.stream(engine)
    first = drive(stream, x, [4])
    assert np.any(drive(model.stream(engine), features(90, seed=1), [4]) != first)
    stream.reset()
    assert np.array_equal(drive(stream, x, [4]), first)


@every_engine
def test_a_snapshot_carries_the_variables_to_any_engine(engine: str) -> None:
    model, x = wake_word(), features(300)
    stream = model.stream(engine)
    drive(stream, x[:100], [7], flush=False)
    blob = stream.snapshot()
    expected = drive(stream, x[100:], [7])
    for other in ENGINES:
        resumed = model.stream(other)
        resumed.restore(blob)
        assert np.array_equal(drive(resumed, x[100:], [11]), expected)


def test_lanes_keep_their_variables_apart() -> None:
    model = wake_word()
    pool = model.pool(lanes=3, engine="native")
    signals = [features(150, seed) for seed in range(3)]
    pushed = [pool.push(np.stack([x[begin : begin + 25] for x in signals])) for begin in range(0, 150, 25)]
    for lane, x in enumerate(signals):
        made = np.concatenate([frames[lane] for frames in pushed])
        assert np.array_equal(made, unmodified(WAKE_WORD.read_bytes(), x, 3))


def test_streams_in_threads_keep_their_states_apart() -> None:
    model = wake_word()
    answers: dict[int, Array] = {}

    def work(seed: int) -> None:
        answers[seed] = drive(model.stream("interpreter"), features(150, seed), [1])

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
    model = tcnstream.load(export.content)
    assert model.window_frames == export.hop_frames
    with np.load(DATA / "models" / f"{name}.npz") as arrays:
        x = arrays["x"][0][: 4 * export.hop_frames + 60]
    got = drive(model.stream("interpreter"), x, [5])[export.lag_frames[0] :]
    expected = source.stream("reference").push(x)
    assert isinstance(expected, np.ndarray)
    assert len(got) > 10
    assert np.allclose(got, expected[: len(got)], rtol=1e-5, atol=1e-5 if got.dtype.kind == "f" else 0)


MADE = sorted(path.stem for path in (DATA / "stateful").glob("*.tflite") if path != WAKE_WORD)
ALONE = {("hold", "native")}
"""What keeps a step from an engine: FLOOR_MOD."""


@every_engine
@pytest.mark.parametrize("name", MADE)
def test_what_tensorflow_writes_with_variables_streams(name: str, engine: str) -> None:
    model = tcnstream.load(DATA / "stateful" / f"{name}.tflite")
    if (name, engine) in ALONE:
        with pytest.raises(EngineError, match=f"the {engine} engine lacks"):
            model.stream(engine)
        return
    if runtime.find_runtime().wrong_dense_reference and runtime.dense_is_wrong(model.graph):
        with pytest.raises(EngineError, match=r"tflite-runtime 2\.14\.0 .*FULLY_CONNECTED"):
            verify(model, engine=engine, chunkings=3)
        return
    report = verify(model, engine=engine, chunkings=3)
    assert report.passed, report.checks


# --- crafted files -----------------------------------------------------------------------------


def crafted(
    ops: Sequence[Op],
    start: Sequence[Op] | None = None,
    state_shape: tuple[int, ...] = (1, 2),
    shape: tuple[int, ...] = (1, 2),
) -> bytes:
    """Tensors of ``shape``: 0 x, 1 handle, 2 what is read, 3 the sum (output), 4 a second read, 5 another sum."""
    f32 = np.dtype(np.float32)
    tensors = [Tensor("x", shape, f32), Tensor("h", (), OBJECT)]
    tensors += [Tensor(f"t{k}", shape, f32) for k in range(2, 6)]
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
    model, x = tcnstream.load(content), np.arange(frames, dtype=np.float32)
    assert model.window_frames == 2
    made = [drive(model.stream(engine), x, [3]) for engine in ENGINES]
    for other in made[1:]:
        np.testing.assert_array_equal(other, made[0])
    return made[0]


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


@every_engine
@pytest.mark.parametrize("outputs", [(3, 0), (0, 3)])
def test_the_input_itself_may_be_an_output(outputs: tuple[int, ...], engine: str) -> None:
    """The interpreter's frames of it came a second time, behind those that had arrived."""
    shape = (1, 1, 2)
    file = read_model(crafted([ONCE, HANDLE, READ, SUM, Op("ASSIGN_VARIABLE", (1, 3), ())], None, shape, shape))
    model = Model(replace(file, graphs=(replace(file.main, outputs=outputs), *file.graphs[1:])))
    frames = np.arange(10, dtype=np.float32).reshape(5, 2)
    expected = {0: frames, 3: 1 + np.cumsum(frames, axis=0)}
    stream = model.stream(engine)
    parts = [stream.push(frames[k : k + 1]) for k in range(5)]
    for k, o in enumerate(outputs):
        got = np.concatenate([part[k] if isinstance(part, tuple) else part for part in parts])
        np.testing.assert_array_equal(got, expected[o])


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
        tcnstream.load(crafted([HANDLE, READ, SUM]))
    with pytest.raises(NotStreamableError, match=r"`ADD` .* computes what the state starts as"):
        tcnstream.load(crafted([ONCE, HANDLE, READ, SUM], [Op("ADD", (1, 1), (0,))]))
    with pytest.raises(ModelError, match=r"starts as float32 \(1, 3\) and becomes float32 \(1, 2\)"):
        wrong = [ONCE, HANDLE, READ, SUM, Op("ASSIGN_VARIABLE", (1, 3), ())]
        tcnstream.load(crafted(wrong, state_shape=(1, 3)))
    with pytest.raises(NotStreamableError, match="has no time on axis 2"):
        tcnstream.load(crafted([ONCE, HANDLE, READ, SUM]), time_axis=2)


def test_variables_without_an_output_are_no_model() -> None:
    whole = read_model(crafted([ONCE, HANDLE, READ, SUM, Op("ASSIGN_VARIABLE", (1, 3), ())])).graphs
    with pytest.raises(ModelError, match="1 inputs and 0 outputs, where both are needed"):
        tcnstream.load(write_model([replace(whole[0], outputs=()), *whole[1:]]))


@every_engine
def test_a_step_is_as_short_as_a_file_with_variables_states_it(engine: str) -> None:
    """The frames of an open length were counted as 1 at the input and as 5040 at the output."""
    ops = [ONCE, HANDLE, READ, SUM, Op("ASSIGN_VARIABLE", (1, 3), ())]
    whole = read_model(crafted(ops, None, (1, 1, 2), (1, 1, 2)))
    main = whole.main
    opened = replace(main, tensors=(replace(main.tensors[0], open_axes=(1,)), *main.tensors[1:]))
    model = Model(replace(whole, graphs=(opened, *whole.graphs[1:])))
    frames = np.arange(10, dtype=np.float32).reshape(5, 2)
    assert model.window_frames == 1
    np.testing.assert_array_equal(drive(model.stream(engine), frames, [2]), 1 + np.cumsum(frames, axis=0))


def test_wrong_dense_kernels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tcnstream.load(DATA / "models" / "causal.i8.tflite")
    stateful = tcnstream.load(export_streaming(model).content)
    old = runtime.Runtime("tflite-runtime", "2.14.0", runtime.find_runtime().module)
    monkeypatch.setattr(tcnstream.engines.interpreter.stateful, "find_runtime", lambda: old)
    with pytest.raises(EngineError, match=r"tflite-runtime 2\.14\.0 .*exact=False"):
        stateful.stream("interpreter")
    assert stateful.stream("interpreter", exact=False).engine == "interpreter"
