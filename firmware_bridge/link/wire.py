"""Bytes <-> frames, without I/O: COBS between zero bytes, a CRC-32 over everything.

A frame before COBS, little-endian::

    u16 length of the payload | u8 kind | u8 status | u16 session | u16 sequence | u16 credit | payload | u32 crc

The CRC-32 (that of zlib) covers all bytes in front of it, the length among them. On the line a frame is a
zero, its COBS form, which holds no zero, and a zero: whatever was lost, the next frame is found at the next zero.
``firmware/wire.c`` is the same in C; ``tests/data/bridge_frames.json`` holds both to the same bytes.
COBS: Cheshire and Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking, 1999.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from firmware_bridge.link.messages import FrameHead

_HEAD_BYTES = FrameHead.size_bytes()
_CRC = struct.Struct("<I")

_LONGEST_BYTES = _HEAD_BYTES + 65535 + _CRC.size


@dataclass(frozen=True)
class Frame:
    """What one end says to the other. ``credit``: encoded bytes of requests that may be in flight (replies only)."""

    kind: int
    status: int = 0
    session: int = 0
    sequence: int = 0
    credit: int = 0
    payload: bytes = b""


@dataclass(frozen=True)
class Damaged:
    """Bytes between two zeros that are no frame, as they came: noise, a torn frame, or text on the port."""

    raw: bytes
    reason: str


def encoded_bytes(payload_bytes: int) -> int:
    """The most bytes that a frame with such a payload takes on the line."""
    raw = _HEAD_BYTES + payload_bytes + _CRC.size
    return raw + raw // 254 + 3


def encode(frame: Frame) -> bytes:
    """The bytes on the line, with the zeros at both ends. Raises ValueError for a payload above 65535 bytes."""
    if len(frame.payload) > 65535:
        raise ValueError(f"a payload of {len(frame.payload)} bytes does not fit a frame")
    head = FrameHead(
        payload_bytes=len(frame.payload),
        kind=frame.kind,
        status=frame.status,
        session=frame.session,
        sequence=frame.sequence & 0xFFFF,
        credit=min(frame.credit, 65535),
    )
    raw = head.pack() + frame.payload
    return b"\0" + cobs_encode(raw + _CRC.pack(zlib.crc32(raw))) + b"\0"


def cobs_encode(raw: bytes) -> bytes:
    """``raw`` without zeros: each block of up to 254 bytes that are none is led by its length plus one."""
    made = bytearray()
    pieces = raw.split(b"\0")
    for k, piece in enumerate(pieces):
        begin = 0
        while len(piece) - begin > 254 or (len(piece) - begin == 254 and k == len(pieces) - 1):
            made.append(255)
            made += piece[begin : begin + 254]
            begin += 254
            if begin == len(piece) and k == len(pieces) - 1:
                return bytes(made)
        if len(piece) - begin == 254:
            made.append(255)
            made += piece[begin:]
            begin = len(piece)
        made.append(len(piece) - begin + 1)
        made += piece[begin:]
    return bytes(made)


def cobs_decode(coded: bytes) -> bytes:
    """The inverse; raises ValueError where a block is cut short. ``coded`` holds no zero."""
    made = bytearray()
    at, n = 0, len(coded)
    while at < n:
        code = coded[at]
        end = at + code
        if end > n:
            raise ValueError("the last block is cut short")
        made += coded[at + 1 : end]
        at = end
        if code != 255 and at < n:
            made.append(0)
    return bytes(made)


class Decoder:
    """Bytes in any pieces -> frames and what was damaged. Never raises; keeps at most one frame's bytes."""

    def __init__(self) -> None:
        self._open = bytearray()
        self._overlong = False

    @property
    def unfinished(self) -> bytes:
        """What came since the last zero."""
        return bytes(self._open)

    def feed(self, received: bytes) -> Iterator[Frame | Damaged]:
        pieces = received.split(b"\0")
        for piece in pieces[:-1]:
            self._take(piece)
            if self._open:
                yield self._finish()
            self._overlong = False
            self._open.clear()
        self._take(pieces[-1])

    def _take(self, piece: bytes) -> None:
        room = _LONGEST_BYTES + _LONGEST_BYTES // 254 + 2 - len(self._open)
        self._overlong |= len(piece) > room
        self._open += piece[:room]

    def _finish(self) -> Frame | Damaged:
        coded = bytes(self._open)
        if self._overlong:
            return Damaged(coded, "longer than any frame")
        try:
            raw = cobs_decode(coded)
        except ValueError as error:
            return Damaged(coded, str(error))
        if len(raw) < _HEAD_BYTES + _CRC.size:
            return Damaged(coded, f"{len(raw)} bytes, fewer than the shortest frame")
        head, payload = FrameHead.unpack(raw[:_HEAD_BYTES]), raw[_HEAD_BYTES : -_CRC.size]
        if head.payload_bytes != len(payload):
            return Damaged(coded, f"the length says {head.payload_bytes}, there are {len(payload)} bytes")
        (crc,) = _CRC.unpack_from(raw, len(raw) - _CRC.size)
        if crc != zlib.crc32(raw[: -_CRC.size]):
            return Damaged(coded, f"CRC {crc:08x} where {zlib.crc32(raw[: -_CRC.size]):08x} follows from the bytes")
        return Frame(head.kind, head.status, head.session, head.sequence, head.credit, payload)
