"""Speech over the Wyoming protocol, heard by its own client; and what hostile clients get."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from helpers.served import Served

pytestmark = pytest.mark.slow
client = pytest.importorskip("wyoming.client", reason="pip install tcnstream[wyoming]")

LIVE = f"""
[stream.room]
source = "file:{resources.files("tcnstream") / "data" / "audio.ogg"}?speed={{speed}}&repeat=true"
model = "speech"
sinks = ["log", "voice"]
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
[sink.voice]
kind = "wyoming"
listen = "127.0.0.1:0"
"""


def port_of(served: Served) -> int:
    return int(served.wait_for(lambda: re.search(r"wyoming.started .*port=(\d+)", served.log.read_text()))[1])


async def heard(port: int, count: int) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """What is described, and the first messages about voice."""
    from wyoming.info import Describe
    from wyoming.ping import Ping

    told: list[tuple[str, dict[str, Any]]] = []
    described: dict[str, Any] = {}
    async with client.AsyncTcpClient("127.0.0.1", port, read_timeout=90) as connection:
        await connection.write_event(Describe().event())
        await connection.write_event(Ping("are you there?").event())
        while len(told) < count:
            event = await connection.read_event()
            assert event is not None
            if event.type == "info":
                described = event.data
            elif event.type == "pong":
                assert event.data == {"text": "are you there?"}
            else:
                told.append((event.type, event.data))
    return described, told


def test_its_own_client_hears_speech(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(LIVE.format(speed=4))
    described, told = asyncio.run(heard(port_of(served), 4))
    assert served.end() == 0
    assert described["software"].startswith("tcnstream ") and described["asr"] == []
    speech = [e for e in served.events() if e["type"] == "segment" and e["label"] == "speech"]
    expected = [
        (type, {"timestamp": round(e[key] * 1000), "stream": "room"})
        for e in speech
        for type, key in (("voice-started", "start_s"), ("voice-stopped", "end_s"))
    ]
    begin = expected.index(told[0])
    assert len(told) == 4 and told == expected[begin : begin + 4]


HOSTILE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"[]\n",
    b'{"type": 3}\n',
    b'{"type": "describe", "data_length": -1}\n',
    b'{"type": "describe", "payload_length": 99999999999}\n',
    b'{"type": "ping", "data_length": 2}\n[]',
    b'{"type": "ping", "data": [1]}\n',
    b"x" * 200_000,
    b"\xff\xfe\n",
    b"[" * 60_000 + b"\n",
]


def test_hostile_clients_are_let_go_and_others_served(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(LIVE.format(speed=1))
    port = port_of(served)
    for message in HOSTILE:
        with socket.create_connection(("127.0.0.1", port), 90) as hostile:
            hostile.settimeout(90)
            try:
                hostile.sendall(message)
                assert hostile.recv(1000) == b"", message[:40]
            except ConnectionError:
                pass  # closed while it was still sending
    crowd = [socket.create_connection(("127.0.0.1", port), 90) for _ in range(40)]
    crowd[-1].settimeout(90)
    assert crowd[-1].recv(10) == b""  # more than there is room for
    for each in crowd:
        each.close()
    with socket.create_connection(("127.0.0.1", port), 90) as good:
        good.settimeout(90)
        good.sendall(b'{"type": "describe"}\n')
        assert json.loads(good.makefile("rb").readline())["type"] == "info"
    assert served.end() == 0 and "Traceback" not in served.log.read_text()


def test_what_is_wrong_with_its_address_is_said(tmp_path: Path) -> None:
    from tcnstream.live.config import ConfigError, read_config

    (tmp_path / "live.toml").write_text(LIVE.format(speed=1).replace("127.0.0.1:0", "10700"))
    with pytest.raises(ConfigError, match=r'sink.voice.listen = "10700" is no address: give HOST:PORT'):
        read_config(tmp_path / "live.toml")
