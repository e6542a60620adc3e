"""What a pipeline remembers, and the bytes that it is carried away in."""

from __future__ import annotations

import hashlib
import zlib
from functools import lru_cache

import msgspec

from tcnstream.errors import StreamError
from tcnstream.signal.segments import SegmenterState

_MAGIC = b"TCNPIPE4"
_CRC_BYTES = 4
_DIGEST_BYTES = 4

MODEL_HASH_BYTES = 8


class Tail(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """``frames`` are the model's newest input frames, in its own numbers, little-endian; it has had ``more_frames``
    more than the source had samples."""

    more_frames: int
    frames: bytes


class PipelineState(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """All that a pipeline remembers. ``facts`` are the beginning of the hash of the model's file and a digest of the
    arguments, ``rate`` and ``filters`` what stands before the model remembers, ``stream`` a snapshot, or the newest
    input frames."""

    facts: bytes
    start_s: float
    begin_frames: int
    frames_in: int
    ended: bool
    rate: bytes | None
    filters: bytes
    segmenter: SegmenterState | None
    stream: bytes | Tail

    @property
    def model(self) -> bytes:
        """The beginning of the hash of the model's file."""
        return self.facts[:MODEL_HASH_BYTES]


_DECODER = msgspec.msgpack.Decoder(PipelineState)


def sealed(state: PipelineState) -> bytes:
    body = msgspec.msgpack.encode(state)
    return _MAGIC + zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body


def read_snapshot(blob: bytes) -> PipelineState:
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise StreamError(f"a snapshot is bytes and this is {type(blob).__name__}; pass what snapshot() returned")
    blob = bytes(blob)
    crc, body = blob[len(_MAGIC) :][:_CRC_BYTES], blob[len(_MAGIC) + _CRC_BYTES :]
    if not blob.startswith(_MAGIC):
        raise StreamError("the bytes are no snapshot of a Pipeline; pass what snapshot() returned")
    if zlib.crc32(body).to_bytes(_CRC_BYTES, "little") != crc:
        raise StreamError("the snapshot is damaged: its checksum does not match; take a new one")
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StreamError(f"the bytes are no snapshot ({error}); take a new one") from error


@lru_cache(maxsize=64)
def digest(*facts: str) -> bytes:
    return hashlib.sha256(repr(facts).encode()).digest()[:_DIGEST_BYTES]
