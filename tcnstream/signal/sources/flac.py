"""How many frames a FLAC file really has, by its last blocks: its header may say none, or what was meant to come.

The layout and both checksums are those of RFC 9639, where a block is called a frame.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tcnstream.signal.crc import crc

_MARK = b"fLaC"
_TAGS = (b"TAG", b"ID3", b"APETAGEX")
_INFO_AT = 8
_TOTAL_AT, _TOTAL_BITS = 18, 36
_BLOCK_FRAMES = {1: 192, **{n: 576 << n - 2 for n in range(2, 6)}, **{n: 256 << n - 8 for n in range(8, 16)}}
_MORE_OF_SIZE, _MORE_OF_RATE = {6: 1, 7: 2}, {12: 1, 13: 2, 14: 2}
_LONGEST_HEAD_BYTES = 16
_OF_HEADS, _OF_BLOCKS = 0x07, 0x8005
_LEAST_TAIL_BYTES = 1 << 17
_BLOCKS_OF_A_TAIL, _MOST_BLOCKS = 4, 64


@dataclass(frozen=True)
class Flac:
    """``said_frames`` by the header (0: unknown), ``there_frames`` in whole blocks, which end at ``end_bytes``.

    Behind those stands a tag where ``is_tagged``, and where ``is_cut`` a part of one more. ``head`` begins the file and
    says what is there.
    """

    said_frames: int
    there_frames: int
    end_bytes: int
    is_tagged: bool
    is_cut: bool
    head: bytes


def find_flac(path: Path) -> Flac | None:
    """None for what is no FLAC file, and where no block is found in its last bytes."""
    with path.open("rb") as file:
        head = file.read(_TOTAL_AT + 8)
        if not head.startswith(_MARK) or len(head) < _TOTAL_AT + 8:
            return None
        most_frames = int.from_bytes(head[_INFO_AT + 2 : _INFO_AT + 4], "big")
        most_bytes = int.from_bytes(head[_INFO_AT + 7 : _INFO_AT + 10], "big") or 8 * most_frames
        size = file.seek(0, io.SEEK_END)
        begin = max(len(head), size - max(_LEAST_TAIL_BYTES, _BLOCKS_OF_A_TAIL * most_bytes))
        file.seek(begin)
        tail = file.read()
    ends = _ends(tail, most_frames)
    if ends is None:
        return None
    there_frames, at = ends
    total = int.from_bytes(head[_TOTAL_AT:], "big")
    said_frames = total & (1 << _TOTAL_BITS) - 1
    corrected = head[:_TOTAL_AT] + (total - said_frames + there_frames).to_bytes(8, "big")
    is_tagged = tail.startswith(_TAGS, at)
    return Flac(said_frames, there_frames, begin + at, is_tagged, at < len(tail) and not is_tagged, corrected)


def _ends(tail: bytes, most_frames: int) -> tuple[int, int] | None:
    """Frames up to the end of the last whole block, and where that is."""
    later: list[tuple[int, int]] = []
    for at, first, frames in islice(_blocks_from_the_end(tail, most_frames), _MOST_BLOCKS):
        ends = (end for end, number in later if number == first + frames)
        # What looks like a head within a block is none: the checksum up to it does not hold.
        for end in (len(tail), *ends, *_tags_behind(tail, at)):
            if crc(tail[at:end], _OF_BLOCKS, 16) == 0:
                return first + frames, end
        later.append((at, first))
    return None


def _tags_behind(tail: bytes, at: int) -> Iterator[int]:
    for tag in _TAGS:
        if (found := tail.find(tag, at)) > 0:
            yield found


def _blocks_from_the_end(tail: bytes, most_frames: int) -> Iterator[tuple[int, int, int]]:
    """Place, first frame and number of frames of all that looks like a block, the last one first."""
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if tail[at + 1 : at + 2] in (b"\xf8", b"\xf9") and (found := _head(tail[at:][:_LONGEST_HEAD_BYTES])):
            number, frames, is_counted = found
            yield at, number if is_counted else number * most_frames, frames


def _head(start: bytes) -> tuple[int, int, bool] | None:
    """The number of a block, its frames, and whether frames are numbered and no blocks; None for what is no head."""
    head = iter(start)
    try:
        _, mark, codes, _ = (next(head) for _ in range(4))
        number, size = _coded(head), codes >> 4
        frames = _BLOCK_FRAMES.get(size) or 1 + _number(head, _MORE_OF_SIZE[size])
        _number(head, _MORE_OF_RATE.get(codes & 15, 0))
        next(head)
    except (StopIteration, KeyError):
        return None
    length = len(start) - len(bytes(head))
    return None if number is None or crc(start[:length], _OF_HEADS, 8) else (number, frames, bool(mark & 1))


def _coded(head: Iterator[int]) -> int | None:
    """A number as UTF-8 codes characters, with up to six bytes more."""
    first = next(head)
    if first < 0x80:
        return first
    low_bits = (first ^ 0xFF).bit_length() - 1
    more = 6 - low_bits
    if not 1 <= more <= 6:
        return None
    number = first & (1 << low_bits) - 1
    for _ in range(more):
        number = number << 6 | next(head) & 63
    return number


def _number(head: Iterator[int], count: int) -> int:
    return int.from_bytes([next(head) for _ in range(count)], "big")
