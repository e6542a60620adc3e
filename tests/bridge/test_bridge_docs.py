"""What the bridge's pages and help texts say is so."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from dataclasses import fields

import pytest
from helpers.bridge_tools import DOCS, EMULATED
from helpers.paths import DATA, ROOT
from typer.main import get_command

from firmware_bridge.boards.table import BOARDS, KIB, MHZ
from firmware_bridge.cli.app import app
from firmware_bridge.link.messages import MESSAGES, UNASKED, Can, FrameHead, Kind, Status
from firmware_bridge.targets import KINDS

PAGES = [ROOT / "README.md", DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]


def documented_commands() -> list[str]:
    """Every command line of the pages and of the help texts."""
    lines = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    found = [line.split("#")[0] for line in lines if line.startswith("firmware-bridge ")]
    for command in get_command(app).commands.values():  # type: ignore[attr-defined]
        found += re.findall(r"`(firmware-bridge \w+ [^`]*)`", command.help)
    return list(dict.fromkeys(line.strip() for line in found))


@pytest.mark.parametrize("line", documented_commands())
def test_every_command_line_in_the_documents_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments, resilient_parsing=False)


def test_the_bridge_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "firmware_bridge", "devices", "--help"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0 and "Usage: firmware-bridge devices" in answer.stdout


def test_every_command_is_documented() -> None:
    documented = {shlex.split(line)[1] for line in documented_commands()}
    assert documented == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_the_page_s_instructions_are_those_recorded() -> None:
    recorded = json.loads((DATA / "bridge_instructions.json").read_text())
    page = (DOCS / "boards.md").read_text(encoding="utf-8")
    for model, targets in recorded.items():
        if model != "what":
            assert f"| {model} | " + " | ".join(f"{targets[t]:,}" for t in EMULATED) + " |" in page


def test_the_page_of_boards_has_every_target_and_board() -> None:
    page = (DOCS / "boards.md").read_text(encoding="utf-8")
    for kind in KINDS.values():
        assert f"| `{kind.written}` | {kind.what} |" in page
    for board in BOARDS.values():
        if board.memory is not None:
            clock, plan = f"{board.clock_hz / MHZ:g}", board.memory.plan
            assert (
                f"| `{board.name}` | {board.what} | {clock} | {plan.at:#010x} | {plan.size_bytes // KIB:,} KB |" in page
            )


def test_the_protocol_page_names_every_message_status_and_field() -> None:
    page = (DOCS / "protocol.md").read_text(encoding="utf-8")
    rows = {row.split("|")[1].split()[1]: row for row in page.splitlines() if re.match(r"\| (0x)?\d+ [A-Z]+ \|", row)}
    for status in Status:
        assert f"{int(status)} {status.name}" in page, status
    for can in Can:
        assert re.search(rf"\b{can.value} {can.name}\b", page), can
    for kind in Kind:
        _, _, request, reply, _ = rows[kind.name].split("|")
        described = zip((request, reply), MESSAGES[kind], strict=True) if kind in MESSAGES else [(reply, UNASKED[kind])]
        for said, record in described:
            if "as PUSH" not in said:
                names = [field.name for field in fields(record)]  # type: ignore[arg-type]
                pattern = ".*".join(rf"\b{name}\b" for name in names)
                assert re.search(pattern, said), (kind, names)
    assert re.search(".*".join(field.name for field in fields(FrameHead)), page)


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent == DOCS], ids=lambda p: p.name)
def test_the_pages_code_is_python_whose_names_exist(page: object) -> None:
    text = page.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    for block in re.findall(r"```py(?:thon3)?\n(.*?)```", text, re.DOTALL):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                exec(compile(ast.Module([node], []), str(page), "exec"), {})
