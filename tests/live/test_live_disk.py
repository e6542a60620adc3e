"""A disk that is really full: what is written stops and shouts, inference goes on, and so does the rest later."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers.sensor import Sensor
from helpers.served import Served

from tcnstream.live.blocks import Samples
from tcnstream.live.events import Event
from tcnstream.live.journal import Checkpoint, Journal
from tcnstream.live.sinks.base import SampleBlock
from tcnstream.live.sinks.jsonl import RotatedFile
from tcnstream.live.sinks.wfdb import RecordWriter, WfdbConfig

CONFIG = """
state = "{small}/state"
[page]
listen = "127.0.0.1:0"
[stream.bed]
source = "serial:{port}?rate=1080&units=mV"
model = "ecg"
sinks = ["log", "record", "clips", "edf"]
[sink.log]
kind = "jsonl"
path = "{small}/segments.jsonl"
[sink.record]
kind = "wfdb"
path = "{small}/records"
[sink.clips]
kind = "clips"
path = "{small}/clips"
labels = ["qrs"]
before = "200 ms"
after = "200 ms"
[sink.edf]
kind = "clips"
path = "{small}/edf"
labels = ["qrs"]
before = "200 ms"
after = "200 ms"
format = "edf"
[checkpoint]
live = "300 ms"
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def health(served: Served) -> tuple[int, dict[str, Any]]:
    port = int(served.log.read_text().partition("web.started port=")[2].split()[0])
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(b"\0")


@pytest.mark.slow
def test_a_full_disk_stops_what_is_written_and_nothing_else(
    serve: Callable[..., Served], ecg: np.ndarray, tmp_path: Path, small: Path
) -> None:
    wfdb = pytest.importorskip("wfdb")
    pyedflib = pytest.importorskip("pyedflib")
    lines = [f"{value:.3f}\n".encode() for value in ecg]
    hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hears.bind(str(tmp_path / "notify"))
    hears.settimeout(90)
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"}
    sensor = Sensor(tmp_path / "port", 1080.0, lambda n: lines[n % len(lines)], burst=54)
    try:
        served = serve(CONFIG.format(small=small, port=tmp_path / "port"), env=env)
        served.wait_for(lambda: len(served.events("small/segments.jsonl")) > 20)
        assert health(served)[0] == 200
        fill(small / "filler")
        served.wait_for(lambda: {"journal", "sink.log", "sink.record", "sink.clips"} <= set(health(served)[1]["wrong"]))
        code, before = health(served)
        assert code == 503 and "journal.stopped" in served.log.read_text()
        assert "No space left" in before["sinks"]["log"]["trouble"]

        def goes_on() -> bool:
            now, then = health(served)[1]["streams"]["bed"], before["streams"]["bed"]
            return bool(now["next_frame"] > then["next_frame"] + 900 and now["next_seq"] > then["next_seq"])

        served.wait_for(goes_on)
        # Another start would mend nothing: the watchdog is fed.
        hears.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                hears.recv(1000)
        hears.settimeout(90)
        assert hears.recv(1000).startswith(b"WATCHDOG=1")
        (small / "filler").unlink()
        served.wait_for(lambda: health(served)[0] == 200)
        last = health(served)[1]["streams"]["bed"]["next_seq"]
        served.wait_for(lambda: served.events("small/segments.jsonl")[-1]["seq"] > last)
        assert served.end() == 0
    finally:
        sensor.close()
        hears.close()
    events = served.events("small/segments.jsonl")
    assert [event["seq"] for event in events] == list(range(len(events)))  # not one was lost, none is there twice
    gaps = [event for event in events if event["type"] == "gap"]
    (record,) = (small / "records").glob("*.hea")
    read = wfdb.rdrecord(str(record.with_suffix(""))).p_signal[:, 0]
    heard = np.flatnonzero(np.isfinite(read))
    assert len(heard) > 0.5 * len(read) and len(heard) + sum(gap["frames"] for gap in gaps) == len(read)
    if not gaps:
        stretches = np.lib.stride_tricks.sliding_window_view(ecg, 360)
        begin = int(np.argmin(np.abs(stretches - read[:360]).max(axis=1)))
        assert np.abs(read - np.resize(np.roll(ecg, -begin), len(read))).max() < 1e-3
    complexes = [event for event in events if event["label"] == "qrs"]
    marks = wfdb.rdann(str(record.with_suffix("")), "tcn")
    assert marks.symbol.count("N") == len(complexes)
    clips = sorted((small / "clips").iterdir())
    assert len(clips) == len(complexes) == len(list((small / "edf").iterdir()))
    assert all(len(soundfile.read(path)[0]) > 216 for path in clips)
    for path in (small / "edf").iterdir():
        with pyedflib.EdfReader(str(path)) as reader:
            assert reader.getNSamples()[0] > 216


def test_a_quota_lets_the_oldest_lines_go(tmp_path: Path) -> None:
    file = RotatedFile(tmp_path / "a.jsonl", 1000, keep=100, quota_bytes=4000)
    for number in range(300):
        file.append(b"%04d %s\n" % (number, b"x" * 94))
        file.needed_from(file.position())
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) >= 3000
    file.close()


def test_a_journal_keeps_its_quota_and_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path, quota_bytes=100_000)
    small = Checkpoint("bed", "it", 0, 1, 1, 10, False, False, 0.0, 0.0, {}, bytes(20_000))
    journal.commit([small], {}, "boot")
    with pytest.raises(sqlite3.Error, match="full"):
        journal.commit([replace(small, next_frame=2, state=bytes(200_000))], {}, "boot")
    assert journal.streams() == {"bed": small}
    journal.commit([replace(small, next_frame=3)], {}, "boot")
    journal.close()
    assert (tmp_path / "journal.db").stat().st_size <= 100_000
    assert Journal(tmp_path).streams()["bed"].next_frame == 3


def _block(stream: str, first: int, samples: Samples) -> SampleBlock:
    return SampleBlock(stream, first, samples, 250.0, "mV")


def _segment(frame: int, end_frame: int) -> Event:
    start_s, end_s = frame / 250, end_frame / 250
    return Event("segment", "bed", 0, frame, frame, start_s, end_s, "qrs", 0.9, None)


def test_records_go_on_keep_late_annotations_and_stay_within_a_quota(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    x = np.random.default_rng(1).normal(0, 0.3, (5000, 1)).astype(np.float32).round(3)
    config = WfdbConfig("r", "wfdb", "by-source", 100, tmp_path, 8.0, 0)
    writer = RecordWriter(config)
    first = [_block("bed", at, x[at : at + 100]) for at in range(0, 1900, 100)]
    writer.write(first[:5])
    writer.write(first)  # as after an error: those that are done are passed over
    writer.write([_segment(100, 130), _segment(1500, 1530)])
    for record in writer._open():
        record.save()
    # A kill: a replay goes on from frame 1400, and gives again what was final behind it.
    writer = RecordWriter(config)
    writer.write([_block("bed", at, x[at : at + 100]) for at in range(1400, 5000, 100) if at != 4200])
    writer.write([_segment(1500, 1530), _segment(3990, 4010), _segment(4100, 4120)])
    writer.close()
    assert {path.stem for path in tmp_path.glob("*.hea")} == {"bed_0", "bed_2000", "bed_4000"}
    read = [wfdb.rdrecord(str(tmp_path / f"bed_{at}")).p_signal for at in (0, 2000, 4000)]
    expected = x.astype(np.float64)
    expected[4200:4300] = np.nan
    np.testing.assert_allclose(np.concatenate(read), expected, atol=6e-4)
    marks = {at: wfdb.rdann(str(tmp_path / f"bed_{at}"), "tcn") for at in (0, 2000, 4000)}
    assert marks[0].sample.tolist() == [100, 114, 129, 1500, 1514, 1529]
    assert marks[2000].sample.tolist()[0] == 1990 and marks[4000].sample.tolist()[0] == 100
    small = WfdbConfig("r", "wfdb", "by-source", 100, tmp_path, 8.0, 5000)
    RecordWriter(small).close()
    assert {path.stem for path in tmp_path.iterdir()} == {"bed_4000"}
