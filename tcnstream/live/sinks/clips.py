"""Clips: the signal around chosen events, a WAV or EDF file each, kept for so many days and bytes.

A clip is written, whole or not at all, when the signal after its event is there. What is missing in it stands as zero.
"""

from __future__ import annotations

import io
import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tcnstream.live.events import Event
from tcnstream.live.logs import Log
from tcnstream.live.needs import Needs
from tcnstream.live.sinks.base import Full, Item, SampleBlock, SinkConfig, SinkKind, SinkThread, Taken, Writer
from tcnstream.live.tables.table import Table
from tcnstream.signal.extras import optional_package
from tcnstream.signal.outfile import write_file

_LONGEST_S = 120.0
"""Signal that is remembered beside what is asked for: an event is final some time after it ended."""

_TIDY_S = 60.0
_NAME = re.compile(r".+-\d{8,}-.+")


@dataclass(frozen=True)
class ClipsConfig(SinkConfig):
    """``labels`` are those of events; each clip has ``before_s`` and ``after_s`` around its event."""

    folder: Path
    labels: tuple[str, ...]
    before_s: float
    after_s: float
    format: str
    keep_s: float
    keep_bytes: int

    def may_replace(self) -> list[Path]:
        clips = self.folder.glob(f"*.{self.format}")
        lets_go = bool(self.keep_s or self.keep_bytes)
        return [path for path in clips if lets_go or _NAME.fullmatch(path.stem)]

    def needs(self) -> Needs:
        return Needs(writes=(self.folder,))


class _Signal:
    """The newest seconds of one stream."""

    def __init__(self, rate_hz: float, units: str, channels: int, keep_s: float) -> None:
        self.rate_hz, self.units, self.channels = rate_hz, units, channels
        self._most = round(keep_s * rate_hz)
        self._blocks: deque[SampleBlock] = deque()
        self.end = 0

    @property
    def begin(self) -> int:
        """The oldest frame that is known."""
        return self._blocks[0].first_frame

    def add(self, block: SampleBlock) -> None:
        self._blocks.append(block)
        self.end = block.first_frame + len(block.samples)
        while self._blocks[0].first_frame + len(self._blocks[0].samples) < self.end - self._most:
            self._blocks.popleft()

    def cut(self, begin: int, end: int) -> np.ndarray:
        """(end - begin, channels), zero where nothing is known."""
        made = np.zeros((end - begin, self.channels), np.float32)
        for block in self._blocks:
            first, last = max(begin, block.first_frame), min(end, block.first_frame + len(block.samples))
            if first < last:
                made[first - begin : last - begin] = block.samples[first - block.first_frame : last - block.first_frame]
        return made


class ClipsWriter(Writer):
    """Waits for the end of clips, writes them, and lets old ones go."""

    def __init__(self, config: ClipsConfig) -> None:
        self._config = config
        self._signals: dict[str, _Signal] = {}
        self._open: list[tuple[int, int, Event]] = []
        self._taken = Taken()
        if config.format == "edf":
            optional_package("pyedflib", f"sink.{config.name} writes EDF", "files")
        config.folder.mkdir(parents=True, exist_ok=True)
        self._tidy()

    def write(self, items: Sequence[Item]) -> None:
        config = self._config
        for item in self._taken.left(items):
            if isinstance(item, SampleBlock):
                signal = self._signals.get(item.stream)
                if signal is None:
                    keep_s = config.before_s + config.after_s + _LONGEST_S
                    signal = _Signal(item.rate_hz, item.units, item.samples.shape[1], keep_s)
                    self._signals[item.stream] = signal
                signal.add(item)
            elif item.label in config.labels and item.stream in self._signals:
                rate_hz = self._signals[item.stream].rate_hz
                begin = max(0, item.frame - round(config.before_s * rate_hz))
                frames = round((item.end_s - item.start_s + config.after_s) * rate_hz)
                self._open.append((begin, item.frame + frames, item))
            self._taken.done(item)
        self._write_ready(every=False)
        if time.monotonic() - self._tidied_s > _TIDY_S:
            self._tidy()

    def close(self) -> None:
        self._write_ready(every=True)

    def _write_ready(self, every: bool) -> None:
        written = False
        while ready := next((c for c in self._open if every or self._signals[c[2].stream].end >= c[1]), None):
            begin, end, event = ready
            signal = self._signals[event.stream]
            self._save(event, signal, begin, min(end, signal.end))
            self._open.remove(ready)
            written = True
        if written:
            self._tidy()

    def _save(self, event: Event, signal: _Signal, begin: int, end: int) -> None:
        label = re.sub(r"[^\w.-]", "_", event.label)
        path = self._config.folder / f"{event.stream}-{event.seq:08d}-{label}.{self._config.format}"
        if signal.begin > begin and path.exists():
            return  # a replay goes on behind a clip that was whole
        samples = signal.cut(begin, max(begin + 1, end))
        is_wav = self._config.format == "wav"
        content = _as_wav(samples, round(signal.rate_hz)) if is_wav else _as_edf(samples, signal)
        write_file(path, content)

    def _tidy(self) -> None:
        """The oldest go first; a clip that is older than it may be goes at once."""
        config = self._config
        self._tidied_s = time.monotonic()
        for part in config.folder.glob(f".*.{config.format}.*.part"):
            part.unlink(missing_ok=True)  # of a daemon that was killed
        clips = sorted(config.folder.glob(f"*.{config.format}"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in clips)
        for path in clips:
            facts = path.stat()
            if (config.keep_bytes and total > config.keep_bytes) or (
                config.keep_s and time.time() - facts.st_mtime > config.keep_s
            ):
                path.unlink(missing_ok=True)
                total -= facts.st_size


def _as_wav(samples: np.ndarray, rate_hz: int) -> bytes:
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, samples, rate_hz, subtype="FLOAT", format="WAV")
    return content.getvalue()


def _as_edf(samples: np.ndarray, signal: _Signal) -> bytes:
    """Raises OSError where there is no room for the file that the package needs meanwhile."""
    import pyedflib

    header = {
        "dimension": signal.units,
        "sample_frequency": signal.rate_hz,
        "digital_min": -32768,
        "digital_max": 32767,
        "transducer": "",
        "prefilter": "",
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.edf"
        try:
            with pyedflib.EdfWriter(str(path), signal.channels, file_type=pyedflib.FILETYPE_EDFPLUS) as writer:
                for channel in range(signal.channels):
                    high = max(1e-6, float(np.abs(samples[:, channel]).max()))
                    more = {"label": str(channel), "physical_min": -high, "physical_max": high}
                    writer.setSignalHeader(channel, header | more)
                writer.writeSamples([np.ascontiguousarray(column, np.float64) for column in samples.T])
        except RuntimeError as error:
            raise OSError(str(error)) from error
        return path.read_bytes()


def _configure(name: str, table: Table, folder: Path, full: Full, queue_events: int) -> ClipsConfig:
    labels = table.texts("labels")
    if not labels:
        table.problems.add(table.path, 'has no labels: say around which events clips are cut, such as ["beat"]')
    keep = table.table("keep")
    keep_s, keep_bytes = 0.0, 0
    if keep is not None:
        keep_s = keep.number("days", 0.0, above=0.0) * 86400
        keep_bytes = keep.size_bytes("size", 0)
        keep.finish()
    return ClipsConfig(
        name,
        "clips",
        full,
        queue_events,
        folder / table.text("path", needed="name the folder"),
        labels,
        table.seconds("before", 5.0),
        table.seconds("after", 5.0),
        table.one_of("format", ("wav", "edf"), "wav"),
        keep_s,
        keep_bytes,
    )


def _open(config: ClipsConfig, log: Log) -> SinkThread:
    return SinkThread(config, ClipsWriter(config), log, wants_samples=True)


KIND = SinkKind("clips", _configure, _open)
