"""Records of PhysioNet: a header and the signals that it names (package ``wfdb``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tcnstream.errors import SignalError
from tcnstream.signal.extras import optional_package
from tcnstream.signal.sources.base import (
    CHUNK_FRAMES,
    Channels,
    Chunk,
    FileKind,
    Recording,
    choose_channels,
    read_by_package,
)

_SUFFIXES = (".hea", ".dat")


def read_wfdb(path: Path, channels: Channels) -> Recording:
    """A record by its header, its signal file or its bare name, in physical units."""
    record = _record(path)
    if not _header(record).is_file():
        raise SignalError(f"there is no file {record}.hea: a WFDB record needs its header")
    wfdb = optional_package("wfdb", f"{record} is a WFDB record", "files")
    header = read_by_package(f"the WFDB header {record}.hea", wfdb.rdheader, str(record))
    available = tuple(header.sig_name or ())
    chosen = choose_channels(available, channels, str(record))
    units = {header.units[number] for number in chosen} if header.units else {""}
    if len(units) > 1:
        raise SignalError(f"the channels of {record} are in {' and '.join(sorted(units))}: choose channels of one unit")

    def chunks() -> Iterator[Chunk]:
        order = sorted(set(chosen))
        for at in range(0, header.sig_len, CHUNK_FRAMES):
            to = min(at + CHUNK_FRAMES, header.sig_len)
            what = f"the WFDB record {record}"
            block = read_by_package(what, wfdb.rdrecord, str(record), sampfrom=at, sampto=to, channels=order).p_signal
            yield np.asarray(block, np.float32)[:, [order.index(number) for number in chosen]]

    names = tuple(available[number] for number in chosen)
    return Recording(str(record), float(header.fs), units.pop(), names, available, header.sig_len, chunks())


def _record(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in _SUFFIXES else path


def _header(record: Path) -> Path:
    return record.with_name(record.name + ".hea")


def _is_bare_name(path: Path) -> bool:
    return bool(path.name) and _header(path).is_file()


def _files(path: Path) -> list[Path]:
    record = _record(path)
    return [path, *(record.with_name(record.name + suffix) for suffix in _SUFFIXES), *_named_files(record)]


def _named_files(record: Path) -> list[Path]:
    """The files that a record's header names: its signals, or the headers and signals of its segments."""
    try:
        lines = _header(record).read_text(errors="replace").splitlines()
    except OSError:
        return []
    facts = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    named = [record.with_name(fields[0]) for fields in facts[1:] if Path(fields[0]).name == fields[0] != "~"]
    if not facts or "/" not in facts[0][0]:
        return named
    segments = [segment for segment in named if segment != record]
    return [file for segment in segments for file in (_header(segment), *_named_files(segment))]


KIND = FileKind(names=("WFDB",), suffixes=_SUFFIXES, open=read_wfdb, files=_files, claims=_is_bare_name)
