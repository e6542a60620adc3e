"""What the commands share: options, how a model is opened, how things are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
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
# Names of a file's tensors are text like any other, brackets and all.
out = Console(markup=False, highlight=False, width=None if sys.stdout is not None and sys.stdout.isatty() else 160)
err = Console(stderr=True, markup=False, highlight=False)

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
SignatureOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--signature", metavar="NAME", help="Which way to call the file, of several; else its first graph."),
]
StatesOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--states",
        metavar="IN=OUT",
        help="An output that is fed back to an input; repeat it for several; none: nothing is.",
    ),
]
StaticOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--static",
        metavar="NAME=VALUES",
        help="An input without time: numbers with commas, or a .npy file; repeat it for several.",
    ),
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


def said_states(given: list[str] | None) -> dict[str, str] | None:
    """What ``--states`` says, None where it says nothing; "none" says that nothing is fed back."""
    if given == ["none"]:
        return {}
    return None if given is None else dict(_pair("--states", "IN=OUT", text) for text in given)


def said_static(given: list[str] | None) -> dict[str, npt.ArrayLike] | None:
    """What ``--static`` says, None where it says nothing."""
    if given is None:
        return None
    return {name: _values(name, text) for name, text in (_pair("--static", "NAME=VALUES", one) for one in given)}


def _pair(option: str, form: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SignalError(f"{option} {text!r} is no {form}")
    return name, value


def _values(name: str, text: str) -> npt.ArrayLike:
    if text.endswith(".npy"):
        try:
            with open(text, "rb") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise SignalError(f"--static {name}: {text} is no NumPy file: {error}") from error
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        raise SignalError(f"--static {name}: {text!r} is no list of numbers with commas, and no .npy file") from None
    whole = all(number.is_integer() for number in numbers)
    return np.array(numbers, np.int64 if whole and "." not in text else np.float32)


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
    out.print(text, soft_wrap=True)


def note(text: str) -> None:
    """One line for a person, beside the data; where nobody can be told, the work goes on."""
    with suppress(OSError):
        err.print(text, soft_wrap=True)


@contextmanager
def progress_bar(title: str, show: bool = True) -> Iterator[Progress]:
    """A bar on standard error, on a terminal only; what goes to standard output is left alone."""
    columns = (TextColumn(title), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    hidden = not (show and err.is_terminal)
    with Progress(
        *columns, console=err, transient=True, disable=hidden, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield progress
