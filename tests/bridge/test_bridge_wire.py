"""Frames: the same bytes in Python and in C, whatever stood on the line before."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.bridge_tools import tool
from helpers.paths import DATA, TESTS
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.boards.build import CORE, FIRMWARE
from firmware_bridge.errors import BridgeError
from firmware_bridge.link import header, messages
from firmware_bridge.link.record import c_struct, layout_of
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


def test_the_firmware_has_this_description_of_the_messages() -> None:
    stale = "protocol.h is stale: python -m firmware_bridge.link.header"
    assert header.HEADER.read_text(encoding="utf-8") == header.header(), stale


def test_python_and_c_have_every_field_at_the_same_place(tmp_path: Path) -> None:
    lines, expected = [], []
    records = [record for pair in messages.MESSAGES.values() for record in pair if record is not messages.Empty]
    for record in (messages.FrameHead, messages.Refusal, *messages.UNASKED.values(), *records):
        found = re.search(r"} (\w+);", c_struct(record))
        assert found is not None
        lines.append(f'printf("{found[1]} %d\\n", (int)sizeof({found[1]}));')
        expected.append(f"{found[1]} {record.size_bytes()}")
        form = "<"
        for field, fixed in layout_of(record).fixed.items():
            lines.append(f'printf("{field} %d\\n", (int)offsetof({found[1]}, {field}));')
            expected.append(f"{field} {struct.calcsize(form)}")
            form += fixed.code
    includes = '#include <stddef.h>\n#include <stdio.h>\n#include "protocol.h"\n'
    (tmp_path / "sizes.c").write_text(includes + "int main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n")
    subprocess.run([tool("gcc"), f"-I{FIRMWARE}", tmp_path / "sizes.c", "-o", tmp_path / "sizes"], check=True)
    said = subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == expected


def test_a_record_comes_back_and_one_cut_short_is_told() -> None:
    sizes = range(5, 15)
    hello = messages.Hello(
        1, messages.Can(127), 3, 4, 1, *sizes, 1, 16, 3, bytes(range(32)), "host", "b", "", "é" * 200
    )
    back = messages.unpack_hello(hello.pack())
    assert back.can == messages.Can(127) and isinstance(back.can, messages.Can)
    assert (back.target, back.core, back.ticks, back.rounding) == ("host", "", "cycles", "tflm")
    assert (back.window, back.plan_bytes, back.plan_sha256) == (5, 14, bytes(range(32)))
    assert back.identity.startswith("é" * 127)  # a text has 255 bytes at most
    assert messages.unpack_hello(hello.pack()[:104]).target == ""
    with pytest.raises(BridgeError, match="the board's statistics has 47 bytes and should have 48; flash it again"):
        messages.Stats.unpack(bytes(47))
    with pytest.raises(BridgeError, match="the board speaks protocol 9 and this package protocol 1"):
        messages.unpack_hello((9).to_bytes(4, "little"))
    with pytest.raises(BridgeError, match="the board's push tells of 1 outputs and the model has 2"):
        messages.PushReply.unpack(bytes(12)).outputs(2)


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
