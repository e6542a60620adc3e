"""Events over MQTT 5 (package paho-mqtt): at least once, each with its identity.

An event waits in the outbox until the broker has acknowledged it (QoS 1), through lost connections, a broker that is
not there at first, and restarts and kills of either side: the journal keeps what waits at a checkpoint, a spool what
live streams gave since. A broker that begins anew
has forgotten what it was told to retain, so that the state of every stream is published again on each connection. The
last will says ``offline`` where the daemon ends without a word.

Topics, for ``topic = "tcnstream/{stream}"``: events on ``tcnstream/bed/segment`` (beat, gap, ...), the retained state
of a stream on ``tcnstream/bed/state``, whether the daemon lives, retained, on ``tcnstream/online`` (what stands before
``{stream}``).
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tcnstream.live.events import Event
from tcnstream.live.logs import Log
from tcnstream.live.needs import Needs
from tcnstream.live.sinks.base import Full, Mark, Sink, SinkConfig, SinkKind, Unsent
from tcnstream.live.sinks.spool import Spool
from tcnstream.live.tables.table import Table
from tcnstream.signal.extras import optional_package

_KEEPALIVE_S = 15
_IN_FLIGHT = 64
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_CONNECT_S = 10.0
_LOOP_S = 0.05

_Key = tuple[str, int]


@dataclass(frozen=True)
class MqttConfig(SinkConfig):
    """``topic`` has ``{stream}`` in it; ``discovery`` is Home Assistant's prefix, "" for none."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None
    topic: str
    discovery: str
    password_file: Path | None = None

    @property
    def online_topic(self) -> str:
        return f"{self.topic.partition('{stream}')[0].rstrip('/') or 'tcnstream'}/online"

    def needs(self) -> Needs:
        return Needs(reads=() if self.password_file is None else (self.password_file,), hosts=(self.host,))

    def topic_of(self, stream: str, what: str) -> str:
        return f"{self.topic.replace('{stream}', stream)}/{what}"


class MqttSink(Sink):
    """One thread that connects, sends, waits for acknowledgements and connects again."""

    sends = True

    def __init__(self, config: MqttConfig, log: Log) -> None:
        super().__init__(config)
        self.mqtt = config
        self._log = log
        self._paho = optional_package("paho.mqtt.client", f"sink.{config.name} is MQTT", "live")
        self._outbox: OrderedDict[_Key, Unsent] = OrderedDict()
        self._states: dict[str, bytes] = {}
        self._new_states: set[str] = set()
        self._in_flight: dict[int, _Key] = {}
        self._sent: set[_Key] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._give_up_at_s = float("inf")
        self._connected = False
        self._spool: Spool | None = None
        self._spool_trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"sink {config.name}", daemon=True)

    def resume(self, unsent: Sequence[Unsent], spool: Path) -> None:
        """Before ``start``: what an earlier daemon had not sent."""
        self._spool = Spool(spool)
        for each in (*unsent, *self._spool.read()):
            self._outbox[each.stream, each.seq] = each

    def start(self) -> None:
        self.trouble = "not connected yet"
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def disk_trouble(self) -> str:
        return self._spool_trouble

    def waiting(self) -> int:
        return len(self._outbox)

    def unsent(self) -> list[Unsent]:
        with self._changed:
            return list(self._outbox.values())

    def put(self, events: Sequence[Event], may_wait: bool) -> None:
        config = self.mqtt
        with self._changed:
            new = [
                Unsent(event.stream, event.seq, config.topic_of(event.stream, event.type), event.json())
                for event in events
            ]
            if not may_wait:  # a replay gives them again
                self._keep(lambda spool: spool.append(new))
            self._outbox |= {(each.stream, each.seq): each for each in new}
            while not self.waits(may_wait) and len(self._outbox) > config.queue_events:
                key, _ = self._outbox.popitem(last=False)
                self._sent.discard(key)
                self.lost_events += 1
                self._log.warn("sink.full", sink=config.name, lost_events=self.lost_events, trouble=self.trouble)
            if self._spool is not None and self._spool.is_large:
                self._keep(lambda spool: spool.replace(self._outbox.values()))
            self._changed.notify_all()

    def wait_for_room(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._outbox) < self.config.queue_events, timeout_s)

    def waits(self, may_wait: bool) -> bool:
        """What waits is kept, so that a replay goes on."""
        return self.config.full == "block"

    def _keep(self, work: Callable[[Spool], None]) -> None:
        """A full disk stops the spool, not the sending."""
        if self._spool is None:
            return
        try:
            work(self._spool)
            self._spool_trouble = ""
        except OSError as error:
            self._spool_trouble = error.strerror or str(error)
            self._log.error("outbox.failed", sink=self.config.name, error=self._spool_trouble)

    def state_changed(self, stream: str, state: Mapping[str, Any]) -> None:
        with self._changed:
            self._states[stream] = json.dumps(state).encode()
            self._new_states.add(stream)
            self._changed.notify_all()

    def mark(self) -> Mark:
        mark = Mark()
        mark.reach(None)  # what waits is in the outbox
        return mark

    def stop(self, timeout_s: float) -> None:
        with self._changed:
            self._stopping = True
            self._give_up_at_s = time.monotonic() + (timeout_s if self._connected else 0.0)
            self._changed.notify_all()
        self._thread.join(timeout_s + 2)
        with self._changed:
            self._keep(lambda spool: spool.replace(self._outbox.values()) if self._outbox else spool.remove())

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._ends():
            try:
                client = self._connect()
                pause_s = _FIRST_PAUSE_S
                self._connected, self.trouble = True, ""
                self._log.info("sink.connected", sink=self.config.name)
                why = self._serve(client)
            except (OSError, ValueError) as error:
                why = str(error)
            except Exception as error:  # whatever a broker makes the package stumble over, this thread goes on
                why = f"{type(error).__name__}: {error}"
                self._log.error("sink.broke", sink=self.config.name, error=why)
            was_connected, self._connected = self._connected, False
            if not why:
                continue
            self._down(why)
            if not was_connected:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    def _ends(self) -> bool:
        return self._stopping and (not self._outbox or time.monotonic() > self._give_up_at_s)

    def _down(self, why: str) -> None:
        self.trouble = why
        self._log.warn("sink.down", sink=self.config.name, why=why, waiting=len(self._outbox))

    def _connect(self) -> Any:
        """A client that the broker has accepted. Raises OSError or ValueError."""
        paho, config = self._paho, self.mqtt
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        if config.user is not None:
            client.username_pw_set(config.user, config.password)
        if config.tls:
            client.tls_set()
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.will_set(config.online_topic, b"offline", qos=1, retain=True)
        answers: list[Any] = []
        client.on_connect = lambda c, userdata, flags, reason, properties: answers.append(reason)
        client.on_publish = lambda c, userdata, mid, reason, properties: self._acknowledged(mid, reason)
        client.connect_timeout = _CONNECT_S
        client.connect(config.host, config.port, _KEEPALIVE_S)
        until_s = time.monotonic() + _CONNECT_S
        while not answers:
            if client.loop(_LOOP_S) != paho.MQTT_ERR_SUCCESS or time.monotonic() > until_s:
                raise OSError("the broker does not answer")
        if answers[0].is_failure:
            raise OSError(f"the broker refuses: {answers[0]}")
        return client

    def _serve(self, client: Any) -> str:
        """Sends until the connection is lost, and says why; "" at the end."""
        config = self.mqtt
        with self._changed:
            self._in_flight.clear()
            self._sent.clear()
            self._new_states = set(self._states)
        client.publish(config.online_topic, b"online", qos=1, retain=True)
        while not self._ends():
            self._send_states(client)
            self._send_events(client)
            code = client.loop(_LOOP_S)
            if code != self._paho.MQTT_ERR_SUCCESS:
                return str(self._paho.error_string(code))
        client.publish(config.online_topic, b"offline", qos=1, retain=True)
        for _ in range(10):
            client.loop(_LOOP_S)
        client.disconnect()
        return ""

    def _send_states(self, client: Any) -> None:
        with self._changed:
            streams, self._new_states = self._new_states, set()
            states = {stream: self._states[stream] for stream in streams}
        for stream, state in states.items():
            client.publish(self.mqtt.topic_of(stream, "state"), state, qos=1, retain=True)
            if self.mqtt.discovery:
                for topic, message in discovery(self.mqtt, stream):
                    client.publish(topic, json.dumps(message).encode(), qos=1, retain=True)

    def _send_events(self, client: Any) -> None:
        with self._changed:
            room = _IN_FLIGHT - len(self._in_flight)
            waiting: list[tuple[_Key, Unsent]] = []
            for key, each in self._outbox.items():
                if len(waiting) >= room:
                    break
                if key not in self._sent:
                    waiting.append((key, each))
            for key, each in waiting:
                sent = client.publish(each.topic, each.payload, qos=1)
                self._in_flight[sent.mid] = key
                self._sent.add(key)

    def _acknowledged(self, mid: int, reason: Any) -> None:
        with self._changed:
            key = self._in_flight.pop(mid, None)
            if key is None:
                return
            self._sent.discard(key)
            if reason is not None and reason.is_failure:
                self._log.warn("sink.refused", sink=self.config.name, why=str(reason))
                self.lost_events += 1
            else:
                self.taken_events += 1
            self._outbox.pop(key, None)
            if not self._outbox:
                self._keep(Spool.clear)
            self._changed.notify_all()


def discovery(config: MqttConfig, stream: str) -> list[tuple[str, dict[str, Any]]]:
    """Home Assistant's configuration messages for a stream: (topic, message)."""
    device = {"identifiers": [f"tcnstream_{stream}"], "name": f"tcnstream {stream}", "manufacturer": "tcnstream"}
    available = {"availability_topic": config.online_topic}
    sensors = {
        "state": {"state_topic": config.topic_of(stream, "state"), "value_template": "{{ value_json.state }}"},
        "label": {"state_topic": config.topic_of(stream, "segment"), "value_template": "{{ value_json.label }}"},
        "rate": {
            "state_topic": config.topic_of(stream, "beat"),
            "value_template": "{{ value_json.rate_bpm }}",
            "unit_of_measurement": "bpm",
        },
    }
    return [
        (
            f"{config.discovery}/sensor/tcnstream_{stream}/{name}/config",
            {"name": name, "unique_id": f"tcnstream_{stream}_{name}", "device": device, **available, **sensor},
        )
        for name, sensor in sensors.items()
    ]


def _configure(name: str, table: Table, folder: Path, full: Full, queue_events: int) -> MqttConfig:
    url = table.text("url", needed='give the broker, such as "mqtt://127.0.0.1:1883"')
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if url and (parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == -1):
        table.complain("url", f'= "{url}" names no broker: give mqtt://HOST:PORT, or mqtts:// for TLS')
    topic = table.text("topic", "tcnstream/{stream}")
    if "{stream}" not in topic or any(mark in topic for mark in "#+"):
        table.complain("topic", f'= "{topic}" cannot tell streams apart: put {{stream}} into it, and neither # nor +')
    password_file = table.text("password_file")
    password = unquote(parts.password) if parts.password else None
    if password_file:
        path = folder / password_file
        if path.is_file():
            password = path.read_text(encoding="utf-8").strip()
        else:
            table.complain("password_file", f'= "{password_file}" is not there')
    prefix = "homeassistant" if table.flag("discovery", False) else ""
    return MqttConfig(
        name,
        "mqtt",
        full,
        queue_events,
        parts.hostname or "",
        (8883 if parts.scheme == "mqtts" else 1883) if port is None else port,
        parts.scheme == "mqtts",
        unquote(parts.username) if parts.username else None,
        password,
        topic,
        prefix,
        folder / password_file if password_file else None,
    )


KIND = SinkKind("mqtt", _configure, MqttSink)
