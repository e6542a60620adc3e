"""The native engine: the C core in ``tcnstream/core`` behind the same protocol as the other engines.

All that a stream remembers lives in the core's own memory. Snapshots are those of ``State``, so that they continue in
any engine; ``engines.native.snapshot`` translates.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.cost import work_per_frame
from tcnstream.compiler.plan import Plan
from tcnstream.engines.base import PushInto, QuickPush
from tcnstream.engines.native.core import load_core
from tcnstream.engines.native.planfile.facts import read_facts
from tcnstream.engines.native.planfile.memory import growth, stream_numbers
from tcnstream.engines.native.planfile.write import write_plan
from tcnstream.engines.native.snapshot import CoreSnapshots, from_core, moved
from tcnstream.engines.signed import flipped
from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array, Quantization, Shape

if TYPE_CHECKING:
    from concurrent.futures import Future

BLOCK_FRAMES = 64
"""Input frames per pass of a large push: the working set of a block stays in the cache."""

_FUSED = 256
"""TCN_FUSED of ``core/tcn.h``."""

_RELEASE_FROM_WORK = 200_000
"""A push of so many multiply-adds (some 20 microseconds) lets other threads run; shorter ones keep the GIL."""

_PIECE_WORK = 500 * _RELEASE_FROM_WORK
"""Of a longer push so many multiply-adds go through the core at a time: Ctrl-C is heard between them."""

_MOST_PIECE_FRAMES = 1 << 17
"""What moves frames and multiplies nothing takes time as well."""

_LEAST_LANES_PER_THREAD = 64
"""Fewer lanes are done before a second thread has begun."""


class NativeExecutor:
    """Runs plans whose operations the core has; EngineError names the first one that it lacks.

    ``isa`` is one of the core's TCN_ISA_... numbers; 0 takes the best instruction set that this processor has.
    ``exact=False`` sums float32 products by fused multiply-adds where the processor has them: faster, and no longer the
    reference kernels' bits. Integers stay exact.
    """

    name = "native"
    block_frames: tuple[int, ...] = ()

    def __init__(self, plan: Plan, rounding: str = "litert", isa: int = 0, exact: bool = True) -> None:
        core = load_core()
        content = write_plan(plan, rounding=rounding)
        self.plan = plan
        self.facts = read_facts(content)
        self.shapes = tuple((plan.tensors[o].shape, plan.tensors[o].dtype) for o in plan.outputs)
        self.snapshots = CoreSnapshots(plan, self.facts, core.crc32)
        self._core = core
        rates = growth(plan)
        self._growth = tuple(rates[o] for o in plan.outputs)
        self._shared = core.Plan(content, block=BLOCK_FRAMES, isa=isa if exact else isa | _FUSED)
        work = max(1.0, work_per_frame(plan))
        self._release_from = max(1, math.ceil(_RELEASE_FROM_WORK / work))
        self._piece = min(_MOST_PIECE_FRAMES, max(BLOCK_FRAMES, math.ceil(_PIECE_WORK / work)))

    def new_memory(self) -> NativeMemory:
        stream = self._core.Stream(self._shared, release_from=self._release_from, piece=self._piece)
        return NativeMemory(self, stream)

    def direct_push(self, memory: NativeMemory) -> PushInto:
        """The core's own, in which nothing is allocated."""
        push_into: PushInto = memory.stream.push_into
        return push_into

    def quick_push(
        self,
        memory: NativeMemory,
        in_shape: Shape,
        out_shape: Shape,
        quantization: Quantization | None,
        keep_bytes: int,
    ) -> QuickPush | None:
        """Quantized, counted, allocated and computed in one call of the core."""
        if len(self.plan.inputs) != 1 or len(self.plan.outputs) != 1:
            return None
        scale = (0.0, 0) if quantization is None else (quantization.scale.flat[0], quantization.zero_point.flat[0])
        ((_, dtype),) = self.shapes
        quick: QuickPush = self._core.Push(
            memory.stream, tuple(in_shape), tuple(out_shape), dtype, float(scale[0]), int(scale[1]), keep_bytes
        )
        return quick

    def new_pool(self, memories: Sequence[NativeMemory]) -> NativePool:
        streams = tuple(memory.stream for memory in memories)
        return NativePool(self, self._core.Pool(self._shared, streams), len(streams))

    def most_frames(self, n: int) -> tuple[int, ...]:
        """Per output the most frames that a push of ``n`` can give, whatever the state."""
        return tuple(math.ceil(n * rate) + extra for rate, extra in self._growth)

    def advance(self, memory: NativeMemory, chunks: Sequence[Array] | None) -> list[Array]:
        """As ``Executor.advance``; the frames belong to the caller."""
        stream = memory.stream
        ready = stream.ready(-1 if chunks is None else len(chunks[0]))
        counted = ready if isinstance(ready, tuple) else (ready,)
        made = tuple(np.empty((n, *shape), dtype) for n, (shape, dtype) in zip(counted, self.shapes, strict=True))
        if chunks is None:
            stream.flush_into(made)
        else:
            stream.push_into(tuple(np.ascontiguousarray(chunk) for chunk in chunks), made)
        return list(made)

    def costs(self, chunk: Sequence[Array], pushes: int = 100) -> tuple[NodeCost, ...]:
        """What each operation costs, in order, over ``pushes`` of ``chunk`` (one array per input) into a new stream.

        The clock is read around every operation and costs some tens of nanoseconds itself, which short
        operations show.
        """
        memory = self.new_memory()
        memory.stream.count_ns(True)
        for _ in range(pushes):
            self.advance(memory, chunk)
        frames = max(1, memory.pushed_frames)
        counted = memory.stream.counted_ns()
        return tuple(
            NodeCost(node.label, node.kind, node.index, ns / frames)
            for node, ns in zip(self.facts.nodes, counted, strict=True)
        )


@dataclass(frozen=True, eq=False)
class NodeCost:
    """One operation of a plan: its label and kind in the file, its position there, nanoseconds per input frame."""

    label: str
    kind: str
    index: int
    ns_per_frame: float


class NativeMemory:
    """One stream's memory in the core: implements ``base.Memory``."""

    def __init__(self, executor: NativeExecutor, stream: Any) -> None:
        self.stream = stream
        self._plan = executor.plan
        self._facts = executor.facts
        self._snapshots = executor.snapshots
        self._watched = -1

    @property
    def pushed_frames(self) -> int:
        return int(self.stream.frames_in)

    @property
    def ended(self) -> bool:
        return bool(self.stream.ended)

    def reset(self) -> None:
        self.stream.reset()

    def move_to(self, pushed_frames: int) -> None:
        """As ``Memory.move_to``."""
        self.stream.restore(moved(self.stream.snapshot(), pushed_frames))

    def watch(self, tensor: int, frames: int = 1) -> None:
        """Keep the newest ``frames`` frames of a tensor of the plan from now on; 0 ends it.

        StreamError if the plan has no such tensor, or if it is a constant.
        """
        if not 0 <= tensor < len(self._plan.tensors):
            last = len(self._plan.tensors) - 1
            raise StreamError(f"the plan has no tensor {tensor}; they are numbered 0 to {last}")
        if self._plan.tensors[tensor].data is not None:
            raise StreamError(f"`{self._plan.tensors[tensor].name}` is a constant: it has no frames ({frames} wanted)")
        self.stream.watch(stream_numbers(self._plan)[tensor], frames)
        self._watched = tensor

    def tap(self) -> tuple[int, Array]:
        """(number of the first frame, frames (n, *frame shape)) of the watched tensor, oldest first.

        The numbers count from the start of the stream. ``n`` is at most what ``watch`` was told, and only
        frames that were computed since then are there. StreamError if nothing is watched.
        """
        first, content = self.stream.tap()
        tensor = self._plan.tensors[self._watched]
        stored = self._facts.tensors[stream_numbers(self._plan)[self._watched]].dtype
        frames = np.frombuffer(content, stored).reshape(-1, *tensor.shape)
        return first, frames if stored == tensor.dtype else flipped(frames)

    def live_bytes(self) -> int:
        return from_core(self._plan, self._facts, self.stream.snapshot()).live_bytes()

    def snapshot(self, identity: str) -> bytes:
        return self._snapshots.seal(self.stream.snapshot_into, identity)

    def restore(self, blob: bytes, identity: str) -> None:
        self.stream.restore(self._snapshots.unseal(blob, identity))


class NativePool:
    """Streams that go through the core together: a node's weights are read once for several lanes."""

    def __init__(self, executor: NativeExecutor, pool: Any, lanes: int) -> None:
        self.most_frames = executor.most_frames
        self._pool = pool
        self._outputs = len(executor.plan.outputs)
        threads = _threads_for(lanes)
        self._helpers = None
        if threads > 1:
            from concurrent.futures import ThreadPoolExecutor  # costs as much as a model takes to load, for pools alone

            self._helpers = ThreadPoolExecutor(threads - 1)

    def push_into(
        self, x: tuple[Array, ...], out: tuple[Array, ...], lanes: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """As ``LanePool.push_into``."""
        rows = len(lanes)
        counted = np.zeros((rows, self._outputs), np.int64)
        push = self._pool.push(x, out, counted, lanes)
        parts: list[Future[None]] = []
        try:
            if self._helpers is not None:
                parts += (self._helpers.submit(push.run) for _ in range(_threads_for(rows) - 1))
            push.run()
            for part in parts:
                if not part.cancel():  # one that has not begun would find nothing to do
                    part.result()
        except BaseException:  # Ctrl-C: some lanes are through, some are not, and the arrays are the caller's again
            push.stop()
            for part in parts:
                if not part.cancel():
                    part.exception()
            raise
        finally:
            push.end()
        return counted


def _threads_for(lanes: int) -> int:
    return max(1, min(_processors(), lanes // _LEAST_LANES_PER_THREAD))


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
