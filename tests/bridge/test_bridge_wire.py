"""Frames: the same bytes in Python and in C, whatever stood on the line before."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.bridge_tools import tool
from helpers.paths import DATA, TESTS
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import messages
from firmware_bridge.boards.build import CORE, FIRMWARE
from firmware_bridge.link.wire import Damaged, Decoder, Frame, cobs_decode, cobs_encode, encode, encoded_bytes

RECORDED = json.loads((DATA / "bridge_frames.json").read_text())
QUIET = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}


def frame_of(record: dict[str, object]) -> Frame:
    fields = {k: v for k, v in record.items() if k not in ("line", "payload")}
    return Frame(payload=bytes.fromhex(str(record["payload"])), **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware's wire.c under sanitizers."""
    made = tmp_path_factory.mktemp("wire") / "driver"
    flags = ["-std=gnu99", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    flags += ["-fno-sanitize-recover=all", f"-I{CORE}", f"-I{FIRMWARE}"]
    sources = [TESTS / "bridge" / "wire_driver.c", FIRMWARE / "wire.c", CORE / "crc32.c"]
    subprocess.run([tool("gcc"), *flags, *sources, "-o", made], check=True)
    return made


@pytest.mark.parametrize("record", RECORDED, ids=lambda r: r["line"][:16])
def test_recorded_frames_are_these_bytes_in_python(record: dict[str, object]) -> None:
    line = bytes.fromhex(str(record["line"]))
    assert encode(frame_of(record)) == line
    assert list(Decoder().feed(line)) == [frame_of(record)]


def test_recorded_frames_are_these_bytes_in_c(driver: Path) -> None:
    lines = b"".join(bytes.fromhex(r["line"]) for r in RECORDED)
    said = subprocess.run([driver, "decode"], input=lines, capture_output=True, check=True, env=QUIET).stdout.decode()
    expected = [
        f"frame {r['kind']} {r['status']} {r['session']} {r['sequence']} {r['credit']} {r['payload']}" for r in RECORDED
    ]
    assert said.splitlines() == expected
    for r in RECORDED:
        asked = f"{r['kind']} {r['status']} {r['session']} {r['sequence']} {r['credit']} {r['payload']}\n"
        made = subprocess.run([driver, "encode"], input=asked.encode(), capture_output=True, check=True, env=QUIET)
        assert made.stdout.hex() == r["line"]


def test_recorded_frames_cover_every_message() -> None:
    kinds = {r["kind"] for r in RECORDED}
    assert kinds >= {int(k) for k in messages.Kind} | {messages.Kind.HELLO | 0x80, messages.Kind.PUSH | 0x80}


@given(st.binary(max_size=1200))
def test_cobs_has_no_zero_and_comes_back(raw: bytes) -> None:
    coded = cobs_encode(raw)
    assert 0 not in coded and cobs_decode(coded) == raw
    assert len(coded) <= len(raw) + len(raw) // 254 + 1


@pytest.mark.parametrize("n", [0, 1, 253, 254, 255, 508, 509, 65535])
@pytest.mark.parametrize("fill", [0, 1, 255])
def test_lengths_around_the_blocks_of_cobs(n: int, fill: int, driver: Path) -> None:
    frame = Frame(6, 0, 1, 2, 3, bytes([fill]) * n)
    line = encode(frame)
    assert list(Decoder().feed(line)) == [frame] and len(line) <= encoded_bytes(n)
    said = subprocess.run([driver, "decode"], input=line, capture_output=True, check=True, env=QUIET).stdout.decode()
    assert said.split() == ["frame", "6", "0", "1", "2", "3", *([frame.payload.hex()] if n else [])]


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 7), st.binary(max_size=30))
def test_any_loss_resynchronises_at_the_next_frame(noise: list[bytes], size: int, payload: bytes) -> None:
    line = b"".join(n + encode(Frame(5, 0, 9, k, 0, payload)) for k, n in enumerate(noise))
    decoder, found = Decoder(), []
    for at in range(0, len(line), size):
        found += [f for f in decoder.feed(line[at : at + size]) if isinstance(f, Frame) and f.session == 9]
    assert [f.sequence for f in found] == list(range(len(noise)))


def test_one_flipped_bit_anywhere_is_seen() -> None:
    line = encode(Frame(6, 1, 2, 3, 4, bytes(range(40))))
    for place in range(8 * len(line)):
        damaged = bytearray(line)
        damaged[place // 8] ^= 1 << place % 8
        good = [f for f in Decoder().feed(bytes(damaged) + b"\0") if isinstance(f, Frame)]
        # A flipped zero at either end leaves the frame inside whole, or joins it with nothing.
        assert all(f == Frame(6, 1, 2, 3, 4, bytes(range(40))) for f in good)
        assert not good or place // 8 in (0, len(line) - 1)


def test_a_damaged_length_does_not_make_the_decoder_wait() -> None:
    raw = bytearray(cobs_decode(encode(Frame(6, payload=b"abc"))[1:-1]))
    raw[0:2] = b"\xff\xff"
    (found,) = Decoder().feed(b"\0" + cobs_encode(bytes(raw)) + b"\0")
    assert isinstance(found, Damaged) and found.reason == "the length says 65535, there are 3 bytes"


def test_a_hundred_thousand_random_strings_under_sanitizers(driver: Path) -> None:
    answer = subprocess.run([driver, "fuzz", "100000", "7"], capture_output=True, text=True, env=QUIET, timeout=300)
    assert answer.returncode == 0, answer.stderr


def test_a_hundred_thousand_random_strings_in_python() -> None:
    rng = np.random.default_rng(7)
    decoder = Decoder()
    sizes = rng.integers(0, 60, 100_000)
    noise = rng.integers(0, 256, int(sizes.sum()), np.uint8).tobytes()
    at = 0
    for k, n in enumerate(sizes.tolist()):
        good = Frame(7, 0, 5, k & 0xFFFF)
        found = [f for f in decoder.feed(noise[at : at + n] + encode(good)) if isinstance(f, Frame)]
        assert found == [good]
        at += n
    assert not decoder.unfinished


def test_endless_noise_without_a_zero_takes_bounded_memory() -> None:
    decoder = Decoder()
    for _ in range(100):
        assert not list(decoder.feed(b"\x55" * 10_000))
    assert len(decoder.unfinished) < 70_000
    found = list(decoder.feed(encode(Frame(7))))
    assert isinstance(found[0], Damaged) and found[1:] == [Frame(7)]
