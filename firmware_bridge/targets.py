"""Targets by name: where a board is, how it is written, and what opens it. One entry of ``KINDS`` each.

Emulated boards get the plan as if it were flashed; ``?load=link`` sends it over the link instead.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl

from firmware_bridge.boards.board import Board
from firmware_bridge.boards.bridge_board import BridgeBoard
from firmware_bridge.boards.build import build, need_tool, require_plan_fits
from firmware_bridge.boards.devices import only_device
from firmware_bridge.boards.program import Program
from firmware_bridge.boards.table import BOARDS, BoardSpec
from firmware_bridge.boards.tflm import TflmBoard
from firmware_bridge.check.compare import Tolerance, as_tolerance
from firmware_bridge.check.soak import SoakReport
from firmware_bridge.check.tflm_file import FileReport, check_file
from firmware_bridge.errors import TargetError
from firmware_bridge.link.session import Link
from firmware_bridge.link.terminal import start_on_terminal
from firmware_bridge.link.transport import DEFAULT_BAUD, Transport, connect, open_serial, start_process
from firmware_bridge.neuralspot import NeuralSpotReport, open_stock_target, soak_stock
from firmware_bridge.neuralspot import check as check_stock_port
from tcnstream.model import Model
from tcnstream.tflite.graph import Array

WindowsReport: TypeAlias = NeuralSpotReport | FileReport


@dataclass(frozen=True)
class Options:
    """How a target is opened. ``wrap`` may put something between the line and the link (see ``link.faults``)."""

    load: bool = False
    any_core: bool = False
    fault: bool = False
    wrap: Callable[[Transport], Transport] | None = None
    on_log: Callable[[str, str], None] | None = None


@dataclass(frozen=True)
class Target:
    """A target's name taken apart: ``serial:/dev/ttyACM0?baud=9600`` -> kind, place, settings."""

    text: str
    kind: TargetKind
    place: str
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def answers_windows(self) -> bool:
        """Whether it answers whole windows of the model's file, and has no stream."""
        if self.kind.check_windows is None:
            return False
        return self.kind.open is None or self.settings.get("file", "0") in ("", "1")


@dataclass(frozen=True)
class TargetKind:
    """One kind of target. ``written`` is how people write it, ``settings`` what may stand behind its ``?``.

    ``open`` connects a board with a stream; ``check_windows`` and ``soak_windows`` are for what answers whole windows.
    ``flashed_first``: it is started with its plan in flash, so it is opened with one.
    """

    name: str
    written: str
    what: str
    open: Callable[[Target, Program | None, Options], Board] | None = None
    settings: tuple[str, ...] = ()
    has_place: bool = False
    flashed_first: bool = False
    check_windows: Callable[..., WindowsReport] | None = None
    soak_windows: Callable[..., SoakReport] | None = None


def parse_target(text: str) -> Target:
    """Raises TargetError for a name that is none, naming those there are."""
    path, _, query = text.partition("?")
    name, _, place = path.partition(":")
    if name not in KINDS:
        raise TargetError(f"there is no target {text!r}; give one of {', '.join(k.written for k in KINDS.values())}")
    return Target(text, KINDS[name], place, dict(parse_qsl(query, keep_blank_values=True)))


def open_board(target: str | Target, program: Program | None = None, options: Options | None = None) -> Board:
    """A connected board. With ``program`` it is also started with it (emulated boards have it flashed).

    Raises TargetError where it cannot be reached or has no stream, LinkError where it does not answer, MismatchError
    where it runs something else.
    """
    parsed = parse_target(target) if isinstance(target, str) else target
    kind = parsed.kind
    if kind.open is None:
        raise TargetError(f"{parsed.text} answers whole windows of the file and is no board with a stream")
    _require_known(parsed)
    board = kind.open(parsed, program, options or Options())
    if program is not None:
        try:
            board.start(program)
        except BaseException:
            board.close()
            raise
    return board


def check_windows(target: Target, model: Model, signal: Array, **options: object) -> WindowsReport:
    """Compares a target that answers windows with the host; ``options`` as for ``neuralspot.check``.

    Of them the unmodified file in TFLite Micro takes ``tolerance``, ``rounding`` and ``progress``.
    """
    assert target.kind.check_windows is not None
    return target.kind.check_windows(target, model, signal, **options)


def soak_windows(target: Target, model: Model, signal: Array, **options: object) -> SoakReport:
    """As ``neuralspot.soak_stock``, whose ``options`` it takes. Raises TargetError for a target that cannot."""
    if target.kind.soak_windows is None:
        raise TargetError(f"{target.text} is compared once with `check`, and is no board for hours")
    return target.kind.soak_windows(target, model, signal, **options)


def _require_known(target: Target) -> None:
    """Raises TargetError for settings, or a place, that this kind of target does not have."""
    kind = target.kind
    if target.place and not kind.has_place:
        raise TargetError(f"{target.text}: {kind.name} takes nothing behind a colon; write {kind.name}")
    for name in target.settings:
        if name not in kind.settings:
            known = f"it has {', '.join(kind.settings)}" if kind.settings else "it has none"
            raise TargetError(f"{target.text}: there is no setting {name!r}; {known}")


def _number(target: Target, name: str, default: int) -> int:
    text = target.settings.get(name, str(default))
    if not text.isdecimal() or int(text) == 0:
        raise TargetError(f"{target.text}: {name} takes a whole number above 0, not {text!r}")
    return int(text)


def _linked(target: Target, transport: Transport, options: Options, counted: bool = False) -> BridgeBoard:
    """The board behind a line."""
    line = transport if options.wrap is None else options.wrap(transport)
    try:
        return BridgeBoard(
            target.text,
            Link(line, options.on_log),
            counted=counted,
            replace_flashed=options.load,
            any_core=options.any_core,
        )
    except BaseException:
        line.close()
        raise


def _open_host(target: Target, program: Program | None, options: Options) -> Board:
    command = [str(build("host", fault=-1 if options.fault else None))]
    if target.settings.get("pty", "0") not in ("0", ""):
        return _linked(target, start_on_terminal("host", command), options)
    return _linked(target, start_process("host", command, on_stdio=True), options)


def _open_emulated(target: Target, program: Program | None, options: Options) -> Board:
    board = BOARDS[target.kind.name]
    qemu = need_tool("qemu-system-arm", "qemu-system-arm")
    elf = build(board.name, fault=-1 if options.fault else None)
    counted = target.settings.get("counted", "1") != "0"
    command = [qemu, *_machine(board), "-kernel", str(elf)]
    command += ["-icount", "shift=10,sleep=off"] if counted else []
    with ExitStack() as stack:
        if program is not None and target.settings.get("load", "flash") != "link":
            command += _flashed(board, program, stack)
        return _linked(target, start_process(board.name, command, on_stdio=False), options, counted=counted)


def _machine(board: BoardSpec) -> list[str]:
    """QEMU's arguments for a board whose UART is the descriptor {fd}."""
    assert board.machine is not None
    cpu = ["-cpu", board.machine.cpu] if board.machine.cpu else []
    quiet = ["-display", "none", "-monitor", "none", "-nic", "none"]
    return ["-M", board.machine.name, *cpu, *quiet, "-chardev", "socket,id=line,fd={fd}", "-serial", "chardev:line"]


def _flashed(board: BoardSpec, program: Program, stack: ExitStack) -> list[str]:
    """QEMU's arguments that put the plan where it would be flashed; its file goes with ``stack``."""
    assert board.memory is not None
    content = program.packed_for(board.family).content
    require_plan_fits(board, len(content))
    handle, name = tempfile.mkstemp(suffix=".plan")
    stack.callback(Path(name).unlink, missing_ok=True)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return ["-device", f"loader,file={name},addr={board.memory.plan.at:#x},force-raw=on"]


def _open_tcp(target: Target, program: Program | None, options: Options) -> Board:
    host, _, port = target.place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise TargetError(f"{target.text}: write tcp:HOST:PORT with a port from 1 to 65535")
    return _linked(target, connect(host.strip("[]"), int(port)), options)


def _open_serial(target: Target, program: Program | None, options: Options) -> Board:
    baud = _number(target, "baud", DEFAULT_BAUD)
    if not target.place:
        raise TargetError(
            f"{target.text}: name the port, as in serial:/dev/ttyACM0; `firmware-bridge devices` lists them"
        )
    if target.place == "auto":  # the one known board; several are never picked from
        port = only_device().port
        target = replace(target, text=target.text.replace("auto", port, 1), place=port)
    return _linked(target, open_serial(target.place, baud), options)


def _open_tflm(target: Target, program: Program | None, options: Options) -> Board:
    return TflmBoard(target.text, _number(target, "hop", 0) if "hop" in target.settings else None)


def _check_file(
    target: Target,
    model: Model,
    signal: Array,
    *,
    tolerance: Tolerance | str | None = None,
    rounding: str = "litert",
    progress: Callable[[int, int], None] | None = None,
) -> FileReport:
    if given := (*model.static_inputs, *model.state_inputs):
        raise TargetError(
            f"{target.text} fills the file's inputs from the recording, and `{given[0].name}` is none of the signal:"
            " check it as a stream, with the target tflm, host or a board"
        )
    return check_file(Program.of(model, rounding=rounding), signal, as_tolerance(tolerance), progress)


def _check_stock(target: Target, model: Model, signal: Array, **options: object) -> NeuralSpotReport:
    stock = open_stock_target(target.text)
    with closing(stock.port):
        found = {"convention": stock.convention, "framing": stock.framing, **options}
        return check_stock_port(model, stock.port, signal, **found)  # type: ignore[arg-type]


def _soak_stock(target: Target, model: Model, signal: Array, **options: object) -> SoakReport:
    return soak_stock(model, lambda: open_stock_target(target.text), signal, **options)  # type: ignore[arg-type]


def _emulated(board: BoardSpec) -> TargetKind:
    return TargetKind(board.name, board.name, board.what, _open_emulated, ("load", "counted"), flashed_first=True)


KINDS = {
    kind.name: kind
    for kind in (
        TargetKind("host", "host", BOARDS["host"].what, _open_host, ("pty",)),
        *(_emulated(board) for board in BOARDS.values() if board.machine is not None),
        TargetKind(
            "serial",
            "serial:PORT?baud=115200",
            "a board on a serial port; serial:auto is the one known board that is connected",
            _open_serial,
            ("baud",),
            has_place=True,
        ),
        TargetKind("tcp", "tcp:HOST:PORT", "a board, or an emulator, behind a TCP port", _open_tcp, has_place=True),
        TargetKind(
            "tflm",
            "tflm",
            "TensorFlow Lite Micro from PyPI on the streaming export; tflm?file=1 runs the unmodified file",
            _open_tflm,
            ("hop",),
            check_windows=_check_file,
        ),
        TargetKind(
            "neuralspot",
            "neuralspot:PORT",
            "a board with stock Ambiq firmware, window by window",
            has_place=True,
            check_windows=_check_stock,
            soak_windows=_soak_stock,
        ),
    )
}
"""Every kind of target by name."""
