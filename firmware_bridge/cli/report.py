"""``firmware-bridge report``: a saved result as a page or a JUnit file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firmware_bridge.cli.options import require_writable, written_behind
from firmware_bridge.errors import BridgeError
from firmware_bridge.report.junit import stages_to_junit
from firmware_bridge.report.page import to_html
from firmware_bridge.report.plots import must_be_plottable
from firmware_bridge.report.result import load
from tcnstream.cli.show import say


def report(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="What `check --json` printed, as a file.")],
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page with plots (extra plot).")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit file.")] = None,
) -> None:
    """Turn a saved result into a page or a JUnit file.

    Example: `firmware-bridge report result.json --html report.html`
    """
    if page is None and junit is None:
        raise BridgeError("nothing to write: give --html FILE or --junit FILE")
    if page is not None:
        must_be_plottable()
    require_writable((junit, page), read=(result,))
    data = load(result.read_bytes())
    with written_behind((junit, lambda: stages_to_junit(data)), (page, lambda: to_html(data))):
        say(str(data["verdict"]))
