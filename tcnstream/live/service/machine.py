"""A service on a machine: which files it has there, what is to be done, and what it is doing.

``root`` is the machine's root folder: ``/``, or that of an image that another machine will start from. A file that a
person edited is known by the checksum in its first lines, and never goes without a word.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import tcnstream
from tcnstream.errors import SignalError
from tcnstream.live.config import Config, read_config
from tcnstream.live.service.unit import LOGS, NAME, STATE, Program, Unit, unit_for
from tcnstream.signal.outfile import write_file

_SERVICE = f"{NAME}.service"
_READ_UNITS = ("systemctl", "daemon-reload")
UNIT_PATH = Path("etc/systemd/system") / _SERVICE
USER_PATH = Path("etc/sysusers.d") / f"{NAME}.conf"
_USER = f"""\
u {NAME} - "tcnstream live streams" {STATE} -
m {NAME} audio
m {NAME} dialout
"""
_HEAD = """\
# Made by tcnstream {version} from {config}
# Change it with `systemctl edit {name}`: that is kept when `tcnstream service install` makes this file anew.
# checksum {checksum}
"""
_MADE = re.compile(r"# Made by tcnstream (\S+) from (.*)\n(?:# .*\n)*?# checksum (\w+)\n")

Command: TypeAlias = tuple[str, ...]
Written: TypeAlias = Literal["new", "as it is", "older", "edited"]


@dataclass(frozen=True)
class File:
    """A file of the service: ``written`` is how what is there compares with ``text``, which it should have."""

    path: Path
    text: str
    written: Written


@dataclass(frozen=True)
class Plan:
    """What is done to a machine. Installing, ``before`` makes the user, to whom ``folders`` are given; uninstalling,
    it stops the service, whose ``files`` are removed then.
    """

    files: tuple[File, ...]
    before: tuple[Command, ...]
    folders: tuple[Path, ...]
    after: tuple[Command, ...]
    notes: tuple[str, ...] = ()


def this_program() -> Program:
    """The interpreter that runs, with its packages; a link of a virtual environment is not followed."""
    package = Path(tcnstream.__file__).parent.parent
    folders = {Path(sys.prefix), Path(sys.base_prefix), package}
    return Program(Path(sys.executable), tuple(sorted(folders)))


def seen_from(root: Path, path: Path) -> Path:
    """The path that a file has on the machine whose root folder is ``root``."""
    full = path.absolute()
    return Path("/") / full.relative_to(root) if root in full.parents else full


def read_unit(config_path: Path, root: Path) -> tuple[Config, Unit]:
    """The unit for a configuration, which may lie on an image. Raises ConfigError, SignalError."""
    config = read_config(config_path, writes_here=False)
    return config, unit_for(config, seen_from(root, config_path), this_program())


def unit_file(config_path: Path, root: Path) -> str:
    """The whole unit file, with its head."""
    return _with_head(read_unit(config_path, root)[1].text, seen_from(root, config_path))


def plan_install(config_path: Path, root: Path) -> Plan:
    """What installing or upgrading does. Raises ConfigError, and SignalError where it cannot be done."""
    unit = read_unit(config_path, root)[1]
    config_there = seen_from(root, config_path)
    files = tuple(
        _compared(root / path, _with_head(text, config_there))
        for path, text in ((USER_PATH, _USER), (UNIT_PATH, unit.text))
    )
    is_here = root == Path("/")
    if is_here:
        _must_be_able_to()
        _must_be_theirs(unit.folders)
    if not is_here:  # nothing is started on an image, and its units are read when it starts
        make_user = ("systemd-sysusers", f"--root={root}", USER_PATH.name)
        return Plan(files, (make_user,), (), (("systemctl", f"--root={root}", "enable", _SERVICE),), unit.notes)
    changed = any(file.written != "as it is" for file in files)
    start = ("systemctl", "restart" if changed else "start", _SERVICE)
    return Plan(
        files,
        (("systemd-sysusers", USER_PATH.name),),
        tuple(folder for folder in unit.folders if not folder.exists()),
        (_READ_UNITS, ("systemctl", "enable", _SERVICE), start),
        unit.notes,
    )


def plan_uninstall(root: Path) -> Plan:
    """What removing does; configuration, outputs and user stay. Raises SignalError where nothing is installed."""
    there = [root / path for path in (UNIT_PATH, USER_PATH) if (root / path).exists()]
    if not there:
        raise SignalError(f"{root / UNIT_PATH} is not there: nothing is installed")
    files = tuple(File(path, "", "edited" if _is_edited(path.read_text()) else "as it is") for path in there)
    notes = (f"{STATE}, {LOGS}, the configuration and the user {NAME} stay; userdel {NAME} removes the user",)
    if root != Path("/"):
        return Plan(files, (("systemctl", f"--root={root}", "disable", _SERVICE),), (), (), notes)
    _must_be_able_to()
    return Plan(files, (("systemctl", "disable", "--now", _SERVICE),), (), (_READ_UNITS,), notes)


def install(plan: Plan, replace: bool) -> None:
    """Raises SignalError for an edited file, before anything is written, unless ``replace`` puts it aside."""
    edited = [file.path for file in plan.files if file.written == "edited"]
    if edited and not replace:
        raise SignalError(
            f"{_and(edited)} was edited: move your lines to `systemctl edit {NAME}`, or give --replace, which keeps "
            f"{_and([_aside(path) for path in edited])}"
        )
    for file in plan.files:
        if file.written == "as it is":
            continue
        file.path.parent.mkdir(parents=True, exist_ok=True)
        if file.written == "edited":
            file.path.replace(_aside(file.path))
        write_file(file.path, file.text.encode())
        file.path.chmod(0o644)
    _run(plan.before)
    for folder in plan.folders:
        folder.mkdir(parents=True)
        shutil.chown(folder, NAME, NAME)
        folder.chmod(0o750)
    _run(plan.after)


def uninstall(plan: Plan) -> None:
    """An edited file is put aside, not removed."""
    _run(plan.before)
    for file in plan.files:
        if file.written == "edited":
            file.path.replace(_aside(file.path))
        else:
            file.path.unlink()
    _run(plan.after)


@dataclass(frozen=True)
class Status:
    """What is known of an installed service. ``unit`` says how its file compares with what its configuration needs."""

    unit: str
    config: str
    made_by: str
    active: str
    enabled: str

    @property
    def is_running(self) -> bool:
        return self.active == "active"


def status(root: Path) -> Status:
    """Raises SignalError where nothing is installed."""
    path = root / UNIT_PATH
    if not path.exists():
        raise SignalError(f"{path} is not there: `tcnstream service install CONFIG` makes it")
    text = path.read_text(encoding="utf-8")
    made = _MADE.match(text)
    if made is None:
        return Status("edited: it has no checksum", "", "", _asked("is-active"), _asked("is-enabled"))
    config_there = made[2]
    unit = "edited" if _is_edited(text) else "as it is"
    try:
        if unit == "as it is" and _body(unit_file(root / config_there.lstrip("/"), root)) != _body(text):
            unit = "older than its configuration or this program: `tcnstream service install` makes it anew"
    except SignalError as error:
        unit = f"its configuration is wrong: {str(error).splitlines()[0]}"
    if root != Path("/"):
        return Status(unit, config_there, made[1], "not asked: it is an image", _is_enabled_in(root))
    return Status(unit, config_there, made[1], _asked("is-active"), _asked("is-enabled"))


def _with_head(text: str, config: Path) -> str:
    checksum = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _HEAD.format(version=tcnstream.__version__, config=config, name=NAME, checksum=checksum) + text


def _body(text: str) -> str:
    made = _MADE.match(text)
    return text if made is None else text[made.end() :]


def _is_edited(text: str) -> bool:
    made = _MADE.match(text)
    return made is None or hashlib.sha256(_body(text).encode()).hexdigest()[:16] != made[3]


def _compared(path: Path, text: str) -> File:
    try:
        there = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return File(path, text, "new")
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise SignalError(f"{path} is no unit file: {error}; move it away") from error
    if _is_edited(there):
        return File(path, text, "edited")
    return File(path, text, "as it is" if there == text else "older")


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.edited")


def _run(commands: Sequence[Command]) -> None:
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise SignalError(f"there is no {command[0]} here: the service needs systemd") from error
        if done.returncode:
            raise SignalError(f"{' '.join(command)} failed: {done.stderr.strip() or done.returncode}")


def _must_be_able_to() -> None:
    if os.geteuid() != 0:
        raise SignalError("the service of this machine belongs to root: use sudo, or --root FOLDER for an image")
    if not Path("/run/systemd/system").is_dir():
        raise SignalError("this machine was not started by systemd: use --root FOLDER for an image")


def _must_be_theirs(folders: Sequence[Path]) -> None:
    try:
        user = pwd.getpwnam(NAME).pw_uid
    except KeyError:
        user = -1
    wrong = [folder for folder in folders if folder.exists() and folder.stat().st_uid != user]
    if wrong:
        raise SignalError(
            f"the user {NAME} cannot write to {_and(wrong)}: put it under {STATE} or {LOGS}, name a folder that is not "
            f"there yet, or chown it to {NAME}"
        )


def _asked(verb: str) -> str:
    try:
        return subprocess.run(["systemctl", verb, _SERVICE], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return "unknown: there is no systemctl"


def _is_enabled_in(root: Path) -> str:
    wanted = root / "etc/systemd/system/multi-user.target.wants" / _SERVICE
    return "enabled" if wanted.is_symlink() else "disabled"


def _and(paths: Sequence[Path]) -> str:
    return " and ".join(str(path) for path in paths)
