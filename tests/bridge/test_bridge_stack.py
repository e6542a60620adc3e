"""How much stack the core takes on a board: its deepest call below the frame of the caller, painted in the emulator."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from helpers.bridge_tools import MODELS, tool
from helpers.many_operations import many_operations
from helpers.paths import TESTS

import tcnstream
from firmware_bridge.boards.build import CORE, FIRMWARE, build, core_library
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
    board = BOARDS[target]
    variables, made = board.make_variables(), folder / f"{target}.elf"
    flags = ["-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{CORE}", f"-I{FIRMWARE}", *board.cpu, "-nostdlib"]
    flags += ["-fno-tree-loop-distribute-patterns", *variables["DEFINES"].split(), f'-DBRIDGE_TARGET="{target}"']
    sources = [TESTS / "bridge" / "stack.c", *(FIRMWARE / "ports" / name for name in board.ports), core_library(board)]
    link = ["-Wl,--gc-sections", *variables["PLACES"].split(), f"-T{FIRMWARE / 'board.ld'}", "-lgcc"]
    subprocess.run(["arm-none-eabi-gcc", *flags, *map(str, sources), *link, "-o", made], check=True)
    return made


def depths(target: str, program: Path, plan: Path) -> dict[str, int]:
    """What the program says in the emulator: bytes by kind of call."""
    machine, memory = BOARDS[target].machine, BOARDS[target].memory
    assert machine is not None and memory is not None
    command = ["qemu-system-arm", "-M", machine.name, "-display", "none", "-monitor", "none", "-nic", "none"]
    command += ["-serial", "stdio", "-kernel", str(program)]
    command += ["-device", f"loader,file={plan},addr={memory.plan.at:#x},force-raw=on"]
    said: dict[str, int] = {}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as qemu:  # type: ignore[call-overload]
        for line in qemu.stdout:
            word, number = line.split()
            if word in ("END", "ERROR"):
                assert (word, number) == ("END", "0"), line
                break
            said[word] = int(number)
        qemu.kill()
    return said


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
