"""The command ``tcnstream``: one module a command, and the only place that prints.

Exit code 0 says that what was asked for was done; the others are those of ``process``. ``verify`` answers 1 if the
contract does not hold, ``run`` with a folder 1 if a recording of it failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcnstream.cli import process

if TYPE_CHECKING:
    import typer


def main() -> None:
    """Entry point of the command line."""
    process.run("tcnstream", _application)


def _application() -> typer.Typer:
    from tcnstream.cli.app import app

    return app
