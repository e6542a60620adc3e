"""All that a stream remembers: one queue per tensor, what single nodes carry over, and how far it is.

There is one kind of queue and one registry of them; reset, snapshot and restore are written here
once and nowhere per operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.statistics import StatisticOptions
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.timing import at_edge, counts, oldest_needed, shortest_mirrored
from tcnstream.engines.sealed import does_not_fit, kept_frames, seal, unseal
from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array, Shape

MOST_FRAMES = 1 << 56
"""More than any stream counts, and few enough for counts at every rate to fit 64 bits."""


class Queue:
    """The newest frames of one tensor in a linear buffer that rewinds rarely.

    Appending copies the new frames only; the live ones move once per buffer length, so a push costs
    the same whatever the dilation.
    """

    def __init__(self, frame_shape: Shape, dtype: np.dtype[np.generic]) -> None:
        self._store: Array = np.empty((0, *frame_shape), dtype)
        self._begin = 0
        self._end = 0
        self.first_frame = 0

    @property
    def end_frame(self) -> int:
        """One past the newest frame, counted from the start of the stream."""
        return self.first_frame + self._end - self._begin

    def append(self, frames: Array) -> None:
        n = len(frames)
        if self._end + n > len(self._store):
            self._rewind(n)
        self._store[self._end : self._end + n] = frames
        self._end += n

    def _rewind(self, n: int) -> None:
        live = self._store[self._begin : self._end]
        room = 2 * (len(live) + n)
        if len(self._store) < room:
            grown = np.empty((room, *self._store.shape[1:]), self._store.dtype)
            grown[: len(live)] = live
            self._store = grown
        else:
            self._store[: len(live)] = live
        self._begin, self._end = 0, len(live)

    def read(self, begin: int, end: int) -> Array:
        """Frames ``begin`` to ``end`` (stream counts) as a view."""
        shift = self._begin - self.first_frame
        return self._store[begin + shift : end + shift]

    def drop_before(self, frame: int) -> None:
        gone = min(frame - self.first_frame, self._end - self._begin)
        self._begin += gone
        self.first_frame += gone

    def skip_to(self, frame: int) -> None:
        """Forget all; the next frame appended is number ``frame``."""
        self._begin = self._end
        self.first_frame = frame

    @property
    def room_bytes(self) -> int:
        """Bytes of the buffer, in use or not."""
        return self._store.nbytes

    def unused(self) -> tuple[Array, Array]:
        """The parts of the buffer that hold no frame, as views; tests fill them with what must never be read."""
        return self._store[: self._begin], self._store[self._end :]


class State:
    """The state of one stream of ``plan``: the ``Memory`` of the engines that are written in Python.

    Others read its attributes and change them through its methods alone. ``pushed_frames`` counts input frames and
    ``have[i]`` the frames of tensor i, both since the start; ``queues[i]`` holds the newest of those; ``carries[k]`` is
    what else node k of the plan carries over (a running sum, a variable of the model's own); ``ended`` says that the
    signal is over.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.reset()

    def reset(self) -> None:
        """Back to the start."""
        self.pushed_frames = 0
        self.ended = False
        self.have = [0] * len(self.plan.tensors)
        self.queues = {
            i: Queue(tensor.shape, tensor.dtype) for i, tensor in enumerate(self.plan.tensors) if tensor.data is None
        }
        self.carries: dict[int, Array] = {}

    @classmethod
    def resumed(cls, plan: Plan, pushed_frames: int, ended: bool, newest: Callable[[int, int], Array]) -> State:
        """The state after so many input frames, but for what ``carry`` gives it.

        ``newest(i, n)`` gives the newest n frames of tensor i, (n, *frame_shape): as many as will be read again, none
        after the end.
        """
        state = cls(plan)
        have = counts(plan, pushed_frames, ended)
        oldest = have if ended else oldest_needed(plan, have)
        state._continue(pushed_frames, ended, have, lambda i: newest(i, have[i] - oldest[i]), {})
        return state

    def _continue(
        self,
        pushed_frames: int,
        ended: bool,
        have: list[int],
        frames_of: Callable[[int], Array],
        carries: Mapping[int, Array],
    ) -> None:
        self.reset()
        self.pushed_frames, self.ended, self.have = pushed_frames, ended, have
        for i, queue in self.queues.items():
            frames = frames_of(i)
            queue.skip_to(have[i] - len(frames))
            queue.append(frames)
        self.carries = dict(carries)

    def move_to(self, pushed_frames: int) -> None:
        """As ``Memory.move_to``."""
        have = counts(self.plan, pushed_frames, ended=False)
        frames = {i: self.remembered(i).copy() for i in self.queues}
        self._continue(pushed_frames, False, have, frames.__getitem__, self.carries)

    def arrive(self, chunks: Sequence[Array]) -> list[int]:
        """Take in frames of every input; returns the counts that all tensors must reach now."""
        self.take(chunks)
        return counts(self.plan, self.pushed_frames, ended=False)

    def take(self, chunks: Sequence[Array]) -> None:
        """``arrive`` for an engine that knows already how far all tensors must come."""
        for i, chunk in zip(self.plan.inputs, chunks, strict=True):
            self.queues[i].append(chunk)
            self.have[i] += len(chunk)
        self.pushed_frames += len(chunks[0])

    def end(self) -> list[int]:
        """The signal is over; returns the counts that all tensors must reach now.

        Raises StreamError, with the state as before, if a mirrored edge is longer than the signal.
        """
        goal = counts(self.plan, self.pushed_frames, ended=True)
        for node, sources in zip(self.plan.nodes, self.plan.sources, strict=True):
            shortest, frames = shortest_mirrored(node.window), goal[sources[0]]
            if 0 < frames < shortest:
                raise StreamError(
                    f"the signal is too short to end: `{node.label}` mirrors {shortest} frames and has {frames};"
                    " push more frames before flush"
                )
        self.ended = True
        return goal

    def produce(self, made: Iterable[tuple[int, Array]]) -> None:
        """Take in what an engine computed: tensors and their next frames, (n, *frame_shape)."""
        queues, have = self.queues, self.have
        for i, frames in made:
            queue, known = queues[i], have[i]
            if queue.end_frame != known:
                # Frames that nothing reads again were counted by ``complete`` and never handed over.
                queue.skip_to(known)
            queue.append(frames)
            have[i] = known + len(frames)

    def complete(self, goal: Sequence[int]) -> None:
        """Every tensor has reached ``goal`` frames; those that no engine handed over are never read again."""
        self.have[:] = goal

    def carry(self, k: int, values: Array) -> None:
        """What node ``k`` carries over to the next frames from now on; the array is kept as it is."""
        self.carries[k] = values

    def remembered(self, i: int) -> Array:
        """The frames of tensor ``i`` that are remembered, oldest first, as a view."""
        queue = self.queues[i]
        return queue.read(queue.first_frame, queue.end_frame)

    def gather(self, node: Node, position: int, begin: int, end: int) -> Array:
        """Input frames ``begin`` to ``end`` of a node's operand, edges filled in as the node says.

        Returns (end - begin, *view); a view of the queue where no edge is touched.
        """
        i, view = node.inputs[position], node.views[position]
        n, queue = self.have[i], self.queues[i]
        if begin >= 0 and end <= n:
            return queue.read(begin, end).reshape(end - begin, *view)
        if node.window.edge in ("reflect", "symmetric", "hold"):
            index = at_edge(np.arange(begin, end), n, node.window)
            oldest = int(index.min())
            frames: Array = queue.read(oldest, int(index.max()) + 1)[index - oldest]
            return frames.reshape(end - begin, *view)
        tensor = self.plan.tensors[i]
        padded = np.full((end - begin, *tensor.shape), node.fill, tensor.dtype)
        first, last = max(begin, 0), min(end, n)
        if first < last:
            padded[first - begin : last - begin] = queue.read(first, last)
        return padded.reshape(end - begin, *view)

    def trim(self) -> None:
        """Forget the frames that nothing will read any more."""
        needed = oldest_needed(self.plan, self.have)
        for i, queue in self.queues.items():
            queue.drop_before(needed[i])

    def keep(self, newest: Iterable[tuple[int, int]]) -> None:
        """``trim`` for an engine that knows already how many frames of each tensor will be read again."""
        for i, frames in newest:
            self.queues[i].drop_before(self.have[i] - frames)

    def live_bytes(self) -> int:
        """Bytes of the frames and sums that must be remembered now."""
        frames = sum(self.remembered(i).nbytes for i in self.queues)
        return frames + sum(c.nbytes for c in self.carries.values())

    def room_bytes(self) -> int:
        """Bytes of all buffers, in use or not."""
        return sum(queue.room_bytes for queue in self.queues.values())

    def unused(self) -> Iterator[Array]:
        """Memory that holds no frame, as views; tests fill it with what must never be read."""
        for queue in self.queues.values():
            yield from queue.unused()

    def snapshot(self, identity: str) -> bytes:
        """The state as bytes, as ``engines.sealed`` has them; ``identity`` names the model and its policy."""
        kept = kept_frames(self.plan, self.pushed_frames, self.ended)
        frames = [queue.read(queue.end_frame - kept[i], queue.end_frame) for i, queue in self.queues.items()]
        carried = [self.carries[k] for k in sorted(self.carries)]
        parts = (_little_endian(array) for array in (*frames, *carried))
        return seal(identity, self.pushed_frames, self.ended, parts)

    def restore(self, blob: bytes, identity: str) -> None:
        """The inverse of ``snapshot``; a foreign or damaged one is a StreamError and changes nothing."""
        opened = unseal(blob, identity)
        if not 0 <= opened.pushed_frames <= MOST_FRAMES:
            raise does_not_fit()
        have = counts(self.plan, opened.pushed_frames, opened.ended)
        kept = kept_frames(self.plan, opened.pushed_frames, opened.ended)
        tensors = {i: self.plan.tensors[i] for i in self.queues}
        like = {i: ((kept[i], *tensor.shape), tensor.dtype) for i, tensor in tensors.items()}
        running = self._running(have)
        wanted = [*like.values(), *running.values()]
        if sum(math.prod(shape) * dtype.itemsize for shape, dtype in wanted) != len(opened.body):
            raise does_not_fit()
        arrays = iter(_read(opened.body, wanted))
        frames = dict(zip(like, arrays, strict=False))
        carries = dict(zip(running, arrays, strict=True))
        self._continue(opened.pushed_frames, opened.ended, have, frames.__getitem__, carries)

    def _running(self, have: Sequence[int]) -> dict[int, tuple[Shape, np.dtype[np.generic]]]:
        """Shape and type of what the nodes of the plan carry over once they have made ``have`` frames."""
        like: dict[int, tuple[Shape, np.dtype[np.generic]]] = {}
        for k, node in enumerate(self.plan.nodes):
            if operation(node.kind).carries and have[node.outputs[0]] > 0:
                dtype = self.plan.tensors[node.inputs[0]].dtype
                if node.options_of(StatisticOptions).statistic.adds:
                    dtype = np.dtype(np.float64 if dtype.kind == "f" else np.int64)
                like[k] = self.plan.tensors[node.outputs[0]].shape, dtype
        return like


def _little_endian(array: Array) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _read(body: memoryview, like: Iterable[tuple[Shape, np.dtype[np.generic]]]) -> Iterator[Array]:
    """Arrays of those shapes and types that stand one behind the other."""
    at = 0
    for shape, dtype in like:
        count = math.prod(shape)
        stored = np.frombuffer(body, dtype.newbyteorder("<"), count, at) if count else np.empty(0, dtype)
        yield stored.astype(dtype).reshape(shape)
        at += count * dtype.itemsize
