"""``firmware-bridge check``: a recording through the board and the host, and a verdict."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.table import Table

from firmware_bridge.check.chunks import parse_chunks
from firmware_bridge.check.compare import TensorReport, parse_tolerance
from firmware_bridge.check.cost import cost_sentence
from firmware_bridge.check.recordings import model_files, read_signal
from firmware_bridge.check.run import Taps
from firmware_bridge.check.run import check as run_check
from firmware_bridge.check.verdict import CheckReport
from firmware_bridge.cli.options import (
    AnyCoreOption,
    FaultsOption,
    InputOption,
    LoadOption,
    RoundingOption,
    TargetOption,
    ToleranceOption,
    board_options,
    program_of,
    refuse,
    require_writable,
    written_behind,
)
from firmware_bridge.cli.windows import compare_windows
from firmware_bridge.errors import BridgeError
from firmware_bridge.report.junit import stages_to_junit
from firmware_bridge.report.page import to_html
from firmware_bridge.report.plots import must_be_plottable
from firmware_bridge.report.result import to_json
from firmware_bridge.targets import open_board, parse_target
from tcnstream.cli.options import FileOptions, JsonOption, ModelArgument, ReadingOptions, StreamingOptions, grouped
from tcnstream.cli.show import note, out, print_json, progress_bar, say
from tcnstream.signal.sources import files_of

_DEFAULT_CHUNKS = "random:0"
_MOST_LINES = 12


@grouped
def check(
    model: ModelArgument,
    target: TargetOption,
    source: InputOption,
    *,
    chunks: Annotated[
        str, typer.Option("--chunks", metavar="HOW", help="random:SEED, or a number of frames.")
    ] = _DEFAULT_CHUNKS,
    tolerance: ToleranceOption = "default",
    taps: Annotated[
        str, typer.Option("--taps", metavar="WHAT", help="states, outputs (fewest bytes) or all tensors.")
    ] = "states",
    rounding: RoundingOption = "litert",
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="No more input frames than this.")] = None,
    clock: Annotated[
        float | None,
        typer.Option(
            "--clock",
            metavar="MHZ",
            min=0.001,
            help="Clock of the processor that must keep the deadline; else the board's own, or for an emulated board"
            " that of an Apollo with its core (estimate).",
        ),
    ] = None,
    load: LoadOption = False,
    any_core: AnyCoreOption = False,
    faults: FaultsOption = "",
    reading: ReadingOptions,
    streaming: StreamingOptions,
    file: FileOptions,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit file for CI.")] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page with plots (extra plot).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Stream a recording through the board and the host and compare every frame, state and, if asked, tensor.

    Exit code 0 if they agree; 1 if not, with the first frame and operation that differ.

    Example: `firmware-bridge check ecg --target qemu-m4 --input record.hea --html report.html`
    """
    if taps not in get_args(Taps):
        raise BridgeError(f"--taps is outputs, states or all, not {taps!r}")
    parse_chunks(chunks)
    allowed = parse_tolerance(tolerance)
    require_writable((junit, page), read=(*files_of(source), *model_files(model)))
    wanted = parse_target(target)
    if wanted.answers_windows:
        refuse(
            target,
            "it answers whole windows of the file and has no stream to look into",
            chunks=chunks != _DEFAULT_CHUNKS,
            taps=taps != "states",
            load=load,
            any_core=any_core,
            faults=bool(faults),
            time_pooling=streaming.time_pooling is not None,
            static=streaming.static is not None,
            calibration=streaming.calibration is not None,
            clock=clock is not None,
            html=page is not None,
        )
        opened = file.open(model)
        signal, _ = read_signal(opened, source, reading.said, note)
        compare_windows(opened, wanted, signal[:frames], tolerance, rounding, junit, json)
        return
    if page is not None:
        must_be_plottable()
    options = board_options(load, any_core, faults)
    opened, program = program_of(model, rounding, file, streaming, reading.said)
    signal, rate_hz = read_signal(opened, source, reading.said, note)
    try:
        with ExitStack() as stack:
            board = open_board(wanted, program, options)
            stack.callback(board.close)
            progress = stack.enter_context(progress_bar("comparing"))
            task = progress.add_task("")
            report = run_check(
                program,
                board,
                signal[:frames],
                chunks=chunks,
                tolerance=allowed,
                taps=cast(Taps, taps),
                rate_hz=rate_hz,
                clock_hz=None if clock is None else clock * 1e6,
                name=opened.path.name,
                source=Path(source).name,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    except KeyboardInterrupt:
        note("interrupted: there is no verdict; --frames N checks less of the recording")
        raise
    _write(report, junit, page, json)
    if not report.passed:
        raise typer.Exit(1)


def _write(report: CheckReport, junit: Path | None, page: Path | None, json: bool) -> None:
    data = to_json(report)
    with written_behind((junit, lambda: stages_to_junit(data)), (page, lambda: to_html(data))):
        if json:
            print_json(data)
        else:
            _show(report, cost_sentence(data["cost"]))


def _show(report: CheckReport, cost: str) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stage", "result", "output frames", "states", "note"):
        table.add_column(column, overflow="fold")
    for stage in report.stages:
        counted = (f"{n:,}" if n else "" for n in (stage.frames, stage.states))
        table.add_row(stage.name, stage.result, *counted, stage.note)
    out.print(table)
    worst = [t for t in report.tensors if not t.passed] or [t for t in report.tensors if t.role == "output"]
    for tensor in worst[:_MOST_LINES]:
        say(_tensor_line(tensor))
    if len(worst) > _MOST_LINES:
        say(f"and {len(worst) - _MOST_LINES} more tensors that differ: --json or --html FILE has them all")
    say(cost)
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


def _tensor_line(t: TensorReport) -> str:
    steps = "" if t.largest_steps is None else f"{t.largest_steps} steps, "
    return (
        f"{t.role} {t.name}: {t.equal:,} of {t.frames:,} frames equal, largest difference {steps}{t.largest:.3g},"
        f" RMSE {t.rmse:.3g}, MAE {t.mae:.3g}, SNR {t.snr_db:.1f} dB, cosine {t.cosine:.6f}"
    )
