"""What an engine is: the protocols between a Stream or Pool and whatever computes its frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.plan import Plan
from tcnstream.engines.state import State
from tcnstream.tflite.graph import Array, Quantization, Shape

ENGINES = ("native", "interpreter", "reference")
"""The engines by name, fastest first."""

ROUNDINGS = ("litert", "tflm")
"""How integer FULLY_CONNECTED rounds: once, as LiteRT does, or twice, as TensorFlow Lite Micro does."""


class Memory(Protocol):
    """All that one stream remembers, wherever its engine keeps it."""

    @property
    def pushed_frames(self) -> int:
        """Input frames since the start."""

    @property
    def ended(self) -> bool:
        """Whether the signal is over."""

    def reset(self) -> None:
        """Back to the start."""

    def live_bytes(self) -> int:
        """Bytes of the frames and sums that must be remembered now."""

    def move_to(self, pushed_frames: int) -> None:
        """The content as it is, so many input frames into a signal; ``compiler.tails`` says when that is sound."""

    def snapshot(self, identity: str) -> bytes:
        """The content as bytes that any engine can restore; ``identity`` names the model and its policy."""

    def restore(self, blob: bytes, identity: str) -> None:
        """The inverse of ``snapshot``; a foreign or damaged one is a StreamError and changes nothing."""


class PushInto(Protocol):
    """``Stream.push_into`` as an engine does it: frames of the caller's arrays into other arrays of the caller's."""

    def __call__(self, x: Array | tuple[Array, ...], out: Array | tuple[Array, ...], /) -> int | tuple[int, ...]:
        """Arguments, result and errors as those of ``Stream.push_into``."""


class Keeper(Protocol):
    """Keeps the newest bytes of what it is given, as many as it was made for."""

    def keep(self, frames: bytes, /) -> None:
        """These are newer than all before."""

    def forget(self) -> None:
        """Nothing is kept."""

    def newest(self, n: int, /) -> bytes:
        """The last ``n`` bytes."""


class QuickPush(Keeper, Protocol):
    """``Stream.push`` as it is used most, on one memory; keeps the newest of the input frames that it pushes."""

    def push(self, x: Array, /) -> Array | None:
        """The frames that ``x`` makes possible; None, and nothing has moved, for what an engine does not take so."""


class LanePool(Protocol):
    """Memories of one executor behind one call; ``Pool`` without its book of who is there."""

    def most_frames(self, n: int) -> tuple[int, ...]:
        """Per output the most frames that a push of ``n`` can give a lane, whatever it remembers."""

    def push_into(
        self, x: tuple[Array, ...], out: tuple[Array, ...], lanes: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Row k of ``x`` (rows, n, *frame) per input goes to lane ``lanes[k]``, what comes out to row k of ``out``.

        ``out`` is (rows, room, *frame) per output. Returns how many frames each row got, (rows, outputs). Raises
        StreamError before any lane moves.
        """


class Executor(Protocol):
    """Computes frames for any number of streams of one plan; holds nothing of a stream itself.

    ``block_frames`` are its preferred block sizes, largest first, none for any size: a push is cut into those, and what
    is left over is a block of its own. A memory comes from the executor's own ``new_memory``.
    """

    name: str
    plan: Plan
    block_frames: tuple[int, ...]

    def new_memory(self) -> Memory:
        """A stream's memory at its start, in the form that this engine works on."""

    def advance(self, memory: Any, chunks: Sequence[Array] | None) -> list[Array]:
        """Take in frames of every input (None: the signal is over) and compute all that they allow.

        Returns the new frames of every output, (m, *tensor shape), as views that hold until the next call; what nothing
        will read any more is forgotten. Raises StreamError, with the memory as before, for a signal that ends too soon.
        """

    def direct_push(self, memory: Any) -> PushInto | None:
        """The engine's own ``push_into`` on this memory; None if it has none, so that a Stream uses ``advance``."""

    def quick_push(
        self, memory: Any, in_shape: Shape, out_shape: Shape, quantization: Quantization | None, keep_bytes: int
    ) -> QuickPush | None:
        """The engine's own ``push`` on this memory, for frames of those shapes; None if it has none.

        ``quantization`` is that of the input, for chunks of real numbers; so many bytes of input are kept.
        """

    def new_pool(self, memories: Sequence[Any]) -> LanePool | None:
        """Memories side by side; None if the engine takes one after the other."""


class StateExecutor(ABC):
    """What the engines that work on ``State`` have in common: an Executor but for its name, blocks and ``run``."""

    plan: Plan

    def new_memory(self) -> State:
        return State(self.plan)

    @abstractmethod
    def run(self, state: State, goal: list[int]) -> None:
        """Bring every tensor of ``state`` from ``state.have`` to ``goal`` frames."""

    def advance(self, memory: State, chunks: Sequence[Array] | None) -> list[Array]:
        """As ``Executor.advance``."""
        outputs = self.plan.outputs
        before = [memory.have[o] for o in outputs]
        self.run(memory, memory.end() if chunks is None else memory.arrive(chunks))
        made = [memory.queues[o].read(begin, memory.have[o]) for o, begin in zip(outputs, before, strict=True)]
        memory.trim()
        return made

    def direct_push(self, memory: State) -> PushInto | None:
        return None

    def quick_push(
        self, memory: State, in_shape: Shape, out_shape: Shape, quantization: Quantization | None, keep_bytes: int
    ) -> QuickPush | None:
        return None

    def new_pool(self, memories: Sequence[State]) -> LanePool | None:
        return None
