"""A key's state as bytes: what is kept between two calls, on any machine.

The format, all of it little-endian: ``TCNK``, a version (one byte, 4), a CRC-32 of what follows (4 bytes), and a
MessagePack array of the fields of ``KeyState`` in their order. ``pipeline`` is the array of a ``PipelineState``, with
the model's newest input frames or a snapshot of its layers, whichever is smaller for the model.
"""

from __future__ import annotations

import zlib

import msgspec

from tcnstream.errors import StreamError
from tcnstream.pipeline import PipelineState

_MAGIC = b"TCNK\x04"
_CRC_BYTES = 4


class Doubted(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """A message whose sequence number jumped too far to be believed alone; ``samples`` are float32."""

    seq: int
    channels: int
    samples: bytes


class KeyState(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """``epoch`` counts stretches without a cut, ``next_seq`` is the sequence number that is awaited, ``next_row`` that
    of the next segment, ``next_frame`` of the next output frame. ``counts_chunks`` says that sequence numbers are those
    of chunks, not of frames. ``last`` is the newest sample where gaps are filled, float32 per channel, ``filled`` the
    seconds that were. ``doubted`` is a message that waits for another to agree with it.
    """

    epoch: int
    next_seq: int
    counts_chunks: bool
    next_row: int
    next_frame: int
    last: bytes | None
    filled: list[tuple[float, float]]
    doubted: Doubted | None
    pipeline: PipelineState


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(KeyState)


def pack(state: KeyState) -> bytes:
    """``state`` as bytes."""
    body = _ENCODER.encode(state)
    return _MAGIC + zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body


def unpack(blob: bytes, model: bytes, *older: bytes) -> KeyState:
    """The inverse of ``pack``; StreamError for what is damaged, or the state of another model than these."""
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise StreamError(f"a key's state is bytes and this is {type(blob).__name__}; pass what step() returned")
    blob = bytes(blob)
    head, body = blob[: len(_MAGIC) + _CRC_BYTES], blob[len(_MAGIC) + _CRC_BYTES :]
    if not head.startswith(_MAGIC):
        raise StreamError("the bytes are no state of a key (of this version); pass what step() returned")
    if zlib.crc32(body).to_bytes(_CRC_BYTES, "little") != head[len(_MAGIC) :]:
        raise StreamError("the state of the key is damaged: its checksum does not match; take an older one")
    try:
        state = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StreamError(f"the bytes are no state of a key ({error}); pass what step() returned") from error
    theirs = state.pipeline.model
    if theirs not in (model, *older):
        raise StreamError(
            f"the state is of the model {theirs.hex()}, this one is {model.hex()}: name the old model in takes_over,"
            " run it until its streams end, or begin the new one without a state"
        )
    return state
