"""Clients that nobody here wrote, against the twin: the stubs of HeartKIT and SleepKIT, and PyPI `erpc` 1.9.1.

Their wheels are installed without dependencies. Importing `heartkit` or `sleepkit` itself pulls in TensorFlow, so the
modules of their `backends` folder are loaded under a package made here.
"""

from __future__ import annotations

import importlib
import importlib.util
import queue
import re
import socket
import struct
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import MODELS, ROOT

import tcnstream
from firmware_bridge.errors import TargetError
from firmware_bridge.link.transport import SocketTransport, Transport
from firmware_bridge.neuralspot import (
    PtyTransport,
    Served,
    check,
    listen,
    open_stock_target,
    serve,
    serve_on,
)
from firmware_bridge.neuralspot.datablock import DataBlock
from firmware_bridge.neuralspot.erpc import Framing
from firmware_bridge.neuralspot.twin import HeartKitTwin, ValidatorTwin
from firmware_bridge.neuralspot.window import WindowModel

DATA = MODELS
# No reply within this time is a failure of the test; the clients themselves would wait for ever.
TIMEOUT_S = 90.0

pytest.importorskip("serial", reason="the clients need pyserial")


def folder(package: str) -> Path:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed (pip install --no-deps {package})")
    return Path(spec.origin).parent


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], types.ModuleType]:
    """A function (package, under which name) that gives a `backends` package whose modules can be imported."""

    def make(package: str, name: str) -> types.ModuleType:
        backends = types.ModuleType(name)
        backends.__path__ = [str(folder(package) / "backends")]
        monkeypatch.setitem(sys.modules, name, backends)
        return backends

    return make


class Running:
    """A twin at work in a thread, on a pseudo-terminal or behind a TCP port."""

    def __init__(self, model: tcnstream.Model | None, convention: Any, framing: Framing | None) -> None:
        self.log: list[str] = []
        self.served: Served | None = None
        self._stop = threading.Event()
        self._ends: list[Any] = []
        self._threads: list[threading.Thread] = []
        self._arguments = model, convention, framing

    def pty(self) -> str:
        """The device of a new pseudo-terminal."""
        end = PtyTransport()
        self._start(lambda: end)
        return end.path

    def tcp(self) -> tuple[str, int]:
        """The address of a port that takes one connection."""
        listening = listen("127.0.0.1", 0)
        listening.settimeout(TIMEOUT_S)
        self._ends.append(listening)
        self._start(lambda: SocketTransport(listening.accept()[0], "client"))
        host, port = listening.getsockname()[:2]
        return host, port

    def _start(self, connect: Callable[[], Transport]) -> None:
        model, convention, framing = self._arguments

        def run() -> None:
            end = connect()
            self._ends.append(end)
            self.served = serve(
                model, end, convention=convention, framing=framing, stop=self._stop, log=self.log.append
            )

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()
        for end in self._ends:
            end.close()


@pytest.fixture
def twin() -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(model: tcnstream.Model | None, convention: str, framing: Framing | None = None) -> Running:
        running.append(Running(model, convention, framing))
        return running[-1]

    yield start
    for each in running:
        each.stop()


def material(name: str) -> tuple[tcnstream.Model, Any, Any]:
    """A model, the bytes of a window, the output that TFLite's reference kernels give."""
    stored = np.load(DATA / f"{name}.npz")
    return tcnstream.load(DATA / f"{name}.tflite"), stored["x"].tobytes(), stored["y"]


def validate(erpc: Any, stub: Any, transport: Any, model: tcnstream.Model, windows: list[bytes]) -> list[bytes]:
    """The validator's way through all three calls, as its own client goes."""
    client = stub.client.pc_to_evbClient(erpc.client.ClientManager(transport, erpc.basic_codec.BasicCodec))
    block, kinds, commands = stub.common.dataBlock, stub.common.dataType, stub.common.command
    sizes = len(windows[0]), sum(int(np.prod(model.graph.tensors[o].shape)) for o in model.graph.outputs)
    config = struct.pack("<9I", 1, *sizes, 0, 1, 1, 1, *sizes)
    assert client.ns_rpc_data_sendBlockToEVB(block(len(config), kinds.uint8_e, "Model Config", 0, config)) == 0
    answers, reply = [], erpc.Reference()
    for window in windows:
        whole = b"" if len(window) > 3000 else window
        for begin in range(0, 0 if whole else len(window), 3000):
            chunk = block(1, kinds.uint8_e, "Input Chunk", commands.write_cmd, window[begin : begin + 3000])
            assert client.ns_rpc_data_sendBlockToEVB(chunk) == 0
        ask = block(len(whole), kinds.uint8_e, "Input Tensor", commands.generic_cmd, whole)
        assert client.ns_rpc_data_computeOnEVB(ask, reply) == 0
        answer = bytearray(reply.value.buffer)
        if reply.value.description != "FullTensor":
            ask.cmd = commands.write_cmd
            while reply.value.description != "LastTensor":
                assert reply.value.description == "PartTensor"
                assert client.ns_rpc_data_computeOnEVB(ask, reply) == 0
                answer += reply.value.buffer
        answers.append(bytes(answer))
    stats, names = bytearray(), []
    while not names or names[-1] == "PartStats":
        assert client.ns_rpc_data_fetchBlockFromEVB(reply) == 0
        stats += reply.value.buffer
        names.append(reply.value.description)
    assert names == ["PartStats", "LastStats"]
    _, size, event_bytes, _, _, events, platform = struct.unpack_from("<7I", stats)
    assert size == len(stats) and events == len(model.plan.nodes) and platform == 4
    # As the validator takes them apart: word 14 are the MACs, word 15 the microseconds, words 16 to 20 the tag.
    layers = [struct.unpack_from("<14III20s", stats, 540 + k * event_bytes) for k in range(events)]
    assert event_bytes == 84 and all(layer[16].rstrip(b"\0").decode().isupper() for layer in layers)
    assert sum(layer[15] for layer in layers) > 0 and sum(layer[14] for layer in layers) > 0
    assert len(stats[28:540].split(b"\0")[0].split(b",")) == 4 + 6 + 8
    assert client.ns_rpc_data_fetchBlockFromEVB(reply) == 1 and reply.value.description == "PmuUnavailable"
    return answers


@pytest.mark.parametrize("package", ["heartkit", "sleepkit"])
@pytest.mark.parametrize("name", ["nse_sm.i8", "strided.i8"])
def test_their_stubs_go_the_validators_way(package: str, name: str, twin: Any, stubs: Any) -> None:
    backends = stubs(package, f"{package}_stubs")
    erpc = importlib.import_module(".erpc", backends.__name__)
    stub = importlib.import_module(".GenericDataOperations_PcToEvb", backends.__name__)
    model, window, wanted = material(name)
    running = twin(model, "validator")
    transport = erpc.transport.SerialTransport(running.pty(), 115200, timeout=TIMEOUT_S)
    try:
        answers = validate(erpc, stub, transport, model, [window, bytes(len(window)), window])
    finally:
        transport.close()
    assert answers[0] == answers[2] == wanted.tobytes() and answers[1] != answers[0]
    assert running.log == []


@pytest.mark.parametrize("way", ["TCPTransport", "SerialTransport on socket://", "SerialTransport on a terminal"])
def test_erpc_from_pypi_goes_the_validators_way(
    way: str, twin: Any, stubs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder("erpc")
    erpc: Any = importlib.import_module("erpc")
    version = importlib.import_module("erpc.erpc_version").ERPC_VERSION
    backends: Any = stubs("heartkit", "pypi_stubs")
    # The generated stubs, with PyPI's eRPC beneath them instead of the copy in the wheel.
    backends.erpc = erpc
    monkeypatch.setitem(sys.modules, "pypi_stubs.erpc", erpc)
    stub = importlib.import_module(".GenericDataOperations_PcToEvb", "pypi_stubs")
    assert version == "1.9.1" and stub.client.erpc is erpc
    model, window, wanted = material("nse_sm.i8")
    running = twin(model, "validator", Framing.V1_9)
    if way == "TCPTransport":
        transport = erpc.transport.TCPTransport(*running.tcp(), False)
        transport._sock.settimeout(TIMEOUT_S)
    else:
        url = running.pty() if "terminal" in way else "socket://{}:{}".format(*running.tcp())
        transport = erpc.transport.SerialTransport(url, 115200, timeout=TIMEOUT_S)
    try:
        assert validate(erpc, stub, transport, model, [window]) == [wanted.tobytes()]
    finally:
        transport.close()


def test_the_lines_of_the_page_run(
    twin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "firmware_bridge" / "docs" / "neuralspot.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    model, _, _ = material("nse_sm.i8")
    (tmp_path / "ecg.tflite").write_bytes(model.file.content)
    np.save(tmp_path / "recording.npy", np.load(DATA / "nse_sm.i8.npz")["x"][0])
    monkeypatch.chdir(tmp_path)
    path = twin(model, "validator").pty()
    exec(compile(lines.replace("/dev/ttyACM0", path), "neuralspot.md", "exec"), {})
    assert capsys.readouterr().out == "yes: the board equals the host on all 800 output frames of 1 window\n"


class Interpreter:
    """What HeartKIT's backend wants of neuralspot-edge's interpreter: types and quantization of a model."""

    def __init__(self, model_content: bytes) -> None:
        self._model = tcnstream.load(model_content)
        self._output_dtype = self._model.outputs[0].dtype

    def compile(self) -> None:
        pass

    def convert_input(self, x: Any) -> Any:
        return self._model.inputs[0].quantize(x)

    def convert_output(self, data: Any) -> Any:
        return np.frombuffer(data, self._output_dtype)


@pytest.mark.parametrize("package", ["heartkit", "sleepkit"])
def test_their_own_backend_runs_a_model_on_the_twin(
    package: str, twin: Any, stubs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EvbBackend as it is: it sends the model, inputs in chunks of 128, polls the status, fetches the output."""
    parent = types.ModuleType(f"{package}_own")
    parent.__path__ = []
    monkeypatch.setitem(sys.modules, parent.__name__, parent)
    defines = types.ModuleType(f"{package}_own.defines")
    defines.HKTaskParams = defines.TaskParams = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, defines.__name__, defines)
    edge: Any = types.ModuleType("neuralspot_edge")
    edge.converters = types.SimpleNamespace(tflite=types.SimpleNamespace(TfLiteKerasInterpreter=Interpreter))
    edge.utils = types.SimpleNamespace(setup_logger=lambda name: None)
    monkeypatch.setitem(sys.modules, "neuralspot_edge", edge)
    backends = stubs(package, f"{package}_own.backends")
    evb: Any = importlib.import_module(".evb", backends.__name__)
    transports: Any = importlib.import_module(".erpc.transport", backends.__name__)

    model, _, wanted = material("strided.i8")
    stored = np.load(DATA / "strided.i8.npz")["x"]
    running = twin(None, "heartkit")
    path = running.pty()
    monkeypatch.setattr(
        evb, "get_serial_transport", lambda **_: transports.SerialTransport(path, 115200, timeout=TIMEOUT_S)
    )
    backend = evb.EvbBackend(types.SimpleNamespace(model_file=str(DATA / "strided.i8.tflite")))
    backend.open()
    try:
        for _ in range(2):
            backend.set_inputs(model.inputs[0].dequantize(stored))
            backend.perform_inference()
            np.testing.assert_array_equal(backend.get_outputs(), wanted.ravel())
    finally:
        backend.close()
    assert running.log == []


@pytest.mark.parametrize("convention", ["validator", "heartkit"])
def test_our_client_drives_a_third_party_server(convention: str, stubs: Any, twin: Any) -> None:
    """The generated server of HeartKIT's wheel, with our firmware behind it: its bytes, our client."""
    backends = stubs("heartkit", "server_stubs")
    erpc: Any = importlib.import_module(".erpc", backends.__name__)
    stub: Any = importlib.import_module(".GenericDataOperations_PcToEvb", backends.__name__)
    model, _, _ = material("strided.i8")
    kind = ValidatorTwin if convention == "validator" else HeartKitTwin
    firmware = kind(WindowModel(model), "litert", Served(), lambda sentence: None)

    def ours(block: Any) -> DataBlock:
        return DataBlock(bytes(block.buffer), block.description, block.cmd, block.dType, block.length)

    def theirs(block: DataBlock) -> Any:
        return stub.common.dataBlock(block.length, block.dtype, block.description, block.command, block.buffer)

    class Handler(stub.interface.Ipc_to_evb):  # type: ignore[misc]
        def ns_rpc_data_sendBlockToEVB(self, block: Any) -> int:  # noqa: N802
            return firmware.send(ours(block))

        def ns_rpc_data_fetchBlockFromEVB(self, block: Any) -> int:  # noqa: N802
            block.value, status = firmware.fetch()
            block.value = theirs(block.value)
            return status

        def ns_rpc_data_computeOnEVB(self, in_block: Any, result_block: Any) -> int:  # noqa: N802
            result, status = firmware.compute(ours(in_block))
            result_block.value = theirs(result)
            return status

    here, there = socket.socketpair()

    class TheirTransport(erpc.transport.FramedTransport):  # type: ignore[misc]
        def _base_send(self, data: bytes) -> None:
            there.sendall(data)

        def _base_receive(self, count: int) -> bytearray:
            data = bytearray()
            while len(data) < count:
                got = there.recv(count - len(data))
                if not got:
                    raise ConnectionError
                data += got
            return data

    server = erpc.simple_server.SimpleServer(TheirTransport(), erpc.basic_codec.BasicCodec)
    server.add_service(stub.server.pc_to_evbService(Handler()))

    def run() -> None:
        try:
            server.run()
        except ConnectionError:
            there.close()

    thread = threading.Thread(target=run)
    thread.start()
    signal = np.random.default_rng(1).standard_normal((2048, 1)).astype(np.float32)
    try:
        report = check(model, SocketTransport(here, "server"), signal, convention=convention, framing=Framing.V1_9)  # type: ignore[arg-type]
    finally:
        here.close()
        thread.join(TIMEOUT_S)
    assert report.passed and report.windows == 2 and not report.faults


def test_a_twin_behind_a_port_takes_one_client_after_the_other() -> None:
    model, _, _ = material("strided.i8")
    signal = np.random.default_rng(1).standard_normal((1024, 1)).astype(np.float32)
    where: queue.Queue[str] = queue.Queue()
    stop, total = threading.Event(), []
    thread = threading.Thread(
        target=lambda: total.append(serve_on(model, "tcp:127.0.0.1:0", stop=stop, ready=where.put))
    )
    thread.start()
    address = where.get(timeout=TIMEOUT_S)
    try:
        for framing in ("1.9.1", "1.12"):
            target = open_stock_target(f"neuralspot:tcp:{address}?framing={framing}")
            report = check(model, target.port, signal, convention=target.convention, framing=target.framing)
            target.port.close()
            assert report.passed and report.framing == framing
    finally:
        stop.set()
        thread.join(TIMEOUT_S)
    assert total[0].windows == 2


def test_a_twin_on_a_terminal_is_found_by_the_name_of_its_device() -> None:
    model, _, _ = material("strided.i8")
    where: queue.Queue[str] = queue.Queue()
    stop = threading.Event()
    thread = threading.Thread(
        target=serve_on, args=(model, "pty"), kwargs={"convention": "heartkit", "stop": stop, "ready": where.put}
    )
    thread.start()
    target = open_stock_target(f"neuralspot:{where.get(timeout=TIMEOUT_S)}?convention=heartkit&baud=9600")
    try:
        signal = np.zeros((1024, 1), np.float32)
        assert check(model, target.port, signal, convention=target.convention, framing=target.framing).passed
    finally:
        target.port.close()
        stop.set()
        thread.join(TIMEOUT_S)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("neuralspot:", "no port is named; write neuralspot:/dev/ttyACM0"),
        ("neuralspot:/dev/ttyNONE", "serial:/dev/ttyNONE: "),
        ("neuralspot:/dev/ttyACM0?speed=9600", "no setting 'speed'"),
        ("neuralspot:/dev/ttyACM0?convention=other", "the convention is validator or heartkit, not 'other'"),
        ("neuralspot:/dev/ttyACM0?framing=2", r"the framing is 1.9.1 or 1.12, not '2'"),
        ("neuralspot:/dev/ttyACM0?baud=fast", "baud takes a whole number above 0, not 'fast'"),
        ("neuralspot:tcp:localhost", "write tcp:HOST:PORT"),
        ("neuralspot:tcp:127.0.0.1:1", "tcp:127.0.0.1:1: .*check host and port"),
    ],
)
def test_a_port_that_cannot_be_had_is_said_in_words(text: str, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        open_stock_target(text)
