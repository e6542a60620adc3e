"""Bare samples, from a file or from standard input."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, cast, get_args

import numpy as np

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import (
    CHUNK_FRAMES,
    Channels,
    Chunk,
    Listening,
    LiveKind,
    ReadOptions,
    Recording,
    choose_channels,
)
from tcnstream.signal.sources.text import read_text
from tcnstream.signal.units import of_integers

RawFormat: TypeAlias = Literal["f32le", "s16le", "text"]
RAW_FORMATS: tuple[str, ...] = get_args(RawFormat)


def raw_format_named(name: str) -> RawFormat:
    """Raises SignalError for a name that is none of ``RAW_FORMATS``."""
    if name not in RAW_FORMATS:
        raise SignalError(f"there is no raw format {name!r}: choose one of {', '.join(RAW_FORMATS)}")
    return cast(RawFormat, name)


def read_raw(
    stream: BinaryIO,
    raw_format: RawFormat,
    channels: Channels = 1,
    raw_channels: int = 1,
    source: str = "standard input",
) -> Recording:
    """Bare samples from a file or a pipe, given on as soon as they are there.

    ``f32le`` and ``s16le`` are little-endian and interleaved; ``text`` has one frame a line, its numbers parted by
    commas, semicolons or white space.
    """
    if raw_format == "text":
        return read_text(stream, channels, source)
    if raw_channels < 1:
        raise SignalError(f"{raw_channels} raw channels make no signal: give 1 or more (raw_channels=)")
    dtype = np.dtype({"f32le": "<f4", "s16le": "<i2"}[raw_format])
    available = tuple(str(number) for number in range(raw_channels))
    chosen = choose_channels(available, channels, source)

    def chunks() -> Iterator[Chunk]:
        frame_bytes = dtype.itemsize * raw_channels
        rest = b""
        read = stream.read1 if isinstance(stream, io.BufferedIOBase) else stream.read
        with stream:
            while block := read(CHUNK_FRAMES * frame_bytes):
                block = rest + block
                whole = len(block) - len(block) % frame_bytes
                rest = block[whole:]
                if whole:
                    frames = np.frombuffer(block[:whole], dtype).reshape(-1, raw_channels)
                    yield frames[:, chosen].astype(np.float32)
        if rest:
            raise SignalError(
                f"{source} ends {len(rest)} bytes into a frame of {frame_bytes}: "
                f"is it {raw_format} with {raw_channels} channel(s)?"
            )

    names = tuple(available[number] for number in chosen)
    unit = of_integers(dtype.name)
    return Recording(source, None, unit, names, available, None, chunks(), available_units=(unit,) * raw_channels)


def _standard_input(name: str, channels: Channels, options: ReadOptions, listening: Listening) -> Recording:
    kind = raw_format_named(options.raw_format or "f32le")
    if sys.stdin is None:
        raise SignalError("standard input is closed: give a file, or something to read from")
    return read_raw(sys.stdin.buffer, kind, channels, options.raw_channels)


def _is_a_pipe() -> bool:
    """Whether standard input is no file of the disk, whose signal is all there."""
    try:
        return not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):
        return True


KIND = LiveKind(
    says="- for standard input",
    is_named=lambda name: name == "-",
    open=_standard_input,
    ends_by_itself=True,
    files=lambda: [Path("/dev/stdin")],
    is_live=_is_a_pipe,
)
