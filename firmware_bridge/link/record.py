"""Bytes as dataclasses: the annotations of a record's fields are its layout, little-endian and without gaps.

::

    @dataclass(frozen=True)
    class ReadRequest(Record):
        object: U8Aligned
        offset_bytes: U32
        count_bytes: U32

    ReadRequest(Object.OUTPUT, 0, 64).pack()

``c_struct`` says the same in C. Fields of fixed size come first; behind them may stand texts, and all bytes that are
left.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, fields
from enum import IntFlag
from typing import Annotated, Any, ClassVar, Self, TypeAlias, get_args, get_type_hints

from firmware_bridge.errors import BridgeError


@dataclass(frozen=True)
class Fixed:
    """A field of fixed size: its code for ``struct``, and its declaration in C."""

    code: str
    declared: str


@dataclass(frozen=True)
class Variable:
    """A field of variable size: a text with its length in front (``counted``), or all bytes that are left."""

    counted: bool


U8: TypeAlias = Annotated[int, Fixed("B", "uint8_t {};")]
U8Aligned: TypeAlias = Annotated[int, Fixed("B3x", "uint8_t {}, {}_zeros[3];")]
"""A byte, and three zeros that bring what follows to a multiple of four."""
U16: TypeAlias = Annotated[int, Fixed("H", "uint16_t {};")]
U32: TypeAlias = Annotated[int, Fixed("I", "uint32_t {};")]
I32: TypeAlias = Annotated[int, Fixed("i", "int32_t {};")]
U64: TypeAlias = Annotated[int, Fixed("Q", "uint64_t {};")]
I64: TypeAlias = Annotated[int, Fixed("q", "int64_t {};")]
Bytes4: TypeAlias = Annotated[bytes, Fixed("4s", "uint8_t {}[4];")]
Sha256: TypeAlias = Annotated[bytes, Fixed("32s", "uint8_t {}[32];")]
Text: TypeAlias = Annotated[str, Variable(counted=True)]
"""UTF-8 of at most 255 bytes, behind a byte that counts them."""
Rest: TypeAlias = Annotated[bytes, Variable(counted=False)]


@dataclass(frozen=True)
class _Layout:
    """The fields of a record by name, and the struct of its fixed part."""

    fixed: dict[str, Fixed]
    flags: dict[str, type[IntFlag]]
    variable: dict[str, Variable]
    form: struct.Struct


class Record:
    """Base of the dataclasses. ``called`` is what people call it, for error texts."""

    called: ClassVar[str] = "message"

    def pack(self) -> bytes:
        """The bytes. Raises struct.error for a number that its field does not hold."""
        layout = layout_of(type(self))
        made = layout.form.pack(*(getattr(self, name) for name in layout.fixed))
        for name, variable in layout.variable.items():
            content = getattr(self, name)
            if variable.counted:
                text = content.encode()[:255]
                content = bytes([len(text)]) + text
            made += content
        return made

    @classmethod
    def unpack(cls, content: bytes) -> Self:
        """The inverse; texts that were cut off are empty. Raises BridgeError for bytes of another size."""
        layout = layout_of(cls)
        size = layout.form.size
        if len(content) < size or (len(content) > size and not layout.variable):
            raise BridgeError(
                f"the board's {cls.called} has {len(content)} bytes and should have {size}; flash it again"
            )
        values: dict[str, Any] = dict(zip(layout.fixed, layout.form.unpack_from(content), strict=True))
        values |= {name: flags(values[name]) for name, flags in layout.flags.items()}
        left = content[size:]
        for name, variable in layout.variable.items():
            if variable.counted:
                end = 1 + left[0] if left else 0
                values[name], left = left[1:end].decode(errors="replace"), left[end:]
            else:
                values[name], left = left, b""
        return cls(**values)

    @classmethod
    def size_bytes(cls) -> int:
        """Of the fixed part."""
        return layout_of(cls).form.size


_LAYOUTS: dict[type[Any], _Layout] = {}


def layout_of(record: type[Any]) -> _Layout:
    """The layout of a record's class."""
    if record not in _LAYOUTS:
        _LAYOUTS[record] = _layout(record)
    return _LAYOUTS[record]


def _layout(record: type[Any]) -> _Layout:
    hints = get_type_hints(record, include_extras=True)
    marks = {field.name: hints[field.name].__metadata__[0] for field in fields(record)}
    fixed = {name: mark for name, mark in marks.items() if isinstance(mark, Fixed)}
    variable = {name: mark for name, mark in marks.items() if isinstance(mark, Variable)}
    kinds = {name: get_args(hints[name])[0] for name in fixed}
    flags = {name: kind for name, kind in kinds.items() if issubclass(kind, IntFlag)}
    return _Layout(fixed, flags, variable, struct.Struct("<" + "".join(mark.code for mark in fixed.values())))


def c_struct(record: type[Record]) -> str:
    """The fixed part as a packed struct, named as the record is but in C's way: ReadReply is msg_read_reply."""
    name = "msg_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", record.__name__).lower()
    lines = [f"    {fixed.declared.replace('{}', field)}" for field, fixed in layout_of(record).fixed.items()]
    return "\n".join(["typedef struct __attribute__((packed)) {", *lines, f"}} {name};"])
