"""The headers of the core that are generated from ``layout``: what they are called and what they hold."""

from __future__ import annotations

import functools
import inspect
import textwrap
import zlib
from enum import IntEnum
from pathlib import Path

from tcnstream.engines.native.layout.arguments import (
    MAX_SOFTMAX_INTEGERS,
    MOST_INTERPOLATED,
    SUM_DIGITS,
    Axis,
    BinaryFloat,
    Fours,
    MoveRun,
    Operands,
    Rescale,
)
from tcnstream.engines.native.layout.codes import MAX_OPERANDS, MAX_PORTS, Dtype, Error, Family
from tcnstream.engines.native.layout.file import (
    MAGIC,
    NO_NUMBER,
    NONE,
    VERSION,
    Description,
    Edge,
    FrameRecord,
    Header,
    NodeDescription,
    NodeRecord,
    PlanFlag,
    RingRecord,
    TensorRecord,
    WindowRecord,
)
from tcnstream.engines.native.layout.functions import (
    ArgOp,
    BinaryOp,
    ConvOp,
    PoolOp,
    ResampleOp,
    RescaleOp,
    SigmoidOp,
    SoftmaxOp,
    StatisticOp,
    TimeMoveOp,
    UnaryOp,
    UnaryScalarOp,
)
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.layout.record import Record
from tcnstream.engines.native.layout.snapshot import SNAPSHOT_MAGIC, SnapshotHead

CORE = Path(__file__).parents[3] / "core"
_WRITTEN_BY = "written by `python -m tcnstream.engines.native.layout`"

RECORDS = (
    Header,
    FrameRecord,
    TensorRecord,
    RingRecord,
    WindowRecord,
    NodeRecord,
    Description,
    NodeDescription,
    Axis,
    Fours,
    Operands,
    BinaryFloat,
    *dict.fromkeys(k.arguments for k in Kind if k.arguments),
    MoveRun,
    SnapshotHead,
)
ENUMS: tuple[tuple[str, type[IntEnum]], ...] = (
    ("PLAN_", PlanFlag),
    ("FAMILY_", Family),
    ("KIND_", Kind),
    ("EDGE_", Edge),
    ("RESCALE_", Rescale),
    ("RESCALE_", RescaleOp),
    ("CONV_", ConvOp),
    ("BINARY_", BinaryOp),
    ("UNARY_", UnaryOp),
    ("SCALAR_", UnaryScalarOp),
    ("POOL_", PoolOp),
    ("RESAMPLE_", ResampleOp),
    ("SIGMOID_", SigmoidOp),
    ("SOFTMAX_", SoftmaxOp),
    ("TIME_", TimeMoveOp),
    ("STATISTIC_", StatisticOp),
    ("ARG_", ArgOp),
)
"""(prefix of its names in C, codes) of what stands in a plan file."""


def codes_h() -> str:
    """``core/codes.h``: what a user of ``tcn.h`` sees."""
    errors = [f"    TCN_{error.name} = {int(error)}, /* {error.text} */" for error in Error]
    texts = [f'    X(TCN_{error.name}, "{error.text}")' for error in Error]
    return _header(
        "codes.h",
        "error codes, element types and limits of the core",
        "\n".join(["/* What a function returns. */", "enum {", *errors, "};"]),
        "/* X(code, text) for each, in order. */\n" + _continued(["#define TCN_ERRORS(X)", *texts]),
        "/* Families of processors for which plans are packed, by the number in a plan's header. */\n"
        f"#define TCN_FAMILIES {{{', '.join(_string(family.word.encode()) for family in Family)}}}",
        _enum("TCN_", Dtype),
        "/* Inputs or outputs, at most: of a model, of an operation. */\n"
        f"enum {{ TCN_MAX_PORTS = {MAX_PORTS}, TCN_MAX_OPERANDS = {MAX_OPERANDS} }};",
    )


def layout_h() -> str:
    """``core/layout.h``: the records of a plan file, and the operations."""
    operations = [f"    X({kind.name}, tcn_{kind.name.lower()})" for kind in Kind]
    item_bytes = ", ".join(str(dtype.bytes) for dtype in Dtype)
    return _header(
        "layout.h",
        "the records of a plan file",
        '#include "tcn.h"',
        "/* All offsets (`..._at`) count bytes from the start of the plan; all fields are little-endian. */",
        "\n".join(
            [
                f"#define TCN_PLAN_MAGIC {_string(MAGIC)}",
                f"#define TCN_SNAPSHOT_MAGIC {_string(SNAPSHOT_MAGIC)}",
                f"#define TCN_VERSION {VERSION}u",
                f"#define TCN_NONE 0x{NONE:X}u",
                f"#define TCN_NO_NUMBER 0x{NO_NUMBER:X}u",
                "#define TCN_SAME INT32_MIN",
                f"#define TCN_ITEM_BYTES {{{item_bytes}}} /* of an element, by its type */",
                f"#define TCN_MOST_INTERPOLATED {MOST_INTERPOLATED}u /* frames that make one */",
                f"#define TCN_MAX_SOFTMAX_INTEGERS {MAX_SOFTMAX_INTEGERS}u /* whose powers fit an int32 */",
                f"#define TCN_SUM_DIGITS {SUM_DIGITS}u /* of an exact sum of float32: 32 bits in 64 each */",
            ]
        ),
        "/* A C compiler that lays a record out otherwise stops here. */\n"
        "#define TCN_HAS_SIZE(type, size) typedef char type##_has_its_size[sizeof(type) == (size) ? 1 : -1]",
        *(_enum(prefix, codes) for prefix, codes in ENUMS),
        *(_struct(record) for record in RECORDS),
        "/* X(kind, the tcn_operation that runs it); a build for some plans alone says which they need. */\n"
        "#ifdef TCN_ONLY\n#include TCN_ONLY\n#else\n"
        + _continued(["#define TCN_OPERATIONS(X)", *operations])
        + "\n#endif",
    )


def _header(name: str, what: str, *parts: str) -> str:
    guard = f"TCN_{name.upper().replace('.', '_')}"
    return "\n\n".join([f"/* {name} - {what}; {_WRITTEN_BY}. */\n#ifndef {guard}\n#define {guard}", *parts, "#endif\n"])


def _string(content: bytes) -> str:
    return '"' + content.decode().replace("\n", "\\n") + '"'


def _continued(lines: list[str]) -> str:
    return " \\\n".join(lines)


@functools.cache
def fingerprint() -> int:
    """A number that changes with the layout; a compiled core says which one it was compiled with."""
    return zlib.crc32((codes_h() + layout_h()).encode())


def headers() -> dict[Path, str]:
    """The generated files and what they must hold."""
    stamp = f"\n#define TCN_LAYOUT 0x{fingerprint():08X}u /* of these two headers */\n\n#endif\n"
    return {CORE / "codes.h": codes_h(), CORE / "layout.h": layout_h().removesuffix("\n#endif\n") + stamp}


def _struct(cls: type[Record]) -> str:
    """The record as a struct, and a compile-time check of its size."""
    lines = [_comment(cls.__doc__ or ""), "typedef struct {"]
    for field in cls.fields:
        count = field.count or field.scalar.c_count
        array = f"[{count}]" if count else ""
        comment = f" /* {field.comment} */" if field.comment else ""
        lines.append(f"    {field.scalar.c} {field.c_name}{array};{comment}")
    lines += [f"}} {cls.c_name};", f"TCN_HAS_SIZE({cls.c_name}, {cls.size});"]
    return "\n".join(lines)


def _enum(prefix: str, codes: type[IntEnum]) -> str:
    """The codes as an enum, each with ``prefix`` before its name."""
    names = ", ".join(f"{prefix}{code.name}~=~{int(code)}" for code in codes)
    body = textwrap.fill(names, 116, initial_indent="    ", subsequent_indent="    ").replace("~", " ")
    return "\n".join([_comment(codes.__doc__ or ""), f"enum {{\n{body}\n}};"])


def _comment(text: str) -> str:
    """A docstring as a comment of C."""
    lines = [line.replace("``", "`") for line in inspect.cleandoc(text).splitlines()]
    return "/* " + "\n".join([lines[0], *(f" * {line}".rstrip() for line in lines[1:])]) + " */"
