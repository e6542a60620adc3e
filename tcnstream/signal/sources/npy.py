"""NumPy arrays of shape (frames,) or (frames, channels), read block by block: no map, which dies with its file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import (
    CHUNK_FRAMES,
    Channels,
    Chunk,
    FileKind,
    Recording,
    choose_channels,
    must_be_frames_first,
    must_exist,
)
from tcnstream.signal.units import of_integers


def read_npy(path: Path, channels: Channels) -> Recording:
    """The array's numbers as they are; the file says neither rate nor unit, but integers have a full scale."""
    with must_exist(path).open("rb") as file:
        shape, by_columns, dtype = _header(file, path)
        begin = file.tell()
    if len(shape) not in (1, 2) or dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise SignalError(f"{path} must hold numbers of shape (frames,) or (frames, channels): save it like that")
    frames, width = (*shape, 1)[:2]
    available = tuple(str(number) for number in range(width))
    if isinstance(channels, int):
        must_be_frames_first(str(path), frames, width, channels)
    chosen = choose_channels(available, channels, str(path))
    there = (path.stat().st_size - begin) // dtype.itemsize
    if there < math.prod(shape):
        raise SignalError(f"{path} is cut short: it says {math.prod(shape):,} numbers and {there:,} are there")
    unit = of_integers(dtype.name)
    return Recording(
        source=str(path),
        rate_hz=None,
        units=unit,
        channels=tuple(available[number] for number in chosen),
        available=available,
        frames=frames,
        chunks=_chunks(path, begin, dtype, frames, width, by_columns and width > 1, chosen),
        available_units=(unit,) * width,
    )


def _header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)
    except Exception as error:  # whatever its parsing stumbles over
        raise SignalError(f"{path} is not an array that can be read: {error}") from error


def _chunks(
    path: Path,
    begin: int,
    dtype: np.dtype,
    frames: int,
    width: int,
    by_columns: bool,
    chosen: list[int],
) -> Iterator[Chunk]:
    with path.open("rb") as file:

        def numbers(at: int, count: int) -> npt.NDArray[np.generic]:
            file.seek(begin + at * dtype.itemsize)
            data = file.read(count * dtype.itemsize)
            if len(data) < count * dtype.itemsize:
                raise SignalError(f"{path} ends early: it became shorter while it was read")
            return np.frombuffer(data, dtype)

        for at in range(0, frames, CHUNK_FRAMES):
            count = min(CHUNK_FRAMES, frames - at)
            if by_columns:
                block = np.stack([numbers(number * frames + at, count) for number in chosen], axis=1)
            else:
                block = numbers(at * width, count * width).reshape(count, width)[:, chosen]
            with np.errstate(over="ignore"):  # beyond float32 is infinity, and no value
                yield block.astype(np.float32)


KIND = FileKind(names=("NPY",), suffixes=(".npy",), open=read_npy)
