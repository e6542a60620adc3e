"""The preprocessing of a model card as a stream: filters, gain, offset, clipping.

The arithmetic is float64, sample after sample, in one fixed order, so that no cut into chunks can change a bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError

Section: TypeAlias = tuple[float, float, float, float, float, float]


class Sos(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sos", tag_field="kind"):
    """A recursive filter: second-order sections ``(b0, b1, b2, a0, a1, a2)``, as ``scipy.signal`` designs them.

    ``start="steady"`` begins as if the first sample had always been there (no step at the start of a recording that
    has an offset), ``"zero"`` as if there had been silence.
    """

    sections: tuple[Section, ...]
    start: Literal["steady", "zero"] = "zero"

    def __post_init__(self) -> None:
        for number, (*_, a0, a1, a2) in enumerate(self.sections):
            if a0 == 0:
                raise ValueError(f"section {number} of the filter has a0 = 0")
            if self.start == "steady" and a0 + a1 + a2 == 0:
                raise ValueError(f"section {number} of the filter has no steady state: use start = 'zero'")


class Gain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="gain", tag_field="kind"):
    """Multiplies by ``value``."""

    value: float


class Offset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="offset", tag_field="kind"):
    """Adds ``value``."""

    value: float


class Clip(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="clip", tag_field="kind"):
    """Limits to ``low`` .. ``high``."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"clip needs low < high, not {self.low:g} and {self.high:g}")


Filter: TypeAlias = Sos | Gain | Offset | Clip


_FEW = 64


class FilterChain:
    """Runs ``filters`` over a stream of ``channels`` independent channels."""

    def __init__(self, filters: Sequence[Filter] = (), channels: int = 1) -> None:
        self.filters = tuple(filters)
        self.channels = channels
        identity = msgspec.json.encode((self.filters, channels))
        self._key = hashlib.sha256(identity).digest()[:16]
        self.reset()

    def reset(self) -> None:
        """Back to before the first sample."""
        sections = sum(len(each.sections) for each in self.filters if isinstance(each, Sos))
        self._memory = np.zeros((sections, self.channels, 2))
        self._started = False

    def push(self, chunk: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """``chunk`` (n, channels) float32 -> (n, channels) float32."""
        if not len(chunk):
            return chunk
        if chunk.size <= _FEW:
            return self._push_few(chunk)
        signal = chunk.astype(np.float64)
        first = 0
        for each in self.filters:
            match each:
                case Gain(value):
                    signal = signal * value
                case Offset(value):
                    signal = signal + value
                case Clip(low, high):
                    signal = np.clip(signal, low, high)
                case Sos(sections, start):
                    for number, section in enumerate(sections, start=first):
                        signal = self._filter(signal, section, number, start)
                    first += len(sections)
        self._started = True
        return signal.astype(np.float32)

    def _push_few(self, chunk: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """``push`` without arrays, which cost more than some samples do; the same arithmetic, the same bits."""
        columns: list[list[float]] = chunk.T.tolist()
        first = 0
        for each in self.filters:
            match each:
                case Gain(value):
                    columns = [[x * value for x in column] for column in columns]
                case Offset(value):
                    columns = [[x + value for x in column] for column in columns]
                case Clip(low, high):
                    columns = [[low if x < low else min(x, high) for x in column] for column in columns]
                case Sos(sections, start):
                    for number, section in enumerate(sections, start=first):
                        for channel, column in enumerate(columns):
                            self._filter_column(column, section, number, channel, start)
                    first += len(sections)
        self._started = True
        return np.array(columns, np.float32).T

    def snapshot(self) -> bytes:
        """All that the chain remembers; ``restore`` continues from it, bit for bit."""
        return self._key + bytes([self._started]) + self._memory.tobytes()

    def restore(self, blob: bytes) -> None:
        """Raises SignalError if the snapshot comes from another chain."""
        if blob[:16] != self._key or len(blob) != 17 + self._memory.nbytes:
            raise SignalError("this snapshot is of another preprocessing: restore it with the card it came from")
        self._started = bool(blob[16])
        self._memory = np.frombuffer(blob[17:]).reshape(self._memory.shape).copy()

    def _filter(
        self, signal: npt.NDArray[np.float64], section: Section, number: int, start: str
    ) -> npt.NDArray[np.float64]:
        """One section over all channels."""
        filtered = np.empty_like(signal)
        for channel in range(self.channels):
            samples = signal[:, channel].tolist()
            self._filter_column(samples, section, number, channel, start)
            filtered[:, channel] = samples
        return filtered

    def _filter_column(self, samples: list[float], section: Section, number: int, channel: int, start: str) -> None:
        """In place, direct form II transposed (Oppenheim & Schafer, Discrete-Time Signal Processing, 6.3)."""
        a0 = section[3]
        b0, b1, b2, _, a1, a2 = (coefficient / a0 for coefficient in section)
        if not self._started and start == "steady":
            x, y = samples[0], samples[0] * (b0 + b1 + b2) / (1 + a1 + a2)
            z2 = b2 * x - a2 * y
            z1 = b1 * x - a1 * y + z2
        else:
            z1, z2 = self._memory[number, channel].tolist()
        for at, x in enumerate(samples):
            y = b0 * x + z1
            z1 = b1 * x - a1 * y + z2
            z2 = b2 * x - a2 * y
            samples[at] = y
        self._memory[number, channel] = z1, z2
