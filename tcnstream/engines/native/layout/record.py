"""Records with named fields, described once: packed and read in Python, declared as a struct in C.

A record is a class whose annotations are its fields, in the order in which they stand::

    class Pool(Record, c="pool_args"):
        taps: U32 = doc("frames of a window")
        weights: Blob = doc("f32 (taps, channels)")

    Pool(taps=3, weights=b"...").pack(place)     # little-endian bytes
    Pool.read(content, at).taps                  # by name; a reference reads as its offset, `weights_at`

Fields stand at multiples of their own size by the order in which they are declared; a record in which a C compiler
would leave a gap is refused.
"""

from __future__ import annotations

import inspect
import struct
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Protocol, Self, TypeAlias, dataclass_transform


class Reference(Enum):
    """What a field says of a value that stands elsewhere."""

    BLOB = "the offset of bytes, 0 for none"
    TEXT = "the offset of NUL-terminated UTF-8 among the names"
    CARRY = "the place of so many bytes among a state's running sums"
    TENSOR = "the number in the file of a tensor of the plan"


@dataclass(frozen=True)
class Scalar:
    """How one value stands in a file: a code of ``struct``, the type of C, and how many of that type it takes there.

    ``alignment`` is what a kernel needs of the bytes to which a blob refers.
    """

    code: str
    c: str
    reference: Reference | None = None
    c_count: int = 0
    alignment: int = 16


class Placement(Protocol):
    """Where the things go that a record refers to; each returns what the record's field says of it."""

    def blob(self, content: bytes, alignment: int) -> int: ...
    def text(self, text: str) -> int: ...
    def carry(self, size_bytes: int) -> int: ...
    def tensor(self, i: int) -> int: ...


class Part(Protocol):
    """A record to which another one refers."""

    def pack(self, place: Placement) -> bytes: ...


U8: TypeAlias = Annotated[int, Scalar("B", "uint8_t")]
I8: TypeAlias = Annotated[int, Scalar("b", "int8_t")]
U16: TypeAlias = Annotated[int, Scalar("H", "uint16_t")]
I16: TypeAlias = Annotated[int, Scalar("h", "int16_t")]
U32: TypeAlias = Annotated[int, Scalar("I", "uint32_t")]
I32: TypeAlias = Annotated[int, Scalar("i", "int32_t")]
I64: TypeAlias = Annotated[int, Scalar("q", "int64_t")]
F32: TypeAlias = Annotated[float, Scalar("f", "float")]
Bytes8: TypeAlias = Annotated[bytes, Scalar("8s", "uint8_t", c_count=8)]
Blob: TypeAlias = Annotated[bytes | None, Scalar("I", "uint32_t", Reference.BLOB)]
Numbers: TypeAlias = Annotated[bytes | None, Scalar("I", "uint32_t", Reference.BLOB, alignment=8)]
Words: TypeAlias = Annotated[bytes | Part | None, Scalar("I", "uint32_t", Reference.BLOB, alignment=4)]
Text: TypeAlias = Annotated[str, Scalar("I", "uint32_t", Reference.TEXT)]
Carry: TypeAlias = Annotated[int, Scalar("I", "uint32_t", Reference.CARRY)]
TensorNumber: TypeAlias = Annotated[int, Scalar("H", "uint16_t", Reference.TENSOR)]


class _Nowhere:
    """For records that refer to nothing."""

    def blob(self, content: bytes, alignment: int) -> int:
        raise TypeError("the record refers to bytes; say where they go")

    def text(self, text: str) -> int:
        raise TypeError("the record refers to text; say where it goes")

    def carry(self, size_bytes: int) -> int:
        raise TypeError("the record refers to running sums; say where they go")

    def tensor(self, i: int) -> int:
        raise TypeError("the record refers to a tensor; say what its number is")


_REQUIRED: Any = object()
"""The default of a field that has none."""


@dataclass(frozen=True)
class _Documented:
    comment: str
    default: Any


def doc(comment: str, *, default: Any = _REQUIRED) -> Any:
    """A field with a comment, which stands beside it in the C header too."""
    return _Documented(comment, default)


@dataclass(frozen=True)
class Field:
    """One field of a record; ``c_name`` is its name in C and where it is read, ``count`` 0 if it is no array."""

    name: str
    c_name: str
    scalar: Scalar
    count: int
    default: Any
    comment: str

    @property
    def values(self) -> int:
        return self.count or 1


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(doc,))
class Record:
    """The base of all records, which are made by field name and do not change; ``c`` is the name of the struct."""

    c_name: ClassVar[str]
    fields: ClassVar[tuple[Field, ...]]
    size: ClassVar[int]
    _packer: ClassVar[struct.Struct]

    def __init_subclass__(cls, c: str) -> None:
        cls.c_name = c
        cls.fields = _fields_of(cls)
        codes = "".join(field.scalar.code * field.values for field in cls.fields)
        cls._packer = struct.Struct("<" + codes)
        cls.size = cls._packer.size
        if struct.calcsize("@" + codes) != cls.size:
            raise TypeError(f"{c} has gaps in C; order its fields so that each stands at a multiple of its size")

    def __init__(self, **values: Any) -> None:
        taken = {field.name: field.default for field in self.fields} | values
        wrong = [name for name, value in taken.items() if value is _REQUIRED] or list(taken)[len(self.fields) :]
        if wrong:
            raise TypeError(f"{self.c_name} wants other fields: {', '.join(wrong)}")
        self.__dict__.update(taken)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self.c_name} does not change; make another one with replaced({name}=...)")

    def replaced(self, **values: Any) -> Self:
        """The same record with other values of some fields."""
        return type(self)(**{**self.__dict__, **values})

    @classmethod
    def offset(cls, c_name: str) -> int:
        """Where a field begins."""
        at = 0
        for field in cls.fields:
            if field.c_name == c_name:
                return at
            at += field.values * struct.calcsize(field.scalar.code)
        raise AttributeError(f"{cls.c_name} has no field {c_name}")

    def pack(self, place: Placement = _Nowhere()) -> bytes:  # noqa: B008
        """The record as it stands in a file; ``place`` takes what it refers to, in the order of the fields."""
        words = []
        for field in self.fields:
            value = getattr(self, field.name)
            for one in value if field.count else (value,):
                words.append(_placed(one, field.scalar, place))
        return self._packer.pack(*words)

    @classmethod
    def read(cls, content: bytes | bytearray, at: int = 0) -> Any:
        """The fields at ``at`` by their names in C: numbers, arrays as tuples, references as offsets."""
        values = iter(cls._packer.unpack_from(content, at))
        return SimpleNamespace(**{field.c_name: _taken(values, field.count) for field in cls.fields})

    @classmethod
    def read_each(cls, content: bytes | bytearray, at: int, count: int) -> list[Any]:
        """So many records, one behind the other."""
        return [cls.read(content, at + k * cls.size) for k in range(count)]


def _fields_of(cls: type[Any]) -> tuple[Field, ...]:
    fields = []
    annotations: dict[str, Any] = inspect.get_annotations(cls, eval_str=True)
    for name, kind in annotations.items():
        said = getattr(cls, name, _REQUIRED)
        declared = said if isinstance(said, _Documented) else _Documented("", said)
        count = 0
        if typing.get_origin(kind) is tuple:
            parts = typing.get_args(kind)
            kind, count = parts[0], len(parts)
        (scalar,) = (extra for extra in typing.get_args(kind) if isinstance(extra, Scalar))
        c_name = name + ("_at" if scalar.reference in (Reference.BLOB, Reference.CARRY) else "")
        fields.append(Field(name, c_name, scalar, count, declared.default, declared.comment))
    return tuple(fields)


def _placed(value: Any, scalar: Scalar, place: Placement) -> Any:
    if scalar.reference is None:
        return value
    if scalar.reference is Reference.TEXT:
        return place.text(value)
    if scalar.reference is Reference.TENSOR:
        return place.tensor(value)
    if scalar.reference is Reference.CARRY:
        return place.carry(value) if value else 0
    if value is None:
        return 0
    return place.blob(value if isinstance(value, bytes) else value.pack(place), scalar.alignment)


def _taken(values: Iterator[Any], count: int) -> Any:
    return tuple(next(values) for _ in range(count)) if count else next(values)
