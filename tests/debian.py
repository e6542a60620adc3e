"""Root folders of Debian, for another processor or with another Python, that change nothing of this machine.

Packages are those of this machine's own sources, fetched and checked by apt with folders of its own, and unpacked; no
script of theirs is run. Programs run there in a namespace of their own, in which the kernel knows of QEMU if need be.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matrix import call

TOOLS = ("apt-get", "dpkg-deb", "unshare", "chroot")
# What a program needs to be at home; base-files has the links of the root folder, and comes first.
_BASE = ("base-files", "coreutils", "dash")
# An ELF file for AArch64, by its first bytes; F: the kernel keeps QEMU open, so that it is found in any root.
_REGISTER = (
    r":aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:{qemu}:F"
)
_ENTER = """
set -e
root=$1; shift
if [ -n "$REGISTER" ]; then
  mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
  printf %s "$REGISTER" > /proc/sys/fs/binfmt_misc/register
fi
for each in proc dev; do mount --rbind /$each "$root/$each"; done
mount --bind "$SITE" "$root/site"
mount --bind "$PROJECT" "$root/project"
mount --bind "$WORK" "$root/work"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/work PYTHONPATH=/site PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 \
  COLUMNS=160 TCNSTREAM_NO_SKIPS=1 chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$@"
"""


@dataclass(frozen=True)
class Root:
    """A root folder and its Python, such as ``python3.11``, with the folder of what is installed for it.

    ``emulator`` runs its programs, where its processor is another one.
    """

    folder: Path
    architecture: str
    python: str
    emulator: Path | None = None

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def entered(self, work: Path, project: Path, folder: str, *arguments: str) -> list[str | Path]:
        """The command that runs Python with these arguments in a folder of the root: in ``/work`` or ``/project``."""
        register = _REGISTER.format(qemu=self.emulator) if self.emulator else ""
        told = {"REGISTER": register, "SITE": self.site, "PROJECT": project, "WORK": work}
        enter = ["unshare", "-Urm", "sh", "-c", _ENTER, "sh", self.folder / "root"]
        return ["env", *_told(told), *enter, folder, f"/usr/bin/{self.python}", "-P", *arguments]

    def pip(self, platforms: Sequence[str], *requirements: str | Path) -> None:
        """Into its site, as if installed there; there is nothing to compile."""
        version = self.python.removeprefix("python")
        kinds = ["--python-version", version, "--only-binary=:all:", "--upgrade", "--no-warn-conflicts"]
        quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
        named = [f"--platform={name}" for name in platforms]
        target = ["--target", str(self.site)]
        call([sys.executable, "-m", "pip", "install", *quiet, *kinds, *named, *target, *map(str, requirements)])


def missing() -> str:
    """Why no root can be entered here, "" if one can."""
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"there is no {', '.join(absent)} here"
    tried = subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"], capture_output=True
    )
    return "" if tried.returncode == 0 else "the kernel has no binfmt_misc for a user namespace (Linux 6.7 has)"


def make_root(folder: Path, architecture: str, packages: Sequence[str], python: str = "", suite: str = "") -> Root:
    """Packages of this machine's Debian, or of another ``suite``, with all that they need; ``python`` its interpreter,
    else the one that is its python3.
    """
    root = folder / "root"
    root.mkdir(parents=True)
    fetched = fetch(folder / "apt", architecture, [*_BASE, *packages], suite)
    for package in sorted(fetched, key=lambda path: (not path.name.startswith("base-files_"), path.name)):
        call(["dpkg-deb", "--extract", package, root])
    for inner in ("proc", "dev", "site", "project", "work", "tmp"):
        (root / inner).mkdir(exist_ok=True)
    (folder / "site").mkdir()
    return root_at(folder, architecture, python)


def root_at(folder: Path, architecture: str, python: str = "", emulator: Path | None = None) -> Root:
    """A root that was made."""
    return Root(folder, architecture, python or os.readlink(folder / "root/usr/bin/python3"), emulator)


def fetch(folder: Path, architecture: str, packages: Sequence[str], suite: str = "") -> list[Path]:
    """The files of packages and of all that they need."""
    for inner in ("state/lists/partial", "cache/archives/partial", "sources"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()  # nothing is installed
    options: dict[str, str | Path] = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
        "Dir::Cache": folder / "cache",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
    }
    if suite:
        (folder / "sources/suite.list").write_text(f"deb {_archive()} {suite} main\n")
        options |= {"Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": folder / "sources"}
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    call([*apt, "update"])
    call([*apt, "install", "--yes", "--download-only", *packages])
    return sorted((folder / "cache/archives").glob("*.deb"))


def this_architecture() -> str:
    """As Debian names it."""
    return _said("dpkg", "--print-architecture")


def release() -> str:
    """Which Debian this is."""
    return Path("/etc/os-release").read_text(encoding="utf-8")


def _archive() -> str:
    """Where this machine has its Debian from."""
    uses = _said("apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)").splitlines()
    codename = next(line.partition("=")[2] for line in release().splitlines() if line.startswith("VERSION_CODENAME="))
    return next(line.split()[1] for line in uses if line.split()[0] == codename)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _told(values: Mapping[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]
