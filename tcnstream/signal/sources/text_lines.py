"""Text as people's programs write it: bytes -> numbered lines, -> cells, -> numbers."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import decoded

Line: TypeAlias = tuple[int, str]
"""A line and its number, from 1 on."""

_ERRORS_OF_SPREADSHEETS = ("#n/a", "#nv", "#div/0!", "#null!", "#num!", "#ref!", "#value!", "#name?")
_OF_PROGRAMS = ("<na>", "nat", "\\n", "1.#qnan", "1.#ind", "-1.#ind", "nan(ind)", "-nan(ind)")
_SAID = ("", "na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", ".")
MISSING = frozenset({*_SAID, *_OF_PROGRAMS, *_ERRORS_OF_SPREADSHEETS})
_BLOCK_BYTES = 1 << 16
_MOST_CHARACTERS = 1 << 20
_COMMENTS = ("#", "%", "//")
_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_CLOCK = re.compile(r"(?<![\d:])(?:(\d+):)?(\d{1,2}):(\d{2}(?:(?:[.,]|(?<=:\d\d:\d\d):(?=\d{3}))\d+)?)(?![\d:])")
_DATE = re.compile(r"(?<!\d)\d{1,4}([./-])\d{1,2}\1\d{1,4}(?!\d)")


def lines_of(stream: BinaryIO, source: str) -> Iterator[list[Line]]:
    """Lines without their ends (LF, CR or both), as many at a time as one read of the stream completes.

    The text is UTF-8, UTF-16 where a mark says so, or Latin-1 where it is neither. Raises SignalError for what is no
    text, and for a line that is longer than a recording's can be.
    """
    read = stream.read1 if isinstance(stream, io.BufferedIOBase) else stream.read
    decoder: io.IncrementalNewlineDecoder | None = None
    number, rest = 1, ""
    while block := read(_BLOCK_BYTES):
        if decoder is None:
            encoding = _MARKS.get(block[:2], "utf-8-sig")
            block = block[2:] if block[:2] in _MARKS else block
            errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
            decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(errors), True)
        *lines, rest = (rest + decoder.decode(block)).split("\n")
        yield list(_numbered(lines, number, source))
        number += len(lines)
        if len(rest) > _MOST_CHARACTERS or "\0" in rest:
            _ = list(_numbered([rest], number, source))
    if decoder is not None and (last := rest + decoder.decode(b"", True)):
        yield list(_numbered([last], number, source))


def _numbered(lines: Iterable[str], first: int, source: str) -> Iterator[Line]:
    for number, line in enumerate(lines, start=first):
        if "\0" in line:
            raise SignalError(f"{source}, line {number}, is no text (it has zero bytes): give numbers, a frame a line")
        if len(line) > _MOST_CHARACTERS:
            raise SignalError(
                f"{source}, line {number}, has more than {_MOST_CHARACTERS:,} characters: write a frame a line"
            )
        try:
            line.encode()
        except UnicodeEncodeError:
            line = decoded(line.encode(errors="surrogateescape"))
        yield number, line


def is_comment(line: str) -> bool:
    plain = line.lstrip().casefold()
    return plain.startswith(_COMMENTS) and not plain.startswith(_ERRORS_OF_SPREADSHEETS)


@dataclass(frozen=True)
class Dialect:
    """How a line is cut into cells (an empty delimiter: white space), and which mark stands before decimals."""

    delimiter: str
    decimal: str = "."

    def cells(self, line: str) -> list[str]:
        """The cells of a line, without quotes and blanks around them."""
        if '"' in line:
            cells = next(csv.reader([line.strip(" ")], delimiter=self.delimiter or " ", skipinitialspace=True), [])
        elif not self.delimiter:
            cells = line.split()
        else:
            cells = line.split(self.delimiter)
        return [_unquoted(cell) for cell in cells]


def _unquoted(cell: str) -> str:
    cell = cell.strip()
    return cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'" else cell


def dialect_of(lines: list[str]) -> Dialect:
    """The dialect of some lines: the delimiter is the one that most of them have."""
    bare = [re.sub(r'"[^"]*"', '""', line) for line in lines]
    for delimiter in (";", "\t"):
        if 2 * sum(delimiter in line for line in bare) >= len(bare):
            return Dialect(delimiter, _decimal_of(lines, delimiter))
    with_comma = [line for line in bare if "," in line]
    if 2 * len(with_comma) < len(bare):
        is_one_quoted_column = all(re.fullmatch(r'\s*""\s*', line) for line in bare)
        return Dialect("," if is_one_quoted_column else "", _decimal_of(lines, "," if is_one_quoted_column else ""))
    words = with_comma[len(with_comma) // 2].split()
    if len(words) > 1 and all(re.fullmatch(r"[-+]?\d*(,\d+)?([eE][-+]?\d+)?", word) for word in words):
        return Dialect("", ",")
    pairs = [pair for line in lines if (pair := re.fullmatch(r"\s*([-+]?\d+),(\d+)\s*", line))]
    if len(pairs) >= max(1, len(lines) - 2) and any(
        pair[1] in ("-0", "+0") or (len(pair[2]) > 1 and pair[2][0] == "0") for pair in pairs
    ):
        return Dialect("", ",")  # whole numbers have no -0 and no zeros in front
    return Dialect(",", _decimal_of(lines, ","))


def commas_have_two_meanings(lines: list[str]) -> bool:
    """Whether commas stand both before decimals and between columns, so that nothing can be read.

    Then a column of whole numbers, of which some is -0, stands before one of digits alone, and some digits have zeros
    in front, as only decimals have them.
    """
    rows = [line.replace(" ", "").split(",") for line in lines]
    rows = [row for row in rows if len(row) == len(rows[-1])]
    if len(rows) < max(1, len(lines) - 2) or len(rows[-1]) < 3:
        return False
    if not any(re.fullmatch(r"0\d+", cell) for row in rows for cell in row):
        return False
    return any(
        any(cell in ("-0", "+0") for cell in whole)
        and all(re.fullmatch(r"[-+]?\d+", cell) for cell in whole)
        and all(cell.isdecimal() for cell in decimals)
        for whole, decimals in itertools.pairwise(zip(*rows, strict=True))
    )


def in_thousands(columns: Sequence[Sequence[str]], dialect: Dialect) -> str:
    """A cell whose mark parts thousands, or may; "" where there is none.

    Marks are taken for decimals where some number has other than three of them, or only a zero before them. Points are
    doubtful only in a column that has whole numbers, too.
    """
    mark = dialect.decimal
    marked = [cell for column in columns for cell in column if mark in cell]
    if not marked or not all(re.fullmatch(rf"[-+]?[1-9]\d{{0,2}}\{mark}\d{{3}}", cell) for cell in marked):
        return ""
    if mark == ",":
        return marked[0]
    doubtful = [column for column in columns if any(re.fullmatch(r"[-+]?[1-9]\d\d?", cell) for cell in column)]
    found = (cell for column in doubtful for cell in column if mark in cell)
    return next(found, "") if dialect.delimiter in (";", "\t") else ""


def _decimal_of(lines: list[str], delimiter: str) -> str:
    cells = [cell for line in lines for cell in Dialect(delimiter).cells(line)]
    with_comma = any(re.fullmatch(r"[-+]?\d*,\d+([eE][-+]?\d+)?", cell) for cell in cells)
    with_point = any(re.fullmatch(r"[-+]?\d*\.\d*([eE][-+]?\d+)?", cell) and cell != "." for cell in cells)
    return "," if with_comma and not with_point else "."


def number_in(cell: str, decimal: str) -> float | None:
    """The number that a cell says, NaN where it says that there is none; None for other text."""
    if cell.casefold() in MISSING:
        return float("nan")
    plain = cell.replace("\N{MINUS SIGN}", "-")
    if decimal == ",":
        if "." in plain:
            return None
        plain = plain.replace(",", ".")
    try:
        return None if "_" in plain else float(plain)
    except ValueError:
        number, mark, _ = plain.partition(" #")
        return number_in(number.rstrip(), ".") if mark and number.strip() else None  # a remark behind it


_HEXADECIMAL = re.compile(r"[-+]?0[xX][0-9a-fA-F]+")
_GROUPED = re.compile(r"[-+]?\d{1,3}([.,' \u00a0\u202f]\d{3})+([.,]\d+)?|[-+]?\d[\d.,]*")


_OTHER_DECIMALS = re.compile(r"[-+]?(0?[.,]\d+|\d+[.,](\d{1,2}|\d{4,}))")


def is_meant_as_a_number(cell: str) -> bool:
    """Whether a cell is a number in a form that is not read here."""
    return bool(_HEXADECIMAL.fullmatch(cell) or _GROUPED.fullmatch(cell))


def why_no_number(cell: str) -> str:
    """What is wrong with a cell, and the way out."""
    if _HEXADECIMAL.fullmatch(cell):
        return "is hexadecimal: write decimal numbers"
    if is_date(cell):
        return "is a date and no number: choose another with channels="
    if _OTHER_DECIMALS.fullmatch(cell):
        return "has another decimal mark than other numbers: write all with points"
    if _GROUPED.fullmatch(cell):
        return "has a thousands separator: write the number without it"
    return "and not a number: mend the file"


def clock_in(cell: str) -> str:
    """The clock in a cell as it is written, without a date and a time zone around it; the cell where there is none."""
    clock = _CLOCK.search(cell)
    return cell if clock is None else re.sub(r":(\d{3,})$", r".\1", clock.group())


def seconds_of_day(cell: str) -> float | None:
    """The clock in a cell, such as "0:01.5", "12:00:01,250" or "2024-05-01 12:00:01.25"; None if there is none."""
    clock = _CLOCK.search(cell)
    if clock is None:
        return None
    hours, minutes, seconds = clock.groups()
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(re.sub("[,:]", ".", seconds))


def is_date(cell: str) -> bool:
    """Whether a cell has a date of numbers in it, such as "01.05.2024"."""
    return _DATE.search(cell) is not None
