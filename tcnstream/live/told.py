"""What is told of a daemon that runs: to health, metrics and the page, which know nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tcnstream.live.checkpoints import Checkpoints
from tcnstream.live.delay import Bins
from tcnstream.live.hub import Hub


@dataclass(frozen=True)
class StreamFacts:
    """What does not change of a stream while it runs. ``channels`` is how many the model takes, ``look_ahead_s`` what
    the model waits for, None where its card does not say it.
    """

    name: str
    model: str
    source: str
    labels: tuple[str, ...]
    background: str
    rate_hz: float
    units: str
    channels: int
    look_ahead_s: float | None


class Told(Protocol):
    """A daemon, seen from outside. ``began_s`` is CLOCK_MONOTONIC."""

    hub: Hub
    checkpoints: Checkpoints
    began_s: float

    def is_well(self) -> dict[str, str]:
        """What is wrong, by place; empty where all is well."""

    def states(self) -> dict[str, Mapping[str, Any]]:
        """What is known of each stream."""

    def streams(self) -> Mapping[str, StreamFacts]:
        """What does not change of each stream."""

    def delays(self) -> Mapping[str, Bins]:
        """How long events of each stream took."""
