"""Where the sound of AIFF, AU and CAF files lies, and whether their sizes can be believed, as ``riff`` says it of WAV.

The formats are Apple's AIFF-C of 1991, NeXT's and Sun's AU, and Apple's Core Audio Format.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tcnstream.signal.sources.riff import Sound, find_riff, is_followed_by_a_chunk

_PLAIN = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"}
_OF_AIFF = {b"fl32": "FLOAT", b"FL32": "FLOAT", b"fl64": "DOUBLE", b"FL64": "DOUBLE", b"alaw": "ALAW", b"ulaw": "ULAW"}
_OF_AU = {1: "ULAW", 2: "PCM_S8", 3: "PCM_16", 4: "PCM_24", 5: "PCM_32", 6: "FLOAT", 7: "DOUBLE", 27: "ALAW"}
_BYTES = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ALAW": 1, "ULAW": 1}
_UNKNOWN = 0xFFFFFFFF


def find_sound(path: Path) -> Sound | None:
    """None for what is of none of these kinds, or has no sound that could be found."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(12)
        for begins, find in _KINDS.items():
            if head.startswith(begins):
                return find(file, size)
    return None


def _chunks(file: BinaryIO, at: int, size: int, length: str, even: bool) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length of the chunks of a file."""
    head = struct.calcsize(length)
    while at + head <= size:
        file.seek(at)
        name, said = struct.unpack(length, file.read(head))
        yield name, at + head, said
        at += head + said + (said % 2 if even else 0)


def _sound(
    file: BinaryIO,
    subtype: str,
    endian: str,
    channels: int,
    rate_hz: int,
    offset: int,
    said: int,
    size: int,
    length: str = "",
) -> Sound:
    """``length`` is how a chunk begins, of which more may follow; empty where nothing may."""
    end = offset + said
    is_believable = end >= size or (bool(length) and is_followed_by_a_chunk(file, length, end, size, said > 0))
    return Sound(
        rate_hz=rate_hz,
        channels=channels,
        subtype=subtype,
        frame_bytes=channels * _BYTES.get(subtype, 0),
        endian=endian,
        offset_bytes=offset,
        said_bytes=said,
        there_bytes=max(0, size - offset),
        is_open_ended=not is_believable,
    )


def _aiff(file: BinaryIO, size: int) -> Sound | None:
    form = b""
    for name, at, said in _chunks(file, 12, size, ">4sI", even=True):
        file.seek(at)
        if name == b"COMM":
            form = file.read(min(said, 22))
        elif name == b"SSND" and len(form) >= 18:
            channels, _, bits, exponent, mantissa = struct.unpack(">hIhHQ", form[:18])
            kind = form[18:22] or b"NONE"
            subtype = _PLAIN.get(bits, "") if kind in (b"NONE", b"twos", b"sowt") else _OF_AIFF.get(kind, "")
            rate_hz = round(mantissa * 2.0 ** (exponent - 16383 - 63)) if exponent < 16383 + 32 else 0
            offset = int.from_bytes(file.read(4), "big")
            endian = "LITTLE" if kind == b"sowt" else "BIG"
            said = max(0, said - 8 - offset)
            return _sound(file, subtype, endian, channels, rate_hz, at + 8 + offset, said + said % 2, size, ">4sI")
    return None


def _au(file: BinaryIO, size: int) -> Sound | None:
    file.seek(0)
    head = file.read(24)
    if len(head) < 24:
        return None
    offset, said, kind, rate_hz, channels = struct.unpack(">IIIII", head[4:])
    said = size - offset if said == _UNKNOWN else said
    return _sound(file, _OF_AU.get(kind, ""), "BIG", channels, rate_hz, offset, said, size)


def _caf(file: BinaryIO, size: int) -> Sound | None:
    form = b""
    for name, at, said in _chunks(file, 8, size, ">4sQ", even=False):
        file.seek(at)
        if name == b"desc":
            form = file.read(32)
        elif name == b"data" and len(form) == 32:
            rate_hz, kind, flags, _, _, channels, bits = struct.unpack(">d4sIIIII", form)
            plain = {32: "FLOAT", 64: "DOUBLE"}.get(bits, "") if flags & 1 else _PLAIN.get(bits, "")
            subtype = plain if kind == b"lpcm" else {b"alaw": "ALAW", b"ulaw": "ULAW"}.get(kind, "")
            said = size - at - 4 if said == (1 << 64) - 1 else max(0, said - 4)
            endian = "LITTLE" if flags & 2 else "BIG"
            return _sound(file, subtype, endian, channels, round(rate_hz), at + 4, said, size, ">4sQ")
    return None


_KINDS: dict[bytes, Callable[[BinaryIO, int], Sound | None]] = {
    **dict.fromkeys((b"RIFF", b"RIFX", b"RF64", b"BW64"), find_riff),
    b"FORM": _aiff,
    b".snd": _au,
    b"caff": _caf,
}
