"""Ctrl-C in the middle of a push: heard at once, and the stream says that it is not where it was."""

from __future__ import annotations

import os
import random
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from helpers.networks import build, layer
from helpers.paths import MODELS

import tcnstream
from tcnstream import Pipeline, PipelinePool, Stream, StreamError

MODEL = MODELS / "nse_lg.i8.tflite"
FRAMES = 10_000_000
BROKEN = "an earlier call failed midway"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@contextmanager
def ctrl_c_after(seconds: float) -> Iterator[None]:
    """KeyboardInterrupt so long after the beginning, if what is inside has not ended by then; a second later again.

    Python drops one that falls into a finaliser.
    """
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def must_hear(call: Callable[[], object], *streams: Stream | Pipeline) -> None:
    """In the midst of ``call``, which leaves one of them broken: where it does not, a busy machine had not begun."""
    for after_s in (0.2, 2.0, 10.0):
        # The time of the processor alone: what else the machine does may come between.
        begin_s = time.process_time()
        with pytest.raises(KeyboardInterrupt), ctrl_c_after(after_s):
            call()
        assert time.process_time() - begin_s < after_s + 2.0
        try:
            for stream in streams:
                stream.snapshot()
        except StreamError as error:
            assert BROKEN in str(error)
            return
    raise AssertionError("it was interrupted before it began, each time")


def must_go_on_after_reset(stream: Stream) -> None:
    x = np.random.default_rng(1).integers(-128, 128, (1000, 1), np.int8)
    for call in (lambda: stream.push(x[:1]), stream.snapshot, stream.flush):
        with pytest.raises(StreamError, match=BROKEN):
            call()
    with pytest.raises(StreamError, match=BROKEN):
        stream.push_into(x[:1], np.empty((9, *stream.outputs[0].shape), stream.outputs[0].dtype))
    stream.reset()
    np.testing.assert_array_equal(stream.push(x), stream.another().push(x))


@pytest.mark.parametrize("engine", ["native", "reference", "interpreter"])
def test_a_long_push_hears_ctrl_c(engine: str) -> None:
    """It took 19 s to take effect."""
    stream = tcnstream.load(MODEL).stream(engine)
    must_hear(lambda: stream.push(np.zeros((FRAMES, 1), np.int8)), stream)
    must_go_on_after_reset(stream)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_long_push_into_hears_ctrl_c(engine: str) -> None:
    stream = tcnstream.load(MODEL).stream(engine)
    x, (spec,) = np.zeros((FRAMES, 1), np.int8), stream.outputs
    out = np.empty((FRAMES, *spec.shape), spec.dtype)
    must_hear(lambda: stream.push_into(x, out), stream)
    must_go_on_after_reset(stream)


def test_a_push_of_a_heavy_model_hears_ctrl_c() -> None:
    """So many frames as a light model takes in a moment would take minutes here."""
    wide = [layer("convolution", kernel=9, channels=512), layer("convolution", kernel=9, channels=512)]
    model = tcnstream.load(build(wide, 30).content)
    assert model.macs_per_frame > 2_000_000
    stream, (spec,) = model.stream("native"), model.inputs
    must_hear(lambda: stream.push(np.zeros((20_000, *spec.shape), spec.dtype)), stream)
    with pytest.raises(StreamError, match=BROKEN):
        stream.push(np.zeros((1, *spec.shape), spec.dtype))


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("way", ["push", "push_into"])
@pytest.mark.parametrize("lanes", [3, 200])
def test_a_pool_hears_ctrl_c(engine: str, way: str, lanes: int) -> None:
    """Of 200 lanes some are another thread's."""
    pool = tcnstream.load(MODEL).pool(lanes, engine)
    n = FRAMES // lanes
    x = np.zeros((lanes, n, 1), np.int8)
    out = np.empty((lanes, n + 9, *pool[0].outputs[0].shape), pool[0].outputs[0].dtype)
    must_hear(lambda: pool.push(x) if way == "push" else pool.push_into(x, out), *map(pool.__getitem__, pool.lanes))
    if engine == "native":
        for lane in (0, lanes - 1):
            must_go_on_after_reset(pool[lane])
        with pytest.raises(StreamError, match=f"lane 1: {BROKEN}"):
            pool.push(x[:, :1])
    pool.reset()
    made = pool.push(x[:, :1000])
    np.testing.assert_array_equal(made[lanes - 1], pool[0].another().push(x[0, :1000]))


@pytest.mark.parametrize("lanes", [1, 5])
def test_a_pipeline_hears_ctrl_c(lanes: int) -> None:
    x = np.random.default_rng(0).normal(0, 0.1, FRAMES).astype(np.float32)
    if lanes == 1:
        pipeline = Pipeline("ecg", rate_hz=360, units="mV")
        must_hear(lambda: pipeline.push(x), pipeline)
    else:
        pool = PipelinePool("ecg", lanes, rate_hz=360, units="mV")
        pipeline = pool[lanes - 1]
        must_hear(lambda: pool.push([x] * lanes), pipeline)
    for call in (lambda: pipeline.push(x[:1]), pipeline.snapshot, pipeline.flush, lambda: pipeline.mark_gap(1)):
        with pytest.raises(StreamError, match=BROKEN):
            call()
    pipeline.reset()
    fresh = Pipeline("ecg", rate_hz=360, units="mV")
    assert pipeline.push(x[:5000]) == fresh.push(x[:5000])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python drops Ctrl-C in a finaliser
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_ctrl_c_at_any_moment_of_short_calls(engine: str) -> None:
    """The stream refuses, or it is exactly where ``frames_in`` says; and no call waits for one that is over."""
    rng = random.Random(engine)
    model = tcnstream.load(MODEL)
    stream, whole = model.stream(engine), model.stream("native")
    x = np.random.default_rng(2).integers(-128, 128, (4000, 1), np.int8)
    expected = np.concatenate([whole.push(x), whole.flush()])
    heard = 0
    for _ in range(150):
        stream.reset()
        stream.push(x[:300])
        n = rng.choice((1, 60, 900))
        before = stream.frames_in
        try:
            with ctrl_c_after(rng.uniform(2e-6, 3e-4 if engine == "native" else 5e-3)):
                for _ in range(20):
                    before = stream.frames_in
                    stream.push(x[before : before + n] if before < 3000 else x[:0])
                    blob = stream.snapshot()
                    stream.restore(blob)
        except KeyboardInterrupt:
            heard += 1
        at = stream.frames_in
        done = max(0, at - stream.outputs[0].delay)
        try:
            made = stream.push(x[at : at + 50])
        except StreamError as error:
            assert BROKEN in str(error)
            stream.reset()
        else:
            assert at in (before, before + n)
            np.testing.assert_array_equal(made, expected[done : done + len(made)])
    assert heard > 20


def test_a_long_chunk_takes_little_more_memory_than_itself() -> None:
    pipeline = Pipeline("ecg", rate_hz=250, units="mV")
    pipeline.push(np.zeros(1000, np.float32))
    x = np.random.default_rng(0).normal(0, 0.1, 300_000).astype(np.float32)
    tracemalloc.start()
    try:
        pipeline.push(x)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All at once, the numbers of a recursive filter alone took 32 bytes each.
    assert peak_bytes < 4_000_000
