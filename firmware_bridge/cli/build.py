"""``firmware-bridge build``: the firmware as files, its sizes, and how it is flashed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from firmware_bridge.boards.build import board_spec, size_of
from firmware_bridge.boards.build import build as build_firmware
from firmware_bridge.boards.program import Program
from firmware_bridge.boards.table import BOARDS
from firmware_bridge.cli.options import RoundingOption, program_of
from tcnstream.cli.options import FileOptions, JsonOption, StreamingOptions, grouped
from tcnstream.cli.show import print_json, say

_TARGETS = ", ".join(BOARDS)


@grouped
def build(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=f"{_TARGETS}.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the program goes.")],
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="MODEL", help="Build for it alone, its plan beside it.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="With --model: keep what other models need, too.")] = False,
    rounding: RoundingOption = "litert",
    sdk: Annotated[str | None, typer.Option("--sdk", metavar="PATH", help="neuralSPOT, for USB on Apollo.")] = None,
    more: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="FILE",
            help="C to compile in, such as the hook for an energy meter; repeat it for several.",
        ),
    ] = None,
    streaming: StreamingOptions,
    file: FileOptions,
    json: JsonOption = False,
) -> None:
    """Build the firmware, report its sizes, and say how it is flashed.

    Example: `firmware-bridge build apollo4 out --model ecg`
    """
    board = board_spec(target)
    program: Program | None = None
    if model is not None:
        program = program_of(model, rounding, file, streaming)[1].packed_for(board.family)
    alone = None if program is None or whole else program.content
    made = build_firmware(target, sdk=sdk, plan=alone, more=more or ())
    size = None if sdk is not None else size_of(board, made, None if program is None else program.content)
    files = _write(folder, made, program)
    if json:
        print_json({"target": target, "files": files, **({} if size is None else asdict(size))})
        return
    if size is None:
        say(f"{files[0]}: link it into a neuralSPOT application and call bridge_run() after ns_core_init()")
        return
    if board.memory is None:
        say(f"{files[0]}: a program for this machine that speaks on standard input and output")
    else:
        say(
            f"{target}: {size.code_bytes:,} bytes of code and constants in flash, {size.ram_bytes:,} bytes of static"
            f" RAM, of them {size.stack_bytes:,} of stack"
        )
        if size.plan_bytes:
            say(f"plan: {size.plan_bytes:,} of {size.plan_room_bytes:,} bytes at {size.plan_at:#010x}")
    for line in size.how_to_flash:
        say(line)


def _write(folder: Path, made: Path, program: Program | None) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / made.name
    copy.write_bytes(made.read_bytes())
    copy.chmod(0o755)
    if program is None:
        return [str(copy)]
    plan = folder / "plan.bin"
    plan.write_bytes(program.content)
    return [str(copy), str(plan)]
