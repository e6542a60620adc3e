"""Stream: what a user holds while a signal comes in."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from numbers import Integral, Real
from typing import NoReturn, SupportsIndex

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.plan import Plan
from tcnstream.compiler.tails import Tail, tail_of
from tcnstream.compiler.timing import counts
from tcnstream.engines.base import Executor, PushInto, QuickPush
from tcnstream.errors import StreamError
from tcnstream.given import Given, given_values, pack, unpack
from tcnstream.spec import TensorSpec
from tcnstream.tails import KeptBytes, NewestFrames, kept_bytes
from tcnstream.tflite.graph import Array


class Stream:
    """One signal through one model; made by ``Model.stream``.

    The concatenation of all that ``push`` and ``flush`` return is the model's offline answer on the
    whole signal, both edges included, whatever the chunks. Thread-compatible: different streams may
    run in different threads; two threads on one stream at a time are a StreamError. A stream is never copied or
    pickled: ``snapshot`` and ``restore`` carry it elsewhere.

    ``inputs`` and ``outputs`` say what frames look like, ``input_steps`` how many frames of each input belong together
    (1, but where rates differ), ``rate_hz`` is the input's sample rate (None: unknown).
    ``keeps_tail`` says whether ``tail`` can be asked for. ``executor`` computes, ``quick`` is its push as it is used
    most (None: it has none), ``memory`` is what the stream remembers in that engine's form, and ``identity`` names the
    model and policy that a snapshot belongs to: for pools, tests and tools; whoever changes a memory breaks its stream.
    """

    def __init__(
        self,
        executor: Executor,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        identity: str,
        rate_hz: float | None = None,
        given: Given | None = None,
        keep_tail: bool = False,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.rate_hz = None if rate_hz is None else sample_rate(rate_hz)
        self._given = given
        self.keeps_tail = keep_tail
        self._newest: NewestFrames | None = None
        self._direct_push: PushInto | None = None
        self.quick: QuickPush | None = None
        self._lock = threading.Lock()
        self._run_on(executor, identity)

    def _run_on(self, executor: Executor, identity: str) -> None:
        self.executor = executor
        self.memory = executor.new_memory()
        self.identity = identity
        self.input_steps = executor.plan.input_steps or (1,) * len(self.inputs)
        in_turn = max(self.input_steps) > 1
        tail = self._sure_tail() if self.keeps_tail else None
        keep_bytes = [0] * len(self.inputs) if tail is None else kept_bytes(executor.plan, tail)
        self._direct_push = None if in_turn or self.keeps_tail else executor.direct_push(self.memory)
        self.quick = None
        if not in_turn and len(self.inputs) == len(self.outputs) == 1:
            (source,), (made,), (most,) = self.inputs, self.outputs, keep_bytes
            self.quick = executor.quick_push(self.memory, source.shape, made.shape, source.quantization, most)
        if tail is not None:
            keepers = [KeptBytes(most) for most in keep_bytes] if self.quick is None else [self.quick]
            self._newest = NewestFrames(executor.plan, tail, keepers)
        self._broken = False

    def another(self, static: Mapping[str, npt.ArrayLike] | None = None) -> Stream:
        """One more stream of the same model, engine and policy, at its start.

        ``static`` are the values of its inputs without time, those of this stream if it is None.
        """
        executor, identity, given = self.executor, self.identity, self._given
        if given is not None:
            given = given.changed(static)
            executor, identity = given.opened(given.values)
        elif static:
            given_values((), (), static, {})
        return Stream(executor, self.inputs, self.outputs, identity, self.rate_hz, given, self.keeps_tail)

    @property
    def has_several_rates(self) -> bool:
        """Whether the frames of a step arrive together, because inputs have different rates."""
        return max(self.input_steps) > 1

    @property
    def static(self) -> dict[str, Array]:
        """The values of the inputs that have no time, by name; empty where all of them have."""
        return {} if self._given is None else self._given.named()

    @property
    def is_given_values(self) -> bool:
        """Whether it was given values of its own when it was made, for static inputs or for states."""
        return self._given is not None

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """What copy, deepcopy and pickle ask for: a copy would share what is remembered, or lack it."""
        raise StreamError(
            "a stream cannot be copied or pickled; open another one of the same model and policy and restore() there"
            " what snapshot() returns here"
        )

    @property
    def engine(self) -> str:
        """The name of the engine that computes this stream."""
        return self.executor.name

    @property
    def plan(self) -> Plan:
        """The program that runs, with the policy's nodes in place."""
        return self.executor.plan

    @property
    def frames_in(self) -> int:
        """Input frames (of the first input, if rates differ) pushed since the start or the last reset."""
        return self.memory.pushed_frames * self.input_steps[0]

    @property
    def frames_out(self) -> tuple[int, ...]:
        """Frames of each output that have come out since the start or the last reset."""
        made = counts(self.executor.plan, self.memory.pushed_frames, self.memory.ended)
        return tuple(int(made[o]) for o in self.executor.plan.outputs)

    @property
    def ended(self) -> bool:
        """Whether the signal is over: flushed, and not reset since."""
        return self.memory.ended

    @property
    def state_bytes(self) -> int:
        """Bytes that the stream remembers right now."""
        return self.memory.live_bytes()

    @property
    def is_broken(self) -> bool:
        """Whether an earlier call failed midway, so that only ``reset`` and ``restore`` go on."""
        return self._broken

    def push(self, *chunks: Array, **named: Array) -> Array | tuple[Array, ...]:
        """Take in frames, return every output frame that they make possible.

        One chunk per input of the model, in their order or by their names, each (n, *frame_shape) with the same
        n >= 0, in the model's dtype or in float32, which is quantized to it. Where inputs have different rates, chunks
        are as long as those rates say: of inputs of 50 and 200 frames, n and 4 n. Returns (m, *frame_shape) in the
        output's dtype, a tuple of those if the model has several outputs; m may be 0. Raises StreamError for a wrong
        shape or dtype, after ``flush``, or while another thread uses the stream; the stream is then as before.

        Ctrl-C is heard within a fraction of a second. It leaves the stream as it was, or with all frames taken in
        (``frames_in`` tells which), or broken: it then asks for ``reset`` or ``restore``.
        """
        with self._alone():
            if self.quick is not None and len(chunks) == 1 and not named and not self._broken:
                made = self.quick.push(chunks[0])
                if made is not None:
                    return made
            return self._pushed(self.accept(*chunks, **named))

    def push_into(self, x: Array | tuple[Array, ...], out: Array | tuple[Array, ...]) -> int | tuple[int, ...]:
        """As ``push``, into arrays of the caller's; in the native engine nothing is allocated.

        ``x`` is a dense array (n, *frame_shape) in the model's own dtype, a tuple of those for several
        inputs; ``out`` is (room, *frame_shape), or a tuple. Returns how many frames were written, per
        output if there are several. Raises StreamError as ``push`` does, and where ``out`` is too small for
        what would come out; the stream is then as before. Ctrl-C as for ``push``.
        """
        if self._direct_push is not None:
            return self._direct_push(x, out)
        into = out if isinstance(out, tuple) else (out,)
        with self._alone():
            frames = self.accept(*(x if isinstance(x, tuple) else (x,)))
            self.check_room(len(frames[0]), into)
            made = self._pushed(frames)
        pushed = made if isinstance(made, tuple) else (made,)
        for room, y in zip(into, pushed, strict=True):
            room[: len(y)] = y
        return len(pushed[0]) if len(pushed) == 1 else tuple(len(y) for y in pushed)

    def accept(self, *chunks: Array, **named: Array) -> tuple[Array, ...]:
        """The frames that ``push`` would take, checked, in the model's dtype and as its engine takes them.

        Nothing moves. Raises what ``push`` raises.
        """
        self._refuse_if_over("push")
        if named:
            chunks = (*chunks, *self._in_order(len(chunks), named))
        return self._checked(chunks)

    def _checked(self, chunks: tuple[Array, ...]) -> tuple[Array, ...]:
        if len(chunks) != len(self.inputs):
            raise StreamError(f"push takes {len(self.inputs)} chunks, one per input, and got {len(chunks)}")
        return tuple(in_steps(self.inputs, self.input_steps, chunks))

    def _in_order(self, given: int, named: dict[str, Array]) -> list[Array]:
        """Chunks by name, in the order of the inputs behind the first ``given``."""
        names = [spec.name for spec in self.inputs[given:]]
        if set(named) != set(names):
            wanted = " and ".join(f"`{name}`" for name in names) or "none"
            raise StreamError(f"push takes a chunk of {wanted} by name and got {', '.join(sorted(named))}")
        return [named[name] for name in names]

    def check_room(self, n: int, into: tuple[Array, ...]) -> None:
        """Raises StreamError unless ``into``, an array (room, *frame_shape) per output, can hold a push of ``n``."""
        if len(into) != len(self.outputs):
            raise StreamError(f"push_into takes {len(self.outputs)} output arrays and got {len(into)}")
        plan, pushed = self.executor.plan, self.memory.pushed_frames
        before, after = counts(plan, pushed, ended=False), counts(plan, pushed + n, ended=False)
        for spec, o, room in zip(self.outputs, plan.outputs, into, strict=True):
            if room.dtype != spec.dtype or room.shape[1:] != spec.shape or not room.flags.writeable:
                raise StreamError(f"output `{spec.name}` takes a writable {spec.dtype} array (room, *{spec.shape})")
            if after[o] - before[o] > len(room):
                raise StreamError(
                    f"{after[o] - before[o]} frames would come out and the output array holds {len(room)};"
                    " give it room for them (nothing was lost)"
                )

    def no_frames(self) -> Array | tuple[Array, ...]:
        """What ``push`` returns when nothing comes out: (0, *frame_shape), a tuple of those for several outputs."""
        return one_or_all(self._empty())

    def flush(self) -> Array | tuple[Array, ...]:
        """End the signal: the right padding arrives and the tail comes out, as ``push`` returns it.

        Raises StreamError if the stream is flushed already, or if the signal is shorter than a mirrored edge.
        """
        with self._alone():
            self._refuse_if_over("flush")
            self._broken = True
            try:
                made = self._advance(None)
            except StreamError:  # refused before anything moved
                self._broken = False
                raise
            self._broken = False
            return one_or_all(made)

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
        seconds: npt.NDArray[np.float64] = places / sample_rate(rate)
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
        out = self.frames_out[index]
        if m > out > 0:
            raise StreamError(
                f"{m} frames are asked for, and {out} have come out of `{spec.name}`; name others by number, as"
                f" range({m})"
            )
        return np.arange(m) + max(0, out - m)

    def reset(self) -> None:
        """Back to the start: the next frame pushed is the first one of a new signal."""
        with self._alone():
            self._broken = True
            self.memory.reset()
            self._forget_newest()
            self._broken = False

    def tail_frames(self, frames_in: int) -> int:
        """How many of the newest input frames (of the first input, if rates differ) ``resume`` needs after so many.

        All of them near the start, then a little more than the receptive field. Raises StreamError for a model that
        remembers all of the past.
        """
        return self._tail_steps(frames_in) * self.input_steps[0]

    def tail(self) -> Array | tuple[Array, ...]:
        """The newest input frames, as many as ``resume`` needs.

        (n, *frame_shape) in the model's dtype, a tuple of those for several inputs. Raises StreamError for a stream
        that was opened without ``keep_tail``, that has ended, or that was restored and has not had so many since.
        """
        with self._alone():
            newest = zip(self.inputs, self._sure_newest().frames(self.memory.pushed_frames), strict=True)
            return one_or_all([frames.reshape(-1, *spec.shape) for spec, frames in newest])

    @property
    def tail_rule(self) -> Tail | None:
        """How many of the newest input frames ``tail`` gives; None where it cannot be asked for."""
        return self._sure_tail() if self.keeps_tail else None

    def tail_blobs(self) -> list[bytes]:
        """``tail`` as the bytes of each input's frames."""
        with self._alone():
            newest, memory = self._newest, self.memory
            if newest is None or self._broken or memory.ended:
                newest = self._sure_newest()
            return newest.blobs(memory.pushed_frames)

    def _sure_newest(self) -> NewestFrames:
        self._refuse_if_over("tail")
        if self._newest is None:
            raise StreamError("this stream keeps no input frames: open it with keep_tail=True")
        return self._newest

    def resume(self, tail: Array | tuple[Array, ...], frames_in: int) -> None:
        """Continue a signal of which ``frames_in`` frames are over and ``tail`` are the newest, bit for bit.

        ``tail`` is (n, *frame_shape) as for ``push``, a tuple of those for several inputs, with n at least
        ``tail_frames(frames_in)``; what is older than that is not used. What comes out next is what would have come
        out of the uninterrupted stream, in any engine. Raises StreamError for too few frames, more than ``frames_in``,
        or a model that remembers all of the past; the stream is then as before.
        """
        needed = self._tail_steps(frames_in)
        steps = frames_in // self.input_steps[0]
        given = self._checked(tail if isinstance(tail, tuple) else (tail,))
        if not needed <= len(given[0]) <= steps:
            raise StreamError(
                f"a stream is resumed after {frames_in} frames from {needed * self.input_steps[0]} of them or more, and"
                f" got {len(given[0]) * self.input_steps[0]}; tail_frames() says how many to keep"
            )
        newest = tuple(chunk[len(chunk) - needed :] for chunk in given)
        with self._alone():
            self._broken = True
            self.memory.reset()
            self._blocks_of(newest)
            if steps > needed:
                self.memory.move_to(steps)
            if self._newest is not None:
                self._newest.forget(steps - needed)
                self._newest.take(newest)
            self._broken = False

    def _tail_steps(self, frames_in: int) -> int:
        if isinstance(frames_in, bool) or not isinstance(frames_in, Integral) or frames_in < 0:
            raise StreamError(f"frames_in = {frames_in!r}; give how many input frames the signal has had")
        if frames_in % self.input_steps[0]:
            raise StreamError(f"frames_in = {frames_in}; {_ratio(self.inputs, self.input_steps)}")
        return self._sure_tail().frames(int(frames_in) // self.input_steps[0])

    def _sure_tail(self) -> Tail:
        tail = tail_of(self.executor.plan)
        if tail is None:
            raise StreamError(
                "this model remembers all of the past, which its newest frames do not tell; use snapshot and restore"
            )
        return tail

    def snapshot(self) -> bytes:
        """All that the stream remembers, for ``restore`` in any engine or process with the same model and policy.

        The values of inputs without time are part of it. ``tcnstream.engines.sealed`` says what the bytes are.
        """
        with self._alone():
            self._refuse_if_broken()
            blob = self.memory.snapshot(self.identity)
            return blob if self._given is None else pack(self._given.values, blob)

    def restore(self, blob: bytes) -> None:
        """Continue where ``snapshot`` was taken, bit for bit, with the values that inputs without time had there.

        Raises StreamError for a damaged snapshot or one of another model or policy; the stream is then as before.
        """
        with self._alone():
            before, self._broken = self._broken, True
            try:
                self._restore(blob)
            except StreamError:
                self._broken = before
                raise
            self._forget_newest()
            self._broken = False

    def _restore(self, blob: bytes) -> None:
        if self._given is None:
            self.memory.restore(blob, self.identity)
            return
        values, inner = unpack(self._given.values, blob)
        executor, identity = self._given.opened(values)
        if executor is self.executor:
            self.memory.restore(inner, identity)
            return
        executor.new_memory().restore(inner, identity)  # refuses what is foreign before anything moves
        self._given = replace(self._given, values=values)
        self._run_on(executor, identity)
        self.memory.restore(inner, identity)

    def _alone(self) -> threading.Lock:
        """For ``with``: one call at a time; a second thread is told so instead of waiting.

        The lock itself, since Ctrl-C cannot come between taking and holding it.
        """
        if self._lock.locked():
            raise StreamError(
                "two threads use one stream at the same time; give each thread its own, or lock around it"
            )
        return self._lock

    def _forget_newest(self) -> None:
        if self._newest is not None:
            self._newest.forget(self.memory.pushed_frames)

    def push_accepted(self, frames: tuple[Array, ...]) -> Array | tuple[Array, ...]:
        """``push`` of what ``accept`` returned."""
        with self._alone():
            self._refuse_if_over("push")
            return self._pushed(frames)

    def _pushed(self, frames: tuple[Array, ...]) -> Array | tuple[Array, ...]:
        """The frames through the engine. What ends it midway, Ctrl-C too, leaves the stream broken."""
        before = self.memory.pushed_frames
        self._broken = True
        try:
            made = self._blocks_of(frames)
        except StreamError:
            self._broken = self.memory.pushed_frames != before
            raise
        self._broken = False
        return one_or_all(made)

    def _blocks_of(self, frames: Sequence[Array]) -> list[Array]:
        """The frames through the engine, in blocks of its preferred sizes; returns the new output frames."""
        sizes = list(_blocks(len(frames[0]), self.executor.block_frames))
        if len(sizes) == 1:
            return self._advance(frames)
        collected, begin = [self._empty()], 0
        for n in sizes:
            collected.append(self._advance([chunk[begin : begin + n] for chunk in frames]))
            begin += n
        return [np.concatenate(parts) for parts in zip(*collected, strict=True)]

    def _advance(self, chunks: Sequence[Array] | None) -> list[Array]:
        """One block (None: the end) through the engine; returns the new output frames."""
        made = self.executor.advance(self.memory, chunks)
        if self._newest is not None and chunks is not None:
            self._newest.take(chunks)
        return [y.reshape(len(y), *spec.shape).copy() for y, spec in zip(made, self.outputs, strict=True)]

    def _empty(self) -> list[Array]:
        return [np.empty((0, *spec.shape), spec.dtype) for spec in self.outputs]

    def _refuse_if_over(self, what: str) -> None:
        self._refuse_if_broken()
        if self.memory.ended:
            raise StreamError(f"{what} after flush: the signal has ended; call reset() to start a new one")

    def _refuse_if_broken(self) -> None:
        if self._broken:
            raise StreamError("an earlier call failed midway; call reset() or restore() before going on")


def as_array(values: npt.ArrayLike) -> Array:
    """A user's values as an array; StreamError for rows of different lengths, and for a value that a mask hides."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        first = np.argwhere(np.ma.getmaskarray(values))[0].tolist()
        raise StreamError(f"the chunk is masked at {first}, where it has no value: fill it first")
    try:
        return np.asarray(values)
    except ValueError:
        raise StreamError("the rows of the chunk have different lengths; give an array of one shape") from None


def as_frames(spec: TensorSpec, chunk: Array) -> Array:
    """A user's chunk checked against an input: (n, *frame_shape) in the input's dtype, float32 quantized to it.

    Raises StreamError for another shape or dtype.
    """
    frames = as_array(chunk)
    if not frames.flags.aligned:
        frames = frames.copy()  # as a packet's samples stand behind its header
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


def in_steps(specs: Sequence[TensorSpec], steps: Sequence[int], chunks: Sequence[Array]) -> list[Array]:
    """A chunk per input, checked as by ``as_frames``, with the frames of a step together where rates differ.

    Input k has ``steps[k]`` frames a step. Raises StreamError for chunks that are not of one time.
    """
    frames = [as_frames(spec, chunk) for spec, chunk in zip(specs, chunks, strict=True)]
    if len({Fraction(len(x), step) for x, step in zip(frames, steps, strict=True)}) > 1:
        if max(steps) == 1:
            raise StreamError(
                f"the chunks have {', '.join(str(len(c)) for c in frames)} frames; all inputs advance together"
            )
        raise StreamError(f"the chunks have {_frames_of(specs, map(len, frames))}; {_ratio(specs, steps)}")
    if len(frames[0]) % steps[0]:
        raise StreamError(f"the chunks have {_frames_of(specs, map(len, frames))}; {_ratio(specs, steps)}")
    return [
        x if step == 1 else np.ascontiguousarray(x).reshape(len(x) // step, step, *spec.shape)
        for x, step, spec in zip(frames, steps, specs, strict=True)
    ]


def _ratio(specs: Sequence[TensorSpec], steps: Sequence[int]) -> str:
    return f"inputs have different rates, and a push takes {_frames_of(specs, steps)}, or a multiple of that"


def _frames_of(specs: Sequence[TensorSpec], counts: Iterable[int]) -> str:
    return " and ".join(f"{n} frames of `{spec.name}`" for n, spec in zip(counts, specs, strict=True))


def _blocks(n: int, sizes: tuple[int, ...]) -> Iterator[int]:
    for size in sizes:
        while n >= size:
            yield size
            n -= size
    if n:
        yield n


def one_or_all(arrays: list[Array]) -> Array | tuple[Array, ...]:
    """One array per output as users get them: alone if the model has one output, else as a tuple."""
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def sample_rate(rate_hz: float) -> float:
    """``rate_hz`` itself if it can be one; else a StreamError."""
    if not isinstance(rate_hz, Real) or not 0 < rate_hz < math.inf:
        raise StreamError(f"rate_hz = {rate_hz!r}; a sample rate is a number above 0")
    return rate_hz
