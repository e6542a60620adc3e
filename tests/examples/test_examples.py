"""Runs the programs beside it, which users copy, as their first lines say."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers.paths import AUDIO, ECG

import tcnstream
from tcnstream.signal.sources import open_recording

HERE = Path(__file__).parent
REQUIRE_ALL = os.environ.get("TCNSTREAM_REQUIRE_ALL") == "1"


def missing(reason: str) -> None:
    """A skip; a failure where everything must be there."""
    if REQUIRE_ALL:
        pytest.fail(reason)
    pytest.skip(reason)


def signal_of(path: Path) -> np.ndarray:
    return np.concatenate(list(open_recording(path).chunks))


def segments(model: str, signal: np.ndarray, rate_hz: float) -> list[tcnstream.Segment]:
    pipeline = tcnstream.Pipeline(model, rate_hz=rate_hz)
    return pipeline.push(signal) + pipeline.flush()


def start(name: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, HERE / name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ecg_from_serial() -> None:
    pty = pytest.importorskip("pty", reason="a pseudo-terminal stands in for the port")
    import fcntl
    import termios
    import tty

    master, slave = pty.openpty()
    tty.setraw(slave)
    signal = np.round(signal_of(ECG)[: 20 * 360, 0], 3)
    text = "cut off\r\n" + "".join(f"{value:.3f}\r\n" for value in signal)
    process = start("ecg_from_serial.py", os.ttyname(slave))
    assert process.stdout is not None
    assert process.stdout.readline() == f"listening to {os.ttyname(slave)}\n"

    def play() -> None:
        rest = text.encode()
        while rest:
            rest = rest[os.write(master, rest[:500]) :]
        empty = 0  # what the kernel has not handed over yet is not counted
        while empty < 20:
            empty = 0 if any(fcntl.ioctl(slave, termios.FIONREAD, bytes(4))) else empty + 1
            time.sleep(0.05)
        os.close(master)  # the port goes away

    threading.Thread(target=play, daemon=True).start()
    out, err = process.communicate(timeout=120)
    os.close(slave)
    assert process.returncode == 0, err
    expected = segments("ecg", signal, 360)
    assert out.splitlines() == [f"{wave.start_s:8.3f} {wave.end_s:8.3f} {wave.label}" for wave in expected]
    assert len(expected) > 60


class FakeSoundDevice(ModuleType):
    """The part of sounddevice that the example uses: there is no microphone where tests run."""

    def __init__(self, heard: np.ndarray, lost_at: int | None = None) -> None:
        super().__init__("sounddevice")
        self.heard, self.lost_at, self.block = heard, lost_at, -1

    def InputStream(self, samplerate: float, channels: int, dtype: str, latency: str) -> FakeSoundDevice:  # noqa: N802
        assert (samplerate, channels, dtype) == (16000, 1, "float32")
        return self

    def __enter__(self) -> FakeSoundDevice:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, frames: int) -> tuple[np.ndarray, bool]:
        self.block += 1
        block = self.heard[self.block * frames :][:frames]
        if len(block) < frames:
            raise KeyboardInterrupt
        return block, self.block == self.lost_at


def test_microphone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    heard = signal_of(AUDIO)[: 12 * 16000]
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice(heard))
    runpy.run_path(str(HERE / "microphone.py"), run_name="__main__")
    expected = segments("speech", heard, 16000)
    shown = [f"{s.start_s:7.2f} {s.end_s:7.2f} {s.label} {s.probability:.2f}" for s in expected]
    assert capsys.readouterr().out.splitlines() == shown and "speech" in shown[0]


def test_microphone_goes_on_after_lost_samples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice(signal_of(AUDIO)[: 12 * 16000], lost_at=100))
    runpy.run_path(str(HERE / "microphone.py"), run_name="__main__")
    assert "samples were lost" in capsys.readouterr().out


def test_many_streams() -> None:
    process = start("many_streams.py", "16")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    beats = dict(re.findall(r"^bed (\d+): (\d+) beats$", out, re.MULTILINE))
    assert len(beats) == 16 and all(12 <= int(number) <= 22 for bed, number in beats.items() if bed != "15")
    assert int(beats["15"]) <= 2


def test_asyncio_server() -> None:
    process = start("asyncio_server.py", "0")
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(" ", 1)[1])
        signal = signal_of(ECG)[: 20 * 360, 0]
        with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
            sent = signal.astype("<f4").tobytes()
            for at in range(0, len(sent), 1001):  # packets that end in the middle of a sample
                line.sendall(sent[at : at + 1001])
            line.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: line.recv(65536), b""))
    finally:
        process.kill()
        process.communicate()
    answers = [json.loads(row) for row in received.splitlines()]
    assert answers == [vars(wave) for wave in segments("ecg", signal, 360)]


@pytest.mark.slow
def test_c_host(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        missing("cc is not installed")
    assert compiler is not None
    subprocess.run(
        [sys.executable, "-m", "tcnstream", "export", "ecg", "ecg.h", "--to", "c-header"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    # The lines of its comment, so that they stay true.
    lines = [line[3:].strip() for line in (HERE / "c_host.c").read_text().splitlines() if line.startswith(" *     ")]
    command = next(line for line in lines if line.startswith("cc "))
    (tmp_path / "c_host.c").write_bytes((HERE / "c_host.c").read_bytes())
    environment = {**os.environ, "core": str(Path(tcnstream.__file__).parent / "core")}
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=True)
    model = tcnstream.load("ecg")
    x = np.random.default_rng(3).integers(-128, 128, (2111, 1), np.int8)
    made = subprocess.run([tmp_path / "c_host"], input=x.tobytes(), capture_output=True, check=True).stdout
    stream = model.stream("reference")
    expected: Any = np.concatenate([stream.push(x), stream.flush()])
    np.testing.assert_array_equal(np.frombuffer(made, np.int8).reshape(-1, 4), expected.reshape(-1, 4))


def test_hardware_test() -> None:
    if shutil.which("make") is None or shutil.which("cc") is None:
        missing("the firmware is compiled with make and cc")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "hardware_tests.py")]
    if not any(point.name == "firmware-bridge" for point in _plugins()):
        command[3:3] = ["-p", "firmware_bridge.pytest_plugin"]
    environment = {name: value for name, value in os.environ.items() if name != "TCNSTREAM_NO_SKIPS"}
    told = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert "2 skipped" in told.stdout, told.stdout
    told = subprocess.run([*command, "--hil-target", "host"], capture_output=True, text=True, env=environment)
    assert told.returncode == 0 and "2 passed" in told.stdout, told.stdout


def _plugins() -> Any:
    from importlib.metadata import entry_points

    return entry_points(group="pytest11")
