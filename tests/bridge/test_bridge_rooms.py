"""The library prints nothing, needs no command line, and its public names are there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import firmware_bridge

PACKAGE = Path(firmware_bridge.__file__).parent


def test_the_library_does_not_print_nor_need_the_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "cli" not in path.relative_to(PACKAGE).parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                assert not (isinstance(node, ast.Name) and node.id == "print"), path
                assert not (isinstance(node, ast.ImportFrom) and str(node.module).startswith("tcnstream.cli")), path


def test_every_public_name_is_there_and_costs_nothing_before_it_is_used() -> None:
    for name in firmware_bridge.__all__:
        assert callable(getattr(firmware_bridge, name))
    command = "import firmware_bridge, sys; print([m for m in sys.modules if m.startswith(('numpy', 'tcnstream'))])"
    said = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
    assert not hasattr(firmware_bridge, "nothing_of_this_name")
