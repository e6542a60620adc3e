"""``tcnstream demo live``: the daemon and its page, from one command."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

RATES_HZ = {"heart": 360, "room": 16000}

for _package in ("uvicorn", "starlette", "websockets"):
    pytest.importorskip(_package, reason="extra live")


def test_demo_live_says_where_the_page_is_and_ends_cleanly(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(tmp_path))
            try:
                taken.bind(("127.0.0.1", 8080))
                taken.listen()
            except OSError:
                pass  # somebody else has it, which is as good
            began_s = time.monotonic()
            demo = subprocess.Popen(
                [sys.executable, "-m", "tcnstream", "demo", "live"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert demo.stdout is not None
        line = demo.stdout.readline()
        found = re.fullmatch(r"page: (http://127\.0\.0\.1:(\d+)/)\n", line)
        assert found is not None and found[2] != "8080", line
        assert b"<title>tcnstream</title>" in urllib.request.urlopen(found[1], timeout=60).read()
        heard_s: dict[str, float] = {}
        while not heard_s or min(heard_s.values()) < 2.5:
            assert time.monotonic() - began_s < 180
            time.sleep(0.2)
            told = json.load(urllib.request.urlopen(found[1] + "health", timeout=60))["streams"]
            heard_s = {name: told[name]["next_frame"] / rate_hz for name, rate_hz in RATES_HZ.items()}
            assert max(heard_s.values()) < time.monotonic() - began_s  # at the recordings' own pace
        assert set(told) == set(RATES_HZ)
        demo.send_signal(signal.SIGINT)
        _, complaints = demo.communicate(timeout=90)
    assert demo.returncode == 0 and "Traceback" not in complaints
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_unit_is_no_matter_of_options_that_the_demo_lacks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tcnstream", "demo", "ecg", "--model", "speech", "--out", tmp_path / "x.svg"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "--units" not in done.stderr
    assert (
        "plays a recording in mV and speech.i8.tflite takes full scale: choose another demo or --model" in done.stderr
    )


def test_demo_live_has_no_options() -> None:
    command = [sys.executable, "-m", "tcnstream", "demo", "live", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2 and "demo live shows its streams in a browser and has no options" in answer.stderr
