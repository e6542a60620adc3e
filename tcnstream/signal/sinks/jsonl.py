"""Segments as JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TextIO

from tcnstream.signal.segments import Segment
from tcnstream.signal.sinks.base import SinkKind, segment_fields, text_file


class JsonLinesWriter:
    """One JSON object a line, given on at once: ``{"start_s": .., "end_s": .., "label": .., "probability": ..}``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            self._stream.write(json.dumps(segment_fields(segment)) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.flush()


KIND = SinkKind("jsonl", "segments", text_file(JsonLinesWriter))
