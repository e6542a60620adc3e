"""Packets of a serial line: found by their sync bytes, believed by their checksum, counted by their counter.

``fields = ["counter:u8", "ii:i24"]`` names what follows the sync bytes, little-endian; ``counter`` is the counter,
every other field a channel. Where one packet ends the next must begin: after damage, or at the start, a packet is
believed only if another good one follows it, since sync bytes and a small checksum also come about by chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tcnstream.live.tables.table import Table
from tcnstream.signal.crc import crc

COUNTER = "counter"
_TYPES = {"u8": 1, "u16": 2, "u24": 3, "u32": 4, "i8": 1, "i16": 2, "i24": 3, "i32": 4, "f32": 4}
_ALIASES = {"int8": "i8", "int16": "i16", "int24": "i24", "int32": "i32", "float32": "f32"} | {
    "uint8": "u8", "uint16": "u16", "uint24": "u24", "uint32": "u32",
}  # fmt: skip


def _sum8(body: bytes) -> bytes:
    return bytes([sum(body) & 0xFF])


def _sum16(body: bytes) -> bytes:
    return (sum(body) & 0xFFFF).to_bytes(2, "little")


def _xor8(body: bytes) -> bytes:
    value = 0
    for byte in body:
        value ^= byte
    return bytes([value])


CHECKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, lambda body: b""),
    "sum8": (1, _sum8),
    "sum16": (2, _sum16),
    "xor8": (1, _xor8),
    "crc8": (1, lambda body: crc(body, 0x07, 8).to_bytes(1, "little")),
    "crc16-ccitt": (2, lambda body: crc(body, 0x1021, 16, 0xFFFF).to_bytes(2, "little")),
}
"""Name -> bytes, and what they must be for the bytes before them."""


@dataclass(frozen=True)
class PacketFormat:
    """``fields`` are (name, type) in order."""

    sync: bytes
    fields: tuple[tuple[str, str], ...]
    check: str

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.fields if name != COUNTER)

    @property
    def counter_modulus(self) -> int:
        """How far the counter counts before it begins anew; 0 where there is none."""
        return next((1 << 8 * _TYPES[type] for name, type in self.fields if name == COUNTER), 0)

    @property
    def body_bytes(self) -> int:
        return sum(_TYPES[type] for _, type in self.fields)

    @property
    def packet_bytes(self) -> int:
        return len(self.sync) + self.body_bytes + CHECKS[self.check][0]


def read_format(table: Table) -> PacketFormat | None:
    """``[stream.NAME.packet]``; notes what is wrong and then gives None."""
    text = table.text("sync", needed='give the bytes that begin a packet, such as "A5 5A"')
    try:
        sync = bytes.fromhex(text)
    except ValueError:
        table.complain("sync", f'= "{text}" is no list of bytes: write them such as "A5 5A"')
        sync = b""
    if "sync" in table and not sync:
        table.complain("sync", "= names no byte: without one the beginning of a packet cannot be found")
    fields: list[tuple[str, str]] = []
    for field in table.texts("fields"):
        match = re.fullmatch(r"\s*(\w+)\s*:\s*(\w+)\s*", field)
        type = _ALIASES.get(match[2], match[2]) if match else ""
        if match is None or type not in _TYPES:
            table.complain("fields", f'= "{field}" is no field: write NAME:TYPE with a type of {", ".join(_TYPES)}')
        elif match[1] == COUNTER and type[0] != "u":
            table.complain("fields", f'= "{field}": a counter has no sign: u8, u16, u24 or u32')
        elif match[1] in dict(fields):
            table.complain("fields", f'= "{match[1]}" is there twice: name every field once')
        else:
            fields.append((match[1], type))
    if not [name for name, _ in fields if name != COUNTER]:
        table.complain("fields", 'has no signal: name the fields of a packet, such as ["counter:u8", "ii:i24"]')
    check = table.one_of("check", CHECKS, "none")
    table.finish()
    return PacketFormat(sync, tuple(fields), check)


_NOISY_PACKETS = 2000
_LEARNT_PACKETS = 100
_FARTHER = 4.0
_FORGOTTEN = 0.999


class _Plausible:
    """Whether a packet may be believed that a small checksum lets through, while the line is known to be noisy.

    One byte of checksum passes one in 256 packets that are damaged twice, or one in 16 where single bits turn over. A
    value that jumps farther than any of late is then doubted, and lost, unless the next one agrees with it.
    """

    def __init__(self) -> None:
        self._last: list[float] | None = None
        self._doubted: list[float] | None = None
        self._farthest: list[float] = []
        self._learnt, self._noisy_for = 0, 0

    def noise(self) -> None:
        self._noisy_for = _NOISY_PACKETS

    def believes(self, values: list[float], lost: int) -> bool:
        last = self._last
        self._noisy_for = max(0, self._noisy_for - 1)
        if last is None:
            self._last, self._farthest = values, [0.0] * len(values)
            return True
        jumps = [abs(value - before) / (lost + 1) for value, before in zip(values, last, strict=True)]
        if self._noisy_for and self._learnt >= _LEARNT_PACKETS and self._is_far(jumps):
            agrees = self._doubted is not None and not self._is_far(
                [abs(value - before) for value, before in zip(values, self._doubted, strict=True)]
            )
            if not agrees:
                self._doubted = values
                return False
        elif not lost:
            self._farthest = [max(jump, far * _FORGOTTEN) for jump, far in zip(jumps, self._farthest, strict=True)]
            self._learnt += 1
        self._last, self._doubted = values, None
        return True

    def _is_far(self, jumps: list[float]) -> bool:
        return any(jump > _FARTHER * far for jump, far in zip(jumps, self._farthest, strict=True))


class PacketReader:
    """Bytes in, samples out, with what the counter says is missing in front of each.

    A checksum may cover the fields alone or the sync bytes too: the first packets tell which.
    """

    def __init__(self, format: PacketFormat) -> None:
        self._format = format
        self._pending = bytearray()
        self._in_step = False
        self._covers_sync: bool | None = None
        self._count: int | None = None
        self._plausible = _Plausible() if CHECKS[format.check][0] < 2 else None
        self.damaged_bytes = 0

    def begin_anew(self) -> None:
        """The line was interrupted; the counter goes on."""
        self._pending.clear()
        self._in_step = False

    def push(self, received: bytes) -> list[tuple[int, list[float]]]:
        """Each packet as (lost packets before it, modulo the counter; its values)."""
        self._pending += received
        found: list[tuple[int, list[float]]] = []
        size, pending = self._format.packet_bytes, self._pending
        at = 0
        while len(pending) - at >= size:
            if self._in_step and self._is_good(at):
                lost, count, values = self._values(at)
                at += size
                if self._plausible is None or self._plausible.believes(values, lost):
                    found.append((lost, values))
                    self._count = count
                continue
            self._in_step = False
            if self._plausible is not None:
                self._plausible.noise()
            start = pending.find(self._format.sync, at)
            if start < 0:
                keep = len(self._format.sync) - 1
                self.damaged_bytes += max(0, len(pending) - keep - at)
                at = max(at, len(pending) - keep)
                break
            self.damaged_bytes += start - at
            at = start
            if len(pending) - at < 2 * size:
                break
            if self._is_good(at) and self._is_good(at + size):
                self._in_step = True
            else:
                self.damaged_bytes += 1
                at += 1
        del pending[:at]
        return found

    def _is_good(self, at: int) -> bool:
        sync, (check_bytes, check) = self._format.sync, CHECKS[self._format.check]
        packet = bytes(self._pending[at : at + self._format.packet_bytes])
        if not packet.startswith(sync):
            return False
        body, said = packet[: len(packet) - check_bytes], packet[len(packet) - check_bytes :]
        if not check_bytes:
            return True
        for covers_sync in (False, True) if self._covers_sync is None else (self._covers_sync,):
            if said == check(body if covers_sync else body[len(sync) :]):
                if self._in_step:
                    self._covers_sync = covers_sync
                return True
        return False

    def _values(self, at: int) -> tuple[int, int | None, list[float]]:
        """Packets lost before it, its count, its channels."""
        lost, count, values = 0, None, []
        place = at + len(self._format.sync)
        for name, type in self._format.fields:
            raw = bytes(self._pending[place : place + _TYPES[type]])
            place += len(raw)
            if name == COUNTER:
                count = int.from_bytes(raw, "little")
                if self._count is not None:
                    lost = (count - self._count - 1) % self._format.counter_modulus
            elif type == "f32":
                values.append(float(np.frombuffer(raw, "<f4")[0]))
            else:
                values.append(float(int.from_bytes(raw, "little", signed=type[0] == "i")))
        return lost, count, values
