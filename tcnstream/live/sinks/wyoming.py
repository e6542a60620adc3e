"""Speech as Home Assistant's voice pipelines hear of it (package wyoming, extra ``wyoming``).

A small server of the Wyoming protocol: whoever is connected is told ``voice-started`` and ``voice-stopped`` for each
segment of one label, with ``timestamp`` in milliseconds of the source's clock and the stream's name. A segment is told
when it is final, so that both come together, after it. ``describe`` and ``ping`` are answered; the protocol has no
passwords, and nothing else is taken from a client.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tcnstream
from tcnstream.live.address import LOOPBACK, listen_to, read_address
from tcnstream.live.events import Event
from tcnstream.live.logs import Log
from tcnstream.live.needs import Needs
from tcnstream.live.sinks.base import Full, Item, SinkConfig, SinkKind, SinkThread, Writer
from tcnstream.live.tables.table import Table
from tcnstream.signal.extras import optional_package

_MOST_CLIENTS = 32
_MOST_BYTES = 65536
"""Of a message, and of what a client has not taken yet."""


@dataclass(frozen=True)
class WyomingConfig(SinkConfig):
    """``label`` is that of the segments that are voice."""

    host: str
    port: int
    label: str

    def needs(self) -> Needs:
        return Needs(hosts=(self.host,)) if self.host in LOOPBACK else Needs(is_visited=True)


class WyomingWriter(Writer):
    """A server on a thread of its own; one that takes nothing is let go."""

    def __init__(self, config: WyomingConfig, log: Log) -> None:
        self._config, self._log = config, log
        self._wyoming = optional_package("wyoming.event", f"sink.{config.name} speaks Wyoming", "wyoming")
        self._socket = listen_to(config.host, config.port, f"sink.{config.name}.listen", _MOST_BYTES)
        self.port = int(self._socket.getsockname()[1])
        self._clients: set[asyncio.StreamWriter] = set()
        self._loop, self._ended = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"wyoming {config.name}", daemon=True)
        self._thread.start()
        log.info("wyoming.started", sink=config.name, port=self.port)

    def write(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Event) and item.type == "segment" and item.label == self._config.label:
                for type, at_s in (("voice-started", item.start_s), ("voice-stopped", item.end_s)):
                    message = self._message(type, {"timestamp": round(at_s * 1000), "stream": item.stream})
                    self._loop.call_soon_threadsafe(self._tell, message)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(2.0)

    def _message(self, type: str, data: dict[str, Any]) -> bytes:
        content = io.BytesIO()
        self._wyoming.write_event(self._wyoming.Event(type, data), content)
        return content.getvalue()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._until_the_end())
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _until_the_end(self) -> None:
        """Which may come before the server has begun."""
        server = await asyncio.start_server(self._serve, sock=self._socket, limit=_MOST_BYTES)
        await self._ended.wait()
        server.close()

    def _tell(self, message: bytes) -> None:
        for client in list(self._clients):
            if client.transport.get_write_buffer_size() > _MOST_BYTES:
                self._log.warn("wyoming.slow", sink=self._config.name)
                client.transport.abort()
            else:
                client.write(message)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if len(self._clients) >= _MOST_CLIENTS:
            client.close()
            return
        self._clients.add(client)
        try:
            while (asked := await _read(reader)) is not None:
                type, data = asked
                if type == "describe":
                    client.write(self._message("info", self._info()))
                elif type == "ping":
                    client.write(self._message("pong", {"text": data.get("text")}))
                await client.drain()
        except (OSError, ValueError, RecursionError, asyncio.IncompleteReadError):
            pass  # gone, or it speaks something else
        finally:
            self._clients.discard(client)
            client.close()

    def _info(self) -> dict[str, Any]:
        """It offers none of the services that the protocol knows programs of."""
        from wyoming.info import Info

        return {**Info().event().data, "software": f"tcnstream {tcnstream.__version__}", "label": self._config.label}


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]] | None:
    """A message's type and data, None at the end. Raises ValueError for what is none, or too long."""
    line = await reader.readline()
    if not line:
        return None
    head = json.loads(line)
    if not isinstance(head, dict) or not isinstance(head.get("type"), str):
        raise ValueError("no message")
    lengths = [head.get(key) or 0 for key in ("data_length", "payload_length")]
    if any(not isinstance(length, int) or not 0 <= length <= _MOST_BYTES for length in lengths):
        raise ValueError("no length")
    data = head.get("data") or {}
    if lengths[0]:
        data = json.loads(await reader.readexactly(lengths[0]))
    await reader.readexactly(lengths[1])
    if not isinstance(data, dict):
        raise ValueError("no data")
    return head["type"], data


def _configure(name: str, table: Table, folder: Path, full: Full, queue_events: int) -> WyomingConfig:
    host, port = read_address(table, "listen", "127.0.0.1:10700") or ("", 0)
    return WyomingConfig(name, "wyoming", full, queue_events, host, port, table.text("label", "speech"))


def _open(config: WyomingConfig, log: Log) -> SinkThread:
    return SinkThread(config, WyomingWriter(config, log), log)


KIND = SinkKind("wyoming", _configure, _open)
