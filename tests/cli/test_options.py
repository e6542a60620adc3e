"""Options in groups: what a command line says arrives in the group, and a group says the same in every command."""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

import tcnstream
from firmware_bridge.cli.app import app as bridge
from tcnstream.cli.app import app as tcnstream_app
from tcnstream.cli.options import FileOptions, ReadingOptions, StreamingOptions, grouped
from tcnstream.cli.wording import as_options
from tcnstream.live.wording import as_settings


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
    said = (
        "units='full scale', units='mV', rate_hz=0.5 stands, (gain=), hold_gaps=True repeats, "
        "channels= (ii), static={'x': ...}"
    )
    assert as_options(said) == (
        '--units "full scale", --units mV, --rate 0.5 stands, (--gain), --hold-gaps repeats, '
        "--channel (ii), --static x=..."
    )
    assert as_options('source = "file:x.csv?rate=100&units=mV"') == 'source = "file:x.csv?rate=100&units=mV"'


def test_a_sentence_of_the_daemon_names_settings():
    said = "give units='full scale' if its header is wrong; rate_hz=; rate_hz=100; choose with channels=; (gain=)"
    assert as_settings(said) == (
        "give ?units=full%20scale if its header is wrong; ?rate=; ?rate=100; choose with `channels`; (`gain`)"
    )


@pytest.mark.parametrize("pattern", ["opened.py", "given.py", "pipeline/*.py", "signal/*.py", "signal/sources/*.py"])
def test_no_refusal_below_the_command_line_names_an_option_of_it(pattern):
    for path in Path(tcnstream.__file__).parent.glob(pattern):
        text = path.read_text().replace("a folder of them (--jobs)", "")  # a part of a help text
        assert not re.findall(r"--[a-z][\w-]+", text), path
