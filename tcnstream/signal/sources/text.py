"""Numbers in text: a frame a line, comma, tab, semicolon or white space between channels."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import (
    CHUNK_FRAMES,
    Channels,
    Chunk,
    FileKind,
    Recording,
    choose_channels,
    must_exist,
)

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": ""}


def _read_file(path: Path, channels: Channels) -> Recording:
    return read_text(must_exist(path).open("rb"), channels, _DELIMITERS[path.suffix.lower()], str(path))


def read_text(stream: BinaryIO, channels: Channels, delimiter: str, source: str) -> Recording:
    """Columns of numbers, parted by ``delimiter`` or, where that is empty, by what the first line has.

    Comment lines ``# rate_hz = 360`` and ``# units = mV`` say what the numbers are.
    """
    lines = enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace"), start=1)
    facts: dict[str, str] = {}
    first: tuple[int, list[str]] | None = None
    for number, line in lines:
        if fact := re.match(r"#\s*(\w+)\s*[=:]\s*(.*)", line):
            facts[fact[1]] = fact[2].strip()
        elif line.strip() and not line.startswith("#"):
            delimiter = delimiter if delimiter and delimiter in line else _delimiter(line)
            first = number, _cells(line, delimiter)
            break
    if first is None:
        stream.close()
        raise SignalError(f"{source} holds no numbers: give a recording with at least one frame")
    named = not all(_is_number(cell) for cell in first[1])
    available = tuple(first[1]) if named else tuple(str(number) for number in range(len(first[1])))
    if isinstance(channels, int):
        # A column that counts time is not a signal, unless it is asked for by name.
        signals = [name for name in available if name.casefold() not in {"time", "time_s", "t", "seconds", "index", ""}]
        chosen = [available.index(signals[n]) for n in choose_channels(signals, channels, source)]
    else:
        chosen = choose_channels(available, channels, source)

    def chunks() -> Iterator[Chunk]:
        with stream:
            rows = []
            for number, cells in itertools.chain([] if named else [first], cells_of_lines):
                rows.append(_row(number, cells, chosen, len(available), source))
                if len(rows) >= chunk_frames:
                    yield np.array(rows, np.float32)
                    rows.clear()
            if rows:
                yield np.array(rows, np.float32)

    cells_of_lines = (
        (number, _cells(line, delimiter)) for number, line in lines if line.strip() and not line.startswith("#")
    )
    # A pipe may be a person typing: there every line is a chunk.
    chunk_frames = CHUNK_FRAMES if stream.seekable() else 1
    names = tuple(available[number] for number in chosen)
    rate_hz = _number(facts["rate_hz"], f"{source}: the comment rate_hz") if "rate_hz" in facts else None
    return Recording(source, rate_hz, facts.get("units", ""), names, available, None, chunks())


def _delimiter(line: str) -> str:
    return next((mark for mark in (";", "\t", ",") if mark in line), "")


def _cells(line: str, delimiter: str) -> list[str]:
    if not delimiter:
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text
    return True


def _number(text: str, where: str) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        raise SignalError(f"{where} is {text!r} and not a number: mend the file") from None


def _row(line: int, cells: list[str], chosen: list[int], columns: int, source: str) -> list[float]:
    if len(cells) != columns:
        raise SignalError(f"{source}, line {line}, has {len(cells)} columns, the first has {columns}: mend the file")
    return [_number(cells[number], f"{source}, line {line}, column {number}") for number in chosen]


KIND = FileKind(names=("CSV", "TSV"), suffixes=tuple(_DELIMITERS), open=_read_file)
