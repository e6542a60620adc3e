"""What the commands share: options, how a model is opened, how things are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tcnstream.engines.base import ENGINES
from tcnstream.errors import SignalError
from tcnstream.opened import Frames, OpenedModel, read_frames
from tcnstream.signal.sources.base import ReadOptions
from tcnstream.signal.sources.raw import RAW_FORMATS

# A table in a file or a pipe must not be cut to the 80 columns of a terminal that is not there.
out = Console(highlight=False, width=None if sys.stdout is not None and sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False)

ModelArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL", help="A .tflite file, a card (.toml), or shipped: ecg, ecg_fast, speech.")
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
EngineOption: TypeAlias = Annotated[
    str, typer.Option("--engine", metavar="NAME", help=f"auto, {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.")
]
TimePoolingOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--time-pooling",
        metavar="POLICY",
        help="Stand-in for operations over all of time: trailing, trailing:FRAMES, cumulative or frozen.",
    ),
]
CalibrationOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--calibration", metavar="FILE", help="Recording that --time-pooling frozen measures its constants on."
    ),
]
TimeAxisOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--time-axis", metavar="AXIS", help="Axis of the file's inputs that is time; else the first one > 1."),
]
ChannelOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--channel", "-c", metavar="NAME", help="Channel by name or number; repeat it for several."),
]
RateOption: TypeAlias = Annotated[
    float | None,
    typer.Option("--rate", metavar="HZ", help="Sample rate of the input, where it does not say it itself."),
]
RawFormatOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--raw-format", metavar="KIND", help=f"Bare samples: {', '.join(RAW_FORMATS)}; the default for - is f32le."
    ),
]
RawChannelsOption: TypeAlias = Annotated[
    int, typer.Option("--raw-channels", min=1, help="Interleaved channels in bare samples.")
]
UnitsOption: TypeAlias = Annotated[
    str | None, typer.Option("--units", metavar="UNIT", help="Unit of the input, where it does not say it itself.")
]
GainOption: TypeAlias = Annotated[float, typer.Option("--gain", help="The input is multiplied by this first.")]
HoldGapsOption: TypeAlias = Annotated[
    bool, typer.Option("--hold-gaps", help="Repeat the last value where a sample is missing; else that is an error.")
]


def calibration_frames(
    opened: OpenedModel, source: str | None, options: ReadOptions, time_pooling: str | None
) -> Frames | None:
    """What ``--time-pooling frozen`` measures on (None: nothing is given); an error where nothing would ask for it."""
    if source is None:
        return None
    if time_pooling != "frozen":
        raise SignalError("--calibration is for --time-pooling frozen alone: choose that, or leave it out")
    return read_frames(opened, source, options, note)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def show_table(*choices: Table) -> None:
    """The first of several tables that fits the terminal, else the last: lines wrap there, but no cell is ever cut."""
    needed = 0
    for table in choices:
        for column in table.columns:
            column.no_wrap = True
        needed = Measurement.get(out, out.options.update(max_width=1000), table).maximum
        if needed <= out.width:
            break
    table.width = needed
    out.print(table, crop=False)


def say(text: str) -> None:
    """One sentence of the answer; the terminal wraps it, a pipe gets it whole."""
    out.print(text, markup=False, soft_wrap=True)


def note(text: str) -> None:
    """One line for a person, beside the data; where nobody can be told, the work goes on."""
    with suppress(OSError):
        err.print(text, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str, show: bool = True) -> Iterator[Progress]:
    """A bar on standard error, on a terminal only; what goes to standard output is left alone."""
    columns = (TextColumn(title), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    hidden = not (show and err.is_terminal)
    with Progress(
        *columns, console=err, transient=True, disable=hidden, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield progress
