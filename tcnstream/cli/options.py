"""Options that commands share: alone, and in groups that mean something together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, TypeAlias, get_type_hints

import numpy as np
import numpy.typing as npt
import typer

from tcnstream.cli.show import note
from tcnstream.engines.base import ENGINES
from tcnstream.errors import SignalError
from tcnstream.opened import Frames, OpenedModel, open_model, read_frames
from tcnstream.signal.card import shipped_models
from tcnstream.signal.sources.base import ReadOptions
from tcnstream.signal.sources.raw import RAW_FORMATS

ModelArgument: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="MODEL", help=f"A .tflite file, a card (.toml), or shipped: {', '.join(shipped_models())}."),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
EngineOption: TypeAlias = Annotated[
    str, typer.Option("--engine", metavar="NAME", help=f"auto, {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.")
]
TimePoolingOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--time-pooling",
        metavar="POLICY",
        help="Stand-in for operations over all of time: trailing, trailing:FRAMES, cumulative or frozen.",
    ),
]


@dataclass(frozen=True)
class FileOptions:
    """How a model's file is taken: which of its axes is time, which of its calls is meant, what is fed back."""

    time_axis: Annotated[
        int | None,
        typer.Option("--time-axis", metavar="AXIS", help="Axis of the file's inputs that is time; else it is found."),
    ] = None
    signature: Annotated[
        str | None,
        typer.Option(
            "--signature", metavar="NAME", help="Which way to call the file, of several; else its first graph."
        ),
    ] = None
    states: Annotated[
        list[str] | None,
        typer.Option(
            "--states",
            metavar="IN=OUT",
            help="An output that is fed back to an input; repeat it for several; none: nothing is.",
        ),
    ] = None

    @property
    def fed_back(self) -> dict[str, str] | None:
        """What ``--states`` says, None where it says nothing; "none" says that nothing is fed back."""
        if self.states == ["none"]:
            return {}
        return None if self.states is None else dict(_pair("--states", "IN=OUT", text) for text in self.states)

    def open(self, model: str) -> OpenedModel:
        return open_model(model, self.time_axis, self.signature, self.fed_back)


@dataclass(frozen=True)
class ReadingOptions:
    """How a recording is read, where it does not say it itself."""

    channel: Annotated[
        list[str] | None,
        typer.Option("--channel", "-c", metavar="NAME", help="Channel by name or number; repeat it for several."),
    ] = None
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="HZ", help="Sample rate of the input, where it does not say it itself."),
    ] = None
    units: Annotated[
        str | None, typer.Option("--units", metavar="UNIT", help="Unit of the input, where it does not say it itself.")
    ] = None
    gain: Annotated[float, typer.Option("--gain", help="The input is multiplied by this first.")] = 1.0
    raw_format: Annotated[
        str | None,
        typer.Option(
            "--raw-format", metavar="KIND", help=f"Bare samples: {', '.join(RAW_FORMATS)}; the default for - is f32le."
        ),
    ] = None
    raw_channels: Annotated[
        int, typer.Option("--raw-channels", min=1, help="Interleaved channels in bare samples.")
    ] = 1
    hold_gaps: Annotated[
        bool,
        typer.Option("--hold-gaps", help="Repeat the last value where a sample is missing; else that is an error."),
    ] = False

    @property
    def said(self) -> ReadOptions:
        return ReadOptions(
            self.channel, self.rate, self.units, self.gain, self.raw_format, self.raw_channels, self.hold_gaps
        )


@dataclass(frozen=True)
class StreamingOptions:
    """What a stream is told that neither the file nor the signal says."""

    time_pooling: TimePoolingOption = None
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration", metavar="FILE", help="Recording that --time-pooling frozen measures its constants on."
        ),
    ] = None
    static: Annotated[
        list[str] | None,
        typer.Option(
            "--static",
            metavar="NAME=VALUES",
            help="An input without time: numbers with commas, or a .npy file; repeat it for several.",
        ),
    ] = None

    @property
    def fixed(self) -> dict[str, npt.ArrayLike] | None:
        """What ``--static`` says, None where it says nothing."""
        if self.static is None:
            return None
        said = (_pair("--static", "NAME=VALUES", text) for text in self.static)
        return {name: _values(name, text) for name, text in said}

    def constants(self, opened: OpenedModel, reading: ReadOptions) -> Frames | None:
        """What ``--time-pooling frozen`` measures on, None where nothing is given; an error if nothing asks for it."""
        if self.calibration is None:
            return None
        if self.time_pooling != "frozen":
            raise SignalError("--calibration is for --time-pooling frozen alone: choose that, or leave it out")
        return read_frames(opened, self.calibration, reading, note)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer reads it: in place of each parameter that is a group of options stand the group's own."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    flat: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if (group := groups.get(parameter.name)) is None:
            flat.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[parameter.name]))
            continue
        options = get_type_hints(group, include_extras=True)
        flat += [
            inspect.Parameter(f.name, parameter.KEYWORD_ONLY, default=f.default, annotation=options[f.name])
            for f in fields(group)
        ]

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in fields(group)})
        command(**given)

    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return run


def _pair(option: str, form: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SignalError(f"{option} {text!r} is no {form}")
    return name, value


def _values(name: str, text: str) -> npt.ArrayLike:
    if text.endswith(".npy"):
        try:
            with open(text, "rb") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise SignalError(f"--static {name}: {text} is no NumPy file: {error}") from error
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        raise SignalError(f"--static {name}: {text!r} is no list of numbers with commas, and no .npy file") from None
    whole = all(number.is_integer() for number in numbers)
    return np.array(numbers, np.int64 if whole and "." not in text else np.float32)
