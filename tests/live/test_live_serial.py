"""Sensors on serial ports: no wrong sample is taken, and none is missing without a mark."""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.sensor import Sensor
from helpers.served import Served

from tcnstream.live import feed
from tcnstream.live.blocks import Block
from tcnstream.live.clock import WallClock
from tcnstream.live.feed import Feed
from tcnstream.live.logs import Log
from tcnstream.live.sources.base import Wanted
from tcnstream.live.sources.packets import CHECKS, PacketFormat, PacketReader
from tcnstream.live.sources.readers import LineReader
from tcnstream.live.sources.serial import SerialConfig, SerialSource

FORMAT = PacketFormat(b"\xa5\x5a", (("counter", "u8"), ("ii", "i24")), "sum8")


WIDE = PacketFormat(b"\xa5\x5a", (("counter", "u16"), ("ii", "i24")), "crc16-ccitt")
"""Goes round after two minutes, which no arrival is late by, and lets no noise through."""


def wide_packet(n: int) -> bytes:
    body = (n & 65535).to_bytes(2, "little") + n.to_bytes(3, "little")
    return b"\xa5\x5a" + body + CHECKS["crc16-ccitt"][1](body)


def packet(n: int, covers_sync: bool = False) -> bytes:
    body = bytes([n & 255]) + (n % (1 << 23)).to_bytes(3, "little")
    return b"\xa5\x5a" + body + bytes([sum(body + (b"\xa5\x5a" if covers_sync else b"")) & 255])


@pytest.mark.parametrize("covers_sync", [False, True])
def test_packets_are_read_however_they_arrive(covers_sync: bool) -> None:
    stream = b"\x5a\xa5noise" + b"".join(packet(n, covers_sync) for n in range(300))
    for size in (1, 7, 64, 10_000):
        reader = PacketReader(FORMAT)
        found = [each for at in range(0, len(stream), size) for each in reader.push(stream[at : at + size])]
        assert found == [(0, [float(n)]) for n in range(300)]


@pytest.mark.parametrize("check", ["sum8", "crc8", "crc16-ccitt", "xor8", "sum16"])
def test_noise_gives_lost_packets_and_no_wrong_one(check: str) -> None:
    """One byte in a hundred is another one; what is read is right, and what is not read is counted."""
    form = PacketFormat(b"\xa5\x5a", FORMAT.fields, check)
    rng = random.Random(7)
    sent = bytearray()
    for n in range(20_000):
        body = bytes([n & 255]) + n.to_bytes(3, "little")
        sent += b"\xa5\x5a" + body + CHECKS[check][1](body)
    for at in range(len(sent)):
        if rng.random() < 0.01:
            sent[at] ^= 1 << rng.randrange(8)
    reader = PacketReader(form)
    at, seen = -1, 0
    for lost, (value,) in reader.push(bytes(sent)):
        at += 1 + lost
        assert value == at
        seen += 1
    assert 0.9 * 20_000 < seen < 0.97 * 20_000


def test_lines_are_numbers_or_lost() -> None:
    reader = LineReader(2)
    assert reader.push(b"3, 4\n1 2\n1;2\n1,2,3\nx 1\n5") == [(0, [1.0, 2.0]), (0, [1.0, 2.0])]
    assert reader.push(b" 6\r\n nan 1\n\n") == [(2, [5.0, 6.0])]
    assert reader.push(b"7\t8\n") == [(1, [7.0, 8.0])]


def test_columns_are_those_of_the_lines() -> None:
    """Half a line, a greeting and a line that says too little come first."""
    reader = LineReader(0, least=1)
    assert reader.push(b"7\r\nECG v1.2\r\n4\r\n1;2\r\n3;4\r\n") == [(0, [3.0, 4.0])]
    assert reader.push(b"5;6\r\n7\r\n8;9\r\n") == [(0, [5.0, 6.0]), (1, [8.0, 9.0])]
    reader.begin_anew()
    assert reader.push(b"1\n2\n3\n") == [(0, [3.0])]  # another sensor
    assert LineReader(0, least=2).push(b"x\n1\n2\n3\n1 2\n1 2\n") == [(0, [1.0, 2.0])]
    whole = LineReader(1, is_whole=True)
    assert whole.push(b"1\n" + b"9" * 5000) == [(0, [1.0])]
    assert whole.push(b"9\n2\n3") == [(1, [2.0])] and whole.finish() == [(0, [3.0])]


class _Collected:
    """Stands where a worker's intake is."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def put(self, block: Block, may_wait: Any = None) -> int:
        self.blocks.append(block)
        return 0

    def end(self) -> None:
        raise AssertionError("a serial port does not end")


def collect(
    tmp_path: Path, rate_hz: float, message: Callable[[int], bytes], act: Callable[[Sensor, list[Block]], None]
) -> list[Block]:
    """What a feed makes of a sensor while ``act`` does things to it."""
    sensor = Sensor(tmp_path / "port", rate_hz, message)
    config = SerialConfig("serial", "serial:x", rate_hz, "mV", str(tmp_path / "port"), 115200, 1, WIDE)
    taken: Any = _Collected()
    made = Feed(
        "bed", SerialSource(config, Wanted(1, rate_hz)), taken, 1, rate_hz, WallClock(), Log("text"), lambda: None
    )
    made.start()
    act(sensor, taken.blocks)
    made.stop(60)
    sensor.close()
    assert not made.thread.is_alive()
    return taken.blocks


@pytest.mark.slow
def test_noise_and_pulled_cables_lose_nothing_unmarked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sample says its number: frame numbers must differ from it by one constant, across all gaps."""
    monkeypatch.setattr(feed, "_COUNTER_RESTART_S", 60.0)  # a sensor of a busy machine is late, and begins not anew
    noise, pulls = random.Random(3), random.Random(4)

    def noisy(n: int) -> bytes:
        return bytes(byte ^ (1 << noise.randrange(8)) if noise.random() < 0.01 else byte for byte in wide_packet(n))

    def hear(blocks: list[Block]) -> None:
        until_s, before = time.monotonic() + 90, len(blocks)
        while len(blocks) < before + 60:
            assert time.monotonic() < until_s
            time.sleep(0.01)

    def pull(sensor: Sensor, blocks: list[Block]) -> None:
        hear(blocks)
        for _ in range(6):
            sensor.unplug()
            time.sleep(pulls.uniform(0.05, 0.7))
            sensor.plug()
            hear(blocks)

    blocks = [block for block in collect(tmp_path, 500.0, noisy, pull) if len(block.samples)]
    begin = blocks[0].first_frame - int(blocks[0].samples[0, 0])
    expected = blocks[0].first_frame
    for block in blocks:
        assert block.first_frame == expected + (block.gap.frames if block.gap else 0)
        expected = block.first_frame + len(block.samples)
        np.testing.assert_array_equal(block.samples[:, 0], np.arange(block.first_frame, expected) - begin)
    reasons = [block.gap.reason for block in blocks if block.gap]
    # Where this machine is slow, a cable may be pulled again before anybody noticed that it was back.
    assert 1 <= reasons.count("unplugged") <= 6 and reasons.count("counter") > 5
    assert all(block.gap.tolerance_frames == 0 for block in blocks if block.gap)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


CONFIG = """
state = "state"
[page]
listen = "127.0.0.1:0"
[stream.bed]
source = "serial:{port}?rate=360&units=mV"
model = "ecg"
gap = {{ policy = "interpolate", limit = "40 ms" }}
sinks = ["log"]
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
rotate = {{ size = "20 MB", keep = 10 }}
"""


@pytest.mark.slow
def test_a_sensor_is_served_through_unplugging_crash_and_restart(
    serve: Callable[..., Served], ecg: np.ndarray, tmp_path: Path
) -> None:
    lines = [f"{value:.3f}\n".encode() for value in ecg]
    began = datetime.now(UTC)
    sensor = Sensor(tmp_path / "port", 360.0, lambda n: lines[n % len(lines)], burst=18)
    try:
        served = serve(CONFIG.format(port=tmp_path / "port"))
        first = served.wait_for(lambda: [e for e in served.events() if e["type"] == "beat"])[0]["start_utc"]
        assert first.endswith("Z") and began < datetime.fromisoformat(first) < datetime.now(UTC)
        port = int(served.log.read_text().partition("web.started port=")[2].split()[0])
        assert get(port, "/health")[0] == 200
        sensor.unplug()
        served.wait_for(lambda: [e for e in served.events() if (e["type"], e["label"]) == ("status", "down")])
        code, text = get(port, "/health")
        health = json.loads(text)
        assert code == 200 and health["streams"]["bed"]["state"] == "down"  # known to be down, and tried again
        assert 'tcnstream_stream_up{stream="bed"} 0' in get(port, "/metrics")[1]
        sensor.plug()
        gap = served.wait_for(lambda: [e for e in served.events() if e["type"] == "gap"])[0]
        assert gap["reason"] == "unplugged" and gap["done"] == "reset" and gap["frames"] > 18
        before = served.wait_for(lambda: [e for e in served.events() if e["epoch"] == 1 and e["type"] == "segment"])
        written = (tmp_path / "segments.jsonl").read_bytes()
        served.process.kill()
        served.process.wait()
        served = serve(None)
        restart = served.wait_for(lambda: [e for e in served.events() if e.get("reason") == "restart"])[0]
        assert (tmp_path / "segments.jsonl").read_bytes().startswith(written[: written.rindex(b"\n") + 1])
        assert restart["epoch"] >= 1 and restart["first_frame"] >= before[0]["frame"] and restart["frames"] > 0
        served.wait_for(lambda: [e for e in served.events() if e["type"] == "segment" and e["seq"] > restart["seq"]])
        assert served.end() == 0
        seqs = [event["seq"] for event in served.events()]
        assert len(set(seqs)) == len(seqs) and seqs == sorted(seqs)
        served = serve(None)
        served.wait_for(lambda: len([e for e in served.events() if e.get("reason") == "restart"]) == 2)
        assert served.end() == 0
    finally:
        sensor.close()
