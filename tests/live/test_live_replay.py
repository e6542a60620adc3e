"""Recordings through the daemon: what a Pipeline says of them, once and in order, whoever kills it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import AUDIO, ECG, TESTS
from helpers.served import Served

from tcnstream import Pipeline
from tcnstream.live.config import read_config
from tcnstream.live.sources import ends, open_source
from tcnstream.live.sources.base import Replay, Wanted

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
    assert served.process.wait(180) == 0, served.log.read_text()
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
    assert again.process.wait(180) == 0
    assert (served.folder / "segments.jsonl").read_bytes() == written
    said = again.log.read_text()
    assert said.count(f"remove {served.folder / 'state'} to begin anew") == 2 and "stream.changed" not in said
    changed = serve(TWO.replace('"ecg"', '"ecg"\ngain = 0.9'), "--once")
    assert changed.process.wait(180) == 0
    (line,) = [line for line in changed.log.read_text().splitlines() if "stream.changed" in line]
    assert "stream=bed" in line and "begins anew, behind what it gave before" in line
    assert {event["epoch"] for event in served.events() if event["stream"] == "bed"} == {0, 1}


@pytest.mark.slow
def test_standard_input_ends_whatever_is_in_it(ecg: np.ndarray, tmp_path: Path) -> None:
    """A pipe that ends in the middle, numbers that are none, lines that are none: each has its gap, and an end."""
    whole = ecg.astype("<f4")
    holed = whole.copy()
    holed[5000], holed[8000:8100] = np.nan, np.inf
    lines = [b"%.4f" % value for value in ecg]
    lines[4000] = b"abc"
    cases: list[tuple[str, bytes, bytes, list[int]]] = [
        ("f32le", whole.tobytes(), b"", []),
        ("f32le", whole.tobytes() + b"\1", b"the bytes end 1 into a frame of float32", []),
        ("f32le", holed.tobytes(), b"", [1, 100]),
        ("f32le", b"", b"standard input holds no samples", []),
        ("text", b"mV\r\n", b"standard input holds no samples", []),
        ("text", b"\r\n".join([b"mV", *lines]), b"", [1]),
    ]
    for number, (form, content, trouble, gaps) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "live.toml").write_text(
            f'[stream.a]\nsource = "-?rate=360&units=mV&format={form}"\nmodel = "ecg"\nsinks = ["log"]\n'
            '[sink.log]\nkind = "jsonl"\npath = "o.jsonl"\n'
        )
        command = [sys.executable, "-m", "tcnstream", "serve", "--once", str(folder / "live.toml")]
        answer = subprocess.run(command, input=content, capture_output=True, timeout=180)
        assert answer.returncode == (2 if trouble else 0), answer.stderr.decode()
        assert trouble in answer.stderr
        written = (folder / "o.jsonl").read_bytes().splitlines() if (folder / "o.jsonl").exists() else []
        events = [json.loads(line) for line in written]
        assert [event["frames"] for event in events if event["type"] == "gap"] == gaps
        beats = [event for event in events if event["type"] == "beat"]
        assert len(beats) > 80 or len(content) < 10


def test_what_is_assumed_of_a_source_is_in_the_log(serve: Callable[..., Served], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(100, np.float32))
    text = f'[log]\nformat = "json"\n[stream.a]\nsource = "file:{tmp_path / "x.npy"}?rate=250"\nmodel = "ecg"\n'
    served = serve(text, "--once")
    assert served.process.wait(180) == 0
    said = [json.loads(line) for line in served.log.read_text().splitlines()]
    (assumed,) = [entry for entry in said if entry["event"] == "stream.assumed"]
    assert assumed["stream"] == "a" and "mV" in assumed["what"]


def test_a_recording_without_a_frame_fails_alone(serve: Callable[..., Served], ecg: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros(0, np.float32))
    np.save(tmp_path / "some.npy", ecg[:3600])
    stream = '[stream.{0}]\nsource = "file:{0}.npy?rate=360&units=mV"\nmodel = "ecg"\nsinks = ["log"]\n'
    sink = '[sink.log]\nkind = "jsonl"\npath = "segments.jsonl"\n'
    served = serve(stream.format("none") + stream.format("some") + sink, "--once")
    assert served.process.wait(180) == 2
    assert "none.npy holds no samples: give a recording with at least one frame" in served.log.read_text()
    assert {e["stream"] for e in served.events()} == {"some"}


@pytest.mark.parametrize("more", ["", "every = '60 s'", "full = 'drop-oldest'\nqueue = 2"])
def test_a_sink_that_lacks_events_is_no_good_end(
    serve: Callable[..., Served], ecg: np.ndarray, tmp_path: Path, more: str
) -> None:
    np.save(tmp_path / "some.npy", ecg[:3600])
    stream = '[stream.a]\nsource = "file:some.npy?rate=360&units=mV"\nmodel = "ecg"\nsinks = ["log", "all"]\n'
    sinks = f'[sink.log]\nkind = "jsonl"\npath = "/dev/full"\n{more}\n[sink.all]\nkind = "jsonl"\npath = "all.jsonl"\n'
    served = serve(stream + sinks, "--once")
    assert served.process.wait(180) == 2
    count = len(served.events("all.jsonl"))
    assert count > 40
    assert f"sink.log lacks {count} event(s): No space left on device" in served.log.read_text().splitlines()[-1]


def test_a_source_without_an_end_is_no_replay(serve: Callable[..., Served]) -> None:
    served = serve('[stream.a]\nsource = "file:no.npy"\nmodel = "ecg"\n', "--once")
    assert served.process.wait(180) == 2 and "names no file" in served.log.read_text()


@pytest.mark.slow
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
        timeout=500,
    )
    assert answer.returncode == 0, answer.stderr
    facts = json.loads(answer.stdout)
    assert facts["differed"] == 0 and facts["killed"] == kills and facts["bytes"] > 2000


def test_what_a_recording_lacks_is_a_gap(serve: Callable[..., Served], ecg: np.ndarray, tmp_path: Path) -> None:
    """NaN in a file: ten frames are filled in, a second begins anew behind it."""
    holed = ecg[:7200].copy()
    holed[1000:1010] = np.nan
    holed[3000:3360] = np.nan
    path = tmp_path / "ecg.npy"
    np.save(path, holed)
    served = serve(
        f"""
[stream.bed]
source = "file:{path}?rate=360&units=mV"
model = "ecg"
gap = {{ policy = "interpolate", limit = "40 ms" }}
sinks = ["log"]
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
""",
        "--once",
    )
    assert served.process.wait(180) == 0, served.log.read_text()
    events = served.events()
    gaps = [e for e in events if e["type"] == "gap"]
    assert [(g["first_frame"], g["frames"], g["tolerance_frames"], g["done"]) for g in gaps] == [
        (1000, 10, 0, "interpolate"),
        (3000, 360, 0, "reset"),
    ]
    filled = [e for e in events if "filled_s" in e]
    assert filled and all(e["start_s"] <= 1010 / 360 and e["end_s"] >= 1000 / 360 for e in filled)
    assert sum(e["filled_s"] for e in filled) <= 10 / 360 + 1e-3
    first = Pipeline("ecg", rate_hz=360, units="mV")
    bridged = holed[:3000].copy()
    last, following = bridged[999], bridged[1010]
    bridged[1000:1010] = last + (following.astype(np.float64) - last) * np.arange(1, 11) / 11
    wanted = [(0, s.start_s, s.label) for s in first.push(bridged) + first.flush()]
    second = Pipeline("ecg", rate_hz=360, units="mV", start_s=3360 / 360)
    wanted += [(1, s.start_s, s.label) for s in second.push(holed[3360:]) + second.flush()]
    found = [(e["epoch"], e["start_s"], e["label"]) for e in events if e["type"] == "segment"]
    assert found == [(epoch, round(start_s, 4), label) for epoch, start_s, label in wanted]


def test_a_repeated_recording_is_one_signal_that_goes_on(ecg: np.ndarray, tmp_path: Path) -> None:
    part = ecg[:1000]
    np.save(tmp_path / "part.npy", part[:, None])
    text = '[stream.bed]\nmodel = "ecg"\nsource = "file:part.npy?rate=360&units=mV&repeat=true"\n'
    (tmp_path / "live.toml").write_text(text)
    source = read_config(tmp_path / "live.toml").streams["bed"].source
    replay = open_source(source, Wanted(1, 250.0))
    assert isinstance(replay, Replay) and not ends(source)
    for begin in (0, 700, 1000, 123_456):
        blocks = list(islice(replay.pieces(begin, 64), 60))
        assert all(isinstance(block, np.ndarray) for block in blocks)
        got = np.concatenate(blocks)[:, 0]  # type: ignore[arg-type]
        assert np.array_equal(got, np.resize(np.roll(part, -(begin % 1000)), len(got)))
        assert len(blocks[0]) == 64 - begin % 64 and {len(block) for block in blocks[1:]} == {64}  # type: ignore[arg-type]
