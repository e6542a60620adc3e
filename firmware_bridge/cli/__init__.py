"""The command ``firmware-bridge``: one module a command, and the only place of the bridge that prints.

Exit code 0: what was asked for was done, and a comparison held; 1: a comparison did not hold; the others are those of
``tcnstream.cli.process``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcnstream.cli import process

if TYPE_CHECKING:
    import typer


def main() -> None:
    """Entry point of the command line."""
    process.run("firmware-bridge", _application)


def _application() -> typer.Typer:
    from firmware_bridge.cli.app import app

    return app
