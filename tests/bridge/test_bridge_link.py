"""Requests over lines that lose, repeat and damage bytes: nothing lost, nothing twice, nothing for ever."""

from __future__ import annotations

import hashlib
import re
import signal as os_signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.bridge_tools import a_board, program, signal
from helpers.took import least_s, told_in_time

import tcnstream
from firmware_bridge.boards.bridge_board import BridgeBoard
from firmware_bridge.boards.program import Program
from firmware_bridge.check.run import check
from firmware_bridge.errors import BoardRestartedError, BridgeError, LinkError, MismatchError, RefusedError, TargetError
from firmware_bridge.link.faults import Faults, FaultyTransport, faulty, parse_faults
from firmware_bridge.link.messages import BeginRequest, ChunkRequest, Have, Kind, Object, Status
from firmware_bridge.link.session import Link
from firmware_bridge.link.transport import SocketTransport
from firmware_bridge.link.wire import Frame, encode
from firmware_bridge.targets import open_board, parse_target
from tcnstream.errors import TcnStreamError
from tcnstream.signal.card import find_model

SMALL = "nse_sm.i8"


@pytest.fixture
def line() -> Iterator[tuple[Link, socket.socket]]:
    """A link and the other end of its line, where the test speaks for the board."""
    ours, theirs = socket.socketpair()
    with theirs:
        link = Link(SocketTransport(ours, "test"), least_wait_s=0.01)
        yield link, theirs
        link.close()


@pytest.mark.slow
def test_twenty_thousand_exchanges_on_a_bad_line() -> None:
    """One byte in a hundred damaged, one frame in a hundred lost and one doubled, both ways."""
    frames = 20_000
    x = np.random.default_rng(0).integers(-128, 128, (frames, 1), np.int8)
    stream = program(SMALL).model.stream()
    expected = np.concatenate([stream.push(x), stream.flush()])
    with a_board("host", SMALL) as board:
        bad = FaultyTransport(board.link.transport, Faults(flip=0.01, drop=0.01, duplicate=0.01, seed=1))
        board.link.transport = bad
        board.link.least_wait_s = 0.002
        made = [board.push([x[k : k + 1]]).outputs[0] for k in range(frames)]
        made.append(board.flush().outputs[0])
        assert np.array_equal(np.concatenate(made), expected)
        assert board.link.stats.exchanges >= frames
        assert bad.done.flipped_bytes > 10_000 and bad.done.dropped_frames > 400 and bad.done.duplicated_frames > 400


@pytest.mark.parametrize(
    "faults",
    ["lose=0.01", "flip=0.01", "drop=0.2", "duplicate=0.5", "delay=0.3,delay_s=0.03", "reader_bytes_per_s=20000"],
)
def test_every_fault_is_survived(faults: str) -> None:
    x = signal(SMALL, 300)
    stream = program(SMALL).model.stream()
    with a_board("host", SMALL) as board:
        board.link.transport = FaultyTransport(board.link.transport, parse_faults(faults + ",seed=3"))
        board.link.least_wait_s = 0.005
        for k in range(0, len(x), 7):
            assert np.array_equal(board.push([x[k : k + 7]]).outputs[0], stream.push(x[k : k + 7]))
        assert np.array_equal(board.flush().outputs[0], stream.flush())


def test_a_large_object_over_a_bad_line_with_several_requests_under_way() -> None:
    blob = bytes(np.random.default_rng(2).integers(0, 256, 60_000, np.uint8))
    with a_board("host") as board:
        board.link.transport = FaultyTransport(board.link.transport, Faults(flip=0.0002, drop=0.05, duplicate=0.05))
        board.link.least_wait_s = 0.005
        board.send_object(Object.SNAPSHOT, blob)
        begin = BeginRequest(Object.SNAPSHOT, len(blob), hashlib.sha256(blob).digest())
        have = board.link.exchange(Kind.BEGIN, begin.pack())
        assert Have.unpack(have.payload).have_bytes == len(blob)


def test_a_broken_transfer_goes_on_where_it_stopped() -> None:
    content = program(SMALL).content
    digest = hashlib.sha256(content).digest()
    with a_board("host") as board:
        step = 4096 - ChunkRequest.size_bytes()
        board.link.exchange(Kind.BEGIN, BeginRequest(Object.PLAN, len(content), digest).pack())
        board.link.exchange(Kind.CHUNK, ChunkRequest(digest[:4], 0, len(content), content[:step]).pack())
        board.connect()  # the cable was pulled and put back
        assert board.send_object(Object.PLAN, content) == step
        board.link.exchange(Kind.COMMIT, bytes([Object.PLAN]))
        assert board.connect().plan_sha256 == digest


@pytest.mark.parametrize(
    ("say", "told"),
    [
        (lambda asked: asked, "what is sent comes back: a loop-back plug"),
        (lambda asked: bytes(40), "[0-9]+ bytes came and none of them says anything: check the baud rate"),
        (lambda asked: b"login: ", "what came is no frame of the bridge: 'login: "),
        (lambda asked: b"", "nothing came at all: check the port"),
        (
            lambda asked: encode(Frame(Kind.LOG, payload=b"\0started")),
            "all that came is its log, last 'started': it does",
        ),
    ],
)
def test_what_is_no_board_is_told_apart(say: Any, told: str, line: tuple[Link, socket.socket]) -> None:
    link, other = line
    over = threading.Event()
    other.settimeout(0.05)

    def answer() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                other.sendall(say(other.recv(4096)))

    def said(limit_s: float) -> str:
        with pytest.raises(LinkError) as caught:
            link.hello(limit_s)
        return str(caught.value)

    helper = threading.Thread(target=answer)
    helper.start()
    try:
        assert re.search(told, told_in_time(said, told, 0.5))
    finally:
        over.set()
        helper.join()


def test_a_board_that_stops_is_given_up_by_what_its_pushes_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is for a first push that nobody has timed."""
    monkeypatch.setattr("firmware_bridge.boards.bridge_board.DEADLINE_S", 0.2)
    monkeypatch.setattr("firmware_bridge.boards.bridge_board._LEAST_COMPUTE_DEADLINE_S", 0.2)
    with a_board("host", SMALL) as board:
        for _ in range(5):
            board.push([signal(SMALL, 10)])
        process = board.link.transport.process
        process.send_signal(os_signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(LinkError, match=r"no reply to push within .* replies came before, so the board stopped"):
            board.push([signal(SMALL, 10)])
        assert time.monotonic() - began < 30
        process.send_signal(os_signal.SIGCONT)


def test_pieces_of_frames_behind_good_ones_are_no_other_firmware(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_board("host") as board:
        link = board.link
        read = link.transport.read
        monkeypatch.setattr(link.transport, "read", lambda timeout_s: read(timeout_s)[:7])

        def said(limit_s: float) -> str:
            with pytest.raises(LinkError) as caught:
                link.exchange(Kind.STATS, b"", limit_s)
            return str(caught.value)

        told = r"\d+ replies came before, and pieces of frames since: the line loses"
        assert re.search(told, told_in_time(said, told, 0.4))


def test_a_wrong_hash_is_refused_with_both() -> None:
    content = program(SMALL).content
    wrong = hashlib.sha256(b"another").digest()
    with a_board("host") as board:
        board.link.exchange(Kind.BEGIN, BeginRequest(Object.PLAN, len(content), wrong).pack())
        for at in range(0, len(content), 4000):
            chunk = ChunkRequest(wrong[:4], at, len(content), content[at : at + 4000])
            board.link.exchange(Kind.CHUNK, chunk.pack())
        with pytest.raises(RefusedError, match=r"the object's hash is [0-9a-f]{8}\.\.\. and should be [0-9a-f]{8}"):
            board.link.exchange(Kind.COMMIT, bytes([Object.PLAN]))
        with pytest.raises(RefusedError, match="the board refused push: it has no model; load one"):
            board.link.exchange(Kind.PUSH, bytes(8))


@pytest.mark.parametrize(
    ("kind", "payload", "status"),
    [
        (99, b"", Status.UNKNOWN),
        (Kind.PUSH, b"\0", Status.MALFORMED),
        (Kind.PUSH, b"\0\0\0\0\xff\xff\xff\xff", Status.MALFORMED),
        (Kind.PUSH, b"\1\0\0\0\1\0\0\0", Status.NO_OBJECT),
        (Kind.READ, bytes(12), Status.MALFORMED),
        (Kind.READ, b"\3\0\0\0\xff\xff\xff\x7f\xff\xff\xff\x7f", Status.OFFSET),
        (Kind.TAP, b"\xff\xff\xff\x7f", Status.MALFORMED),
        (Kind.BEGIN, b"\0", Status.MALFORMED),
        (Kind.BEGIN, b"\0\0\0\0\xff\xff\xff\x7f" + bytes(32), Status.TOO_BIG),
        (Kind.CHUNK, bytes(20), Status.NO_OBJECT),
        (Kind.COMMIT, b"\1", Status.NO_OBJECT),
        (Kind.FAULT, bytes(4), Status.UNSUPPORTED),
    ],
)
def test_a_wrong_request_is_refused_and_the_board_goes_on(kind: int, payload: bytes, status: Status) -> None:
    with a_board("host", SMALL) as board:
        with pytest.raises(RefusedError) as refused:
            board.link.exchange(kind, payload)
        assert refused.value.status == status
        assert len(board.push([signal(SMALL, 50)]).outputs[0])


def test_a_silent_port_is_an_error_in_time_not_a_hang(line: tuple[Link, socket.socket]) -> None:
    def ask() -> None:
        with pytest.raises(LinkError, match=r"no reply to hello within .* s and \d+ attempts; nothing came at all"):
            line[0].hello(deadline_s=0.3)

    assert least_s(ask, 2) < 2


def test_text_on_the_port_is_shown(line: tuple[Link, socket.socket]) -> None:
    link, board = line
    board.sendall(b"hello from some other firmware\r\n")
    with pytest.raises(LinkError, match=r"no frame of the bridge: 'hello from some other firmware"):
        link.hello(deadline_s=0.3)


def test_text_between_frames_becomes_log_lines_and_harms_nothing() -> None:
    with a_board("host", SMALL) as board:
        spoken = board.link.transport
        ours, theirs = socket.socketpair()
        board.link.transport = SocketTransport(ours, "test")
        board.link.least_wait_s = 60.0  # a busy machine is no reason to ask again

        over = threading.Event()

        def hears() -> None:
            while request := theirs.recv(65536):
                spoken.write(request, 60.0)

        def talks() -> None:
            replies = b""
            while not over.is_set():
                replies += spoken.read(0.05)
                if len(replies) > 1 and replies.endswith(b"\0"):  # between two frames
                    theirs.sendall(b"printf: battery 93 %\r\n" + replies)
                    replies = b""

        helpers = [threading.Thread(target=work, daemon=True) for work in (hears, talks)]
        for helper in helpers:
            helper.start()
        x = signal(SMALL, 40)
        assert np.array_equal(board.push([x]).outputs[0], program(SMALL).model.stream().push(x))
        assert ("text", "printf: battery 93 %") in board.log and board.link.stats.resends == 0
        over.set()
        board.link.transport.close()
        for helper in helpers:
            helper.join(60.0)
        theirs.close()
        board.link.transport = spoken


def test_a_late_reply_is_not_taken_for_the_next_one(line: tuple[Link, socket.socket]) -> None:
    link, board = line

    def late() -> None:
        board.recv(4096)
        for sequence in (0xFFF0, 0, 1):  # an old one, the right one, one that nobody asked for yet
            board.sendall(encode(Frame(Kind.STATS | 0x80, 0, link.session, sequence, 0, bytes([sequence & 255]))))

    helper = threading.Thread(target=late)
    helper.start()
    assert link.exchange(Kind.STATS).payload == b"\0"
    helper.join()
    assert link.stats.stray_frames >= 1


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    with a_board("host", SMALL) as board:
        board.link.transport.process.kill()
        with pytest.raises(LinkError, match="host hung up"):
            board.push([signal(SMALL, 4)])


def test_a_restarted_board_is_told_and_streams_again() -> None:
    x = signal(SMALL, 200)
    stream = program(SMALL).model.stream()
    with a_board("host", SMALL) as board:
        stream.push(x[:100])
        board.push([x[:100]])
        blob = board.snapshot()
        session = board.link.session
        board.restart()  # as a power cycle: everything is forgotten
        board.link._session = session
        with pytest.raises(BoardRestartedError, match="load the model and restore a snapshot"):
            board.push([x[100:]])
        board.resume(program(SMALL))
        board.restore(blob)
        assert np.array_equal(board.push([x[100:]]).outputs[0], stream.push(x[100:]))


def test_log_lines_come_beside_the_data() -> None:
    with a_board("host") as board:
        assert ("info", "started") in board.log


@pytest.mark.parametrize("target", ["host", "host?pty=1"])
def test_a_pipe_and_a_pseudo_terminal(target: str) -> None:
    x = signal(SMALL, 300)
    with a_board(target, SMALL) as board:
        assert board.facts.target == "host"
        assert np.array_equal(board.push([x]).outputs[0], program(SMALL).model.stream().push(x))


def test_two_different_models_are_a_refusal_with_both_values() -> None:
    with a_board("host", SMALL) as board:
        assert isinstance(board, BridgeBoard)
        board.hello = board.hello.__class__(**{**board.hello.__dict__, "can": board.can | 32})
        with pytest.raises(MismatchError) as told:
            board.start(program("causal.i8", "tflm"))
        for value in (program(SMALL).sha256[:8].hex(), program("causal.i8", "tflm").sha256[:8].hex(), "litert", "tflm"):
            assert value in str(told.value)


def test_another_core_is_a_refusal_with_both_values() -> None:
    with a_board("host") as board:
        board.hello = board.hello.__class__(**{**board.hello.__dict__, "core": "0.0.9+00000000"})
        with pytest.raises(MismatchError, match=r"runs core '0\.0\.9\+00000000' and this package has '\d"):
            board.start(program(SMALL))


def test_another_protocol_is_a_refusal_with_both_values(line: tuple[Link, socket.socket]) -> None:
    link, board = line

    def old() -> None:
        board.recv(4096)
        board.sendall(encode(Frame(Kind.HELLO | 0x80, 0, link.session, 0, 0, (7).to_bytes(4, "little") + bytes(200))))

    helper = threading.Thread(target=old)
    helper.start()
    with pytest.raises(BridgeError, match="the board speaks protocol 7 and this package protocol 1"):
        BridgeBoard("test", link)
    helper.join()


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nonsense", r"there is no target 'nonsense'; give one of host, qemu-m4"),
        ("tcp:localhost", r"write tcp:HOST:PORT"),
        ("tcp:127.0.0.1:1", r"tcp:127\.0\.0\.1:1: .*; start the board's server"),
        ("serial:", r"name the port, as in serial:/dev/ttyACM0"),
        ("serial:/dev/ttyNONE", r"serial:/dev/ttyNONE: "),
        ("serial:/dev/ttyACM0?baud=fast", r"baud takes a whole number above 0, not 'fast'"),
        ("host?colour=red", r"there is no setting 'colour'; it has pty"),
    ],
)
def test_a_wrong_target_is_told(target: str, told: str) -> None:
    with pytest.raises(TargetError, match=told):
        open_board(target)
    assert issubclass(TargetError, TcnStreamError)


def test_a_target_is_taken_apart() -> None:
    target = parse_target("serial:/dev/ttyACM0?baud=921600")
    assert (target.kind.name, target.place, target.settings) == ("serial", "/dev/ttyACM0", {"baud": "921600"})


@pytest.mark.parametrize("text", ["flips=1", "flip=much", "drop=2"])
def test_a_wrong_fault_is_told(text: str) -> None:
    with pytest.raises(BridgeError):
        parse_faults(text)


def test_a_cut_line_is_an_error() -> None:
    with (
        a_board("host", SMALL, wrap=faulty(Faults(cut_after_frames=40))) as board,
        pytest.raises(LinkError, match="cut"),
    ):
        for _ in range(100):
            board.stats()


def test_a_board_ends_with_the_process_that_opened_it(tmp_path: Path) -> None:
    with a_board("host"):
        pass
    code = (
        "from firmware_bridge.targets import open_board; import os, sys\n"
        "print(open_board('host').link.transport.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout
    status = Path(f"/proc/{int(said)}/status")
    until = time.monotonic() + 60
    while status.exists() and "zombie" not in status.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    assert not status.exists() or "zombie" in status.read_text()


@pytest.mark.slow
def test_a_model_too_large_for_a_board_is_told_with_the_board_s_own_words() -> None:
    ecg = Program.of(tcnstream.load(find_model("ecg")[0]))
    told = r"needs more memory for state or scratch than this board has\. Its state takes 6\d{4} bytes of the 52224"
    with pytest.raises(MismatchError, match=told):
        open_board("qemu-pl011", ecg).close()


@pytest.mark.slow
def test_what_a_model_takes_of_the_memory_is_shared_out_as_it_needs() -> None:
    """The state of `speech` and its snapshot were too large for memories of a fixed size each."""
    speech = Program.of(tcnstream.load(find_model("speech")[0]))
    x = np.random.default_rng(0).normal(0, 0.1, (1000, 1)).astype(np.float32)
    with a_board("qemu-pl011") as board:
        assert board.hello.object_room_bytes == board.hello.state_room_bytes == 51 << 10
    board = open_board("qemu-pl011", speech)
    try:
        assert check(speech, board, x, taps="outputs").passed
        stats = board.stats()
        used = stats.state_bytes + stats.scratch_bytes + board.hello.object_room_bytes
        assert stats.snapshot_bytes <= board.hello.object_room_bytes and 0 <= (51 << 10) - used < 192
    finally:
        board.close()


@pytest.mark.slow
def test_load_replaces_a_flashed_model_only_when_asked() -> None:
    with (
        a_board("qemu-m4", SMALL) as board,
        pytest.raises(MismatchError, match="or say --load to load it over the link"),
    ):
        board.start(program("strided.i8"))
    with a_board("qemu-m4", SMALL, load=True) as board:
        board.start(program("strided.i8"))
        assert board.runs(program("strided.i8").packed_for("cortex-m-dsp"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["qemu-m4?counted=0", "qemu-m55?counted=0"])
def test_a_board_hears_what_was_said_while_it_started(target: str) -> None:
    """The first hello is on the line before the firmware listens; half of the starts were deaf on a busy machine."""
    for _ in range(4):
        with a_board(target) as board:
            assert board.hello.protocol == 1
