"""A board behind a live stream: compared, never waited for, and told of when it differs, dies, stalls or comes back."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.installed import need_program
from helpers.served import Served

import firmware_bridge.live
from firmware_bridge.boards.build import build
from firmware_bridge.targets import Options, open_board
from tcnstream.live.config import ConfigError, read_config
from tcnstream.live.daemon import Daemon
from tcnstream.live.logs import Log

CONFIG = """
{page}
[stream.bed]
source = "file:{path}?speed={speed}{more}"
model = "ecg"
{board}
sinks = ["log"]
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
"""
PAGE = '[page]\nlisten = "127.0.0.1:0"\n'


@pytest.fixture
def qemu() -> None:
    need_program("qemu-system-arm", "qemu-system-arm")
    need_program("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    build("qemu-m4")  # which takes longer than the recordings here


@pytest.fixture
def faulty(qemu: None) -> None:
    build("qemu-m4", fault=-1)


def board_of(served: Served) -> dict[str, Any]:
    port = int(served.log.read_text().partition("web.started port=")[2].split()[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
        assert answer.status == 200  # a board harms no stream
        found: dict[str, Any] = json.load(answer)["streams"]["bed"]["board"]
        return found


def emulator_of(served: Served) -> int:
    """The process of the board that the daemon started last."""
    pids = Path(f"/proc/{served.process.pid}/task").glob("*/children")
    children = [int(pid) for path in pids for pid in path.read_text().split()]
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in children if Path(f"/proc/{pid}").exists()}
    (found,) = [pid for pid, name in names.items() if name.startswith("qemu-system")]
    return found


@pytest.mark.slow
def test_a_board_dies_stalls_and_comes_back_behind_a_stream(
    qemu: None, serve: Callable[..., Served], ecg: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "ecg.npy", np.tile(ecg, 10))  # which no machine is too slow for
    place = {"path": tmp_path / "ecg.npy", "more": "&rate=360&units=mV"}
    served = serve(CONFIG.format(page="", speed="max", board="", **place), "--once")
    assert served.process.wait(180) == 0
    wanted = (tmp_path / "segments.jsonl").read_bytes()
    (tmp_path / "segments.jsonl").unlink()
    board = 'board = "qemu-m4"'
    text = CONFIG.format(page=PAGE, speed=1, board=board, **place)
    served = serve('state = "other"\n' + text, "--once")

    def is_there_again() -> bool:
        return served.log.read_text().count("board.there") == 2

    served.wait_for(lambda: "web.started" in served.log.read_text())
    served.wait_for(lambda: board_of(served)["frames"] > 1000)
    os.kill(emulator_of(served), signal.SIGKILL)
    # A quick board may be back before a slow machine looks.
    served.wait_for(lambda: board_of(served)["state"] == "away" or is_there_again())
    assert re.search("board.away .*hung up", served.log.read_text())
    before = served.wait_for(lambda: is_there_again() and board_of(served))
    served.wait_for(lambda: (now := board_of(served))["state"] == "equal" and now["frames"] > before["frames"])
    stopped = emulator_of(served)
    os.kill(stopped, signal.SIGSTOP)  # an emulator that has no time is waited for, the stream does not wait
    before, seen = board_of(served), len(served.events())
    served.wait_for(lambda: board_of(served)["skipped_chunks"] > before["skipped_chunks"] + 20)
    served.wait_for(lambda: len(served.events()) > seen)
    os.kill(stopped, signal.SIGCONT)
    served.wait_for(lambda: board_of(served)["frames"] > before["frames"] + 500)
    assert board_of(served)["state"] == "equal"
    assert board_of(served)["wrong_frames"] == 0 < board_of(served)["skipped_chunks"]
    assert served.end() == 0
    written = (tmp_path / "segments.jsonl").read_bytes()
    assert len(written) > 2000 and wanted.startswith(written)
    assert is_there_again()


@pytest.mark.slow
def test_a_difference_is_an_event(
    faulty: None, ecg: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_faulty(name: str, program: Any) -> Any:
        board = open_board(name, program, Options(fault=True))
        board.fault(4)  # type: ignore[attr-defined]
        return board

    monkeypatch.setattr(firmware_bridge.live, "open_board", open_faulty)
    monkeypatch.setattr(firmware_bridge.live, "_QUIET_S", 0.25)
    np.save(tmp_path / "ecg.npy", np.tile(ecg, 10))
    path = tmp_path / "live.toml"
    more = "&rate=360&units=mV"
    path.write_text(CONFIG.format(page="", path=tmp_path / "ecg.npy", speed=2, more=more, board='board = "qemu-m4"'))
    daemon = Daemon(read_config(path), Log("json", (tmp_path / "log.txt").open("w")), once=True)

    def found() -> bool:
        return bool(daemon.running) and daemon.states()["bed"]["board"]["differences"] >= 3

    def end_after_three() -> None:
        until_s = time.monotonic() + 90
        while not found() and time.monotonic() < until_s:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    ends = threading.Thread(target=end_after_three)
    ends.start()
    daemon.run()
    ends.join()
    events = [json.loads(line) for line in (tmp_path / "segments.jsonl").read_bytes().splitlines()]
    assert [event["seq"] for event in events] == list(range(len(events)))
    told = [event for event in events if event["label"] == "board differs"]
    board = daemon.states()["bed"]["board"]
    # Left alone for 1/4, 1/2, 1 s after a difference, it begins again from the host's state, and differs again.
    assert 3 <= len(told) == board["differences"] <= 6 and board["state"] == "differs", board
    for event in told:
        assert event["type"] == "status" and event["board"] == "qemu-m4" and event["largest"] > 0
        assert 0 < event["frame"] <= 216_000 and event["start_s"] == round(event["frame"] / 360, 4)
    assert '"event": "board.differs"' in (tmp_path / "log.txt").read_text()
    assert [event for event in events if event["type"] == "beat"]


def test_a_board_that_is_none_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    for board, sentence in (("qemu-m5", "there is no target 'qemu-m5'"), ("tflm?file=1", "answers whole windows")):
        path.write_text(f'[stream.a]\nsource = "-"\nmodel = "ecg"\nboard = "{board}"\n')
        with pytest.raises(ConfigError, match=r"live\.toml, line 4: stream\.a\.board = ") as caught:
            read_config(path)
        assert sentence in str(caught.value)
