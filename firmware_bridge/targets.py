"""Targets by name: where a board is and how to reach it.

=================================  ==========================================================================
``host``                           the firmware as a process of this machine, on a pipe
``host?pty=1``                     the same behind a pseudo-terminal
``qemu-m4``                        QEMU mps2-an386, Cortex-M4F
``qemu-m55``                       QEMU mps3-an547, Cortex-M55 with Helium
``qemu-pl011``                     QEMU lm3s6965evb with a Cortex-M4: the UART that Apollo chips have
``serial:/dev/ttyACM0?baud=...``   a board on a serial port
``tcp:host:port``                  a board, or an emulator, behind a TCP port
``tflm``                           TensorFlow Lite Micro from PyPI, which runs the exported streaming .tflite
``tflm?file=1``                    the same, running the unmodified file window by window (``check`` only)
=================================  ==========================================================================

Emulated boards get the plan as if it were flashed; ``?load=link`` sends it over the link instead.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from firmware_bridge.board import Board, BridgeBoard
from firmware_bridge.build import EMULATED, build, need_tool
from firmware_bridge.errors import BridgeError, TargetError
from firmware_bridge.link import Link
from firmware_bridge.program import Program
from firmware_bridge.transport import SerialTransport, Transport, connect, start_process

DEFAULT_BAUD = 115200


@dataclass(frozen=True)
class Options:
    """How a target is opened. ``wrap`` may put something between the line and the link (see ``faults``)."""

    load: bool = False
    any_core: bool = False
    fault: bool = False
    wrap: Callable[[Transport], Transport] | None = None
    on_log: Callable[[str, str], None] | None = None


@dataclass(frozen=True)
class Target:
    """A target's name taken apart: ``serial:/dev/ttyACM0?baud=9600`` -> kind, place, settings."""

    text: str
    kind: str
    place: str
    settings: dict[str, str] = field(default_factory=dict)


def parse_target(text: str) -> Target:
    """Raises TargetError for a name that is none, naming those there are."""
    path, _, query = text.partition("?")
    kind, _, place = path.partition(":")
    if kind not in OPENERS:
        raise TargetError(f"there is no target {text!r}; give one of {', '.join(WAYS)}")
    return Target(text, kind, place, dict(parse_qsl(query, keep_blank_values=True)))


def open_board(target: str | Target, program: Program | None = None, options: Options | None = None) -> Board:
    """A connected board. With ``program`` it is also started with it (emulated boards have it flashed).

    Raises TargetError where it cannot be reached, LinkError where it does not answer, MismatchError where it
    runs something else.
    """
    parsed = parse_target(target) if isinstance(target, str) else target
    options = options or Options()
    board = OPENERS[parsed.kind](parsed, program, options)
    if program is not None:
        try:
            board.start(program)
        except BaseException:
            board.close()
            raise
    return board


def _bridge(target: Target, transport: Transport, options: Options, counted: bool = False) -> BridgeBoard:
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


def _known(target: Target, *names: str, place: bool = False) -> None:
    """Raises TargetError for settings, or a place, that this kind of target does not have."""
    if target.place and not place:
        raise TargetError(f"{target.text}: {target.kind} takes nothing behind a colon; write {target.kind}")
    for name in target.settings:
        if name not in names:
            known = f"it has {', '.join(names)}" if names else "it has none"
            raise TargetError(f"{target.text}: there is no setting {name!r}; {known}")


def _number(target: Target, name: str, default: int) -> int:
    text = target.settings.get(name, str(default))
    if not text.isdecimal() or int(text) == 0:
        raise TargetError(f"{target.text}: {name} takes a whole number above 0, not {text!r}")
    return int(text)


def _open_host(target: Target, program: Program | None, options: Options) -> Board:
    _known(target, "pty")
    binary = str(build("host", fault=-1 if options.fault else None))
    if target.settings.get("pty", "0") not in ("0", ""):
        return _bridge(target, _on_a_terminal(binary), options)
    return _bridge(target, start_process("host", [binary], on_stdio=True), options)


def _on_a_terminal(binary: str) -> Transport:
    """The process behind a pseudo-terminal, as a serial port would show it."""
    from firmware_bridge.terminal import start_on_terminal

    return start_on_terminal("host", [binary])


_MACHINES = {
    "qemu-m4": ("mps2-an386", (), 0x0010_0000, 3 << 20),
    "qemu-m55": ("mps3-an547", (), 0x0100_0000, 2 << 20),
    "qemu-pl011": ("lm3s6965evb", ("-cpu", "cortex-m4"), 0x0001_C000, 144 << 10),
}


def _open_qemu(target: Target, program: Program | None, options: Options) -> Board:
    _known(target, "load", "counted")
    machine, cpu, plan_at, plan_room = _MACHINES[target.kind]
    qemu = need_tool("qemu-system-arm", "qemu-system-arm")
    elf = build(target.kind, fault=-1 if options.fault else None)
    counted = target.settings.get("counted", "1") != "0"
    command = [qemu, "-M", machine, *cpu, "-display", "none", "-monitor", "none", "-nic", "none", "-kernel", str(elf)]
    command += ["-chardev", "socket,id=line,fd={fd}", "-serial", "chardev:line"]
    command += ["-icount", "shift=10,sleep=off"] if counted else []
    plan_file: str | None = None
    if program is not None and target.settings.get("load", "flash") != "link":
        if len(program.content) > plan_room:
            raise TargetError(
                f"{target.text}: the plan has {len(program.content)} bytes and the board's flash room for {plan_room}"
            )
        handle, plan_file = tempfile.mkstemp(suffix=".plan")
        with os.fdopen(handle, "wb") as file:
            file.write(program.content)
        command += ["-device", f"loader,file={plan_file},addr={plan_at:#x},force-raw=on"]
    try:
        return _bridge(target, start_process(target.kind, command, on_stdio=False), options, counted=counted)
    finally:
        if plan_file is not None:
            with suppress(OSError):
                Path(plan_file).unlink()


def _open_tcp(target: Target, program: Program | None, options: Options) -> Board:
    _known(target, place=True)
    host, _, port = target.place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise TargetError(f"{target.text}: write tcp:HOST:PORT with a port from 1 to 65535")
    return _bridge(target, connect(host.strip("[]"), int(port)), options)


def _open_serial(target: Target, program: Program | None, options: Options) -> Board:
    _known(target, "baud", place=True)
    baud = _number(target, "baud", DEFAULT_BAUD)
    if not target.place:
        raise TargetError(
            f"{target.text}: name the port, as in serial:/dev/ttyACM0; `firmware-bridge devices` lists them"
        )
    return _bridge(target, open_serial(target.place, baud), options)


def open_serial(port: str, baud: int) -> SerialTransport:
    """Raises TargetError where pyserial or the port is not there."""
    try:
        import serial
    except ImportError as error:
        raise TargetError("serial ports need pyserial: pip install pyserial") from error
    try:
        return SerialTransport(serial.serial_for_url(port, baudrate=baud, timeout=0), f"serial:{port}")
    except (OSError, ValueError) as error:
        raise TargetError(
            f"serial:{port}: {error}; check the cable, that no other program has the port open, and your rights to it"
        ) from error


def _open_tflm(target: Target, program: Program | None, options: Options) -> Board:
    from firmware_bridge.tflm import TflmBoard

    _known(target, "hop")
    return TflmBoard(target.text, _number(target, "hop", 0) if "hop" in target.settings else None)


Opener = Callable[[Target, Program | None, Options], Board]

OPENERS: dict[str, Opener] = {
    "host": _open_host,
    **dict.fromkeys(EMULATED, _open_qemu),
    "serial": _open_serial,
    "tcp": _open_tcp,
    "tflm": _open_tflm,
}
"""Every kind of target and what opens it; another module may add its own."""

WAYS = ["host", *EMULATED, "serial:PORT?baud=115200", "tcp:HOST:PORT", "tflm"]
"""How targets are written, for people."""


__all__ = ("OPENERS", "WAYS", "BridgeError", "Options", "Target", "open_board", "open_serial", "parse_target")
