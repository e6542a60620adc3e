"""Frames of one output, host's and board's, side by side although the board may answer later."""

from __future__ import annotations

import numpy as np

from tcnstream.tflite.graph import Array


class Pairs:
    """Keeps the host's frames until the board's come; ``position`` counts the frames that were paired."""

    def __init__(self) -> None:
        self.position = 0
        self._ahead: Array | None = None

    @property
    def waiting(self) -> int:
        """Frames of the host that the board has not answered."""
        return 0 if self._ahead is None else len(self._ahead)

    def pair(self, expected: Array, got: Array, due: int) -> tuple[int, Array, Array]:
        """(number of the first, the host's frames, the board's) as far as they can be compared now.

        ``due`` counts the frames that the board must have given by now: if it gave fewer, the host's are there without
        a counterpart, and so are the board's where it gave more than the host.
        """
        ours = expected if self._ahead is None else np.concatenate([self._ahead, expected])
        n = max(len(got), due - self.position)
        first = self.position
        self._ahead = ours[n:]
        self.position += n
        return first, ours[:n], got
