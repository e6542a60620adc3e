"""Options in groups: what a command line says arrives in the group, and a group says the same in every command."""

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from firmware_bridge.cli.app import app as bridge
from tcnstream.cli.app import app as tcnstream_app
from tcnstream.cli.options import FileOptions, ReadingOptions, StreamingOptions, grouped
from tcnstream.cli.wording import as_options


@dataclass(frozen=True)
class Place:
    street: Annotated[str, typer.Option("--street", help="Where.")] = "High Street"
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Which house.")] = 1


def test_a_group_takes_the_options_of_its_fields():
    heard = []

    @grouped
    def visit(who: Annotated[str, typer.Argument()], *, loud: bool = False, place: Place, times: int = 1) -> None:
        """Ring the bell."""
        heard.append((who, loud, place, times))

    assert list(inspect.signature(visit).parameters) == ["who", "loud", "street", "number", "times"]
    app = typer.Typer()
    app.command()(visit)
    assert CliRunner().invoke(app, ["Ada", "-n", "7", "--times", "2"]).exit_code == 0
    assert heard == [("Ada", False, Place("High Street", 7), 2)]
    refused = CliRunner().invoke(app, ["Ada", "--number", "0"])
    assert refused.exit_code == 2
    assert len(heard) == 1


@pytest.mark.parametrize("group", [FileOptions, ReadingOptions, StreamingOptions])
def test_a_command_has_all_of_a_group_or_none(group):
    names = set(inspect.signature(group).parameters)
    found = 0
    for app in (tcnstream_app, bridge):
        for command in app.registered_commands:
            has = names & set(inspect.signature(command.callback).parameters)
            # A recording's channel, and the rate of a model's own signal, mean something alone.
            if has - {"rate", "channel", "units", "gain", "time_pooling"}:
                assert has == names, command.callback
                found += 1
    assert found >= 3


def test_sentences_of_the_library_name_options_of_the_command_line() -> None:
    said = "name it with time_axis=; time_axis=2; engine='native'; states={'h': 'o'}"
    assert as_options(said) == "name it with --time-axis; --time-axis 2; --engine native; --states h=o"
