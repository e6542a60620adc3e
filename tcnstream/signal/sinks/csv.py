"""Segments as a table of comma-separated values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TextIO

from tcnstream.signal.segments import MARKS, Segment
from tcnstream.signal.sinks.base import SinkKind, segment_fields, text_file


class CsvWriter:
    """A header and one row a segment; with columns for what the model says beside the label, if it says anything."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._columns: tuple[str, ...] = ()

    def write(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            fields = segment_fields(segment)
            if not self._columns:
                self._begin(MARKS if fields.keys() & set(MARKS) else ())
            label = segment.label
            if re.search(r'[",\r\n]', label):
                label = '"' + label.replace('"', '""') + '"'
            cells = [str((fields | {"label": label}).get(column, "")) for column in self._columns]
            self._stream.write(",".join(cells) + "\n")
        self._stream.flush()

    def close(self) -> None:
        if not self._columns:
            self._begin(())
        self._stream.flush()

    def _begin(self, marks: tuple[str, ...]) -> None:
        self._columns = ("start_s", "end_s", "label", "probability", *marks)
        self._stream.write(",".join(self._columns) + "\n")


KIND = SinkKind("csv", "segments", text_file(CsvWriter))
