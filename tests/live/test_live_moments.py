"""What if it happens now: the moments between two steps of the daemon's threads, each held still by hand."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import ECG
from helpers.served import Served

from tcnstream.live.chain import Chain
from tcnstream.live.checkpoints import Checkpoints
from tcnstream.live.config import read_config
from tcnstream.live.daemon import Daemon
from tcnstream.live.journal import Journal
from tcnstream.live.lanes import Lane, LiveWorker
from tcnstream.live.logs import Log
from tcnstream.live.metrics import metrics
from tcnstream.live.running import Running
from tcnstream.live.sinks import open_sink
from tcnstream.live.sinks.base import Mark, Position, SinkThread
from tcnstream.live.sinks.jsonl import RotatedFile
from tcnstream.live.sinks.mqtt import MqttSink
from tcnstream.live.sinks.wyoming import WyomingConfig, WyomingWriter
from tcnstream.live.web.history import History

STREAM = '[stream.{name}]\nsource = "file:{path}?speed={speed}"\nmodel = "ecg"\nsinks = ["log"]\n{more}\n'
LOG = '[sink.log]\nkind = "jsonl"\npath = "{path}"\n{more}\n'


def stream(name: str = "one", speed: str = "4", more: str = "") -> str:
    """Of a recording that goes on for as long as a test needs, or of one with an end at the speed ``max``."""
    pace = speed if speed == "max" else f"{speed}&repeat=true"
    return STREAM.format(name=name, path=ECG, speed=pace, more=more)


def log(path: str = "segments.jsonl", more: str = "") -> str:
    return LOG.format(path=path, more=more)


def until(holds: Callable[[], Any], timeout_s: float = 90.0) -> Any:
    until_s = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    return found


class Here:
    """A daemon in this process, whose main thread is the test."""

    def __init__(self, folder: Path, text: str) -> None:
        self.path = folder / "live.toml"
        self.path.write_text(text)
        self._said = io.StringIO()
        self.daemon = Daemon(read_config(self.path), Log("json", self._said))
        self.daemon._begin()

    def said(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._said.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    def reload(self, text: str) -> None:
        self.path.write_text(text)
        self.daemon._reload()

    def events(self, name: str = "segments.jsonl") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path.parent / name).read_bytes().splitlines()]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Callable[[str], Here]]:
    """``here(text)`` begins a daemon with that configuration."""
    all_of_them: list[Here] = []

    def begin(text: str) -> Here:
        all_of_them.append(Here(tmp_path, text))
        return all_of_them[-1]

    yield begin
    for each in all_of_them:
        each.daemon._stop()


@pytest.mark.slow
@pytest.mark.parametrize("way_out", ["reload", "end"])
def test_a_full_sink_keeps_nobody_from_reloading_or_ending(
    serve: Callable[..., Served], tmp_path: Path, way_out: str
) -> None:
    """A replay waits for room in a sink whose disk is full: it held its chains meanwhile, and the main thread waited
    for them for ever."""
    served = serve(stream(speed="max") + log("/dev/full", "queue = 5"))
    served.wait_for(lambda: "No space left" in served.log.read_text())
    if way_out == "reload":
        (tmp_path / "live.toml").write_text(stream(speed="max") + log())
        served.process.send_signal(signal.SIGHUP)
        served.wait_for(lambda: "config.read" in served.log.read_text())
        served.wait_for(lambda: len(served.events()) > 300)
    assert served.end(timeout_s=90) == 0
    if way_out == "reload":  # what the first one could not write is in the second one's file
        assert [event["seq"] for event in served.events()] == list(range(len(served.events())))


def test_an_older_checkpoint_never_takes_the_place_of_the_last_one(
    here: Callable[[str], Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal's thread has taken a snapshot and waits for a sink; meanwhile the stream ends with a newer one."""
    held, go_on = threading.Event(), threading.Event()
    wait = Mark.wait

    def slow(mark: Mark, timeout_s: float) -> bool:
        if threading.current_thread().name == "journal" and not go_on.is_set():
            held.set()
            assert go_on.wait(90)
        return wait(mark, timeout_s)

    monkeypatch.setattr(Mark, "wait", slow)
    daemon = here(stream(more="") + stream("two", "0.1") + log() + '[checkpoint]\nreplayed = "20 ms"\n').daemon
    assert held.wait(90)
    running = daemon.running["one"]
    seen = running.lane.chain.next_frame
    until(lambda: running.lane.chain.next_frame > seen + 1000)
    daemon._end_streams(["one"])
    last = daemon._journal.streams()["one"]
    assert last.clean and last.next_frame > seen + 1000
    before = daemon.checkpoints.commits
    go_on.set()
    until(lambda: daemon.checkpoints.commits > before)
    assert daemon._journal.streams()["one"] == last


def test_what_waits_is_written_when_a_recording_has_ended(here: Callable[[str], Here]) -> None:
    """A file of many lines holds them back, and its last ones waited for the checkpoint after next, or for a minute and
    a half where the last one had come between the last sample and the end."""
    one = here(stream(speed="max") + log(more='every = "600 s"') + '[checkpoint]\nreplayed = "600 s"\n')
    chain = one.daemon.running["one"].lane.chain
    until(lambda: chain.ended and len(one.events()) == chain.next_seq)


def test_a_sink_may_go_while_it_is_checkpointed(here: Callable[[str], Here], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its position is known and committed, and then there is no sink of that name any more."""
    held, go_on = threading.Event(), threading.Event()
    let_go = Checkpoints._let_go

    def slow(checkpoints: Checkpoints, positions: Mapping[str, Position]) -> None:
        if threading.current_thread().name == "journal" and not go_on.is_set():
            held.set()
            assert go_on.wait(90)
        let_go(checkpoints, positions)

    monkeypatch.setattr(Checkpoints, "_let_go", slow)
    one = here(stream() + log() + '[checkpoint]\nreplayed = "20 ms"\n')
    assert held.wait(90)
    one.reload((stream() + log("other.jsonl")).replace("log", "other"))
    assert list(one.daemon.hub.sinks) == ["other"]
    go_on.set()
    before = one.daemon.checkpoints.commits
    until(lambda: one.daemon.checkpoints.commits > before)
    assert not one.daemon.is_well()


def test_the_journal_outlives_what_a_checkpoint_stumbles_over(
    here: Callable[[str], Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = here(stream() + log() + '[checkpoint]\nreplayed = "20 ms"\n')
    commit, broken = Journal.commit, threading.Event()

    def breaks(journal: Journal, *arguments: Any) -> None:
        broken.set()
        raise RuntimeError("now")

    monkeypatch.setattr(Journal, "commit", breaks)
    assert broken.wait(90)
    until(lambda: one.daemon.is_well() == {"journal": "a checkpoint broke off: RuntimeError: now"})
    monkeypatch.setattr(Journal, "commit", commit)
    until(lambda: not one.daemon.is_well())


def test_two_threads_may_make_room_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink's, when the file turns over, and the journal's: one looks at a file that the other one took away."""
    file = RotatedFile(tmp_path / "a.jsonl", 100, 2, 1000)
    for _ in range(8):
        file.append(b"x" * 90)
    numbers = RotatedFile._numbers

    def then_gone(self: RotatedFile) -> list[int]:
        found = numbers(self)
        (tmp_path / f"a.jsonl.{min(found)}").unlink()
        return found

    monkeypatch.setattr(RotatedFile, "_numbers", then_gone)
    file.needed_from((7, 0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.6", "a.jsonl.7"]


def test_a_source_may_come_or_go_while_a_sink_is_exchanged(here: Callable[[str], Here]) -> None:
    """The state of a stream is for sinks that may not be there now; a new one hears it at once."""
    one = here(stream() + log())
    sink = one.daemon.hub.sinks.pop("log")
    try:
        one.daemon.hub.set_state("one", ["log"], {"state": "down", "says": "gone"})
    finally:
        one.daemon.hub.sinks["log"] = sink


@pytest.mark.parametrize("wrong", ["stream", "sink"])
def test_what_is_wrong_with_a_configuration_may_show_late(
    here: Callable[[str], Here], tmp_path: Path, wrong: str
) -> None:
    """Only a stream that is made, or a sink that is opened, says that it cannot be: what ran before goes on."""
    pytest.importorskip("wyoming")
    np.save(tmp_path / "plain.npy", np.zeros(1000, np.float32))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        one = here(stream() + stream("quiet", "2") + log())
        until(lambda: one.daemon.running["one"].lane.chain.next_seq > 20)
        quiet = one.daemon.running["quiet"]
        more = '[stream.two]\nsource = "file:plain.npy"\nmodel = "ecg"\n'
        if wrong == "sink":
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            more = f'[sink.ears]\nkind = "wyoming"\nlisten = "{listen}"\n'
        one.reload(stream(more="gain = 2") + stream("quiet", "2") + log("other.jsonl") + more)
    assert len(one.said("config.wrong")) == 1 and set(one.daemon.running) == {"one", "quiet"}
    assert one.daemon.running["quiet"] is quiet
    seen = one.daemon.running["one"].lane.chain.next_seq
    until(lambda: one.daemon.running["one"].lane.chain.next_seq > seen + 20)
    assert not one.daemon.is_well() and list(one.daemon.hub.sinks) == ["log"]
    mark = one.daemon.hub.sinks["log"].mark()
    assert mark.wait(90)
    for name in ("one", "quiet"):
        events = [event for event in one.events() if event["stream"] == name]
        assert [event["seq"] for event in events] == list(range(len(events)))


def test_a_wyoming_server_may_end_before_it_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its port was kept then, so that the sink that a reload put in its place had none."""
    pytest.importorskip("wyoming")
    (tmp_path / "live.toml").write_text(
        stream() + log() + '[sink.ears]\nkind = "wyoming"\nlisten = "127.0.0.1:0"\nlabel = "qrs"\n'
    )
    config = read_config(tmp_path / "live.toml").sinks["ears"]
    assert isinstance(config, WyomingConfig)
    begins, begin = threading.Event(), asyncio.start_server

    async def late(*arguments: Any, **options: Any) -> Any:
        assert await asyncio.to_thread(begins.wait, 90)
        return await begin(*arguments, **options)

    monkeypatch.setattr(asyncio, "start_server", late)
    writer = WyomingWriter(config, Log("json", io.StringIO()))
    threading.Timer(0.5, begins.set).start()
    writer.close()
    writer._thread.join(90)
    socket.create_server(("127.0.0.1", writer.port), reuse_port=False).close()
    assert not writer._thread.is_alive() and writer._socket.fileno() == -1


def test_what_a_broker_makes_the_package_stumble_over_ends_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("paho.mqtt")
    (tmp_path / "live.toml").write_text(stream() + log() + '[sink.home]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:1"\n')
    config = read_config(tmp_path / "live.toml").sinks["home"]
    said, times = io.StringIO(), threading.Semaphore(0)

    def stumbles(self: MqttSink) -> Any:
        times.release()
        raise struct.error("unpack requires a buffer of 2 bytes")

    monkeypatch.setattr(MqttSink, "_connect", stumbles)
    sink = open_sink(config, Log("json", said))
    sink.start()
    try:
        assert times.acquire(timeout=90) and times.acquire(timeout=90)
        assert sink.is_alive() and "error: unpack requires" in sink.trouble
    finally:
        sink.stop(1.0)
    assert not sink.is_alive()


def test_the_page_goes_on_behind_what_its_history_stumbles_over(
    here: Callable[[str], Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn")
    collect = History.collect

    def stumbles(self: History) -> None:
        if not there.is_set():
            there.set()
            raise RuntimeError("dictionary changed size during iteration")
        again.set()
        collect(self)

    there, again = threading.Event(), threading.Event()
    monkeypatch.setattr(History, "collect", stumbles)
    one = here('[page]\nlisten = "127.0.0.1:0"\n' + stream() + log())
    assert there.wait(90) and again.wait(90)
    assert one.said("web.broke")


@pytest.mark.slow
def test_signals_that_come_while_it_ends_change_nothing(serve: Callable[..., Served]) -> None:
    """The second one found a daemon that had given its handlers back, and was the process's end."""
    served = serve(stream() + log())
    served.wait_for(lambda: "daemon.started" in served.log.read_text())
    while served.process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            served.process.send_signal(number)
        time.sleep(1e-3)
    assert served.process.returncode == 0, served.log.read_text()


DEAF = """
import time

class InputStream:
    read_available = 0

    def __init__(self, **options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def read(self, frames):
        print("reads", flush=True)
        time.sleep(1e6)
"""
PARENT = """
import os, subprocess, sys
command = [sys.executable, "-m", "tcnstream.live.sources.heard", "mic", "16000", "1", str(os.getpid())]
child = subprocess.Popen(command, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_a_microphone_that_gives_nothing_outlives_no_daemon(tmp_path: Path) -> None:
    """Who waits for samples cannot look whether anybody still wants them."""
    (tmp_path / "sounddevice.py").write_text(DEAF)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-c", PARENT]
    said = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}, timeout=90).stdout
    child = Path("/proc", said.decode().strip())
    with suppress(FileNotFoundError):  # it may go between two looks
        until(lambda: not child.exists() or " Z " in (child / "stat").read_text())


def test_what_comes_while_health_and_metrics_are_asked_for_breaks_nothing(
    here: Callable[[str], Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams and sinks come in the main thread while the page's thread goes through them."""
    daemon = here(stream() + log()).daemon
    running, sink = daemon.running["one"], daemon.hub.sinks["log"]
    trouble, is_alive, waiting = Running.trouble, SinkThread.is_alive, SinkThread.waiting
    came: list[str] = []

    def comes() -> None:
        if len(came) < 3:
            came.append(f"more {len(came)}")
            daemon.running[came[-1]], daemon.hub.sinks[came[-1]] = running, sink

    monkeypatch.setattr(Running, "trouble", lambda self: (comes(), trouble(self))[1])
    monkeypatch.setattr(SinkThread, "is_alive", lambda self: (comes(), is_alive(self))[1])
    assert not daemon.is_well()
    came.clear()
    monkeypatch.setattr(SinkThread, "waiting", lambda self: (comes(), waiting(self))[1])
    assert "tcnstream_sink_waiting" in metrics(daemon)
    monkeypatch.undo()
    daemon.running, daemon.hub.sinks["log"] = {"one": running}, sink
    for name in [name for name in daemon.hub.sinks if name != "log"]:
        del daemon.hub.sinks[name]


def test_a_stream_that_failed_before_its_end_lets_its_worker_end(
    here: Callable[[str], Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end was tried again and again, for ever, and whoever waited for the worker with it."""
    asked: list[Exception] = []
    one = here(stream() + log())
    lane = one.daemon.running["one"].lane
    worker = LiveWorker(one.daemon.hub, "live", lambda lane, error: asked.append(error), lambda: None)
    intake = worker.add(Lane(lane.chain, lane.pool, lane.number, failed="it broke"))
    monkeypatch.setattr(Chain, "end", lambda chain: (_ for _ in ()).throw(ValueError("it broke")))
    intake.end()
    worker.start()
    ends = threading.Thread(target=worker.stop, daemon=True)
    ends.start()
    ends.join(90)
    assert not ends.is_alive() and not worker.thread.is_alive() and not asked
    monkeypatch.undo()


def test_a_sink_that_takes_another_ones_place_knows_how_the_streams_stand(here: Callable[[str], Here]) -> None:
    """The broker of a new one would hear of a stream when it changes, and of one that runs well never."""
    pytest.importorskip("paho.mqtt")
    broker = '[sink.home]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{}"\n'
    both = stream().replace('["log"]', '["log", "home"]') + log()
    one = here(both + broker.format(1))
    lane = one.daemon.running["one"].lane
    one.reload(both + broker.format(2))
    home = one.daemon.hub.sinks["home"]
    assert isinstance(home, MqttSink) and home.mqtt.port == 2 and one.daemon.running["one"].lane is lane
    assert json.loads(home._states["one"])["state"] == "up"
