"""Stream and Pool as a user holds them: what they refuse, and that a refusal changes nothing."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from helpers.contract import engines_here
from helpers.networks import build, layer, signals

import tcnstream
from tcnstream import Model, Stream, StreamError, StreamOptions
from tcnstream.engines.reference.executor import ReferenceExecutor
from tcnstream.engines.state import State
from tcnstream.tflite.graph import Array


@pytest.fixture(scope="module")
def floats() -> Model:
    return tcnstream.load(build([layer("convolution", kernel=3), layer("convolution", kernel=3, stride=2)], 20).content)


@pytest.fixture(scope="module")
def integers() -> Model:
    return tcnstream.load(build([layer("convolution", kernel=3)], 20, dtype="int8").content)


@pytest.fixture(scope="module")
def two_inputs() -> Model:
    layers = [layer("convolution", kernel=3), layer("tap"), layer("activation", kind="TANH")]
    return tcnstream.load(build(layers, 20, second=[layer("tap")]).content)


def zeros(n: int, dtype: Any = np.float32) -> Array:
    return np.zeros((n, 2), dtype)


@pytest.mark.parametrize(
    ("chunk", "sentence"),
    [
        (np.zeros((3, 3), np.float32), r"input `t0` takes chunks of shape \(n, 2\) and got \(3, 3\)"),
        (np.zeros(3, np.float32), r"takes chunks of shape \(n, 2\) and got \(3,\)"),
        (np.zeros((1, 3, 2), np.float32), r"takes chunks of shape \(n, 2\) and got \(1, 3, 2\)"),
        (np.zeros((3, 2), np.int32), r"takes float32 and got int32; convert the chunk"),
        (np.zeros((3, 2), np.float64), r"got float64"),
        (np.zeros((3, 2), np.complex64), r"got complex64"),
        (np.full((3, 2), "a"), r"got <U1"),
    ],
)
def test_a_wrong_chunk_is_refused_and_changes_nothing(floats: Model, chunk: Array, sentence: str) -> None:
    for engine in engines_here(floats):
        stream = floats.stream(engine)
        stream.push(zeros(5))
        before = stream.snapshot()
        with pytest.raises(StreamError, match=sentence):
            stream.push(chunk)
        assert stream.snapshot() == before
        assert stream.frames_in == 5
        stream.push(zeros(1))


def test_nan_has_no_integer(integers: Model) -> None:
    for engine in engines_here(integers):
        stream = integers.stream(engine)
        chunk = zeros(5)
        chunk[3, 1] = np.nan
        before = stream.snapshot()
        with pytest.raises(StreamError, match="frame 3 of the chunk holds NaN, which int8 input `t0` cannot hold"):
            stream.push(chunk)
        assert stream.snapshot() == before


def test_float_chunks_are_quantized_as_tflite_does(integers: Model) -> None:
    spec = integers.inputs[0]
    assert spec.quantization is not None
    scale, zero_point = float(spec.quantization.scale[0]), int(spec.quantization.zero_point[0])
    real = np.array([[0.0, 1.0], [-1.0, 1e9], [-1e9, 2.5 * scale], [-2.5 * scale, np.inf]], np.float32)
    raw = spec.quantize(real)
    expected = [[zero_point, zero_point + round(1 / scale)], [zero_point - round(1 / scale), 127]]
    expected += [[-128, zero_point + 3], [zero_point - 3, 127]]
    assert raw.dtype == np.int8
    assert raw.tolist() == expected
    one, other = integers.stream("reference"), integers.stream("reference")
    np.testing.assert_array_equal(one.push(real), other.push(raw))
    np.testing.assert_allclose(spec.dequantize(spec.quantize(np.float32([[0.5, -0.25]]))), [[0.5, -0.25]], atol=scale)


def test_inputs_advance_together(two_inputs: Model) -> None:
    for engine in engines_here(two_inputs):
        stream = two_inputs.stream(engine)
        with pytest.raises(StreamError, match="push takes 2 chunks, one per input, and got 1"):
            stream.push(zeros(3))
        with pytest.raises(StreamError, match="the chunks have 3, 2 frames; all inputs advance together"):
            stream.push(zeros(3), zeros(2))
        assert stream.frames_in == 0
        made = stream.push(zeros(3), zeros(3))
        assert isinstance(made, tuple)
        assert len(made) == len(two_inputs.outputs)


def test_after_flush_only_reset_helps(floats: Model) -> None:
    for engine in engines_here(floats):
        stream = floats.stream(engine)
        stream.push(zeros(5))
        stream.flush()
        blob = stream.snapshot()
        with pytest.raises(StreamError, match=r"push after flush: the signal has ended; call reset\(\)"):
            stream.push(zeros(1))
        other = floats.stream(engine)
        other.restore(blob)
        with pytest.raises(StreamError, match="flush after flush"):
            other.flush()
        stream.reset()
        assert stream.frames_in == 0
        stream.push(zeros(1))


def test_an_empty_signal_has_an_empty_answer(floats: Model) -> None:
    for engine in engines_here(floats):
        stream = floats.stream(engine)
        made = stream.push(zeros(0))
        assert made.shape == (0, 2)
        assert made.dtype == np.float32
        assert stream.flush().shape == (0, 2)


def test_what_is_returned_is_the_users_own(floats: Model) -> None:
    """A later push must not write into an array that an earlier one returned."""
    (x,) = signals(floats.inputs, 3000)
    for engine in engines_here(floats):
        stream = floats.stream(engine)
        made = [stream.push(x[k : k + 300]) for k in range(0, 3000, 300)]
        copies = [y.copy() for y in made]
        stream.push(x)
        stream.flush()
        for y, kept in zip(made, copies, strict=True):
            np.testing.assert_array_equal(y, kept)
            y[...] = np.nan
        stream.reset()
        np.testing.assert_array_equal(stream.push(x[:300]), copies[0])


def test_the_chunk_stays_the_users_own(floats: Model) -> None:
    (x,) = signals(floats.inputs, 40)
    for engine in engines_here(floats):
        stream = floats.stream(engine)
        expected = np.concatenate([stream.push(x), stream.flush()])
        stream.reset()
        buffer = np.empty((8, 2), np.float32)
        parts = []
        for k in range(0, 40, 8):
            buffer[...] = x[k : k + 8]
            parts.append(stream.push(buffer))
            buffer[...] = np.nan
        parts.append(stream.flush())
        np.testing.assert_allclose(np.concatenate(parts), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(">f4"),
        lambda x: x.tolist() and np.lib.stride_tricks.as_strided(x, x.shape, x.strides, writeable=False),
    ],
)
def test_any_memory_layout_of_a_chunk(floats: Model, arrange: Callable[[Array], Array]) -> None:
    (x,) = signals(floats.inputs, 40)
    for engine in engines_here(floats):
        plain, strange = floats.stream(engine), floats.stream(engine)
        np.testing.assert_array_equal(strange.push(arrange(x)), plain.push(x))


def test_two_threads_on_one_stream_are_told_so(floats: Model) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(ReferenceExecutor):
        def advance(self, memory: State, chunks: Sequence[Array] | None) -> list[Array]:
            inside.set()
            assert go_on.wait(60)
            return super().advance(memory, chunks)

    stream = Stream(Slow(floats.plan), floats.inputs, floats.outputs, "slow")
    first = threading.Thread(target=stream.push, args=(zeros(4),))
    first.start()
    try:
        assert inside.wait(60)
        for call in (lambda: stream.push(zeros(1)), stream.flush, stream.reset, stream.snapshot):
            with pytest.raises(StreamError, match="two threads use one stream at the same time"):
                call()
        with pytest.raises(StreamError, match="two threads"):
            stream.restore(b"")
    finally:
        go_on.set()
        first.join()
    assert stream.frames_in == 4


@pytest.mark.parametrize("carry", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_holds_a_signal_is_not_copied(floats: Model, carry: Callable[[object], object]) -> None:
    """A copy would share what is remembered: the frames of one would come out of the other."""
    for engine in engines_here(floats):
        stream, pool = floats.stream(engine), floats.pool(2, engine)
        stream.push(zeros(5))
        with pytest.raises(StreamError, match=r"a stream cannot be copied or pickled; .* snapshot\(\) returns here"):
            carry(stream)
        with pytest.raises(StreamError, match=r"a pool cannot be copied or pickled; .* snapshot\(\) returns here"):
            carry(pool)
        other = stream.another()
        assert other.frames_in == 0 and stream.frames_in == 5
        other.restore(stream.snapshot())
        (x,) = signals(floats.inputs, 20)
        np.testing.assert_array_equal(other.push(x), stream.push(x))


def test_options_are_the_arguments_of_stream_and_pool(floats: Model) -> None:
    names = [field.name for field in dataclasses.fields(StreamOptions)]
    assert list(inspect.signature(floats.stream).parameters) == names
    assert list(inspect.signature(floats.pool).parameters) == ["lanes", *names]
    defaults = {name: p.default for name, p in inspect.signature(floats.pool).parameters.items() if name != "lanes"}
    assert defaults == {name: p.default for name, p in inspect.signature(floats.stream).parameters.items()}
    assert defaults == vars(StreamOptions())
    options = StreamOptions("reference", rate_hz=250.0)
    one, lanes = floats.open(options), floats.open_pool(2, options)
    assert one.engine == lanes[1].engine == "reference" and one.rate_hz == lanes[0].rate_hz == 250.0
    assert one.identity == floats.stream("reference").identity


def test_streams_of_one_model_run_in_threads_side_by_side(floats: Model) -> None:
    xs = [signals(floats.inputs, 400, seed)[0] for seed in range(4)]
    for engine in engines_here(floats):
        alone = [np.concatenate([s.push(x), s.flush()]) for x in xs for s in [floats.stream(engine)]]
        made: list[Array] = [np.empty(0)] * len(xs)

        def run(k: int, engine: str = engine, made: list[Array] = made) -> None:
            stream = floats.stream(engine)
            parts = [stream.push(xs[k][n : n + 5]) for n in range(0, 400, 5)]
            made[k] = np.concatenate([*parts, stream.flush()])

        threads = [threading.Thread(target=run, args=(k,)) for k in range(len(xs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for a, b in zip(made, alone, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "turbo"}, "engine='turbo' is unknown; use 'auto' or one of "),
        ({"time_pooling": "sideways"}, "time_pooling='sideways' is unknown; use 'trailing', 'trailing:FRAMES'"),
        ({"time_pooling": "trailing:0"}, "time_pooling='trailing:0' is unknown"),
        ({"time_pooling": "trailing:-4"}, "is unknown"),
        ({"time_pooling": "cumulative:4"}, "is unknown"),
        ({"time_pooling": "trailing:"}, "is unknown"),
    ],
)
def test_unknown_choices_are_named(floats: Model, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StreamError, match=sentence):
        floats.stream(**options)


# --- pool ---


def test_a_pool_needs_lanes(floats: Model) -> None:
    with pytest.raises(StreamError, match="a pool of 0 lanes is empty"):
        floats.pool(lanes=0)


def test_lanes_pause_reset_and_end_by_themselves(floats: Model) -> None:
    (x,) = signals(floats.inputs, 30)
    for engine in engines_here(floats):
        alone = floats.stream(engine)
        expected = np.concatenate([alone.push(x), alone.flush()])
        pool = floats.pool(lanes=3, engine=engine)
        assert len(pool) == 3
        assert [lane.engine for lane in pool] == [engine] * 3
        first = pool.push([x[:10], x[:20], None])
        assert first[2].shape == (0, 2)
        assert pool[2].frames_in == 0
        pool[1].reset()
        second = pool.push([x[10:], x, None])
        tails = pool.flush()
        np.testing.assert_allclose(np.concatenate([first[0], second[0], tails[0]]), expected, atol=1e-6)
        np.testing.assert_allclose(np.concatenate([second[1], tails[1]]), expected, atol=1e-6)
        assert [len(tail) for tail in pool.flush()] == [0, 0, 0]
        with pytest.raises(StreamError, match="lane 1: push after flush"):
            pool.push([None, x, None])
        pool.reset()
        assert [lane.frames_in for lane in pool] == [0, 0, 0]


def test_one_array_serves_all_lanes(floats: Model) -> None:
    (x,) = signals(floats.inputs, 30)
    pool = floats.pool(lanes=2, engine="reference")
    both = pool.push(np.stack([x, 2 * x]))
    alone = floats.stream("reference")
    np.testing.assert_array_equal(both[0], alone.push(x))
    alone.reset()
    np.testing.assert_array_equal(both[1], alone.push(2 * x))


def test_a_wrong_chunk_moves_no_lane(floats: Model) -> None:
    (x,) = signals(floats.inputs, 4)
    pool = floats.pool(lanes=2, engine="reference")
    with pytest.raises(StreamError, match=r"lane 1: input `t0` takes chunks of shape \(n, 2\) and got \(4,\)"):
        pool.push([x, x[:, 0]])
    with pytest.raises(StreamError, match="2 lanes are to be pushed and got 1 chunks; pass None to pause one"):
        pool.push([x])
    assert [lane.frames_in for lane in pool] == [0, 0]


def test_lanes_join_and_leave_while_the_others_go_on(floats: Model) -> None:
    (x,) = signals(floats.inputs, 40)
    for engine in engines_here(floats):
        alone = floats.stream(engine)
        expected = np.concatenate([alone.push(x), alone.flush()])
        pool = floats.pool(lanes=2, engine=engine)
        made = {0: [pool.push(np.stack([x[:10], 5 * x[:10]]))[0]], 1: [], 2: []}
        pool.leave(1)
        assert pool.lanes == (0,) and len(pool) == 1
        with pytest.raises(StreamError, match=r"there is no lane 1 in the pool; join\(\) makes one"):
            _ = pool[1]
        assert pool.join() == 1 and pool[1].frames_in == 0
        assert pool.join() == 2 and pool.lanes == (0, 1, 2)
        parts = pool.push(np.stack([x[:20], x[:20]]), lanes=[2, 1])
        made[2].append(parts[0])
        made[1].append(parts[1])
        assert pool[0].frames_in == 10
        made[0].append(pool.push(x[None, 10:20], lanes=[0])[0])
        for k, part in enumerate(pool.push([x[20:]] * 3)):
            made[k].append(part)
        for k, tail in enumerate(pool.flush()):
            made[k].append(tail)
        for k in range(3):
            np.testing.assert_array_equal(np.concatenate(made[k]), expected)


def test_a_pool_whose_lanes_have_all_left_takes_nothing_and_new_ones(floats: Model) -> None:
    for engine in engines_here(floats):
        pool = floats.pool(lanes=1, engine=engine)
        pool.leave(0)
        assert pool.push(np.zeros((0, 3, 2), np.float32)) == [] and pool.flush() == []
        assert pool.join() == 0 and len(pool.push(np.zeros((1, 3, 2), np.float32))) == 1


def test_lanes_are_named_once_and_must_be_there(floats: Model) -> None:
    (x,) = signals(floats.inputs, 4)
    for engine in engines_here(floats):
        pool = floats.pool(lanes=3, engine=engine)
        with pytest.raises(StreamError, match="a lane is named twice"):
            pool.push(np.stack([x, x]), lanes=[1, 1])
        with pytest.raises(StreamError, match="there is no lane 3 in the pool"):
            pool.push(np.stack([x, x]), lanes=[1, 3])
        with pytest.raises(StreamError, match="there is no lane -4"):
            pool.leave(-4)
        with pytest.raises(StreamError, match="1 lanes are to be pushed and got 2 chunks"):
            pool.push(np.stack([x, x]), lanes=[1])
        assert [lane.frames_in for lane in pool] == [0, 0, 0]


def test_rows_go_to_the_lanes_that_are_named(floats: Model) -> None:
    (x,) = signals(floats.inputs, 30)
    for engine in engines_here(floats):
        pool = floats.pool(lanes=200, engine=engine)
        named = [199, *range(150)]
        rows = np.stack([x * k for k in range(len(named))]).astype(np.float32)
        out = np.zeros((len(named), 40, 2), np.float32)
        counted = pool.push_into(rows, out, lanes=named)
        alone = floats.stream(engine)
        for k in (0, 1, 77, 150):
            alone.reset()
            expected = alone.push(rows[k])
            np.testing.assert_array_equal(out[k, : counted[k]], expected)
        assert pool[199].frames_in == 30 and pool[198].frames_in == 0


def test_a_row_without_room_moves_no_lane(floats: Model) -> None:
    (x,) = signals(floats.inputs, 30)
    for engine in engines_here(floats):
        pool = floats.pool(lanes=2, engine=engine)
        pool[1].push(x[:7])
        for out in (np.zeros((2, 3, 2), np.float32), np.zeros((1, 40, 2), np.float32)):
            with pytest.raises(StreamError, match=r"give it room|output buffer is too small|must have as many rows"):
                pool.push_into(np.stack([x, x]), out)
            assert [lane.frames_in for lane in pool] == [0, 7] and not out.any()


def test_nan_in_one_lane_stays_there(floats: Model) -> None:
    (x,) = signals(floats.inputs, 30)
    for engine in engines_here(floats):
        pool = floats.pool(lanes=2, engine=engine)
        made = [pool.push([np.full((1, 2), np.nan, np.float32), x[k : k + 1]])[1] for k in range(30)]
        alone = floats.stream(engine)
        expected = np.concatenate([alone.push(x), alone.flush()])
        np.testing.assert_allclose(np.concatenate([*made, pool[1].flush()]), expected, atol=1e-6)


def test_pools_take_a_tuple_per_lane_for_several_inputs(two_inputs: Model) -> None:
    x = signals(two_inputs.inputs, 12)
    pool = two_inputs.pool(lanes=2, engine="reference")
    both, nothing = pool.push([x, None])
    alone = two_inputs.stream("reference").push(*x)
    for a, b in zip(both, alone, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [len(part) for part in nothing] == [0] * len(two_inputs.outputs)
