"""``tcnstream verify``: the contract on a user's own model and signal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from tcnstream.cli.options import (
    EngineOption,
    FileOptions,
    JsonOption,
    ModelArgument,
    ReadingOptions,
    StreamingOptions,
    grouped,
)
from tcnstream.cli.show import note, print_json, progress_bar, say, show_table, time_taken
from tcnstream.errors import EngineError
from tcnstream.measure.verify import OwnWindow, VerifyReport
from tcnstream.measure.verify import verify as compare
from tcnstream.opened import read_frames


@grouped
def verify(
    model: ModelArgument,
    *,
    source: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="FILE", help="A recording as for `run`; else noise of three windows."),
    ] = None,
    reading: ReadingOptions,
    chunkings: Annotated[int, typer.Option("--chunkings", min=1, help="Random ways to cut the signal.")] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the noise and of the cuts.")] = 0,
    engine: EngineOption = "auto",
    fast: Annotated[
        bool, typer.Option("--fast", help="Let the engine use fast kernels, and report how far they are.")
    ] = False,
    streaming: StreamingOptions,
    file: FileOptions,
    json: JsonOption = False,
) -> None:
    """Prove that the stream equals the offline answer, over random chunkings, on your own model and signal.

    Exit code 0 if it holds; 1 if not, with the first frame and tensor that differ; 2 if the file itself could not be
    asked, as without the extra `interpreter`: streams are then compared with the reference engine alone.

    Example: `tcnstream verify ecg --input record.hea --chunkings 20`
    """
    opened = file.open(model)
    signal = None if source is None else read_frames(opened, source, reading.said, note)
    constants = streaming.constants(opened, reading.said)
    with progress_bar("verifying") as progress:
        task = progress.add_task("")
        report = compare(
            opened.model,
            signal,
            engine=engine,
            time_pooling=streaming.time_pooling,
            calibration=constants,
            exact=not fast,
            chunkings=chunkings,
            seed=seed,
            static=streaming.fixed,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    plan = opened.model.plan
    if json:
        axes = {"time_axes": list(plan.input_axes), "other_time_axes": [list(axes) for axes in plan.other_axes]}
        print_json({"file": str(opened.path), "passed": report.passed, **axes, **asdict(report)})
    else:
        _show(opened.path.name, report, opened.model.outputs[0].dtype.kind == "f")
        if plan.other_axes:
            say(f"{opened.path.name}: {time_taken(opened.model)}")
    if not report.holds:
        raise typer.Exit(1)
    if report.not_asked:
        raise EngineError(
            f"{opened.path.name}: the file itself was not asked, so that nothing is proven of it: {report.not_asked}"
        )


def _show(name: str, report: VerifyReport, is_float: bool) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("comparison")
    table.add_column("frames", justify="right")
    table.add_column("largest distance", justify="right")
    table.add_column("result")
    for check in report.checks:
        result = "equal" if check.passed else "DIFFERENT"
        distance = f"{check.distance:.3g}"
        if not check.compared:
            distance, result = "", f"not compared, {check.note}"
        elif check.note:
            result = check.note if check.passed else f"DIFFERENT: {check.note}"
        table.add_row(check.name, f"{check.frames:,}", distance, result)
    show_table(table)
    for window in report.own_window:
        say(f"{name}: {_own_window(window)}")
    if report.holds:
        size = "of the largest value of its frame" if report.by_frame else "of the size of the value"
        allowed = f"within 1e-5 {size}" if is_float else "bit for bit"
        judge = "the reference engine alone" if report.not_asked else "the offline answer"
        compared = [check for check in report.checks if not check.note]
        say(
            f"{name}: {len(compared)} of {len(report.checks)} comparisons equal, {allowed}, over {report.frames_in:,} "
            f"input frames on the {report.engine} engine; the others say above why they are not equalities."
            if len(compared) < len(report.checks)
            else f"{name}: the stream equals {judge}, {allowed}, over {report.frames_in:,} input frames "
            f"on the {report.engine} engine."
        )
    elif (found := report.first_difference) is not None:
        say(
            f"{name}: first difference at frame {found.frame} of tensor {found.tensor}, made by {found.operation}: "
            f"expected {found.expected:g}, got {found.got:g}."
        )


def _own_window(window: OwnWindow) -> str:
    """How the file on a window of its own relates to the stream."""
    what = f"on a window of its own the file gives {window.frames} frames of {window.output}"
    if window.forgets:
        return f"{what}, each window from a state that knows nothing; a stream goes on from all that was before."
    inside = window.frames - window.left - window.right
    if inside <= 0:
        return (
            f"{what}, all of which depend on padding at its edges; a stream has edges at the ends of the signal alone."
        )
    if not (window.left or window.right):
        return f"{what}, and a stream the same ones inside of a signal: nothing depends on the window's edges."
    apart = "" if window.edge_distance is None else f" (up to {window.edge_distance:.3g} apart here)"
    compared = "are the stream's" if window.inside_distance is None else "were compared, and are the stream's"
    if not window.passed:
        compared = f"should be the stream's, and are up to {window.inside_distance:.3g} apart"
    return (
        f"{what}; the first {window.left} and the last {window.right} depend on padding at its edges{apart}, which a"
        f" stream has at the signal's ends alone. The {inside} between them {compared}."
    )
