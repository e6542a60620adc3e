"""Where the sound of a WAV file lies, and whether its sizes can be believed.

The format is that of Microsoft's RIFF and WAVE_FORMAT_EXTENSIBLE, and of EBU Tech 3306 (RF64) for more than 4 GiB.
Recorders that die leave sizes of 0, programs that write to a pipe the largest size, and those that know no RF64 the
rest of a division by 4 GiB.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

UNKNOWN_FROM = 0x7FFF0000
"""A size of so much is that of a pipe, which knew none."""

_MOST_PADDING = 1 << 16
_PLAIN, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SUBTYPES = {
    (_PLAIN, 8): "PCM_U8",
    (_PLAIN, 16): "PCM_16",
    (_PLAIN, 24): "PCM_24",
    (_PLAIN, 32): "PCM_32",
    (_FLOAT, 32): "FLOAT",
    (_FLOAT, 64): "DOUBLE",
    (_ALAW, 8): "ALAW",
    (_ULAW, 8): "ULAW",
}


@dataclass(frozen=True)
class Sound:
    """Samples of ``subtype`` (libsndfile's word, empty for what is compressed) from ``offset_bytes`` of a file on.

    ``said_bytes`` is the header's size, ``there_bytes`` what there is; ``is_open_ended`` where the header's size is no
    promise but a stand-in.
    """

    rate_hz: int
    channels: int
    subtype: str
    frame_bytes: int
    endian: str
    offset_bytes: int
    said_bytes: int
    there_bytes: int
    is_open_ended: bool


def find_sound(path: Path) -> Sound | None:
    """None for what is no WAV file, or has no sound that could be found."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or head[8:12] != b"WAVE":
            return None
        order = ">" if head[:4] == b"RIFX" else "<"
        form, long_bytes, at = b"", 0, 12
        while at + 8 <= size:
            file.seek(at)
            name, length = struct.unpack(f"{order}4sI", file.read(8))
            if name == b"ds64":
                long_bytes = int.from_bytes(file.read(28)[8:16], "little")
            elif name == b"fmt ":
                form = file.read(min(length, 40))
            elif name == b"data" and len(form) >= 16:
                said = long_bytes if length == 0xFFFFFFFF and long_bytes else length
                return _sound(file, order, form, at + 8, said, size)
            at += 8 + length + length % 2
    return None


def _sound(file: BinaryIO, order: str, form: bytes, offset: int, said: int, size: int) -> Sound:
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack(f"{order}HHIIHH", form[:16])
    if tag == _EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack(f"{order}H", form[24:26])  # the first two bytes of the GUID of the sub-format
    return Sound(
        rate_hz=rate_hz,
        channels=channels,
        subtype=_SUBTYPES.get((tag, bits), ""),
        frame_bytes=frame_bytes,
        endian="BIG" if order == ">" else "LITTLE",
        offset_bytes=offset,
        said_bytes=said,
        there_bytes=max(0, size - offset),
        is_open_ended=not _is_believable(file, order, offset, said, size),
    )


def _is_believable(file: BinaryIO, order: str, offset: int, said: int, size: int) -> bool:
    """Whether the sound ends where the file does, or where another chunk follows, or was to be longer than it is."""
    end = offset + said + said % 2
    if end >= size:
        return said < UNKNOWN_FROM or offset + said == size
    file.seek(end)
    name, length = (*struct.unpack(f"{order}4sI", rest), 0)[:2] if len(rest := file.read(8)) == 8 else (rest, 0)
    if len(name) == 4 and all(32 <= letter < 127 for letter in name) and end + 8 + length <= size + 1:
        return True
    left = size - end
    return said > 0 and left <= _MOST_PADDING and not any(rest + file.read(left))


class Tail(io.RawIOBase):
    """A file from a place in it on, as if it began there."""

    def __init__(self, path: Path, offset_bytes: int) -> None:
        self._file, self._offset = path.open("rb"), offset_bytes
        self._file.seek(offset_bytes)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset + (self._offset if whence == io.SEEK_SET else 0), whence) - self._offset

    def tell(self) -> int:
        return self._file.tell() - self._offset

    def close(self) -> None:
        self._file.close()
        super().close()
