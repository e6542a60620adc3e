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
_OF_RF64 = 0xFFFFFFFF
_MOST_OF_RF64 = 1 << 62
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
    promise but a stand-in. ``size_at`` is where a WAV file says its size, of blocks of ``block_bytes``.
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
    block_bytes: int = 0
    size_at: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether less is there than the header promises."""
        return not self.is_open_ended and self.said_bytes > self.there_bytes


def find_riff(file: BinaryIO, size: int) -> Sound | None:
    """None for what is no WAV file of ``size`` bytes, or has no sound that could be found."""
    file.seek(0)
    head = file.read(12)
    if head[8:12] != b"WAVE":
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
            is_long = length == _OF_RF64 and bool(long_bytes)
            return _sound(file, order, form, at + 8, long_bytes if is_long else length, size, is_long)
        at += 8 + length + length % 2
    return None


def _sound(file: BinaryIO, order: str, form: bytes, offset: int, said: int, size: int, is_long: bool) -> Sound:
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
        is_open_ended=not _is_believable(file, order, offset, said, size, is_long),
        block_bytes=frame_bytes,
        size_at=offset - 4,
    )


def _is_believable(file: BinaryIO, order: str, offset: int, said: int, size: int, is_long: bool) -> bool:
    """Whether the sound ends where the file does, or where another chunk follows, or was to be longer than it is."""
    end = offset + said + said % 2
    if end >= size:
        return said < (_MOST_OF_RF64 if is_long else UNKNOWN_FROM) or offset + said == size
    return is_followed_by_a_chunk(file, f"{order}4sI", end, size, or_zeros=said > 0)


def is_followed_by_a_chunk(file: BinaryIO, length: str, end: int, size: int, or_zeros: bool) -> bool:
    """Whether another chunk, which begins as ``length`` says, follows at ``end``, or a few zeros that fill the file."""
    file.seek(end)
    head = struct.calcsize(length)
    rest = file.read(head)
    if len(rest) == head:
        name, said = struct.unpack(length, rest)
        if all(32 <= letter < 127 for letter in name) and end + head + said <= size + 1:
            return True
    left = size - end
    return or_zeros and left <= _MOST_PADDING and not any(rest + file.read(left))


class View(io.RawIOBase):
    """A file as if it were ``front`` and then what lies in it between two places."""

    def __init__(self, path: Path, front: bytes, begin: int, end: int | None = None) -> None:
        self._file, self._front, self._begin = path.open("rb"), front, begin
        end = self._file.seek(0, io.SEEK_END) if end is None else end
        self._size = len(front) + max(0, end - begin)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        behind = self._at - len(self._front)
        if behind < 0:
            part = self._front[self._at : self._at + len(buffer)]
        else:
            self._file.seek(self._begin + behind)
            part = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()
        super().close()
