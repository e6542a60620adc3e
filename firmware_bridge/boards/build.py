"""The firmware as a program for one board, built once per version of its sources."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tcnstream
from firmware_bridge.boards import table
from firmware_bridge.boards.table import BOARDS, WITH_SDK, BoardSpec
from firmware_bridge.errors import TargetError
from tcnstream.engines.native.only import only_header

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
CORE = Path(tcnstream.__file__).resolve().parent / "core"
BUILD_DEADLINE_S = 300.0

HOST_PLAN_ROOM_BYTES = 16 << 20
"""PLAN_ROOM of ``ports/host.c``."""


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
    sources = sorted(p for p in FIRMWARE.rglob("*") if p.is_file())
    return f"{tcnstream.__version__}+{_hash([*sources, Path(table.__file__)])[:8]}"


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


def size_of(board: BoardSpec, program: Path, plan: bytes | None = None) -> Size:
    """Read from the built program. Raises TargetError for a plan that the board's flash has no room for."""
    plan_bytes, memory = len(plan or b""), board.memory
    if memory is None:
        how = (f"run it: {program.name} plan.bin",)
        return Size(program.stat().st_size, 0, 0, plan_bytes, HOST_PLAN_ROOM_BYTES, 0, how)
    sections = subprocess.run(
        [_cross("size", "binutils-arm-none-eabi"), str(program)], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1]
    text, data, bss = (int(v) for v in sections.split()[:3])
    require_plan_fits(board, plan_bytes)
    return Size(
        text + data,
        data + bss,
        memory.stack_bytes,
        plan_bytes,
        memory.plan.size_bytes,
        memory.plan.at,
        _how_to_flash(board, memory.plan.at, plan is not None),
    )


def require_plan_fits(board: BoardSpec, plan_bytes: int) -> None:
    """Raises TargetError for a plan that the board's flash has no room for."""
    room = board.memory.plan.size_bytes if board.memory is not None else plan_bytes
    if plan_bytes > room:
        raise TargetError(f"the plan has {plan_bytes} bytes and {board.name} has room for {room} in flash")


def _how_to_flash(board: BoardSpec, plan_at: int, with_plan: bool) -> tuple[str, ...]:
    if board.machine is not None:
        return (f"run it: firmware-bridge check MODEL --target {board.name} --input RECORDING",)
    lines = ["flash it with SEGGER's JLinkExe: loadfile bridge.elf"]
    if with_plan:
        lines.append(f"and the plan: loadbin plan.bin {plan_at:#010x}")
    lines.append("then: r, g; and here: firmware-bridge check MODEL --target serial:PORT --input RECORDING")
    return tuple(lines)


_MAY_BE_GIVEN = ("EXTRA", "FAULT", "ONLY", "SDK", "WITH")
"""Variables of the Makefile that most builds leave empty."""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One build at a time, so that two processes do not do the same work."""
    with (folder / "lock").open("w") as lock:
        with suppress(ImportError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def core_library(board: BoardSpec) -> Path:
    """Where the core that all firmware of a board shares is kept, once it was built."""
    how = hashlib.sha256((FIRMWARE / "Makefile").read_bytes() + repr(board.cpu).encode()).hexdigest()[:8]
    return cache_folder() / f"core-{board.name}-{core_version().split('+')[1]}-{how}.a"


def _cross(tool: str, package: str) -> str:
    return need_tool(os.environ.get("CROSS", "arm-none-eabi-") + tool, package)


def _tools(board: BoardSpec) -> dict[str, str]:
    """Compiler and archiver for a board. Raises TargetError where they are missing."""
    if board.cpu:
        return {"CC": _cross("gcc", "gcc-arm-none-eabi"), "AR": _cross("ar", "binutils-arm-none-eabi")}
    return {"CC": need_tool(os.environ.get("HOSTCC", "gcc"), "gcc"), "AR": "ar"}


def run_make(board: BoardSpec, folder: Path, goal: str, sdk: str | None = None, **variables: str) -> Path:
    """Builds the file ``goal`` in ``folder``, which gets links to all that make reads: its words end at blanks, which
    paths may have.

    Raises TargetError where a tool is missing or make fails, with what it said.
    """
    reads = {"firmware": FIRMWARE, "core": CORE, "cache": cache_folder()}
    given = {"OUT": "out", "CORE": "core", "LIB": f"cache/{core_library(board).name}", "BUILD": _build_id()}
    given |= dict.fromkeys(_MAY_BE_GIVEN, "")  # or make takes them from the environment
    if sdk is not None:
        reads["sdk"] = Path(sdk).resolve()
        given["SDK"] = "sdk"
    for link, path in reads.items():
        (folder / link).symlink_to(path, target_is_directory=True)
    given |= {"CORE_VERSION": core_version(), **_tools(board), **board.make_variables(), **variables}
    command = [need_tool("make", "make"), "-s", f"-j{os.cpu_count() or 1}", "-f", "firmware/Makefile"]
    command += [f"{name}={value}" for name, value in given.items()]
    try:
        answer = subprocess.run(
            [*command, f"out/{goal}"], cwd=folder, capture_output=True, text=True, timeout=BUILD_DEADLINE_S
        )
    except subprocess.TimeoutExpired:
        raise TargetError(f"building the firmware for {board.name} took over {BUILD_DEADLINE_S:g} s") from None
    finally:
        for link in reads:
            (folder / link).unlink()
    if answer.returncode != 0:
        raise TargetError(f"the firmware for {board.name} does not build: {answer.stderr.strip()[-600:]}")
    return folder / "out" / goal


def board_spec(name: str) -> BoardSpec:
    """The board of that name. Raises TargetError for one that the firmware is not built for."""
    if name not in BOARDS:
        raise TargetError(f"there is no firmware for {name!r}; there is for {', '.join(BOARDS)}")
    return BOARDS[name]


def _texts(files: Sequence[Path]) -> dict[str, bytes]:
    """By names without what make would read otherwise. Raises TargetError for what is no file of C, or there twice."""
    texts: dict[str, bytes] = {}
    for file in files:
        name = re.sub(r"[^\w.-]", "_", file.name)
        if file.suffix != ".c" or not file.is_file():
            raise TargetError(f"{file} is no file of C: give one whose name ends in .c")
        if name in texts:
            raise TargetError(f"two files to compile in are called {name}: rename one of them")
        texts[name] = file.read_bytes()
    return texts


def build(
    target: str,
    *,
    fault: int | None = None,
    sdk: str | None = None,
    plan: bytes | None = None,
    more: Sequence[Path] = (),
) -> Path:
    """The program for the board ``target``; ``fault`` is the node that rounds wrongly, -1 for one that is named later.

    With ``sdk``, the path of neuralSPOT, it is a library for its applications that speaks over USB. With ``plan`` it
    has only what that plan needs of the core, and refuses others that need more. ``more`` are files of C that are
    compiled in, for the functions that ``port.h`` leaves to them.

    Raises TargetError where the compiler is missing or fails, with what it said, and for files that are not there.
    """
    board = board_spec(target)
    texts = _texts(more)
    if sdk is not None and not (board.sdk and Path(sdk).is_dir()):
        raise TargetError(f"--sdk is neuralSPOT's folder and for {' and '.join(WITH_SDK)}, which have USB")
    _tools(board)
    kind = "" if fault is None else f"-fault{fault}"
    kind += "" if sdk is None else "-sdk"
    only = "" if plan is None else only_header([plan])
    kind += "" if plan is None else f"-only{hashlib.sha256(only.encode()).hexdigest()[:8]}"
    kind += "" if not texts else f"-with{hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:8]}"
    made = cache_folder() / f"{target}{kind}-{_build_id()}-{core_version().split('+')[1]}"
    name = "libbridge.a" if sdk is not None else "bridge.elf" if board.cpu else "bridge"
    program = made / name
    if program.exists() and sdk is None:
        return program
    made.parent.mkdir(parents=True, exist_ok=True)
    with _alone(made.parent), tempfile.TemporaryDirectory(dir=made.parent) as folder:
        if program.exists() and sdk is None:  # somebody else was faster
            return program
        variables = {} if fault is None else {"FAULT": str(fault)}
        if plan is not None:
            (Path(folder) / "only.h").write_text(only)
            variables |= {"ONLY": "only.h", "LIB": "out/libcore.a"}
        if texts:
            (Path(folder) / "with").mkdir()
            for file, text in texts.items():
                (Path(folder) / "with" / file).write_bytes(text)
            variables["WITH"] = " ".join(texts)
        built = run_make(board, Path(folder), name, sdk=sdk, **variables)
        made.mkdir(exist_ok=True)
        os.replace(built, program)
    return program
