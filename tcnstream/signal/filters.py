"""The preprocessing of a model card as a stream: filters, gain, offset, clipping, companding.

The arithmetic is float64, sample after sample, in one fixed order, so that no cut into chunks can change a bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from tcnstream.engines.native import real as native
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


class Compand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="compand", tag_field="kind"):
    """Makes large values small and leaves small ones: ``x / (1 + |x| / knee)``, which stays within -knee .. knee.

    It needs no function but divisions, so that it gives the same bits on every machine.
    """

    knee: float

    def __post_init__(self) -> None:
        if not 0 < self.knee < float("inf"):
            raise ValueError(f"compand needs a knee above 0, not {self.knee:g}")


Filter: TypeAlias = Sos | Gain | Offset | Clip | Compand


_GAIN, _OFFSET, _CLIP, _COMPAND, _SECTION, _SECTION_STEADY = range(6)

_Step: TypeAlias = tuple[float, float, float, float, float, float]
"""What one step does and its numbers, as ``core/binding/real.c`` has it."""


class FilterChain:
    """Runs ``filters`` over a stream of ``channels`` independent channels.

    ``table`` has a row of six numbers a step, as ``core/binding/real.c`` takes them; ``memory`` (sections, channels, 2)
    is one array for as long as the chain lives, and ``started`` is False before the first sample.
    """

    def __init__(self, filters: Sequence[Filter] = (), channels: int = 1) -> None:
        self.filters = tuple(filters)
        self.channels = channels
        self._steps = tuple(step for each in self.filters for step in _steps_of(each))
        self.table = np.array(self._steps, np.float64).reshape(-1, 6)
        self.memory = np.zeros((sum(step[0] >= _SECTION for step in self._steps), channels, 2))
        self.started = False
        # How much is remembered, as a snapshot's first byte says it, with a bit for ``started``.
        self._mark = 2 * min(127, self.memory.size // 2)
        self._heads = bytes([self._mark]), bytes([self._mark + 1])

    def reset(self) -> None:
        """Back to before the first sample."""
        self.memory[:] = 0
        self.started = False

    def push(self, chunk: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """``chunk`` (n, channels) float32 -> (n, channels) float32."""
        if not self._steps or not len(chunk):
            return chunk
        begins, self.started = not self.started, True
        quick = native.filtered(np.ascontiguousarray(chunk), self.table, self.memory, begins)
        if quick is not None:
            return quick
        filtered = np.empty(chunk.shape, np.float32)
        for channel in range(self.channels):
            filtered[:, channel] = self._filter(chunk[:, channel].tolist(), channel, begins)
        return filtered

    @staticmethod
    def push_together(chains: Sequence[FilterChain], chunks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
        """``push`` of ``chunks[k]`` (n, channels) into ``chains[k]``, which have the same filters, in one call.

        None where only one after the other can be pushed; nothing has moved then.
        """
        first, (lanes, count, channels) = chains[0], chunks.shape
        if not first._steps or not count:
            return chunks
        if any(chain.started != first.started for chain in chains):
            return None
        # Channels are independent: those of all chains are as many of one.
        memory = np.concatenate([chain.memory for chain in chains], axis=1)
        side_by_side = np.ascontiguousarray(chunks.transpose(1, 0, 2)).reshape(count, lanes * channels)
        quick = native.filtered(side_by_side, first.table, memory, not first.started)
        if quick is None:
            return None
        for at, chain in enumerate(chains):
            chain.memory[:], chain.started = memory[:, at * channels : (at + 1) * channels], True
        return quick.reshape(count, lanes, channels).transpose(1, 0, 2)

    def snapshot(self) -> bytes:
        """All that the chain remembers, without the zeros at the end; ``restore`` continues from it, bit for bit."""
        return self.snapshot_of(self.memory.tobytes())

    def snapshot_of(self, memory: bytes) -> bytes:
        """``snapshot`` by somebody who has read the memory."""
        return (self._heads[self.started] + memory).rstrip(b"\0")

    def restore(self, blob: bytes) -> None:
        """Raises SignalError if the snapshot is not of as much memory: it comes from another chain."""
        whole = blob.ljust(1 + self.memory.nbytes, b"\0")
        if len(blob) > 1 + self.memory.nbytes or whole[0] & ~1 != self._mark:
            raise SignalError("this snapshot is of another preprocessing: restore it with the card it came from")
        self.started = bool(whole[0] & 1)
        self.memory[:] = np.frombuffer(whole[1:]).reshape(self.memory.shape)

    def _filter(self, samples: list[float], channel: int, begins: bool) -> list[float]:
        """One channel through all steps."""
        section = 0
        for kind, *numbers in self._steps:
            if kind == _GAIN:
                samples = [x * numbers[0] for x in samples]
            elif kind == _OFFSET:
                samples = [x + numbers[0] for x in samples]
            elif kind == _CLIP:
                low, high, *_ = numbers
                samples = [low if x < low else high if high < x else x for x in samples]
            elif kind == _COMPAND:
                samples = [x / (1.0 + abs(x) / numbers[0]) for x in samples]
            else:
                memory = self.memory[section, channel]
                steady = begins and kind == _SECTION_STEADY
                memory[:] = _filter_section(samples, numbers, memory.tolist(), steady)
                section += 1
        return samples


def _steps_of(each: Filter) -> Iterator[_Step]:
    match each:
        case Gain(value):
            yield (_GAIN, value, 0.0, 0.0, 0.0, 0.0)
        case Offset(value):
            yield (_OFFSET, value, 0.0, 0.0, 0.0, 0.0)
        case Clip(low, high):
            yield (_CLIP, low, high, 0.0, 0.0, 0.0)
        case Compand(knee):
            yield (_COMPAND, knee, 0.0, 0.0, 0.0, 0.0)
        case Sos(sections, start):
            kind = _SECTION_STEADY if start == "steady" else _SECTION
            for b0, b1, b2, a0, a1, a2 in sections:
                yield (kind, b0 / a0, b1 / a0, b2 / a0, a1 / a0, a2 / a0)


def _filter_section(
    samples: list[float], numbers: Sequence[float], memory: Sequence[float], steady: bool
) -> tuple[float, float]:
    """In place, direct form II transposed (Oppenheim & Schafer, Discrete-Time Signal Processing, 6.3)."""
    b0, b1, b2, a1, a2 = numbers
    z1, z2 = memory
    if steady:
        x, y = samples[0], samples[0] * (b0 + b1 + b2) / (1 + a1 + a2)
        z2 = b2 * x - a2 * y
        z1 = b1 * x - a1 * y + z2
    for at, x in enumerate(samples):
        y = b0 * x + z1
        z1 = b1 * x - a1 * y + z2
        z2 = b2 * x - a2 * y
        samples[at] = y
    return z1, z2
