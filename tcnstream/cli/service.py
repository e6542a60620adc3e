"""``tcnstream service``: the daemon as a service of systemd."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tcnstream.cli.options import JsonOption
from tcnstream.cli.show import note, out, print_json

if TYPE_CHECKING:
    from tcnstream.live.service.machine import Plan

service = typer.Typer(
    help="The daemon as a service of systemd, which starts with the machine and without root.\n\n"
    "Example: `tcnstream service install /etc/tcnstream/live.toml`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigArgument: TypeAlias = Annotated[Path, typer.Argument(metavar="CONFIG", help="A file such as live.toml.")]
RootOption: TypeAlias = Annotated[
    Path, typer.Option("--root", metavar="FOLDER", help="An image's root folder, instead of this machine.")
]
DryOption: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@service.command("print")
def show(config: ConfigArgument, root: RootOption = Path("/")) -> None:
    """Print the unit that a configuration needs.

    Example: `tcnstream service print live.toml`
    """
    from tcnstream.live.service.machine import read_unit, unit_file

    base = root.absolute()
    typer.echo(unit_file(config, base), nl=False)
    for sentence in read_unit(config, base)[1].notes:
        note(sentence)


@service.command()
def install(
    config: ConfigArgument,
    root: RootOption = Path("/"),
    dry_run: DryOption = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put a unit that was edited aside.")] = False,
) -> None:
    """Install or upgrade the service, after saying what will be done; start it, but for one on an image.

    Example: `tcnstream service install /etc/tcnstream/live.toml --dry-run`
    """
    from tcnstream.live.service import machine

    plan = machine.plan_install(config, root.absolute())
    _say(plan, {"new": "write", "older": "replace", "as it is": "leave, it is as it should be", "edited": "edited"})
    if not dry_run:
        machine.install(plan, replace)


@service.command()
def status(root: RootOption = Path("/"), as_json: JsonOption = False) -> None:
    """Say whether the service runs, and whether its unit is what its configuration needs; exit code 1 if not.

    Example: `tcnstream service status`
    """
    from tcnstream.live.service import machine

    base = root.absolute()
    found = machine.status(base)
    if as_json:
        print_json(asdict(found))
    else:
        for name, value in asdict(found).items():
            out.print(f"{name.replace('_', ' '):8} {value}")
    if found.unit != "as it is" or (base == Path("/") and not found.is_running):
        raise typer.Exit(1)


@service.command()
def uninstall(root: RootOption = Path("/"), dry_run: DryOption = False) -> None:
    """Stop the service and remove its unit; configuration, outputs and user stay.

    Example: `tcnstream service uninstall --dry-run`
    """
    from tcnstream.live.service import machine

    plan = machine.plan_uninstall(root.absolute())
    _say(plan, {"as it is": "remove", "edited": "put aside, it was edited"})
    if not dry_run:
        machine.uninstall(plan)


def _say(plan: Plan, words: dict[str, str]) -> None:
    for file in plan.files:
        out.print(f"{file.path}: {words[file.written]}")
    for command in plan.before:
        out.print(f"run: {' '.join(command)}")
    for folder in plan.folders:
        out.print(f"{folder}: make, for the user of the service")
    for command in plan.after:
        out.print(f"run: {' '.join(command)}")
    for sentence in plan.notes:
        note(sentence)
