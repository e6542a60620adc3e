"""Text as people's programs write it: bytes -> numbered lines, -> cells, -> numbers."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import decoded

Line: TypeAlias = tuple[int, str]
"""A line and its number, from 1 on."""

_ERRORS_OF_SPREADSHEETS = ("#n/a", "#div/0!", "#null!", "#num!", "#ref!", "#value!", "#name?")
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", *_ERRORS_OF_SPREADSHEETS})
_BLOCK_BYTES = 1 << 16
_MOST_CHARACTERS = 1 << 20
_COMMENTS = ("#", "%", "//")
_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_CLOCK = re.compile(r"(?<![\d:])(?:(\d+):)?(\d{1,2}):(\d{2}(?:[.,]\d+)?)(?![\d:])")


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
            decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("surrogateescape"), True)
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
        return Dialect(",", _decimal_of(lines, ",")) if is_one_quoted_column else Dialect("")
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

    Then every other cell is digits alone, with zeros in front as only decimals have them, and some number is -0.
    """
    rows = [line.replace(" ", "").split(",") for line in lines]
    rows = [row for row in rows if len(row) == len(rows[-1])]
    if len(rows) < max(1, len(lines) - 2) or len(rows[-1]) < 4 or len(rows[-1]) % 2:
        return False
    whole = [cell for row in rows for cell in row[::2]]
    decimals = [cell for row in rows for cell in row[1::2]]
    if not all(re.fullmatch(r"[-+]?\d+", cell) for cell in whole) or not all(cell.isdecimal() for cell in decimals):
        return False
    return any(cell in ("-0", "+0") for cell in whole) and any(len(d) > 2 and d[0] == "0" for d in decimals)


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
        return None


_HEXADECIMAL = re.compile(r"[-+]?0[xX][0-9a-fA-F]+")
_GROUPED = re.compile(r"[-+]?\d{1,3}([.,' \u00a0\u202f]\d{3})+([.,]\d+)?|[-+]?\d[\d.,]*")


def is_meant_as_a_number(cell: str) -> bool:
    """Whether a cell is a number in a form that is not read here."""
    return bool(_HEXADECIMAL.fullmatch(cell) or _GROUPED.fullmatch(cell))


def why_no_number(cell: str) -> str:
    """What is wrong with a cell, and the way out."""
    if _HEXADECIMAL.fullmatch(cell):
        return "is hexadecimal: write decimal numbers"
    if _GROUPED.fullmatch(cell):
        return "has a thousands separator: write the number without it"
    return "and not a number: mend the file"


def clock_in(cell: str) -> str:
    """The clock in a cell as it is written, without a date and a time zone around it; the cell where there is none."""
    clock = _CLOCK.search(cell)
    return cell if clock is None else clock.group()


def seconds_of_day(cell: str) -> float | None:
    """The clock in a cell, such as "0:01.5", "12:00:01,250" or "2024-05-01 12:00:01.25"; None if there is none."""
    clock = _CLOCK.search(cell)
    if clock is None:
        return None
    hours, minutes, seconds = clock.groups()
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds.replace(",", "."))
