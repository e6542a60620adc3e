"""The command ``tcnstream``: one module a command, and the only place that prints.

Exit code 0 says that what was asked for was done; 2 that it was not, with one sentence on standard error that says
why and the way out; 130 that it was interrupted; 141 that nobody reads its output any more, as after ``| head``.
``verify`` answers 1 if the contract does not hold, ``run`` with a folder 1 if a recording of it failed.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TextIO

from tcnstream.cli import descriptors, interrupts
from tcnstream.cli.wording import as_options
from tcnstream.errors import TcnStreamError


def main() -> None:
    """Entry point of the command line."""
    with interrupts.starting("tcnstream"):
        if closed := descriptors.hold():
            _stop(closed)
        from tcnstream.cli.app import app  # asks what standard output is

    warnings.showwarning = _warn
    try:
        app(prog_name="tcnstream")
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # Typer and Rich make it a 1, which is an answer of `verify`
            sys.exit(141)
        raise
    except TcnStreamError as error:
        _stop(as_options(str(error)))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}; check the path, its permissions and the space left")
    except KeyboardInterrupt:
        interrupts.stop("tcnstream")
    except MemoryError:
        _stop("this does not fit into memory; give a shorter recording")
    except Exception as error:  # a person at a terminal has no use for a traceback
        if os.environ.get("TCNSTREAM_TRACEBACK"):
            raise
        _stop(
            f"unexpected {type(error).__name__}: {error}; this is a bug: run it again with TCNSTREAM_TRACEBACK=1 "
            "and report what that shows"
        )


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A person gets the sentence of a warning, without the line of code that gave it; of other packages nothing."""
    if issubclass(category, RuntimeWarning):
        print(f"tcnstream: note: {message}", file=sys.stderr)


def _stop(sentence: str) -> None:
    print(f"tcnstream: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
