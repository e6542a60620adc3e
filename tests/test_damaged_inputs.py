"""Snapshots, cards and messages that are wrong in one place: taken or refused in words, and nothing in between."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.contract import open_stream
from helpers.mutate import mutations
from helpers.networks import build, layer
from helpers.paths import MODELS

import tcnstream
from firmware_bridge.errors import BridgeError
from firmware_bridge.link import messages
from firmware_bridge.link.messages import Kind
from firmware_bridge.link.record import Record
from firmware_bridge.link.wire import Damaged, Decoder, Frame, encode
from tcnstream import StreamError
from tcnstream.engines.base import ENGINES
from tcnstream.errors import TcnStreamError
from tcnstream.signal.card import find_model, shipped_models

NASTY = (
    "0",
    "-1",
    "1e400",
    "nan",
    "[]",
    "{}",
    "true",
    '""',
    "1979-05-27",
    '"\\u0000"',
    "99999999999999999999",
    '["a"]',
)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_snapshot_with_changed_bytes_under_a_right_checksum(engine: str) -> None:
    """Only values may have changed where it is taken; else the stream is as before."""
    model = tcnstream.load(MODELS / "nse_sm.i8.tflite")
    stream, rng = open_stream(model, engine=engine), random.Random(engine)
    x = np.random.default_rng(0).integers(-128, 128, (60, *model.inputs[0].shape), np.int8)
    stream.push(x)
    blob = stream.snapshot()
    for body in mutations(blob[32:], 250, rng):
        try:
            stream.restore(hashlib.sha256(body).digest() + body)
        except StreamError:
            assert stream.snapshot() == blob
        else:
            stream.push(x[:9])
            stream.restore(blob)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_snapshot_of_another_model_policy_or_rounding(engine: str) -> None:
    names = ("nse_sm.i8", "nse_lg.i8", "nse_lg.f32")
    blobs = {name: open_stream(tcnstream.load(MODELS / f"{name}.tflite"), engine=engine).snapshot() for name in names}
    twin = tcnstream.load(build([layer("convolution", kernel=3)], 30).content)
    blobs["a network"] = twin.stream(engine).snapshot()
    for name in names:
        stream = tcnstream.load(MODELS / f"{name}.tflite").stream(engine)
        before = stream.snapshot()
        for other, blob in blobs.items():
            if other == name:
                stream.restore(blob)
                continue
            with pytest.raises(StreamError, match="belongs to"):
                stream.restore(blob)
            assert stream.snapshot() == before


def changed_cards(text: str, rng: random.Random) -> Iterator[str]:
    """A card with one value, key or line changed."""
    lines = text.splitlines()
    fields = [k for k, line in enumerate(lines) if re.match(r"\s*\w+\s*=", line)]
    for k in fields:
        key, _, value = lines[k].partition("=")
        for nasty in (*rng.sample(NASTY, 6), f'"{value.strip()}"'):
            yield "\n".join([*lines[:k], f"{key}= {nasty}", *lines[k + 1 :]])
        yield "\n".join([*lines[:k], *lines[k + 1 :]])
        yield "\n".join([*lines[: k + 1], lines[k], *lines[k + 1 :]])
        yield "\n".join([*lines[:k], f"x{lines[k].strip()}", *lines[k + 1 :]])


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_a_card_with_a_wrong_field(name: str, tmp_path: Path) -> None:
    file, _ = find_model(name)
    (tmp_path / file.name).write_bytes(file.read_bytes())
    text = shipped_models()[name].read_text(encoding="utf-8")
    card = tmp_path / f"{name}.toml"
    for changed in changed_cards(text, random.Random(name)):
        card.write_text(changed, encoding="utf-8")
        try:
            find_model(card)
        except TcnStreamError as e:
            assert str(card) in str(e) or card.name in str(e)


def test_frames_of_the_bridge_with_changed_bytes() -> None:
    """The decoder never raises and gives no frame that was not sent, and finds the next one again."""
    rng = random.Random(5)
    sent = [Frame(rng.randrange(20), 0, 7, k, 100, rng.randbytes(rng.choice((0, 3, 300)))) for k in range(40)]
    whole = b"".join(encode(frame) for frame in sent)
    for damaged in mutations(whole, 600, rng):
        found = list(Decoder().feed(damaged + b"\0" + encode(sent[0])))
        assert all(isinstance(item, Damaged) or item in sent for item in found)
        assert found[-1] == sent[0]


def test_payloads_of_every_length() -> None:
    """A record is unpacked or refused, whatever a peer says."""
    rng = random.Random(6)
    records = [c for c in vars(messages).values() if isinstance(c, type) and issubclass(c, Record) and c is not Record]
    assert len(records) > 10
    for record in records:
        for size in (0, 1, 3, 7, 8, 16, 63, 200):
            for payload in (bytes(size), b"\xff" * size, rng.randbytes(size)):
                try:
                    record.unpack(payload)
                except BridgeError:
                    continue
    with pytest.raises(BridgeError):
        messages.unpack_hello(b"\xff" * 40)
    assert Kind.HELLO in list(Kind)
