"""The three calls of a stock Ambiq board, with a deadline on every read and a diagnosis in words for every failure.

eRPC has sequence numbers but no resend: a call whose reply is lost may have been done or not. So a failed call is
never repeated here. It raises ``CallError``; the conventions above bring the board back to a known state
(``recover``: more than a second of silence, after which a board has flushed) and begin the window again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from firmware_bridge.errors import BridgeError, LinkError
from firmware_bridge.link.transport import Transport
from firmware_bridge.neuralspot.datablock import (
    BOARD_TO_PC,
    PC_TO_BOARD,
    DataBlock,
    Method,
    PcMethod,
    Status,
    decode_reply,
    decode_string,
    encode_reply,
)
from firmware_bridge.neuralspot.erpc import (
    Damage,
    Decoder,
    ErpcError,
    Fault,
    Frame,
    Framing,
    Message,
    MessageType,
    decode_message,
    frame,
)

SILENCE_S = 1.1
"""A board that met an error waits a second and flushes: stay silent for longer than that."""

_MOST_NOTES = 50
_LEAST_READ_S = 0.001
_WRITE_S = 10.0


class CallError(LinkError):
    """A call without a good reply in time. The board may have done it or not; ``diagnosis`` says what was seen."""

    def __init__(self, call: str, diagnosis: str) -> None:
        super().__init__(f"{call}: {diagnosis}")
        self.call = call
        self.diagnosis = diagnosis


class RefusalError(BridgeError):
    """The board answered, and the answer is no, or none that its convention allows."""


@dataclass
class Traffic:
    """What went over the line so far."""

    calls: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    late_replies: int = 0


class Client:
    """Calls to a board over a port. Not thread-safe; one client owns its port.

    ``framing``: the board's. ``timeout_s``: how long a reply may take. ``now``: a monotonic clock in seconds.
    ``notes`` keeps the newest remarks: text that the board printed, late replies, damage on the line.
    """

    def __init__(
        self,
        port: Transport,
        framing: Framing = Framing.V1_9,
        *,
        timeout_s: float = 5.0,
        now: Callable[[], float] = time.monotonic,
        first_sequence: int | None = None,
    ) -> None:
        self._port = port
        self.timeout_s = timeout_s
        self.traffic = Traffic()
        self.notes: list[str] = []
        self._now = now
        # A reply to an earlier session's call must not pass for one of this session's.
        self._sequence = (secrets.randbits(31) if first_sequence is None else first_sequence) - 1
        self._given_up: dict[int, tuple[str, float]] = {}
        self.framing = framing

    @property
    def framing(self) -> Framing:
        return self._framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._framing = framing
        self._decoder = Decoder(framing)

    def send(self, block: DataBlock, timeout_s: float | None = None) -> int:
        """sendBlockToEVB: the status. Raises CallError, LinkError."""
        return self._call(Method.SEND, block, timeout_s)[1]

    def fetch(self, timeout_s: float | None = None) -> tuple[DataBlock, int]:
        """fetchBlockFromEVB: the block and the status. Raises CallError, LinkError."""
        block, status = self._call(Method.FETCH, None, timeout_s)
        assert block is not None
        return block, status

    def compute(self, block: DataBlock, timeout_s: float | None = None) -> tuple[DataBlock, int]:
        """computeOnEVB: the returned block and the status. Raises CallError, LinkError."""
        result, status = self._call(Method.COMPUTE, block, timeout_s)
        assert result is not None
        return result, status

    def wait(self, seconds: float) -> None:
        """Let time pass, listening."""
        end = self._now() + seconds
        while (left := end - self._now()) > 0:
            self._overhear(self._decoder.feed(self._read(left)))

    def recover(self, most_s: float = 10.0) -> None:
        """Stay silent until the line has been silent for more than a second, so that both ends begin anew.

        Raises CallError if it never is: then somebody else talks on this port.
        """
        end = self._now() + most_s
        quiet_since = self._now()
        while (now := self._now()) - quiet_since < SILENCE_S:
            if now >= end:
                self._overhear(self._decoder.silence())
                said = self.notes[-1] if self.notes else "bytes without end"
                raise CallError("recovery", f"the line is not silent for {SILENCE_S} s within {most_s:g} s: {said}")
            data = self._read(SILENCE_S - (now - quiet_since))
            if data:
                quiet_since = self._now()
            self._overhear(self._decoder.feed(data))
        self._overhear(self._decoder.silence())

    def _call(self, method: Method, block: DataBlock | None, timeout_s: float | None) -> tuple[DataBlock | None, int]:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        request = Message(
            MessageType.INVOCATION, PC_TO_BOARD, method, self._sequence, b"" if block is None else block.encode()
        )
        name = f"{method.title} (call {self._sequence})"
        self.traffic.calls += 1
        self._write(frame(request.encode(), self._framing))
        allowed = self.timeout_s if timeout_s is None else timeout_s
        end = self._now() + allowed
        heard = self.traffic.bytes_in
        damage: list[Damage] = []
        while (left := end - self._now()) > 0:
            data = self._read(min(left, SILENCE_S))
            events = self._decoder.feed(data)
            if not data and self._decoder.pending:
                # A frame does not pause for so long: what is held will never be whole.
                events += self._decoder.silence()
            for event in events:
                reply = self._aside(event)
                if reply is not None and self._answers(reply, request):
                    return self._understood(name, method, reply)
                if isinstance(event, Damage):
                    damage.append(event)
            if any(event.fault in (Fault.CRC, Fault.LENGTH, Fault.CUT, Fault.FRAMING) for event in damage):
                break
        for event in self._decoder.silence():
            reply = self._aside(event)
            if reply is not None and self._answers(reply, request):
                return self._understood(name, method, reply)
            if isinstance(event, Damage):
                damage.append(event)
        self._given_up = {request.sequence: (name, self._now()), **dict(list(self._given_up.items())[:7])}
        raise CallError(name, self._diagnosis(damage, self.traffic.bytes_in - heard, allowed))

    def _understood(self, name: str, method: Method, reply: Message) -> tuple[DataBlock | None, int]:
        try:
            return decode_reply(method, reply.parameters)
        except ErpcError as error:
            raise CallError(name, f"the reply has a good checksum and is none: {error}") from error

    def _diagnosis(self, damage: list[Damage], heard_bytes: int, allowed_s: float) -> str:
        broken = [event for event in damage if event.fault is not Fault.TEXT]
        texts = [event for event in damage if event.fault is Fault.TEXT]
        if broken:
            return broken[0].words
        if texts:
            return f"no reply within {allowed_s:g} s, but {texts[0].words}"
        if heard_bytes:
            return f"no reply within {allowed_s:g} s, though {heard_bytes} bytes of other messages came"
        return (
            f"no reply within {allowed_s:g} s and not one byte; is this the board's RPC port (Ambiq USB 0xCAFE:0x4001"
            f" or 0x4011, J-Link UART at 115200), does its firmware serve RPC, and with eRPC {self._framing.value}?"
        )

    def _answers(self, reply: Message, request: Message) -> bool:
        if (reply.sequence, reply.service, reply.request) == (request.sequence, request.service, request.request):
            return True
        self._late(reply)
        return False

    def _overhear(self, events: list[Frame | Damage]) -> None:
        """Deal with what comes while no call waits: every reply is late."""
        for event in events:
            reply = self._aside(event)
            if reply is not None:
                self._late(reply)

    def _aside(self, event: Frame | Damage) -> Message | None:
        """Deal with what is no reply; a reply is given back."""
        if isinstance(event, Damage):
            self._note(event.words)
            return None
        try:
            message = decode_message(event.body)
        except ErpcError as error:
            self._note(str(error))
            return None
        if message.type is MessageType.REPLY:
            if message.sequence != self._sequence:
                self._late(message)
                return None
            return message
        if message.service == BOARD_TO_PC:
            self._serve_board(message)
        else:
            self._note(f"a message of service {message.service}, method {message.request}, which no board sends")
        return None

    def _late(self, reply: Message) -> None:
        self.traffic.late_replies += 1
        name, since = self._given_up.pop(reply.sequence, (f"call {reply.sequence}, which nobody waits for", None))
        late = "" if since is None else f" {self._now() - since:.1f} s after it was given up"
        self._note(f"late reply to {name}{late}: dropped, not taken for another call's")

    def _serve_board(self, message: Message) -> None:
        """Answer a call that the board makes, so that it goes on: text is kept, everything else declined."""
        block, status = None, Status.FAILURE
        if message.request == PcMethod.REMOTE_PRINT:
            status = Status.SUCCESS
            try:
                self._note(f"the board prints: {decode_string(message.parameters)!r}")
            except ErpcError as error:
                self._note(str(error))
        else:
            self._note(f"the board calls method {message.request} of the PC; declined")
            if message.request in (PcMethod.FETCH, PcMethod.COMPUTE):
                block = DataBlock.of(b"", "declined")
        if message.type is MessageType.INVOCATION:
            reply = Message(
                MessageType.REPLY, message.service, message.request, message.sequence, encode_reply(block, status)
            )
            self._write(frame(reply.encode(), self._framing))

    def _note(self, words: str) -> None:
        self.notes = [*self.notes[-_MOST_NOTES + 1 :], words]

    def _read(self, timeout_s: float) -> bytes:
        # Never so short that a clock of little resolution stands still.
        data = self._port.read(max(timeout_s, _LEAST_READ_S))
        self.traffic.bytes_in += len(data)
        return data

    def _write(self, data: bytes) -> None:
        self._port.write(data, _WRITE_S)
        self.traffic.bytes_out += len(data)


def find_framing(client: Client, framings: Sequence[Framing], probe: Callable[[], object]) -> None:
    """Set the first framing in which ``probe`` gets a reply; raises the last CallError if none does."""
    for k, framing in enumerate(framings):
        client.framing = framing
        try:
            probe()
            return
        except CallError:
            if k + 1 == len(framings):
                raise
            client.recover()
