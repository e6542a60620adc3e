"""The hub: what sinks are given, and what is for viewers alone."""

from __future__ import annotations

import io
import json
import math
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tcnstream.live.blocks import Block
from tcnstream.live.chain import Chain
from tcnstream.live.config import read_config
from tcnstream.live.events import Event, EventType
from tcnstream.live.hub import Hub
from tcnstream.live.journal import Checkpoint
from tcnstream.live.lanes import Lane, LiveWorker
from tcnstream.live.logs import Log
from tcnstream.live.restart import Left
from tcnstream.live.sinks import open_sink
from tcnstream.live.sinks.jsonl import JsonlConfig, JsonlSink, JsonlWriter, Kept
from tcnstream.pipeline import PipelinePool


def test_an_open_segment_is_shown_to_viewers_alone(ecg: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    path.write_text('[stream.bed]\nsource = "-"\nmodel = "ecg"\n')
    pool = PipelinePool("ecg", 1, rate_hz=360.0, units="mV")
    stream = read_config(path).streams["bed"]
    lane = Lane(Chain(stream, pool[0], lambda frame: None, replayed=False, units="mV"), pool, 0)
    hub = Hub()
    worker = LiveWorker(hub, "test", lambda lane, error: None, lambda: None)
    viewer = hub.subscribe()
    lane.chain.begin_at(1 << 33, 0, 0)
    items = []
    # A sample is less than a frame: also a wave whose last frame makes it long enough is seen while it may go on.
    for at in range(3600):
        worker.step([(lane, Block((1 << 33) + at, ecg[at : at + 1, None], 0.0))])
        items += viewer.take()[0]
    said = [item for item in items if isinstance(item, dict) and item["type"] == "provisional"]
    final = [item for item in items if isinstance(item, Event) and item.type == "segment"]
    assert len(final) > 20 and all(a != b for a, b in pairwise(said))
    starts = {(each["label"], each["start_s"]) for each in said}
    # Each segment was provisional before it was final, on the clock that it then has.
    assert {(each.label, round(each.start_s, 4)) for each in final} <= starts
    # One that went on has no end, and one that only waits to be final has the end that it then has.
    ends = {(each["label"], each["start_s"], each["end_s"]) for each in said}
    closed = {(each.label, round(each.start_s, 4), round(each.end_s, 4)) for each in final}
    assert len(closed & ends) > 20 and {(label, start_s, None) for label, start_s, _ in closed} <= ends
    open_now = lane.chain.provisional
    hub.set_state("bed", [], {"state": "up", "says": "", "epoch": 0, "gaps": 0, "reconnects": 0})
    (state,), _ = viewer.take()
    assert isinstance(state, dict) and state["provisional"] == open_now


def test_lines_are_gathered_for_as_long_as_the_sink_may_hold_them(tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    path.write_text(
        '[stream.bed]\nsource = "-"\nmodel = "ecg"\nsinks = ["log"]\n'
        '[sink.log]\nkind = "jsonl"\npath = "held.jsonl"\nevery = "60 s"\nqueue = 5\n'
    )
    sink = open_sink(read_config(path).sinks["log"], Log())
    assert isinstance(sink, JsonlSink)
    sink.keep_at(tmp_path / "kept")
    sink.start()
    events = [Event("segment", "bed", 0, seq, 0, 0.0, 1.0, "qrs", 1.0, None) for seq in range(9)]
    sink.put(events[:2], may_wait=True)
    until_s = time.monotonic() + 90
    while sink.waiting():
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert not (tmp_path / "held.jsonl").exists() or not (tmp_path / "held.jsonl").read_bytes()
    assert (tmp_path / "kept").read_bytes().split(b"\n")[1:3] == [event.json() for event in events[:2]]
    mark = sink.mark()  # a checkpoint does not wait for a minute
    assert mark.wait(90) and sink.waiting() == 0
    for event in events[2:8]:  # nor does who waits for room
        sink.put([event], may_wait=True)
    sink.put(events[8:], may_wait=True)
    sink.stop(20)
    assert (tmp_path / "held.jsonl").read_bytes() == b"".join(event.json() + b"\n" for event in events)
    assert not (tmp_path / "kept").exists()


def jsonl(folder: Path, every: str = "") -> JsonlWriter:
    path = folder / "live.toml"
    path.write_text(
        '[stream.bed]\nsource = "-"\nmodel = "ecg"\nsinks = ["log"]\n'
        f'[sink.log]\nkind = "jsonl"\npath = "a.jsonl"\nrotate = {{ size = "10 kB", keep = 100 }}\n{every}\n'
    )
    config = read_config(path).sinks["log"]
    assert isinstance(config, JsonlConfig)
    writer = JsonlWriter(config)
    writer.kept = Kept(folder / "kept")
    return writer


def event(seq: int, type: EventType = "segment") -> Event:
    return Event(type, "bed", 0, seq, 0, 0.0, 1.0, "qrs", 1.0, None)


def test_few_lines_are_written_at_once_and_many_together(tmp_path: Path) -> None:
    writer, path = jsonl(tmp_path), tmp_path / "a.jsonl"

    def written() -> int:
        return sum(len(file.read_bytes().splitlines()) for file in tmp_path.glob("a.jsonl*"))

    sent = 0
    while written() == sent:
        assert sent < 1000
        writer.write([event(sent)])
        sent += 1
    assert sent > 50 and 80 < writer.due_s() - time.monotonic() <= 90
    writer.write([event(sent, "gap")])  # what is rare takes with it what waits
    assert written() == sent + 1 and writer.due_s() == math.inf
    for seq in range(sent + 1, sent + 2000):
        writer.write([event(seq)])
    assert 0 < sent + 2000 - written() < 1000  # no more wait than fit into memory that is spoken of
    writer.position()
    lines = [line for n in range(1, 100) if (file := tmp_path / f"a.jsonl.{n}").exists() for line in file.open("rb")]
    assert [json.loads(line)["seq"] for line in (*lines, *path.open("rb"))] == list(range(sent + 2000))
    assert all(file.stat().st_size <= 10_000 for file in tmp_path.glob("a.jsonl*"))
    # Where a file turns over does not hang on how lines came together.
    (tmp_path / "other").mkdir()
    alone = jsonl(tmp_path / "other", 'every = "0 s"')
    for seq in range(sent + 2000):
        alone.write([event(seq, "gap" if seq == sent else "segment")])
    for file in tmp_path.glob("a.jsonl*"):
        assert (tmp_path / "other" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("cut", ["kept alone", "half written", "written"])
def test_lines_that_waited_outlive_a_kill(tmp_path: Path, cut: str) -> None:
    writer = jsonl(tmp_path, 'every = "60 s"')
    writer.write([event(0), event(1)])
    begin = writer.position()
    for seq in range(2, 90):  # more than one file takes
        writer.write([event(seq)])
    if cut != "kept alone":
        writer.kept = None
        writer.position()
    if cut == "half written":
        content = (tmp_path / "a.jsonl").read_bytes()
        (tmp_path / "a.jsonl").write_bytes(content[: len(content) // 2])
    config = read_config(tmp_path / "live.toml").sinks["log"]
    sink = open_sink(config, Log())
    assert isinstance(sink, JsonlSink)
    sink.keep_at(tmp_path / "kept")
    sink.recover(begin, lambda offset, line: json.loads(line)["seq"] != 50)
    sink.start()
    sink.stop(20)
    lines = [line for name in ("a.jsonl.1", "a.jsonl") for line in (tmp_path / name).open("rb")]
    assert [json.loads(line)["seq"] for line in lines] == [seq for seq in range(90) if seq != 50]


@pytest.mark.parametrize("cut", ["in a line", "at a line", "in the first line", "gone", "in an older file"])
def test_a_file_that_is_shorter_than_the_journal_says_goes_on_at_a_line(tmp_path: Path, cut: str) -> None:
    writer, path = jsonl(tmp_path, 'every = "0 s"'), tmp_path / "a.jsonl"
    writer.write([event(seq) for seq in range(90)])
    position = writer.position()
    if cut == "in an older file":
        path = tmp_path / "a.jsonl.1"
        position = (0, path.stat().st_size)
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    kept = {"at a line": 4, "in the first line": 0, "gone": 0}.get(cut, 3)
    length = len(b"".join(lines[:kept])) + (0 if cut in ("at a line", "gone") else 20)
    path.unlink() if cut == "gone" else path.write_bytes(content[:length])
    config = read_config(tmp_path / "live.toml")
    said = io.StringIO()
    log = Log("json", said)
    sink = open_sink(config.sinks["log"], log)
    assert isinstance(sink, JsonlSink)
    (name,) = config.streams
    counts = {"epoch": 0, "next_frame": 0, "next_seq": 90, "reserved_seq": 90, "ended": False, "clean": False}
    before = Checkpoint(name, "", **counts, monotonic_s=0.0, unix_s=0.0, files={"log": position}, state=b"")
    Left({name: before}, same_boot=True).recover(sink, config.streams, log)
    (told,) = map(json.loads, said.getvalue().splitlines())
    assert told["level"] == "warning" and told["event"] == "sink.shortened" and told["file"] == str(path)
    assert (told["expected_bytes"], told["found_bytes"]) == (position[1], length)
    sink.start()
    sink.put([event(90)], may_wait=True)
    sink.stop(20)
    written = (tmp_path / "a.jsonl").read_bytes() if cut != "in an older file" else path.read_bytes()
    assert written.startswith(b"".join(lines[:kept]))
    assert all(json.loads(line) for line in written.splitlines())
    last = (tmp_path / "a.jsonl").read_bytes().splitlines()[-1]
    assert json.loads(last)["seq"] == 90


def test_a_sink_is_given_the_types_that_it_asks_for(ecg: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    path.write_text(
        '[stream.bed]\nsource = "-"\nmodel = "ecg"\nsinks = ["all", "beats"]\n'
        '[sink.all]\nkind = "jsonl"\npath = "all.jsonl"\n'
        '[sink.beats]\nkind = "jsonl"\npath = "beats.jsonl"\nevents = ["beat", "gap"]\n'
    )
    config = read_config(path)
    pool = PipelinePool("ecg", 1, rate_hz=360.0, units="mV")
    lane = Lane(Chain(config.streams["bed"], pool[0], lambda frame: None, replayed=True, units="mV"), pool, 0)
    hub = Hub()
    for name, sink in config.sinks.items():
        hub.sinks[name] = open_sink(sink, Log())
        hub.sinks[name].start()
    worker = LiveWorker(hub, "test", lambda lane, error: None, lambda: None)
    for at in range(0, 3600, 90):
        worker.step([(lane, Block(at, ecg[at : at + 90, None], 0.0))])
    for sink in hub.sinks.values():
        sink.stop(10)
    lines = (tmp_path / "all.jsonl").read_bytes().splitlines()
    beats = [line for line in lines if b'"type":"beat"' in line]
    assert 5 < len(beats) < len(lines) / 2
    assert (tmp_path / "beats.jsonl").read_bytes().splitlines() == beats
