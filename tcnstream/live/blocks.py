"""What passes between sources and chains: samples with their frame numbers, and what is missing in front of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.float32]

Reason: TypeAlias = Literal["counter", "overrun", "unplugged", "deficit", "restart", "clock"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Lost:
    """Frames that nobody will see: how many, how wrong that number may be (0: counted), and why."""

    frames: int
    tolerance_frames: int
    reason: Reason

    def and_then(self, other: Lost) -> Lost:
        """One gap of two that touch; the reason is that of the longer one."""
        longer = self if self.frames >= other.frames else other
        return Lost(self.frames + other.frames, self.tolerance_frames + other.tolerance_frames, longer.reason)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one read of a live source gives: ``samples`` (n, channels), after ``lost``.

    ``arrived_s`` is CLOCK_MONOTONIC. ``fresh`` says that nothing was waiting when the read began, so that the arrival
    tells when the samples were taken, and not when this program found time. ``modulus`` is that of the source's
    counter, 0 where it has none: ``lost`` is then known but for a multiple of it. ``behind`` are the frames that the
    same read brought after these, and so long before the arrival these were taken.
    """

    samples: Samples
    arrived_s: float
    lost: Lost | None = None
    fresh: bool = True
    modulus: int = 0
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """What a source says of itself, as an event at its place in the signal."""

    type: Literal["clock", "status"]
    label: str
    more: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Block:
    """``samples`` (n, channels) from ``first_frame`` on, after ``gap``, which ends there, and after ``notes``."""

    first_frame: int
    samples: Samples
    arrived_s: float
    gap: Lost | None = None
    notes: tuple[Note, ...] = ()
