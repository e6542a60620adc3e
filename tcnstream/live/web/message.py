"""Messages to a viewer: binary WebSocket frames of a head of 16 bytes and a body.

    u8 kind   u8 width   u16 0   u32 watch   f64 first column     all little-endian

``watch`` is the number that the viewer gave its question, so that it knows late answers to an earlier one. The body of
``COLUMNS`` is float32 of ``width`` numbers a column, all other bodies are JSON in UTF-8.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec

from tcnstream.live.web.trace import Columns

Kind = Literal[1, 2, 3, 4, 5, 6]
FACTS: Kind = 1
"""All streams, sinks and what is wrong; once a second."""
BEGIN: Kind = 2
"""What the watched stream is; all that the viewer knows of it is void."""
COLUMNS: Kind = 3
EVENTS: Kind = 4
SKIPPED: Kind = 5
"""The viewer was too slow: the columns from ``first`` to ``next`` are not sent."""
OPEN: Kind = 6
"""The segment that has begun and is not final: ``label``, ``start_s``, ``end_s``; null where there is none."""

_HEAD = struct.Struct("<BBHId")


def json_message(kind: Kind, body: Any, watch: int = 0) -> bytes:
    """``body`` is what JSON can say, or JSON already."""
    return _HEAD.pack(kind, 0, 0, watch, 0.0) + (body if isinstance(body, bytes) else msgspec.json.encode(body))


def columns_message(first: int, columns: Columns, watch: int) -> bytes:
    """Columns (n, width) from ``first`` on."""
    return _HEAD.pack(COLUMNS, columns.shape[1], 0, watch, first) + columns.astype("<f4").tobytes()
