"""Segments as a table of comma-separated values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TextIO

from tcnstream.signal.segments import Segment
from tcnstream.signal.sinks.base import SinkKind, segment_fields, text_file


class CsvWriter:
    """A header and one row a segment."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        stream.write("start_s,end_s,label,probability\n")

    def write(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            label = segment.label
            if re.search(r'[",\r\n]', label):
                label = '"' + label.replace('"', '""') + '"'
            fields = segment_fields(segment)
            self._stream.write(f"{fields['start_s']},{fields['end_s']},{label},{fields['probability']}\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.flush()


KIND = SinkKind("csv", "segments", text_file(CsvWriter))
