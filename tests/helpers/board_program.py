"""Programs around the core alone on emulated boards: they run a plan, say what they measure line by line, and end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from firmware_bridge.boards.build import CORE, FIRMWARE
from firmware_bridge.boards.table import BOARDS


def linked(board: str, sources: Sequence[Path], flags: Sequence[str], folder: Path) -> Path:
    """The program of ``sources``, libraries last, with a board's start, console and clock."""
    spec = BOARDS[board]
    variables, made = spec.make_variables(), folder / f"{board}.elf"
    compiled = ["-std=gnu99", "-O2", "-ffp-contract=off", "-ffunction-sections", "-fdata-sections", "-nostdlib"]
    compiled += ["-fno-tree-loop-distribute-patterns", *spec.cpu, f"-I{CORE}", f"-I{FIRMWARE}"]
    compiled += [*variables["DEFINES"].split(), f'-DBRIDGE_TARGET="{board}"', *flags]
    compiled += map(str, (*(FIRMWARE / "ports" / name for name in spec.ports), *sources))
    link = ["-Wl,--gc-sections", *variables["PLACES"].split(), f"-T{FIRMWARE / 'board.ld'}", "-lgcc"]
    subprocess.run(["arm-none-eabi-gcc", *compiled, *link, "-o", made], check=True)
    return made


def lines(board: str, program: Path, plan: Path, *options: str) -> Iterator[tuple[str, *tuple[int, ...]]]:
    """What it says in the emulator until it ends, a word and numbers a line. RuntimeError where it fails."""
    machine, memory = BOARDS[board].machine, BOARDS[board].memory
    assert machine is not None and memory is not None
    command = ["qemu-system-arm", "-M", machine.name, "-display", "none", "-monitor", "none", "-nic", "none"]
    command += ["-serial", "stdio", *options, "-kernel", str(program)]
    command += ["-device", f"loader,file={plan},addr={memory.plan.at:#x},force-raw=on"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, text=True, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as qemu:
        assert qemu.stdout is not None
        line = ""
        try:
            for line in qemu.stdout:
                word, *numbers = line.split() or [""]
                if word == "END":
                    return
                if word == "ERROR":
                    break
                yield word, *map(int, numbers)
        finally:
            qemu.kill()
        raise RuntimeError(f"the program on {board} ended with {line.strip()!r}")
