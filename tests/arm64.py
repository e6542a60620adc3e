"""The project on 64-bit ARM without such a machine: ``make arm64``.

A root folder of Debian for arm64, with the wheels that a Raspberry Pi is given and the core cross-compiled, whose
programs QEMU runs, a process at a time, on this machine's kernel. There

* the core keeps the contract on every model family,
* ``tcnstream demo ecg``, ``tcnstream export`` and ``tcnstream serve --once`` give the bytes that they give here.

What does not change between runs is kept in ``.venvs/arm64``. Needs Debian, gcc-aarch64-linux-gnu,
libc6-dev-arm64-cross and Linux 6.7, which lets a namespace have a QEMU of its own; no root, and nothing installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import debian
from matrix import REQUIRE_ALL, ROOT, VENVS, call, dependencies, run

FOLDER = VENVS / "arm64"
COMPILER = "aarch64-linux-gnu-gcc"
PACKAGES = ("libpython3-dev", "libpython3-stdlib", "libsqlite3-0", "libstdc++6", "python3-minimal")
EMULATOR = "qemu-user-static"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
TESTS = ("tests/engines/test_models.py",)
CHOSEN = "streams_exactly and native and not beyond"
ECG_SEGMENTS = 272
_LIVE = """
state = "state"
[stream.bed]
source = "file:ecg.csv"
model = "ecg"
sinks = ["bed"]
[stream.room]
source = "file:audio.ogg"
model = "speech"
sinks = ["room"]
[sink.bed]
kind = "jsonl"
path = "bed.jsonl"
[sink.room]
kind = "jsonl"
path = "room.jsonl"
"""
COMMANDS = (
    ("demo", "ecg", "--json", "--out", "ecg.svg"),
    ("export", "ecg", "ecg.h", "--to", "c-header"),
    ("serve", "--once", "live.toml"),
)
SAME = ("ecg.svg", "ecg.h", "bed.jsonl", "room.jsonl")


def main() -> int:
    if reason := missing():
        if REQUIRE_ALL or "--or-skip" not in sys.argv:
            sys.exit(f"FAILED arm64: {reason}")
        print(f"SKIPPED arm64: {reason}")
        return 0
    root = prepare()
    wheel = build_wheel(root)
    for stale in ("tcnstream", "firmware_bridge"):
        shutil.rmtree(root.site / stale, ignore_errors=True)
    root.pip(["linux_aarch64"], "--no-deps", wheel)
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "-k", CHOSEN, *TESTS]
    run("the contract on arm64", root.entered(ROOT, ROOT, "/project", *pytest))
    same_as_here(root)
    return 0


def missing() -> str:
    """Why it cannot run here, "" if it can."""
    return debian.missing() or ("" if shutil.which(COMPILER) else f"there is no {COMPILER} here")


def prepare() -> debian.Root:
    """The root, QEMU and the wheels of others; made anew when what they are made of has changed."""
    needed = [*dependencies(()), "pytest>=8.2", "hypothesis>=6.100"]
    made_of = hashlib.sha256(repr((PACKAGES, needed, PLATFORMS, debian.release())).encode()).hexdigest()
    stamp, emulator = FOLDER / "installed", FOLDER / "qemu/usr/bin/qemu-aarch64-static"
    if not stamp.exists() or stamp.read_text() != made_of:
        print("\n=== a root of Debian for arm64", flush=True)
        shutil.rmtree(FOLDER, ignore_errors=True)
        root = debian.make_root(FOLDER, "arm64", PACKAGES)
        for package in debian.fetch(FOLDER / "apt-here", debian.this_architecture(), [EMULATOR]):
            if package.name.startswith(EMULATOR):
                call(["dpkg-deb", "--extract", package, FOLDER / "qemu"])
        # Bytecode hangs on the version alone, and QEMU would take its time to make it.
        library = FOLDER / "root/usr/lib" / root.python
        subprocess.run([sys.executable, "-m", "compileall", "-q", library], stdout=subprocess.DEVNULL)
        root.pip(PLATFORMS, *needed)
        stamp.write_text(made_of)
    return debian.root_at(FOLDER, "arm64", emulator=emulator)


def build_wheel(root: debian.Root) -> Path:
    """Cross-compiled with the headers of the root's Python."""
    folder, include = FOLDER / "wheel", FOLDER / "root/usr/include"
    for stale in (folder, ROOT / "build"):
        shutil.rmtree(stale, ignore_errors=True)
    told = {
        "CC": COMPILER,
        "LDSHARED": f"{COMPILER} -shared",
        "CFLAGS": f"-I{include / root.python} -I{include}",
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
    }
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}", "."]
    run("wheel for arm64", ["env", *(f"{name}={value}" for name, value in told.items()), *build])
    (wheel,) = folder.glob("*-abi3-linux_aarch64.whl")
    return wheel


def same_as_here(root: debian.Root) -> None:
    """The commands, there and here, and what they wrote."""
    print("\n=== the same bytes on arm64 and here", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        there, here = Path(temporary) / "there", Path(temporary) / "here"
        for folder in (there, here):
            folder.mkdir()
            (folder / "live.toml").write_text(_LIVE)
            for name in ("ecg.csv", "audio.ogg"):
                shutil.copy(ROOT / "tcnstream/data" / name, folder)
        for command in COMMANDS:
            module = ["-m", "tcnstream", *command]
            answers = [
                subprocess.run(root.entered(there, ROOT, "/work", *module), stdout=subprocess.PIPE),
                subprocess.run([sys.executable, "-P", *module], stdout=subprocess.PIPE, cwd=here),
            ]
            if any(answer.returncode for answer in answers):
                sys.exit(f"FAILED tcnstream {' '.join(command)}: exit codes {[a.returncode for a in answers]}")
            if command[0] == "demo":
                found = [json.loads(answer.stdout)["segments"] for answer in answers]
                if len(found[0]) != ECG_SEGMENTS or found[0] != found[1]:
                    sys.exit(f"FAILED tcnstream demo ecg: {len(found[0])} segments there, {len(found[1])} here")
                print(f"demo ecg: {len(found[0])} segments")
        for name in SAME:
            content = (there / name).read_bytes()
            if content != (here / name).read_bytes():
                sys.exit(f"FAILED {name}: arm64 wrote something else")
            print(f"{name}: {len(content)} bytes, the same")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
