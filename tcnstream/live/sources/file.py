"""Recordings, at their own pace, faster, or as fast as they can be read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tcnstream.live.blocks import Samples
from tcnstream.live.needs import Needs
from tcnstream.live.sources.base import Replay, SourceConfig, SourceKind, Wanted, rate_option
from tcnstream.live.tables.table import Table
from tcnstream.signal.sources import files_of, open_source
from tcnstream.signal.sources.base import Gap, Listening, ReadOptions, Recording
from tcnstream.signal.sources.raw import RAW_FORMATS


@dataclass(frozen=True)
class FileConfig(SourceConfig):
    """A recording that ``tcnstream run`` reads; ``speed`` is infinite for ``max``, ``repeat`` plays it for ever."""

    path: Path
    speed: float
    raw_format: str | None
    raw_channels: int
    repeat: bool

    @property
    def is_there(self) -> bool:
        """Whether there is such a file, or a record of that name."""
        return self.path.is_file() or (self.path.parent / f"{self.path.stem}.hea").is_file()

    def units_for(self, wanted: Wanted) -> str:
        return FileReplay(replace(self, repeat=False), wanted).units if self.is_there else self.units

    @property
    def goes_on(self) -> bool:
        return self.repeat

    def needs(self) -> Needs:
        return Needs(reads=tuple(Path(path) for path in files_of(str(self.path))))


class FileReplay(Replay):
    """Reads a recording again from the start each time, and skips to where it is to go on."""

    def __init__(self, config: FileConfig, wanted: Wanted) -> None:
        self._config, self._channels = config, wanted.channels
        self._one_ear = wanted.channels == 1 and wanted.is_sound
        self.speed = config.speed
        recording = self._open()
        self.rate_hz, self.units = recording.rate_hz, recording.units
        self.source = recording.source
        facts = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files_of(str(config.path)) if path.exists()]
        self.identity = repr((config, wanted.channels, facts))
        self._frames = _frames_of(recording) if config.repeat else 0

    def pieces(self, from_frame: int, block_frames: int) -> Iterator[Samples | Gap]:
        rounds = itertools.count() if self._config.repeat else range(1)
        at = from_frame // self._frames * self._frames if self._config.repeat else 0
        rest = np.zeros((0, 1), np.float32)
        for piece in itertools.chain.from_iterable(self._open().chunks for _ in rounds):
            frames = piece.frames if isinstance(piece, Gap) else len(piece)
            skipped = min(frames, max(0, from_frame - at))
            at += skipped
            if isinstance(piece, Gap):
                if len(rest):
                    yield rest
                if skipped < frames:
                    yield Gap(frames - skipped)
                at, rest = at + len(rest) + frames - skipped, rest[:0]
                continue
            rest = piece[skipped:] if not len(rest) else np.concatenate([rest, piece[skipped:]])
            while len(rest) >= (size := block_frames - at % block_frames):
                yield rest[:size]
                rest, at = rest[size:], at + size
        if len(rest):
            yield rest

    def _open(self) -> Recording:
        config = self._config
        options = ReadOptions(
            channels=None if isinstance(self._channels, int) else tuple(self._channels),
            rate_hz=config.rate_hz,
            units=config.units or None,
            raw_format=config.raw_format,
            raw_channels=config.raw_channels,
        )
        listening = Listening(hears_with_one_ear=self._one_ear, missing_is_gap=True)
        return open_source(str(config.path), self._channels, options, listening)


def _frames_of(recording: Recording) -> int:
    return sum(piece.frames if isinstance(piece, Gap) else len(piece) for piece in recording.chunks)


def _configure(uri: str, name: str, options: Table, folder: Path) -> FileConfig:
    speed = options.text("speed", "max")
    pace = math.inf
    if speed != "max":
        try:
            pace = float(speed)
        except ValueError:
            pace = 0.0
        if not 0 < pace < math.inf:
            options.complain("speed", f'= "{speed}" is no speed: give max, or a number such as 1 or 100')
            pace = math.inf
    raw_format = options.one_of("raw_format", RAW_FORMATS, "") or None
    path = folder / name
    config = FileConfig(
        "file",
        uri,
        rate_option(options),
        options.text("units"),
        path,
        pace,
        raw_format,
        options.whole("raw_channels", 1, least=1),
        options.flag("repeat", False),
    )
    if not name or not config.is_there:
        options.problems.add(options.path, f'= "{uri}" names no file: there is no {path}')
    return config


KIND = SourceKind("file", "file:PATH?speed=max|1|100", _configure, FileReplay, replayable=True, ends=True)
