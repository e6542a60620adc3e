"""A stream's snapshot as bytes, the same for every engine, host and byte order.

Version 2, all of it little-endian and without gaps:

    8 bytes   ``TCNSNAP`` and the version, one byte
    8         input frames since the start, int64
    4         1 if the signal is over, else 0
    4         bytes of the identity
    ...       the identity of the model and its policy, UTF-8
    ...       for every tensor of the plan that has frames, in order: the newest of them, oldest first, as many as will
              be read again (``kept_frames``), in the tensor's own type
    ...       for every node that carries something over and has made a frame, in order: what it carries; sums are
              int64, of float32 float64, all else has the type of the node's input
    4         CRC-32 of all that

What is inside follows from the plan and the first two numbers, so that there is nothing to describe and nothing to
unpack: other bytes have another length.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakKeyDictionary

from tcnstream.compiler.plan import Plan
from tcnstream.compiler.timing import counts, oldest_needed, settled_frames
from tcnstream.errors import StreamError

VERSION = 2
_MAGIC = b"TCNSNAP"
_HEAD = struct.Struct("<7sBqII")
_CRC = struct.Struct("<I")
_PHASES_KEPT = 256
_ARCHIVE_AT = 32
"""Version 1 was a .zip archive behind a digest."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A snapshot whose bytes are sound; what they say is still to be compared with the plan."""

    pushed_frames: int
    ended: bool
    body: memoryview


Crc32: TypeAlias = Callable[[bytes | memoryview, int], int]


def seal(
    identity: str,
    pushed_frames: int,
    ended: bool,
    parts: Iterable[bytes | memoryview],
    crc32: Crc32 = zlib.crc32,
) -> bytes:
    """A snapshot of ``parts``: frames of the tensors, then what nodes carry over."""
    name = identity.encode()
    content = (_HEAD.pack(_MAGIC, VERSION, pushed_frames, ended, len(name)), name, *parts)
    crc = 0
    for part in content:
        crc = crc32(part, crc)
    return b"".join((*content, _CRC.pack(crc)))


def unseal(blob: bytes, identity: str, crc32: Crc32 = zlib.crc32) -> Opened:
    """The inverse of ``seal``; StreamError for what is damaged, of another version, or of another model."""
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise StreamError(f"a snapshot is bytes and this is {type(blob).__name__}; pass what snapshot() returned")
    content = memoryview(blob).cast("B")
    if content[_ARCHIVE_AT : _ARCHIVE_AT + 2].tobytes() == b"PK":
        raise _of_version(1)
    end = len(content) - _CRC.size
    if end < _HEAD.size or content[: len(_MAGIC)].tobytes() != _MAGIC:
        raise StreamError("the bytes are no snapshot; pass what snapshot() returned")
    if crc32(content[:end], 0) != _CRC.unpack_from(content, end)[0]:
        raise StreamError("the snapshot is damaged: its checksum does not match; take a new one")
    _, version, pushed, ended, length = _HEAD.unpack_from(content)
    if version != VERSION:
        raise _of_version(version)
    body = _HEAD.size + length
    theirs = bytes(content[_HEAD.size : body]).decode(errors="replace")
    if theirs != identity:
        raise StreamError(
            f"the snapshot belongs to `{theirs}`, this stream runs `{identity}`;"
            " restore it into a stream of the same model and policy"
        )
    if ended > 1 or body > end:
        raise does_not_fit()
    return Opened(pushed, bool(ended), content[body:end])


def _of_version(version: int) -> StreamError:
    return StreamError(f"the snapshot has format {version}, this version reads {VERSION}; take a new one")


def does_not_fit() -> StreamError:
    """For a snapshot whose checksum is right and whose content is of another plan."""
    return StreamError("the snapshot does not fit the model that it names; take a new one")


@dataclass(frozen=True, eq=False)
class _Settled:
    """From ``start`` pushed frames on what is kept repeats with ``period``; ``phases`` is what is known of it."""

    start: int
    period: int
    phases: dict[int, tuple[int, ...]]


_settled: WeakKeyDictionary[Plan, _Settled] = WeakKeyDictionary()
"""Streams of one plan run in several threads: an entry is whole when it is there."""


def kept_frames(plan: Plan, pushed_frames: int, ended: bool) -> tuple[int, ...]:
    """For every tensor how many of its newest frames will be read again; none after the end."""
    if ended:
        return (0,) * len(plan.tensors)
    settled = _settled.get(plan)
    if settled is None:
        settled = _settled[plan] = _Settled(*settled_frames(plan), {})
    start, period = settled.start, settled.period
    phase = pushed_frames if pushed_frames < start else start + (pushed_frames - start) % period
    kept = settled.phases.get(phase)
    if kept is None:
        if len(settled.phases) >= _PHASES_KEPT:
            settled.phases.clear()
        have = counts(plan, pushed_frames, ended=False)
        kept = settled.phases[phase] = tuple(h - o for h, o in zip(have, oldest_needed(plan, have), strict=True))
    return kept
