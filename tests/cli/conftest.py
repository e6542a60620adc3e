"""The command line in this process, and a small model with a card for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.paths import MODELS

from tcnstream.cli import main

CARD = """
name = "test"
file = "nse_lg.i8.tflite"
rate_hz = 250
units = "mV"
labels = ["none", "p", "qrs", "t", "u"]
label_delay_frames = 5
look_ahead_ms = 148
[[preprocessing]]
kind = "gain"
value = 1.5
[segments]
min_duration_s = { qrs = 0.02 }
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tcnstream", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        output = capfd.readouterr()
        assert "Traceback" not in output.err
        return int(stopped.value.code or 0), output.out, output.err

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model with a card beside it."""
    shutil.copy(MODELS / "nse_lg.i8.tflite", tmp_path)
    (tmp_path / "nse_lg.i8.toml").write_text(CARD)
    return tmp_path / "nse_lg.i8.tflite"
