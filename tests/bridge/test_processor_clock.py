"""Deadlines on a busy machine: they go by the time that an emulator had."""

from __future__ import annotations

import os
import signal as os_signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.bridge_tools import a_board, program, signal

from firmware_bridge.errors import LinkError
from firmware_bridge.link.messages import Kind
from firmware_bridge.link.processor import ProcessorClock
from firmware_bridge.link.transport import MOST_PATIENCE

SMALL = "nse_sm.i8"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts processor time by Linux's /proc")


@contextmanager
def a_child(work: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", f"import time\nprint(flush=True)\n{work}"], stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def until_it_is(state: str, process: subprocess.Popen[bytes]) -> None:
    """S: it sleeps; T: it was stopped. As Linux's /proc says."""
    until_s = time.monotonic() + 60
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_process_that_sleeps_has_all_of_the_time() -> None:
    with a_child("time.sleep(60)") as child:
        until_it_is("S", child)
        clock, began = ProcessorClock(child.pid), time.monotonic()
        first, seen = clock.now_s(), time.monotonic()
        time.sleep(0.3)
        looked = time.monotonic()
        # This process may be kept waiting between two looks at the time.
        assert looked - seen - 0.1 < clock.now_s() - first < time.monotonic() - began + 0.1


def test_a_process_that_is_stopped_has_none() -> None:
    with a_child("while True: pass") as child:
        child.send_signal(os_signal.SIGSTOP)
        until_it_is("T", child)
        clock = ProcessorClock(child.pid)
        first = clock.now_s()
        time.sleep(0.3)
        assert clock.now_s() - first < 0.05


def test_processes_that_share_one_processor_have_a_part_of_it() -> None:
    at = {min(os.sched_getaffinity(0))}
    with a_child("while True: pass") as child, a_child("while True: pass") as other:
        for process in (child, other):
            os.sched_setaffinity(process.pid, at)
        clock, began = ProcessorClock(child.pid), time.monotonic()
        first = clock.now_s()
        time.sleep(1.0)
        assert 0 < clock.now_s() - first < 0.8 * (time.monotonic() - began)


def test_a_process_that_has_ended_leaves_the_clock_on_the_wall() -> None:
    with a_child("") as child:
        clock = ProcessorClock(child.pid)
        child.wait()
        first = clock.now_s()
        time.sleep(0.1)
        assert clock.now_s() - first >= 0.1


@contextmanager
def stopped_for(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    process.send_signal(os_signal.SIGSTOP)
    goes_on = threading.Timer(seconds, lambda: process.send_signal(os_signal.SIGCONT))
    goes_on.start()
    yield
    goes_on.cancel()
    process.send_signal(os_signal.SIGCONT)


@pytest.mark.slow
def test_an_emulator_without_a_processor_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEADLINE_S", "_LEAST_COMPUTE_DEADLINE_S", "COMPUTE_DEADLINE_S"):
        monkeypatch.setattr(f"firmware_bridge.boards.bridge_board.{name}", 0.4)
    # Other work of the machine may keep it waiting for longer than it is stopped here.
    monkeypatch.setattr("firmware_bridge.link.transport.MOST_PATIENCE", 250)
    x = signal(SMALL, 40)
    stream = program(SMALL).model.stream()
    with a_board("qemu-m4", SMALL) as board:
        for k in range(0, 20, 5):
            assert np.array_equal(board.push([x[k : k + 5]]).outputs[0], stream.push(x[k : k + 5]))
        began = time.monotonic()
        with stopped_for(board.link.transport.process, 3.0):
            assert np.array_equal(board.push([x[20:]]).outputs[0], stream.push(x[20:]))
        assert time.monotonic() - began > 2.9


@pytest.mark.slow
def test_an_emulator_that_never_gets_a_processor_is_given_up() -> None:
    with a_board("qemu-m4", SMALL) as board:
        began = time.monotonic()
        with stopped_for(board.link.transport.process, 300.0), pytest.raises(LinkError, match="no reply to stats"):
            board.link.exchange(Kind.STATS, deadline_s=0.5)
        assert MOST_PATIENCE * 0.2 < time.monotonic() - began < 90
