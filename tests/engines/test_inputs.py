"""Inputs that are no single signal: of other rates, without time, or what an output is fed back to.

``tests/data/inputs`` has files that Keras and tf.function made, each with inputs of such kinds. The oracle is LiteRT's
reference kernels: on the file's own window, or invocation by invocation with the state handed on by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.contract import assert_frames, engines_here
from helpers.oracle import reference_kernels
from helpers.paths import DATA

import tcnstream
from tcnstream import ModelError, NotStreamableError, Pipeline, StreamError, StreamOptions
from tcnstream.compiler.feedback import zeros
from tcnstream.measure.compare import FLOAT_TOLERANCE, chunks
from tcnstream.measure.material import as_state, file_arrays, in_file_order, noise, some_static
from tcnstream.measure.verify import verify
from tcnstream.spec import TensorSpec
from tcnstream.tflite.graph import Array

INPUTS = DATA / "inputs"
CONVERTED = DATA / "converted"
SAID = {"states_lstm_unclear": {"h": "output_1", "c": "output_2"}}
"""What has to be said of a file of which neither names nor shapes tell."""

ONE_WINDOW = sorted(path.stem for path in INPUTS.glob("*.tflite") if not path.stem.startswith("states"))
STEPWISE = sorted(path.stem for path in INPUTS.glob("states*.tflite"))
STEPS = 9


@cache
def model(name: str) -> tcnstream.Model:
    return tcnstream.load(INPUTS / f"{name}.tflite", states=SAID.get(name))


def material(opened: tcnstream.Model, steps: int) -> tuple[list[Array], dict[str, Array]]:
    """A signal of so many steps, and values of the inputs without time."""
    rng = np.random.default_rng(3)
    return noise(opened, steps, rng), some_static(opened, rng)


def each(frames: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return frames if isinstance(frames, tuple) else (frames,)


def streamed(
    opened: tcnstream.Model, signal: Sequence[Array], sizes: Sequence[int], options: Mapping[str, Any]
) -> tuple[Array, ...]:
    """All frames, and in the middle the stream goes on in another one that was given other values."""
    stream = opened.stream(**options)
    parts = []
    for k, chunk in enumerate(chunks(signal, sizes, opened.input_steps)):
        parts.append(each(stream.push(*chunk)))
        if k == len(sizes) // 2:
            others = {name: np.zeros_like(value) for name, value in stream.static.items()}
            blob, stream = stream.snapshot(), opened.stream(**{**options, "static": others})
            stream.restore(blob)
    parts.append(each(stream.flush()))
    return tuple(np.concatenate(frames) for frames in zip(*parts, strict=True))


def in_frames(y: Array, axis: int | None, spec: TensorSpec) -> Array:
    moved = y if axis is None else np.moveaxis(y, axis, 0)
    return np.ascontiguousarray(moved).reshape(-1, *spec.shape)


def step_by_step(opened: tcnstream.Model, signal: Sequence[Array], static: Mapping[str, Array]) -> tuple[Array, ...]:
    """The file invoked hop after hop, its state handed on by hand."""
    graph, hop = opened.graph, opened.window_frames
    state = {pair.input: zeros(graph.tensors[pair.input]) for pair in opened.states}
    parts = []
    for begin in range(0, len(signal[0]), hop):
        arrays = file_arrays(opened, [x[begin : begin + hop] for x in signal], static) | state
        made = reference_kernels(opened.file.content, in_file_order(opened, arrays))
        by_tensor = dict(zip(graph.outputs, made, strict=True))
        parts.append(
            [by_tensor[o].reshape(-1, *s.shape) for o, s in zip(opened.file_outputs, opened.outputs, strict=True)]
        )
        state = {pair.input: as_state(graph, pair, by_tensor[pair.output]) for pair in opened.states}
    return tuple(np.concatenate(frames) for frames in zip(*parts, strict=True))


def ways_of_cutting(steps: int) -> Iterator[list[int]]:
    yield [steps]
    yield [1] * steps
    yield [0, min(3, steps), steps - min(3, steps)]


@pytest.mark.parametrize("name", [n for n in ONE_WINDOW if n != "rates_pooled"])
def test_a_window_is_the_answer_in_every_engine(name: str) -> None:
    opened = model(name)
    plan = opened.plan
    signal, static = material(opened, plan.window_frames)
    arrays = in_file_order(opened, file_arrays(opened, signal, static))
    expected = tuple(
        in_frames(y, axis, spec)
        for y, axis, spec in zip(
            reference_kernels(opened.file.content, arrays), plan.output_axes, opened.outputs, strict=True
        )
    )
    for engine in engines_here(opened, static=static):
        for sizes in ways_of_cutting(plan.window_frames):
            got = streamed(opened, signal, sizes, {"engine": engine, "static": static})
            assert_frames(got, expected, FLOAT_TOLERANCE, f"{engine}, {sizes[:3]}")


@pytest.mark.parametrize("name", STEPWISE)
def test_a_state_is_what_the_output_was_before_in_every_engine(name: str) -> None:
    opened = model(name)
    signal, static = material(opened, STEPS * opened.window_frames)
    expected = step_by_step(opened, signal, static)
    engines = engines_here(opened, static=static)
    assert "native" in engines or "interpreter" not in engines, opened.native_lacks()
    for engine in engines:
        for sizes in ways_of_cutting(len(signal[0])):
            got = streamed(opened, signal, sizes, {"engine": engine, "static": static})
            assert_frames(got, expected, FLOAT_TOLERANCE, f"{engine}, {sizes[:3]}")


@pytest.mark.parametrize("name", [*ONE_WINDOW, *STEPWISE])
def test_lanes_of_a_pool_have_values_of_their_own(name: str) -> None:
    opened = model(name)
    steps = 2 * opened.plan.window_frames
    signal, static = material(opened, steps)
    options = {"time_pooling": "trailing"} if opened.needs_time_pooling else {}
    lanes = {key: np.stack([value, np.zeros_like(value), value]) for key, value in static.items()}
    pool = opened.pool(3, static=lanes, **options)
    made = pool.push([tuple(signal)] * 3)
    for lane, value in enumerate((static, {k: np.zeros_like(v) for k, v in static.items()}, static)):
        alone = opened.stream(static=value, **options).push(*signal)
        assert_frames(each(made[lane]), each(alone), 0.0, f"lane {lane}")
    if not static:
        return
    joined = pool.join(static={key: 2 * value for key, value in static.items()})
    alone = opened.stream(static={key: 2 * value for key, value in static.items()}, **options).push(*signal)
    assert_frames(each(pool.push([tuple(signal)], [joined])[0]), each(alone), 0.0, "joined")


def test_a_lane_that_is_restored_takes_its_values_with_it() -> None:
    opened = tcnstream.load(CONVERTED / "m2_static.tflite")
    signal, static = material(opened, 40)
    other = {"demo": static["demo"] + 1}
    pool = opened.pool(2, static=static)
    stream = opened.stream(static=other)
    stream.push(signal[0][:20])
    pool[1].restore(stream.snapshot())
    made = pool.push(np.stack([signal[0][20:]] * 2))
    assert_frames((made[1],), each(stream.push(signal[0][20:])), 0.0, "restored")
    assert pool[1].static["demo"].tolist() == other["demo"].tolist()


def test_a_state_begins_as_said_and_begins_so_again() -> None:
    opened = model("states_lstm_named")
    signal, _ = material(opened, STEPS)
    start = {"h_in": np.full((1, 12), 0.5, np.float32), "c_in": np.full(12, -0.25, np.float32)}
    for engine in engines_here(opened):
        stream = opened.stream(engine, states=start)
        first = stream.push(*signal)
        assert np.abs(first - opened.stream(engine).push(*signal)).max() > 0.01
        other = opened.stream(engine)
        other.restore(stream.snapshot())
        stream.reset()
        other.reset()
        assert_frames((stream.push(*signal),), (first,), 0.0, engine)
        assert_frames((other.push(*signal),), (first,), 0.0, engine)


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ({"q": "output_1"}, "the model has no input `q`; it has `c`, `x`, `h`"),
        ({"h": "q"}, "the model has no output `q`"),
        ({"h": "output_0"}, r"float32 \(1, 1, 3\), which cannot be fed back to `h`"),
        ({"h": "output_1", "c": "output_1"}, "an output is fed back to two inputs"),
    ],
)
def test_states_that_do_not_fit_are_refused(states: dict[str, str], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        tcnstream.load(INPUTS / "states_lstm_unclear.tflite", states=states)


def test_several_states_of_one_shape_without_names_have_to_be_said() -> None:
    with pytest.raises(NotStreamableError, match="neither names nor shapes say which output is fed back"):
        tcnstream.load(INPUTS / "states_lstm_unclear.tflite")


def test_a_card_says_what_is_fed_back(tmp_path: Path) -> None:
    (tmp_path / "lstm.tflite").write_bytes((INPUTS / "states_lstm_unclear.tflite").read_bytes())
    card = 'name = "lstm"\nfile = "lstm.tflite"\nrate_hz = 50\nlabels = ["a", "b", "c"]\n'
    (tmp_path / "lstm.toml").write_text(card + 'states = { h = "output_1", c = "output_2" }\n')
    assert tcnstream.load(tmp_path / "lstm.toml").states == model("states_lstm_unclear").states


def test_an_equal_shape_alone_makes_no_state_of_a_signal() -> None:
    opened = tcnstream.load(CONVERTED / "k3_two_in.tflite")
    assert (opened.states, len(opened.inputs)) == ((), 2)


@pytest.mark.parametrize(
    ("static", "why"),
    [
        (None, r"input `demo` \(2,\) has no time and is given once for a stream: pass static=\{'demo': ...\}"),
        ({"demo": [1, 2], "x": [1]}, "static names `x`, which is no input without time"),
        ({"demo": [1, 2, 3]}, r"input `demo` takes an array of shape \(2,\) and got \(3,\)"),
        ({"demo": ["a", "b"]}, "takes float32 or float32 and got|takes float32 and got|takes float32 or"),
    ],
)
def test_static_values_that_do_not_fit_are_refused(static: Any, why: str) -> None:
    with pytest.raises(StreamError, match=why):
        tcnstream.load(CONVERTED / "m2_static.tflite").stream(static=static)


@pytest.mark.parametrize(("row", "looked_up"), [(7, 7), (-6, -1)])  # Keras counts rows from the end, too
def test_a_row_that_a_table_does_not_have_is_refused(row: int, looked_up: int) -> None:
    with pytest.raises(StreamError, match=f"a row that its table does not have: {looked_up} in a table of 5"):
        model("static_embedding").stream(static={"spk_id": [row]})


def test_chunks_of_different_rates_must_be_of_one_time() -> None:
    opened = tcnstream.load(CONVERTED / "m2_two_rates.tflite")
    stream = opened.stream()
    acc, ppg = np.zeros((5, 3), np.float32), np.zeros((20, 1), np.float32)
    with pytest.raises(StreamError, match="have 5 frames of `acc` and 19 frames of `ppg`; inputs have different rates"):
        stream.push(acc, ppg[:19])
    assert len(stream.push(ppg=ppg, acc=acc)) == 3
    assert [str(spec.rate) for spec in opened.inputs] == ["1", "4"]
    assert stream.frames_in == 5


def test_a_fast_input_that_comes_first_is_the_clock() -> None:
    opened = model("rates_three")
    assert [str(spec.rate) for spec in opened.inputs] == ["1", "1/2", "1/4"]
    assert (opened.input_steps, opened.window_frames) == ((4, 2, 1), 128)
    stream = opened.stream(rate_hz=128)
    made = each(stream.push(*noise(opened, 16, np.random.default_rng(0))))[0]
    assert np.allclose(np.diff(stream.times(made)), 1 / 32)


def test_a_pooled_branch_of_another_rate_takes_a_policy() -> None:
    opened = model("rates_pooled")
    with pytest.raises(NotStreamableError, match="averages all 200 frames"):
        opened.stream()
    signal, _ = material(opened, opened.plan.window_frames)
    arrays = in_file_order(opened, file_arrays(opened, signal, {}))
    (offline,) = reference_kernels(opened.file.content, arrays)
    for engine in engines_here(opened, time_pooling="trailing"):
        stream = opened.stream(engine, "frozen", signal)
        got = np.concatenate([stream.push(*signal), stream.flush()])
        assert_frames((got,), (offline[0],), FLOAT_TOLERANCE, "frozen at what it is over the window")
        assert len(opened.stream(engine, "trailing").push(*signal)) == len(offline[0]) - 3


def test_a_signature_has_its_own_graph_and_names() -> None:
    path = CONVERTED / "lt_multisig.tflite"
    raw, first = tcnstream.load(path, signature="raw"), tcnstream.load(path)
    assert (raw.signature, first.signature) == ("raw", "tcn")
    assert (raw.inputs[0].name, raw.outputs[0].rate, first.outputs[0].rate) == ("args_0", 1 / 4, 1)
    with pytest.raises(ModelError, match="has no signature `rav`; it has `tcn`, `raw`"):
        tcnstream.load(path, signature="rav")
    with pytest.raises(StreamError, match="the snapshot belongs to"):
        raw.stream().restore(first.stream().snapshot())
    named = tcnstream.load(CONVERTED / "m2_sig.tflite")
    assert [spec.name for spec in (*named.inputs, *named.outputs)] == ["zeta", "alpha", "b_out", "a_out"]


@pytest.mark.parametrize(
    "path", [CONVERTED / "m2_sig.tflite", INPUTS / "static_film.tflite", INPUTS / "states_gru.i8.tflite"]
)
def test_what_is_refused_has_its_name_of_the_signature(path: Path) -> None:
    opened = tcnstream.load(path)
    signal, static = material(opened, 8)
    room = [np.zeros((8, *spec.shape), spec.dtype) for spec in opened.outputs]
    strange = np.zeros((8, 1), np.complex64)

    def refused(what: str, spec: TensorSpec, push: Callable[[], Any]) -> None:
        with pytest.raises(StreamError, match=f"{what} `{re.escape(spec.name)}` takes "):
            push()

    for engine in engines_here(opened, static=static):
        stream = opened.stream(engine, static=static)
        pool = opened.pool(1, engine, static={name: value[None] for name, value in static.items()})
        for k, spec in enumerate(opened.inputs):
            given = (*signal[:k], strange, *signal[k + 1 :])
            refused("input", spec, partial(stream.push, *given))
            refused("input", spec, partial(stream.push_into, given, tuple(room)))
            refused("input", spec, partial(pool.push, [given]))
        for k, spec in enumerate(opened.outputs):
            into = (*room[:k], strange, *room[k + 1 :])
            refused("output", spec, partial(stream.push_into, tuple(signal), into))
        named = [stream.plan.tensors[i].name for i in (*stream.plan.inputs, *stream.plan.outputs)]
        assert named == [spec.name for spec in (*opened.inputs, *opened.outputs)]


@pytest.mark.parametrize("name", ["static_film", "rates_and_static", "states_dtln", "states_gru.i8"])
def test_verify_proves_it(name: str) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")
    assert verify(model(name), chunkings=2).passed


def test_a_plan_file_holds_what_a_stream_is_given() -> None:
    opened = model("static_film")
    _, static = material(opened, 1)
    assert opened.plan_file(static=static) != opened.plan_file(static={"spk": 2 * static["spk"]})
    with pytest.raises(StreamError, match="has no time and is given once"):
        opened.plan_file()


def test_a_pipeline_takes_static_values_as_options() -> None:
    opened = tcnstream.load(CONVERTED / "m2_static.tflite")
    signal, static = material(opened, 60)
    pipeline = Pipeline(opened, rate_hz=50, segments=False, keep_frames=True, options=StreamOptions(static=static))
    pipeline.push(signal[0])
    assert_frames((pipeline.frames,), (opened.stream(static=static).push(*signal),), 0.0, "pipeline")
