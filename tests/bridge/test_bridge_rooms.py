"""The rooms of firmware_bridge: imports go down only, in no circle, and the names that programs use are there."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import firmware_bridge

PACKAGE = Path(firmware_bridge.__file__).parent
ORDER = ("errors", "link", "boards", "check", "report", "neuralspot", "targets", "pytest_plugin", "cli")


def imports() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports anywhere, in functions too; for types alone does not count."""
    sources = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in sources}
    known = {name.removesuffix(".__init__") for name in names.values()}
    found: dict[str, set[str]] = {}
    for path, tree in sources.items():
        for_types = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ]
        skipped = {id(inner) for node in for_types for inner in ast.walk(node)}
        used: set[str] = set()
        for node in ast.walk(tree):
            if id(node) in skipped:
                continue
            if isinstance(node, ast.ImportFrom) and node.module:
                wanted = [f"{node.module}.{alias.name}" for alias in node.names]
                used |= {w if w in known else node.module for w in wanted}
            elif isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
        found[names[path].removesuffix(".__init__")] = used & known
    return found


def test_imports_go_down_only() -> None:
    def place(module: str) -> int:
        return ORDER.index(module.split(".")[1])

    for module, used in imports().items():
        if module != "firmware_bridge":  # its names are looked up when they are asked for
            upward = [other for other in used if place(other) > place(module)]
            assert not upward, f"{module} imports {upward}, which is above it"


def test_no_circle_of_imports() -> None:
    list(TopologicalSorter(imports()).static_order())


def test_the_library_does_not_print_nor_need_the_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "cli" not in path.relative_to(PACKAGE).parts:
            text = path.read_text(encoding="utf-8")
            assert "print(" not in text.replace("print(report", ""), path
            assert "tcnstream.cli" not in text, path


def test_every_public_name_is_there_and_costs_nothing_before_it_is_used() -> None:
    for name in firmware_bridge.__all__:
        assert callable(getattr(firmware_bridge, name))
    command = (
        "import firmware_bridge, sys; print(sorted(m for m in sys.modules if m.startswith(('numpy', 'tcnstream'))))"
    )
    said = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
