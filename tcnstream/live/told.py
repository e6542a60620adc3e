"""What is told of a daemon that runs: to health, metrics and the page, which know nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tcnstream.live.checkpoints import Checkpoints
from tcnstream.live.hub import Hub


class Told(Protocol):
    """A daemon, seen from outside. ``began_s`` is CLOCK_MONOTONIC."""

    hub: Hub
    checkpoints: Checkpoints
    began_s: float

    def is_well(self) -> dict[str, str]:
        """What is wrong, by place; empty where all is well."""

    def states(self) -> dict[str, Mapping[str, Any]]:
        """What is known of each stream."""
