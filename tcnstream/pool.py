"""Pool: many streams of one model, pushed in one call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import NoReturn, SupportsIndex

import numpy as np
import numpy.typing as npt

from tcnstream.engines.base import LanePool
from tcnstream.errors import StreamError
from tcnstream.stream import Stream, as_frames, one_or_all
from tcnstream.tflite.graph import Array

_LEAST_STREAM_BYTES = 512
"""Of a stream whose model remembers nothing."""


def must_fit(lanes: int, state_bytes: int) -> None:
    """Raises StreamError for ``lanes`` that are no number of lanes, or whose states this machine cannot hold."""
    if not isinstance(lanes, Integral) or isinstance(lanes, bool):
        raise StreamError(f"lanes={lanes!r}; give a whole number")
    if lanes < 1:
        raise StreamError(f"a pool of {lanes} lanes is empty; ask for at least one")
    needed, there = lanes * max(state_bytes, _LEAST_STREAM_BYTES), memory_bytes()
    if there is not None and needed > there:
        raise StreamError(
            f"{lanes:,} lanes remember {needed / 1e9:,.1f} GB and this machine has {there / 1e9:,.1f}: ask for fewer"
        )


def memory_bytes() -> int | None:
    """Of the whole machine; None where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


class Pool:
    """Many streams of one model, side by side; made by ``Model.pool``. Lanes share nothing but the plan.

    ``pool[k]`` is lane k's Stream, for flush, reset, snapshot and restore of its own. A lane may pause (it is left
    out of a push), ``leave``, and its number be taken again by the next one to ``join``.
    """

    def __init__(self, lanes: Sequence[Stream]) -> None:
        self._streams = list(lanes)
        self._free: set[int] = set()
        self._joined = np.arange(len(self._streams), dtype=np.int64)
        self._together = self._gathered()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """What copy, deepcopy and pickle ask for: see ``Stream``."""
        raise StreamError(
            "a pool cannot be copied or pickled; make another one and restore() lane by lane what each lane's"
            " snapshot() returns here"
        )

    def _gathered(self) -> LanePool | None:
        """What pushes several lanes in one call; None where the engine takes one after the other.

        Lanes whose inputs without time have different values run different plans, one after the other.
        """
        first = self._streams[0]
        memories = [stream.memory for stream in self._streams]
        self._memories = memories if first.is_given_values else None
        if first.keeps_tail:
            return None
        alike = all(stream.executor is first.executor for stream in self._streams)
        return first.executor.new_pool(memories) if alike and not first.has_several_rates else None

    def _lanes_together(self) -> LanePool | None:
        """``_together``, anew where a lane was restored with other values of inputs without time."""
        if self._memories is not None and any(
            stream.memory is not memory for stream, memory in zip(self._streams, self._memories, strict=True)
        ):
            self._together = self._gathered()
        return self._together

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

    def join(self, static: Mapping[str, npt.ArrayLike] | None = None) -> int:
        """The number of one lane more, at its start: that of a lane that has left, or a new one.

        ``static`` are the values of its inputs without time; None takes those of the lane whose number it gets, or of
        lane 0.
        """
        if self._free:
            lane = min(self._free)
            if static is not None:
                self._streams[lane] = self._streams[lane].another(static)
                self._together = self._gathered()
            self._free.remove(lane)
            self._streams[lane].reset()
        else:
            lane = len(self._streams)
            self._streams.append(self._streams[0].another(static))
            self._together = self._gathered()
        self._joined = np.sort(np.append(self._joined, lane))
        return lane

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
        together = self._lanes_together()
        if together is not None and isinstance(chunks, np.ndarray) and len(self._streams[0].inputs) == 1:
            return self._push_together(together, chunks, chosen)
        ready = [
            None if chunk is None else self._accepted(k, chunk if isinstance(chunk, tuple) else (chunk,))
            for k, chunk in zip(chosen, chunks, strict=True)
        ]
        return [
            self._streams[k].no_frames() if frames is None else self._streams[k].push_accepted(frames)
            for k, frames in zip(chosen, ready, strict=True)
        ]

    def _accepted(self, lane: int, chunks: tuple[Array, ...]) -> tuple[Array, ...]:
        try:
            return self._streams[lane].accept(*chunks)
        except StreamError as e:
            raise StreamError(f"lane {lane}: {e}") from e

    def push_into(
        self, x: Array | tuple[Array, ...], out: Array | tuple[Array, ...], lanes: Sequence[int] | None = None
    ) -> npt.NDArray[np.int64]:
        """As many frames into every lane, and what comes out into arrays of the caller's.

        ``x`` is a dense array (lanes, n, *frame_shape) in the model's own dtype, ``out`` (lanes, room,
        *frame_shape); tuples of those for several inputs or outputs; ``lanes`` as for ``push``. Returns int64 (lanes,),
        the frames that each lane wrote, or (lanes, outputs). Raises StreamError before any lane moves.
        """
        chosen = self._chosen(lanes)
        into = out if isinstance(out, tuple) else (out,)
        from_ = x if isinstance(x, tuple) else (x,)
        if (together := self._lanes_together()) is not None:
            counted = together.push_into(from_, into, chosen)
        else:
            counted = self._push_in_turn(from_, into, chosen)
        return counted[:, 0] if len(into) == 1 else counted

    def _push_in_turn(
        self, x: tuple[Array, ...], into: tuple[Array, ...], chosen: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """``LanePool.push_into``, lane after lane."""
        for arrays in (x, into):
            if any(len(a) != len(chosen) for a in arrays):
                raise StreamError(
                    f"{len(chosen)} lanes are pushed; the arrays must have as many rows, not"
                    f" {', '.join(str(len(a)) for a in arrays)}"
                )
        for row, k in enumerate(chosen):
            accepted = self._accepted(k, tuple(a[row] for a in x))
            self._streams[k].check_room(len(accepted[0]), tuple(y[row] for y in into))
        counted = np.zeros((len(chosen), len(into)), np.int64)
        for row, k in enumerate(chosen):
            counted[row] = self._streams[k].push_into(tuple(a[row] for a in x), tuple(y[row] for y in into))
        return counted

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

    def _push_together(
        self, together: LanePool, chunks: Array, chosen: npt.NDArray[np.int64]
    ) -> list[Array | tuple[Array, ...]]:
        """Lanes that get as many frames each, in one call of the engine."""
        spec, specs, lanes = self._streams[0].inputs[0], self._streams[0].outputs, len(chosen)
        if chunks.shape[2:] != spec.shape or chunks.ndim < 2:
            raise StreamError(f"lane 0: input `{spec.name}` takes chunks of shape (n, *{spec.shape})")
        n = chunks.shape[1]
        x = as_frames(spec, chunks.reshape(lanes * n, *spec.shape)).reshape(chunks.shape)
        most = together.most_frames(n)
        out = tuple(np.empty((lanes, m, *p.shape), p.dtype) for m, p in zip(most, specs, strict=True))
        counted = together.push_into((np.ascontiguousarray(x),), out, chosen)
        return [one_or_all([y[k, :m] for y, m in zip(out, counted[k], strict=True)]) for k in range(lanes)]

    def flush(self) -> list[Array | tuple[Array, ...]]:
        """End every lane that has not ended; the tails, empty for those that had."""
        return [lane.no_frames() if lane.ended else lane.flush() for lane in self]

    def reset(self) -> None:
        """Every lane back to its start."""
        for lane in self:
            lane.reset()
