"""The command ``firmware-bridge``; the only module of the bridge that prints.

Exit code 0: what was asked for was done, and a comparison held; 1: a comparison did not hold; 2: it could not be
made, with one sentence on standard error that says why and the way out; 130: interrupted.
"""

from __future__ import annotations

import json as json_module
import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Annotated, Any, TypeAlias

import typer
from rich.table import Table

from firmware_bridge import report as pages
from firmware_bridge.board import Board
from firmware_bridge.build import EMULATED, build, size_of
from firmware_bridge.check import CheckReport, Taps
from firmware_bridge.check import check as run_check
from firmware_bridge.compare import parse_tolerance
from firmware_bridge.devices import list_devices
from firmware_bridge.devices import only_device as pick_device
from firmware_bridge.errors import BridgeError
from firmware_bridge.faults import faulty, parse_faults
from firmware_bridge.neuralspot import check as check_stock
from firmware_bridge.neuralspot import open_stock_target, serve_on
from firmware_bridge.program import Program
from firmware_bridge.recordings import open_program, read_signal
from firmware_bridge.soak import soak as run_soak
from firmware_bridge.targets import WAYS, Options, open_board
from firmware_bridge.tflm_file import check_file
from tcnstream.cli.common import (
    CalibrationOption,
    ChannelOption,
    GainOption,
    HoldGapsOption,
    JsonOption,
    ModelArgument,
    RateOption,
    RawChannelsOption,
    RawFormatOption,
    TimeAxisOption,
    TimePoolingOption,
    UnitsOption,
    note,
    open_model,
    out,
    print_json,
    progress_bar,
    say,
)
from tcnstream.cli.reading import Reading
from tcnstream.errors import TcnStreamError

app = typer.Typer(
    help="Prove, frame by frame and layer by layer, that the board computes what the host computes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

TargetOption: TypeAlias = Annotated[
    str, typer.Option("--target", "-t", metavar="TARGET", help=f"{', '.join(WAYS)}, neuralspot:PORT, or serial:auto.")
]
InputOption: TypeAlias = Annotated[
    str, typer.Option("--input", "-i", metavar="FILE", help="A recording, as for `tcnstream run`.")
]
RoundingOption: TypeAlias = Annotated[
    str, typer.Option("--rounding", metavar="NAME", help="litert, or tflm for boards whose dense layers round twice.")
]
ToleranceOption: TypeAlias = Annotated[
    str,
    typer.Option("--tolerance", metavar="T", help="default (integers exact, floats 1e-5), exact, steps:1 or abs:1e-4."),
]
LoadOption: TypeAlias = Annotated[bool, typer.Option("--load", help="Load the model though another one is flashed.")]
AnyCoreOption: TypeAlias = Annotated[bool, typer.Option("--any-core", help="Accept firmware of another core version.")]
FaultsOption: TypeAlias = Annotated[
    str,
    typer.Option("--faults", metavar="LIST", help="Spoil the line on purpose: flip=0.001,drop=0.01,delay=0.1,seed=1."),
]


def _resolved(target: str) -> str:
    """``serial:auto`` is the one known board; several are never picked from."""
    kind, _, settings = target.partition("?")
    if kind != "serial:auto":
        return target
    return pick_device().target + (f"?{settings}" if settings else "")


@app.command()
def devices(
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Ask each port who it is.")] = True,
    baud: Annotated[int, typer.Option("--baud", min=1, help="Speed for the question.")] = 115200,
    json: JsonOption = False,
) -> None:
    """List serial ports, what their USB numbers say, and what answers there.

    Example: `firmware-bridge devices --no-ask`
    """
    found = list_devices(ask, baud)
    if json:
        print_json([{**asdict(device), "target": device.target} for device in found])
        return
    if not found:
        say("no serial ports; connect a board, or use one of the targets host, " + ", ".join(EMULATED))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("target", "USB", "serial number", "known as", "answer" if ask else "description"):
        table.add_column(column, overflow="fold")
    for device in found:
        last = device.answer if ask else device.description
        table.add_row(device.target, device.usb, device.serial_number, device.known, last)
    out.print(table)


@app.command()
def check(
    model: ModelArgument,
    target: TargetOption,
    source: InputOption,
    chunks: Annotated[
        str, typer.Option("--chunks", metavar="HOW", help="random:SEED, or a number of frames.")
    ] = "random:0",
    tolerance: ToleranceOption = "default",
    taps: Annotated[
        str, typer.Option("--taps", metavar="WHAT", help="states, outputs (fewest bytes) or all tensors.")
    ] = "states",
    rounding: RoundingOption = "litert",
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="No more input frames than this.")] = None,
    load: LoadOption = False,
    any_core: AnyCoreOption = False,
    faults: FaultsOption = "",
    channel: ChannelOption = None,
    rate: RateOption = None,
    units: UnitsOption = None,
    gain: GainOption = 1.0,
    raw_format: RawFormatOption = None,
    raw_channels: RawChannelsOption = 1,
    hold_gaps: HoldGapsOption = False,
    time_pooling: TimePoolingOption = None,
    calibration: CalibrationOption = None,
    time_axis: TimeAxisOption = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit file for CI.")] = None,
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one page with plots.")] = None,
    json: JsonOption = False,
) -> None:
    """Stream a recording through the board and the host and compare every frame, state and, if asked, tensor.

    Exit code 0 if they agree; 1 if not, with the first frame and operation that differ.

    Example: `firmware-bridge check ecg --target qemu-m4 --input record.hea --html report.html`
    """
    if taps not in ("states", "outputs", "all"):
        raise BridgeError(f"--taps is outputs, states or all, not {taps!r}")
    allowed = parse_tolerance(tolerance)
    reading = Reading(channel, rate, units, gain, raw_format, raw_channels, hold_gaps)
    if target.startswith("neuralspot:"):
        _check_stock(model, target, source, reading, tolerance, rounding, frames, time_axis, json)
        return
    if target in ("tflm?file", "tflm?file=1"):
        _check_file(model, source, reading, tolerance, rounding, frames, time_axis, json)
        return
    constants = None if calibration is None else read_signal(open_model(model, time_axis), calibration, reading)[0]
    opened, program = open_program(
        model, rounding=rounding, time_pooling=time_pooling, calibration=constants, time_axis=time_axis
    )
    signal, rate_hz = read_signal(opened, source, reading)
    wrap = faulty(parse_faults(faults)) if faults else None
    with ExitStack() as stack:
        board = open_board(_resolved(target), program, Options(load=load, any_core=any_core, wrap=wrap, on_log=_heard))
        stack.callback(board.close)
        progress = stack.enter_context(progress_bar("comparing"))
        task = progress.add_task("")
        report = run_check(
            program,
            board,
            signal[:frames],
            chunks=chunks,
            tolerance=allowed,
            taps=_taps(taps),
            rate_hz=rate_hz,
            name=opened.path.name,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    _write(report, junit, page, json)
    if not report.passed:
        raise typer.Exit(1)


def _taps(text: str) -> Taps:
    return "outputs" if text == "outputs" else "all" if text == "all" else "states"


def _heard(level: str, text: str) -> None:
    if level != "info":
        note(f"board ({level}): {text}")


def _write(report: CheckReport, junit: Path | None, page: Path | None, json: bool) -> None:
    data = pages.to_json(report)
    if junit is not None:
        junit.write_text(pages.to_junit(data), encoding="utf-8")
    if page is not None:
        page.write_text(pages.to_html(data), encoding="utf-8")
    if json:
        print_json(data)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stage", "result", "output frames", "states", "note"):
        table.add_column(column, overflow="fold")
    for stage in report.stages:
        result = "equal" if stage.passed else "DIFFERENT"
        table.add_row(stage.name, result, f"{stage.frames:,}", str(stage.states or ""), stage.note)
    out.print(table)
    worst = [t for t in report.tensors if not t.passed] or [t for t in report.tensors if t.role == "output"]
    for t in worst[:12]:
        steps = "" if t.largest_steps is None else f"{t.largest_steps} steps, "
        say(
            f"{t.role} {t.name}: {t.equal:,} of {t.frames:,} frames equal, largest difference {steps}{t.largest:.3g},"
            f" RMSE {t.rmse:.3g}, MAE {t.mae:.3g}, SNR {t.snr_db:.1f} dB, cosine {t.cosine:.6f}"
        )
    say(pages.cost_sentence(data))
    say(
        f"link: {report.link.bytes_out:,} bytes to the board, {report.link.bytes_in:,} back,"
        f" {report.link.resends} resends"
    )
    if (memory := report.memory) is not None:
        stack = f", stack {memory.stack_used_bytes:,} of {memory.stack_bytes:,}" if memory.stack_bytes else ""
        say(
            f"memory on the board, bytes: plan {report.plan_bytes:,}, state {memory.state_bytes:,},"
            f" scratch {memory.scratch_bytes:,}{stack}"
        )
    say(report.verdict)


def _check_stock(
    model: str,
    target: str,
    source: str,
    reading: Reading,
    tolerance: str,
    rounding: str,
    frames: int | None,
    time_axis: int | None,
    json: bool,
) -> None:
    """A board with stock firmware: windows over eRPC."""
    opened = open_model(model, time_axis)
    signal, _ = read_signal(opened, source, reading)
    stock = open_stock_target(target)
    try:
        found = check_stock(
            opened.model,
            stock.port,
            signal[:frames],
            convention=stock.convention,
            framing=stock.framing,
            tolerance=tolerance,
            rounding=rounding,
        )
    finally:
        stock.port.close()
    if json:
        print_json({"passed": found.passed, "verdict": found.verdict, **asdict(found)})
    else:
        for line in (*found.notes, *found.faults):
            note(line)
        say(found.verdict)
    if not found.passed:
        raise typer.Exit(1)


def _check_file(
    model: str,
    source: str,
    reading: Reading,
    tolerance: str,
    rounding: str,
    frames: int | None,
    time_axis: int | None,
    json: bool,
) -> None:
    """The unmodified file in TFLite Micro."""
    opened, program = open_program(model, rounding=rounding, time_axis=time_axis)
    signal, _ = read_signal(opened, source, reading)
    found = check_file(program, signal[:frames], parse_tolerance(tolerance))
    if json:
        print_json({"passed": found.passed, "verdict": found.verdict, **asdict(found)})
    else:
        say(found.verdict)
    if not found.passed:
        raise typer.Exit(1)


@app.command()
def soak(
    model: ModelArgument,
    target: TargetOption,
    source: InputOption,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="How long.")] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="Or how many input frames.")] = None,
    chunk: Annotated[int, typer.Option("--chunk", min=1, help="Frames of a push.")] = 25,
    snapshot_every: Annotated[int, typer.Option("--snapshot-every", min=1, help="Frames between snapshots.")] = 1000,
    recover: Annotated[
        float, typer.Option("--recover", metavar="SECONDS", help="Wait so long for a lost board.")
    ] = 30.0,
    tolerance: ToleranceOption = "default",
    rounding: RoundingOption = "litert",
    load: LoadOption = False,
    any_core: AnyCoreOption = False,
    faults: FaultsOption = "",
    time_pooling: TimePoolingOption = None,
    json: JsonOption = False,
) -> None:
    """Stream for hours; survive noise, resets and pulled cables, and say what was survived.

    Exit code 0 if every frame agreed and the board always came back.

    Example: `firmware-bridge soak ecg --target serial:/dev/ttyACM0 --input record.hea --seconds 3600`
    """
    opened, program = open_program(model, rounding=rounding, time_pooling=time_pooling)
    signal, _ = read_signal(opened, source)
    wrap = faulty(parse_faults(faults)) if faults else None

    def connect() -> Board:
        return open_board(_resolved(target), program, Options(load=load, any_core=any_core, wrap=wrap))

    found = run_soak(
        program,
        connect,
        signal,
        seconds=seconds,
        frames=frames,
        chunk_frames=chunk,
        snapshot_frames=snapshot_every,
        recover_s=recover,
        tolerance=parse_tolerance(tolerance),
        on_event=note,
    )
    if json:
        print_json({"passed": found.passed, "verdict": found.verdict, **asdict(found)})
    else:
        say(found.verdict)
    if not found.passed:
        raise typer.Exit(1)


@app.command()
def report(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="What `check --json` printed, as a file.")],
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one page with plots.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit file.")] = None,
) -> None:
    """Turn a saved result into a page or a JUnit file.

    Example: `firmware-bridge report result.json --html report.html`
    """
    data = pages.load(result.read_text(encoding="utf-8"))
    if page is None and junit is None:
        raise BridgeError("nothing to write: give --html FILE or --junit FILE")
    if page is not None:
        page.write_text(pages.to_html(data), encoding="utf-8")
    if junit is not None:
        junit.write_text(pages.to_junit(data), encoding="utf-8")
    say(str(data["verdict"]))


@app.command("build")
def build_command(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="host, qemu-m4, qemu-m55, qemu-pl011, apollo3, apollo4 or apollo510."),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the program goes.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="MODEL", help="Write its plan beside it.")
    ] = None,
    rounding: RoundingOption = "litert",
    sdk: Annotated[str | None, typer.Option("--sdk", metavar="PATH", help="AmbiqSuite, for USB on Apollo.")] = None,
    time_pooling: TimePoolingOption = None,
    json: JsonOption = False,
) -> None:
    """Build the firmware, report its sizes, and say how it is flashed.

    Example: `firmware-bridge build apollo4 out --model ecg`
    """
    program: Program | None = None
    if model is not None:
        program = open_program(model, rounding=rounding, time_pooling=time_pooling)[1]
    elf = build(target, sdk=sdk)
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / elf.name
    made.write_bytes(elf.read_bytes())
    made.chmod(0o755)
    files = [str(made)]
    if program is not None:
        plan = folder / "plan.bin"
        plan.write_bytes(program.content)
        files.append(str(plan))
    if sdk is not None:
        if json:
            print_json({"target": target, "files": files})
        else:
            say(f"{made}: link it into a neuralSPOT application and call bridge_run() after ns_core_init()")
        return
    size = size_of(target, elf, None if program is None else program.content)
    if json:
        print_json({"target": target, "files": files, **asdict(size)})
        return
    say(f"{target}: {size.code_bytes:,} bytes of code and constants in flash, {size.ram_bytes:,} bytes of static RAM")
    if size.plan_bytes:
        say(f"plan: {size.plan_bytes:,} of {size.plan_room_bytes:,} bytes at {size.plan_at:#010x}")
    for line in size.how_to_flash:
        say(line)


@app.command()
def twin(
    model: ModelArgument,
    port: Annotated[str, typer.Argument(metavar="PORT", help="pty, tcp:HOST:PORT or a serial port.")],
    convention: Annotated[
        str, typer.Option("--convention", metavar="NAME", help="validator or heartkit.")
    ] = "validator",
    rounding: RoundingOption = "litert",
) -> None:
    """Be a board with stock Ambiq firmware, for clients that speak eRPC, until it is interrupted.

    Example: `firmware-bridge twin ecg tcp:127.0.0.1:7000`
    """
    if convention not in ("validator", "heartkit"):
        raise BridgeError(f"the convention is validator or heartkit, not {convention!r}")
    serve_on(
        open_model(model).model,
        port,
        convention="heartkit" if convention == "heartkit" else "validator",
        rounding=rounding,
        stop=Event(),
        log=note,
        ready=lambda where: note(f"waiting on {where}"),
    )


def main() -> None:
    """Entry point of the command line."""
    try:
        app(prog_name="firmware-bridge")
    except TcnStreamError as error:
        _stop(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}; check the path, its permissions and the space left")
    except json_module.JSONDecodeError as error:
        _stop(f"this is no JSON: {error}")
    except Exception as error:  # a person at a terminal has no use for a traceback
        if os.environ.get("TCNSTREAM_TRACEBACK"):
            raise
        _stop(
            f"unexpected {type(error).__name__}: {error}; this is a bug: run it again with TCNSTREAM_TRACEBACK=1 and"
            " report what that shows"
        )


def _stop(sentence: str) -> Any:
    print(f"firmware-bridge: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
