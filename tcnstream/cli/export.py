"""``tcnstream export``: the streaming program as a file for other runtimes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import tcnstream
from tcnstream.cli.options import FileOptions, JsonOption, ModelArgument, StreamingOptions, grouped
from tcnstream.cli.show import print_json, say
from tcnstream.engines.base import ROUNDINGS
from tcnstream.engines.interpreter.export import export_streaming
from tcnstream.engines.native.core import load_core
from tcnstream.engines.native.firmware import firmware_files, is_firmware_folder, window_bytes
from tcnstream.engines.native.layout.codes import FAMILIES, Family
from tcnstream.engines.native.planfile.c_array import Room, c_header
from tcnstream.engines.native.planfile.facts import read_facts
from tcnstream.errors import EngineError, SignalError
from tcnstream.opened import OpenedModel
from tcnstream.signal.card import model_files
from tcnstream.signal.outfile import writable, write_file
from tcnstream.signal.sources import files_of
from tcnstream.signal.sources.base import ReadOptions


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


C_WORDS = _words(
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const const_cast"
    " consteval constexpr constinit continue decltype default delete do double dynamic_cast else enum explicit export"
    " extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator"
    " or or_eq private protected public register reinterpret_cast requires restrict return short signed sizeof static"
    " static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename typeof"
    " union unsigned using virtual void volatile wchar_t while xor xor_eq main"
)
"""Names that C or C++ keeps for itself."""
HEADERS = _words(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic"
    " stdbool stddef stdint stdio stdlib stdnoreturn string tcn tgmath threads time uchar wchar wctype"
)
"""Names of files that a program with the core includes."""


@dataclass(frozen=True)
class Asked:
    """What a person asks of an export."""

    output: Path
    hop: int | None
    rounding: str
    family: str
    symbol: str | None
    streaming: StreamingOptions
    json: bool
    state: str

    @property
    def given(self) -> dict[str, bool]:
        """Whether an option says anything."""
        return {
            "--hop": self.hop is not None,
            "--rounding": self.rounding != ROUNDINGS[0],
            "--family": self.family != Family.PORTABLE.word,
            "--symbol": bool(self.symbol),
            "--time-pooling": bool(self.streaming.time_pooling),
            "--calibration": bool(self.streaming.calibration),
            "--static": bool(self.streaming.static),
            "--state": self.state != "variables",
        }


@dataclass(frozen=True)
class ExportKind:
    """An entry of the registry: a file by the name that a person gives it, and the options that it has."""

    name: str
    remark: str
    options: frozenset[str]
    write: Callable[[OpenedModel, Asked], None]


def _plan_of(opened: OpenedModel, asked: Asked) -> bytes:
    return _written_for(asked.family, opened, asked)


def _written_for(family: str, opened: OpenedModel, asked: Asked) -> bytes:
    constants = asked.streaming.constants(opened, ReadOptions())
    return opened.model.plan_file(
        asked.streaming.time_pooling, constants, asked.rounding, static=asked.streaming.fixed, family=family
    )


def _plan(opened: OpenedModel, asked: Asked) -> None:
    content = _plan_of(opened, asked)
    write_file(asked.output, content)
    _say_plan(content, opened, asked, symbol=None)


def _c_header(opened: OpenedModel, asked: Asked) -> None:
    name = _symbol(asked, f"{asked.output.stem}_plan")
    content = _plan_of(opened, asked)
    write_file(asked.output, c_header(content, name, _room(content, opened, asked)).encode())
    _say_plan(content, opened, asked, symbol=name)


def _room(content: bytes, opened: OpenedModel, asked: Asked) -> Room | None:
    """By the core of this machine, whose addresses are as long as any; None where it was not built."""
    try:
        core = load_core()
    except EngineError:
        return None
    portable = _written_for(Family.PORTABLE.word, opened, asked)
    facts = core.Plan(portable, block=_HEADER_BLOCK_FRAMES).facts()
    scratch_bytes = facts["scratch_bytes"] + window_bytes(content)
    return Room(facts["state_bytes"], scratch_bytes, _HEADER_BLOCK_FRAMES)


def _firmware(opened: OpenedModel, asked: Asked) -> None:
    name = _symbol(asked, asked.output.name)
    if name in HEADERS:
        raise EngineError(f"{name}.h would stand before the one of C or of the core: choose another name with --symbol")
    content = _plan_of(opened, asked)
    room = _room(content, opened, asked)
    if room is None:
        raise EngineError("how much memory the model takes is asked of the compiled core, which this install lacks")
    for path, part in firmware_files(content, name, room).items():
        (asked.output / path).parent.mkdir(parents=True, exist_ok=True)
        write_file(asked.output / path, part)
    _say_plan(content, opened, asked, symbol=f"{name}_plan", start=f"{name}_start")


def _must_be_free(folder: Path) -> None:
    """Raises SignalError for a folder that holds something else than an export."""
    if folder.exists() and not folder.is_dir():
        raise SignalError(f"{folder} is a file, and --to firmware writes a folder: name another")
    if folder.is_dir() and any(folder.iterdir()) and not is_firmware_folder(folder):
        raise SignalError(
            f"{folder} holds files that are of no export, and some could be written over: "
            f"name a folder that is new or empty, such as {folder / 'model'}"
        )


def _symbol(asked: Asked, default: str) -> str:
    name = asked.symbol or re.sub(r"\W", "_", default)
    if name in C_WORDS or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise EngineError(f"{name!r} is no name in C: choose one with --symbol, for example --symbol my_plan")
    return name


def _say_plan(content: bytes, opened: OpenedModel, asked: Asked, symbol: str | None, start: str | None = None) -> None:
    """``symbol`` is the array of C that holds the plan, ``start`` the function beside it, where there is a folder."""
    facts = read_facts(content)
    if asked.json:
        # A plan for a family of processors has no names.
        named = read_facts(_written_for(Family.PORTABLE.word, opened, asked))
        print_json(
            {
                "file": str(asked.output),
                "plan_bytes": len(content),
                "plan_version": facts.version,
                "crc32": f"{facts.crc32:08x}",
                "identity": facts.identity,
                "rounding": facts.rounding,
                "family": facts.family,
                "operations": [{"kind": node.kind, "label": node.label} for node in named.nodes],
                "state_bytes": facts.ring_bytes + facts.carry_bytes,
                "symbol": symbol,
            }
        )
        return
    say(
        f"{asked.output}: a plan of {len(content):,} bytes with {len(facts.nodes)} operations, "
        f"{facts.ring_bytes + facts.carry_bytes:,} bytes of queues per stream, rounding {facts.rounding},"
        f" {facts.family}"
    )
    if start is not None:
        target = start.removesuffix("_start")
        say(f"in CMake: add_subdirectory({asked.output}), link to tcnstream::{target}, call {start} of {target}.h")
        say(f"in Zephyr: ZEPHYR_EXTRA_MODULES={asked.output.absolute()} and CONFIG_TCNSTREAM_{target.upper()}=y")
        return
    if symbol is not None:
        say(
            f"the array in it: const uint8_t {symbol}[], with {symbol.upper()}_STATE_BYTES and _SCRATCH_BYTES beside it"
        )
    say(f"the core that runs it: {Path(tcnstream.__file__).parent / 'core' / 'tcn.h'}")


def _streaming_tflite(opened: OpenedModel, asked: Asked) -> None:
    if asked.state not in ("variables", "inputs"):
        raise EngineError(f"--state {asked.state} is unknown; use variables or inputs")
    exported = export_streaming(opened.model.plan_with(asked.streaming.fixed), asked.hop, state=asked.state)  # type: ignore[arg-type]
    write_file(asked.output, exported.content)
    if asked.json:
        print_json(
            {
                "file": str(asked.output),
                "bytes": len(exported.content),
                "hop_frames": exported.hop_frames,
                "frames_per_hop": list(exported.frames_per_hop),
                "lag_frames": list(exported.lag_frames),
                "variables": exported.variables,
                "state_bytes": exported.state_bytes,
                "starts": [{"shape": list(s.shape), "values": s.reshape(-1).tolist()} for s in exported.starts],
                "operations": list(exported.operations),
            }
        )
        return
    frames, lag = (", ".join(map(str, counts)) for counts in (exported.frames_per_hop, exported.lag_frames))
    where = "inputs and outputs more" if exported.starts else "variables"
    variables = f"{exported.variables} {where} of {exported.state_bytes:,} bytes"
    say(f"{asked.output}: {len(exported.content):,} bytes, {variables}")
    say(f"an invocation takes {exported.hop_frames} input frame(s) and gives {frames}; drop the first {lag} in all")
    say(f"register: {', '.join(exported.operations)}")


_HEADER_BLOCK_FRAMES = 64
"""As in the example of ``tcn.h``."""

_OF_A_PLAN = frozenset({"--rounding", "--family", "--time-pooling", "--calibration", "--static"})
EXPORT_KINDS = (
    ExportKind("streaming-tflite", "", frozenset({"--hop", "--static", "--state"}), _streaming_tflite),
    ExportKind("plan", " (for the C core)", _OF_A_PLAN, _plan),
    ExportKind("c-header", " (the same)", _OF_A_PLAN | {"--symbol"}, _c_header),
    ExportKind("firmware", " (a folder for CMake and Zephyr)", _OF_A_PLAN | {"--symbol"}, _firmware),
)
_BY_ENDING = {".h": "c-header", ".plan": "plan"}
_DESCRIBED = ", ".join(kind.name + kind.remark for kind in EXPORT_KINDS) + "."


@grouped
def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="KIND", help=f"{_DESCRIBED} Else .h: c-header, .plan: plan."),
    ] = None,
    hop: Annotated[
        int | None,
        typer.Option(
            "--hop",
            metavar="FRAMES",
            min=1,
            help="streaming-tflite: input frames an invocation; else the fewest possible.",
        ),
    ] = None,
    rounding: Annotated[
        str,
        typer.Option(
            "--rounding", metavar="KIND", help="plan, c-header, firmware: litert, or tflm as TFLite Micro rounds."
        ),
    ] = ROUNDINGS[0],
    family: Annotated[
        str,
        typer.Option("--family", metavar="NAME", help=f"of a plan: processors to pack for, {', '.join(FAMILIES)}."),
    ] = Family.PORTABLE.word,
    symbol: Annotated[
        str | None,
        typer.Option("--symbol", metavar="NAME", help="c-header, firmware: name of what is in it; else after OUT."),
    ] = None,
    state: Annotated[
        str,
        typer.Option(
            "--state", metavar="PLACE", help="streaming-tflite: variables, or inputs (and outputs) for other compilers."
        ),
    ] = "variables",
    streaming: StreamingOptions,
    file: FileOptions,
    json: JsonOption = False,
) -> None:
    """Write the streaming program as a file that other runtimes take.

    streaming-tflite: a .tflite with its state in resource variables, for TensorFlow Lite Micro.
    plan: the flat file that the C core of tcnstream runs in place, on a board from flash.
    c-header: the plan as a C array.
    firmware: a folder with the plan and the core that it needs alone, which CMake and Zephyr build.

    Example: `tcnstream export ecg ecg.h --to c-header`
    """
    to = to or _BY_ENDING.get(output.suffix.lower(), "streaming-tflite")
    kind = next((kind for kind in EXPORT_KINDS if kind.name == to), None)
    if kind is None:
        raise EngineError(f"there is no export {to!r}: choose one of {', '.join(k.name for k in EXPORT_KINDS)}")
    if to == "firmware":
        _must_be_free(output)
    else:
        writable(output, *model_files(model), *files_of(streaming.calibration))
    asked = Asked(output, hop, rounding, family, symbol, streaming, json, state)
    for option, said in asked.given.items():
        if said and option not in kind.options:
            raise EngineError(f"--to {to} has no {option}: leave it out")
    kind.write(file.open(model), asked)
