"""WFDB records of what was heard, with annotations of what was found, a record an hour.

``STREAM_FRAME.hea``, ``.dat`` (16 bits, a microvolt a step for signals in volts) and ``.tcn``. Where samples are
missing the record has -32768, which is WFDB's mark for no value. The header and the annotations are written anew,
whole, every few seconds, the samples at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tcnstream.live.events import Event
from tcnstream.live.logs import Log
from tcnstream.live.needs import Needs
from tcnstream.live.sinks.base import Full, Item, SampleBlock, SinkConfig, SinkKind, SinkThread, Writer
from tcnstream.live.tables.table import Table
from tcnstream.signal.extras import optional_package
from tcnstream.signal.outfile import write_file
from tcnstream.signal.segments import Segment
from tcnstream.signal.sinks.wfdb import WfdbWriter
from tcnstream.signal.units import unit_factor

_EVERY_S = 5.0
_NOTHING = -32768


@dataclass(frozen=True)
class WfdbConfig(SinkConfig):
    """``every_s`` is how long a record is."""

    folder: Path
    every_s: float

    def needs(self) -> Needs:
        return Needs(writes=(self.folder,))


class _Record:
    """One record, from its first frame on."""

    def __init__(self, folder: Path, block: SampleBlock) -> None:
        self.first_frame, self.rate_hz, self.units = block.first_frame, block.rate_hz, block.units or "NU"
        self.channels = block.samples.shape[1]
        per_mv = unit_factor(self.units, "mV")
        self.gain = 1000.0 * per_mv if per_mv and self.units != "NU" else 32000.0
        self.path = folder / f"{block.stream}_{block.first_frame}"
        self.frames = 0
        self.segments: list[Segment] = []
        self._dat = self.path.with_suffix(".dat").open("wb")

    def add(self, block: SampleBlock) -> None:
        missing = block.first_frame - self.first_frame - self.frames
        if missing > 0:
            self._dat.write(np.full(missing * self.channels, _NOTHING, "<i2").tobytes())
        scaled = np.clip(np.round(block.samples * self.gain), -32767, 32767)
        self._dat.write(scaled.astype("<i2").tobytes())
        self.frames = block.first_frame + len(block.samples) - self.first_frame

    def save(self) -> None:
        self._dat.flush()
        lines = [f"{self.path.name} {self.channels} {self.rate_hz:g} {self.frames}"]
        name, form = f"{self.path.name}.dat", f"{self.gain:g}/{self.units}"
        lines += [f"{name} 16 {form} 16 0 0 0 0 {channel}" for channel in range(self.channels)]
        write_file(self.path.with_suffix(".hea"), ("\n".join(lines) + "\n").encode())
        if self.segments:
            writer = WfdbWriter(self.path.with_suffix(".tcn"), self.rate_hz)
            writer.write(self.segments)
            writer.close()

    def close(self) -> None:
        self.save()
        self._dat.close()


class RecordWriter(Writer):
    """A record a stream at a time."""

    def __init__(self, config: WfdbConfig) -> None:
        optional_package("wfdb", f"sink.{config.name} writes WFDB records", "files")
        self._config = config
        self._records: dict[str, _Record] = {}
        self._saved_s = time.monotonic()
        config.folder.mkdir(parents=True, exist_ok=True)

    def write(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, SampleBlock):
                self._record(item).add(item)
            elif isinstance(item, Event) and item.type == "segment" and item.stream in self._records:
                record = self._records[item.stream]
                begin_s = record.first_frame / record.rate_hz
                start_s, end_s = max(0.0, item.start_s - begin_s), item.end_s - begin_s
                if end_s > 0:
                    record.segments.append(Segment(start_s, end_s, item.label, item.probability))
        if time.monotonic() - self._saved_s > _EVERY_S:
            self._saved_s = time.monotonic()
            for record in self._records.values():
                record.save()

    def close(self) -> None:
        for record in self._records.values():
            record.close()
        self._records.clear()

    def _record(self, block: SampleBlock) -> _Record:
        record = self._records.get(block.stream)
        if record is not None and (
            block.first_frame < record.first_frame + record.frames
            or block.first_frame - record.first_frame >= self._config.every_s * record.rate_hz
        ):
            record.close()
            record = None
        if record is None:
            record = self._records[block.stream] = _Record(self._config.folder, block)
        return record


def _configure(name: str, table: Table, folder: Path, full: Full, queue_events: int) -> WfdbConfig:
    path = folder / table.text("path", needed="name the folder")
    return WfdbConfig(name, "wfdb", full, queue_events, path, table.seconds("every", 3600.0))


def _open(config: WfdbConfig, log: Log) -> SinkThread:
    return SinkThread(config, RecordWriter(config), log, wants_samples=True)


KIND = SinkKind("wfdb", _configure, _open)
