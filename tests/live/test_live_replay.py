"""Recordings through the daemon: what a Pipeline says of them, once and in order, whoever kills it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import AUDIO, ECG, TESTS
from helpers.served import Served

from tcnstream import Pipeline

TWO = f"""
[stream.bed]
source = "file:{ECG}"
model = "ecg"
sinks = ["log"]
[stream.room]
source = "file:{AUDIO}"
model = "speech"
sinks = ["log"]
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
"""
KEYS = {"type", "stream", "epoch", "seq", "start_s", "end_s", "label", "probability", "start_utc"}


def test_once_writes_what_a_pipeline_says(serve: Callable[..., Served], ecg: np.ndarray) -> None:
    served = serve(TWO, "--once")
    assert served.process.wait(60) == 0, served.log.read_text()
    events = served.events()
    assert all(set(event) >= KEYS for event in events)
    pipeline = Pipeline("ecg", rate_hz=360, units="mV")
    wanted = pipeline.push(ecg) + pipeline.flush()
    bed = [event for event in events if event["stream"] == "bed"]
    assert [event["seq"] for event in bed] == list(range(len(bed)))
    segments = [event for event in bed if event["type"] == "segment"]
    assert [(e["start_s"], e["end_s"], e["label"], e["probability"]) for e in segments] == [
        (round(s.start_s, 4), round(s.end_s, 4), s.label, round(s.probability, 4)) for s in wanted
    ]
    assert [e["frame"] for e in segments] == [round(s.start_s * 360) for s in wanted]
    assert {e["label"] for e in events if e["stream"] == "room"} == {"speech", "music"}
    written = (served.folder / "segments.jsonl").read_bytes()
    again = serve(None, "--once")
    assert again.process.wait(60) == 0
    assert (served.folder / "segments.jsonl").read_bytes() == written


def test_a_source_without_an_end_is_no_replay(serve: Callable[..., Served]) -> None:
    served = serve('[stream.a]\nsource = "file:no.npy"\nmodel = "ecg"\n', "--once")
    assert served.process.wait(30) == 2 and "names no file" in served.log.read_text()


@pytest.mark.parametrize(("how", "kills", "seconds"), [("random", 10, 20), ("steps", 30, 4)])
def test_a_killed_replay_gives_the_same_bytes(
    tmp_path: Path, ecg: np.ndarray, how: str, kills: int, seconds: int
) -> None:
    """Two streams into one file that turns over, killed at random moments and at every step of writing and commits."""
    np.save(tmp_path / "ecg.npy", ecg[: seconds * 360])
    source = f"file:{tmp_path / 'ecg.npy'}?rate=360&units=mV&speed=40"
    config = tmp_path / "live.toml"
    config.write_text(
        f"""
[stream.one]
source = "{source}"
model = "ecg"
sinks = ["log"]
[stream.two]
source = "{source}"
model = "ecg"
gain = 0.8
sinks = ["log"]
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
rotate = {{ size = "{seconds} kB", keep = 2 }}
[checkpoint]
replayed = "80 ms"
"""
    )
    answer = subprocess.run(
        [sys.executable, "-m", "helpers.killing", str(config), str(tmp_path / "segments.jsonl"), how, str(kills)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        timeout=150,
    )
    assert answer.returncode == 0, answer.stderr
    facts = json.loads(answer.stdout)
    assert facts["differed"] == 0 and facts["killed"] == kills and facts["bytes"] > 2000
