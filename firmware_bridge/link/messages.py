"""What the payloads of frames mean: one function or struct per message, without I/O. See PROTOCOL.md.

Little-endian. A reply has the request's kind plus 0x80. A refusal is a reply whose status is not 0; its
payload is two u32: what was wanted and what there is, or a code of the core and a place.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Any

from firmware_bridge.errors import BridgeError

PROTOCOL = 1
HASH_BYTES = 32


class Kind(enum.IntEnum):
    """Requests, and the two things that a board says unasked."""

    HELLO = 1
    BEGIN = 2
    CHUNK = 3
    COMMIT = 4
    READ = 5
    PUSH = 6
    FLUSH = 7
    RESET = 8
    SNAPSHOT = 9
    TAP = 10
    STATS = 11
    FAULT = 12
    RESTART = 13
    LOG = 0x40
    DAMAGED = 0x41


REPLY = 0x80


class Status(enum.IntEnum):
    """Why a board refused."""

    OK = 0
    NO_SESSION = 1
    UNKNOWN = 2
    MALFORMED = 3
    GAP = 4
    NO_MODEL = 5
    TOO_BIG = 6
    HASH = 7
    CORE = 8
    OFFSET = 9
    NO_OBJECT = 10
    UNSUPPORTED = 11


class Object(enum.IntEnum):
    """What moves in chunks: plans, snapshots and large inputs to the board, the rest from it."""

    PLAN = 0
    SNAPSHOT = 1
    INPUT = 2
    OUTPUT = 3
    TAP = 4


class Can(enum.IntFlag):
    """What a board can do."""

    LOAD = 1
    SNAPSHOT = 2
    TAP = 4
    FAULT = 8
    RESTART = 16
    PLAN_IN_FLASH = 32
    FLUSH = 64


TICKS = ("nanoseconds", "cycles", "instructions")
LOG_LEVELS = ("info", "warning", "error")
CORE_CODES = (
    "no error",
    "the plan is cut short",
    "these bytes are no plan of this version",
    "the plan is damaged",
    "the plan points outside of itself",
    "the plan holds a value that no writer makes",
    "the plan has an operation that this core lacks",
    "memory is not aligned",
    "the state memory is too small",
    "the scratch memory is too small",
    "the output buffer is too small",
    "the signal has ended; reset first",
    "the signal ended before a mirrored edge had the frames that it mirrors",
    "the state was never initialised",
    "the snapshot is damaged or belongs to another model",
    "this processor lacks the instructions asked for",
    "the state belongs to another plan",
)
"""The codes of tcn.h, in words."""


@dataclass(frozen=True)
class Hello:
    """What a board says of itself; sizes in bytes. ``ticks`` is the unit of its counter, at ``ticks_hz``."""

    protocol: int
    can: Can
    clock_hz: int
    ticks_hz: int
    ticks: str
    window: int
    payload_bytes: int
    receive_bytes: int
    plan_room_bytes: int
    state_room_bytes: int
    scratch_room_bytes: int
    object_room_bytes: int
    output_room_bytes: int
    tap_room_bytes: int
    plan_bytes: int
    rounding: str
    block_frames: int
    isa: int
    plan_sha256: bytes
    target: str
    build: str
    core: str
    identity: str


_SIZES = (
    "window",
    "payload_bytes",
    "receive_bytes",
    "plan_room_bytes",
    "state_room_bytes",
    "scratch_room_bytes",
    "object_room_bytes",
    "output_room_bytes",
    "tap_room_bytes",
    "plan_bytes",
)
_HELLO = struct.Struct(f"<18I{HASH_BYTES}s")


def unpack_hello(payload: bytes) -> Hello:
    """Raises BridgeError for a payload of another protocol or one cut short."""
    if len(payload) >= 4 and (protocol := struct.unpack_from("<I", payload)[0]) != PROTOCOL:
        raise BridgeError(
            f"the board speaks protocol {protocol} and this package protocol {PROTOCOL}; flash the firmware of this"
            " package, or install the package that the firmware came from"
        )
    if len(payload) < _HELLO.size:
        raise BridgeError(f"the board's hello has {len(payload)} bytes and should have {_HELLO.size}; flash it again")
    f = _HELLO.unpack_from(payload)
    texts, at = [], _HELLO.size
    for _ in range(4):
        n = payload[at] if at < len(payload) else 0
        texts.append(payload[at + 1 : at + 1 + n].decode(errors="replace"))
        at += 1 + n
    ticks = TICKS[f[4]] if f[4] < len(TICKS) else "ticks"
    rounding = "tflm" if f[15] else "litert"
    sizes = dict(zip(_SIZES, f[5:15], strict=True))
    return Hello(
        protocol=f[0],
        can=Can(f[1]),
        clock_hz=f[2],
        ticks_hz=f[3],
        ticks=ticks,
        **sizes,
        rounding=rounding,
        block_frames=f[16],
        isa=f[17],
        plan_sha256=f[18],
        target=texts[0],
        build=texts[1],
        core=texts[2],
        identity=texts[3],
    )


def pack_hello(hello: Hello) -> bytes:
    """The reply of a board; the inverse of ``unpack_hello``."""
    numbers = (
        hello.protocol,
        int(hello.can),
        hello.clock_hz,
        hello.ticks_hz,
        TICKS.index(hello.ticks),
        *(getattr(hello, name) for name in _SIZES),
        int(hello.rounding == "tflm"),
        hello.block_frames,
        hello.isa,
        hello.plan_sha256,
    )
    texts = b"".join(
        bytes([len(text)]) + text
        for text in (t.encode()[:255] for t in (hello.target, hello.build, hello.core, hello.identity))
    )
    return _HELLO.pack(*numbers) + texts


@dataclass(frozen=True)
class Stats:
    """Counters of the board since its start, and the memory that the model takes there; sizes in bytes."""

    frames: int
    damaged: int
    repeated: int
    gaps: int
    overruns: int
    stack_used_bytes: int
    stack_bytes: int
    state_bytes: int
    scratch_bytes: int
    snapshot_bytes: int
    frames_in: int


_STATS = struct.Struct("<10IQ")


def unpack_stats(payload: bytes) -> Stats:
    return Stats(*_unpack(_STATS, payload, "statistics"))


def pack_begin(what: Object, total_bytes: int, sha256: bytes) -> bytes:
    return struct.pack("<B3xI", what, total_bytes) + sha256


def pack_chunk(sha256: bytes, offset: int, total_bytes: int, part: bytes) -> bytes:
    return sha256[:4] + struct.pack("<II", offset, total_bytes) + part


CHUNK_HEAD_BYTES = 12


def pack_commit(what: Object) -> bytes:
    return bytes([what])


def pack_read(what: Object, offset: int, count_bytes: int) -> bytes:
    return struct.pack("<B3xII", what, offset, count_bytes)


READ_HEAD_BYTES = 12


def unpack_read(payload: bytes) -> tuple[int, int, bytes]:
    """(total bytes of the object, number of the first frame if it is a tap, bytes)."""
    total, first = _unpack(struct.Struct("<Iq"), payload[:READ_HEAD_BYTES], "read")
    return total, first, payload[READ_HEAD_BYTES:]


PUSH_HEAD_BYTES = 8


def pack_push(frames: int, inputs: bytes | None) -> bytes:
    """``inputs``: n frames of each input, one input after the other; None where they lie in the object INPUT."""
    return struct.pack("<B3xI", int(inputs is None), frames) + (inputs or b"")


def unpack_pushed(payload: bytes, outputs: int) -> tuple[int, tuple[int, ...], bytes]:
    """(ticks, frames made per output, the first bytes of those frames)."""
    head = struct.Struct(f"<Q{outputs}I")
    ticks, *made = _unpack(head, payload[: head.size], "push")
    return ticks, tuple(made), payload[head.size :]


def unpack_u32(payload: bytes) -> int:
    return int(_unpack(struct.Struct("<I"), payload, "number")[0])


def unpack_snapshot(payload: bytes) -> tuple[int, bytes]:
    """(total bytes, hash) of the snapshot that is ready to be read."""
    total, digest = _unpack(struct.Struct(f"<I{HASH_BYTES}s"), payload, "snapshot")
    return total, digest


def unpack_log(payload: bytes) -> tuple[str, str]:
    """(level, text)."""
    level = LOG_LEVELS[payload[0]] if payload and payload[0] < len(LOG_LEVELS) else "info"
    return level, payload[1:].decode(errors="replace")


def _unpack(form: struct.Struct, payload: bytes, what: str) -> tuple[Any, ...]:
    if len(payload) != form.size:
        raise BridgeError(f"the board's {what} has {len(payload)} bytes and should have {form.size}; flash it again")
    return form.unpack(payload)


def refusal(kind: int, status: int, a: int, b: int) -> str:
    """A refusal in words."""
    what = Kind(kind).name.lower() if kind in list(Kind) else f"request {kind}"
    reasons = {
        Status.UNKNOWN: f"it does not know {what}; its firmware is older than this package",
        Status.MALFORMED: f"the payload does not fit: {a} where {b} was expected",
        Status.NO_MODEL: "it has no model; load one",
        Status.TOO_BIG: f"{a} bytes are wanted and it has room for {b}",
        Status.HASH: f"the object's hash is {b:08x}... and should be {a:08x}...; send it again",
        Status.CORE: f"{CORE_CODES[a] if a < len(CORE_CODES) else f'error {a} of the core'}",
        Status.OFFSET: f"offset {a} is wanted and it stands at {b}",
        Status.NO_OBJECT: "no such object is being transferred; begin again",
        Status.UNSUPPORTED: f"its build has no {what}",
    }
    reason = reasons.get(Status(status)) if status in list(Status) else None
    return f"the board refused {what}: {reason or f'status {status} ({a}, {b})'}"
