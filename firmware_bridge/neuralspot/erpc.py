"""eRPC as stock Ambiq firmware speaks it: frames and messages as functions of bytes, without any port.

Two framings, both little-endian, CRC-16 with polynomial 0x1021 and start 0xEF4A::

    1.9.1   u16 length | u16 crc(body) | body                       neuralSPOT; eRPC up to 1.11
    1.12    u16 header crc | u16 length | u16 crc(body) | body      header crc = crc(length) + crc(crc(body))

A body is ``u32 version 1, service, request, type | u32 sequence | parameters``. In the older framing the length is
covered by no checksum, so ``Decoder`` believes nothing that does not look like a message: it finds the next good
frame behind any bytes whatever, and says in words what the bytes before it were.

Source: EmbeddedRPC/erpc, `erpc_framed_transport.cpp` and `erpc_basic_codec.cpp`, releases 1.9.1 and 1.12.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from enum import Enum, IntEnum

from firmware_bridge.errors import BridgeError

MESSAGE_BUFFER_BYTES = 4096
"""What a neuralSPOT board can hold of one body; its two message buffers are this long."""

_CRC_START = 0xEF4A
_CODEC_VERSION = 1
_LEAST_BODY_BYTES = 8
_WORD_BYTES = 4
_MOST_JUNK_BYTES = 2 * MESSAGE_BUFFER_BYTES
_SHOWN_BYTES = 60


class ErpcError(BridgeError):
    """Bytes that are no eRPC message, or a message that cannot be sent; the text says what is wrong with them."""


class Framing(Enum):
    """How a body is put on the line."""

    V1_9 = "1.9.1"
    V1_12 = "1.12"

    @property
    def header_bytes(self) -> int:
        return 4 if self is Framing.V1_9 else 6


class MessageType(IntEnum):
    INVOCATION = 0
    ONEWAY = 1
    REPLY = 2
    NOTIFICATION = 3


@dataclass(frozen=True)
class Message:
    """A decoded body; ``request`` is the method's number within ``service``."""

    type: MessageType
    service: int
    request: int
    sequence: int
    parameters: bytes

    def encode(self) -> bytes:
        """The body. Raises ErpcError if a board's message buffer could not hold it."""
        word = _CODEC_VERSION << 24 | self.service << 16 | self.request << 8 | self.type
        body = struct.pack("<II", word, self.sequence) + self.parameters
        if len(body) > MESSAGE_BUFFER_BYTES:
            raise ErpcError(
                f"a message of {len(body)} bytes does not fit the board's buffer of {MESSAGE_BUFFER_BYTES};"
                " send it in smaller chunks"
            )
        return body


def crc16(data: bytes) -> int:
    """CRC-16 of eRPC: polynomial 0x1021, start 0xEF4A, not reflected, no final xor; b"123456789" gives 0x89AC."""
    return binascii.crc_hqx(data, _CRC_START)


def frame(body: bytes, framing: Framing) -> bytes:
    """The bytes on the line for a body of at most 65535 bytes."""
    length, crc = struct.pack("<H", len(body)), struct.pack("<H", crc16(body))
    header = length + crc
    if framing is Framing.V1_12:
        header = struct.pack("<H", _header_crc(length, crc)) + header
    return header + body


def decode_message(body: bytes) -> Message:
    """The message in a body. Raises ErpcError if it is none."""
    if len(body) < _LEAST_BODY_BYTES:
        raise ErpcError(f"a body of {len(body)} bytes is too short for an eRPC message, which has at least 8")
    word, sequence = struct.unpack_from("<II", body)
    if word >> 24 != _CODEC_VERSION:
        raise ErpcError(f"the message has codec version {word >> 24} where eRPC has {_CODEC_VERSION}")
    if word & 0xFF > MessageType.NOTIFICATION:
        raise ErpcError(f"the message has type {word & 0xFF}, which eRPC does not know")
    return Message(MessageType(word & 0xFF), word >> 16 & 0xFF, word >> 8 & 0xFF, sequence, bytes(body[8:]))


class Fault(Enum):
    """What bytes that are no good frame turned out to be."""

    TEXT = "text"
    LENGTH = "length"
    CRC = "crc"
    CUT = "cut"
    FRAMING = "framing"
    NOISE = "noise"


@dataclass(frozen=True)
class Frame:
    """A body whose checksum fits, and the framing that it came in."""

    body: bytes
    framing: Framing


@dataclass(frozen=True)
class Damage:
    """Bytes that belong to no good frame: what they are, in a word and in a sentence."""

    fault: Fault
    raw: bytes
    words: str


class Decoder:
    """Bytes in, good frames and diagnosed damage out; holds a few kilobytes and never waits.

    ``framing=None`` takes both. Call ``silence`` when nothing came for longer than a frame can pause: what is
    held then will never be completed. How the bytes are cut into ``feed`` changes nothing.
    """

    def __init__(self, framing: Framing | None, most_body_bytes: int = MESSAGE_BUFFER_BYTES) -> None:
        self._framings = (Framing.V1_12, Framing.V1_9) if framing is None else (framing,)
        self._most = most_body_bytes
        self._held = bytearray()
        self._junk = bytearray()
        self._suspect: _Suspect | None = None

    @property
    def pending(self) -> bool:
        """Whether bytes are held that are no frame yet, or none at all."""
        return bool(self._held or self._junk)

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """What ``data`` completes, in the order of the line."""
        self._held += data
        return self._scan(ended=False)

    def silence(self) -> list[Frame | Damage]:
        """The line has been silent: give up waiting, keep what is whole, diagnose and forget the rest."""
        return self._scan(ended=True) + self._take_junk()

    def _scan(self, ended: bool) -> list[Frame | Damage]:
        found: list[Frame | Damage] = []
        while self._held:
            look = self._look(ended)
            if look is _Look.WAIT:
                break
            if isinstance(look, Frame):
                del self._held[: look.framing.header_bytes + len(look.body)]
                found += self._take_junk(look)
                found.append(look)
                continue
            self._junk += self._held[:1]
            del self._held[:1]
            if len(self._junk) >= _MOST_JUNK_BYTES:
                found += self._take_junk()
        return found

    def _look(self, ended: bool) -> Frame | _Look:
        """What stands at the front of the held bytes."""
        for framing in self._framings:
            look = self._look_for(framing)
            if look is _Look.WAIT and ended:
                if len(self._held) >= framing.header_bytes + _WORD_BYTES:
                    self._note(Fault.CUT, framing)
                continue
            if look is not _Look.NO:
                return look
        return _Look.NO

    def _look_for(self, framing: Framing) -> Frame | _Look:
        head, held = framing.header_bytes, self._held
        if framing is Framing.V1_12 and len(held) >= head and not _header_fits(held):
            return _Look.NO
        if len(held) > head and held[head] > MessageType.NOTIFICATION:
            return _Look.NO
        if len(held) < head + _WORD_BYTES:
            return _Look.WAIT
        if held[head + 3] != _CODEC_VERSION:
            return _Look.NO
        length, crc = struct.unpack_from("<HH", held, head - 4)
        if not _LEAST_BODY_BYTES <= length <= self._most:
            self._note(Fault.LENGTH, framing)
            return _Look.NO
        if len(held) < head + length:
            return _Look.WAIT
        body = bytes(held[head : head + length])
        if crc16(body) != crc:
            self._note(Fault.CRC, framing, crc16(body))
            return _Look.NO
        return Frame(body, framing)

    def _note(self, fault: Fault, framing: Framing, computed: int = 0) -> None:
        """Keep the first reason for which something that looked like a frame was given up."""
        if self._suspect is None:
            head = framing.header_bytes
            length, crc = struct.unpack_from("<HH", self._held, head - 4)
            self._suspect = _Suspect(fault, len(self._junk) + head, length, crc, computed)

    def _take_junk(self, next_frame: Frame | None = None) -> list[Frame | Damage]:
        raw, suspect = bytes(self._junk), self._suspect
        self._junk.clear()
        self._suspect = None
        if not raw:
            return []
        if next_frame is not None and _lacks_header_crc(next_frame, raw):
            words = "the frame has the six-byte header of eRPC 1.12; this end was told to speak 1.9.1"
            return [Damage(Fault.FRAMING, raw, words)]
        if suspect is not None:
            fault, words = suspect.diagnose(raw, self._most)
            return [Damage(fault, raw, f"{words} ({_shown(raw)})")]
        if self._framings == (Framing.V1_12,) and (found := _beneath(raw)) is not None:
            return [Damage(found[0], raw, found[1])]
        if _is_text(raw):
            words = f"text on the port, not a frame: {_shown(raw)}; something prints to it (printf in the firmware?)"
            return [Damage(Fault.TEXT, raw, words)]
        return [Damage(Fault.NOISE, raw, f"{len(raw)} bytes that belong to no frame: {_shown(raw)}")]


def _lacks_header_crc(found: Frame, before: bytes) -> bool:
    """Whether the two bytes before a frame with a four-byte header are what makes it one with six."""
    whole = frame(found.body, Framing.V1_12)
    return found.framing is Framing.V1_9 and len(before) >= 2 and whole.startswith(before[-2:])


@dataclass(frozen=True)
class _Suspect:
    """Something that began like a frame: why it was given up, where in the junk its body begins, its header."""

    fault: Fault
    body_at: int
    length: int
    crc: int
    computed: int

    def diagnose(self, raw: bytes, most: int) -> tuple[Fault, str]:
        if self.fault is Fault.CRC:
            return self.fault, (
                f"a frame of {self.length} bytes has checksum 0x{self.computed:04X} where its header says"
                f" 0x{self.crc:04X}: it was damaged on the line"
            )
        # The checksum covers the body alone: if it fits all that came, only the length can be wrong.
        body = raw[self.body_at :]
        fits = len(body) >= _LEAST_BODY_BYTES and crc16(body) == self.crc
        if self.fault is Fault.CUT and not fits:
            return self.fault, (
                f"a frame of {self.length} bytes ended after {len(body)}: the line was cut or bytes were lost"
            )
        limit = f", more than the {most} that a board's buffer holds" if self.length > most else ""
        proof = f"; its checksum fits {len(body)} bytes, so the length was damaged on the line" if fits else ""
        return Fault.LENGTH, f"a frame's length field says {self.length}{limit}{proof}"


class _Look(Enum):
    NO = 0
    WAIT = 1


def _header_crc(length: bytes, crc: bytes) -> int:
    return (crc16(length) + crc16(crc)) & 0xFFFF


def _header_fits(held: bytearray) -> bool:
    (stated,) = struct.unpack_from("<H", held)
    return bool(stated == _header_crc(bytes(held[2:4]), bytes(held[4:6])))


def _beneath(raw: bytes) -> tuple[Fault, str] | None:
    """What bytes without one good six-byte header are if their last four bytes are taken for the header."""
    inner = Decoder(Framing.V1_9)
    events = inner.feed(raw) + inner.silence()
    if events and isinstance(events[0], Frame):
        return Fault.FRAMING, "a frame has the four-byte header of eRPC 1.9.1; this end was told to speak 1.12"
    if any(isinstance(event, Frame) for event in events):
        return Fault.CRC, f"a frame's header checksum does not fit: it was damaged on the line ({_shown(raw)})"
    damage = (event for event in events if isinstance(event, Damage) and event.fault in (Fault.LENGTH, Fault.CRC))
    return next(((event.fault, event.words) for event in damage), None)


def _is_text(raw: bytes) -> bool:
    printable = sum(byte in b"\t\r\n\x1b" or 32 <= byte < 127 for byte in raw)
    return printable >= 0.9 * len(raw)


def _shown(raw: bytes) -> str:
    """Enough of the bytes to recognise them: text as text, anything else in hex."""
    more = "..." if len(raw) > _SHOWN_BYTES else ""
    if _is_text(raw):
        return repr(raw[:_SHOWN_BYTES].decode("ascii", "backslashreplace")) + more
    return raw[: _SHOWN_BYTES // 3].hex(" ") + ("..." if len(raw) > _SHOWN_BYTES // 3 else "")
