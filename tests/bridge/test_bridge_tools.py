"""What people use of the bridge: the command, reports, the pytest plugin, soak, shadow and the list of devices."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import signal as os_signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.bridge_tools import MODELS, a_board, program, signal, with_plugin
from typer.testing import CliRunner

import tcnstream
from firmware_bridge.boards import devices
from firmware_bridge.check.run import check
from firmware_bridge.check.shadow import Shadow
from firmware_bridge.check.soak import soak
from firmware_bridge.check.verdict import CheckReport
from firmware_bridge.cli.app import app
from firmware_bridge.errors import BridgeError, LinkError, TargetError
from firmware_bridge.link.faults import Faults, faulty
from firmware_bridge.link.messages import Can
from firmware_bridge.report.junit import stages_to_junit
from firmware_bridge.report.page import to_html
from firmware_bridge.report.result import load, to_json
from firmware_bridge.targets import Options, open_board
from tcnstream.errors import SignalError, TcnStreamError

SMALL = "nse_sm.i8"
pytest_plugins = ["pytester"]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "signal.npy"
    port = program(SMALL).model.inputs[0]
    np.save(path, port.dequantize(signal(SMALL, 150)))
    return path


@pytest.fixture(scope="module")
def good() -> CheckReport:
    with a_board("host", SMALL) as board:
        return check(program(SMALL), board, signal(SMALL, 100), rate_hz=250, name="small")


@pytest.fixture(scope="module")
def bad() -> CheckReport:
    with a_board("host", SMALL, fault=True) as board:
        board.fault(5)
        return check(program(SMALL), board, signal(SMALL, 100), taps="all", name="small <b>")


def test_json_is_plain_and_comes_back(good: CheckReport, bad: CheckReport) -> None:
    for found in (good, bad):
        text = json.dumps(to_json(found), allow_nan=False)
        data = load(text.encode())
        assert data["passed"] == found.passed and data["verdict"] == found.verdict
        assert {t["name"] for t in data["tensors"]} and data["link"]["bytes_in"] > 0
    assert data["first_difference"]["node"] == 5 and data["first_difference"]["inputs"][0]["values"]
    for wrong in (b"no json", b"{}", b"[]", b"\x93NUMPY", b'{"format": 1, "stages": [], "verdict": ""}'):
        with pytest.raises(BridgeError):
            load(wrong)
    del data["board"], data["link"]
    with pytest.raises(BridgeError, match="the result lacks board, link"):
        load(json.dumps(data).encode())


def test_the_page_has_everything_in_it(good: CheckReport, bad: CheckReport) -> None:
    page = to_html(to_json(good))
    assert page.count("data:image/png;base64,") == 2 and "No difference in any of" in page
    assert ": kept, the worst takes " in page
    page = to_html(to_json(bad))
    assert page.count("data:image/png;base64,") == 3 and "The inputs that produced it" in page
    assert "small &lt;b&gt;" in page and "<b>" not in page
    assert page.count("<tr class='bad'>") == sum(not s.passed for s in bad.stages) + sum(
        not t.passed for t in bad.tensors
    )
    assert "<td class='n'>" in page and "<summary>whole names</summary>" in page
    for outside in re.findall(r"(?:src|href)='([^']*)'", page):
        assert outside.startswith("data:")


def test_junit_says_which_stage_failed(good: CheckReport, bad: CheckReport) -> None:
    suite = ElementTree.fromstring(stages_to_junit(to_json(good)))
    assert (suite.get("tests"), suite.get("failures")) == (str(len(good.stages)), "0")
    suite = ElementTree.fromstring(stages_to_junit(to_json(bad)))
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == [stage.name for stage in bad.stages if not stage.passed] and "every tensor" in failed


def test_names_of_any_kind_stay_text_in_a_page_and_a_junit_file(bad: CheckReport) -> None:
    """Names come from model files: markup, formulas and characters that XML cannot hold are in some."""
    odd = "<script>alert('$\\frac{1}')</script>\x00\x1b&"
    assert bad.first_difference is not None
    report = replace(
        bad,
        target=odd,
        model=odd,
        source=odd,
        log=(odd,),
        stages=tuple(replace(stage, name=stage.name + odd) for stage in bad.stages),
        tensors=tuple(replace(tensor, name=odd, operation=odd) for tensor in bad.tensors),
        traces=tuple(replace(trace, name=odd) for trace in bad.traces),
        first_difference=replace(bad.first_difference, tensor=odd, operation=odd),
    )
    page = to_html(to_json(report))
    assert "<script" not in page and "&lt;script&gt;" in page
    suite = ElementTree.fromstring(stages_to_junit(to_json(report)))
    assert "<script>alert" in str(suite.get("name")) and len(suite) == len(bad.stages)


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_check_from_the_command_line(recording: Path, tmp_path: Path) -> None:
    page, junit = tmp_path / "r.html", tmp_path / "r.xml"
    model = MODELS / f"{SMALL}.tflite"
    made = run(
        "check", model, "--target", "host", "--input", recording, "--html", page, "--junit", junit, "--rate", 250
    )
    assert made.exit_code == 0, made.output
    assert "EQUAL: host computes what the host computes" in made.output and "nanoseconds per input frame" in made.output
    assert re.search(r"memory on the board, bytes: plan [\d,]+, state [\d,]+, scratch [\d,]+", made.output)
    assert page.read_text().startswith("<!doctype html>") and ElementTree.parse(junit)
    made = run("check", model, "-t", "host", "-i", recording, "--json", "--taps", "all", "--chunks", "7")
    data = json.loads(made.stdout)
    assert made.exit_code == 0 and data["passed"] and data["chunks"] == "7"
    saved = tmp_path / "r.json"
    saved.write_text(made.stdout)
    assert run("report", saved, "--html", tmp_path / "again.html").exit_code == 0
    assert run("report", saved).exit_code != 0


def test_a_page_that_fails_takes_no_other_answer_with_it(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(data: dict[str, Any]) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("firmware_bridge.cli.check.to_html", fails)
    page, junit = tmp_path / "r.html", tmp_path / "r.xml"
    made = run(
        *("check", MODELS / f"{SMALL}.tflite", "--target", "host", "--input", recording, "--json"),
        *("--html", page, "--junit", junit),
    )
    assert isinstance(made.exception, OSError) and json.loads(made.stdout)["passed"]
    assert ElementTree.parse(junit) and not page.exists()


def test_a_difference_is_exit_code_1(recording: Path) -> None:
    pytest.importorskip("tflite_micro")
    x = recording.with_name("causal.npy")
    np.save(x, program("causal.i8").model.inputs[0].dequantize(signal("causal.i8", 200)))
    made = run("check", MODELS / "causal.i8.tflite", "-t", "tflm", "-i", x)
    assert made.exit_code == 1 and "compare with --rounding tflm" in made.output
    made = run("check", MODELS / "causal.i8.tflite", "-t", "tflm", "-i", x, "--rounding", "tflm")
    assert made.exit_code == 0, made.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--target", "nowhere"), "there is no target 'nowhere'"),
        (("--target", "host", "--taps", "some"), "--taps is outputs, states or all"),
        (("--target", "host", "--chunks", "x"), "there is no way to cut 'x'"),
        (("--target", "host", "--tolerance", "close"), "there is no tolerance 'close'"),
        (("--target", "host", "--faults", "rain=1"), "there is no fault 'rain'"),
        (("--target", "host", "--faults", "reader_bytes_per_s=-1"), "reader_bytes_per_s is a number from 1 on"),
        (("--target", "host", "--faults", "flip=nan"), "flip is a probability from 0 to 1, not nan"),
        (("--target", "host", "--rate", "-5"), "samples a second"),
        (("--target", "host", "--html", "/nowhere/page.html"), "there is no folder /nowhere for page.html"),
        (("--target", "host", "--junit", "/"), "/ is a folder"),
        (("--target", "host:there"), "host takes nothing behind a colon"),
        (("--target", "neuralspot:"), "no port is named"),
        (("--target", "neuralspot:x", "--html", "p.html", "--taps", "all"), "neuralspot:x has no --taps, --html: it"),
    ],
)
def test_a_wrong_command_is_one_sentence(arguments: tuple[str, ...], told: str, recording: Path) -> None:
    command = [sys.executable, "-c", "from firmware_bridge.cli import main; main()", "check"]
    said = subprocess.run(
        [*command, MODELS / f"{SMALL}.tflite", "--input", recording, *arguments], capture_output=True, text=True
    )
    assert said.returncode == 2 and told in said.stderr and "Traceback" not in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_outputs_never_overwrite_what_is_read_or_each_other(recording: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes((MODELS / f"{SMALL}.tflite").read_bytes())
    link = tmp_path / "link.html"
    link.symlink_to(recording)
    before = model.read_bytes(), recording.read_bytes()
    command = ("check", model, "-t", "host", "-i", recording)
    for options, told in (
        (("--html", recording), "is read here and would be written over"),
        (("--junit", recording), "is read here and would be written over"),
        (("--html", model), "is read here and would be written over"),
        (("--html", link), "is read here and would be written over"),
        (("--html", tmp_path / "r", "--junit", tmp_path / "." / "r"), "would be written twice"),
    ):
        made = run(*command, *options)
        assert isinstance(made.exception, TcnStreamError) and told in str(made.exception), options
    saved = tmp_path / "saved.json"
    saved.write_text("{}")
    made = run("report", saved, "--html", saved)
    assert isinstance(made.exception, TcnStreamError) and saved.read_text() == "{}"
    assert before == (model.read_bytes(), recording.read_bytes())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.html", "model.tflite", "saved.json", "signal.npy"]


def test_a_target_that_compares_nothing_is_no_success(tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    np.save(tmp_path / "short.npy", np.zeros((5, *program(SMALL).model.inputs[0].shape), np.float32))
    arguments = (MODELS / f"{SMALL}.tflite", "-t", "tflm?hop=8", "-i", tmp_path / "short.npy")
    made = run("check", *arguments)
    assert made.exit_code != 0 and "so nothing would be compared" in str(made.exception)
    made = run("soak", *arguments, "--frames", 5)
    assert made.exit_code == 1 and "GAVE UP: nothing was compared: 5 input frames" in made.output


def test_soak_survives_noise_cuts_and_restarts() -> None:
    """The line damages bytes all the time, and the first connections are cut."""
    opened = []

    def connect() -> Any:
        k = len(opened)
        faults = Faults(flip=0.0005, drop=0.005, seed=k, cut_after_frames=None if k > 3 else 400)
        board = open_board("host", program(SMALL), Options(wrap=faulty(faults)))
        board.link.least_wait_s = 0.01  # type: ignore[attr-defined]
        opened.append(board)
        return board

    found = soak(program(SMALL), connect, signal(SMALL, 700), frames=20_000, snapshot_frames=500)
    assert found.passed, found.verdict
    assert found.frames_in == 20_000 and found.frames_compared > 19_900 and found.states_compared >= 30
    assert found.line_failures >= 3 and found.resumed_from_snapshot >= 3 and found.resends > 0
    assert all(board.link.transport._inner.process.poll() is not None for board in opened)


def test_soak_survives_a_board_that_starts_again() -> None:
    open_board("host", program(SMALL)).close()  # the firmware is built before its time is taken
    boards: list[Any] = []
    pushed: list[int] = []

    def connect() -> Any:
        board: Any = open_board("host", program(SMALL))
        boards.append(board)
        push = board.push

        def cut_power(chunks: Any) -> Any:
            pushed.append(len(boards))
            if len(pushed) == 3:
                board.link.transport.process.kill()
            return push(chunks)

        board.push = cut_power
        return board

    found = soak(program(SMALL), connect, signal(SMALL, 500), seconds=2.0)
    assert {1, 2} == set(pushed) and found.passed and found.line_failures == 1 and found.longest_outage_s < 5
    assert "host hung up" in found.events[0]


def test_soak_gives_up_in_time_and_reports_a_difference() -> None:
    tried = []

    def once() -> Any:
        tried.append(1)
        if len(tried) > 1:
            raise TargetError("the port is gone")
        return open_board("host", program(SMALL), Options(wrap=faulty(Faults(cut_after_frames=100))))

    found = soak(program(SMALL), once, signal(SMALL, 500), frames=9_000, recover_s=0.3)
    assert not found.passed and "did not come back within 0.3 s" in found.verdict

    def faulted() -> Any:
        board = open_board("host", program(SMALL), Options(fault=True))
        board.fault(3)  # type: ignore[attr-defined]
        return board

    found = soak(program(SMALL), faulted, signal(SMALL, 500), frames=9_000)
    assert not found.passed and found.verdict.startswith("DIFFERENT: output `")
    with pytest.raises(BridgeError, match="--seconds or for --frames"):
        soak(program(SMALL), faulted, signal(SMALL, 10))


def test_soak_from_the_command_line(recording: Path) -> None:
    made = run("soak", MODELS / f"{SMALL}.tflite", "-t", "host", "-i", recording, "--frames", 500, "--json")
    assert made.exit_code == 0 and json.loads(made.stdout)["frames_in"] == 500


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("soak", "MODEL", "-t", "host", "-i", "INPUT", "--seconds", "60"), 130, ", interrupted; survived 0 failures"),
        (("check", "MODEL", "-t", "host", "-i", "INPUT", "--chunks", "1"), 130, "interrupted: there is no verdict"),
        (("twin", "MODEL", "pty"), 0, "answered 0 calls and 0 windows"),
    ],
)
def test_ctrl_c_ends_a_command_with_what_there_is_to_say(
    arguments: tuple[str, ...], code: int, told: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((60_000, *program(SMALL).model.inputs[0].shape), np.float32))
    names = {"MODEL": str(MODELS / f"{SMALL}.tflite"), "INPUT": str(tmp_path / "x.npy")}
    with a_board("host"):
        pass
    command = [sys.executable, "-c", "from firmware_bridge.cli import main; main()"]
    process = subprocess.Popen(
        [*command, *(names.get(a, a) for a in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os_signal.signal(os_signal.SIGINT, os_signal.default_int_handler),
    )
    _wait_until_at_work(process)
    process.send_signal(os_signal.SIGINT)
    said, noted = process.communicate(timeout=60)
    assert process.returncode == code and told in said + noted and "Traceback" not in noted


def _wait_until_at_work(process: subprocess.Popen[str]) -> None:
    """Until the firmware runs as its child, or the twin says where it waits."""
    if "twin" in process.args:  # type: ignore[operator]
        assert process.stderr is not None and "waiting on" in process.stderr.readline()
        return
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 60
    while not children.read_text() and time.monotonic() < until:
        time.sleep(0.02)


def test_soak_of_a_board_without_snapshots_begins_a_new_stream() -> None:
    boards: list[Any] = []

    def connect() -> Any:
        faults = Faults(cut_after_frames=None if boards else 200)
        board = open_board("host", program(SMALL), Options(wrap=faulty(faults)))
        board.hello = replace(board.hello, can=board.hello.can & ~Can.SNAPSHOT)  # type: ignore[attr-defined]
        boards.append(board)
        return board

    found = soak(program(SMALL), connect, signal(SMALL, 300), frames=9_000)
    assert found.passed and found.line_failures == 1 and found.states_compared == 0, found.verdict
    assert found.resumed_from_snapshot == 0 and 8_500 < found.frames_compared < 9_000
    assert found.events[1].endswith("in a new stream")


def test_a_recording_without_frames_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros((0, 1), np.float32))
    for command in ("check", "soak"):
        more = ("--frames", 10) if command == "soak" else ()
        made = run(command, MODELS / f"{SMALL}.tflite", "-t", "host", "-i", tmp_path / "none.npy", *more)
        assert isinstance(made.exception, SignalError) and "none.npy holds no samples" in str(made.exception)


def test_the_channel_that_is_compared_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "three.npy", np.zeros((50, 3), np.float32))
    made = run("check", MODELS / f"{SMALL}.tflite", "-t", "host", "-i", tmp_path / "three.npy")
    assert made.exit_code == 0 and "three.npy: channel 0 of 0, 1, 2" in made.stderr


def test_a_shadow_compares_behind_a_live_stream() -> None:
    x = signal(SMALL, 400)
    expected = program(SMALL).model.stream()
    with a_board("host", SMALL) as board:
        stream = program(SMALL).model.stream()
        stream.push(x[:30])  # it was live before the board came
        expected.push(x[:30])
        with Shadow(stream, board, program(SMALL)) as shadow:
            for k in range(30, 400, 10):
                assert np.array_equal(shadow.push(x[k : k + 10]), expected.push(x[k : k + 10]))
            assert np.array_equal(shadow.flush(), expected.flush())
            shadow.reset()
            shadow.push(x[:50])
            assert shadow.wait(60)
        found = shadow.report()
    # flush gives what was held back; 30 frames were before, and 50 came after the reset
    assert found.passed and found.skipped_chunks == 0 and found.frames == found.equal > 380


def test_a_shadow_that_falls_behind_goes_on_from_the_live_state() -> None:
    x = signal(SMALL, 600)
    with a_board("host", SMALL) as board:
        slow = board.push

        def slowly(chunks: Any) -> Any:
            time.sleep(0.01)
            return slow(chunks)

        board.push = slowly
        shadow = Shadow(program(SMALL).model.stream(), board, program(SMALL), waiting_chunks=4)
        for k in range(0, 600, 5):
            shadow.push(x[k : k + 5])
            if k % 100 == 0:
                assert shadow.wait(60)
        shadow.close()
        found = shadow.report()
    assert found.passed and found.skipped_chunks > 10 and found.resumed >= 2 and found.frames > 20


def test_a_shadow_never_harms_the_live_stream() -> None:
    x = signal(SMALL, 200)
    expected = program(SMALL).model.stream().push(x)
    boards: list[Any] = []
    with a_board("host", SMALL) as board:
        shadow = Shadow(program(SMALL).model.stream(), board, program(SMALL))
        board.link.transport.process.kill()
        made = [shadow.push(x[k : k + 20]) for k in range(0, 200, 20)]
        shadow.close()
        assert np.array_equal(np.concatenate(made), expected)  # type: ignore[arg-type]
        assert "host hung up" in shadow.report().error and not shadow.report().passed

    tries: list[int] = []

    def again() -> Any:
        tries.append(len(tries))
        if len(tries) == 1:
            raise TargetError("it is still away")
        boards.append(open_board("host", program(SMALL)))
        return boards[-1]

    first = open_board("host", program(SMALL))
    shadow = Shadow(program(SMALL).model.stream(), first, program(SMALL), reopen=again)
    try:
        shadow.push(x[:20])
        assert shadow.wait(60)
        first.link.transport.process.kill()  # type: ignore[attr-defined]
        shadow.push(x[20:30])
        while not boards:
            assert shadow.report().error in ("", "it is still away") or "hung up" in shadow.report().error
            time.sleep(0.01)
        assert shadow.wait(60)
        for k in range(30, 200, 10):
            shadow.push(x[k : k + 10])
            assert shadow.wait(60)
        found = shadow.report()
    finally:
        shadow.close()
        for opened in (first, *boards):
            opened.close()
    assert found.passed and found.resumed == 1 and found.skipped_chunks > 0 and found.frames > 100


def test_what_was_meant_for_a_line_that_failed_is_not_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line fails and is there again while the live stream is about to give it a chunk."""
    x = signal(SMALL, 100)
    boards = [open_board("host", program(SMALL)) for _ in range(2)]
    there, hold = threading.Event(), threading.Event()
    shadow = Shadow(
        program(SMALL).model.stream(),
        boards[0],
        program(SMALL),
        reopen=lambda: boards[1],
        on_line=lambda trouble: there.set() if not trouble else None,
    )
    try:
        shadow.push(x[:20])
        assert shadow.wait(60)
        send = shadow._send

        def late(work: Any) -> bool:
            if hold.is_set():
                return send(work)
            hold.set()
            boards[0].link.transport.process.kill()  # type: ignore[attr-defined]
            send(work)
            assert there.wait(60)
            return send(work)

        monkeypatch.setattr(shadow, "_send", late)
        shadow.push(x[20:50])
        assert shadow.wait(60)
        for k in range(50, 100, 10):
            shadow.push(x[k : k + 10])
            assert shadow.wait(60)
        found = shadow.report()
    finally:
        shadow.close()
        for board in boards:
            board.close()
    assert found.passed and not found.differences and found.resumed == 1 and found.frames > 10


def test_a_board_that_comes_after_the_end_is_closed() -> None:
    asked, go_on = threading.Event(), threading.Event()
    boards: list[Any] = []

    def comes_late() -> Any:
        asked.set()
        assert go_on.wait(60)
        boards.append(open_board("host", program(SMALL)))
        return boards[-1]

    shadow = Shadow(program(SMALL).model.stream(), None, program(SMALL), reopen=comes_late)
    assert asked.wait(60)
    shadow.close(0.1)
    go_on.set()
    shadow._thread.join(60)
    assert not shadow._thread.is_alive()
    assert boards[0].link.transport.process.poll() is not None


def test_a_shadow_reports_a_difference() -> None:
    told: list[int] = []
    with a_board("host", SMALL, fault=True) as board:
        board.fault(4)
        with Shadow(program(SMALL).model.stream(), board, program(SMALL), on_difference=told.append) as shadow:
            for k in range(0, 100, 10):
                shadow.push(signal(SMALL)[k : k + 10])
        found = shadow.report()
    assert not found.passed and told and found.first_difference_chunk == told[0] and found.largest >= 1


def fake_ports(monkeypatch: pytest.MonkeyPatch, *ports: tuple[str, int | None, int | None]) -> None:
    tools = pytest.importorskip("serial.tools.list_ports")
    made = [SimpleNamespace(device=d, vid=v, pid=p, serial_number="123457", description="n/a") for d, v, p in ports]
    monkeypatch.setattr(tools, "comports", lambda: made)


def test_devices_are_named_and_never_picked_from_several(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ports(
        monkeypatch, ("/dev/ttyS0", None, None), ("/dev/ttyACM0", 0xCAFE, 0x4011), ("/dev/ttyACM1", 0x1366, 0x105)
    )
    found = devices.list_devices()
    assert [d.port for d in found] == ["/dev/ttyACM0", "/dev/ttyACM1", "/dev/ttyS0"]
    assert "neuralSPOT" in found[0].known and "SEGGER" in found[1].known and not found[2].known
    with pytest.raises(TargetError, match="several boards are connected, say which: serial:/dev/ttyACM0"):
        devices.only_device()
    fake_ports(monkeypatch, ("/dev/ttyS0", None, None), ("/dev/ttyACM0", 0xCAFE, 0x4001))
    assert devices.only_device().target == "serial:/dev/ttyACM0"
    made = run("devices", "--no-ask", "--json")
    assert made.exit_code == 0 and json.loads(made.stdout)[0]["usb"] == "CAFE:4001"
    fake_ports(monkeypatch)
    assert "no serial ports" in run("devices").output
    with pytest.raises(TargetError, match="no known board is connected"):
        devices.only_device()


def test_a_device_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process behind a pseudo-terminal stands for a board on a serial port."""
    pty = pytest.importorskip("pty")
    pytest.importorskip("serial")
    tty = importlib.import_module("tty")
    from firmware_bridge.boards.build import build

    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    name = importlib.import_module("os").ttyname(theirs)
    answers = devices.ask_port(name, wait_s=0.3)
    assert "no bridge firmware: no reply to hello" in answers
    binary = build("host")
    process = subprocess.Popen([binary], stdin=ours, stdout=ours)
    try:
        assert devices.ask_port(name, wait_s=60.0).startswith("bridge firmware ")
        assert ", no model" in devices.ask_port(name, wait_s=60.0)
        x = signal(SMALL, 200)
        with a_board(f"serial:{name}?baud=115200", SMALL) as board:
            assert np.array_equal(board.push([x]).outputs[0], program(SMALL).model.stream().push(x))
    finally:
        process.kill()
        process.wait(60)


def test_the_pytest_plugin(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = with_plugin(monkeypatch)
    model, x = MODELS / f"{SMALL}.tflite", pytester.path / "x.npy"
    np.save(x, program(SMALL).model.inputs[0].dequantize(signal(SMALL, 80)))
    pytester.makepyfile(
        f"""
        def test_board(hil_check):
            report = hil_check({str(model)!r}, {str(x)!r})
            assert report.passed, report.verdict

        def test_itself(board):
            assert board.facts.target == "host"
        """
    )
    pytester.runpytest_inprocess(*plugin).assert_outcomes(skipped=2)
    pytester.runpytest_inprocess(*plugin, "--hil-target", "host").assert_outcomes(passed=2)
    told = pytester.runpytest_inprocess(*plugin, "--hil-required")
    told.assert_outcomes(errors=2)
    assert "--hil-required: no board: give --hil-target" in told.stdout.str()


@pytest.mark.parametrize("more", [(), ("--hil-required",)])
def test_a_named_board_that_is_not_there_is_a_failure(
    more: tuple[str, ...], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names a board wants its verdict; a skip would pass for one."""
    plugin = with_plugin(monkeypatch)
    x = pytester.path / "x.npy"
    np.save(x, np.zeros((20, *program(SMALL).model.inputs[0].shape), np.float32))
    pytester.makepyfile(
        f"""
        def test_board(hil_check):
            hil_check({str(MODELS / f"{SMALL}.tflite")!r}, {str(x)!r})

        def test_itself(board):
            pass
        """
    )
    told = pytester.runpytest_inprocess(*plugin, *more, "--hil-target", "tcp:127.0.0.1:1")
    told.assert_outcomes(failed=1, errors=1)
    assert "--hil-target: tcp:127.0.0.1:1: Connection refused" in told.stdout.str()
    told = pytester.runpytest_inprocess(*plugin, *more, "--hil-target", "nowhere")
    told.assert_outcomes(errors=2)
    told = pytester.runpytest_inprocess(*plugin, *more, "--hil-target", "neuralspot:tcp:127.0.0.1:1")
    told.assert_outcomes(failed=1, errors=1)


def test_errors_of_the_line_are_one_tree() -> None:
    assert issubclass(LinkError, BridgeError)


def _command(*arguments: object) -> subprocess.Popen[bytes]:
    line = "from firmware_bridge.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(Path(tcnstream.__file__).parents[1])}
    command = [sys.executable, "-P", "-c", line, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def test_a_sentence_names_the_options_of_the_command_not_the_library_s_arguments(recording: Path) -> None:
    model = MODELS / "spectro.f32.tflite"
    with _command("check", model, "--target", "host", "--input", recording, "--time-axis", 9) as process:
        _, said = process.communicate()
    assert process.returncode == 2
    assert b"name one with --time-axis" in said and b"time_axis" not in said


def test_a_closed_pipe_is_not_the_answer_that_a_comparison_did_not_hold(recording: Path) -> None:
    with _command("check", MODELS / f"{SMALL}.tflite", "--target", "host", "--input", recording, "--json") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 141
