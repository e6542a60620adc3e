"""Bytes of a line, a connection or a pipe become frames: text, a frame a line, or bare numbers.

Both give each frame as (frames that were lost before it, its values), and what is no frame is one that is lost.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from tcnstream.live.blocks import Lost, Piece

_LONGEST_LINE_BYTES = 4096
_SURE_LINES = 2
_DTYPES = {"f32le": "<f4", "s16le": "<i2"}

Frames = list[tuple[int, list[float]]]


class LineReader:
    """Columns parted by commas, semicolons or white space.

    A line that is not ``columns`` numbers is one lost frame. ``columns`` 0 is as many as two lines in a row have,
    ``least`` at the least; lines before that are none. Where ``is_whole`` is not said the first line may have begun
    before anybody listened, and is left out.
    """

    def __init__(self, columns: int, least: int = 1, is_whole: bool = False) -> None:
        self._given, self._least, self._is_whole = columns, least, is_whole
        self.begin_anew()

    def begin_anew(self) -> None:
        """The line was interrupted."""
        self._pending, self._owed, self._is_first = b"", 0, not self._is_whole
        self._columns, self._seen = self._given, (0, 0)

    def push(self, received: bytes) -> Frames:
        *lines, self._pending = (self._pending + received).split(b"\n")
        if len(self._pending) > _LONGEST_LINE_BYTES:
            self._pending = b"\0"  # no line is as long; it counts when its end comes
        found: Frames = []
        lost, self._owed = self._owed, 0
        for line in lines:
            was_first, self._is_first = self._is_first, False
            text = line.strip()
            if was_first or not text:
                continue
            values = _numbers(text)
            if not self._columns and not self._learns(values):
                continue
            if values is None or len(values) != self._columns:
                lost += 1
            else:
                found.append((lost, values))
                lost = 0
        self._owed = lost
        return found

    def finish(self) -> Frames:
        """The last line may have no end."""
        return self.push(b"\n") if self._pending else []

    def trouble(self) -> str:
        """What is wrong where the bytes ended."""
        return ""

    def _learns(self, values: list[float] | None) -> bool:
        """Whether the number of columns is known from this line on."""
        count, times = self._seen
        now = 0 if values is None else len(values)
        self._seen = now, times + 1 if now == count else 1
        if now >= self._least and self._seen[1] >= _SURE_LINES:
            self._columns = now
        return bool(self._columns)


def _numbers(line: bytes) -> list[float] | None:
    try:
        return [value] if math.isfinite(value := float(line)) else None
    except ValueError:  # not a number alone
        pass
    try:
        values = [float(cell) for cell in re.split(r"[,;\s]+", line.decode("ascii").strip(" \t\r,;"))]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


class BareReader:
    """Interleaved little-endian numbers of ``dtype``."""

    def __init__(self, dtype: str, columns: int) -> None:
        self._dtype, self._columns = np.dtype(dtype), columns
        self.begin_anew()

    def begin_anew(self) -> None:
        """The connection was interrupted."""
        self._rest = b""

    def push(self, received: bytes) -> Frames:
        content = self._rest + received
        frame_bytes = self._dtype.itemsize * self._columns
        whole = len(content) - len(content) % frame_bytes
        self._rest = content[whole:]
        frames = np.frombuffer(content[:whole], self._dtype).reshape(-1, self._columns)
        return [(0, values) for values in frames.tolist()]

    def finish(self) -> Frames:
        return []

    def trouble(self) -> str:
        """What is wrong where the bytes ended."""
        if not self._rest:
            return ""
        kind = f"{self._dtype.name} with {self._columns} channel(s)"
        return f"the bytes end {len(self._rest)} into a frame of {kind}: say its format and its channels"


def reader_of(format: str, columns: int, least: int, is_whole: bool = False) -> LineReader | BareReader:
    """For one of RAW_FORMATS; ``columns`` 0 is what lines have, or ``least`` bare numbers."""
    if format in _DTYPES:
        return BareReader(_DTYPES[format], columns or least)
    return LineReader(columns, least, is_whole)


def as_pieces(frames: Frames, chosen: list[int], arrived_s: float, fresh: bool, modulus: int = 0) -> Iterator[Piece]:
    """A piece of the chosen columns for each stretch without a loss."""
    begins = [0, *(n for n, (lost, _) in enumerate(frames) if lost and n), len(frames)] if frames else []
    behind = sum(lost + 1 for lost, _ in frames)
    for begin, end in pairwise(begins):
        lost = frames[begin][0]
        behind -= lost + end - begin
        with np.errstate(over="ignore"):  # beyond float32 is no number
            samples = np.array([values for _, values in frames[begin:end]], np.float32)
        if chosen != list(range(samples.shape[1])):
            samples = samples[:, chosen]
        yield Piece(samples, arrived_s, Lost(lost, 0, "counter") if lost else None, fresh, modulus, behind)
