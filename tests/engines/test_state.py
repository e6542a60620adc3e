"""What a stream remembers: bounded memory, and snapshots that are whole or refused."""

from __future__ import annotations

import hashlib
import io
import itertools
import random
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.contract import engines_here, open_stream
from helpers.mutate import mutations
from helpers.networks import build, layer, signals
from helpers.paths import MODELS

import tcnstream
from tcnstream import Model, StreamError
from tcnstream.engines.sealed import kept_frames
from tcnstream.engines.state import Queue, State
from tcnstream.signal.card import shipped_models
from tcnstream.tflite.graph import Tensor


def long_memory(**setup: object) -> Model:
    layers = [layer("convolution", kernel=9, dilation=16, padding="causal"), layer("convolution", kernel=3, stride=2)]
    return tcnstream.load(build(layers, 40, **setup).content)  # type: ignore[arg-type]


def test_a_queue_copies_live_frames_rarely() -> None:
    """The cost of an append does not grow with what is remembered: whole-history copies are one in many appends."""
    queue = Queue((1,), np.dtype(np.float32))
    rewinds, live = 0, 1000
    store = queue._store
    for n in range(20_000):
        begin = queue._begin
        queue.append(np.full((1, 1), n, np.float32))
        queue.drop_before(max(0, n + 1 - live))
        rewinds += queue._begin < begin or queue._store is not store
        store = queue._store
    assert rewinds < 40
    assert len(queue._store) < 3 * live
    np.testing.assert_array_equal(queue.read(19_000, 20_000)[:, 0], np.arange(19_000, 20_000))


def test_memory_is_bounded_by_the_model_and_not_by_the_signal() -> None:
    model = long_memory()
    stream = model.stream("reference")
    (x,) = signals(model.inputs, 6000)
    largest = 0
    for k in range(0, 6000, 3):
        stream.push(x[k : k + 3])
        assert stream.state_bytes <= model.state_bytes + 3 * 2 * 4 * 8
        assert isinstance(stream.memory, State)
        held = stream.memory.room_bytes()
        if k == 3000:
            largest = held
    assert held == largest < 20 * model.state_bytes


def test_state_bytes_is_what_is_remembered_between_single_frames() -> None:
    model = long_memory()
    # Eight taps of 16 frames back (causal), two channels of float32; of the strided layer one or two frames.
    assert 8 * 16 * 2 * 4 <= model.state_bytes <= 8 * 16 * 2 * 4 + 3 * 2 * 4
    for engine in engines_here(model):
        stream = model.stream(engine)
        assert stream.state_bytes == 0
        (x,) = signals(model.inputs, 400)
        sizes = []
        for frame in x:
            stream.push(frame[None])
            sizes.append(stream.state_bytes)
        assert max(sizes) == model.state_bytes
        assert sizes[-2::-2][:50] == [sizes[-2]] * 50
        assert sizes[-1::-2][:50] == [sizes[-1]] * 50


def test_a_snapshot_is_bound_to_its_model_and_policy() -> None:
    one, other = long_memory(), long_memory(seed=1)
    blob = one.stream("reference").snapshot()
    with pytest.raises(StreamError, match=r"the snapshot belongs to `.*`, this stream runs `.*`; restore it into"):
        other.stream("reference").restore(blob)
    pooled = tcnstream.load(MODELS / "nse_sm_se.i8.tflite")
    blob = pooled.stream("reference", time_pooling="trailing:50").snapshot()
    pooled.stream("reference", time_pooling="trailing:50").restore(blob)
    for policy in ("trailing:51", "cumulative", "trailing"):
        with pytest.raises(StreamError, match=r"same model and policy"):
            pooled.stream("reference", time_pooling=policy).restore(blob)


def test_damaged_snapshots_are_refused_and_change_nothing() -> None:
    model = long_memory()
    (x,) = signals(model.inputs, 200)
    for engine in engines_here(model):
        stream = model.stream(engine)
        stream.push(x[:50])
        blob = stream.snapshot()
        stream.push(x[50:60])
        after = stream.snapshot()
        for damaged in (b"", blob[:31], blob[:-1], *mutations(blob, 200, random.Random(0))):
            if damaged == blob:
                continue
            with pytest.raises(StreamError, match="snapshot"):
                stream.restore(damaged)
            assert stream.frames_in == 60
        assert stream.snapshot() == after
        stream.restore(blob)
        assert stream.frames_in == 50
        assert stream.snapshot() == blob


def test_plans_without_frames_remember_nothing() -> None:
    assert Tensor("x", (1,), np.dtype(np.float32)).is_constant is False
    model = tcnstream.load(build([layer("activation", kind="TANH")], 20).content)
    assert model.state_bytes == 0
    stream = model.stream("reference")
    stream.push(*signals(model.inputs, 20))
    assert stream.state_bytes == 0


@pytest.mark.parametrize("blob", [None, "abc", 7, [1, 2]])
def test_what_is_no_bytes_is_no_snapshot(blob: object) -> None:
    model = long_memory()
    for engine in engines_here(model):
        with pytest.raises(StreamError, match="a snapshot is bytes and this is"):
            model.stream(engine).restore(blob)  # type: ignore[arg-type]


def test_a_snapshot_may_come_as_any_bytes() -> None:
    model = long_memory()
    (x,) = signals(model.inputs, 90)
    for engine in engines_here(model):
        stream = model.stream(engine)
        stream.push(x[:40])
        blob, expected = stream.snapshot(), stream.push(x[40:])
        for kind in (bytearray, memoryview):
            stream.restore(kind(blob))
            np.testing.assert_array_equal(stream.push(x[40:]), expected)


# --- crafted snapshots ---------------------------------------------------------------------------

HEAD = struct.Struct("<7sBqII")


def crafted(
    blob: bytes,
    *,
    version: int | None = None,
    pushed: int | None = None,
    ended: int | None = None,
    length: int | None = None,
    body: Callable[[bytes], bytes] = lambda body: body,
) -> bytes:
    """A snapshot with other facts or another body, under a checksum that is right."""
    magic, *facts = HEAD.unpack_from(blob)
    end = HEAD.size + facts[3]
    given = (version, pushed, ended, length)
    said = [fact if new is None else new for fact, new in zip(facts, given, strict=True)]
    content = HEAD.pack(magic, *said) + blob[HEAD.size : end] + body(blob[end:-4])
    return content + struct.pack("<I", zlib.crc32(content))


CRAFTED = {
    "a stray number behind": {"body": lambda body: body + bytes(8)},
    "a byte behind": {"body": lambda body: body + b"x"},
    "a byte less": {"body": lambda body: body[:-1]},
    "nothing": {"body": lambda body: b""},
    "far on": {"pushed": 1 << 60},
    "just too far": {"pushed": (1 << 56) + 1},
    "the most": {"pushed": (1 << 63) - 1},
    "before the start": {"pushed": -1},
    "long before": {"pushed": -(1 << 63)},
    "at the start": {"pushed": 0},
    "a little later": {"pushed": 7},
    "ended, with frames": {"ended": 1},
    "ended twice": {"ended": 2},
    "another version": {"version": 3},
    "the one before": {"version": 1},
    "a longer name": {"length": 0xFFFFFFFF},
    "a name of all": {"length": 1 << 20},
    "no name": {"length": 0},
}


@pytest.mark.parametrize("change", CRAFTED.values(), ids=CRAFTED.keys())
def test_a_crafted_snapshot_changes_nothing(change: dict[str, Any]) -> None:
    """The checksum is against accidents; what is inside is compared with the plan all the same."""
    for model, frames in ((long_memory(), 10), (tcnstream.load(MODELS / "nse_sm.i8.tflite"), 50), (cumulative(), 60)):
        rng = np.random.default_rng(0)
        (spec,) = model.inputs
        x = rng.normal(0, 30, (120, *spec.shape)).astype(spec.dtype)
        for engine in engines_here(model, time_pooling="cumulative"):
            stream = open_stream(model, engine=engine, time_pooling="cumulative")
            stream.push(x[:frames])
            blob = stream.snapshot()
            with pytest.raises(StreamError, match="snapshot"):
                stream.restore(crafted(blob, **change))
            assert stream.snapshot() == blob
            expected = stream.push(x[frames:])
            stream.restore(blob)
            assert np.array_equal(stream.push(x[frames:]), expected)


def cumulative() -> Model:
    """Its nodes carry sums."""
    return tcnstream.load(MODELS / "nse_sm_se.i8.tflite")


def test_a_snapshot_of_the_format_before_is_told_from_damage() -> None:
    archive = io.BytesIO()
    np.savez(archive, facts=np.array([1, 0, 0]))
    old = hashlib.sha256(archive.getvalue()).digest() + archive.getvalue()
    with pytest.raises(StreamError, match="the snapshot has format 1, this version reads 2"):
        long_memory().stream("reference").restore(old)


def test_a_snapshot_takes_no_more_memory_than_its_own_size() -> None:
    model = tcnstream.load(MODELS / "nse_sm.i8.tflite")
    for engine in engines_here(model):
        stream = open_stream(model, engine=engine)
        stream.push(np.zeros((50, *model.inputs[0].shape), np.int8))
        blob = stream.snapshot()
        tracemalloc.start()
        for change in (*CRAFTED.values(), {"body": lambda body: bytes(1_000_000)}):
            with pytest.raises(StreamError, match="snapshot"):
                stream.restore(crafted(blob, **change))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 20e6


@pytest.mark.parametrize("name", ["nse_sm.i8", "nse_sm_se.i8", "ecg"])
def test_engines_write_the_same_bytes(name: str) -> None:
    path = MODELS / f"{name}.tflite"
    model = tcnstream.load(path if path.exists() else shipped_models()[name])
    (spec,) = model.inputs
    x = np.random.default_rng(3).normal(0, 30, (900, *spec.shape)).astype(spec.dtype)
    here = engines_here(model, time_pooling="cumulative")
    streams = [open_stream(model, engine=engine, time_pooling="cumulative") for engine in here]
    for begin, end in ((0, 0), (0, 1), (1, 40), (40, 300), (300, 900)):
        for stream in streams:
            stream.push(x[begin:end])
        assert len({stream.snapshot() for stream in streams}) == 1
    for stream in streams:
        stream.flush()
    assert len({stream.snapshot() for stream in streams}) == 1


@pytest.mark.parametrize("moment", range(1, 7))
def test_two_threads_may_look_at_one_plan_for_the_first_time(moment: int) -> None:
    """Streams share their plan: what is noted of it is whole when another thread finds it."""
    plan = long_memory().plan
    expected = kept_frames(long_memory().plan, 1000, False)
    others: list[tuple[int, ...]] = []
    looks = itertools.count(1)

    class Watched(type(plan)):  # type: ignore[misc]
        """Another thread looks at it while this one does for the so many-th time."""

        def __hash__(self) -> int:
            if threading.current_thread() is threading.main_thread() and next(looks) == moment:
                other = threading.Thread(target=lambda: others.append(kept_frames(plan, 1000, False)))
                other.start()
                other.join()
            return object.__hash__(self)

    object.__setattr__(plan, "__class__", Watched)
    assert kept_frames(plan, 1000, False) == expected
    for _ in range(moment):
        hash(plan)
    assert others == [expected]
