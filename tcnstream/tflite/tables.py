"""The tables of a flatbuffer, checked before they are read.

The bytes may come from anywhere. Two rules keep them harmless: a table checks its positions and sizes before they are
used, and each list is paid for from a budget before anything is built from it, so that neither a huge count nor many
references to one place cost time or memory. Fields go by their numbers, in the order of the schema. A position beyond
the file makes ``struct`` raise its error; none can be negative, since the only signed offset of the format is checked.
"""

from __future__ import annotations

import re
import struct
from typing import TypeVar

import numpy as np
import numpy.typing as npt

COPY_AGAIN = "copy or export the file again"

_MAX_TABLES = 12_000
"""Tensors, operators, buffers, options: enough for 1,700 operations, and read within a second."""
_MAX_OPERANDS = 300_000
_MAX_FIELDS = 64
"""More than any table of the schema has."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal takes for commands, or writes in the other direction."""

BYTE = struct.Struct("<b")
UNSIGNED_BYTE = struct.Struct("<B")
FLAG = struct.Struct("<?")
INT = struct.Struct("<i")
UNSIGNED = struct.Struct("<I")
UNSIGNED_LONG = struct.Struct("<Q")
LONG = struct.Struct("<q")
REAL = struct.Struct("<f")
_TWO_SIZES = struct.Struct("<HH")

_T = TypeVar("_T", int, float, bool)


class MalformedError(Exception):
    """What is wrong with the bytes, and the way out."""

    def __init__(self, what: str, way_out: str = COPY_AGAIN) -> None:
        super().__init__(what)
        self.what = what
        self.way_out = way_out


class Flatbuffer:
    """Bytes, and what was spent on reading them."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        # Honest files store every list once, so that all lists together are smaller than the file, and
        # unpacking 4-bit constants doubles them.
        self.limits = {"tables": _MAX_TABLES, "operands": _MAX_OPERANDS, "bytes in lists": 4 * len(content) + 65536}
        self.spent = dict.fromkeys(self.limits, 0)
        self._fields: dict[int, tuple[int, tuple[int, ...]]] = {}
        """The size of a table and the places of its fields in it, by where the list stands: tables share lists."""

    def spend(self, what: str, amount: int) -> None:
        self.spent[what] += amount
        if self.spent[what] > self.limits[what]:
            raise MalformedError(
                f"the file holds more than {self.limits[what]} {what}", "split the model or simplify it"
            )

    def follow(self, place: int) -> int:
        """Where the offset at ``place`` leads."""
        return place + int(UNSIGNED.unpack_from(self.content, place)[0])

    def table(self, place: int) -> Table:
        """The table to which the offset at ``place`` leads."""
        self.spend("tables", 1)
        position = self.follow(place)
        start = position - INT.unpack_from(self.content, position)[0]
        table_bytes, fields = self._fields.get(start) or self._fields_at(start)
        if position + table_bytes > len(self.content):
            raise MalformedError("its list of fields is damaged")
        return Table(self, position, fields)

    def _fields_at(self, start: int) -> tuple[int, tuple[int, ...]]:
        if not 0 <= start <= len(self.content) - _TWO_SIZES.size:
            raise MalformedError("an offset points outside the file")
        list_bytes, table_bytes = _TWO_SIZES.unpack_from(self.content, start)
        if list_bytes < _TWO_SIZES.size or list_bytes % 2 or start + list_bytes > len(self.content):
            raise MalformedError("its list of fields is damaged")
        count = min(list_bytes // 2 - 2, _MAX_FIELDS)
        fields = struct.unpack_from(f"<{count}H", self.content, start + _TWO_SIZES.size)
        if max(fields, default=0) >= max(table_bytes, 1):
            raise MalformedError("its list of fields is damaged")
        self._fields[start] = table_bytes, fields
        return table_bytes, fields


class Table:
    """One table of a flatbuffer; its fields by number."""

    __slots__ = ("_content", "_fields", "_file", "_position")

    def __init__(self, file: Flatbuffer, position: int, fields: tuple[int, ...]) -> None:
        self._file, self._content, self._position, self._fields = file, file.content, position, fields

    def _place(self, field: int) -> int:
        """Where a field stands in the file; 0 if the table leaves it out."""
        within = self._fields[field] if field < len(self._fields) else 0
        return self._position + within if within else 0

    def has(self, field: int) -> bool:
        return self._place(field) != 0

    def number(self, field: int, layout: struct.Struct, default: _T) -> _T:
        place = self._place(field)
        if not place:
            return default
        value: _T = layout.unpack_from(self._content, place)[0]
        return value

    def table(self, field: int) -> Table | None:
        place = self._place(field)
        return self._file.table(place) if place else None

    def tables(self, field: int) -> range:
        """Places for ``Flatbuffer.table``, one for each table of a list."""
        start, count = self._list(field, UNSIGNED.size)
        return range(start, start + count * UNSIGNED.size, UNSIGNED.size)

    def text(self, field: int) -> str:
        """A text without what would command a terminal; empty where there is none."""
        start, count = self._list(field, 1)
        self._file.spend("bytes in lists", count)
        return _CONTROLS.sub(
            "\N{REPLACEMENT CHARACTER}", self._content[start : start + count].decode("utf-8", "replace")
        )

    def integers(self, field: int) -> tuple[int, ...]:
        """A list of 32-bit integers; empty where there is none."""
        return self.listed(field, INT)

    def listed(self, field: int, layout: struct.Struct) -> tuple[int, ...]:
        """A list of numbers of one layout; empty where there is none."""
        start, count = self._list(field, layout.size)
        if not count:
            return ()
        self._file.spend("bytes in lists", count * layout.size)
        if count > _MAX_OPERANDS:
            self._file.spend("operands", count)
        return struct.unpack_from(f"<{count}{layout.format[-1]}", self._content, start)

    def bytes(self, field: int) -> npt.NDArray[np.uint8]:
        """A list of bytes as a view of the file; empty where there is none."""
        start, count = self._list(field, 1)
        return np.frombuffer(self._content, np.uint8, count, start)

    def _list(self, field: int, entry_bytes: int) -> tuple[int, int]:
        """Where a list begins, and how many entries it has."""
        place = self._place(field)
        if not place:
            return 0, 0
        at = self._file.follow(place)
        start, count = at + UNSIGNED.size, int(UNSIGNED.unpack_from(self._content, at)[0])
        if start + count * entry_bytes > len(self._content):
            raise MalformedError(f"has a list of {count} entries, more than the file can hold")
        return start, count
