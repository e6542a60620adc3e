"""What a stream remembers: bounded memory, and snapshots that are whole or refused."""

from __future__ import annotations

import hashlib
import io
import random
import tracemalloc
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from helpers.contract import engines_here, open_stream
from helpers.mutate import mutations
from helpers.networks import build, layer, signals
from helpers.paths import MODELS

import tcnstream
from tcnstream import Model, StreamError
from tcnstream.engines.base import ENGINES
from tcnstream.engines.state import Queue, State
from tcnstream.tflite.graph import Array, Tensor


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


def test_a_snapshot_with_a_good_checksum_and_wrong_content_is_refused() -> None:
    """The checksum is against accidents; what is inside is checked against the plan all the same."""
    import hashlib
    import io

    model = long_memory()
    stream = model.stream("reference")
    (x,) = signals(model.inputs, 100)
    stream.push(x)
    with np.load(io.BytesIO(stream.snapshot()[32:])) as arrays:
        whole = dict(arrays)
    before = stream.snapshot()
    queue = max((name for name in whole if name.startswith("queue")), key=lambda name: whole[name].nbytes)
    wrong = [
        {**whole, queue: whole[queue][:, :1]},
        {**whole, queue: whole[queue].astype(np.float64)},
        {**whole, queue: whole[queue][1:]},
        {**whole, "have": whole["have"][:-1]},
        {**whole, "have": whole["have"] + 1},
        {**whole, "facts": np.array([1, -5, 0])},
        {name: array for name, array in whole.items() if name != queue},
        {name: array for name, array in whole.items() if name != "have"},
    ]
    for arrays_of in wrong:
        body = io.BytesIO()
        np.savez(body, **arrays_of)
        with pytest.raises(StreamError, match="snapshot"):
            stream.restore(hashlib.sha256(body.getvalue()).digest() + body.getvalue())
        assert stream.snapshot() == before


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


def crafted(blob: bytes, change: Callable[[dict[str, Array]], None], compressed: bool = False) -> bytes:
    """A snapshot whose arrays were changed, under a checksum that is right."""
    with np.load(io.BytesIO(blob[32:])) as archive:
        arrays = dict(archive)
    change(arrays)
    body = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(body, **arrays)  # type: ignore[arg-type]
    return hashlib.sha256(body.getvalue()).digest() + body.getvalue()


def with_header(blob: bytes, shape: bytes) -> bytes:
    """A snapshot one of whose arrays says that it is larger than it is."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(blob[32:])) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename == "facts.npy":
                content = content.replace(b"'shape': (3,), }", b"'shape': " + shape + b", }")
            new.writestr(entry.filename, content)
    body = changed.getvalue()
    return hashlib.sha256(body).digest() + body


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.update(carry0=np.zeros(4)),
        lambda a: a.update(carry999=np.zeros(4)),
        lambda a: a.update(carryX=np.zeros(4)),
        lambda a: a.update(stray=np.zeros(4)),
        lambda a: a.update(facts=a["facts"] + [0, 1 << 60, 0]),
        lambda a: a.update(facts=a["facts"] * [1, -1, 1]),
        lambda a: a.update(have=a["have"] + 1),
        lambda a: a.update(queue0=a["queue0"][:0]),
        lambda a: a.update(queue0=a["queue0"].astype(np.float64)),
        lambda a: a.update(identity=np.array(3)),
        lambda a: a.pop("have"),
    ],
)
def test_a_crafted_snapshot_changes_nothing(engine: str, change: Callable[[dict[str, Array]], None]) -> None:
    model = tcnstream.load(MODELS / "nse_sm.i8.tflite")
    stream = open_stream(model, engine=engine)
    x = np.random.default_rng(0).integers(-128, 128, (120, *model.inputs[0].shape), np.int8)
    stream.push(x[:50])
    blob = stream.snapshot()
    with pytest.raises(StreamError, match="snapshot"):
        stream.restore(crafted(blob, change))
    assert stream.snapshot() == blob
    expected = stream.push(x[50:])
    stream.restore(blob)
    assert np.array_equal(stream.push(x[50:]), expected)


def test_a_snapshot_is_not_unpacked_beyond_its_own_size() -> None:
    model = tcnstream.load(MODELS / "nse_sm.i8.tflite")
    stream = model.stream("reference")
    blob = stream.snapshot()
    bomb = crafted(blob, lambda a: a.update(queue0=np.zeros(200_000_000, np.int8)), compressed=True)
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    for hostile in (
        bomb,
        with_header(blob, b"(3000000000,)"),
        with_header(blob, b"(-3,)"),
        with_header(blob, b"(1.5,)"),
    ):
        with pytest.raises(StreamError, match="the bytes are no snapshot"):
            stream.restore(hostile)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20e6
