"""The command ``tcnstream``: one module a command, and the only place that prints.

Exit code 0 says that what was asked for was done; 2 that it was not, with one sentence on standard error that says
why and the way out; 130 that it was interrupted; 141 that nobody reads its output any more, as after ``| head``.
``verify`` answers 1 if the contract does not hold, ``run`` with a folder 1 if a recording of it failed.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from typing import TextIO

from tcnstream.cli import descriptors, interrupts
from tcnstream.errors import TcnStreamError

_PARAMETER = re.compile(
    r"""\b(?P<name>calibration|engine|rounding|signature|time_axis|time_pooling)=(['"](?P<value>[^'"]*)['"])?"""
)
_MAPPING = re.compile(r"""\b(?P<name>states|static)=\{(?P<pairs>[^}]*)\}""")
_PAIR = re.compile(r"""['"](?P<name>[^'"]*)['"]: (['"](?P<value>[^'"]*)['"])?""")


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
        _stop(_MAPPING.sub(_options, _PARAMETER.sub(_option, str(error))))
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


def _option(parameter: re.Match[str]) -> str:
    """An argument of the library, as a person gives it here: ``time_axis=`` is ``--time-axis``."""
    return f"--{parameter['name'].replace('_', '-')} {parameter['value'] or ''}".rstrip()


def _options(parameter: re.Match[str]) -> str:
    """A mapping of the library as a person gives it here: ``states={'h': 'o'}`` is ``--states h=o``."""
    pairs = [(pair["name"], pair["value"] or "...") for pair in _PAIR.finditer(parameter["pairs"])]
    return " ".join(f"--{parameter['name']} {name}={value}" for name, value in pairs) or f"--{parameter['name']} none"


def _stop(sentence: str) -> None:
    print(f"tcnstream: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
