"""``tcnstream export``: the streaming program as a file for other runtimes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

import tcnstream
from tcnstream.cli.common import (
    CalibrationOption,
    JsonOption,
    ModelArgument,
    TimeAxisOption,
    TimePoolingOption,
    calibration_frames,
    print_json,
    say,
)
from tcnstream.engines.base import ROUNDINGS
from tcnstream.engines.interpreter.export import export_streaming
from tcnstream.engines.native.planfile import c_header, read_facts
from tcnstream.errors import EngineError
from tcnstream.opened import OpenedModel, open_model
from tcnstream.signal.card import model_files
from tcnstream.signal.outfile import writable, write_file
from tcnstream.signal.sources import files_of
from tcnstream.signal.sources.base import ReadOptions

TARGETS = ("streaming-tflite", "plan", "c-header")


def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="KIND", help="streaming-tflite, plan (for the C core), or c-header (the same)."),
    ] = "streaming-tflite",
    hop: Annotated[
        int | None,
        typer.Option(
            "--hop",
            metavar="FRAMES",
            min=1,
            help="streaming-tflite: input frames an invocation; else the fewest possible.",
        ),
    ] = None,
    rounding: Annotated[
        str, typer.Option("--rounding", metavar="KIND", help="plan, c-header: litert, or tflm as TFLite Micro rounds.")
    ] = ROUNDINGS[0],
    symbol: Annotated[
        str | None,
        typer.Option("--symbol", metavar="NAME", help="c-header: name of the C array; else after OUT."),
    ] = None,
    time_pooling: TimePoolingOption = None,
    calibration: CalibrationOption = None,
    time_axis: TimeAxisOption = None,
    json: JsonOption = False,
) -> None:
    """Write the streaming program as a file that other runtimes take.

    streaming-tflite: a .tflite with its state in resource variables, for TensorFlow Lite Micro.
    plan: the flat file that the C core of tcnstream runs in place, on a board from flash.
    c-header: the plan as a C array.

    Example: `tcnstream export ecg ecg.h --to c-header`
    """
    if to not in TARGETS:
        raise EngineError(f"there is no export {to!r}: choose one of {', '.join(TARGETS)}")
    writable(output, *model_files(model), *files_of(calibration))
    opened = open_model(model, time_axis)
    if to == "streaming-tflite":
        _refuse(
            to,
            {
                "--rounding": rounding != ROUNDINGS[0],
                "--symbol": symbol,
                "--time-pooling": time_pooling,
                "--calibration": calibration,
            },
        )
        _streaming_tflite(opened, output, hop, json)
        return
    _refuse(to, {"--hop": hop, "--symbol": symbol if to == "plan" else None})
    constants = calibration_frames(opened, calibration, ReadOptions(), time_pooling)
    _plan(opened.model.plan_file(time_pooling, constants, rounding), output, to, symbol, json)


def _plan(content: bytes, output: Path, to: str, symbol: str | None, json: bool) -> None:
    name = symbol or re.sub(r"\W", "_", f"{output.stem}_plan")
    if to == "plan":
        write_file(output, content)
    else:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise EngineError(f"{name!r} is no name in C: choose one with --symbol, for example --symbol my_plan")
        write_file(output, c_header(content, name).encode())
    facts = read_facts(content)
    if json:
        print_json(
            {
                "file": str(output),
                "plan_bytes": len(content),
                "plan_version": facts.version,
                "crc32": f"{facts.crc32:08x}",
                "identity": facts.identity,
                "rounding": facts.rounding,
                "operations": [{"kind": node.kind, "label": node.label} for node in facts.nodes],
                "state_bytes": facts.ring_bytes + facts.carry_bytes,
                "symbol": name if to == "c-header" else None,
            }
        )
        return
    say(
        f"{output}: a plan of {len(content):,} bytes with {len(facts.nodes)} operations, "
        f"{facts.ring_bytes + facts.carry_bytes:,} bytes of queues per stream, rounding {facts.rounding}"
    )
    say(f"the core that runs it: {Path(tcnstream.__file__).parent / 'core' / 'tcn.h'}")


def _refuse(to: str, given: dict[str, object]) -> None:
    """An option that this export would silently ignore is an error."""
    for option, value in given.items():
        if value:
            raise EngineError(f"--to {to} has no {option}: leave it out")


def _streaming_tflite(opened: OpenedModel, output: Path, hop: int | None, json: bool) -> None:
    exported = export_streaming(opened.model, hop)
    write_file(output, exported.content)
    if json:
        print_json(
            {
                "file": str(output),
                "bytes": len(exported.content),
                "hop_frames": exported.hop_frames,
                "frames_per_hop": list(exported.frames_per_hop),
                "lag_frames": list(exported.lag_frames),
                "variables": exported.variables,
                "state_bytes": exported.state_bytes,
                "operations": list(exported.operations),
            }
        )
        return
    frames, lag = (", ".join(map(str, counts)) for counts in (exported.frames_per_hop, exported.lag_frames))
    say(f"{output}: {len(exported.content):,} bytes, {exported.variables} variables of {exported.state_bytes:,} bytes")
    say(f"an invocation takes {exported.hop_frames} input frame(s) and gives {frames}; drop the first {lag} in all")
    say(f"register: {', '.join(exported.operations)}")
