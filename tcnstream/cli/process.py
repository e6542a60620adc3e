"""The process of a command, from its first import to its exit code.

Exit code 2 says that what was asked for was not done, with one sentence on standard error that says why and the way
out; 130 that it was interrupted; 141 that nobody reads its output any more, as after ``| head``.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TextIO

import tcnstream.cli.descriptors as descriptors
import tcnstream.cli.interrupts as interrupts
from tcnstream.cli.wording import as_options
from tcnstream.errors import TcnStreamError

if TYPE_CHECKING:  # takes long to import, and Ctrl-C is heard without a word until then
    import typer

UNREAD = 141


def run(command: str, application: Callable[[], typer.Typer]) -> None:
    """``application`` imports the command and returns it; its arguments are those of the process."""
    with interrupts.starting(command):
        if closed := descriptors.hold():
            _stop(command, closed)
        app = application()  # asks what standard output is

    warnings.showwarning = _shown_by(command)
    try:
        app(prog_name=command)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # Typer and Rich make it a 1, which is an answer of a check
            sys.exit(UNREAD)
        raise
    except TcnStreamError as error:
        _stop(command, as_options(str(error)))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(command, f"{where}{error.strerror or error}; check the path, its permissions and the space left")
    except KeyboardInterrupt:
        interrupts.stop(command)
    except MemoryError:
        _stop(command, "this does not fit into memory; give a shorter recording")
    except Exception as error:  # a person at a terminal has no use for a traceback
        if os.environ.get("TCNSTREAM_TRACEBACK"):
            raise
        _stop(
            command,
            f"unexpected {type(error).__name__}: {error}; this is a bug: run it again with TCNSTREAM_TRACEBACK=1 "
            "and report what that shows",
        )


def _shown_by(command: str) -> Callable[..., None]:
    """A person gets the sentence of a warning, without the line of code that gave it; of other packages nothing."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, RuntimeWarning):
            print(f"{command}: note: {message}", file=sys.stderr)

    return show


def _stop(command: str, sentence: str) -> NoReturn:
    print(f"{command}: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
