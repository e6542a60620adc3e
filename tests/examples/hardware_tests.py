"""A hardware test: the board must compute what the host computes, frame by frame, state by state.

    pytest hardware_tests.py --hil-target serial:/dev/ttyACM0     # your board
    pytest hardware_tests.py --hil-target qemu-m4                 # a Cortex-M4F in emulation
    pytest hardware_tests.py --hil-target host                    # the same firmware as a process of this machine

Without --hil-target it is skipped; with --hil-required a missing board is a failure. `hil_check` and `board` are
fixtures of firmware_bridge, which pytest finds by itself once tcnstream is installed.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np


def test_the_board_computes_what_the_host_does(hil_check: Any) -> None:
    recording = files("tcnstream") / "data" / "ecg.csv"  # the model's card says how it is prepared
    report = hil_check("ecg", recording)
    assert report.passed, report.verdict


def test_noise_beyond_the_scale_too(hil_check: Any) -> None:
    noise = np.random.default_rng(0).integers(-128, 128, (500, 1), np.int8)  # frames in the model's own type
    report = hil_check("ecg", noise)
    assert report.passed, report.verdict
