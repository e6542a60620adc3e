"""The interface of a board: what ``check``, ``soak`` and ``shadow`` ask of a device with a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from firmware_bridge.boards.program import Program
from firmware_bridge.link.messages import Can, Stats
from firmware_bridge.link.session import LinkStats
from tcnstream.tflite.graph import Array


@dataclass(frozen=True)
class Cost:
    """One push as the board measured it: ``ticks`` of its counter for ``frames`` input frames."""

    frames: int
    ticks: int


@dataclass(frozen=True)
class Pushed:
    """What came of a push or flush: frames per output, the tapped tensor's frames, and what it cost.

    ``tapped`` are the new frames of the tapped tensor from number ``tap_first`` on.
    """

    outputs: list[Array]
    costs: tuple[Cost, ...] = ()
    tapped: Array | None = None
    tap_first: int = 0


@dataclass(frozen=True)
class BoardFacts:
    """Who a board is and how it counts; ``ticks`` is "nanoseconds", "cycles" or "instructions"."""

    target: str
    build: str
    core: str
    clock_hz: int
    ticks: str
    ticks_hz: int
    emulated: bool

    def units(self, ticks: int) -> float:
        """Ticks of the counter in the unit; instructions are counted by emulated time, 1024 ns each."""
        if self.ticks == "instructions":
            return round(ticks * 1e9 / self.ticks_hz / 1024)
        return ticks * 1e9 / self.ticks_hz if self.ticks == "nanoseconds" else float(ticks)


class Board(Protocol):
    """One stream on a device. ``can`` says which of the optional parts are there."""

    name: str

    @property
    def hop_frames(self) -> int:
        """Input frames that it takes at once; the rest waits. 1 where every frame is answered as soon as it can be."""

    @property
    def facts(self) -> BoardFacts: ...

    @property
    def can(self) -> Can: ...

    @property
    def link_stats(self) -> LinkStats: ...

    @property
    def log(self) -> Sequence[tuple[str, str]]:
        """(level, text) of what the firmware said beside the data."""

    def start(self, program: Program) -> None:
        """Makes sure that the board runs ``program``, at the start of a stream. Raises MismatchError if it cannot."""

    def push(self, chunks: Sequence[Array]) -> Pushed: ...

    def flush(self) -> Pushed: ...

    def reset(self) -> None: ...

    def snapshot(self) -> bytes: ...

    def restore(self, blob: bytes) -> None: ...

    def tap(self, tensor: int | None) -> None:
        """From now on each push returns that tensor's new frames as well; None ends it."""

    def stats(self) -> Stats | None:
        """The board's counters and memory, where it has them."""

    def close(self) -> None: ...


@runtime_checkable
class OperationCounter(Protocol):
    """What a board with Can.COSTS has besides."""

    def count_operations(self) -> None:
        """From now on the board counts what each operation takes, until a tap is set or ended."""

    def operation_ticks(self) -> list[int]:
        """Ticks of each operation of the plan since ``count_operations``."""
