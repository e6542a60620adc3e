"""One record per operation: found by being there, complete, and the only place that names its kind."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Never

import pytest
from helpers.networks import build, layer
from helpers.paths import MODELS

import tcnstream
from tcnstream.compiler.operations import operations
from tcnstream.engines.interpreter.emit import EMIT
from tcnstream.engines.native.pack import PACKERS
from tcnstream.engines.reference.kernels import KERNELS
from tcnstream.engines.reference.kernels.fixed_point import CLIPS
from tcnstream.engines.registry import Registry
from tcnstream.errors import NotStreamableError

PACKAGE = Path(tcnstream.__file__).parent
FORMAT = ("tflite/schema.py", "tflite/reader.py", "tflite/writer.py")
"""What the file format says of a kind: its number, its options' table, its versions."""

ACTIVATIONS = {*CLIPS, "TANH"}
"""Names of kinds that are names of activations, too."""


def names_of_kinds(path: Path) -> Iterator[str]:
    """Every string of a module that is a kind, but for those that write an operation into a file."""
    tree = ast.parse(path.read_text())
    writes = {
        id(call.args[0])
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and call.args and ast.unparse(call.func).split(".")[-1] in ("op", "Op")
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in operations() and id(node) not in writes:
            assert isinstance(node.value, str)
            yield node.value


def names_in(folder: str) -> Counter[str]:
    return Counter(kind for path in sorted((PACKAGE / folder).rglob("*.py")) for kind in names_of_kinds(path))


def test_every_record_names_its_kind_once() -> None:
    assert names_in("compiler/operations") == dict.fromkeys(operations(), 1)


@pytest.mark.parametrize("room", ["engines/reference", "engines/interpreter", "engines/native", "measure"])
def test_an_engine_names_a_kind_once(room: str) -> None:
    again = {kind for kind, count in names_in(room).items() if count > 1}
    assert again <= ACTIVATIONS


def test_nothing_else_names_a_kind() -> None:
    rooms = ("compiler/operations", "engines/reference", "engines/interpreter", "engines/native", "measure", "zoo")
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if where not in FORMAT and not where.startswith(rooms):
            assert not set(names_of_kinds(path)), where


def test_a_record_has_what_an_operation_needs() -> None:
    for record in operations().values():
        if record.lower is not None:
            # What other operations say has no kernel of its own, and nothing to be drawn in a type.
            assert record.rule is not None and (record.types or record.kind not in KERNELS), record.kind
        if record.fold is not None:
            assert record.rule is not None, record.kind


def test_engines_have_functions_for_known_operations_only() -> None:
    assert set(KERNELS) <= set(operations())
    assert set(EMIT) <= set(operations())
    assert set(PACKERS) <= set(operations())


def test_two_functions_for_one_operation_are_a_mistake() -> None:
    table: Registry[int] = Registry("tcnstream.errors")
    table.enter("A")(1)
    with pytest.raises(ValueError, match="two entries for A"):
        table.enter("B", "A")(2)


def module(name: str) -> ModuleType:
    """A module of the compiler, which has a function of the same name."""
    return importlib.import_module(f"tcnstream.compiler.{name}")


def test_an_unknown_operation_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {kind: record for kind, record in operations().items() if kind != "CONV_2D"}
    monkeypatch.setattr(module("lower"), "operations", lambda: known)
    with pytest.raises(NotStreamableError, match=r"`CONV_2D` .* has no streaming form here"):
        tcnstream.load(build([layer("convolution")], 20).content)


# --- a mistake of ours shows as what it is -----------------------------------------------------


def mistake(*_: object) -> Never:
    raise KeyError("planted")


@pytest.mark.parametrize("field", ["lower", "rule", "multiply_adds"])
def test_a_mistake_of_ours_shows_as_what_it_is(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came out as operations that do not fit together, of a file that was sound."""
    record = operations()["CONV_2D"]
    assert record.rule is not None
    planted = replace(record.rule, shapes=mistake) if field == "rule" else mistake
    known = dict(operations()) | {record.kind: replace(record, **{field: planted})}
    for name in ("lower", "validate"):
        monkeypatch.setattr(module(name), "operations", lambda: known)
    monkeypatch.setattr("tcnstream.compiler.cost.operation", lambda kind: known[kind])
    with pytest.raises(KeyError, match="planted"):
        tcnstream.load(MODELS / "sig_valid.f32.tflite").summary()


# --- the page that shows how -------------------------------------------------------------------


def test_the_page_on_adding_an_operation_shows_the_code_as_it_is() -> None:
    page = (PACKAGE / "docs" / "add-an-operation.md").read_text()
    blocks = re.findall(r"```py\n# (\S+)\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 5
    for path, code in blocks:
        assert code in (PACKAGE.parent / path).read_text(), f"{path} does not have:\n{code}"
