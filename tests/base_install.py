"""A base install as a user makes it: a fresh environment, ``pip install .``, nothing else. ``make test`` runs this in
its environments ``py3.11-base`` and ``py3.13-base``; pytest does not collect it anywhere else.

What is counted: all that stands in the environment, as ``du`` and ``pip list`` count it, with the pip (and setuptools)
that ``venv`` puts there, and tcnstream itself. Only the pytest that runs these tests stands elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

import pytest

PREFIX = Path(sys.prefix)
MOST_BYTES = 150 * 2**20
MOST_DISTRIBUTIONS = 25


def used_bytes(folder: Path) -> int:
    """As ``du`` counts: whole blocks, what links point to not at all."""
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512 for at, _, files in os.walk(folder) for name in files)


def tcnstream(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [PREFIX / "bin" / "tcnstream", *arguments]
    without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=without, capture_output=True, text=True, timeout=300)


def test_it_is_light(capsys: pytest.CaptureFixture[str]) -> None:
    found = sorted((d.metadata["Name"], d.version) for d in distributions(path=[sysconfig.get_path("purelib")]))
    size = used_bytes(PREFIX)
    with capsys.disabled():
        print(f"\nPython {sys.version_info.major}.{sys.version_info.minor}, base install, pip and setuptools counted:")
        print(f"{size / 2**20:.0f} MB in {len(found)} distributions: {', '.join(f'{n} {v}' for n, v in found)}")
    names = {name.casefold() for name, _ in found}
    assert "tcnstream" in names and "pytest" not in names
    assert len(found) <= MOST_DISTRIBUTIONS
    assert size <= MOST_BYTES


def test_the_first_command_of_the_readme_draws_its_picture(tmp_path: Path) -> None:
    told = tcnstream("demo", "ecg", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "picture: ecg.svg" in told.stdout and "on the native engine" in told.stdout
    picture = (tmp_path / "ecg.svg").read_text(encoding="utf-8")
    assert picture.count("</svg>") == 1 and len(picture) > 50_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "ecg", "signal.csv", "--format", "wfdb", "--out", "waves.atr"), "pip install tcnstream[files]"),
        (("demo", "ecg", "--out", "ecg.png"), "pip install tcnstream[plot]"),
        (("run", "ecg", "signal.csv", "--engine", "interpreter"), "pip install ai-edge-litert"),
    ],
)
def test_a_missing_extra_is_one_sentence(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    (tmp_path / "signal.csv").write_text("# rate_hz = 250\n# units = mV\n" + "0.5\n" * 100)
    told = tcnstream(*arguments, cwd=tmp_path)
    assert told.returncode == 2 and told.stdout == ""
    assert says in told.stderr and "Traceback" not in told.stderr
