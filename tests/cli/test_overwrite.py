"""What is read is never written over, and what could not be written whole has no name."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ECG

import tcnstream

Call = Callable[..., tuple[int, str, str]]
REFUSED = "is read here and would be written over: name another file"


def process(folder: Path, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(tcnstream.__file__).parents[1])}
    command = [sys.executable, "-P", "-m", "tcnstream", *map(str, arguments)]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, cwd=folder, env=environment, capture_output=True, text=True, **options
    )


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """A record whose header names other files, one of segments, a recording, a model and its card."""
    for name in ("rec", "part"):
        (tmp_path / f"{name}.hea").write_text(f"{name} 2 360 8\n# a comment\n{name}.dat 16 200\nother.dat 16 200\n")
        (tmp_path / f"{name}.dat").write_bytes(bytes(16))
    (tmp_path / "other.dat").write_bytes(bytes(16))
    (tmp_path / "many.hea").write_text("many/2 2 360 16\npart 8\n~ 8\n")
    (tmp_path / "x.csv").write_bytes(ECG.read_bytes())
    shutil.move(tmp_path / "nse_lg.i8.toml", tmp_path / "my.toml")
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "run my.toml rec --out rec.dat",
        "run my.toml rec --out rec.hea",
        "run my.toml rec --out other.dat",
        "run my.toml rec.dat --out other.dat",
        "run my.toml many --out part.hea",
        "run my.toml many.hea --out part.dat",
        "run my.toml x.csv --out nse_lg.i8.tflite",
        "run nse_lg.i8.tflite x.csv --out my.toml",
        "run nse_lg.i8.tflite x.csv --out nse_lg.i8.tflite",
        "export my.toml nse_lg.i8.tflite",
        "export my.toml my.toml --to plan",
        "demo ecg --model my.toml --out nse_lg.i8.tflite",
    ],
)
def test_nothing_that_is_read_is_written_over(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, _, err = call(*line.split())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert code == 2 and REFUSED in err


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/stdin is the file on Linux")
def test_a_file_that_standard_input_comes_from_is_kept(folder: Path) -> None:
    x = np.loadtxt(ECG, comments="#", skiprows=4).astype("<f4")
    (folder / "x.f32").write_bytes(x.tobytes())
    with (folder / "x.f32").open("rb") as stdin:
        done = process(folder, "run", "my.toml", "-", "--rate", 360, "--out", "x.f32", stdin=stdin)
    assert done.returncode == 2 and REFUSED in done.stderr
    assert (folder / "x.f32").read_bytes() == x.tobytes()


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    "line",
    [
        "run my.toml x.csv --format raw --out y.npy",
        "export my.toml y.plan --to plan",
        "export my.toml y.h --to c-header",
        "export my.toml y.tflite",
        "demo ecg --model my.toml --out y.svg",
    ],
)
def test_a_full_disk_leaves_no_half_a_file(folder: Path, line: str, older: bool) -> None:
    """A limit on the size of files stands for the disk."""
    output = folder / next(word for word in line.split() if word.startswith("y."))
    if older:
        output.write_text("the answer of yesterday")
    before = {path.name for path in folder.iterdir()}
    limit = (8192, 8192)
    done = process(folder, *line.split(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert done.returncode == 2 and f"{output.name}: File too large" in done.stderr, done.stderr
    assert {path.name for path in folder.iterdir()} == before
    assert not older or output.read_text() == "the answer of yesterday"


def test_a_new_file_has_the_rights_of_the_older_one(folder: Path, call: Call) -> None:
    (folder / "y.plan").write_bytes(b"")
    (folder / "y.plan").chmod(0o640)
    (folder / "link.plan").symlink_to("y.plan")
    assert call("export", folder / "my.toml", folder / "link.plan", "--to", "plan")[0] == 0
    assert (folder / "link.plan").is_symlink() and (folder / "y.plan").stat().st_mode & 0o777 == 0o640
    assert call("export", folder / "my.toml", "/dev/null", "--to", "plan")[0] == 0
    assert Path("/dev/null").is_char_device()
