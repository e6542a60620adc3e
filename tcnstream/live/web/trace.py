"""A trace: the last minutes of a signal, in columns that a screen can show.

A column is one sample of a slow signal, or the lowest and highest of about ten milliseconds of a fast one, so that
16 kHz of sound are 200 numbers a second. Columns are counted from the source's frame 0: column ``j`` holds the frames
``j * frames_per_column`` and after. What nobody heard is NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Columns = npt.NDArray[np.float32]
"""(n, 1) samples, or (n, 2) lowest and highest."""

HISTORY_S = 300.0
FASTEST_HZ = 1000.0
"""A faster signal is shown as pairs."""
PAIRS_HZ = 100.0


class Trace:
    """``add`` takes what was heard, ``since`` gives it again as columns."""

    def __init__(self, rate_hz: float) -> None:
        self.frames_per_column = 1 if rate_hz <= FASTEST_HZ else round(rate_hz / PAIRS_HZ)
        self.width = 1 if self.frames_per_column == 1 else 2
        self.column_hz = rate_hz / self.frames_per_column
        self.most = round(HISTORY_S * self.column_hz)
        self.turn = 0
        """Goes up when a recording begins again and what was shown is of no use."""
        self._first = self._count = self._next_frame = 0
        self._open: tuple[int, Columns] | None = None
        self._buffer = np.empty((0, self.width), np.float32)

    @property
    def end(self) -> int:
        """The column after the newest."""
        return self._first + self._count

    def add(self, first_frame: int, samples: npt.NDArray[np.float32]) -> None:
        """``samples`` (n,) from ``first_frame`` on."""
        if not len(samples):
            return
        if first_frame < self._next_frame:
            self.turn += 1
            self._clear()
        self._next_frame = first_frame + len(samples)
        if self.width == 1:
            self._put(first_frame, samples[:, None])
            return
        size = self.frames_per_column
        first, last = first_frame // size, (self._next_frame - 1) // size
        starts = np.maximum(np.arange(first, last + 1) * size - first_frame, 0)
        pairs = np.stack([bound.reduceat(samples, starts) for bound in (np.fmin, np.fmax)], axis=1)
        if self._open is not None:
            column, pair = self._open
            if column == first:
                pairs[0] = min(pairs[0, 0], pair[0]), max(pairs[0, 1], pair[1])
            else:
                self._put(column, pair[None])
        self._open = None
        if self._next_frame % size:
            self._open = last, pairs[-1]
            pairs = pairs[:-1]
        self._put(first, pairs)

    def since(self, column: int) -> tuple[int, Columns]:
        """The first column that is there from ``column`` on, and a copy of all from it on."""
        skipped = min(max(0, column - self._first, self._count - self.most), self._count)
        return self._first + skipped, self._buffer[skipped : self._count].copy()

    def _clear(self) -> None:
        self._first = self._count = self._next_frame = 0
        self._open = None

    def _put(self, column: int, columns: Columns) -> None:
        """Hours of a gap before them take no more memory than the history."""
        if not len(columns):
            return
        cut = max(0, len(columns) - self.most)
        column, columns = column + cut, columns[cut:]
        missing = column - self.end
        if not self._count or missing >= self.most:
            self._first, self._count = column, 0
        elif missing > 0:
            self._append(np.full((missing, self.width), np.nan, np.float32))
        self._append(columns)

    def _append(self, columns: Columns) -> None:
        """The buffer grows to somewhat more than the history; then its newest part moves to the front."""
        if self._count + len(columns) > len(self._buffer):
            kept = min(self._count, self.most)
            room = min(max(256, 2 * (kept + len(columns))), self.most + max(self.most // 4, len(columns)))
            grown = np.empty((room, self.width), np.float32)
            grown[:kept] = self._buffer[self._count - kept : self._count]
            self._buffer, self._first, self._count = grown, self._first + self._count - kept, kept
        self._buffer[self._count : self._count + len(columns)] = columns
        self._count += len(columns)
