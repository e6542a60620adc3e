"""Numbers in text: a frame a line, its numbers parted by commas, semicolons, tabs or white space.

Files as spreadsheets, pandas and recorders write them. What a column is, is read from the header or, where that does
not say it, from the numbers of the first lines; and what was concluded is said in the Recording's remark.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import (
    Channels,
    Chunk,
    FileKind,
    Gap,
    Piece,
    Recording,
    choose_channels,
    must_be_frames_first,
    must_exist,
    of_one_unit,
)
from tcnstream.signal.sources.text_columns import (
    Clock,
    Column,
    clock_of,
    counts,
    described,
    digits_after_the_point,
    is_unit,
    unit_of_times,
    without_holes,
)
from tcnstream.signal.sources.text_lines import (
    MISSING,
    Line,
    clock_in,
    commas_have_two_meanings,
    dialect_of,
    in_thousands,
    is_comment,
    is_date,
    is_meant_as_a_number,
    lines_of,
    number_in,
    seconds_of_day,
    why_no_number,
)
from tcnstream.signal.units import known

_SUFFIXES = (".csv", ".tsv", ".txt")
_LOOK_LINES = 512
_LOOK_LINES_OF_A_PIPE = 16
_LOOK_LINES_OF_A_TREND = 80
_MOST_HEADER_LINES = 64
_DAY_S = 86400.0
_RATE = re.compile(
    r"\b(?:rate_hz|(?:sampl(?:e|ing)[ _-]?)(?:rate|freq(?:uency)?)(?:[ _]?\(?hz\)?)?|fs)[\"']?\s*[:=;,]\s*"
    r"(?P<value>[^\s;,}\]\"']+)\s*(?P<unit>khz)?",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[\"']?sep=.[\"']?", re.IGNORECASE)
"""The first line that spreadsheets write to themselves."""

_NO_SENSOR = re.compile(r"nSeq|D[IO]|[IO]\d+")
"""Columns of OpenSignals that are a counter or digital lines."""

_UNITS = re.compile(r"^\W*units?\s*(?P<mark>[:=,;])\s*(?P<unit>\S+)", re.IGNORECASE)


def _read_file(path: Path, channels: Channels) -> Recording:
    return read_text(must_exist(path, or_be_a_pipe=True).open("rb"), channels, str(path))


def read_text(stream: BinaryIO, channels: Channels, source: str) -> Recording:
    """Columns of numbers. A header names them and may say units; without one they are numbers from 0 on.

    Comment lines ``# rate_hz = 360`` and ``# units = mV`` say what the numbers are. Columns that are time or only
    count are no signals, unless they are asked for. A regular time column in a known unit says the rate.
    """
    try:
        return _Table(stream, source).recording(channels)
    except BaseException:
        stream.close()
        raise


@dataclass(frozen=True)
class _When:
    """The column that says when, and how its cells are read."""

    column: int
    clock: Clock
    is_time_of_day: bool


class _Table:
    """The head of a table, looked at, and the rest of its lines, to be read."""

    def __init__(self, stream: BinaryIO, source: str) -> None:
        self._stream, self._source = stream, source
        self._blocks = lines_of(stream, source)
        self._is_file = stream.seekable()
        self._facts: list[str] = []
        self._ended = False
        self._looked = _joined(self._look())
        if not self._looked:
            raise SignalError(f"{source} holds no numbers: give a recording with at least one frame")
        self._dialect = dialect_of([line for _, line in self._looked])
        if self._dialect.delimiter == "," and commas_have_two_meanings([line for _, line in self._looked]):
            raise SignalError(
                f"{source}, line {self._looked[-1][0]}, has commas before decimals and between columns: write points "
                "before decimals, or semicolons between columns"
            )
        rows = [self._dialect.cells(line) for _, line in self._looked]
        header = self._header_lines(rows)
        self._facts += [self._looked[k][1] for k in range(header)]
        if header == len(rows):
            raise SignalError(f"{source} holds no numbers: give a recording with at least one frame")
        self._width = _width(rows[header:])
        self.columns = self._columns(header, rows)
        self._looked, self._rows = self._looked[header:], [self._fit(row) for row in rows[header:]]
        if doubtful := in_thousands(list(zip(*self._rows, strict=True)), self._dialect):
            raise SignalError(
                f"{source} has numbers such as {doubtful}, whose mark may be a thousands separator or stand before "
                "decimals: write them without thousands separators and with points before decimals"
            )

    def recording(self, channels: Channels) -> Recording:
        available = tuple(column.name for column in self.columns)
        remarks = []
        if isinstance(channels, int):
            signals = self._signals(channels)
            must_be_frames_first(self._source, len(self._rows) if self._ended else None, len(signals), channels)
            chosen = [signals[k] for k in choose_channels([available[k] for k in signals], channels, self._source)]
            remarks += [
                f"column {available[k]} {'is text' if self._is_text(k) else 'counts'} and is taken for no signal"
                for k in range(len(available))
                if k not in signals and self.columns[k].kind == "signal" and not self._is_clock(k)
            ]
        else:
            chosen = choose_channels(available, channels, self._source)
        when = self._when(chosen)
        rate_hz, remark = self._rate(when)
        fact_units = next((unit for line in self._facts if (unit := _unit_in(line))), "")
        units = [known(column.unit or fact_units) for column in self.columns]
        names = tuple(available[k] for k in chosen)
        if self._dialect.decimal == ",":
            remarks.append("its commas stand before decimals")
        return Recording(
            source=self._source,
            rate_hz=rate_hz,
            units=of_one_unit(self._source, names, [units[k] for k in chosen]),
            channels=names,
            available=available,
            frames=None,
            chunks=self._pieces(chosen, when),
            remark="; ".join([*remarks, *([remark] if remark else [])]),
            available_units=tuple(units),
        )

    def _look(self) -> list[Line]:
        """The first lines: of a file some hundreds, of a pipe as few as will do."""
        looked: list[Line] = []
        enough = _LOOK_LINES if self._is_file else 1
        for block in self._blocks:
            for number, line in block:
                if is_comment(line):
                    self._facts.append(line)
                elif line.strip() and not _SEPARATOR.fullmatch(line.strip()):
                    looked.append((number, line))
            if not self._is_file and looked:
                enough = self._enough_of_a_pipe(looked)
            if len(looked) >= enough:
                return looked
        self._ended = True
        return looked

    def _enough_of_a_pipe(self, looked: list[Line]) -> int:
        """One line of numbers says enough where it is one number; else some must tell signals from counters."""
        cells = dialect_of([looked[-1][1]]).cells(looked[-1][1])
        is_one_number = len(cells) == 1 and number_in(cells[0], ".") is not None
        if is_one_number or (len(looked) > 1 and len(cells) == 1):
            return len(looked)
        if len(cells) == 1:
            return len(looked) + 1
        if len(looked) < _LOOK_LINES_OF_A_PIPE or not _may_be_times([line for _, line in looked]):
            return _LOOK_LINES_OF_A_PIPE
        return _LOOK_LINES_OF_A_TREND

    def _header_lines(self, rows: list[list[str]]) -> int:
        """How many lines come before the first one of numbers."""
        header = 0
        for k, row in enumerate(rows[:_MOST_HEADER_LINES]):
            if self._is_header(row, rows[k + 1 :]):
                header = k + 1
            elif any(row) and not self._is_fact(row, rows[k + 1 :]):
                return header
            # else a blank row or a fact, which is of the header only where that goes on below it
        if header == _MOST_HEADER_LINES:
            raise SignalError(
                f"{self._source} has no numbers in its first {header} lines: give a frame a line, its numbers parted "
                "by commas, semicolons, tabs or white space"
            )
        return header

    def _is_fact(self, row: list[str], below: list[list[str]]) -> bool:
        """Whether a line says a number of the recording, as in "height,1.75", above a table that begins otherwise."""
        first = [other[0] for other in below if other]
        is_named = bool(row[0]) and self._number(row[0]) is None and seconds_of_day(row[0]) is None
        return is_named and 2 * sum(self._number(cell) is not None for cell in first) > len(first)

    def _is_header(self, row: list[str], below: list[list[str]]) -> bool:
        numbers = [self._number(cell) for cell in row]
        if any(number is None and is_meant_as_a_number(cell) for number, cell in zip(numbers, row, strict=True)):
            return False
        texts = [n for n, number in enumerate(numbers) if number is None and seconds_of_day(row[n]) is None]
        if texts and all(number is None or number != number for number in numbers):
            return True
        following = below[0] if below else []
        named = [n for n in texts if any(letter.isalnum() for letter in row[n])]
        are_names = all(number is None or number != number or number.is_integer() for number in numbers)
        if are_names and any(
            n < len(following) and following[n] and self._number(following[n]) is not None for n in named
        ):
            return True  # names among which are numbers
        return self._counts_columns(row, below)

    def _counts_columns(self, row: list[str], below: list[list[str]]) -> bool:
        """Whether a line is the header that pandas writes for columns without names: 0, 1, 2, or behind a blank.

        MATLAB and people begin with 1.
        """
        names = row[1:] if row and not row[0] else row
        known = [[str(n + first) for n in range(len(names))] for first in ((0, 1) if len(names) > 1 else (0,))]
        if not below or names not in known:
            return False
        return names is not row or all("." in cell or cell.casefold() in MISSING for other in below for cell in other)

    def _columns(self, count: int, rows: list[list[str]]) -> tuple[Column, ...]:
        """By the last of ``count`` lines that has a cell a column, and a line of units below it."""
        written, rows = rows, rows[count:]
        header = [self._names_in(self._looked[k][1], written[k], len(rows[0])) for k in range(count)]
        fitting = [row for row in header if len(row) == self._width or (len(row) < self._width and row is header[-1])]
        units: list[str] = []
        if len(fitting) > 1 and all(is_unit(cell) or not cell for cell in fitting[-1]):
            units = fitting.pop()
        if len(fitting) > 1 and fitting[-1][0] and not any(fitting[-1][1:]) and len(fitting[-1]) > 1:
            fitting.append([fitting.pop()[0], *fitting[-1][1:]])  # as pandas writes the name of an index
        if not fitting and len(said := _names_of_open_signals(self._facts)) == self._width:
            return tuple(Column(name, "", "count" if _NO_SENSOR.fullmatch(name) else "signal") for name in said)
        if not fitting:
            return tuple(Column(str(k), "", "signal") for k in range(self._width))
        first = [self._number(row[0]) for row in rows if row]
        if len(fitting[-1]) == self._width - 1 and None not in first and counts(np.array(first, float), 0):
            fitting.append(["", *fitting[-1]])  # as R writes tables: numbers of rows have no name
        names = [*fitting[-1], *[""] * self._width][: self._width]
        units = [*units, *[""] * self._width][: self._width]
        return tuple(described(name, unit) for name, unit in zip(names, units, strict=True))

    def _names_in(self, line: str, cells: list[str], written: int) -> list[str]:
        """The names in a line of the header: as many as there are columns, if blanks in them allow it."""
        if self._width < len(cells) and (len(cells) <= written or not any(cells[self._width :])):
            return cells[: self._width]
        if not self._dialect.delimiter and len(cells) != self._width:
            bare = line.strip()
            for names in ([bare], re.split(r"\s{2,}", bare), re.split(r"\s+(?![(\[])", bare)):
                if len(names) == self._width:
                    return names
        return cells

    def _signals(self, wanted: int) -> list[int]:
        """The columns that are signals; where more are left than ``wanted``, those that only count, or are text, are
        none."""
        signals = [k for k, column in enumerate(self.columns) if column.kind == "signal" and not self._is_clock(k)]
        for is_none in (self._counts, self._is_text):
            if len(signals) > wanted:
                left = [k for k in signals if not is_none(k)]
                signals = left if len(left) >= wanted else signals
        if not signals:
            signals = [k for k, column in enumerate(self.columns) if not column.name and not self._is_index(k)]
        if not signals and len(self.columns) == 1 and self.columns[0].kind == "count":
            return [0]
        return signals

    def _is_clock(self, k: int) -> bool:
        texts = (row[k] for row in self._rows if row[k] and self._number(row[k]) is None)
        return any(seconds_of_day(cell) is not None or is_date(cell) for cell in texts)

    def _is_text(self, k: int) -> bool:
        """Whether a column has words and not a digit; a single line with words is a sentence and no table."""
        return (
            len(self._rows) > 1
            and any(row[k].casefold() not in MISSING for row in self._rows)
            and not any(map(str.isdecimal, "".join(row[k] for row in self._rows)))
        )

    def _is_index(self, k: int) -> bool:
        return self._is_clock(k) or self._counts(k) or self._is_text(k)

    def _counts(self, k: int) -> bool:
        numbers = [self._number(row[k]) for row in self._rows]
        if None in numbers:
            return False
        return counts(without_holes(np.array(numbers, float)), digits_after_the_point([row[k] for row in self._rows]))

    def _when(self, chosen: Sequence[int]) -> _When | None:
        """The first column that says when and is no signal that was chosen."""
        order = sorted(range(self._width), key=lambda k: ("time", "count", "signal").index(self.columns[k].kind))
        for k in order:
            if k in chosen:
                continue
            is_time_of_day = self._is_clock(k)
            if self.columns[k].kind == "signal" and not is_time_of_day and not self._counts(k):
                continue
            cells = [row[k] for row in self._rows]
            values = [self._time(cell, is_time_of_day) for cell in cells]
            if None in values:
                continue
            times = without_holes(np.array(values, float))
            if self.columns[k].kind == "time" and len(times) > 2 and (np.diff(times) < 0).all():
                raise SignalError(
                    f"{self._source} goes back in time (column {self.columns[k].name}): sort its rows by time"
                )
            if is_time_of_day:
                times = np.unwrap(times, period=_DAY_S)
            unit_s = 1.0 if is_time_of_day else unit_of_times(self.columns[k], times)
            written = list(map(clock_in, cells)) if is_time_of_day else cells
            if clock := clock_of(times, digits_after_the_point(written), unit_s):
                return _When(k, clock, is_time_of_day)
        return None

    def _rate(self, when: _When | None) -> tuple[float | None, str]:
        """The rate, and what is to be said of it."""
        said = next((fact for line in self._facts if (fact := _RATE.search(line))), None)
        rate_hz = None
        if said is not None:
            rate_hz = self._number(said["value"].rstrip("."))
            if rate_hz is None and re.match(r"\d", said["value"]):
                rate_hz = self._number(re.sub(r"[a-zA-Z]+$", "", said["value"]))
            if rate_hz is None and "rate_hz" in said[0]:
                raise SignalError(f"{self._source}: the rate {said['value']!r} is not a number: mend the file")
            if rate_hz is not None and (said["unit"] or said["value"].casefold().endswith("khz")):
                rate_hz *= 1000
        if when is None:
            return rate_hz, ""
        name, clock = self.columns[when.column].name, when.clock
        if clock.is_known and rate_hz is None:
            return clock.rate_hz, f"column {name} is time, in steps of {1 / clock.rate_hz:.4g} s: {clock.rate_hz:g} Hz"
        if clock.is_known and rate_hz is not None and abs(clock.rate_hz / rate_hz - 1) > 0.01:
            return (
                rate_hz,
                f"its head says {rate_hz:g} Hz, which stands over the {clock.rate_hz:g} Hz of column {name}",
            )
        if self.columns[when.column].kind == "time" and rate_hz is None:
            return (
                None,
                f"column {name} steps by {clock.step:.4g}: {clock.rate_hz:g} Hz, if it is in seconds",
            )
        return rate_hz, ""

    def _pieces(self, chosen: list[int], when: _When | None) -> Iterator[Piece]:
        last: float | None = None
        with self._stream:
            for block in self._all_blocks():
                made = self._all_at_once(block, chosen, when, last)
                if made is None:
                    last = yield from self._row_by_row(block, chosen, when, last)
                else:
                    values, last = made
                    yield _chunk(values)

    def _all_at_once(
        self, block: list[Line], chosen: list[int], when: _When | None, last: float | None
    ) -> tuple[npt.NDArray[np.float64], float | None] | None:
        """The numbers of plain rows without a gap, some ten times as fast; None where there are others."""
        mark, text = self._dialect.delimiter, "\n".join(line for _, line in block)
        if not text or '"' in text or "'" in text or (when is not None and when.is_time_of_day):
            return None
        if self._dialect.decimal == ",":
            if "." in text:
                return None
            text = text.replace(",", ".")
        rows = text.split("\n")
        if any((row.count(mark) + 1 if mark else len(row.split())) != self._width for row in rows):
            return None
        columns = chosen if when is None else [*chosen, when.column]
        try:
            values = np.loadtxt(rows, np.float64, delimiter=mark or None, usecols=columns, comments=None, ndmin=2)
        except ValueError:
            return None
        if when is None:
            return values, None
        times, step = values[:, -1], when.clock.step
        steps = np.diff(times, prepend=times[0] - step if last is None else last)
        goes_back = self.columns[when.column].kind == "time" and (steps < -step).any()
        if not np.isfinite(times).all() or (np.round(steps / step) > 1).any() or goes_back:
            return None
        return values[:, :-1], float(times[-1])

    def _row_by_row(
        self, block: list[Line], chosen: list[int], when: _When | None, last: float | None
    ) -> Generator[Piece, None, float | None]:
        """Returns the time of the last row."""
        rows: list[list[float]] = []
        for number, line in block:
            try:
                row = self._fit(self._dialect.cells(line), number)
                values = [self._parsed(row[k], number, k) for k in chosen]
                missing, last = self._missing(row, number, when, last)
            except SignalError:
                if rows:
                    yield _chunk(rows)
                raise
            if missing:
                if rows:
                    yield _chunk(rows)
                rows = []
                yield Gap(missing)
            rows.append(values)
        if rows:
            yield _chunk(rows)
        return last

    def _all_blocks(self) -> Iterator[list[Line]]:
        yield self._looked
        for block in self._blocks:
            yield [(number, line) for number, line in block if line.strip() and not is_comment(line)]

    def _missing(self, row: list[str], number: int, when: _When | None, last: float | None) -> tuple[int, float | None]:
        """How many rows are missing before this one, by the column that says when, and its time."""
        if when is None:
            return 0, None
        now = self._time(row[when.column], when.is_time_of_day)
        if now is None or now != now:
            return 0, None if last is None else last + when.clock.step
        if last is None:
            return 0, now
        step = now - last
        if when.is_time_of_day and step < -_DAY_S / 2:
            step += _DAY_S
        if step < -when.clock.step and self.columns[when.column].kind == "time":
            raise SignalError(
                f"{self._source}, line {number}, goes back in time (column {self.columns[when.column].name}): "
                "mend the file, or cut it there"
            )
        return max(0, round(step / when.clock.step) - 1), now

    def _time(self, cell: str, is_time_of_day: bool) -> float | None:
        if is_time_of_day and cell.casefold() not in MISSING:
            return seconds_of_day(cell)
        return self._number(cell)

    def _number(self, cell: str) -> float | None:
        return number_in(cell, self._dialect.decimal)

    def _parsed(self, cell: str, line: int, column: int) -> float:
        number = self._number(cell)
        if number is None:
            raise SignalError(f"{self._source}, line {line}, column {column} is {cell!r} {why_no_number(cell)}")
        return number

    def _fit(self, cells: list[str], line: int = 0) -> list[str]:
        """As many cells as there are columns: one blank more or less at the end is a matter of taste."""
        if len(cells) > self._width and not any(cells[self._width :]):
            return cells[: self._width]
        if len(cells) < self._width and len(cells) > 1 and not any(c.name for c in self.columns[len(cells) :]):
            return [*cells, *[""] * (self._width - len(cells))]
        if len(cells) != self._width and line:
            raise SignalError(
                f"{self._source}, line {line}, has {len(cells)} columns, the first has {self._width}: mend the file"
            )
        return [*cells, *[""] * self._width][: self._width]


def _names_of_open_signals(comments: list[str]) -> list[str]:
    """The names of columns that a file of OpenSignals says in its JSON."""
    said = [names for line in comments for names in re.findall(r'"column":\s*\[([^\]]*)\]', line)]
    return [name.strip(' "') for names in said for name in names.split(",")]


def _unit_in(fact: str) -> str:
    """The unit that a line such as "# units = mV" says; behind a comma only one that is known."""
    said = _UNITS.match(fact)
    if said is None or (said["mark"] in ",;" and not is_unit(said["unit"])):
        return ""
    return said["unit"]


def _may_be_times(lines: list[str]) -> bool:
    """Whether a column that no name tells grows from line to line, as rounded times do, and short pieces of a wave."""
    dialect = dialect_of(lines)
    rows = [dialect.cells(line) for line in lines]
    below = [row for row in rows[1:] if len(row) == len(rows[-1])]
    names = rows[0] if len(rows[0]) == len(rows[-1]) else [""] * len(rows[-1])
    for name, *cells in zip(names, *below, strict=True):
        numbers = [number_in(cell, dialect.decimal) for cell in cells]
        if None in numbers or (name and number_in(name, dialect.decimal) is None and described(name).kind != "signal"):
            continue
        values = np.array(numbers, float)
        steps = np.diff(values)
        if (steps >= 0).all() and (steps > 0).any() and not counts(values, digits_after_the_point(cells)):
            return True
    return False


def _joined(looked: list[Line]) -> list[Line]:
    """Lines of the head whose quotes end in one of the next lines, with those."""
    looked = list(looked)
    for k, (number, line) in enumerate(looked[:_MOST_HEADER_LINES]):
        if line.count('"') % 2:
            ends = (j for j in range(k + 1, min(k + 4, len(looked))) if looked[j][1].count('"') % 2)
            if end := next(ends, None):
                whole = " ".join(line for _, line in looked[k : end + 1])
                return _joined([*looked[:k], (number, whole), *looked[end + 1 :]])
    return looked


def _width(rows: list[list[str]]) -> int:
    """The cells of the first row, without the last ones that are blank in all rows of the same length."""
    width = len(rows[0])
    alike = [row for row in rows if len(row) == width]
    while width > 1 and not any(row[width - 1] for row in alike):
        width -= 1
    return width


def _chunk(rows: npt.ArrayLike) -> Chunk:
    with np.errstate(over="ignore"):  # beyond float32 is infinity, and no value
        return np.asarray(rows, np.float64).astype(np.float32)


KIND = FileKind(names=("CSV", "TSV"), suffixes=_SUFFIXES, open=_read_file)
