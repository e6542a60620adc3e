"""Samples of WFDB signal files: bytes -> whole numbers, one entry a format.

The formats are those of signal(5) of the WFDB Applications Guide
(https://physionet.org/physiotools/wag/signal-5.htm); each has one number that means "no sample".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.sources.wfdb_header import Signal

Numbers: TypeAlias = npt.NDArray[np.int32]

BLOCK_FRAMES = 4096 - 4096 % 6
"""Of two- and three-sample units, so that a block always ends between bytes."""


@dataclass(frozen=True)
class Format:
    """Samples lie in units of bytes, the k-th one within the first ``ends[k]``; ``unpack`` gets whole units.

    ``missing`` is the number that stands for no sample.
    """

    ends: tuple[int, ...]
    unpack: Callable[[npt.NDArray[np.uint8]], Numbers]
    missing: int | None

    @property
    def unit_bytes(self) -> int:
        return self.ends[-1]

    def samples(self, size_bytes: int) -> int:
        """How many samples lie whole in so many bytes."""
        units, rest = divmod(size_bytes, self.unit_bytes)
        return units * len(self.ends) + sum(end <= rest for end in self.ends)


def _plain(dtype: str, subtract: int = 0) -> Callable[[npt.NDArray[np.uint8]], Numbers]:
    return lambda data: data.view(dtype).astype(np.int32) - np.int32(subtract)


def _three_bytes(data: npt.NDArray[np.uint8]) -> Numbers:
    parts = data.reshape(-1, 3).astype(np.int32)
    return _signed(parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16, 24)


def _212(data: npt.NDArray[np.uint8]) -> Numbers:
    low, middle, high = data.reshape(-1, 3).astype(np.int32).T
    return _signed(np.stack([low | (middle & 0x0F) << 8, high | (middle & 0xF0) << 4], axis=1).ravel(), 12)


def _310(data: npt.NDArray[np.uint8]) -> Numbers:
    first, second = data.view("<u2").reshape(-1, 2).astype(np.int32).T
    third = first >> 11 | (second >> 11) << 5
    return _signed(np.stack([first >> 1 & 0x3FF, second >> 1 & 0x3FF, third], axis=1).ravel(), 10)


def _311(data: npt.NDArray[np.uint8]) -> Numbers:
    words = data.view("<u4")[:, None]
    return _signed((words >> np.array([0, 10, 20], np.uint32) & 0x3FF).astype(np.int32).ravel(), 10)


def _signed(numbers: Numbers, bits: int) -> Numbers:
    """Two's complement of so many bits."""
    sign = np.int32(1 << (bits - 1))
    return (numbers ^ sign) - sign


_DIFFERENCES = 8
FORMATS: dict[int, Format] = {
    _DIFFERENCES: Format((1,), _plain("i1"), None),
    16: Format((2,), _plain("<i2"), -(1 << 15)),
    24: Format((3,), _three_bytes, -(1 << 23)),
    32: Format((4,), _plain("<i4"), -(1 << 31)),
    61: Format((2,), _plain(">i2"), -(1 << 15)),
    80: Format((1,), _plain("u1", 128), -128),
    160: Format((2,), _plain("<u2", 32768), -(1 << 15)),
    212: Format((2, 3), _212, -(1 << 11)),
    310: Format((2, 4, 4), _310, -(1 << 9)),
    311: Format((2, 3, 4), _311, -(1 << 9)),
}
_FLAC_BITS = {508: 8, 516: 16, 524: 24}


def frames_there(path: Path, group: list[Signal]) -> int:
    """Whole frames in a signal file, whose signals in their order are ``group``."""
    first, width = group[0], sum(signal.per_frame for signal in group)
    if first.format in _FLAC_BITS:
        with _flac(path) as file:
            return int(file.frames) // first.per_frame
    return FORMATS[first.format].samples(max(0, path.stat().st_size - first.offset_bytes)) // width


def must_be_known(path: Path, group: list[Signal]) -> None:
    """Raises SignalError for a format that is none, or where the signals of one file differ in it."""
    formats = {signal.format for signal in group}
    offsets = {signal.offset_bytes for signal in group[1:]} - {0}  # the first one's stands for the file
    if len(formats) > 1 or not offsets <= {group[0].offset_bytes}:
        raise SignalError(f"the header says that the signals in {path} are stored in different ways: mend it")
    if not formats <= {*FORMATS, *_FLAC_BITS}:
        known = ", ".join(str(number) for number in sorted({*FORMATS, *_FLAC_BITS}))
        raise SignalError(f"{path} is in format {formats.pop()}, which is none of WFDB's ({known}): mend the header")
    if formats <= _FLAC_BITS.keys() and len({signal.per_frame for signal in group}) > 1:
        raise SignalError(f"{path} is FLAC with signals of several rates, which nothing writes: convert the record")


def read_signal(path: Path, group: list[Signal], position: int) -> Iterator[npt.NDArray[np.float64]]:
    """The signal at ``position`` of its file's ``group``: blocks (n,) in its unit, NaN where there is no sample.

    It begins with the first frame of the record; the file is read in its order, in blocks.
    """
    signal = group[position]
    form = FORMATS.get(signal.format)
    blocks = _flac_blocks(path, group, position) if form is None else _blocks(path, group, position, form)
    skip = signal.skew_frames * signal.per_frame
    running = signal.initial
    for numbers in blocks:
        if signal.format == _DIFFERENCES:
            numbers = running + np.cumsum(numbers, dtype=np.int64)
            running = int(numbers[-1]) if len(numbers) else running
        numbers, skip = numbers[skip:], max(0, skip - len(numbers))
        values = (numbers.astype(np.float64) - signal.baseline) / signal.gain
        missing = -(1 << (_FLAC_BITS[signal.format] - 1)) if form is None else form.missing
        if missing is not None:
            values[numbers == missing] = np.nan
        yield values


def _blocks(path: Path, group: list[Signal], position: int, form: Format) -> Iterator[npt.NDArray[np.int64]]:
    width = sum(signal.per_frame for signal in group)
    begin = sum(signal.per_frame for signal in group[:position])
    size = BLOCK_FRAMES * width // len(form.ends) * form.unit_bytes
    with path.open("rb") as file:
        file.seek(group[0].offset_bytes)
        while data := file.read(size):
            samples = form.samples(len(data))
            padded = np.frombuffer(data + bytes(-len(data) % form.unit_bytes), np.uint8)
            frames = form.unpack(padded)[: samples - samples % width].reshape(-1, width)
            yield frames[:, begin : begin + group[position].per_frame].astype(np.int64).ravel()


def _flac_blocks(path: Path, group: list[Signal], position: int) -> Iterator[npt.NDArray[np.int64]]:
    with _flac(path) as file:
        while len(block := file.read(BLOCK_FRAMES, dtype="int32", always_2d=True)):
            yield block[:, position].astype(np.int64) >> (32 - _FLAC_BITS[group[position].format])


def _flac(path: Path):  # type: ignore[no-untyped-def]
    import soundfile

    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise SignalError(f"{path} should be FLAC, by its record's header, and is not: {error.error_string}") from error
