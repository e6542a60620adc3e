"""How the commands show things: answers on standard output, notes and bars on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tcnstream.cli.wording import as_options
from tcnstream.compiler.window import written
from tcnstream.model import Model

# A table in a file or a pipe must not be cut to the 80 columns of a terminal that is not there.
# Names of a file's tensors are text like any other, brackets and all.
out = Console(markup=False, highlight=False, width=None if sys.stdout is not None and sys.stdout.isatty() else 160)
err = Console(stderr=True, markup=False, highlight=False)


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


def time_taken(model: Model) -> str:
    """Which axis of the file's inputs was taken for time."""
    shapes = [written(model.graph.tensors[i]) for i in model.file_inputs]
    taken = ", ".join(f"axis {a} of {shape}" for a, shape in zip(model.plan.input_axes, shapes, strict=True))
    others = sorted({axes[0] for axes in model.plan.other_axes if axes[0] is not None})
    also = f"; it would stream along axis {' or '.join(map(str, others))}, too (--time-axis)" if others else ""
    return f"time is {taken}{also}."


def note(text: str) -> None:
    """One line for a person, beside the data; where nobody can be told, the work goes on."""
    with suppress(OSError):
        err.print(as_options(text), soft_wrap=True)


@contextmanager
def progress_bar(title: str, show: bool = True) -> Iterator[Progress]:
    """A bar on standard error, on a terminal only; what goes to standard output is left alone."""
    columns = (TextColumn(title), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    hidden = not (show and err.is_terminal)
    with Progress(
        *columns, console=err, transient=True, disable=hidden, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield progress
