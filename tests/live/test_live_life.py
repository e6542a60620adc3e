"""The life of the daemon: other configurations, ends, systemd, and sources that come and go."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ECG
from helpers.served import Served

pytestmark = pytest.mark.slow

STREAM = """
[stream.{name}]
source = "file:{path}?speed=4&repeat=true"
model = "ecg"
{more}
sinks = ["log"]
"""
LOG = """
[sink.log]
kind = "jsonl"
path = "{path}"
"""


def test_another_configuration_leaves_unchanged_streams_alone(serve: Callable[..., Served], tmp_path: Path) -> None:
    one, two = (STREAM.format(name=name, path=ECG, more="") for name in ("one", "two"))
    log = LOG.format(path="segments.jsonl")
    served = serve(one + two + log)
    served.wait_for(lambda: len([e for e in served.events() if e["stream"] == "two"]) > 10)
    (tmp_path / "live.toml").write_text(one.replace('ecg"', 'egc"') + log)
    served.process.send_signal(signal.SIGHUP)
    served.wait_for(lambda: "config.wrong" in served.log.read_text())
    seen = len(served.events())
    served.wait_for(lambda: len(served.events()) > seen + 10)
    three = STREAM.format(name="three", path=ECG, more="gain = 0.9")
    louder = STREAM.format(name="two", path=ECG, more="gain = 1.1")
    (tmp_path / "live.toml").write_text(one + louder + three + LOG.format(path="other.jsonl"))
    served.process.send_signal(signal.SIGHUP)
    served.wait_for(lambda: {"one", "two", "three"} <= {e["stream"] for e in served.events("other.jsonl")})
    assert served.end() == 0
    before, after = served.events(), served.events("other.jsonl")
    events = {name: [e for e in before + after if e["stream"] == name] for name in ("one", "two", "three")}
    assert [e["seq"] for e in events["one"]] == list(range(len(events["one"]))) and events["one"][-1]["epoch"] == 0
    places = [e["frame"] for e in events["one"] if e["type"] == "segment"]
    assert places == sorted(places)
    assert [e["seq"] for e in events["two"]] == list(range(len(events["two"])))
    assert {e["epoch"] for e in after if e["stream"] == "two"} == {1}  # another gain: it begins anew
    assert [e["seq"] for e in events["three"]] == list(range(len(events["three"])))


def test_systemd_hears_of_it(serve: Callable[..., Served], tmp_path: Path) -> None:
    hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hears.bind(str(tmp_path / "notify"))
    hears.settimeout(90)
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    served = serve(STREAM.format(name="one", path=ECG, more="") + LOG.format(path="segments.jsonl"), env=env)
    heard: list[bytes] = []
    while not heard or not heard[-1].startswith(b"WATCHDOG=1"):
        heard.append(hears.recv(1000))
    served.process.send_signal(signal.SIGHUP)
    while not any(text.startswith(b"RELOADING=1") for text in heard):
        heard.append(hears.recv(1000))
    assert served.end() == 0
    while b"STOPPING=1" not in heard:
        heard.append(hears.recv(1000))
    assert heard[0].startswith(b"READY=1")
    hears.close()


SIGNALLED = """
import os, signal, subprocess, sys
from contextlib import suppress
from pathlib import Path
from tcnstream.live.config import read_config
from tcnstream.live.daemon import Daemon
from tcnstream.live.logs import Log

class Counting(Daemon):
    heard = 0

    def _reload(self):
        self.heard += 1
        with suppress(BrokenPipeError):  # the last one has been sent
            self.sender.stdin.write(b".")

    def send(self, address):
        command = [sys.executable, "-c", sys.argv[2], str(os.getpid())]
        self.sender = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)

    def _tick(self):
        pass

daemon = Counting(read_config(Path(sys.argv[1])), Log("logfmt"))
daemon._started = daemon.send
daemon.run()
print(daemon.heard)
"""
SIGNALS = """
import os, random, select, signal, sys, time
daemon, sent, heard = int(sys.argv[1]), 0, 0
while sent < 20_000 or heard < 1000:  # those of a moment in which the daemon got no processor are one
    os.kill(daemon, signal.SIGHUP)
    time.sleep(random.random() * 1e-4)
    sent += 1
    heard += len(os.read(0, 1 << 16) if select.select([0], [], [], 0)[0] else b"")
os.kill(daemon, signal.SIGTERM)
"""


def test_a_signal_may_come_at_any_moment(tmp_path: Path) -> None:
    """Also while the main thread begins or ends to wait: it held a lock there that the signal's handler waited for."""
    (tmp_path / "live.toml").write_text(
        STREAM.format(name="one", path=ECG, more="").replace("speed=4", "speed=0.01") + LOG.format(path="log.jsonl")
    )
    command = [sys.executable, "-c", SIGNALLED, str(tmp_path / "live.toml"), SIGNALS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1000


@pytest.fixture
def sender(ecg: np.ndarray) -> Iterator[Callable[[], int]]:
    """A TCP server that sends ECG, 360 float32 a second, to one listener at a time, and hangs up when told."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.2)
    stop, hang_up = threading.Event(), threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            with connection, suppress(OSError):
                began_s, sent = time.monotonic(), 0
                while not stop.is_set() and not hang_up.is_set():
                    connection.sendall(ecg[sent : sent + 18].astype("<f4").tobytes())
                    sent += 18
                    time.sleep(max(0.0, began_s + sent / 360 - time.monotonic()))
            hang_up.clear()

    thread = threading.Thread(target=run)
    thread.start()

    def port() -> int:
        hang_up.set() if port.asked else None  # type: ignore[attr-defined]
        port.asked = True  # type: ignore[attr-defined]
        return int(server.getsockname()[1])

    port.asked = False  # type: ignore[attr-defined]
    yield port
    stop.set()
    thread.join()
    server.close()


def test_a_tcp_source_connects_again(serve: Callable[..., Served], sender: Callable[[], int]) -> None:
    text = f'[stream.net]\nsource = "tcp:127.0.0.1:{sender()}?rate=360&units=mV"\nmodel = "ecg"\nsinks = ["log"]\n'
    served = serve(text + LOG.format(path="segments.jsonl"))
    served.wait_for(lambda: [e for e in served.events() if e["type"] == "segment"])
    sender()
    # A sender that a busy machine keeps waiting makes gaps of another reason.
    gap = served.wait_for(lambda: [e for e in served.events() if e.get("reason") == "unplugged"])[0]
    assert gap["type"] == "gap" and gap["tolerance_frames"] > 0
    served.wait_for(lambda: [e for e in served.events() if e["type"] == "segment" and e["epoch"] > gap["epoch"]])
    assert served.end() == 0
