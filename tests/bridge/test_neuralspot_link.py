"""The client and its check against twins over a line that loses, damages, delays and chatters; the clock is a fake."""

from __future__ import annotations

import json
import random
import struct
import sys
import types
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from helpers.layers import convolution, join
from helpers.netfile import Net
from helpers.paths import DATA
from helpers.took import least_s

import tcnstream
from firmware_bridge.errors import BridgeError, LinkError
from firmware_bridge.link.transport import open_serial
from firmware_bridge.neuralspot import (
    CallError,
    Client,
    NeuralSpotReport,
    PtyTransport,
    RefusalError,
    Twin,
    check,
    serve,
)
from firmware_bridge.neuralspot.datablock import Command, DataBlock, Method, Status, decode_request, encode_reply
from firmware_bridge.neuralspot.erpc import ErpcError, Framing, Message, MessageType, decode_message, frame
from firmware_bridge.neuralspot.validator import ValidatorBoard
from firmware_bridge.neuralspot.window import WindowModel
from tcnstream.engines.interpreter.runtime import run_offline
from tcnstream.errors import NotStreamableError, SignalError
from tcnstream.stream import as_frames

BODY = frame(Message(MessageType.REPLY, 2, 1, 1, encode_reply(None, 0)).encode(), Framing.V1_9)

Fault = Callable[[int, bytes], list[tuple[float, bytes]] | None]


class Line:
    """A twin behind a line whose time passes only while the client waits.

    ``reply_fault`` gets the number of the call and the reply and says what arrives when (seconds later, bytes);
    None leaves the reply as it is. ``call_fault`` damages what the twin gets.
    """

    def __init__(
        self, twin: Twin, reply_fault: Fault | None = None, call_fault: Callable[[int, bytes], bytes] | None = None
    ) -> None:
        self.twin = twin
        self.now_s = 0.0
        self.calls = 0
        self._reply_fault = reply_fault
        self._call_fault = call_fault
        self._due: list[tuple[float, bytes]] = []
        self._last_write_s = 0.0

    def now(self) -> float:
        return self.now_s

    def write(self, data: bytes, timeout_s: float = 1.0) -> None:
        if self.now_s - self._last_write_s > 1.0:
            self.twin.silence()
        self._last_write_s = self.now_s
        self.calls += 1
        reply = self.twin.receive(data if self._call_fault is None else self._call_fault(self.calls, data))
        parts = None if self._reply_fault is None else self._reply_fault(self.calls, reply)
        self._due += [(self.now_s + delay, part) for delay, part in ([(0.001, reply)] if parts is None else parts)]
        self._due.sort(key=lambda entry: entry[0])

    def read(self, timeout_s: float) -> bytes:
        if not self._due or self._due[0][0] > self.now_s + timeout_s:
            self.now_s += timeout_s
            return b""
        due, data = self._due.pop(0)
        self.now_s = max(self.now_s, due)
        return data

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def model() -> tcnstream.Model:
    """3200 bytes in and 4800 out: both go over in two chunks."""
    return load("sig_reflect.f32")


@pytest.fixture(scope="module")
def small() -> tcnstream.Model:
    return load("strided.i8")


def load(name: str) -> tcnstream.Model:
    return tcnstream.load(DATA / "models" / f"{name}.tflite")


def recording(model: tcnstream.Model, windows: float = 2.5) -> Any:
    frames = int(model.window_frames * windows)
    return np.random.default_rng(7).standard_normal((frames, *model.inputs[0].shape)).astype(np.float32)


def checked(model: tcnstream.Model, line: Line, **options: Any) -> NeuralSpotReport:
    return check(model, line, recording(model), now=line.now, **options)


@pytest.mark.parametrize("convention", ["validator", "heartkit"])
@pytest.mark.parametrize("framing", list(Framing))
def test_a_twin_equals_the_host_window_by_window(small: tcnstream.Model, convention: Any, framing: Framing) -> None:
    line = Line(Twin(small, convention, framing))
    report = checked(small, line, convention=convention, framing=framing)
    assert report.passed and report.convention == convention and report.framing == framing.value
    assert report.windows == 3 and report.outputs[0].frames == 3 * 64 == report.outputs[0].equal
    assert report.outputs[0].largest_steps == 0 and report.outputs[0].cosine == 1
    assert report.notes == ("the last window begins at frame 1536 and overlaps the one before it",)
    assert report.verdict == "yes: the board equals the host on all 192 output frames of 3 windows"
    assert not report.faults


@pytest.mark.parametrize("name", ["sig_reflect.f32", "ktcn_last.f32", "sig_valid.f32", "causal.i16", "spectro.i8"])
def test_the_windows_are_the_files_own_offline_answers(name: str) -> None:
    model = load(name)
    stored = np.load(DATA / "models" / f"{name}.npz")
    host = WindowModel(model)
    answer = np.frombuffer(host.run(stored["x"].tobytes()), stored["y"].dtype)
    wanted = stored["y"].ravel()
    if model.outputs[0].dtype.kind == "f":
        np.testing.assert_allclose(answer, wanted, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(answer, wanted)
    x = stored["x"].reshape(model.graph.tensors[model.graph.inputs[0]].shape)
    assert host.to_bytes(host.to_frames(x)) == stored["x"].tobytes()


def test_large_tensors_go_and_come_in_chunks(model: tcnstream.Model) -> None:
    line = Line(Twin(model))
    report = checked(model, line)
    # Configuration and a run for nothing; per window two chunks in, a run that gives one chunk out, a second one out.
    assert report.passed and line.calls == 2 + 3 * (2 + 1 + 1)
    assert report.outputs[0].frames == 1200


def test_a_board_of_the_other_framing_is_found(small: tcnstream.Model) -> None:
    line = Line(Twin(small, "validator", Framing.V1_12))
    report = checked(small, line)
    assert report.passed and report.framing == "1.12"
    told = Line(Twin(small, "validator", Framing.V1_12))
    with pytest.raises(CallError, match=r"not one byte; is this the board's RPC port .* and with eRPC 1.9.1"):
        checked(small, told, framing=Framing.V1_9)


def once(at: int, parts: Callable[[bytes], list[tuple[float, bytes]]]) -> Fault:
    return lambda call, reply: parts(reply) if call == at else None


FAULTS: dict[str, tuple[Callable[[bytes], list[tuple[float, bytes]]], str]] = {
    "length 0xFFFF": (lambda r: [(0.001, b"\xff\xff" + r[2:])], "length field says 65535, more than the 4096"),
    "length too large": (lambda r: [(0.001, b"\x00\x0f" + r[2:])], "so the length was damaged on the line"),
    "length too small": (lambda r: [(0.001, b"\x0b\x00" + r[2:])], "damaged on the line"),
    "damaged body": (lambda r: [(0.001, r[:-1] + bytes([r[-1] ^ 1]))], "has checksum"),
    "cut": (lambda r: [(0.001, r[:-2])], "the line was cut or bytes were lost"),
    "text instead": (
        lambda r: [(0.001, b"HardFault at 0x1234\r\n")],
        "text on the port, not a frame: 'HardFault at 0x",
    ),
    "no reply": (lambda r: [], "no reply within 5 s and not one byte"),
    "late": (lambda r: [(5.5, r)], "no reply within 5 s and not one byte"),
    "very late": (lambda r: [(6.102, r)], "no reply within 5 s and not one byte"),
    "noise": (
        lambda r: [(0.001, b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b")],
        "bytes that belong to no frame",
    ),
}


@pytest.mark.parametrize("at", [3, 4, 5, 6, 8])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_reply_is_diagnosed_and_the_window_begun_again(model: tcnstream.Model, fault: str, at: int) -> None:
    """Whichever call it hits: chunks that were appended before it are not appended twice."""
    parts, words = FAULTS[fault]
    line = Line(Twin(model), once(at, parts))
    report = checked(model, line)
    assert report.passed, report.verdict
    assert len(report.faults) == 1 and words in report.faults[0], report.faults
    assert report.late_replies == (1 if "late" in fault else 0)
    assert line.now_s < 12


@pytest.mark.parametrize("fault", FAULTS)
def test_heartkits_convention_recovers_too(small: tcnstream.Model, fault: str) -> None:
    chunks = -(-len(small.file.content) // 128)
    parts, words = FAULTS[fault]
    line = Line(Twin(small, "heartkit"), once(chunks + 6, parts))
    report = checked(small, line, convention="heartkit")
    assert report.passed and len(report.faults) == 1 and words in report.faults[0]


def test_text_around_replies_costs_nothing_and_is_kept(model: tcnstream.Model) -> None:
    line = Line(Twin(model), lambda call, reply: [(0.0, b"[INFO] call\r\n"), (0.001, reply), (0.001, b"done\r\n")])
    report = checked(model, line)
    assert report.passed and not report.faults
    assert any("[INFO] call" in note for note in report.notes)


def test_a_late_reply_is_not_taken_for_the_next_calls(small: tcnstream.Model) -> None:
    line = Line(Twin(small), once(2, lambda r: [(6.0, r)]))
    client = Client(line, now=line.now, first_sequence=1)
    board = ValidatorBoard(client, WindowModel(small))
    board.open()
    with pytest.raises(CallError, match=r"computeOnEVB \(call 2\): no reply within 5 s"):
        board.run(bytes(1024))
    block, status = client.fetch()
    assert status == Status.SUCCESS and block.description == "PartStats"
    client.recover()
    assert client.traffic.late_replies == 1
    assert client.notes[-1].startswith("late reply to computeOnEVB (call 2) 1.0 s after it was given up: dropped")


def test_a_damaged_call_is_one_that_the_board_never_got(model: tcnstream.Model) -> None:
    log: list[str] = []
    line = Line(
        Twin(model, log=log.append), call_fault=lambda call, data: b"\xff\xff" + data[2:] if call == 4 else data
    )
    report = checked(model, line)
    assert report.passed and len(report.faults) == 1 and "not one byte" in report.faults[0]
    assert any("length field says 65535" in sentence for sentence in log)


def test_a_dead_line_ends_in_words(small: tcnstream.Model) -> None:
    line = Line(Twin(small), lambda call, reply: [])
    with pytest.raises(CallError, match="no reply within 5 s and not one byte"):
        checked(small, line)
    assert line.now_s < 20
    dies = Line(Twin(small), lambda call, reply: [] if call > 2 else None)
    with pytest.raises(CallError, match=r"the last of 3 attempts"):
        checked(small, dies)
    assert dies.now_s < 60


def test_a_port_that_is_never_silent_is_named(small: tcnstream.Model) -> None:
    class Chatter(Line):
        def read(self, timeout_s: float) -> bytes:
            self.now_s += 0.5
            return b"hello\r\n" * 30

    line = Chatter(Twin(small))
    with pytest.raises(CallError, match=r"recovery: the line is not silent for 1.1 s within 10 s: text on the port"):
        checked(small, line)
    assert line.now_s < 12


def test_a_port_that_goes_away_is_named(small: tcnstream.Model) -> None:
    class Unplugged(Line):
        def write(self, data: bytes, timeout_s: float = 1.0) -> None:
            raise LinkError("the line to serial:x broke: Input/output error; was it unplugged?")

    with pytest.raises(LinkError, match=r"was it unplugged"):
        checked(small, Unplugged(Twin(small)))


@pytest.mark.parametrize("convention", ["validator", "heartkit"])
def test_many_random_faults_give_no_wrong_answer(small: tcnstream.Model, convention: Any) -> None:
    """One exchange in twenty goes wrong; whatever is lost, no window is lost or wrong."""
    rng = random.Random(5)
    kinds = [parts for parts, _ in FAULTS.values()]
    chunks = 0 if convention == "validator" else 2 * -(-len(small.file.content) // 128)
    windows = 40 if convention == "validator" else 20
    rate = 0.05 if convention == "validator" else 0.006

    def fault(call: int, reply: bytes) -> list[tuple[float, bytes]] | None:
        return rng.choice(kinds)(reply) if call > chunks and rng.random() < rate else None

    line = Line(Twin(small, convention), fault)
    report = check(
        small,
        line,
        recording(small, windows),
        now=line.now,
        convention=convention,
        attempts=20,
    )
    assert report.passed and len(report.faults) >= 2
    assert report.windows == windows


def test_another_model_on_the_board_is_refused_with_the_sizes(small: tcnstream.Model) -> None:
    log: list[str] = []
    with pytest.raises(RefusalError, match=r"answered failure \(1\) to the configuration \(1024 bytes in, 256 out"):
        checked(small, Line(Twin(load("nse_sm.i8"), log=log.append)))
    assert log == [
        "refused: the client's model has inputs of (1024,) and outputs of (256,) bytes, the twin's (800,) and (4000,)"
    ]


def test_a_board_with_psram_gets_its_model_over_the_line(small: tcnstream.Model) -> None:
    log: list[str] = []
    with pytest.raises(RefusalError, match="to the configuration"):
        checked(small, Line(Twin(None, log=log.append)))
    assert "there is no model" in log[0]
    report = checked(small, Line(Twin(None)), send_model=True, profile=True)
    assert report.passed and report.stats is not None
    assert report.stats.captured_events == len(small.plan.nodes) and report.stats.platform_name == "Apollo4"


def test_a_wrong_board_is_told_first_window_first_frame(small: tcnstream.Model) -> None:
    class Wrong(Line):
        def write(self, data: bytes, timeout_s: float = 1.0) -> None:
            before = len(self._due)
            super().write(data)
            message = decode_message(self._due[before][1][4:])
            if message.request == Method.COMPUTE and self.twin.served.windows == 2:
                params = bytearray(message.parameters)
                params[-4 - 256 + 4 * 10 + 3] += 3  # window 1, frame 10, element 3
                bad = Message(message.type, 2, message.request, message.sequence, bytes(params))
                self._due[before] = (self._due[before][0], frame(bad.encode(), Framing.V1_9))

    report = checked(small, Wrong(Twin(small)))
    assert not report.passed and report.explanation == ""
    first = report.first_difference
    assert first is not None
    assert (first.window, first.begin_frame, first.frame, first.element) == (1, 1024, 10, 3)
    assert abs(first.board - first.host) == 3
    assert report.outputs[0].largest_steps == 3 and report.outputs[0].equal == 191
    assert first.output == report.outputs[0].name == small.outputs[0].name
    assert report.verdict.startswith(
        f"no: output `{small.outputs[0].name}` differs first in window 1 (input frame 1024), frame 10, element 3: host "
    )
    assert checked(small, Wrong(Twin(small)), tolerance="steps:3").passed
    assert not checked(small, Wrong(Twin(small)), tolerance="steps:2").passed
    loose = checked(small, Wrong(Twin(small)), tolerance="abs:100")
    assert loose.passed and "equals the host within the tolerance (abs:100) on all 192" in loose.verdict


def test_tflite_micros_rounding_is_named() -> None:
    model = load("causal.i16")
    stored = np.load(DATA / "models" / "causal.i16.npz")
    line = Line(Twin(model, rounding="tflm"))
    report = check(model, line, stored["x"][0], now=line.now)
    assert not report.passed and report.outputs[0].largest_steps == 1
    assert report.explanation == (
        "on the windows that differ the board gives exactly what is right with TFLite Micro's rounding of"
        " FULLY_CONNECTED (compare with rounding tflm)"
    )
    again = Line(Twin(model, rounding="tflm"))
    assert check(model, again, stored["x"][0], now=again.now, rounding="tflm").passed


def test_a_model_that_tflite_micro_computes_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in: what the real one gives for this model depends on what its memory held before."""
    model = load("nse_mb_d2b2.i8")
    stored = np.load(DATA / "models" / "nse_mb_d2b2.i8.npz")

    class Micro:
        @staticmethod
        def from_bytes(content: bytes) -> Micro:
            assert content == model.file.content
            return Micro()

        def set_input(self, window: np.ndarray, index: int) -> None:
            assert index == 0 and np.array_equal(window.reshape(-1), stored["x"].reshape(-1))

        def invoke(self) -> None: ...

        def get_output(self, index: int) -> np.ndarray:
            return stored["y_tflm"]

    package = types.SimpleNamespace(runtime=types.SimpleNamespace(Interpreter=Micro))
    monkeypatch.setitem(sys.modules, "tflite_micro", package)
    twin = Twin(model)
    line = Line(twin)
    real = WindowModel(model)
    firmware: Any = twin._firmware
    firmware._model = type("Board", (), {"__getattr__": lambda self, name: getattr(real, name)})()
    firmware._model.run = lambda window: stored["y_tflm"].tobytes()
    report = check(model, line, stored["x"][0], now=line.now)
    assert not report.passed
    assert "for TFLite Micro (package tflite-micro), which differs from TFLite in this model" in report.explanation


def test_a_model_with_its_own_state_goes_on_and_is_not_begun_again() -> None:
    model = tcnstream.load(DATA / "stateful" / "hey_mycroft.tflite")
    report = checked(model, Line(Twin(model)), tolerance="exact")
    assert report.passed and report.windows == 2
    line = Line(Twin(model), once(3, lambda r: []))
    with pytest.raises(RefusalError, match=r"keeps its own state on the board, .* reset the board and start again"):
        checked(model, line)


def test_statistics_over_all_of_time_need_no_policy_in_a_window() -> None:
    model = load("nse_sm_se.f32")
    assert model.needs_time_pooling
    stored = np.load(DATA / "models" / "nse_sm_se.f32.npz")
    line = Line(Twin(model))
    assert check(model, line, stored["x"][0], now=line.now).passed


def test_a_recording_shorter_than_a_window_is_lengthened_and_said(small: tcnstream.Model) -> None:
    line = Line(Twin(small))
    report = check(small, line, recording(small, 0.1), now=line.now)
    assert report.passed and report.windows == 1
    assert report.notes[0] == "the recording has 102 frames and a window 1024: its last frame was repeated to fill it"
    with pytest.raises(SignalError, match="has no frames"):
        check(small, line, recording(small, 0), now=line.now)


@pytest.mark.parametrize("text", ["", "steps", "steps:-1", "steps:x", "abs:-1", "abs:nan", "abs:inf", "close"])
def test_a_tolerance_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BridgeError, match="write exact, steps:1 or abs:1e-4"):
        checked(load("strided.i8"), Line(Twin(None)), tolerance=text)


def test_an_unknown_convention_is_refused(small: tcnstream.Model) -> None:
    with pytest.raises(ErpcError, match="use 'validator' or 'heartkit'"):
        Twin(small, "other")  # type: ignore[arg-type]
    with pytest.raises(ErpcError, match="use 'validator' or 'heartkit'"):
        checked(small, Line(Twin(small)), convention="other")


def test_older_firmware_that_adds_up_its_sizes_is_understood(model: tcnstream.Model) -> None:
    """The validator's older firmware never clears its total: each window announces more, the first bytes count."""
    twin = Twin(model)
    firmware: Any = twin._firmware
    answers = firmware._next_output

    def next_output(command: Command, whole: str) -> DataBlock:
        block: DataBlock = answers(command, whole)
        name = "PartTensor" if block.description == "LastTensor" and twin.served.windows > 1 else block.description
        return DataBlock.of(block.buffer, name, command)

    firmware._next_output = next_output
    assert checked(model, Line(twin)).passed


def test_older_firmware_that_keeps_half_a_window_of_an_earlier_client_is_cleared(model: tcnstream.Model) -> None:
    twin = Twin(model)
    firmware: Any = twin._firmware
    firmware._input = bytearray(b"left over")
    configure = firmware._configure

    def older_configure(data: bytes) -> int:
        kept = bytes(firmware._input)
        status: int = configure(data)
        firmware._input += kept
        return status

    firmware._configure = older_configure
    assert checked(model, Line(twin)).passed


def test_a_board_that_prints_over_rpc_is_answered_and_heard(small: tcnstream.Model) -> None:
    text = b"hot"
    remote = Message(MessageType.INVOCATION, 1, 4, 9, struct.pack("<I", len(text)) + text)
    seen: list[bytes] = []

    class Prints(Line):
        def write(self, data: bytes, timeout_s: float = 1.0) -> None:
            if decode_message(data[4:]).type is MessageType.REPLY:
                seen.append(data)
                return
            super().write(data)
            self._due.insert(0, (self.now_s, frame(remote.encode(), Framing.V1_9)))

    report = checked(small, Prints(Twin(small)))
    assert report.passed and "the board prints: 'hot'" in report.notes
    assert decode_message(seen[0][4:]) == Message(MessageType.REPLY, 1, 4, 9, encode_reply(None, Status.SUCCESS))


class Scripted:
    """A board that answers every call with the next block of a list."""

    def __init__(self, blocks: list[DataBlock]) -> None:
        self._blocks = blocks
        self._waiting = b""

    def write(self, data: bytes, timeout_s: float = 1.0) -> None:
        call = decode_message(data[4:])
        method = Method(call.request)
        decode_request(method, call.parameters)
        block = None if method is Method.SEND else self._blocks.pop(0)
        reply = Message(MessageType.REPLY, 2, call.request, call.sequence, encode_reply(block, 0))
        self._waiting += frame(reply.encode(), Framing.V1_9)

    def read(self, timeout_s: float) -> bytes:
        data, self._waiting = self._waiting, b""
        return data

    def close(self) -> None:
        pass


def scripted(model: tcnstream.Model, *blocks: DataBlock) -> ValidatorBoard:
    return ValidatorBoard(Client(Scripted(list(blocks))), WindowModel(model), full_pmu=True)


def test_counters_per_layer_are_read(small: tcnstream.Model) -> None:
    header = b"ARM_PMU_CPU_CYCLES,ARM_PMU_INST_RETIRED".ljust(2048, b"\0")
    layers = [struct.pack("<I", k) + header + struct.pack("<2I", 100 + k, 50 + k) for k in range(2)]
    board = scripted(small, *(DataBlock.of(layer, "FullPMUStats") for layer in layers))
    found = board.pmu(2)
    assert [layer.layer for layer in found] == [0, 1] and found[1].counters == (101, 51)
    assert found[0].csv_header.startswith("ARM_PMU_CPU_CYCLES,")
    assert scripted(small, DataBlock.of(b"PMU stream unavailable\0", "PmuUnavailable")).pmu(5) == []


def test_a_twin_has_no_counters_and_says_so(small: tcnstream.Model) -> None:
    line = Line(Twin(small))
    board = ValidatorBoard(Client(line, now=line.now), WindowModel(small), full_pmu=True)
    board.open()
    assert board.stats().captured_events == 0
    assert board.pmu(3) == []


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([DataBlock.of(bytes(256), "OUTPUTS")], "calls its output 'OUTPUTS'"),
        ([DataBlock.of(bytes(255), "FullTensor")], "gave 255 bytes of output where the model has 256"),
        ([DataBlock.of(bytes(9), "PartTensor"), DataBlock.of(b"", "PartTensor")], "gave 9 bytes of output"),
    ],
)
def test_answers_that_the_convention_does_not_have(small: tcnstream.Model, blocks: list[DataBlock], words: str) -> None:
    with pytest.raises(RefusalError, match=words):
        scripted(small, *blocks).run(bytes(1024))


def test_statistics_that_are_none_are_refused(small: tcnstream.Model) -> None:
    for blocks in (
        [DataBlock.of(bytes(9), "FullStats")] * 2,
        [DataBlock.of(bytes(600), "FullStats")] * 2,
        [DataBlock.of(bytes(600), "Hello")],
    ):
        with pytest.raises(RefusalError, match="firmware"):
            scripted(small, *blocks).stats()


class Fed:
    """A port on which bytes come at given seconds, and then nothing until it closes."""

    def __init__(self, *arrivals: tuple[float, bytes]) -> None:
        self.now_s = 0.0
        self.written: list[tuple[float, bytes]] = []
        self._arrivals = list(arrivals)

    def now(self) -> float:
        return self.now_s

    def read(self, timeout_s: float) -> bytes:
        if not self._arrivals and self.now_s > 30:
            raise LinkError("closed")
        if not self._arrivals or self._arrivals[0][0] > self.now_s + timeout_s:
            self.now_s += timeout_s
            return b""
        self.now_s, data = self._arrivals.pop(0)
        return data

    def write(self, data: bytes, timeout_s: float = 1.0) -> None:
        self.written.append((self.now_s, data))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("convention", ["validator", "heartkit"])
@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("damage", ["length 0xFFFF", "length too large", "cut", "text", "cut header"])
def test_a_second_of_silence_brings_a_twin_back(
    small: tcnstream.Model, convention: Any, framing: Framing, damage: str
) -> None:
    """Whatever a client sent before: after more than a second it is answered at once."""
    call = Message(MessageType.INVOCATION, 2, Method.FETCH, 5, b"")
    good = frame(call.encode(), framing)
    send = Message(MessageType.INVOCATION, 2, Method.SEND, 4, DataBlock.of(bytes(100), "Input Chunk").encode())
    line, at = frame(send.encode(), framing), framing.header_bytes - 4
    bad = {
        "length 0xFFFF": line[:at] + b"\xff\xff" + line[at + 2 :],
        "length too large": line[:at] + b"\xff\x0f" + line[at + 2 :],
        "cut": line[:-20],
        "text": b"Starting up...\r\n",
        "cut header": line[:3],
    }[damage]
    port, log = Fed((0.5, bad), (1.51, good), (1.52, good)), list[str]()
    served = serve(small, port, convention=convention, framing=framing, log=log.append, now=port.now)
    assert [round(when, 2) for when, _ in port.written] == [1.51, 1.52]
    assert served.calls == 2 and served.damaged == 1
    assert any("no reply is given" in sentence for sentence in log)
    assert log[-1] == "the line ended: closed"


def test_a_real_port_without_an_answer_ends_in_time(small: tcnstream.Model) -> None:
    pytest.importorskip("serial", reason="serial ports need pyserial")
    board = PtyTransport()
    port = open_serial(board.path, 115200)

    def ask() -> None:
        with pytest.raises(CallError, match=r"no reply within 0.2 s and not one byte"):
            Client(port, timeout_s=0.2).fetch()

    assert least_s(ask, 2) < 2
    port.close()
    board.close()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_several_outputs_come_one_behind_the_other(dtype: str) -> None:
    net = Net(dtype, seed=3)
    x = net.input((1, 40, 2))
    first = convolution(net, x, kernel=3, channels=4)
    second = convolution(net, first, kernel=2, channels=3, stride=2)
    net.output(first)
    net.output(second)
    model = tcnstream.load(net.content())
    host = WindowModel(model)
    window = host.to_bytes(as_frames(model.inputs[0], recording(model, 1)))
    offline = run_offline(net.content(), [np.frombuffer(window, model.inputs[0].dtype).reshape(1, 40, 2)])
    for frames, wanted in zip(host.split(host.run(window)), offline, strict=True):
        np.testing.assert_allclose(frames, wanted.reshape(frames.shape), rtol=1e-5, atol=1e-5)
    report = checked(model, Line(Twin(model)))
    assert report.passed and [output.frames for output in report.outputs] == [120, 60]
    first = checked(model, Line(Twin(model, "heartkit")), convention="heartkit")
    assert first.passed and [output.frames for output in first.outputs] == [120]
    assert first.notes[-1] == "this firmware gives the first of 2 outputs; only that one was compared"


def test_a_model_with_several_inputs_is_refused_by_name() -> None:
    net = Net("float32")
    net.output(join(net, [net.input((1, 20, 2)), net.input((1, 20, 2))], "ADD"))
    with pytest.raises(NotStreamableError, match="has 2 inputs and stock Ambiq firmware fills the first only"):
        Twin(tcnstream.load(net.content()))


def test_the_report_can_be_written_as_json(small: tcnstream.Model) -> None:
    line = Line(Twin(small))
    report = checked(small, line, profile=True)
    again = json.loads(json.dumps(asdict(report)))
    assert again["passed"] and again["stats"]["events"][0]["tag"] == "CONV_2D"
    assert sum(event["elapsed_us"] for event in again["stats"]["events"]) > 0
