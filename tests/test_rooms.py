"""Imports go one way: down the list of rooms in ``tcnstream/docs/design.md``, and never in a circle.

Within a package they go up the list of modules, ``name.py  what it is for``, that its docstring may have.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "tcnstream" / "docs" / "design.md"
PACKAGES = ("tcnstream", "firmware_bridge")
STATE_FIELDS = {"pushed_frames", "ended", "have", "queues", "carries", "first_frame"}


def rooms() -> dict[str, int]:
    """Rooms by full name, with their place in the list of their package; those on one line have one place."""
    found: dict[str, int] = {}
    package = ""
    block = re.search(r"```rooms\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    for place, line in enumerate(block[1].splitlines()):
        if not line.startswith(" "):
            package = line
            continue
        for name in re.split(r"\s{2,}", line.strip())[0].split(", "):
            found[package if name == "__init__" else f"{package}.{name}"] = place
    return found


@cache
def modules() -> dict[str, Path]:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of the house that a module names in an import, wherever it stands."""
    return named_in(ast.walk(tree(module)), module)


def named_in(nodes: Iterable[ast.AST], module: str) -> frozenset[str]:
    named: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                named.append(inner if inner in modules() else str(node.module))
    return frozenset(name for name in named if name.split(".")[0] in PACKAGES and name != module)


def imported_at_once(module: str) -> frozenset[str]:
    """All that Python waits for before a module is there: what it names outside of functions, with the packages that
    lie around that and not around itself, and those that it takes a name from.
    """
    nodes = list(executed(tree(module).body))
    named = set(named_in(nodes, module))
    around = {package for name in named for package in packages_of(name)} - packages_of(module)
    asked = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)} & set(modules())
    return frozenset((named | around | asked) - {module})


def executed(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, blocks apart from what is for types alone."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from executed(node.orelse)
            continue
        for inner in ast.iter_child_nodes(node):
            blocks = inner.body if isinstance(inner, ast.ExceptHandler) else [inner]
            yield from executed(each for each in blocks if isinstance(each, ast.stmt))


def packages_of(module: str) -> set[str]:
    parts = module.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts))}


def room_of(module: str, known: dict[str, int]) -> str:
    """The room with the longest name that the module lies in; the public names are a room without others in it."""
    parts = module.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 1, -1)] if len(parts) > 1 else [module]
    found = next((name for name in names if name in known), None)
    assert found is not None, f"{module} has no room in {PAGE.relative_to(ROOT)}"
    return found


def arrows() -> Iterator[tuple[str, str]]:
    for module in modules():
        for other in sorted(imports(module)):
            yield module, other


def test_every_import_goes_down_the_list() -> None:
    known = rooms()
    wrong = []
    for module, other in arrows():
        here, there = room_of(module, known), room_of(other, known)
        if module.split(".")[0] != other.split(".")[0]:
            if not module.startswith("firmware_bridge") or (
                other.startswith("tcnstream.cli") and here != "firmware_bridge.cli"
            ):
                wrong.append(f"{module} imports {other}")
        elif here != there and known[there] <= known[here]:
            wrong.append(f"{module} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({module: imports(module) for module in modules()}).prepare()
    except CycleError as e:
        raise AssertionError(" -> ".join(e.args[1])) from None


def test_no_module_waits_for_a_package_that_waits_for_it() -> None:
    """Two threads that import from both ends of such a circle hold a lock each; Python gives one of them half a module,
    and it fails: ``cannot import name ... from partially initialized module``.
    """
    try:
        TopologicalSorter({module: imported_at_once(module) for module in modules()}).prepare()
    except CycleError as e:
        raise AssertionError(" -> ".join(e.args[1])) from None


@cache
def listed(package: str) -> tuple[str, ...]:
    """The modules that the docstring of a package lists, by full name; none where it has no list."""
    names = re.findall(r"^    (\w+)\.py  ", ast.get_docstring(tree(package)) or "", re.MULTILINE)
    return tuple(f"{package}.{name}" for name in names)


LISTING = [module for module, path in modules().items() if path.name == "__init__.py" and listed(module)]


@pytest.mark.parametrize("package", LISTING)
def test_a_package_that_lists_its_modules_lists_them_all_in_the_order_of_their_imports(package: str) -> None:
    beside = {module for module in modules() if module.rpartition(".")[0] == package and not module.endswith("__")}
    assert sorted(listed(package)) == sorted(beside)
    for k, module in enumerate(listed(package)):
        assert not imports(module) & set(listed(package)[k:]), f"{module} imports what is listed below it"


def test_every_room_is_there() -> None:
    inside = {room_of(module, rooms()) for module in modules() if imports(module)}
    empty = {room for room in rooms() if room not in modules() and room not in inside}
    assert not empty


def test_only_state_writes_what_a_stream_remembers() -> None:
    wrong = []
    for module in modules():
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                written = node.value if isinstance(node, ast.Subscript) else node
                if isinstance(written, ast.Attribute) and written.attr in STATE_FIELDS:
                    owner = written.value.id if isinstance(written.value, ast.Name) else ""
                    if owner != "self":
                        wrong.append(f"{module}:{node.lineno} writes {owner}.{written.attr}")
    assert not wrong, "\n".join(wrong)
