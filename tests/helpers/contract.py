"""The contract of a stream, checked in one place: ``verify_contract`` for every model and every engine.

A stream's whole output, however the signal is cut, is the model's offline answer. Everything else that
a user may rely on follows from that and is checked here as well: when a frame appears, what it depends
on, what is remembered, and that no stream reaches another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest

from tcnstream import EngineError, Model, Stream, StreamError
from tcnstream.compiler.tails import tail_of
from tcnstream.compiler.timing import Timing, settled_frames, timings
from tcnstream.engines.base import ENGINES
from tcnstream.engines.state import State
from tcnstream.measure.compare import FLOAT_TOLERANCE, agrees, chunk_sizes, chunks
from tcnstream.stream import one_or_all
from tcnstream.tflite.graph import Array

Signal: TypeAlias = tuple[Array, ...]


def verify_contract(
    model: Model,
    signal: Array | Sequence[Array],
    expected: Array | Sequence[Array],
    *,
    engine: str = "reference",
    tolerance: float = FLOAT_TOLERANCE,
    seed: int = 0,
    chunkings: int = 2,
    **stream_options: Any,
) -> None:
    """All of the contract for one model, signal and engine.

    ``signal`` is one array (frames, *frame_shape) per input of the model, ``expected`` one per output: the
    offline answer over the whole signal. ``stream_options`` go to ``Model.stream`` and ``Model.pool``.
    """
    rng = np.random.default_rng(seed)
    signal, expected = _each(signal), _each(expected)
    options = {"engine": engine, **stream_options}
    frames = len(signal[0])
    stream = open_stream(model, **options)

    assert_frames(_run(stream, signal, [frames]), expected, tolerance, "one chunk")
    _refuses_more_until_reset(stream, signal)
    for attempt in range(chunkings):
        stream.reset()
        sizes = chunk_sizes(frames, rng)
        assert_frames(_run(stream, signal, sizes, rng), expected, tolerance, f"chunks {attempt}: {sizes[:20]}")
    _sample_by_sample(model, stream, signal, expected, tolerance, rng)
    _snapshot_in_the_middle(model, stream, signal, expected, tolerance, rng, options)
    resumed_in_the_middle(model, stream, signal, rng, options)
    _lanes_are_independent(model, signal, expected, tolerance, rng, options)
    _depends_on_what_is_declared(stream, signal, rng)


def open_stream(model: Model, **options: Any) -> Stream:
    """A stream, or a skipped test where the engine is not installed."""
    try:
        return model.stream(**options)
    except EngineError as e:
        if "install" in str(e):
            pytest.skip(str(e))
        raise


def engines_here(model: Model, **options: Any) -> list[str]:
    """The engines that are installed and have all operations of the model; the reference engine is one of them."""
    here = []
    for engine in ENGINES:
        try:
            model.stream(engine=engine, **options)
        except EngineError:
            continue
        here.append(engine)
    assert "reference" in here
    return here


def assert_frames(got: Signal, expected: Signal, tolerance: float, what: str, by_frame: bool = False) -> None:
    """Integers identical, floats within ``tolerance * max(1, |b|)``, and as many frames.

    ``by_frame``: |b| of the frame's largest value, as for spectra.
    """
    assert len(got) == len(expected)
    for k, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.dtype == b.dtype, f"{what}: output {k} is {a.dtype}, not {b.dtype}"
        assert a.shape == b.shape, f"{what}: output {k} is {a.shape}, not {b.shape}"
        wrong = ~agrees(a, b, tolerance, by_frame=by_frame)
        if wrong.any():
            first = tuple(int(n) for n in np.argwhere(wrong)[0])
            raise AssertionError(
                f"{what}: output {k} differs in {wrong.sum()} of {wrong.size} values, first at {first}:"
                f" {a[first]} for {b[first]}"
            )


def poison(stream: Stream, rng: np.random.Generator) -> None:
    """Garbage, NaN for floats, in all memory of a stream that holds no frame that is still needed.

    Only where the memory is ours: the native core's own tests put canaries and garbage around its buffers.
    """
    if isinstance(stream.memory, State):
        for unused in stream.memory.unused():
            unused[...] = garbage(rng, unused.shape, unused.dtype)


def garbage(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype[np.generic]) -> Array:
    """What must never be read: NaN, or integers of the whole range."""
    if dtype.kind == "f":
        return np.full(shape, np.nan, dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    limits = np.iinfo(dtype.str)
    return rng.integers(limits.min, limits.max, shape, dtype=np.dtype(dtype.str), endpoint=True)


def _each(arrays: Array | Sequence[Array]) -> Signal:
    return (arrays,) if isinstance(arrays, np.ndarray) else tuple(arrays)


def _run(stream: Stream, signal: Signal, sizes: Sequence[int], rng: np.random.Generator | None = None) -> Signal:
    """Push the signal in chunks and flush; with ``rng`` unused memory is poisoned between the chunks."""
    collected = []
    for chunk in chunks(signal, sizes):
        if rng is not None:
            poison(stream, rng)
        collected.append(_each(stream.push(*chunk)))
    if rng is not None:
        poison(stream, rng)
    collected.append(_each(stream.flush()))
    return tuple(np.concatenate(parts) for parts in zip(*collected, strict=True))


def _refuses_more_until_reset(stream: Stream, signal: Signal) -> None:
    some = next(chunks(signal, [1]))
    with pytest.raises(StreamError, match="push after flush"):
        stream.push(*some)
    with pytest.raises(StreamError, match="flush after flush"):
        stream.flush()
    stream.reset()
    assert stream.frames_in == 0
    stream.push(*some)
    assert stream.frames_in == len(some[0])


def declared(stream: Stream) -> list[Timing]:
    """The Timing of every output, under the stream's policy."""
    plan = stream.plan
    facts = timings(plan)
    return [t for o in plan.outputs if (t := facts[o]) is not None]


def mirrors(stream: Stream) -> bool:
    """Whether an edge is mirrored or repeats the first frame: first frames depend on later ones than others do."""
    return any(
        node.window.is_mirrored or (node.window.edge == "hold" and node.window.pad_begin >= node.window.extent)
        for node in stream.plan.nodes
    )


def _sample_by_sample(
    model: Model, stream: Stream, signal: Signal, expected: Signal, tolerance: float, rng: np.random.Generator
) -> None:
    """Frame by frame: equal, each output frame as soon as declared, what is remembered constant and as declared."""
    stream.reset()
    outputs, have = declared(stream), [0] * len(stream.plan.outputs)
    settled, period = settled_frames(stream.plan)
    begin, end = settled + 2 * period + 1, len(signal[0]) - 2 * period - 8
    singles = [1] * len(signal[0]) if begin >= end else [*[1] * begin, end - begin, *[1] * (2 * period + 8)]
    collected, remembered = [], []
    n = -1
    for chunk in chunks(signal, singles):
        n += len(chunk[0])
        if n % 7 == 0:
            poison(stream, rng)
        made = _each(stream.push(*chunk))
        collected.append(made)
        remembered.append((n, stream.state_bytes))
        for k, (timing, frames) in enumerate(zip(outputs, made, strict=True)):
            for j in range(have[k], have[k] + len(frames) if len(chunk[0]) == 1 else 0):
                late = n - timing.due(j)
                assert late >= 0, f"output {k} frame {j} appears {-late} frames before what it depends on"
                assert late == 0 or mirrors(stream), f"output {k} frame {j} appears {late} frames late"
            have[k] += len(frames)
            assert timing.due(have[k]) > n or mirrors(stream), f"output {k} frame {have[k]} is due after {n + 1}"
    collected.append(_each(stream.flush()))
    got = tuple(np.concatenate(parts) for parts in zip(*collected, strict=True))
    assert_frames(got, expected, tolerance, "frame by frame")

    steady: dict[int, set[int]] = {}
    for n, size in remembered:
        if n >= settled:
            steady.setdefault(n % period, set()).add(size)
    assert all(len(sizes) == 1 for sizes in steady.values()), f"what is remembered changes: {steady}"
    if stream.plan is model.plan:
        assert max((size for _, size in remembered), default=0) <= model.state_bytes
        # Where frames wait for a mirrored edge, more is remembered before it than in the middle.
        if period == len(steady) == 1 and not mirrors(stream):
            assert max(max(sizes) for sizes in steady.values()) == model.state_bytes


def _snapshot_in_the_middle(
    model: Model,
    stream: Stream,
    signal: Signal,
    expected: Signal,
    tolerance: float,
    rng: np.random.Generator,
    options: dict[str, Any],
) -> None:
    """A snapshot continues in another stream bit for bit, and in another engine as exactly as that engine is."""
    frames = len(signal[0])
    half = int(rng.integers(0, frames + 1))
    rest = tuple(x[half:] for x in signal)
    sizes = chunk_sizes(frames - half, rng)
    stream.reset()
    begun = _each(stream.push(*next(chunks(signal, [half]))))
    blob = stream.snapshot()
    continued = _run(stream, rest, sizes)
    for engine in engines_here(model, **{k: v for k, v in options.items() if k != "engine"}):
        other = model.stream(**{**options, "engine": engine})
        other.push(*next(chunks(signal, [min(3, frames)])))
        other.restore(blob)
        assert other.frames_in == half
        again = _run(other, rest, sizes, rng)
        if engine == stream.engine:
            for a, b in zip(again, continued, strict=True):
                assert a.tobytes() == b.tobytes(), "the continuation differs from the original"
        both = tuple(np.concatenate(parts) for parts in zip(begun, again, strict=True))
        assert_frames(both, expected, tolerance, f"snapshot at {half} restored in {engine}")
    stream.restore(blob)
    assert_frames(_run(stream, rest, sizes), continued, 0, "the same stream restored")


def resumed_in_the_middle(
    model: Model, stream: Stream, signal: Signal, rng: np.random.Generator, options: dict[str, Any]
) -> None:
    """The newest input frames, pushed into another stream of any engine, give it all that this one remembers."""
    frames = len(signal[0])
    half = int(rng.integers(0, frames + 1))
    if tail_of(stream.plan) is None:
        with pytest.raises(StreamError, match="remembers all of the past"):
            stream.resume(one_or_all([x[:half] for x in signal]), half)
        return
    kept = model.stream(**options, keep_tail=True)
    kept.push(*next(chunks(signal, [rng.integers(0, half + 1)])))
    kept.push(*(x[kept.frames_in : half] for x in signal))
    tail = kept.tail()
    assert len(_each(tail)[0]) == kept.tail_frames(half)
    rest = tuple(x[half:] for x in signal)
    sizes = chunk_sizes(frames - half, rng)
    for engine in engines_here(model, **{k: v for k, v in options.items() if k != "engine"}):
        other = model.stream(**{**options, "engine": engine})
        other.push(*next(chunks(signal, [min(3, frames)])))
        other.resume(tail, half)
        assert other.frames_in == half
        again = _run(other, rest, sizes, rng)
        if engine == stream.engine:
            for a, b in zip(again, _run(kept, rest, sizes), strict=True):
                assert a.tobytes() == b.tobytes(), f"resumed at {half} of {frames}, the rest differs"


def _lanes_are_independent(
    model: Model, signal: Signal, expected: Signal, tolerance: float, rng: np.random.Generator, options: dict[str, Any]
) -> None:
    """Two lanes hold the signal, one with pauses, while a third gets garbage and resets."""
    pool = model.pool(lanes=3, **options)
    frames = len(signal[0])
    sizes = chunk_sizes(frames, rng)
    waiting = list(chunks(signal, sizes))
    made: list[list[Signal]] = [[], []]
    for k, chunk in enumerate(chunks(signal, sizes)):
        noise = tuple(garbage(rng, x.shape, x.dtype) for x in chunk)
        second = waiting.pop(0) if rng.random() < 0.6 else None
        first, _, other = pool.push([chunk, noise, second])
        made[0].append(_each(first))
        made[1].append(_each(other))
        if k % 5 == 4:
            pool[1].reset()
    for chunk in waiting:
        made[1].append(_each(pool.push([None, None, chunk])[2]))
    for lane, parts in ((0, made[0]), (2, made[1])):
        parts.append(_each(pool[lane].flush()))
        got = tuple(np.concatenate(pieces) for pieces in zip(*parts, strict=True))
        assert_frames(got, expected, tolerance, f"lane {lane}")


def moved_by(stream: Stream, signal: Signal, frame: int, change: float, quiet: Signal | None = None) -> list[Array]:
    """Which frames of every output move when one input frame does; ``quiet`` is the answer to ``signal`` if known."""
    stream.reset()
    before = quiet or _run(stream, signal, [len(signal[0])])
    touched = tuple(x.copy() for x in signal)
    for x in touched:
        x[frame] = _changed(x[frame], change)
    stream.reset()
    after = _run(stream, touched, [len(signal[0])])
    moved = []
    for a, b in zip(before, after, strict=True):
        same = (a == b) | ((a != a) & (b != b))
        moved.append(np.flatnonzero(~same.reshape(len(a), -1).all(axis=1)))
    return moved


def _changed(frame: Array, change: float) -> Array:
    if frame.dtype.kind == "f":
        return np.asarray(frame + change, frame.dtype)
    if frame.dtype.kind == "b":
        return ~frame
    limits = np.iinfo(frame.dtype.str)
    return np.full_like(frame, limits.max if change > 0 else limits.min)


def _depends_on_what_is_declared(stream: Stream, signal: Signal, rng: np.random.Generator) -> None:
    """No output frame moves that is not declared to depend on the input frame that moved."""
    frames = len(signal[0])
    if frames == 0 or mirrors(stream):
        return
    stream.reset()
    quiet = _run(stream, signal, [frames])
    for frame in {0, frames - 1, *(int(n) for n in rng.integers(0, frames, 2))}:
        for moved, timing in zip(moved_by(stream, signal, frame, 3.0, quiet), declared(stream), strict=True):
            for j in {int(n) for n in (*moved[:1], *moved[-1:])}:
                assert timing.newest(j) >= frame, f"frame {j} moves with input frame {frame}, which comes later"
                if not timing.unbounded:
                    assert timing.oldest(j) <= frame, f"frame {j} moves with input frame {frame}, which is too old"


def verify_reach(stream: Stream, signal: Signal, *, seed: int = 0) -> None:
    """The declared delay and receptive field are reached, not only kept; for float networks with random weights.

    A rectifier may be shut and a maximum elsewhere, so several changes of both signs are tried in every phase of
    the strides; each extreme must show at least once.
    """
    rng = np.random.default_rng(seed)
    frames = len(signal[0])
    facts = declared(stream)
    period = math.lcm(*(int(t.period * t.step) for t in facts))
    stream.reset()
    quiet = _run(stream, signal, [frames])
    middle = (frames // 2) - (frames // 2) % period
    oldest = [math.inf] * len(facts)
    newest = [math.inf] * len(facts)
    for frame in range(middle, middle + period):
        for change in (*rng.normal(0, 3, 3), 30.0, -30.0):
            for k, moved in enumerate(moved_by(stream, signal, frame, float(change), quiet)):
                for j in (int(n) for n in moved):
                    oldest[k] = min(oldest[k], frame - facts[k].oldest(j))
                    newest[k] = min(newest[k], facts[k].newest(j) - frame)
    assert oldest == [0] * len(facts), "the receptive field reaches further back than any frame moves"
    assert newest == [0] * len(facts), "the look-ahead is longer than any frame moves"
