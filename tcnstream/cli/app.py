"""All commands under one name."""

from __future__ import annotations

from typing import Annotated

import typer

import tcnstream
from tcnstream.cli.bench import bench
from tcnstream.cli.demo import demo
from tcnstream.cli.export import export
from tcnstream.cli.inspect import inspect
from tcnstream.cli.run import run
from tcnstream.cli.serve import serve
from tcnstream.cli.service import service
from tcnstream.cli.sources import sources
from tcnstream.cli.verify import verify

app = typer.Typer(
    help="Run an unmodified convolutional .tflite on an endless signal, frame by frame, equal to the offline answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tcnstream {tcnstream.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Run an unmodified convolutional .tflite on an endless signal, frame by frame, equal to the offline answer."""


for command in (inspect, run, serve, sources, verify, bench, export, demo):
    app.command()(command)
app.add_typer(service, name="service")
