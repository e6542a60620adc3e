"""What the recipes and evaluations share as commands: a mistake is one sentence and exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text

from tcnstream.errors import TcnStreamError


@contextmanager
def told(console: Console) -> Iterator[None]:
    """An error that a person can mend becomes a sentence on ``console`` and typer.Exit(2), Ctrl-C another and 130."""
    try:
        yield
    except (TcnStreamError, OSError) as error:
        said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        # As Text, for "[train]" of a pip line is a style to Rich.
        console.print(Text.assemble(("error: ", "red"), said), soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt as stopped:
        console.print("; ".join(filter(None, ["stopped", str(stopped)])), markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
