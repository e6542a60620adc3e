"""A key's state as bytes: what is kept between two calls, on any machine.

The format, all of it little-endian: ``TCNK``, a version (one byte, 1), a CRC-32 of what follows (4 bytes), and a
MessagePack array of the fields of ``KeyState`` in their order. ``pipeline`` is what ``Pipeline.tail`` or
``Pipeline.snapshot`` returned, whichever is smaller for the model.
"""

from __future__ import annotations

import zlib

import msgspec

from tcnstream.errors import StreamError

_MAGIC = b"TCNK\x01"
_CRC_BYTES = 4


class KeyState(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """``model`` are 8 bytes of the file's SHA-256, ``epoch`` counts stretches without a cut, ``next_seq`` is the
    sequence number that is awaited, ``next_row`` that of the next segment, ``next_frame`` of the next output frame.
    ``last`` is the newest sample (one number per channel), ``filled`` are seconds that were filled in.
    """

    model: bytes
    epoch: int = 0
    next_seq: int = 0
    next_row: int = 0
    next_frame: int = 0
    last: list[float] | None = None
    filled: list[tuple[float, float]] = []
    pipeline: bytes = b""


def pack(state: KeyState) -> bytes:
    """``state`` as bytes."""
    body = msgspec.msgpack.encode(state)
    return _MAGIC + zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body


def unpack(blob: bytes, model: bytes) -> KeyState:
    """The inverse of ``pack``; StreamError for what is damaged, or the state of another model."""
    head, body = blob[: len(_MAGIC) + _CRC_BYTES], blob[len(_MAGIC) + _CRC_BYTES :]
    if not head.startswith(_MAGIC):
        raise StreamError("the bytes are no state of a key (of this version); pass what step() returned")
    if zlib.crc32(body).to_bytes(_CRC_BYTES, "little") != head[len(_MAGIC) :]:
        raise StreamError("the state of the key is damaged: its checksum does not match; take an older one")
    try:
        state = msgspec.msgpack.decode(body, type=KeyState)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StreamError(f"the bytes are no state of a key ({error}); pass what step() returned") from error
    if state.model != model:
        raise StreamError(
            f"the state is of the model {state.model.hex()}, this one is {model.hex()}: run the old model until its"
            " streams end, or begin the new one without a state"
        )
    return state
