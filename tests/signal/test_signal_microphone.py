"""The microphone, played by a fake ``sounddevice``: there is none where tests run."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers.paths import AUDIO

from tcnstream.cli import main
from tcnstream.errors import SignalError
from tcnstream.signal.card import shipped_models
from tcnstream.signal.sources import open_recording
from tcnstream.signal.sources.microphone import open_microphone

DEVICES: list[dict[str, Any]] = [
    {"index": 0, "name": "Speakers", "max_input_channels": 0, "default_samplerate": 48000.0},
    {"index": 1, "name": "Built-in", "max_input_channels": 2, "default_samplerate": 48000.0},
    {"index": 2, "name": "USB headset", "max_input_channels": 1, "default_samplerate": 44100.0},
    {"index": 3, "name": "USB camera", "max_input_channels": 1, "default_samplerate": 16000.0},
]


class FakeSoundDevice(ModuleType):
    """The part of sounddevice 0.5 that is used, with its errors; ``recording`` (n, channels) is what is heard."""

    class PortAudioError(Exception):
        pass

    def __init__(self, recording: np.ndarray, devices: list[dict[str, Any]] = DEVICES, default: int | None = 1) -> None:
        super().__init__("sounddevice")
        self.recording, self.devices, self.default = recording, devices, default
        self.rates: set[float] = {48000.0, 44100.0}
        self.lost_at: set[int] = set()
        self.opened: dict[str, Any] = {}
        self.closed = False
        self.before_read: Callable[[int], None] = lambda block: None

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if device is None and kind is None:
            return self.devices
        if device is None:
            if self.default is None:
                raise self.PortAudioError("Error querying device -1")
            return self.devices[self.default]
        if isinstance(device, int):
            if device >= len(self.devices):
                raise self.PortAudioError(f"Error querying device {device}")
            if not self.devices[device]["max_input_channels"]:
                raise ValueError(f"Not an input device: {self.devices[device]['name']!r}")
            return self.devices[device]
        found = [d for d in self.devices if device.lower() in d["name"].lower() and d["max_input_channels"]]
        if len(found) != 1:
            raise ValueError(f"{'Multiple' if found else 'No'} input device matching {device!r}")
        return found[0]

    def check_input_settings(self, samplerate: float, device: int, channels: int, dtype: str) -> None:
        assert dtype == "float32" and channels <= self.devices[device]["max_input_channels"]
        if samplerate not in self.rates:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, samplerate: float, latency: str, **opened: Any) -> FakeStream:  # noqa: N802
        if samplerate not in self.rates:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        self.opened = {"samplerate": samplerate, **opened}
        return FakeStream(self)


class FakeStream:
    def __init__(self, fake: FakeSoundDevice) -> None:
        self._fake, self._at, self._block = fake, 0, 0

    def __enter__(self) -> FakeStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._fake.closed = True

    def read(self, frames: int) -> tuple[np.ndarray, bool]:
        fake = self._fake
        fake.before_read(self._block)
        block = np.zeros((frames, fake.opened["channels"]), np.float32)
        heard = fake.recording[self._at : self._at + frames, : fake.opened["channels"]]
        block[: len(heard)] = heard
        self._at, self._block = self._at + frames, self._block + 1
        return block, self._block - 1 in fake.lost_at


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSoundDevice:
    rng = np.random.default_rng(1)
    made = FakeSoundDevice(rng.normal(0, 0.1, (200_000, 2)).astype(np.float32))
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_the_default_device_gives_what_it_hears_at_its_own_rate(fake: FakeSoundDevice) -> None:
    asked = iter([False] * 4 + [True])
    recording = open_microphone("", preferred_hz=16000, stop=lambda: next(asked))
    assert recording.source == "microphone Built-in" and recording.rate_hz == 48000 and recording.frames is None
    assert recording.available == ("0", "1") and recording.channels == ("0",)
    chunks = list(recording.chunks)
    assert [chunk.shape for chunk in chunks] == [(2400, 1)] * 4 and fake.closed
    np.testing.assert_array_equal(np.concatenate(chunks), fake.recording[:9600, :1])


def test_a_device_that_has_the_model_s_rate_records_at_it(fake: FakeSoundDevice) -> None:
    fake.rates.add(16000.0)
    assert open_microphone("", preferred_hz=16000).rate_hz == 16000
    assert open_microphone("", preferred_hz=16000, rate_hz=44100).rate_hz == 44100


def test_channels_are_chosen(fake: FakeSoundDevice) -> None:
    recording = open_microphone("built", channels=["1"])
    first = next(recording.chunks)
    np.testing.assert_array_equal(first, fake.recording[: len(first), 1:])
    with pytest.raises(SignalError, match="1"):
        open_microphone("USB headset", channels=2)


@pytest.mark.parametrize("name", ["USB", "Loudspeaker", "0", "17"])
def test_a_wrong_name_lists_the_microphones(fake: FakeSoundDevice, name: str) -> None:
    with pytest.raises(SignalError, match=f"no one microphone {name!r}") as caught:
        open_microphone(name)
    assert "1: Built-in; 2: USB headset; 3: USB camera" in str(caught.value)
    assert "Speakers;" not in str(caught.value)


def test_numbers_are_devices(fake: FakeSoundDevice) -> None:
    assert open_microphone("3").source == "microphone USB camera"


def test_no_default_and_no_device_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    silence = np.zeros((10, 1), np.float32)
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice(silence, default=None))
    with pytest.raises(SignalError, match=r"no default microphone.*choose one with mic:NAME.*1: Built-in"):
        open_microphone("")
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice(silence, DEVICES[:1], default=None))
    with pytest.raises(SignalError, match="no microphone here"):
        open_microphone("")


def test_a_rate_that_the_device_does_not_have_is_said(fake: FakeSoundDevice) -> None:
    with pytest.raises(SignalError, match=r"cannot be recorded at 12345 Hz.*rate_hz="):
        next(open_microphone("", rate_hz=12345).chunks)


def test_without_the_package_or_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SignalError, match="pip install sounddevice"):
        open_microphone("")

    def broken(name: str) -> None:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr("tcnstream.signal.sources.microphone.importlib.import_module", broken)
    with pytest.raises(SignalError, match=r"PortAudio library not found.*libportaudio2"):
        open_microphone("")


needs_speech = pytest.mark.skipif("speech" not in shipped_models(), reason="no speech model is shipped here")


def run(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["tcnstream", "run", *arguments])
        main()
    return int(stopped.value.code or 0)


@pytest.fixture
def heard(fake: FakeSoundDevice) -> FakeSoundDevice:
    """The demo recording, heard by a 16 kHz microphone."""
    fake.recording = np.concatenate(list(open_recording(AUDIO).chunks))[: 8 * 16000]
    fake.rates = {16000.0}
    return fake


@needs_speech
def test_live_segments_are_those_of_the_same_recording(
    heard: FakeSoundDevice, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("speech", "mic:", "--duration", "7.33") == 0
    live = capfd.readouterr()
    assert run("speech", str(AUDIO), "--duration", "7.33") == 0
    assert live.out == capfd.readouterr().out and '"label": "speech"' in live.out
    assert "microphone Built-in: channel 0 of 0, 1, 16000 Hz" in live.err and heard.closed


@needs_speech
def test_segments_are_printed_as_they_end_and_ctrl_c_ends_the_signal(
    heard: FakeSoundDevice, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    printed = []

    def press(block: int) -> None:
        if block == 100:
            printed.append(capfd.readouterr().out)
            os.kill(os.getpid(), signal.SIGINT)

    heard.before_read = press
    assert run("speech", "mic:Built-in") == 0
    first = json.loads(printed[0].splitlines()[0])
    # The first sentence of the demo ends at 4 s; five seconds are heard.
    assert first["label"] == "speech" and 3 < first["end_s"] < 5
    assert heard.closed and signal.getsignal(signal.SIGINT) is before


@needs_speech
def test_an_overflow_is_reported(heard: FakeSoundDevice, capfd: pytest.CaptureFixture[str]) -> None:
    heard.lost_at = {3}
    assert run("speech", "mic:", "--duration", "0.5") == 0
    assert capfd.readouterr().err.count("samples were lost") == 1


@pytest.mark.parametrize("duration", ["0", "-1", "nan"])
def test_no_duration_is_refused(heard: FakeSoundDevice, duration: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("ecg", "mic:", "--duration", duration) == 2
    assert "--duration" in capfd.readouterr().err


def test_a_device_that_hangs_hears_the_first_ctrl_c(
    heard: FakeSoundDevice, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()

    def hang(block: int) -> None:
        if block == 100:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            hangs.wait(60)

    heard.before_read = hang
    begin = time.monotonic()
    assert run("speech", "mic:") == 0
    assert time.monotonic() - begin < 20
    hangs.set()
    assert '"label": "speech"' in capfd.readouterr().out


def test_a_device_that_says_nothing_is_given_up(fake: FakeSoundDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    fake.before_read = lambda block: block < 2 or hangs.wait(60)
    chunks = open_microphone("").chunks
    assert [len(next(chunks)), len(next(chunks))] == [2400, 2400]
    monkeypatch.setattr("tcnstream.signal.sources.microphone._SILENT_S", 0.4)
    with pytest.raises(SignalError, match=r"has given nothing for 0\.4 s: is it still connected"):
        next(chunks)
    hangs.set()


def test_a_device_that_is_lost_is_not_a_matter_of_the_rate(fake: FakeSoundDevice) -> None:
    def lose(block: int) -> None:
        if block == 2:
            raise fake.PortAudioError("Unanticipated host error [PaErrorCode -9999]")

    fake.before_read = lose
    chunks = open_microphone("").chunks
    assert [len(next(chunks)), len(next(chunks))] == [2400, 2400]
    with pytest.raises(
        SignalError, match=r"was lost while it was recorded \(Unanticipated.*: connect it again"
    ) as lost:
        next(chunks)
    assert "rate_hz" not in str(lost.value)


@needs_speech
def test_values_that_are_none_never_reach_the_model(heard: FakeSoundDevice, capfd: pytest.CaptureFixture[str]) -> None:
    heard.recording = heard.recording.copy()
    heard.recording[20_000:20_003] = [[np.nan], [np.inf], [-np.inf]]
    assert run("speech", "mic:", "--duration", "3") == 2
    assert "has no value at frame 20000 of channel 0: --hold-gaps" in capfd.readouterr().err
    assert run("speech", "mic:", "--duration", "3", "--hold-gaps") == 0
    assert "in 3 frame(s) a value was missing and the last one was repeated" in capfd.readouterr().err
