"""Events as markers of the Lab Streaming Layer, and the heart rate beside them (package pylsl, extra ``lsl``).

The outlet ``NAME`` has one text a marker: an event as JSON. ``NAME rate`` has the heart rate of each beat in beats a
minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tcnstream.live.events import Event
from tcnstream.live.logs import Log
from tcnstream.live.needs import Needs
from tcnstream.live.sinks.base import Full, Item, SinkConfig, SinkKind, SinkThread, Writer
from tcnstream.live.tables.table import Table
from tcnstream.signal.extras import optional_package


@dataclass(frozen=True)
class LslConfig(SinkConfig):
    """``outlet`` is its name in the network."""

    outlet: str

    def needs(self) -> Needs:
        return Needs(multicast=True)


class LslWriter(Writer):
    """Two outlets."""

    def __init__(self, config: LslConfig) -> None:
        lsl = optional_package("pylsl", f"sink.{config.name} is an outlet of LSL", "lsl")
        name, identity = config.outlet, f"tcnstream {config.outlet}"
        self._markers = lsl.StreamOutlet(lsl.StreamInfo(name, "Markers", 1, 0, "string", identity))
        self._rate = lsl.StreamOutlet(lsl.StreamInfo(f"{name} rate", "HR", 1, 0, "float32", f"{identity} rate"))

    def write(self, items: Sequence[Item]) -> None:
        for event in items:
            if isinstance(event, Event):
                self._markers.push_sample([event.json().decode()])
                if "rate_bpm" in event.more:
                    self._rate.push_sample([float(event.more["rate_bpm"])])


def _configure(name: str, table: Table, folder: Path, full: Full, queue_events: int) -> LslConfig:
    return LslConfig(name, "lsl", full, queue_events, table.text("name", "tcnstream"))


def _open(config: LslConfig, log: Log) -> SinkThread:
    return SinkThread(config, LslWriter(config), log)


KIND = SinkKind("lsl", _configure, _open)
