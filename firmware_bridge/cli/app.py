"""All commands under one name."""

from __future__ import annotations

import typer

from firmware_bridge.cli.build import build
from firmware_bridge.cli.check import check
from firmware_bridge.cli.devices import devices
from firmware_bridge.cli.report import report
from firmware_bridge.cli.soak import soak
from firmware_bridge.cli.twin import twin

app = typer.Typer(
    help="Prove, frame by frame and layer by layer, that the board computes what the host computes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (devices, check, soak, report, build, twin):
    app.command()(command)
