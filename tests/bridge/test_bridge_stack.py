"""How much stack the core takes on a board: its deepest call below the frame of the caller, painted in the emulator."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.board_program import lines, linked
from helpers.bridge_tools import MODELS, tool
from helpers.many_operations import many_operations
from helpers.paths import TESTS

import tcnstream
from firmware_bridge.boards.build import build, core_library
from firmware_bridge.boards.table import BOARDS
from tcnstream.signal.card import find_model

pytestmark = pytest.mark.slow

MOST_BYTES = {"qemu-m4": 1024, "qemu-m55": 1228}
CALLS = {"check", "open", "push", "flush", "snapshot", "restore"}
FLOATS = ("nse_lg.f32", "many float32")
INTEGERS = (
    "nse_lg.i8",
    "nse_mb.i8",
    "causal.i8",
    "causal.i16",
    "ecg",
    "speech",
    "spectro.i8",
    "many int8",
    "many int16",
)


def load(name: str) -> tcnstream.Model:
    if name.startswith("many "):
        return tcnstream.load(many_operations(name.removeprefix("many ")))
    path = MODELS / f"{name}.tflite"
    return tcnstream.load(path if path.exists() else find_model(name)[0])


def measuring_program(target: str, folder: Path) -> Path:
    """``stack.c`` with the core as the firmware has it."""
    for needed in ("make", "arm-none-eabi-gcc", "qemu-system-arm"):
        tool(needed)
    build(target)  # and with it the core's library
    sources = (TESTS / "bridge" / "stack.c", core_library(BOARDS[target]))
    return linked(target, sources, ("-Wall", "-Wextra", "-Werror"), folder)


def depths(target: str, program: Path, plan: Path) -> dict[str, int]:
    """What the program says: bytes by kind of call."""
    return {call: most_bytes for call, most_bytes, *_ in lines(target, program, plan)}


@pytest.mark.parametrize("target", MOST_BYTES)
def test_the_core_takes_little_stack(target: str, tmp_path: Path) -> None:
    """Plans for the board's family and portable ones, whose convolutions run on other kernels."""
    program, plan = measuring_program(target, tmp_path), tmp_path / "plan"
    for name in FLOATS + INTEGERS:
        for family in {BOARDS[target].family, "portable" if name in INTEGERS else BOARDS[target].family}:
            plan.write_bytes(load(name).plan_file(family=family))
            said = depths(target, program, plan)
            assert said.keys() == CALLS
            assert 300 < max(said.values()) <= MOST_BYTES[target], (name, family, said)
