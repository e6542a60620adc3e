"""Records of PhysioNet (WFDB): a header and the signal files, or the segments, that it names.

Read here and not by the package ``wfdb``: that one drops what is not ASCII from a header (a microvolt becomes a volt),
averages signals that are faster than the record, reads difference formats wrongly in chunks, and brings pandas, SciPy
and a web client to the base install. The tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import (
    Channels,
    FileKind,
    Gap,
    Piece,
    Recording,
    choose_channels,
    of_one_unit,
)
from tcnstream.signal.sources.wfdb_header import NULL, Header, Signal, read_header
from tcnstream.signal.sources.wfdb_samples import BLOCK_FRAMES, frames_there, must_be_known, read_signal
from tcnstream.signal.units import unit_factor

_SUFFIXES = (".hea", ".dat")
Values: TypeAlias = npt.NDArray[np.float64]


def read_wfdb(path: Path, channels: Channels) -> Recording:
    """A record by its header, its signal file or its bare name: signals of one rate, in physical units."""
    header = read_header(_header(_record(path)))
    source = str(_record(path))
    if header.segments:
        return _of_segments(source, header, channels)
    available = tuple(signal.name for signal in header.signals)
    chosen = choose_channels(available, channels, source)
    signals = [header.signals[number] for number in chosen]
    there = _frames_there(header, signals)
    frames = there if header.frames is None else min(there, header.frames)
    return Recording(
        source=source,
        rate_hz=header.rate_hz * _per_frame(source, header, signals),
        units=of_one_unit(source, [signal.name for signal in signals], [signal.units for signal in signals]),
        channels=tuple(signal.name for signal in signals),
        available=available,
        frames=frames * signals[0].per_frame,
        chunks=_chunks(header, signals, signals, frames),
        remark="; ".join(_remarks(header, signals, there)),
        available_units=tuple(signal.units for signal in header.signals),
    )


def _of_segments(source: str, record: Header, channels: Channels) -> Recording:
    """Segments one after the other. A layout segment (of no frames) names the signals, which each may lack; without
    one, all have the same signals in the same order."""
    named = [(name, frames, None if name == NULL else _segment(record, name)) for name, frames in record.segments]
    has_layout = record.segments[0][1] == 0
    first = next((header for _, _, header in named if header is not None), None)
    if first is None or not first.signals:
        raise SignalError(f"the segments of {source} have no signals: give another record")
    available = tuple(signal.name for signal in first.signals)
    chosen = choose_channels(available, channels, source)
    wanted = [first.signals[number] for number in chosen]
    parts = [
        (frames, header, None if header is None else _in_segment(header, chosen, wanted, has_layout))
        for name, frames, header in named[has_layout:]
    ]
    per_frame = _per_frame(source, record, wanted)
    units = of_one_unit(source, [signal.name for signal in wanted], [signal.units for signal in wanted])
    remarks: list[str] = []
    plans: list[tuple[int, Header | None, list[Signal], int]] = []
    for frames, header, signals in parts:
        there = 0
        if header is not None and signals is not None:
            if header.rate_hz != record.rate_hz or _per_frame(source, header, signals) != per_frame:
                raise SignalError(f"the segments of {source} differ in rate: give one of them, such as {header.path}")
            there = min(frames, _frames_there(header, signals))
            if there < frames:
                remarks.append(f"cut short: {header.path.name} says {frames:,} frames and {there:,} are there")
        plans.append((frames, header, signals or [], there))
    whole = sum(frames for _, frames in record.segments)
    if record.frames is not None and record.frames != whole:
        remarks.append(f"it says {record.frames:,} frames and its segments have {whole:,}, which are all read")

    def chunks() -> Iterator[Piece]:
        for frames, header, signals, there in plans:
            if header is not None and there:
                yield from _chunks(header, signals, wanted, there)
            if frames > there:
                yield Gap((frames - there) * per_frame)

    return Recording(
        source=source,
        rate_hz=record.rate_hz * per_frame,
        units=units,
        channels=tuple(signal.name for signal in wanted),
        available=available,
        frames=sum(frames for _, frames in record.segments) * per_frame,
        chunks=chunks(),
        remark="; ".join(remarks),
        available_units=tuple(signal.units for signal in first.signals),
    )


def _segment(record: Header, name: str) -> Header:
    header = read_header(_header(record.path.parent / name))
    if header.segments:
        raise SignalError(f"{record.path} names {name}, which is made of segments itself: give {name}")
    return header


def _in_segment(header: Header, chosen: Sequence[int], wanted: Sequence[Signal], by_name: bool) -> list[Signal] | None:
    """A segment's own descriptions of the wanted signals; None where it lacks one."""
    if not by_name:
        if len(header.signals) <= max(chosen):
            return None
        return [header.signals[number] for number in chosen]
    own = {signal.name: signal for signal in header.signals}
    if not all(signal.name in own for signal in wanted):
        return None
    return [own[signal.name] for signal in wanted]


def _per_frame(source: str, header: Header, signals: Sequence[Signal]) -> int:
    """Samples a frame, which are the same for all."""
    if len({signal.per_frame for signal in signals}) > 1:
        rates = ", ".join(f"{signal.name} at {header.rate_hz * signal.per_frame:g} Hz" for signal in signals)
        raise SignalError(f"the channels of {source} differ in rate ({rates}): choose channels of one with channels=")
    return signals[0].per_frame


def _group(header: Header, signal: Signal) -> list[Signal]:
    """All signals of the signal's file, in their order."""
    return [other for other in header.signals if other.file == signal.file]


def _frames_there(header: Header, signals: Sequence[Signal]) -> int:
    """Frames that the files of ``signals`` hold for all of them."""
    counts = []
    for signal in signals:
        file = header.path.parent / signal.file
        if not file.is_file():
            raise SignalError(f"{header.path} cannot be read without {file}, which is not there")
        must_be_known(file, _group(header, signal))
        counts.append(frames_there(file, _group(header, signal)) - signal.skew_frames)
    return max(0, min(counts))


def _remarks(header: Header, signals: Sequence[Signal], there: int) -> Iterator[str]:
    if header.frames is not None and there < header.frames - max(signal.skew_frames for signal in signals):
        yield f"cut short: it says {header.frames:,} frames and {there:,} are there"
    elif header.frames is not None and there > header.frames + 2:  # a last unit may be filled up
        yield f"its files hold {there - header.frames:,} frames more than its header says, which are left out"
    if not header.says_rate:
        yield f"its header says no rate: {header.rate_hz:g} Hz is WFDB's own"
    if not all(signal.is_calibrated for signal in signals):
        yield "its header says no gain: 200 steps a mV are WFDB's own"


def _chunks(header: Header, signals: Sequence[Signal], like: Sequence[Signal], frames: int) -> Iterator[Piece]:
    """``frames`` frames of signals of one rate, each in the unit of its twin in ``like``."""
    columns = []
    for signal, twin in zip(signals, like, strict=True):
        factor = unit_factor(signal.units, twin.units)
        if factor is None:
            raise SignalError(f"{header.path} has {signal.name} in {signal.units}, and it began in {twin.units}")
        group = _group(header, signal)
        blocks = read_signal(header.path.parent / signal.file, group, group.index(signal))
        columns.append(_in_pieces((block * factor for block in blocks), BLOCK_FRAMES * signal.per_frame))
    left = frames * signals[0].per_frame
    while left:
        pieces = [next(column, np.zeros(0)) for column in columns]
        count = min(left, *(len(piece) for piece in pieces))
        if not count:
            raise SignalError(f"{header.path.stem} ends early: a file of it became shorter while it was read")
        yield np.stack([piece[:count] for piece in pieces], axis=1).astype(np.float32)
        left -= count


def _in_pieces(blocks: Iterator[Values], size: int) -> Iterator[Values]:
    """The same values in pieces of ``size``, the last one shorter."""
    rest = np.zeros(0)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    yield rest


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
        header = read_header(_header(record))
    except SignalError:
        return []
    if not header.segments:
        return [record.parent / signal.file for signal in header.signals if signal.file != NULL]
    segments = [record.parent / name for name, _ in header.segments if name != NULL and name != record.name]
    return [file for segment in segments for file in (_header(segment), *_named_files(segment))]


KIND = FileKind(names=("WFDB",), suffixes=_SUFFIXES, open=read_wfdb, files=_files, claims=_is_bare_name)
