"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from firmware_bridge.boards.program import Program
from firmware_bridge.errors import BridgeError
from firmware_bridge.link.faults import faulty, parse_faults
from firmware_bridge.targets import KINDS, Options
from tcnstream.cli.options import FileOptions, StreamingOptions
from tcnstream.cli.show import note, print_json, say
from tcnstream.opened import OpenedModel
from tcnstream.signal.outfile import writable, write_file
from tcnstream.signal.sources.base import AS_IT_SAYS, ReadOptions

TargetOption: TypeAlias = Annotated[
    str, typer.Option("--target", "-t", metavar="TARGET", help=f"{', '.join(kind.written for kind in KINDS.values())}.")
]
InputOption: TypeAlias = Annotated[
    str, typer.Option("--input", "-i", metavar="FILE", help="A recording, as for `tcnstream run`.")
]
RoundingOption: TypeAlias = Annotated[
    str, typer.Option("--rounding", metavar="NAME", help="litert, or tflm for boards whose dense layers round twice.")
]
ToleranceOption: TypeAlias = Annotated[
    str,
    typer.Option("--tolerance", metavar="T", help="default (integers exact, floats 1e-5), exact, steps:1 or abs:1e-4."),
]
LoadOption: TypeAlias = Annotated[bool, typer.Option("--load", help="Load the model though another one is flashed.")]
AnyCoreOption: TypeAlias = Annotated[bool, typer.Option("--any-core", help="Accept firmware of another core version.")]
FaultsOption: TypeAlias = Annotated[
    str,
    typer.Option("--faults", metavar="LIST", help="Spoil the line on purpose: flip=0.001,drop=0.01,delay=0.1,seed=1."),
]


def program_of(
    model: str, rounding: str, file: FileOptions, streaming: StreamingOptions, reading: ReadOptions = AS_IT_SAYS
) -> tuple[OpenedModel, Program]:
    """The model, and what a board runs of it."""
    opened = file.open(model)
    made = Program.of(
        opened.model,
        time_pooling=streaming.time_pooling,
        calibration=streaming.constants(opened, reading),
        rounding=rounding,
        static=streaming.fixed,
    )
    return opened, made


def board_options(load: bool, any_core: bool, faults: str) -> Options:
    wrap = faulty(parse_faults(faults)) if faults else None
    return Options(load=load, any_core=any_core, wrap=wrap, on_log=_heard)


def _heard(level: str, text: str) -> None:
    if level != "info":
        note(f"board ({level}): {text}")


def refuse(target: str, why: str, **given: bool) -> None:
    """Options that this target has no use for are refused, not ignored; ``given``: whether each was given."""
    names = [f"--{name.replace('_', '-')}" for name, used in given.items() if used]
    if names:
        raise BridgeError(f"{target} has no {', '.join(names)}: {why}")


def require_writable(outputs: Sequence[Path | None], read: Sequence[Path]) -> None:
    """What cannot be written in the end, or would be written over what is ``read``, is said before hours of work."""
    wanted = [writable(file.absolute(), *read) for file in outputs if file is not None]
    for k, file in enumerate(wanted):
        if file.resolve() in (other.resolve() for other in wanted[:k]):
            raise BridgeError(f"{file} would be written twice; name a file for each")


def _write(path: Path, text: Callable[[], str]) -> None:
    """As UTF-8, whole or not at all."""
    write_file(path, text().encode())


@contextmanager
def written_behind(*files: tuple[Path | None, Callable[[], str]]) -> Iterator[None]:
    """What is said within comes first, then the files, each of them whatever became of what was before it."""
    with ExitStack() as stack:
        for path, text in reversed(files):
            if path is not None:
                stack.callback(_write, path, text)
        yield


def conclude(found: Any, json: bool, remarks: tuple[str, ...] = ()) -> None:
    """The verdict of a comparison, as JSON or in words; exit code 1 where it did not hold."""
    assert is_dataclass(found) and not isinstance(found, type)
    passed: bool = found.passed  # type: ignore[attr-defined]
    verdict: str = found.verdict  # type: ignore[attr-defined]
    if json:
        print_json({"passed": passed, "verdict": verdict, **asdict(found)})
    else:
        for line in remarks:
            note(line)
        say(verdict)
    if not passed:
        raise typer.Exit(1)
