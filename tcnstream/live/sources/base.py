"""What every source of the daemon shares.

A replay is a recording: it waits, and can be read again from any frame. A live source goes on whether it is read or
not, and what is lost is lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from typing import Any

from tcnstream.live.blocks import Piece, Samples
from tcnstream.live.needs import Needs
from tcnstream.live.tables.table import Table
from tcnstream.opened import OpenedModel
from tcnstream.signal.sources.base import Gap
from tcnstream.signal.units import FULL_SCALE, known

Channels = Sequence[str] | int


class SourceDownError(Exception):
    """The source is not there, or went away; the text says what was seen. It is tried again."""


@dataclass(frozen=True)
class Wanted:
    """What a stream wants of its source: channels by name or number, or the first so many, the model's rate, and
    whether it hears: then several microphones become their mean, where none is chosen.
    """

    channels: Channels
    rate_hz: float | None
    is_sound: bool = False

    @classmethod
    def by(cls, opened: OpenedModel, chosen: Channels | None) -> Wanted:
        """What the model takes, of the ``chosen`` channels if there are any."""
        card = opened.card
        is_sound = card is not None and chosen is None and known(card.units) == FULL_SCALE
        return cls(opened.channels if chosen is None else chosen, None if card is None else card.rate_hz, is_sound)


@dataclass(frozen=True)
class SourceConfig:
    """What the configuration says of a source; each kind adds its own. ``uri`` is its name in messages."""

    kind: str
    uri: str
    rate_hz: float | None
    units: str

    def needs(self) -> Needs:
        """What it takes of the machine."""
        return Needs()

    def units_for(self, wanted: Wanted) -> str:
        """The unit of what it will give, as far as that is known before it is opened.

        Raises SignalError for a recording that cannot be read so.
        """
        return self.units

    @property
    def goes_on(self) -> bool:
        """Whether it has no end although its kind has one."""
        return False


class Replay(ABC):
    """A recording. ``rate_hz``, ``units`` and the number of channels are known at once.

    ``identity`` changes when the recording does; ``start_unix_s`` is the time of day of frame 0, None if unknown.
    """

    rate_hz: float | None
    units: str
    speed: float
    identity: str
    start_unix_s: float | None = None

    @abstractmethod
    def pieces(self, from_frame: int, block_frames: int) -> Iterator[Samples | Gap]:
        """Blocks of ``block_frames`` that begin at multiples of it; the first, and those at a Gap, may be shorter."""


class Live(ABC):
    """A source that does not wait. ``channels`` columns at ``rate_hz``.

    ``ends`` is true for one that has an end, after which it is not tried again. ``silent_s`` is how long it may deliver
    nothing before it is taken for dead, ``opening_s`` how long it may take until the first sample, if that is longer.
    ``has_crystal`` says that its clock is within 150 ppm, so that a deficit
    against the monotonic clock is a loss from the first second on. ``goes_on`` is set where samples came before, of an
    earlier daemon too: what waits in buffers then is of unknown age.
    """

    rate_hz: float | None
    units: str
    ends = False
    silent_s = 10.0
    opening_s = 0.0
    has_crystal = False
    goes_on = False

    @abstractmethod
    def pieces(self, stop: Flag) -> Iterator[Piece | None]:
        """Opens the source and reads it until ``stop``; None for a while without data, at least once a second.

        Raises SourceDownError when it is not there or goes away; the feed calls again later.
        """


@dataclass(frozen=True)
class Found:
    """A source that is there now: ``uri`` is ready to paste."""

    uri: str
    says: str


@dataclass(frozen=True)
class SourceKind:
    """An entry of the registry.

    ``configure`` reads the URI's rest and its options; ``open`` gives a Replay or a Live; ``find`` lists what is there.
    """

    scheme: str
    says: str
    configure: Callable[[str, str, Table, Path], SourceConfig]
    open: Callable[[Any, Wanted], Replay | Live]
    find: Callable[[], list[Found]] = field(default=lambda: [])
    replayable: bool = False
    ends: bool = False


def rate_option(options: Table) -> float | None:
    """Samples per second, None where it is not said."""
    return options.number("rate", 1.0, above=0.0) if "rate" in options else None
