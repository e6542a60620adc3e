"""The hub: what sinks are given, and what is for viewers alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from tcnstream.live.blocks import Block
from tcnstream.live.chain import Chain
from tcnstream.live.config import read_config
from tcnstream.live.events import Event
from tcnstream.live.hub import Hub
from tcnstream.live.lanes import Lane, LiveWorker
from tcnstream.live.logs import Log
from tcnstream.live.sinks import open_sink
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
    for at in range(0, 3600, 9):
        worker.step([(lane, Block((1 << 33) + at, ecg[at : at + 9, None], 0.0))])
    items, _ = viewer.take()
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
    sink.start()
    events = [Event("segment", "bed", 0, seq, 0, 0.0, 1.0, "qrs", 1.0, None) for seq in range(9)]
    sink.put(events[:2], may_wait=True)
    assert not (tmp_path / "held.jsonl").exists() and sink.waiting() == 2
    mark = sink.mark()  # a checkpoint does not wait for a minute
    assert mark.wait(20) and sink.waiting() == 0
    for event in events[2:8]:  # nor does who waits for room
        sink.put([event], may_wait=True)
    sink.put(events[8:], may_wait=True)
    sink.stop(20)
    assert (tmp_path / "held.jsonl").read_bytes() == b"".join(event.json() + b"\n" for event in events)


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
