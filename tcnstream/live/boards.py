"""What a package that speaks to boards gives the daemon, so that one can be compared behind a stream.

It is another package than this one, found by its entry point ``tcnstream.boards``: a module with ``follow`` and
``problem`` as ``Provider`` has them. ``firmware_bridge.live`` is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

from tcnstream.errors import SignalError
from tcnstream.live.needs import Needs
from tcnstream.model import Model
from tcnstream.pipeline import Follower
from tcnstream.stream import Stream

ENTRY_POINT = "tcnstream.boards"


@dataclass(frozen=True)
class Verdict:
    """How a board stands. ``state`` is opening, equal, differs (at some time) or away; ``says`` is why it is away.

    ``frames`` were compared and ``wrong_frames`` of them were not equal, by ``largest`` at most, in ``differences``
    chunks; ``skipped_chunks`` passed while the board was behind, away, or left alone after a difference.
    """

    board: str
    state: str
    says: str
    frames: int
    wrong_frames: int
    differences: int
    skipped_chunks: int
    largest: float


class Told(Protocol):
    """Who is told of a board, in the board's thread."""

    def line(self, trouble: str) -> None:
        """The board is there (""), or why it is not."""

    def difference(self, at_frame: int) -> None:
        """Board and host differ in the frames up to this one of the pipeline."""


class Board(Follower, Protocol):
    """A board behind a pipeline."""

    def verdict(self) -> Verdict: ...

    def wait(self, timeout_s: float) -> bool:
        """Until the board has caught up; returns whether it has."""

    def close(self) -> None: ...


class Provider(Protocol):
    """The module that an entry point names."""

    def follow(self, board: str, model: Model, stream: Stream, told: Told) -> Board:
        """At once, though the board may take long to come. Raises TcnStreamError for a model that no board can run."""

    def problem(self, board: str) -> str:
        """What is wrong with the name of a board, "" where nothing is."""


def needs(board: str) -> Needs:
    """What a board that is named ``serial:PORT`` or ``tcp:HOST:PORT`` takes of the machine."""
    kind, _, place = board.partition("?")[0].partition(":")
    if kind == "serial":
        return Needs(ports=(place,))
    return Needs(hosts=(place.rpartition(":")[0].strip("[]"),)) if kind == "tcp" else Needs()


def provider() -> Provider:
    """Raises SignalError where no package that speaks to boards is installed."""
    for found in entry_points(group=ENTRY_POINT):
        module: Provider = found.load()
        return module
    raise SignalError("nothing that speaks to boards is installed: install tcnstream with firmware_bridge again")
