"""The firmware's sources as a program for one target, built once per version of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tcnstream
from firmware_bridge.errors import TargetError

FIRMWARE = Path(__file__).resolve().parent / "firmware"
CORE = Path(tcnstream.__file__).resolve().parent / "core"
BUILD_DEADLINE_S = 300.0

HOST_TARGETS = ("host",)
EMULATED = ("qemu-m4", "qemu-m55", "qemu-pl011")
APOLLO = ("apollo3", "apollo4", "apollo510")


@cache
def core_version() -> str:
    """The package's version and a hash of the core's sources: what two sides must share to be comparable."""
    sources = sorted(p for p in CORE.rglob("*") if p.suffix in (".c", ".h") and p.parent.name != "binding")
    return f"{tcnstream.__version__}+{_hash(sources)[:8]}"


def _hash(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def _build_id() -> str:
    sources = sorted(p for p in FIRMWARE.rglob("*") if p.is_file() and "build" not in p.relative_to(FIRMWARE).parts)
    return f"{tcnstream.__version__}+{_hash(sources)[:8]}"


def cache_folder() -> Path:
    """Where built firmware is kept: TCNSTREAM_CACHE, or the user's cache folder."""
    base = os.environ.get("TCNSTREAM_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tcnstream" / "firmware"


def need_tool(name: str, package: str) -> str:
    """The path of a program. Raises TargetError that names the package that brings it."""
    path = shutil.which(name)
    if path is None:
        raise TargetError(f"{name} is not installed; it comes with the package {package} (apt-get install {package})")
    return path


@dataclass(frozen=True)
class Size:
    """What the firmware takes of a board's memory, and where its plan goes. ``ram_bytes`` has the stack in it."""

    code_bytes: int
    ram_bytes: int
    stack_bytes: int
    plan_bytes: int
    plan_room_bytes: int
    plan_at: int
    how_to_flash: tuple[str, ...]


def size_of(target: str, program: Path, plan: bytes | None = None) -> Size:
    """Read from the built program. Raises TargetError for a plan that the board's flash has no room for."""
    if target in HOST_TARGETS:
        return Size(program.stat().st_size, 0, 0, len(plan or b""), 16 << 20, 0, (f"run it: {program.name} plan.bin",))
    prefix = os.environ.get("CROSS", "arm-none-eabi-")
    sections = subprocess.run(
        [need_tool(prefix + "size", "binutils-arm-none-eabi"), str(program)], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1]
    text, data, bss = (int(v) for v in sections.split()[:3])
    symbols = subprocess.run(
        [need_tool(prefix + "nm", "binutils-arm-none-eabi"), str(program)], capture_output=True, text=True, check=True
    ).stdout
    place = {line.split()[2]: int(line.split()[0], 16) for line in symbols.splitlines() if len(line.split()) == 3}
    at, room = place["plan_begin"], place["plan_end"] - place["plan_begin"]
    if plan is not None and len(plan) > room:
        raise TargetError(f"the plan has {len(plan)} bytes and {target} has room for {room} in flash")
    stack = place["stack_top"] - place["stack_bottom"]
    return Size(text + data, data + bss, stack, len(plan or b""), room, at, _how_to_flash(target, at, plan is not None))


def _how_to_flash(target: str, plan_at: int, with_plan: bool) -> tuple[str, ...]:
    if target in EMULATED:
        return (f"run it: firmware-bridge check MODEL --target {target} --input RECORDING",)
    lines = ["flash it with SEGGER's JLinkExe: loadfile bridge.elf"]
    if with_plan:
        lines.append(f"and the plan: loadbin plan.bin {plan_at:#010x}")
    lines.append("then: r, g; and here: firmware-bridge check MODEL --target serial:PORT --input RECORDING")
    return tuple(lines)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One build at a time, so that two processes do not do the same work."""
    with (folder / "lock").open("w") as lock:
        with suppress(ImportError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def core_library(target: str) -> Path:
    """Where the core that all firmware of a target shares is kept, once it was built."""
    return cache_folder() / f"core-{target}-{core_version().split('+')[1]}-{_hash([FIRMWARE / 'Makefile'])[:8]}.a"


def build(target: str, *, fault: int | None = None, sdk: str | None = None) -> Path:
    """The program for ``target``; ``fault`` is the node that rounds wrongly, -1 for one that is named later.

    With ``sdk``, the path of neuralSPOT, it is a library for its applications that speaks over USB.

    Raises TargetError where the compiler is missing or fails, with what it said.
    """
    if target not in (*HOST_TARGETS, *EMULATED, *APOLLO):
        known = ", ".join((*HOST_TARGETS, *EMULATED, *APOLLO))
        raise TargetError(f"there is no firmware for {target!r}; there is for {known}")
    if sdk is not None and (target not in APOLLO[1:] or not Path(sdk).is_dir()):
        raise TargetError(f"--sdk is neuralSPOT's folder and for {' and '.join(APOLLO[1:])}, which have USB")
    make = need_tool("make", "make")
    if target == "host":
        need_tool(os.environ.get("HOSTCC", "gcc"), "gcc")
    else:
        need_tool(os.environ.get("CROSS", "arm-none-eabi-") + "gcc", "gcc-arm-none-eabi")
    kind = "" if fault is None else f"-fault{fault}"
    kind += "" if sdk is None else "-sdk"
    made = cache_folder() / f"{target}{kind}-{_build_id()}-{core_version().split('+')[1]}"
    name = "bridge" if target == "host" else "bridge.elf" if sdk is None else "libbridge.a"
    program = made / name
    if program.exists() and sdk is None:
        return program
    made.parent.mkdir(parents=True, exist_ok=True)
    with _alone(made.parent), tempfile.TemporaryDirectory(dir=made.parent) as folder:
        if program.exists() and sdk is None:  # somebody else was faster
            return program
        command = [
            make,
            "-s",
            f"-j{os.cpu_count() or 1}",
            f"LIB={core_library(target)}",
            "-C",
            str(FIRMWARE),
            f"TARGET={target}",
            f"OUT={folder}",
            f"CORE={CORE}",
        ]
        command += [f"BUILD={_build_id()}", f"CORE_VERSION={core_version()}"]
        command += [] if fault is None else [f"FAULT={fault}"]
        command += [] if sdk is None else [f"SDK={Path(sdk).resolve()}", f"{folder}/{name}"]
        if os.environ.get("HOSTCC"):
            command.append(f"HOSTCC={os.environ['HOSTCC']}")
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise TargetError(f"building the firmware for {target} took over {BUILD_DEADLINE_S:g} s") from None
        if answer.returncode != 0:
            raise TargetError(f"the firmware for {target} does not build: {answer.stderr.strip()[-600:]}")
        made.mkdir(exist_ok=True)
        for file in Path(folder).iterdir():
            os.replace(file, made / file.name)
    return program
