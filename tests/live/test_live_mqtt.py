"""Events over MQTT, with a real broker that comes late, is killed and begins anew."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.installed import need_program
from helpers.paths import ECG
from helpers.ports import free_port
from helpers.sensor import Sensor
from helpers.served import Served

from tcnstream.live.memory import kept_folder

pytestmark = pytest.mark.slow

CONFIG = """
[stream.bed]
source = "{source}"
model = "ecg"
sinks = ["log", "home"]
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
[sink.home]
kind = "mqtt"
url = "mqtt://127.0.0.1:{port}"
topic = "tcnstream/{{stream}}"
discovery = true
full = "block"
[checkpoint]
replayed = "200 ms"
"""


class Broker:
    """mosquitto, with sessions that it keeps on the disk when it is asked to end."""

    def __init__(self, folder: Path) -> None:
        self._program = need_program("mosquitto", "mosquitto")
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/\nmax_queued_messages 0\nuser root\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([self._program, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("mosquitto does not start")

    def end(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(180)
        self._process = None


class Subscriber:
    """Hears all topics, with a session that the broker keeps."""

    def __init__(self, port: int) -> None:
        paho = pytest.importorskip("paho.mqtt.client")
        self.messages: list[tuple[str, bytes, bool]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, "listener", protocol=paho.MQTTv5)
        self._client.on_message = lambda c, u, m: self.messages.append((m.topic, m.payload, m.retain))
        self._client.on_connect = lambda c, u, f, r, p: c.subscribe("#", qos=1)
        self.subscribed = threading.Event()
        self._client.on_subscribe = lambda c, u, m, r, p: self.subscribed.set()
        self._client.reconnect_delay_set(1, 1)
        properties = paho.Properties(paho.PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, 10, clean_start=False, properties=properties)
        self._client.loop_start()

    def events(self) -> dict[int, dict[str, Any]]:
        found = [json.loads(payload) for topic, payload, _ in list(self.messages) if topic.startswith("tcnstream/bed/")]
        return {each["seq"]: each for each in found if "seq" in each}

    def last(self, topic: str) -> bytes | None:
        return next((payload for name, payload, _ in reversed(list(self.messages)) if name == topic), None)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.end(signal.SIGKILL)


def test_every_event_arrives_though_the_broker_comes_late_and_restarts(
    serve: Callable[..., Served], broker: Broker, ecg: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "ecg.npy", np.tile(ecg, 4))  # half a minute, of which two thirds are for a slow machine
    source = f"file:{tmp_path / 'ecg.npy'}?rate=360&units=mV&speed=8"
    broker.start()
    subscriber = Subscriber(broker.port)
    try:
        # The broker knows the listener before it hears the first event, which would be for nobody.
        assert subscriber.subscribed.wait(90)
        broker.end()
        served = serve(CONFIG.format(source=source, port=broker.port))
        served.wait_for(lambda: len(served.events()) > 20)
        broker.start()
        served.wait_for(lambda: len(subscriber.events()) > 60)
        served.wait_for(lambda: subscriber.last("tcnstream/online") == b"online")
        state = json.loads(served.wait_for(lambda: subscriber.last("tcnstream/bed/state")))
        assert (state["state"], state["stream"]) == ("up", "bed")
        served.wait_for(lambda: subscriber.last("homeassistant/sensor/tcnstream_bed/label/config"))
        broker.end()
        seen = len(served.events())
        served.wait_for(lambda: len(served.events()) > seen + 20)
        subscriber.messages.append(("tcnstream/bed/state", b"{}", False))
        broker.start()
        served.wait_for(lambda: json.loads(subscriber.last("tcnstream/bed/state") or b"{}"))  # published again
        served.process.kill()
        served.process.wait()
        until_s = time.monotonic() + 90
        while subscriber.last("tcnstream/online") != b"offline":  # the last will
            assert time.monotonic() < until_s
            time.sleep(0.05)
        served = serve(None, "--once")
        assert served.process.wait(180) == 0, served.log.read_text()
        written = {event["seq"]: event for event in served.events()}
        while set(subscriber.events()) != set(written):
            assert time.monotonic() < until_s + 90, set(written) - set(subscriber.events())
            time.sleep(0.05)
        assert subscriber.events() == written
    finally:
        subscriber.close()


def test_a_full_queue_drops_the_oldest_and_counts(serve: Callable[..., Served], broker: Broker) -> None:
    text = CONFIG.format(source=f"file:{ECG}", port=broker.port)
    served = serve(text.replace('full = "block"', 'full = "drop-oldest"\nqueue = 50'), "--once")
    assert served.process.wait(180) == 2
    count = len(served.events())
    assert "sink.full" in served.log.read_text()
    assert f"sink.home lacks {count - 50} event(s): " in served.log.read_text().splitlines()[-1]
    broker.start()
    subscriber = Subscriber(broker.port)
    assert subscriber.subscribed.wait(90)
    served = serve(None)
    served.wait_for(lambda: len(subscriber.events()) == 50)
    assert sorted(subscriber.events()) == [event["seq"] for event in served.events()][-50:]
    assert served.end() == 0
    subscriber.close()
    assert threading.active_count() < 20


LIVE = """
[stream.bed]
source = "serial:{sensor}?rate=360&units=mV"
model = "ecg"
sinks = ["log", "home"]
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
[sink.home]
kind = "mqtt"
url = "mqtt://127.0.0.1:{port}"
"""


def test_a_live_stream_loses_no_event_though_broker_and_daemon_are_killed(
    serve: Callable[..., Served], broker: Broker, ecg: np.ndarray, tmp_path: Path
) -> None:
    """All that is in the file arrives, at least once, though no checkpoint was near."""
    lines = [f"{value:.3f}\n".encode() for value in ecg]
    sensor = Sensor(tmp_path / "port", 360.0 * 3, lambda n: lines[n % len(lines)], burst=54)
    text = LIVE.format(sensor=tmp_path / "port", port=broker.port).replace("rate=360", "rate=1080")
    served = serve(text)
    subscribers: list[Subscriber] = []

    def listened() -> None:
        """The broker is there, and a listener before the daemon knows it."""
        served.process.send_signal(signal.SIGSTOP)
        broker.start()
        subscribers.append(Subscriber(broker.port))
        assert subscribers[-1].subscribed.wait(90)
        served.process.send_signal(signal.SIGCONT)

    def heard() -> set[int]:
        return {seq for each in subscribers for seq in each.events()}

    def written() -> set[int]:
        return {event["seq"] for event in served.events()}

    try:
        served.wait_for(lambda: len(written()) > 20)
        served.process.kill()
        served.process.wait()
        early = written()
        served = serve(None)
        listened()
        served.wait_for(lambda: early <= heard())
        # What is acknowledged is no longer kept.
        outbox = kept_folder(tmp_path / "state") / "home.outbox"
        assert outbox.is_relative_to("/dev/shm")  # not on the card
        served.wait_for(lambda: outbox.stat().st_size < 2000)
        broker.end(signal.SIGKILL)
        seen = len(written())
        served.wait_for(lambda: len(written()) > seen + 20)
        served.process.kill()
        served.process.wait()
        with outbox.open("ab") as spool:
            spool.write(b'tcnstream/bed/beat\t{"stream": "bed", "se')  # a kill in the middle of a line
        late = written()
        served = serve(None)
        listened()
        served.wait_for(lambda: late <= heard())
        assert served.end() == 0
        # What the broker has taken is on its way to its listeners.
        until_s = time.monotonic() + 90
        while written() != heard() and time.monotonic() < until_s:
            time.sleep(0.05)
        assert written() == heard()
    finally:
        sensor.close()
        for each in subscribers:
            each.close()
    assert not outbox.exists()
