"""``tcnstream bench``: what a push costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tcnstream.cli.options import FileOptions, JsonOption, ModelArgument, TimePoolingOption, grouped
from tcnstream.cli.show import print_json, progress_bar, say, show_table
from tcnstream.errors import StreamError
from tcnstream.measure.bench import HOPS_FRAMES, Measurement, draw, usable_engines
from tcnstream.measure.bench import bench as measure
from tcnstream.signal.card import model_files
from tcnstream.signal.outfile import writable
from tcnstream.signal.plot import must_be_plottable


@grouped
def bench(
    model: ModelArgument,
    *,
    hop: Annotated[
        list[int] | None, typer.Option("--hop", metavar="FRAMES", help="Frames a push; repeat it for several.")
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="native, interpreter (each also with -fast behind it), reference, or a peer: tract, onnxruntime;"
            " else all that can.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of measurement; medians are shown.")] = 7,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="A picture as well: .png, .svg or .pdf.")
    ] = None,
    time_pooling: TimePoolingOption = None,
    file: FileOptions,
    json: JsonOption = False,
) -> None:
    """Measure the cost per frame of streaming against running the whole window again, at several hops.

    The peers tract and onnxruntime are measured on the same network where they are installed (tcnstream[peers]).

    Example: `tcnstream bench ecg --hop 1 --hop 16 --plot cost.svg`
    """
    hops = hop or list(HOPS_FRAMES)
    if min(hops) < 1:
        raise StreamError(f"a hop of {min(hops)} frames pushes nothing: give 1 or more")
    if plot is not None:
        must_be_plottable(writable(plot, *model_files(model)))
    opened = file.open(model)
    engines = engine or usable_engines(opened.model, time_pooling)
    with progress_bar("measuring") as progress:
        task = progress.add_task("", total=len(hops) * len(engines))
        measured = measure(
            opened.model,
            hops,
            engines,
            time_pooling=time_pooling,
            rounds=rounds,
            progress=lambda done, _: progress.update(task, completed=done),
        )
    if json:
        print_json([_facts(row) for row in measured])
    else:
        show_table(_table(measured))
        say(
            f"{opened.path.name}: window {opened.model.window_frames} frames. Medians of {rounds} rounds on one "
            "thread; the window is run again by the interpreter's fast kernels."
        )
    if plot is not None:
        draw(plot, measured, f"{opened.path.name}: cost of a frame")


def _facts(row: Measurement) -> dict[str, object]:
    return {
        "engine": row.engine,
        "hop_frames": row.hop_frames,
        "us_per_push": round(row.us_per_push, 3),
        "us_per_frame": round(row.us_per_frame, 3),
        "window_us_per_frame": round(row.window_us_per_frame, 3),
        "times_faster": round(row.times_faster, 3),
    }


def _table(measured: Sequence[Measurement]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("engine")
    for name in ("hop", "µs per\npush", "µs per\nframe", "window again,\nµs per frame", "times\nfaster"):
        table.add_column(name, justify="right")
    for row in measured:
        table.add_row(
            row.engine,
            str(row.hop_frames),
            *(_figure(value, 4) for value in (row.us_per_push, row.us_per_frame, row.window_us_per_frame)),
            _figure(row.times_faster, 3),
        )
    return table


def _figure(value: float, digits: int) -> str:
    """So many digits, or all before the point of a number that has more: no powers of ten."""
    return f"{value:,.0f}" if value >= 10**digits else f"{value:.{digits}g}"
