"""The layout of a plan file: one description, from which the core's headers are generated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tcnstream.engines.native.layout.codes import CORE_CODES, Error
from tcnstream.engines.native.layout.headers import CORE, RECORDS, headers
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.layout.record import F32, I8, U8, U32, Blob, Record, TensorNumber, Text, Words, doc


class Example(Record, c="example_args"):
    """A record of every sort of field."""

    elements: U32 = doc("of a frame")
    table: Blob
    pair: tuple[U32, U32] = (7, 8)
    words: tuple[Words, Words] = (None, None)
    label: Text
    scale: F32 = 0.5
    tensor: TensorNumber = 0
    small: tuple[I8, U8] = (-1, 2)


class Written:
    """Takes what a record refers to, and remembers it."""

    def __init__(self) -> None:
        self.blobs: list[tuple[bytes, int]] = []

    def blob(self, content: bytes, alignment: int) -> int:
        self.blobs.append((content, alignment))
        return 1000 * len(self.blobs)

    def text(self, text: str) -> int:
        return len(text)

    def carry(self, size_bytes: int) -> int:
        return size_bytes

    def tensor(self, i: int) -> int:
        return 10 + i


@pytest.mark.parametrize("path", headers(), ids=lambda path: path.name)
def test_the_checked_in_headers_are_those_of_the_layout(path: Path) -> None:
    assert path.read_text() == headers()[path], "stale: run `python -m tcnstream.engines.native.layout`"


def test_the_command_says_that_nothing_is_stale() -> None:
    command = [sys.executable, "-m", "tcnstream.engines.native.layout", "--check"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_a_record_is_packed_and_read_by_name() -> None:
    place = Written()
    content = Example(elements=3, table=b"abc", words=(b"w", None), label="four").pack(place)
    assert len(content) == Example.size == 36
    assert place.blobs == [(b"abc", 16), (b"w", 4)]
    read = Example.read(b"...." + content, 4)
    assert (read.elements, read.table_at, read.pair, read.words_at) == (3, 1000, (7, 8), (2000, 0))
    assert (read.label, read.scale, read.tensor, read.small) == (4, 0.5, 10, (-1, 2))
    assert Example.offset("pair") == 8 and Example.offset("scale") == 28


def test_a_record_wants_its_fields_and_no_others() -> None:
    with pytest.raises(TypeError, match="example_args wants other fields: table, label"):
        Example(elements=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="example_args wants other fields: tabel"):
        Example(elements=3, table=None, label="", tabel=None)  # type: ignore[call-arg]
    made = Example(elements=3, table=None, label="")
    with pytest.raises(AttributeError, match="does not change"):
        made.elements = 4  # type: ignore[misc]
    assert made.replaced(elements=4).elements == 4 and made.elements == 3


def test_a_record_that_refers_to_something_must_be_told_where_it_goes() -> None:
    with pytest.raises(TypeError, match="say where they go"):
        Example(elements=3, table=b"abc", label="").pack()


def test_a_record_with_a_gap_is_refused() -> None:
    with pytest.raises(TypeError, match="gap_args has gaps in C"):

        class Gap(Record, c="gap_args"):
            small: U8
            large: U32


def test_the_numbers_of_operations_and_errors_have_no_holes() -> None:
    assert [int(kind) for kind in Kind] == list(range(1, 1 + len(Kind)))
    assert [int(error) for error in Error] == list(range(len(CORE_CODES)))
    assert all(record in RECORDS for kind in Kind if (record := kind.arguments))


def test_every_operation_of_the_core_has_a_file_that_defines_it_once() -> None:
    sources = {path.name: path.read_text() for path in (CORE / "operations").glob("*.c")}
    for kind in Kind:
        defined = f"const tcn_operation tcn_{kind.name.lower()} ="
        assert sum(defined in text for text in sources.values()) == 1, kind.name
