"""What the payloads of frames mean: every message, its reply and their numbers, described once.

Little-endian. A reply has the request's kind plus 0x80; a reply whose status is not 0 is a Refusal. ``header`` makes
the firmware's ``protocol.h`` from this module; ``docs/protocol.md`` says how the messages are used.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Annotated

from firmware_bridge.errors import BridgeError
from firmware_bridge.link.record import (
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bytes4,
    Fixed,
    Record,
    Rest,
    Sha256,
    Text,
    U8Aligned,
)
from tcnstream.engines.native.layout.codes import CORE_CODES, Error, Family

PROTOCOL = 1
_FAMILIES = {int(family): family.word for family in Family}


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
    COSTS = 5


class Can(enum.IntFlag):
    """What a board can do."""

    LOAD = 1
    SNAPSHOT = 2
    TAP = 4
    FAULT = 8
    RESTART = 16
    PLAN_IN_FLASH = 32
    FLUSH = 64
    COSTS = 128


class Ticks(enum.IntEnum):
    """What a tick of a board's counter is worth."""

    NANOSECONDS = 0
    CYCLES = 1
    INSTRUCTIONS = 2


class Rounding(enum.IntEnum):
    """Whose rounding a plan has."""

    LITERT = 0
    TFLM = 1


class Level(enum.IntEnum):
    """How much a line of the log matters."""

    INFO = 0
    WARNING = 1
    ERROR = 2


class Source(enum.IntEnum):
    """Where the frames of a push are."""

    HERE = 0
    OBJECT = 1


HASH_BYTES = 32
NO_NODE = 0xFFFFFFFF
NO_TENSOR = -1
EVERY_OPERATION = -2


@dataclass(frozen=True)
class FrameHead(Record):
    """What stands in front of every payload; ``credit``: encoded bytes of requests that may be in flight."""

    called = "frame"
    payload_bytes: U16
    kind: U8
    status: U8
    session: U16
    sequence: U16
    credit: U16


@dataclass(frozen=True)
class HelloRequest(Record):
    protocol: U32


@dataclass(frozen=True)
class Hello(Record):
    """What a board says of itself. State, scratch and objects share one memory, so their rooms may be the same."""

    called = "hello"
    protocol: U32
    can: Annotated[Can, Fixed("I", "uint32_t {};")]
    clock_hz: U32
    ticks_hz: U32
    ticks_unit: U32
    window: U32
    payload_bytes: U32
    receive_bytes: U32
    plan_room_bytes: U32
    state_room_bytes: U32
    scratch_room_bytes: U32
    object_room_bytes: U32
    output_room_bytes: U32
    tap_room_bytes: U32
    plan_bytes: U32
    plan_rounding: U32
    block_frames: U32
    isa: U32
    plan_sha256: Sha256
    target: Text
    build: Text
    core: Text
    identity: Text

    @property
    def ticks(self) -> str:
        """The unit of the counter, which has ``ticks_hz``: "nanoseconds", "cycles" or "instructions"."""
        return Ticks(self.ticks_unit).name.lower() if self.ticks_unit in list(Ticks) else "ticks"

    @property
    def rounding(self) -> str:
        return Rounding(min(self.plan_rounding, 1)).name.lower()


@dataclass(frozen=True)
class BeginRequest(Record):
    """An object is about to come."""

    object: U8Aligned
    total_bytes: U32
    sha256: Sha256


@dataclass(frozen=True)
class Have(Record):
    """How much of the object is there: where a broken transfer of it goes on."""

    called = "number"
    have_bytes: U32


@dataclass(frozen=True)
class ChunkRequest(Record):
    """A part of the object whose hash begins with ``tag``."""

    tag: Bytes4
    offset_bytes: U32
    total_bytes: U32
    part: Rest


@dataclass(frozen=True)
class CommitRequest(Record):
    """The object is whole: its hash is checked, then a plan is the model and a snapshot the state."""

    object: U8


@dataclass(frozen=True)
class ReadRequest(Record):
    object: U8Aligned
    offset_bytes: U32
    count_bytes: U32


@dataclass(frozen=True)
class ReadReply(Record):
    """``first_frame`` is the number of a tap's first frame."""

    called = "read"
    total_bytes: U32
    first_frame: I64
    part: Rest


@dataclass(frozen=True)
class PushRequest(Record):
    """``inputs``: frames of each input, one input after the other, if ``source`` is HERE."""

    source: U8Aligned
    frames: U32
    inputs: Rest


@dataclass(frozen=True)
class PushReply(Record):
    """``made``: a U32 per output, how many frames it has, and then those frames as far as they fit."""

    called = "push"
    ticks: U64
    made: Rest

    def outputs(self, count: int) -> tuple[tuple[int, ...], bytes]:
        """(frames made per output, the first bytes of those frames)."""
        if len(self.made) < 4 * count:
            raise BridgeError(f"the board's push tells of {len(self.made) // 4} outputs and the model has {count}")
        return struct.unpack_from(f"<{count}I", self.made), self.made[4 * count :]


@dataclass(frozen=True)
class SnapshotReply(Record):
    """A snapshot is ready to be read."""

    called = "snapshot"
    total_bytes: U32
    sha256: Sha256


@dataclass(frozen=True)
class TapRequest(Record):
    """``tensor`` of the plan, or NO_TENSOR; EVERY_OPERATION counts the ticks of each operation instead.

    They are Object.COSTS, a U64 for each operation of the plan.
    """

    tensor: I32


@dataclass(frozen=True)
class TapReply(Record):
    """The most frames of it that a push may make."""

    room_frames: U32


@dataclass(frozen=True)
class Stats(Record):
    """Counters of the board since its start, and the memory that the model takes there."""

    called = "statistics"
    frames: U32
    damaged: U32
    repeated: U32
    gaps: U32
    overruns: U32
    stack_used_bytes: U32
    stack_bytes: U32
    state_bytes: U32
    scratch_bytes: U32
    snapshot_bytes: U32
    frames_in: U64


@dataclass(frozen=True)
class FaultRequest(Record):
    """``node`` of the plan rounds wrongly from now on; NO_NODE ends it."""

    node: U32


@dataclass(frozen=True)
class Refusal(Record):
    """What was wanted and what there is, or a code of the core and a place."""

    wanted: U32
    there: U32


@dataclass(frozen=True)
class Log(Record):
    level: U8
    text: Rest

    @property
    def level_name(self) -> str:
        return Level(self.level).name.lower() if self.level in list(Level) else "info"


@dataclass(frozen=True)
class DamagedCount(Record):
    """Damaged frames since the board's start."""

    damaged: U32


@dataclass(frozen=True)
class Empty(Record):
    """No payload."""


MESSAGES: dict[Kind, tuple[type[Record], type[Record]]] = {
    Kind.HELLO: (HelloRequest, Hello),
    Kind.BEGIN: (BeginRequest, Have),
    Kind.CHUNK: (ChunkRequest, Have),
    Kind.COMMIT: (CommitRequest, Empty),
    Kind.READ: (ReadRequest, ReadReply),
    Kind.PUSH: (PushRequest, PushReply),
    Kind.FLUSH: (Empty, PushReply),
    Kind.RESET: (Empty, Empty),
    Kind.SNAPSHOT: (Empty, SnapshotReply),
    Kind.TAP: (TapRequest, TapReply),
    Kind.STATS: (Empty, Stats),
    Kind.FAULT: (FaultRequest, Empty),
    Kind.RESTART: (Empty, Empty),
}
"""Request and reply of each kind."""

UNASKED: dict[Kind, type[Record]] = {Kind.LOG: Log, Kind.DAMAGED: DamagedCount}


def unpack_hello(payload: bytes) -> Hello:
    """Raises BridgeError for a payload of another protocol or one cut short."""
    if len(payload) >= HelloRequest.size_bytes():
        protocol = HelloRequest.unpack(payload[: HelloRequest.size_bytes()]).protocol
        if protocol != PROTOCOL:
            raise BridgeError(
                f"the board speaks protocol {protocol} and this package protocol {PROTOCOL}; flash the firmware of this"
                " package, or install the package that the firmware came from"
            )
    return Hello.unpack(payload)


def _core_error(code: int, detail: int) -> str:
    if code == Error.FAMILY:
        plan, core = (_FAMILIES.get(n, f"family {n}") for n in divmod(detail, 1 << 16))
        return f"the plan is packed for {plan} and its core runs {core} plans"
    return CORE_CODES[code] if code < len(CORE_CODES) else f"error {code} of the core"


def refusal(kind: int, status: int, a: int, b: int) -> str:
    """A refusal in words."""
    what = Kind(kind).name.lower() if kind in list(Kind) else f"request {kind}"
    reasons = {
        Status.UNKNOWN: f"it does not know {what}; its firmware is older than this package",
        Status.MALFORMED: f"the payload does not fit: {a} where {b} was expected",
        Status.NO_MODEL: "it has no model; load one",
        Status.TOO_BIG: f"{a} bytes are wanted and it has room for {b}",
        Status.HASH: f"the object's hash is {b:08x}... and should be {a:08x}...; send it again",
        Status.CORE: _core_error(a, b),
        Status.OFFSET: f"offset {a} is wanted and it stands at {b}",
        Status.NO_OBJECT: "no such object is being transferred; begin again",
        Status.UNSUPPORTED: f"its build has no {what}",
    }
    reason = reasons.get(Status(status)) if status in list(Status) else None
    return f"the board refused {what}: {reason or f'status {status} ({a}, {b})'}"
