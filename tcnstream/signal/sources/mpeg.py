"""How many frames an MP3 file has, which a header says at best: its MPEG frames are counted one by one.

libsndfile (mpg123) takes a file without a count for one of constant bit rate, and reads no more than that would hold.
The layout is that of ISO 11172-3 and 13818-3; the count in the first frame is Xing's.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_LAYER_3 = 1
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_COUNTS = (b"Xing", b"Info")
_TAGS = (b"TAG", b"ID3", b"APE", b"LYR")
_MOST_JUNK_BYTES = 1 << 16
_DECODER_DELAY = 529
_BIT_RATE_OF_A_COUNT = 9


@dataclass(frozen=True)
class Mpeg:
    """``count`` whole MPEG frames from ``begin_bytes`` to ``end_bytes``, and one more that is cut where ``is_cut``.

    ``head`` is the header of the first one; ``says_count`` where the file has a frame for that.
    """

    begin_bytes: int
    end_bytes: int
    count: int
    is_cut: bool
    says_count: bool
    head: bytes

    def counted(self) -> bytes:
        """What says the count, to be put in front: a frame for that, and a silent one.

        Since the count is said, mpg123 drops the delay of a decoder from the beginning: it drops of the silence, of
        which ``silent_frames`` are left.
        """
        head = bytearray(self.head)
        head[1] |= 1  # no checksum
        head[2] = head[2] & 0x0D | _BIT_RATE_OF_A_COUNT << 4
        size = _frame_bytes(head)
        silence = bytes(head) + bytes(_side_bytes(head))
        return (silence + struct.pack(">4sII", b"Xing", 1, self.count + 1)).ljust(size, b"\0") + silence.ljust(
            size, b"\0"
        )

    @property
    def silent_frames(self) -> int:
        return (1152 if self.head[1] >> 3 & 3 == 3 else 576) - _DECODER_DELAY


def find_mpeg(path: Path) -> Mpeg | None:
    """None for what is no MP3 file."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        begin = _first_frame(file)
        if begin is None:
            return None
        file.seek(begin)
        head = file.read(4)
        first = head + file.read(_frame_bytes(head) - 4)
        says_count = any(first.startswith(word, 4 + _side_bytes(head) + crc) for word in _COUNTS for crc in (0, 2))
        says_count = says_count or first.startswith(b"VBRI", 36)
        at, end, count = begin, begin, 0
        while at < size:
            file.seek(at)
            here = file.read(4)
            if not _is_alike(here, head):
                behind = None if here[:3] in _TAGS or not any(here) else _frame_near(file, at)
                if behind is None:
                    return Mpeg(begin, end, count - says_count, size - at < 4, says_count, head)
                at = behind
                continue
            at += _frame_bytes(here)
            if at <= size:
                end, count = at, count + 1
    return Mpeg(begin, end, count - says_count, at > size, says_count, head)


def _first_frame(file: BinaryIO) -> int | None:
    at = 0
    while True:  # tags of ID3, version 2
        file.seek(at)
        tag = file.read(10)
        if tag[:3] != b"ID3" or len(tag) < 10:
            break
        length = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        at += 10 + length + 10 * bool(tag[5] & 0x10)
    return _frame_near(file, at)


def _frame_near(file: BinaryIO, at: int) -> int | None:
    """Where the next frame begins that another one follows."""
    file.seek(at)
    junk = file.read(_MOST_JUNK_BYTES)
    for k in range(len(junk) - 3):
        head = junk[k : k + 4]
        if head[0] == 0xFF and _frame_bytes(head):
            file.seek(at + k + _frame_bytes(head))
            if _is_alike(file.read(4), head):
                return at + k
    return None


def _is_alike(head: bytes, first: bytes) -> bool:
    """Whether it is the header of a frame of the same version, layer and rate."""
    same = (
        len(head) == 4 and head[0] == 0xFF and head[1] & 0xFE == first[1] & 0xFE and head[2] & 0x0C == first[2] & 0x0C
    )
    return same and _frame_bytes(head) > 0


def _frame_bytes(head: bytes | bytearray) -> int:
    """The length of a frame of layer III by its header; 0 where it is none, or has no bit rate of its own."""
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    if head[1] & 0xE0 != 0xE0 or version == 1 or layer != _LAYER_3 or rate == 3 or bit_rate in (0, 15):
        return 0
    kbits = (_KBITS_1 if version == 3 else _KBITS_2)[bit_rate]
    return (144 if version == 3 else 72) * kbits * 1000 // _RATES_HZ[version][rate] + (head[2] >> 1 & 1)


def _side_bytes(head: bytes | bytearray) -> int:
    is_mono, is_first_version = head[3] >> 6 == 3, head[1] >> 3 & 3 == 3
    return {(True, True): 17, (True, False): 9, (False, True): 32, (False, False): 17}[is_mono, is_first_version]
