"""What works without the extras, and what says which extra it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ECG
from helpers.recordings import write_edf

import tcnstream

EXTRAS = (
    "ai_edge_litert",
    "tflite_runtime",
    "matplotlib",
    "wfdb",
    "pyedflib",
    "pandas",
    "scipy",
    "soxr",
    "keras",
    "tensorflow",
    "onnx",
)
PROGRAM = f"""
import sys
for name in {EXTRAS}:
    sys.modules[name] = None
import runpy
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""


def base(folder: Path, *arguments: object, module: str = "tcnstream") -> tuple[int, str, str]:
    """The command line where no extra is installed; exit code, standard output and standard error."""
    environment = os.environ | {"PYTHONPATH": str(Path(tcnstream.__file__).parents[1])}
    command = [sys.executable, "-c", PROGRAM, module, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["ecg", "audio"])
def test_the_first_command_draws_its_picture(tmp_path: Path, name: str) -> None:
    code, out, _ = base(tmp_path, "demo", name)
    assert code == 0 and f"picture: {name}.svg" in out
    picture = ElementTree.parse(tmp_path / f"{name}.svg").getroot()
    svg = "{http://www.w3.org/2000/svg}"
    said = {text.text for text in picture.iter(f"{svg}text")}
    assert {"P", "QRS", "T", "mV", "60 s"} <= said if name == "ecg" else {"speech", "music", "36 s"} & said
    strips = picture.findall(f"{svg}g")
    assert len(strips) == (6 if name == "ecg" else 4)
    for strip in strips[:3]:
        lines = [path for path in strip.iter(f"{svg}path") if path.get("fill") == "none"]
        assert len(lines) >= 2 and all(line.get("d", "").startswith("M") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("demo", "ecg", "--out", "x.png"), "a picture as .png is asked for, which takes the package matplotlib"),
        (("bench", "ecg", "--plot", "x.svg"), "a diagram is asked for, which takes the package matplotlib"),
        (("run", "ecg", ECG, "-f", "wfdb", "-o", "x.tcn"), "which takes the package wfdb"),
    ],
)
def test_a_missing_extra_is_a_sentence_with_the_pip_line(
    tmp_path: Path, arguments: tuple[object, ...], text: str
) -> None:
    code, _, err = base(tmp_path, *arguments)
    extra = "plot" if "matplotlib" in text else "files"
    assert code == 2 and text in err and err.rstrip().endswith(f"pip install tcnstream[{extra}]")


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "ecg", "--target", "host", "--input", ECG, "--html", "x.html"),
        ("report", "result.json", "--html", "x.html", "--junit", "x.xml"),
    ],
)
def test_a_page_s_extra_is_asked_for_before_any_board(tmp_path: Path, arguments: tuple[object, ...]) -> None:
    (tmp_path / "result.json").write_text("{}")
    code, _, err = base(tmp_path, *arguments, module="firmware_bridge")
    assert code == 2 and "a page with plots is asked for, which takes the package matplotlib" in err
    assert err.rstrip().endswith("pip install tcnstream[plot]") and len(err.splitlines()) == 1


def test_recordings_are_converted_and_segmented(tmp_path: Path) -> None:
    code, out, _ = base(tmp_path, "run", "ecg", ECG, "--quiet")
    assert code == 0 and len(out.splitlines()) > 200


def test_records_of_physionet_and_edf_are_read(tmp_path: Path) -> None:
    x = np.loadtxt(ECG, comments="#", skiprows=4)[: 10 * 360]
    steps = np.round(x * 200).astype("<i2")
    write_edf(tmp_path / "x.edf", [steps], rate_hz=360, units="mV", per_unit=200)
    (tmp_path / "rec.hea").write_text("rec 1 360 3600\nrec.dat 16 200/mV\n")
    (tmp_path / "rec.dat").write_bytes(steps.tobytes())
    answers = [base(tmp_path, "run", "ecg", name, "--quiet") for name in ("x.edf", "rec.hea", "rec")]
    assert len(answers[0][1].splitlines()) > 20 and answers[0][0] == 0 and answers[0] == answers[1] == answers[2]
