"""A microphone through real PortAudio: a null sink of PulseAudio is heard at real-time pace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Flag
from typing import Any

import numpy as np
import pytest
from helpers.installed import need_program
from helpers.paths import AUDIO
from helpers.served import Served

from tcnstream.live.sources.base import SourceDownError, Wanted
from tcnstream.live.sources.microphone import Microphone, MicrophoneConfig
from tcnstream.signal.sources import open_recording

pytestmark = pytest.mark.slow

RATE_HZ = 16000


class SoundServer:
    """PulseAudio with one null sink; what is played into it is what the microphone ``micfile`` hears."""

    def __init__(self, folder: Path) -> None:
        self._program = need_program("pulseaudio", "pulseaudio")
        self._play = need_program("paplay", "pulseaudio-utils")
        self._folder = folder
        (folder / ".asoundrc").write_text(
            'pcm.micfile { type pulse device "mic.monitor" hint { show on description "test microphone" } }\n'
        )
        self.env = {
            "PULSE_SERVER": f"unix:{folder / 'sock'}",
            "XDG_RUNTIME_DIR": str(folder),
            "HOME": str(folder),
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                self._program,
                *("-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit=no"),
                *("-L", f"module-native-protocol-unix socket={self._folder / 'sock'} auth-anonymous=1"),
                *("-L", f"module-null-sink sink_name=mic rate={RATE_HZ} channels=1 format=s16le"),
            ],
            stderr=subprocess.DEVNULL,
            env=os.environ | self.env,
        )
        until_s = time.monotonic() + 60
        while not (self._folder / "sock").exists():
            assert time.monotonic() < until_s, "pulseaudio does not start"
            time.sleep(0.02)

    def play(self, samples: np.ndarray) -> subprocess.Popen[bytes]:
        """int16 samples, at their pace."""
        path = self._folder / "played.raw"
        path.write_bytes(samples.astype("<i2").tobytes())
        command = [
            self._play,
            "--device=mic",
            "--raw",
            f"--rate={RATE_HZ}",
            "--channels=1",
            "--format=s16le",
            str(path),
        ]
        return subprocess.Popen(command, env=os.environ | self.env)

    def control(self, *arguments: str) -> None:
        subprocess.run([need_program("pactl", "pulseaudio-utils"), *arguments], env=os.environ | self.env, check=True)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        (self._folder / "sock").unlink(missing_ok=True)


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[SoundServer]:
    server = SoundServer(tmp_path)
    yield server
    server.kill()


def need_portaudio(env: dict[str, str]) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tcnstream.live.sources.heard"], capture_output=True, text=True, env=os.environ | env
    )
    if answer.returncode:
        pytest.skip(answer.stderr)
    assert "micfile" in answer.stdout, answer.stdout + answer.stderr


def test_what_is_played_is_heard_bit_for_bit(sound: SoundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    need_portaudio(sound.env)
    for name, value in sound.env.items():
        monkeypatch.setenv(name, value)
    played = np.random.default_rng(1).integers(-20000, 20000, 3 * RATE_HZ).astype(np.int16)
    source = Microphone(MicrophoneConfig("mic", "mic:micfile", RATE_HZ, "", "micfile"), Wanted(1, RATE_HZ))
    heard: list[np.ndarray] = []
    player = None
    for piece in source.pieces(Flag()):
        if piece is None:
            continue
        heard.append(piece.samples[:, 0])
        player = player or sound.play(played)
        if sum(map(len, heard)) > 5 * RATE_HZ:
            break
    assert player is not None and player.wait(60) == 0
    signal_heard = np.concatenate(heard)
    values = np.round(signal_heard * 32768).astype(np.int64)
    begin = int(np.flatnonzero(values)[0])
    found = values[begin : begin + len(played)]
    offset = int(np.flatnonzero(played == found[0])[0])  # the first sample or two may fall to the player's start
    assert offset < 1000
    same = found[: len(played) - offset] == played[offset:]
    assert same.mean() > 0.98, f"{same.sum()} of {len(played)}"


def test_a_sound_server_that_dies_is_a_gap(serve: Callable[..., Served], sound: SoundServer) -> None:
    need_portaudio(sound.env)
    speech = np.concatenate([np.asarray(piece) for piece in open_recording(AUDIO).chunks])[:, 0]
    served = serve(
        '[stream.room]\nsource = "mic:micfile"\nmodel = "speech"\nsinks = ["log"]\n'
        '[sink.log]\nkind = "jsonl"\npath = "segments.jsonl"\n',
        env=sound.env,
    )
    served.wait_for(lambda: "source.up" in served.log.read_text())
    player = sound.play(speech[RATE_HZ // 2 : 6 * RATE_HZ] * 32767)
    found = served.wait_for(lambda: [e for e in served.events() if e["type"] == "segment"])[0]
    assert found["label"] == "speech"
    sound.kill()
    player.wait()
    served.wait_for(lambda: [e for e in served.events() if e["label"] == "down"])
    sound.start()
    gap = served.wait_for(lambda: [e for e in served.events() if e["type"] == "gap"])[0]
    assert gap["reason"] in ("unplugged", "deficit") and gap["frames"] > 1000
    assert served.end() == 0


@pytest.mark.parametrize("trouble", ["a stall", "a long stall", "the device made anew", "the server started anew"])
def test_what_a_microphone_does_not_give_is_a_gap_and_nothing_else_is(
    serve: Callable[..., Served], sound: SoundServer, trouble: str
) -> None:
    """Frames and gaps together are the time that went by."""
    need_portaudio(sound.env)
    served = serve(
        '[page]\nlisten = "127.0.0.1:0"\n[stream.room]\nsource = "mic:micfile"\nmodel = "speech"\nsinks = ["log"]\n'
        '[sink.log]\nkind = "jsonl"\npath = "segments.jsonl"\n',
        env=sound.env,
    )

    def gaps() -> list[dict[str, Any]]:
        return [event for event in served.events() if event["type"] == "gap"]

    def stands() -> tuple[int, float]:
        """Frames so far, and when the newest one came."""
        room = served.health()["streams"]["room"]
        return room["next_frame"], time.monotonic() - room["age_s"]

    def is_up() -> bool:
        room = served.health()["streams"]["room"]
        return room["state"] == "up" and room["age_s"] is not None and room["age_s"] < 1

    served.wait_for(lambda: "web.started" in served.log.read_text())
    served.wait_for(is_up)
    time.sleep(3)
    first_frame, first_s = stands()
    time.sleep(3)
    assert not gaps()
    if trouble.endswith("stall"):
        sound.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5 if trouble == "a stall" else 5.0)
        sound.process.send_signal(signal.SIGCONT)
    elif trouble == "the device made anew":
        sound.control("unload-module", "module-null-sink")
        time.sleep(2)
        sound.control("load-module", "module-null-sink", "sink_name=mic", f"rate={RATE_HZ}", "channels=1")
    else:
        sound.kill()
        time.sleep(2)
        sound.start()
    time.sleep(4)
    served.wait_for(is_up, timeout_s=60)
    time.sleep(6)
    last_frame, last_s = stands()
    assert served.end() == 0
    found = gaps()
    tolerance = sum(gap["tolerance_frames"] for gap in found)
    counted = last_frame - first_frame
    # What waits in the server's own buffers, a fifth of a second, is neither.
    assert abs(counted - (last_s - first_s) * RATE_HZ) < tolerance + 0.25 * RATE_HZ, found
    if trouble != "a stall":
        assert sum(gap["frames"] for gap in found) > RATE_HZ // 2, served.log.read_text()


def test_a_name_that_nobody_has_is_tried_again() -> None:
    source = Microphone(MicrophoneConfig("mic", "mic:nobody", RATE_HZ, "", "nobody"), Wanted(1, RATE_HZ))
    with pytest.raises(SourceDownError, match=r"nobody|PortAudio"):
        for _ in source.pieces(Flag()):
            pass
