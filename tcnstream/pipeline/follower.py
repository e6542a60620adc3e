"""Who hears what goes through a pipeline's model."""

from __future__ import annotations

from typing import Any, Protocol

from tcnstream.pipeline.samples import Frames


class Follower(Protocol):
    """Hears what a pipeline's stream takes and gives; must neither change it nor wait.

    ``at_frame`` is the source's frame behind the last one that was pushed, counted from the pipeline's start.
    """

    def pushed(self, frames: Frames, made: Any, at_frame: int) -> None:
        """The stream took input frames and gave ``made``, as ``Stream.push`` does."""

    def flushed(self, made: Any, at_frame: int) -> None:
        """The stream ended and gave ``made``."""

    def was_reset(self) -> None:
        """The stream is at its start again."""
