"""Two answers side by side: how many frames agree, and how far the others are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError
from tcnstream.measure.compare import agrees
from tcnstream.tflite.graph import Array, Tensor

Numbers: TypeAlias = npt.NDArray[np.float64]

PROFILE_BINS = 240
"""Columns of a tensor's difference over time."""


@dataclass(frozen=True)
class Tolerance:
    """What still counts as equal. ``kind``: "default" (integers exact, floats 1e-5), "exact", "steps" or "abs"."""

    kind: str = "default"
    amount: float = 0.0

    def __str__(self) -> str:
        if self.kind == "default":
            return "exact (floats within 1e-5 of the size of the value)"
        return self.kind if self.kind == "exact" else f"{self.kind}:{self.amount:g}"

    def agrees(self, tensor: Tensor, expected: Array, got: Array) -> npt.NDArray[np.bool_]:
        """Element by element; a NaN agrees with a NaN."""
        if self.kind == "default":
            return agrees(got, expected)
        same = agrees(got, expected, tolerance=0.0)
        if self.kind == "exact" or expected.dtype.kind == "b":
            return same
        with np.errstate(invalid="ignore"):
            distance = np.abs(got.astype(np.float64) - expected.astype(np.float64))
            if self.kind == "abs":
                same |= distance * step_of(tensor) <= self.amount
            elif expected.dtype.kind != "f":
                same |= distance <= self.amount
        return same


def parse_tolerance(text: str) -> Tolerance:
    """``exact``, ``steps:1`` or ``abs:1e-4``. Raises BridgeError for anything else."""
    kind, _, amount = text.partition(":")
    try:
        if kind in ("default", "exact") and not amount:
            return Tolerance(kind)
        if kind in ("steps", "abs") and 0 <= float(amount) < math.inf:
            return Tolerance(kind, float(amount))
    except ValueError:
        pass
    raise BridgeError(f"there is no tolerance {text!r}: write exact, steps:1 or abs:1e-4")


def as_tolerance(given: Tolerance | str | None) -> Tolerance:
    """A tolerance or how it is written; None is the default one. Raises BridgeError."""
    return parse_tolerance(given) if isinstance(given, str) else given or Tolerance()


def step_of(tensor: Tensor) -> float:
    """Real units of one integer step; 1 for floats and for integers without a scale."""
    if tensor.dtype.kind == "f" or tensor.quantization is None:
        return 1.0
    return float(tensor.quantization.scale.reshape(-1)[0])


def flat(frames: Array) -> Array:
    """(n, *frame_shape) -> (n, elements), also for n = 0."""
    return frames.reshape(len(frames), math.prod(frames.shape[1:]))


@dataclass(frozen=True)
class TensorReport:
    """One tensor compared. ``largest_steps`` is in integer steps (None for floats), the rest in real units.

    ``snr_db`` is infinite and ``cosine`` 1 where all is equal. ``profile`` is the largest difference in each
    of equal parts of the time (steps, or real units for floats).
    """

    name: str
    role: str
    operation: str
    dtype: str
    frames: int
    equal: int
    largest_steps: int | None
    largest: float
    rmse: float
    mae: float
    snr_db: float
    cosine: float
    first_different_frame: int | None
    profile: tuple[float, ...]

    @property
    def passed(self) -> bool:
        return self.equal == self.frames


@dataclass
class Tally:
    """Sums over the frames of one tensor compared so far; ``expected_frames`` sets the scale of the profile."""

    tensor: Tensor
    role: str
    operation: str
    tolerance: Tolerance
    expected_frames: int = 0
    frames: int = 0
    equal: int = 0
    first_different: int | None = None
    _largest: float = 0.0
    _sums: Numbers = field(default_factory=lambda: np.zeros(6))
    _profile: Numbers = field(default_factory=lambda: np.zeros(PROFILE_BINS))

    def add(self, expected: Array, got: Array, first_frame: int) -> bool:
        """Frames (n, *frame_shape) from number ``first_frame`` on; returns whether all of them agree.

        Frames that one side lacks count as different.
        """
        n = min(len(expected), len(got))
        missing = max(len(expected), len(got)) - n
        a, b = flat(expected[:n]), flat(got[:n])
        good = self.tolerance.agrees(self.tensor, a, b).all(axis=1)
        self.frames += n + missing
        self.equal += int(good.sum())
        wrong = np.flatnonzero(~good)
        first = int(wrong[0]) if len(wrong) else n if missing else None
        if first is not None and self.first_different is None:
            self.first_different = first_frame + first
        if n:
            self._measure(a.astype(np.float64), b.astype(np.float64), first_frame)
        return first is None

    def _measure(self, a: Numbers, b: Numbers, first_frame: int) -> None:
        with np.errstate(invalid="ignore"):
            distance = np.abs(a - b)
        distance[~np.isfinite(distance)] = 0.0
        worst = distance.max(axis=1, initial=0.0)
        self._largest = max(self._largest, float(worst.max(initial=0.0)))
        zero = 0.0
        if self.tensor.quantization is not None and self.tensor.dtype.kind != "f":
            zero = float(self.tensor.quantization.zero_point.reshape(-1)[0])
        x, y = np.nan_to_num(a - zero), np.nan_to_num(b - zero)
        self._sums += [(distance**2).sum(), distance.sum(), (x**2).sum(), (y**2).sum(), (x * y).sum(), distance.size]
        total = max(self.expected_frames, 1)
        places = np.minimum((first_frame + np.arange(len(worst))) * PROFILE_BINS // total, PROFILE_BINS - 1)
        np.maximum.at(self._profile, places, worst)

    def report(self) -> TensorReport:
        step = step_of(self.tensor)
        squares, total, xx, yy, xy, count = (float(v) for v in self._sums)
        is_float = self.tensor.dtype.kind == "f"
        noise = squares / max(xx, 1e-300)
        return TensorReport(
            name=self.tensor.name,
            role=self.role,
            operation=self.operation,
            dtype=str(self.tensor.dtype),
            frames=self.frames,
            equal=self.equal,
            largest_steps=None if is_float else int(self._largest),
            largest=self._largest * step,
            rmse=math.sqrt(squares / max(count, 1)) * step,
            mae=total / max(count, 1) * step,
            snr_db=math.inf if squares == 0 else -10 * math.log10(noise) if noise > 0 else math.inf,
            cosine=1.0 if squares == 0 else xy / math.sqrt(max(xx * yy, 1e-300)),
            first_different_frame=self.first_different,
            profile=tuple(float(v) for v in self._profile),
        )
