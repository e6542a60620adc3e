"""A hardened unit of systemd (systemd.exec(5)), made from a configuration: what that does not name is denied.

Devices are allowed by their class, not by their node: a sensor that is plugged in again has another number. The class
of a driver that is not loaded is unknown to systemd, so that the unit has the driver loaded first.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from tcnstream.errors import SignalError
from tcnstream.live.address import LOOPBACK
from tcnstream.live.config import Config, ConfigError
from tcnstream.live.needs import Needs

NAME = "tcnstream"
STATE, LOGS = Path("/var/lib") / NAME, Path("/var/log") / NAME
WATCHDOG_S = 30
_HIDDEN_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_HIDDEN_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))
_HIDDEN = (*_HIDDEN_HOMES, *_HIDDEN_TEMPORARY)
_LAN = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
_LAN_NAME = re.compile(r"[^.]+|.*\.(local|lan|home|internal|home\.arpa|localdomain)\.?", re.IGNORECASE)
# A class of devices, as /proc/devices names it, and the driver that makes it; built-in ones need no loading.
_USB_SERIAL = {"ttyUSB": "usbserial", "ttyACM": "cdc_acm"}
_SERIAL_CLASSES: dict[str, str] = {**_USB_SERIAL, "ttyAMA": "", "ttyS": "", "rfcomm": "rfcomm"}
_SOUND = {"alsa": "snd"}


@dataclass(frozen=True)
class Program:
    """What is started: an interpreter with the package, and the folders that they lie in."""

    python: Path
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Unit:
    """``text`` is the unit file. ``folders`` are written and not made by systemd; ``notes`` are for a person."""

    text: str
    folders: tuple[Path, ...]
    notes: tuple[str, ...]


def unit_for(config: Config, path: Path, program: Program) -> Unit:
    """The unit for a configuration that will lie at ``path``.

    Raises ConfigError where a service cannot do what it says.
    """
    needs = _absolute(config.needs())
    if needs.terminal:
        raise ConfigError([f"{path.name}: a service has no standard input: give another source than -"])
    made_by_systemd = [folder for folder in needs.writes if _lies_in(folder, (STATE, LOGS))]
    folders = tuple(folder for folder in needs.writes if folder not in made_by_systemd)
    sections = {
        "Unit": list(_unit(path, needs, folders)),
        "Service": [
            *_process(path, program),
            *_folders(made_by_systemd, folders),
            *_hidden(path, program, needs, folders),
            *_devices(needs),
            *_network(config, needs),
            *_hardened(config),
        ],
        "Install": [("WantedBy", "multi-user.target")],
    }
    lines = [line for name, entries in sections.items() for line in (f"[{name}]", *_lines(entries), "")]
    return Unit("\n".join(lines).rstrip() + "\n", folders, tuple(_notes(path, folders)))


Entry = tuple[str, str]


def _absolute(needs: Needs) -> Needs:
    """Symbolic links are kept: what they point to may not be there now."""
    reads = tuple(path.absolute() for path in needs.reads)
    writes = tuple(path.absolute() for path in needs.writes)
    return replace(needs, reads=reads, writes=writes)


def _unit(path: Path, needs: Needs, folders: Sequence[Path]) -> Iterator[Entry]:
    yield "Description", f"tcnstream: live streams of {_plain(path)}"
    drivers = [f"modprobe@{driver}.service" for driver in _classes(needs)[0].values() if driver]
    after = [*drivers, *(["sound.target"] if needs.sound else []), "network-online.target", "time-sync.target"]
    yield "Wants", " ".join([*drivers, "network-online.target"])
    yield "After", " ".join(after)
    for folder in (path.parent, *folders):
        yield "RequiresMountsFor", _word(folder)
    yield "# A sensor, a broker or a disk may be away for days", ""
    yield "StartLimitIntervalSec", "0"


def _process(path: Path, program: Program) -> Iterator[Entry]:
    yield "Type", "notify"
    yield "NotifyAccess", "main"
    yield "ExecStart", f"{_word(program.python, '$')} -m tcnstream serve {_word(path, '$')}"
    yield "ExecReload", "/bin/kill -HUP $MAINPID"
    yield "Restart", "always"
    yield "RestartSec", "10"
    yield "WatchdogSec", str(WATCHDOG_S)
    yield "TimeoutStartSec", "180"
    yield "TimeoutStopSec", "30"
    yield "KillMode", "mixed"
    yield "User", NAME
    yield "SupplementaryGroups", "audio dialout"
    yield "Environment", "OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1"
    yield "WorkingDirectory", "/"
    yield "StandardInput", "null"


def _folders(made: Sequence[Path], folders: Sequence[Path]) -> Iterator[Entry]:
    for key, top in (("StateDirectory", STATE), ("LogsDirectory", LOGS)):
        inner = sorted({folder for folder in made if _lies_in(folder, (top,)) and folder != top})
        yield key, " ".join([NAME, *(_word(folder.relative_to(top.parent)) for folder in inner)])
        yield f"{key}Mode", "0750"
    yield "UMask", "0027"
    yield "ProtectSystem", "strict"
    for folder in folders:
        if not _lies_in(folder, _HIDDEN):
            yield "ReadWritePaths", _word(folder)


def _hidden(path: Path, program: Program, needs: Needs, folders: Sequence[Path]) -> Iterator[Entry]:
    """Homes and temporary folders are empty but for what is named."""
    yield "ProtectHome", "tmpfs"
    yield "PrivateTmp", "yes"
    yield "PrivateMounts", "yes"
    # Folders, not files: an editor replaces a file, and a mount would keep the old one.
    read = sorted({path.parent, *program.folders, *(file.parent for file in needs.reads)})
    read = [folder for folder in read if _lies_in(folder, _HIDDEN)]
    for folder in [each for each in read if not any(_lies_in(each, (other,)) for other in read if other != each)]:
        yield "BindReadOnlyPaths", _word(folder, ":")
    for folder in folders:
        if _lies_in(folder, _HIDDEN):
            yield "BindPaths", _word(folder, ":")


def _devices(needs: Needs) -> Iterator[Entry]:
    classes, nodes = _classes(needs)
    if not classes and not nodes:
        yield "PrivateDevices", "yes"
    yield "DevicePolicy", "closed"
    for name in classes:
        yield "DeviceAllow", f"char-{name} rw"
    for node in nodes:
        yield "DeviceAllow", f"{_word(node)} rw"


def _classes(needs: Needs) -> tuple[dict[str, str], list[Path]]:
    """Classes of devices with their drivers, and nodes of no class that is known."""
    classes, nodes = dict(_SOUND) if needs.sound else {}, []
    for port in needs.ports:
        path = Path(port)
        real = path.resolve()
        match = re.fullmatch(r"([a-zA-Z]+)\d+", real.name)
        if match and match[1] in _SERIAL_CLASSES:
            classes[match[1]] = _SERIAL_CLASSES[match[1]]
        elif real.parent == Path("/dev/pts"):
            classes["pts"] = ""
        elif real.exists() and real.parent == Path("/dev"):
            nodes.append(path)
        else:  # a name that udev gives, and the sensor is not plugged in
            classes |= _USB_SERIAL
    return classes, nodes


def _network(config: Config, needs: Needs) -> Iterator[Entry]:
    page = config.page
    if page.host is None and not (needs.hosts or needs.multicast or needs.is_visited):
        yield "PrivateNetwork", "yes"
        yield "RestrictAddressFamilies", "AF_UNIX"
        yield "IPAddressDeny", "any"
        return
    # Interfaces are asked for through netlink.
    yield "RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"
    allowed = _addresses(config, needs)
    if allowed is not None:
        yield "IPAddressDeny", "any"
        yield "IPAddressAllow", " ".join(allowed)
    else:
        yield "# It connects to a name outside of this network, whose address may change: no address is denied", ""


def _addresses(config: Config, needs: Needs) -> list[str] | None:
    """Addresses that it may talk to; None where nobody can know."""
    allowed, lan = ["localhost"], needs.multicast or needs.is_visited
    if config.page.host is not None and config.page.host not in LOOPBACK:
        lan = True
    for host in needs.hosts:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            if host.lower() == "localhost":
                continue
            if not _LAN_NAME.fullmatch(host):
                return None
            lan = True  # and so does the server that knows the name
            continue
        if not address.is_loopback:
            allowed.append(str(address))
    if lan:
        allowed += _LAN
    if needs.multicast or any(host.lower().endswith(".local") for host in needs.hosts):
        allowed.append("multicast")
    return allowed


def _hardened(config: Config) -> Iterator[Entry]:
    page = config.page
    capability = "CAP_NET_BIND_SERVICE" if page.host is not None and 0 < page.port < 1024 else ""
    yield "NoNewPrivileges", "yes"
    yield "CapabilityBoundingSet", capability
    yield "AmbientCapabilities", capability
    for key in (
        "ProtectKernelTunables",
        "ProtectKernelModules",
        "ProtectKernelLogs",
        "ProtectControlGroups",
        "ProtectHostname",
        "RestrictNamespaces",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "LockPersonality",
        "MemoryDenyWriteExecute",
    ):
        yield key, "yes"
    yield "# RemoveIPC=yes would take what is kept in shared memory between a kill and the next start", ""
    yield "ProtectProc", "invisible"
    yield "KeyringMode", "private"
    yield "SystemCallArchitectures", "native"
    yield "SystemCallFilter", "@system-service"
    yield "SystemCallFilter", "~@privileged @resources"
    yield (
        "# ProtectClock=yes would deny to ask whether the time of day is set; to set it takes a capability",
        "",
    )
    yield "SystemCallFilter", "adjtimex clock_adjtime clock_adjtime64"
    yield "SystemCallErrorNumber", "EPERM"


def _notes(path: Path, folders: Sequence[Path]) -> Iterator[str]:
    for folder in folders:
        yield f"{folder} must belong to the user {NAME}; {STATE} and {LOGS} are made by systemd and need nothing"
    if _lies_in(path, _HIDDEN_TEMPORARY):
        yield f"{path} may be gone when the machine starts again: /etc/{NAME} stays"


def _lies_in(path: Path, folders: Sequence[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def _lines(entries: Sequence[Entry]) -> Iterator[str]:
    for key, value in entries:
        yield key if key.startswith("#") else f"{key}={value}"


def _plain(path: PurePath) -> str:
    """A path in a setting that is text."""
    if re.search(r"[\x00-\x1f\x7f]", str(path)):
        raise SignalError(f"{str(path)!r} has a control character in it: give another name")
    return str(path).replace("%", "%%")


def _word(path: PurePath, special: str = "") -> str:
    """A path as one word of a setting; ``special`` means something there beside what does everywhere."""
    text = _plain(path).replace("\\", "\\\\").replace('"', '\\"')
    if special == "$":
        text = text.replace("$", "$$")
    elif special:
        text = text.replace(special, f"\\{special}")
    return f'"{text}"' if re.search(r"[\s\"';\\]", text) else text
