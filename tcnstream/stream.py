"""Stream and Pool: what a user holds while a signal comes in."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.plan import Plan
from tcnstream.compiler.timing import counts
from tcnstream.engines.base import Executor, new_memory
from tcnstream.errors import StreamError
from tcnstream.spec import TensorSpec
from tcnstream.tflite.graph import Array


def _sample_rate(rate_hz: float) -> float:
    if not isinstance(rate_hz, Real) or not 0 < rate_hz < math.inf:
        raise StreamError(f"rate_hz = {rate_hz!r}; a sample rate is a number above 0")
    return rate_hz


class Stream:
    """One signal through one model.

    The concatenation of all that ``push`` and ``flush`` return is the model's offline answer on the
    whole signal, both edges included, whatever the chunks. Thread-compatible: different streams may
    run in different threads; two threads on one stream at a time are a StreamError.
    """

    def __init__(
        self,
        executor: Executor,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        identity: str,
        rate_hz: float | None = None,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.rate_hz = None if rate_hz is None else _sample_rate(rate_hz)
        self._executor = executor
        self._identity = identity
        self._state = new_memory(executor)
        self._direct_push_into = getattr(self._state, "push_into", None)
        self._busy = threading.Lock()
        self._broken = False

    @property
    def engine(self) -> str:
        """The name of the engine that computes this stream."""
        return self._executor.name

    @property
    def plan(self) -> Plan:
        """The program that runs, with the policy's nodes in place."""
        return self._executor.plan

    @property
    def frames_in(self) -> int:
        """Input frames pushed since the start or the last reset."""
        return self._state.pushed_frames

    @property
    def state_bytes(self) -> int:
        """Bytes that the stream remembers right now."""
        return self._state.live_bytes()

    def push(self, *chunks: Array) -> Array | tuple[Array, ...]:
        """Take in frames, return every output frame that they make possible.

        One chunk per input of the model, each (n, *frame_shape) with the same n >= 0, in the model's
        dtype or in float32, which is quantized to it. Returns (m, *frame_shape) in the output's dtype,
        a tuple of those if the model has several outputs; m may be 0. Raises StreamError for a wrong
        shape or dtype, after ``flush``, or while another thread uses the stream; the stream is then as before.
        """
        with _Exclusive(self):
            self._refuse_if_over("push")
            frames = self._accept(chunks)
            blocks = list(_blocks(len(frames[0]), self._executor.block_frames))
            if len(blocks) == 1:
                return _one_or_all(self._advance(frames))
            collected, begin = [self._empty()], 0
            for n in blocks:
                collected.append(self._advance([chunk[begin : begin + n] for chunk in frames]))
                begin += n
            return _one_or_all([np.concatenate(parts) for parts in zip(*collected, strict=True)])

    def push_into(self, x: Array | tuple[Array, ...], out: Array | tuple[Array, ...]) -> int | tuple[int, ...]:
        """As ``push``, into arrays of the caller's; in the native engine nothing is allocated.

        ``x`` is a dense array (n, *frame_shape) in the model's own dtype, a tuple of those for several
        inputs; ``out`` is (room, *frame_shape), or a tuple. Returns how many frames were written, per
        output if there are several. Raises StreamError as ``push`` does, and where ``out`` is too small for
        what would come out; the stream is then as before.
        """
        if self._direct_push_into is not None:
            made: int | tuple[int, ...] = self._direct_push_into(x, out)
            return made
        chunks = x if isinstance(x, tuple) else (x,)
        into = out if isinstance(out, tuple) else (out,)
        self._refuse_if_over("push")
        frames = self._accept(chunks)
        self._check_room(len(frames[0]), into)
        pushed = self.push(*frames)
        for room, y in zip(into, pushed if isinstance(pushed, tuple) else (pushed,), strict=True):
            room[: len(y)] = y
        written = tuple(len(y) for y in (pushed if isinstance(pushed, tuple) else (pushed,)))
        return written[0] if len(written) == 1 else written

    def _check_room(self, n: int, into: tuple[Array, ...]) -> None:
        if len(into) != len(self.outputs):
            raise StreamError(f"push_into takes {len(self.outputs)} output arrays and got {len(into)}")
        plan, pushed = self._executor.plan, self._state.pushed_frames
        before, after = counts(plan, pushed, ended=False), counts(plan, pushed + n, ended=False)
        for spec, o, room in zip(self.outputs, plan.outputs, into, strict=True):
            if room.dtype != spec.dtype or room.shape[1:] != spec.shape or not room.flags.writeable:
                raise StreamError(f"output `{spec.name}` takes a writable {spec.dtype} array (room, *{spec.shape})")
            if after[o] - before[o] > len(room):
                raise StreamError(
                    f"{after[o] - before[o]} frames would come out and the output array holds {len(room)};"
                    " give it room for them (nothing was lost)"
                )

    def flush(self) -> Array | tuple[Array, ...]:
        """End the signal: the right padding arrives and the tail comes out, as ``push`` returns it.

        Raises StreamError if the stream is flushed already, or if the signal is shorter than a mirrored edge.
        """
        with _Exclusive(self):
            self._refuse_if_over("flush")
            return _one_or_all(self._advance(None))

    def times(
        self,
        frames: npt.ArrayLike | range,
        *,
        output: int | str = 0,
        rate_hz: float | None = None,
    ) -> npt.NDArray[np.float64]:
        """Seconds on the input's clock at which output frames stand; the first input frame stands at 0.

        Frame j stands at ``(j / rate + offset) / rate_hz``, with ``rate`` and ``offset`` of the output's TensorSpec: at
        ``j / rate`` where layers keep the length (SAME, causal, SignalConv1D), at the middle of what is read where they
        do not; ``tcnstream.compiler.alignment`` has the rules.

        ``frames``: what ``push`` or ``flush`` has just returned (or the length of it, or the newest part of all that
        they returned), or frame numbers, integers of one axis. Before any frame has come out a length counts from
        the first frame on. ``output``: which one of several, by number or name. ``rate_hz``: the input's sample rate,
        unless it was given to ``Model.stream``. Returns float64 (m,). Raises StreamError where the rate is unknown, for
        an output that is not there, or for more frames than have come out.
        """
        index = self._output(output)
        spec, rate = self.outputs[index], self.rate_hz if rate_hz is None else rate_hz
        if rate is None:
            raise StreamError("the stream does not know its input's sample rate: give rate_hz, here or to Model.stream")
        numbers = self._frame_numbers(frames, index)
        places = numbers * spec.rate.denominator / spec.rate.numerator + float(spec.offset)
        seconds: npt.NDArray[np.float64] = places / _sample_rate(rate)
        return seconds

    def _output(self, output: int | str) -> int:
        for index, spec in enumerate(self.outputs):
            if output in (index, spec.name):
                return index
        names = ", ".join(f"{k} ({spec.name})" for k, spec in enumerate(self.outputs))
        raise StreamError(f"there is no output {output!r}; choose one of {names}")

    def _frame_numbers(self, frames: npt.ArrayLike | range, index: int) -> npt.NDArray[np.int64]:
        given, spec = np.asarray(frames), self.outputs[index]
        returned = given.shape[1:] == spec.shape and given.ndim > 1
        if given.ndim == 1 and (given.dtype.kind in "iu" or not given.size) and not returned:
            return given.astype(np.int64)
        if not returned and not (given.ndim == 0 and given.dtype.kind in "iu" and given >= 0):
            wanted = ", ".join(["m", *map(str, spec.shape)])
            raise StreamError(
                f"times takes output frames ({wanted}) of `{spec.name}`, how many, or their numbers, and got"
                f" {given.dtype} {given.shape}"
            )
        m = len(given) if returned else int(given)
        state = self._state
        out = counts(self._executor.plan, state.pushed_frames, state.ended)[self._executor.plan.outputs[index]]
        if m > out > 0:
            raise StreamError(
                f"{m} frames are asked for, and {out} have come out of `{spec.name}`; name others by number, as"
                f" range({m})"
            )
        return np.arange(m) + max(0, out - m)

    def reset(self) -> None:
        """Back to the start: the next frame pushed is the first one of a new signal."""
        with _Exclusive(self):
            self._state.reset()
            self._broken = False

    def snapshot(self) -> bytes:
        """All that the stream remembers, for ``restore`` in any engine or process with the same model and policy."""
        with _Exclusive(self):
            self._refuse_if_broken()
            return self._state.snapshot(self._identity)

    def restore(self, blob: bytes) -> None:
        """Continue where ``snapshot`` was taken, bit for bit.

        Raises StreamError for a damaged snapshot or one of another model or policy; the stream is then as before.
        """
        with _Exclusive(self):
            self._state.restore(blob, self._identity)
            self._broken = False

    def _advance(self, chunks: Sequence[Array] | None) -> list[Array]:
        """One block (None: the end) through the engine; returns the new output frames."""
        self._broken = True
        try:
            made = self._executor.advance(self._state, chunks)
        except StreamError:
            # Refused before anything moved.
            self._broken = False
            raise
        frames = [y.reshape(len(y), *spec.shape).copy() for y, spec in zip(made, self.outputs, strict=True)]
        self._broken = False
        return frames

    def _accept(self, chunks: tuple[Array, ...]) -> list[Array]:
        if len(chunks) != len(self.inputs):
            raise StreamError(f"push takes {len(self.inputs)} chunks, one per input, and got {len(chunks)}")
        frames = [as_frames(spec, chunk) for spec, chunk in zip(self.inputs, chunks, strict=True)]
        if len({len(chunk) for chunk in frames}) > 1:
            raise StreamError(
                f"the chunks have {', '.join(str(len(c)) for c in frames)} frames; all inputs advance together"
            )
        return frames

    def _empty(self) -> list[Array]:
        return [np.empty((0, *spec.shape), spec.dtype) for spec in self.outputs]

    def _refuse_if_over(self, what: str) -> None:
        self._refuse_if_broken()
        if self._state.ended:
            raise StreamError(f"{what} after flush: the signal has ended; call reset() to start a new one")

    def _refuse_if_broken(self) -> None:
        if self._broken:
            raise StreamError("an earlier call failed midway; call reset() or restore() before going on")


class Pool:
    """Many streams of one model, side by side; nothing is shared between lanes but the plan.

    ``pool[k]`` is lane k's Stream, for flush, reset, snapshot and restore of its own. A lane may pause (it is left
    out of a push), ``leave``, and its number be taken again by the next one to ``join``.
    """

    def __init__(self, lanes: Sequence[Stream]) -> None:
        self._streams = list(lanes)
        self._free: set[int] = set()
        self._gather()

    def _gather(self) -> None:
        """What the engine needs to push several lanes in one call, and the lanes that a push is for."""
        make = getattr(self._streams[0]._executor, "new_pool", None)
        self._together: Any = None if make is None else make([stream._state for stream in self._streams])
        self._joined = np.array([k for k in range(len(self._streams)) if k not in self._free], np.int64)

    def __len__(self) -> int:
        return len(self._joined)

    def __getitem__(self, lane: int) -> Stream:
        if not -len(self._streams) <= lane < len(self._streams) or lane % len(self._streams) in self._free:
            raise StreamError(f"there is no lane {lane} in the pool; join() makes one")
        return self._streams[lane]

    def __iter__(self) -> Iterator[Stream]:
        return (self._streams[k] for k in self._joined)

    @property
    def lanes(self) -> tuple[int, ...]:
        """The numbers of the lanes, in the order in which ``push`` takes their chunks."""
        return tuple(self._joined.tolist())

    def join(self) -> int:
        """The number of one lane more, at its start: that of a lane that has left, or a new one."""
        if self._free:
            lane = min(self._free)
            self._free.remove(lane)
            self._streams[lane].reset()
            self._joined = np.sort(np.append(self._joined, lane))
            return lane
        first = self._streams[0]
        self._streams.append(Stream(first._executor, first.inputs, first.outputs, first._identity, first.rate_hz))
        self._gather()
        return len(self._streams) - 1

    def leave(self, lane: int) -> None:
        """Lane ``lane`` is gone, with what it remembered; flush it before if its tail is wanted.

        The others keep their numbers. Raises StreamError if there is no such lane.
        """
        self[lane].reset()
        self._free.add(lane % len(self._streams))
        self._joined = self._joined[self._joined != lane % len(self._streams)]

    def push(
        self, chunks: Sequence[Array | tuple[Array, ...] | None], lanes: Sequence[int] | None = None
    ) -> list[Array | tuple[Array, ...]]:
        """Push ``chunks[k]`` into the k-th lane and return what each lane returns; None lets a lane pause.

        ``chunks`` is an array (lanes, n, *frame_shape), or a list whose chunks may differ in length (a tuple per lane
        if the model has several inputs). ``lanes`` names the lanes that they are for, each once; the others pause;
        None takes all in order. All chunks are checked before any lane moves. Raises StreamError as ``Stream.push``
        does, naming the lane.
        """
        chosen = self._chosen(lanes)
        if len(chunks) != len(chosen):
            raise StreamError(
                f"{len(chosen)} lanes are to be pushed and got {len(chunks)} chunks; pass None to pause one"
            )
        if self._together is not None and isinstance(chunks, np.ndarray) and len(self._streams[0].inputs) == 1:
            return self._push_together(chunks, chosen)
        ready: list[tuple[Array, ...] | None] = []
        for k, chunk in zip(chosen, chunks, strict=True):
            lane = self._streams[k]
            try:
                if chunk is None:
                    ready.append(None)
                    continue
                lane._refuse_if_over("push")
                ready.append(tuple(lane._accept(chunk if isinstance(chunk, tuple) else (chunk,))))
            except StreamError as e:
                raise StreamError(f"lane {k}: {e}") from e
        return [
            _one_or_all(self._streams[k]._empty()) if chunk is None else self._streams[k].push(*chunk)
            for k, chunk in zip(chosen, ready, strict=True)
        ]

    def push_into(
        self, x: Array | tuple[Array, ...], out: Array | tuple[Array, ...], lanes: Sequence[int] | None = None
    ) -> Array:
        """As many frames into every lane, and what comes out into arrays of the caller's.

        ``x`` is a dense array (lanes, n, *frame_shape) in the model's own dtype, ``out`` (lanes, room,
        *frame_shape); tuples of those for several inputs or outputs; ``lanes`` as for ``push``. Returns int64 (lanes,),
        the frames that each lane wrote, or (lanes, outputs). Raises StreamError before any lane moves.
        """
        chosen = self._chosen(lanes)
        into = out if isinstance(out, tuple) else (out,)
        from_ = x if isinstance(x, tuple) else (x,)
        if self._together is not None:
            counted: Array = self._together.push_into(from_, into, chosen)
        else:
            made = self.push([tuple(a[k] for a in from_) for k in range(len(chosen))], lanes)
            counted = np.zeros((len(made), len(into)), np.int64)
            for k, frames in enumerate(made):
                for o, y in enumerate(frames if isinstance(frames, tuple) else (frames,)):
                    into[o][k, : len(y)] = y
                    counted[k, o] = len(y)
        return counted[:, 0] if len(into) == 1 else counted

    def _chosen(self, lanes: Sequence[int] | None) -> npt.NDArray[np.int64]:
        """The lanes of a push, which must be there and differ."""
        if lanes is None:
            return self._joined
        chosen = np.array(lanes, np.int64).reshape(-1)
        if len(strangers := np.setdiff1d(chosen, self._joined)):
            raise StreamError(f"there is no lane {strangers[0]} in the pool; join() makes one")
        if len(np.unique(chosen)) != len(chosen):
            raise StreamError("a lane is named twice; its frames go in one after the other, in one chunk or two pushes")
        return chosen

    def _push_together(self, chunks: Array, chosen: npt.NDArray[np.int64]) -> list[Array | tuple[Array, ...]]:
        """Lanes that get as many frames each, in one call of the engine."""
        spec, specs, lanes = self._streams[0].inputs[0], self._streams[0].outputs, len(chosen)
        if chunks.shape[2:] != spec.shape or chunks.ndim < 2:
            raise StreamError(f"lane 0: input `{spec.name}` takes chunks of shape (n, *{spec.shape})")
        n = chunks.shape[1]
        x = as_frames(spec, chunks.reshape(lanes * n, *spec.shape)).reshape(chunks.shape)
        most = self._together.most_frames(n)
        out = tuple(np.empty((lanes, m, *p.shape), p.dtype) for m, p in zip(most, specs, strict=True))
        counted = self._together.push_into((np.ascontiguousarray(x),), out, chosen)
        return [_one_or_all([y[k, :m] for y, m in zip(out, counted[k], strict=True)]) for k in range(lanes)]

    def flush(self) -> list[Array | tuple[Array, ...]]:
        """End every lane that has not ended; the tails, empty for those that had."""
        return [_one_or_all(lane._empty()) if lane._state.ended else lane.flush() for lane in self]

    def reset(self) -> None:
        """Every lane back to its start."""
        for lane in self:
            lane.reset()


class _Exclusive:
    """Holds a stream for one call; a second thread is told so instead of waiting."""

    def __init__(self, stream: Stream) -> None:
        self._busy = stream._busy

    def __enter__(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise StreamError(
                "two threads use one stream at the same time; give each thread its own, or lock around it"
            )

    def __exit__(self, *exc: object) -> None:
        self._busy.release()


def as_frames(spec: TensorSpec, chunk: Array) -> Array:
    """A user's chunk checked against a port: (n, *frame_shape) in the port's dtype, float32 quantized to it."""
    frames = np.asarray(chunk)
    if frames.ndim != 1 + len(spec.shape) or frames.shape[1:] != spec.shape:
        wanted = ", ".join(["n", *map(str, spec.shape)])
        raise StreamError(f"input `{spec.name}` takes chunks of shape ({wanted}) and got {frames.shape}")
    native = frames.dtype.newbyteorder("=")
    if native == spec.dtype:
        return frames.astype(native, copy=False)
    if native == np.float32:
        return spec.quantize(frames.astype(np.float32, copy=False))
    wanted = " or ".join(dict.fromkeys((str(spec.dtype), "float32")))
    raise StreamError(f"input `{spec.name}` takes {wanted} and got {frames.dtype}; convert the chunk")


def _blocks(n: int, sizes: tuple[int, ...]) -> Iterator[int]:
    for size in sizes:
        while n >= size:
            yield size
            n -= size
    if n:
        yield n


def _one_or_all(arrays: list[Array]) -> Array | tuple[Array, ...]:
    return arrays[0] if len(arrays) == 1 else tuple(arrays)
