"""WFDB records of what was heard, with annotations of what was found, a record an hour.

``STREAM_FRAME.hea``, ``.dat`` (16 bits, a microvolt a step for signals in volts) and ``.tcn``. Where samples are
missing the record has -32768, which is WFDB's mark for no value. The header and the annotations are written anew,
whole, every few seconds, the samples at once and each at its own place, so that what is written again after an error or
a kill is there once. A segment belongs to the record in which it begins.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tcnstream.live.events import Event
from tcnstream.live.logs import Log
from tcnstream.live.needs import Needs
from tcnstream.live.sinks.base import Full, Item, SampleBlock, SinkConfig, SinkKind, SinkThread, Taken, Writer
from tcnstream.live.tables.table import Table
from tcnstream.signal.extras import optional_package
from tcnstream.signal.outfile import write_file
from tcnstream.signal.segments import MARKS, Segment
from tcnstream.signal.sinks.wfdb import WfdbWriter, read_segments
from tcnstream.signal.units import unit_factor

_EVERY_S = 5.0
_NOTHING = -32768
_SUFFIXES = (".hea", ".dat", ".tcn")
_NAME = re.compile(r".+_\d+")


@dataclass(frozen=True)
class WfdbConfig(SinkConfig):
    """``every_s`` is how long a record is; ``quota_bytes`` bounds all records, 0 does not."""

    folder: Path
    every_s: float
    quota_bytes: int

    def may_replace(self) -> list[Path]:
        files = (path for path in self.folder.glob("*") if path.suffix in _SUFFIXES)
        return [path for path in files if self.quota_bytes or _NAME.fullmatch(path.stem)]

    def needs(self) -> Needs:
        return Needs(writes=(self.folder,))


class _Record:
    """One record, from ``first_frame`` on; goes on with what an earlier daemon wrote of it."""

    def __init__(self, path: Path, first_frame: int, block: SampleBlock, wfdb: Any) -> None:
        self.path, self.first_frame, self.rate_hz, self.units = path, first_frame, block.rate_hz, block.units or "NU"
        self.channels = int(block.samples.shape[1])
        per_mv = unit_factor(self.units, "mV")
        self.gain = 1000.0 * per_mv if per_mv and self.units != "NU" else 32000.0
        self._dat: int | None = os.open(path.with_suffix(".dat"), os.O_RDWR | os.O_CREAT, 0o644)
        self.frames = min(os.fstat(self._dat).st_size // self._frame_bytes, block.first_frame - first_frame)
        os.ftruncate(self._dat, self.frames * self._frame_bytes)
        # (first frame, frame behind the last one, label) -> segment
        self._segments: dict[tuple[int, int, str], Segment] = {}
        if self.frames and path.with_suffix(".tcn").exists():
            with suppress(Exception):  # what cannot be read is written anew
                for segment in read_segments(wfdb, path, "tcn", self.rate_hz):
                    self._annotate(segment)

    @property
    def _frame_bytes(self) -> int:
        return 2 * self.channels

    @property
    def end_frame(self) -> int:
        return self.first_frame + self.frames

    def add(self, block: SampleBlock) -> None:
        assert self._dat is not None
        begin = block.first_frame - self.first_frame
        if begin > self.frames:
            missing = np.full((begin - self.frames) * self.channels, _NOTHING, "<i2")
            self._write(missing.tobytes(), self.frames)
        scaled = np.clip(np.round(block.samples * self.gain), -32767, 32767).astype("<i2")
        self._write(scaled.tobytes(), begin)
        self.frames = max(self.frames, begin + len(block.samples))

    def _write(self, content: bytes, at_frame: int) -> None:
        assert self._dat is not None
        done, at = 0, at_frame * self._frame_bytes
        while done < len(content):
            done += os.pwrite(self._dat, content[done:], at + done)

    def annotate(self, event: Event) -> None:
        """A segment that begins in this record; one that ends behind it ends with it in the annotations."""
        start_s = max(0.0, event.start_s - self.first_frame / self.rate_hz)
        end_s = start_s + event.end_s - event.start_s
        marks = {mark: event.more.get(mark) for mark in MARKS}
        self._annotate(Segment(start_s, end_s, event.label, event.probability, **marks))

    def _annotate(self, segment: Segment) -> None:
        first, end = round(segment.start_s * self.rate_hz), round(segment.end_s * self.rate_hz)
        self._segments[first, end, segment.label] = segment

    def save(self) -> None:
        lines = [f"{self.path.name} {self.channels} {self.rate_hz:g} {self.frames}"]
        name, form = f"{self.path.name}.dat", f"{self.gain:g}/{self.units}"
        lines += [f"{name} 16 {form} 16 0 0 0 0 {channel}" for channel in range(self.channels)]
        write_file(self.path.with_suffix(".hea"), ("\n".join(lines) + "\n").encode())
        if self._segments:
            writer = WfdbWriter(self.path.with_suffix(".tcn"), self.rate_hz)
            writer.write(self._segments.values())
            writer.close()

    def close(self) -> None:
        self.save()
        if self._dat is not None:
            os.close(self._dat)
            self._dat = None


class RecordWriter(Writer):
    """A record a stream at a time, and the one before it, which annotations still come for."""

    def __init__(self, config: WfdbConfig) -> None:
        self._wfdb = optional_package("wfdb", f"sink.{config.name} writes WFDB records", "files")
        self._config = config
        self._records: dict[str, list[_Record]] = {}
        self._saved_s = time.monotonic()
        self._taken = Taken()
        config.folder.mkdir(parents=True, exist_ok=True)

    def write(self, items: Sequence[Item]) -> None:
        for item in self._taken.left(items):
            if isinstance(item, SampleBlock):
                self._record(item).add(item)
            elif item.type == "segment":
                self._annotate(item)
            self._taken.done(item)
        if time.monotonic() - self._saved_s > _EVERY_S:
            self._saved_s = time.monotonic()
            for record in self._open():
                record.save()
            self._tidy()

    def close(self) -> None:
        for record in self._open():
            record.close()
        self._records.clear()
        self._tidy()

    def _open(self) -> list[_Record]:
        return [record for records in self._records.values() for record in records]

    def _annotate(self, event: Event) -> None:
        for record in reversed(self._records.get(event.stream, [])):
            if event.frame >= record.first_frame:
                record.annotate(event)
                return

    def _record(self, block: SampleBlock) -> _Record:
        records = self._records.setdefault(block.stream, [])
        every_frames = round(self._config.every_s * block.rate_hz)
        if records and 0 <= block.first_frame - records[-1].first_frame < every_frames:
            return records[-1]
        while len(records) > 1:
            records[0].close()
            del records[0]
        first_frame = block.first_frame if records else self._begun(block, every_frames)
        path = self._config.folder / f"{block.stream}_{first_frame}"
        records.append(_Record(path, first_frame, block, self._wfdb))
        return records[-1]

    def _begun(self, block: SampleBlock, every_frames: int) -> int:
        """The first frame of the record that an earlier daemon began and the block belongs to, else of the block."""
        names = re.compile(rf"{re.escape(block.stream)}_(\d+)\.dat")
        found = (names.fullmatch(path.name) for path in self._config.folder.iterdir())
        frames = [int(match[1]) for match in found if match]
        return max((n for n in frames if 0 <= block.first_frame - n < every_frames), default=block.first_frame)

    def _tidy(self) -> None:
        """The oldest records go first; those that are written stay."""
        if not self._config.quota_bytes:
            return
        sizes: dict[str, int] = {}
        written: dict[str, float] = {}
        for path in self._config.folder.iterdir():
            if path.suffix in _SUFFIXES:
                facts = path.stat()
                sizes[path.stem] = sizes.get(path.stem, 0) + facts.st_size
                written[path.stem] = max(written.get(path.stem, 0.0), facts.st_mtime)
        open_now = {record.path.name for record in self._open()}
        total = sum(sizes.values())
        for name in sorted(sizes.keys() - open_now, key=written.__getitem__):
            if total <= self._config.quota_bytes:
                return
            for suffix in _SUFFIXES:
                (self._config.folder / f"{name}{suffix}").unlink(missing_ok=True)
            total -= sizes[name]


def _configure(name: str, table: Table, folder: Path, full: Full, queue_events: int) -> WfdbConfig:
    path = folder / table.text("path", needed="name the folder")
    every_s = table.seconds("every", 3600.0, above=0.0)
    return WfdbConfig(name, "wfdb", full, queue_events, path, every_s, table.size_bytes("quota", 0))


def _open(config: WfdbConfig, log: Log) -> SinkThread:
    return SinkThread(config, RecordWriter(config), log, wants_samples=True)


KIND = SinkKind("wfdb", _configure, _open)
