"""Ctrl-C in the middle of a long push: heard at once, and the stream says that it is not where it was."""

from __future__ import annotations

import os
import signal
import time
import tracemalloc

import numpy as np
import pytest
from helpers.paths import MODELS

import tcnstream
from tcnstream import Pipeline, StreamError

FRAMES = 10_000_000


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_long_push_hears_ctrl_c(engine: str) -> None:
    """It took 19 s to take effect."""
    stream = tcnstream.load(MODELS / "nse_lg.i8.tflite").stream(engine)
    x = np.zeros((FRAMES, 1), np.int8)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        begin = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            stream.push(x)
        assert time.monotonic() - begin < 2
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(StreamError, match="an earlier call failed midway"):
        stream.push(x[:1])
    stream.reset()
    fresh = tcnstream.load(MODELS / "nse_lg.i8.tflite").stream(engine)
    np.testing.assert_array_equal(stream.push(x[:1000]), fresh.push(x[:1000]))


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
