"""The board that runs the bridge's own firmware, behind a link."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import numpy as np

from firmware_bridge.boards.board import BoardFacts, Cost, Pushed
from firmware_bridge.boards.build import core_version
from firmware_bridge.boards.program import Program
from firmware_bridge.boards.table import BOARDS
from firmware_bridge.errors import BridgeError, LinkError, MismatchError
from firmware_bridge.link import messages as m
from firmware_bridge.link.messages import Can, Hello, Kind, Object
from firmware_bridge.link.session import DEADLINE_S, Link, LinkStats
from firmware_bridge.link.wire import encoded_bytes
from tcnstream.engines.native.planfile.memory import stream_numbers
from tcnstream.tflite.graph import Array

_LEAST_PIECE_BYTES = 48

COMPUTE_DEADLINE_S = 60.0
"""Granted for the first push of a size on top of what the line needs: an emulator on a busy machine is slow."""

_LEAST_COMPUTE_DEADLINE_S = 10.0
_SLOWER = 50
"""So many times slower than pushes of its size were may one be before the board counts as stopped."""


class BridgeBoard:
    """A board that runs ``firmware_bridge/firmware``, behind a Link.

    ``replace_flashed`` lets ``start`` load a model over the link although another one is flashed;
    ``any_core`` lets it talk to firmware that was built from another version of the core; ``counted`` says that an
    emulator's time goes on by instructions (see ``BoardFacts.units``).
    """

    hop_frames = 1

    def __init__(
        self, name: str, link: Link, *, counted: bool = False, replace_flashed: bool = False, any_core: bool = False
    ) -> None:
        self.name = name
        self.link = link
        self._counted = counted
        self._replace_flashed = replace_flashed
        self._any_core = any_core
        self._program: Program | None = None
        self._tap: int | None = None
        self.hello = self.connect()

    @property
    def link_stats(self) -> LinkStats:
        return self.link.stats

    @property
    def can(self) -> Can:
        return self.hello.can

    @property
    def log(self) -> Sequence[tuple[str, str]]:
        return self.link.log

    @property
    def facts(self) -> BoardFacts:
        h = self.hello
        emulated = h.ticks == "instructions"
        # Only time that an emulator counts by instructions says how many there were.
        ticks = "nanoseconds" if emulated and not self._counted else h.ticks
        return BoardFacts(h.target, h.build, h.core, h.clock_hz, ticks, h.ticks_hz, emulated)

    def connect(self, deadline_s: float = DEADLINE_S) -> Hello:
        """Opens a session; the stream on the board goes on where it was, if the board did not start again."""
        self.hello = m.unpack_hello(self.link.hello(deadline_s))
        self.link.grant(self.hello.window, self.hello.receive_bytes)
        return self.hello

    def start(self, program: Program) -> None:
        hello = self.hello
        if hello.core != core_version() and not self._any_core:
            raise MismatchError(
                f"{self.name} runs core {hello.core!r} and this package has {core_version()!r}; flash the firmware of"
                " this package, or say --any-core to compare all the same"
            )
        program = self._packed(program)
        if not self.runs(program):
            if hello.plan_bytes and Can.PLAN_IN_FLASH in hello.can and not self._replace_flashed:
                raise MismatchError(
                    f"{self.name} has model {hello.identity!r} ({hello.rounding} rounding, hash"
                    f" {hello.plan_sha256[:8].hex()}) in flash, and {program.identity!r} ({program.rounding} rounding,"
                    f" hash {program.sha256[:8].hex()}) is to be compared; flash that, or say --load to load it over"
                    " the link"
                )
            if said := self._warnings():
                state = program.facts.ring_bytes + program.facts.carry_bytes
                raise MismatchError(
                    f"{self.name} cannot run {program.identity!r}: {said}. Its state takes {state} bytes of the"
                    f" {hello.state_room_bytes} that state, scratch and snapshots share there; take a smaller model, or"
                    " build the firmware with a larger BRIDGE_MEMORY where the chip has it"
                )
            if Can.LOAD not in hello.can or hello.plan_room_bytes < len(program.content):
                raise MismatchError(
                    f"{self.name} has {f'model {hello.identity!r}' if hello.plan_bytes else 'no model'} and takes"
                    f" {hello.plan_room_bytes} bytes over the link, {program.identity!r} has {len(program.content)};"
                    " flash the plan (`firmware-bridge build` says how)"
                )
            self.send_object(Object.PLAN, program.content)
            self.link.exchange(Kind.COMMIT, m.CommitRequest(Object.PLAN).pack(), COMPUTE_DEADLINE_S)
            self.connect()
            if not self.runs(program):
                raise MismatchError(f"{self.name} did not take the model; reset it and try again")
        self._program = program
        self.tap(None)
        self.reset()

    def _warnings(self) -> str:
        """What the firmware complained of, in its words."""
        said = [text for level, text in self.log if level in ("warning", "error")]
        return said[-1] if said else ""

    def runs(self, program: Program) -> bool:
        """Whether the board has this very plan file; ``start`` loads the one packed for the board's processor."""
        return self.hello.plan_bytes == len(program.content) and self.hello.plan_sha256 == program.sha256

    def _packed(self, program: Program) -> Program:
        """As the board has it, or as its processor runs it fastest."""
        if self.runs(program):
            return program
        board = BOARDS.get(self.hello.target)
        return program if board is None else program.packed_for(board.family)

    def resume(self, program: Program) -> None:
        """After the board started again: a new session and the model, without a reset of what it streams."""
        self.connect()
        program = self._packed(program)
        if not self.runs(program):
            self.start(program)
        self._program = program
        self.tap(self._tap)

    def push(self, chunks: Sequence[Array]) -> Pushed:
        program, n = self._running(), len(chunks[0])
        parts = []
        for begin in range(0, max(n, 1), step := self._most_frames(program)):
            parts.append(self._push_part(program, [chunk[begin : begin + step] for chunk in chunks]))
        return _joined(parts)

    def _most_frames(self, program: Program) -> int:
        """Frames of one request, so that all buffers of the board hold what goes in and comes out."""
        hello = self.hello
        frame_bytes = program.input_frame_bytes
        room = min(hello.payload_bytes - m.PushRequest.size_bytes(), hello.object_room_bytes)
        if frame_bytes > room:
            room = hello.object_room_bytes
        elif (piece := self._piece_bytes()) < room:
            room = max(piece * frame_bytes // (frame_bytes + program.most_output_bytes(1)), frame_bytes)
        if frame_bytes > room:
            raise BridgeError(
                f"an input frame has {frame_bytes} bytes and {self.name} has room for {room}; build its firmware with"
                " a larger BRIDGE_MEMORY"
            )
        n = room // frame_bytes
        tap = self._tap

        def fits(n: int) -> bool:
            tapped = 0 if tap is None else program.most_frames(tap, n) * program.frame_bytes(tap)
            return program.most_output_bytes(n) <= hello.output_room_bytes and tapped <= hello.tap_room_bytes

        while n > 1 and not fits(n):
            n = n // 2 if not fits(n // 2) else n - 1
        return n

    def _push_part(self, program: Program, chunks: list[Array]) -> Pushed:
        n = len(chunks[0])
        content = b"".join(np.ascontiguousarray(chunk).tobytes() for chunk in chunks)
        if len(content) > self.hello.payload_bytes - m.PushRequest.size_bytes():
            self.send_object(Object.INPUT, content)
            request = m.PushRequest(m.Source.OBJECT, n, b"")
        else:
            request = m.PushRequest(m.Source.HERE, n, content)
        return self._advanced(program, Kind.PUSH, request.pack(), n)

    def flush(self) -> Pushed:
        return self._advanced(self._running(), Kind.FLUSH, b"", 0)

    def _advanced(self, program: Program, kind: Kind, request: bytes, n: int) -> Pushed:
        usual_s = self.link.usual_s(kind, request)
        granted_s = COMPUTE_DEADLINE_S if usual_s is None else max(_SLOWER * usual_s, _LEAST_COMPUTE_DEADLINE_S)
        reply = self.link.exchange(kind, request, DEADLINE_S + min(granted_s, COMPUTE_DEADLINE_S))
        pushed = m.PushReply.unpack(reply.payload)
        made, content = pushed.outputs(len(program.plan.outputs))
        total = sum(k * program.frame_bytes(o) for k, o in zip(made, program.plan.outputs, strict=True))
        if len(content) < total:
            content += self._read(Object.OUTPUT, total, len(content))[0]
        outputs, at = [], 0
        for k, o, shape in zip(made, program.plan.outputs, program.plan.output_shapes, strict=True):
            size = k * program.frame_bytes(o)
            frames = np.frombuffer(content[at : at + size], program.plan.tensors[o].dtype)
            outputs.append(frames.reshape(k, *shape))
            at += size
        tapped, first = self._tapped(program) if self._tap is not None else (None, 0)
        return Pushed(outputs, (Cost(n, pushed.ticks),), tapped, first)

    def _tapped(self, program: Program) -> tuple[Array, int]:
        assert self._tap is not None
        content, first = self._read(Object.TAP, None)
        tensor = program.plan.tensors[self._tap]
        return np.frombuffer(content, tensor.dtype).reshape(-1, *tensor.shape), first

    def reset(self) -> None:
        self._running()
        self.link.exchange(Kind.RESET)

    def snapshot(self) -> bytes:
        self._running()
        ready = m.SnapshotReply.unpack(self.link.exchange(Kind.SNAPSHOT, deadline_s=COMPUTE_DEADLINE_S).payload)
        blob, _ = self._read(Object.SNAPSHOT, ready.total_bytes)
        if hashlib.sha256(blob).digest() != ready.sha256:
            raise LinkError(f"the snapshot of {self.name} does not match its hash; take it again")
        return blob

    def restore(self, blob: bytes) -> None:
        self._running()
        self.send_object(Object.SNAPSHOT, blob)
        # Chunks that were resent to a slow board are read before this.
        self.link.exchange(Kind.COMMIT, m.CommitRequest(Object.SNAPSHOT).pack(), COMPUTE_DEADLINE_S)

    def tap(self, tensor: int | None) -> None:
        numbers = stream_numbers(self._running().plan)
        self._tap = None
        self.link.exchange(Kind.TAP, m.TapRequest(m.NO_TENSOR if tensor is None else numbers[tensor]).pack())
        self._tap = tensor

    def count_operations(self) -> None:
        self._running()
        self._tap = None
        self.link.exchange(Kind.TAP, m.TapRequest(m.EVERY_OPERATION).pack())

    def operation_ticks(self) -> list[int]:
        return [int(ticks) for ticks in np.frombuffer(self._read(Object.COSTS, None)[0], np.uint64)]

    def stats(self) -> m.Stats:
        """The board's counters and memory."""
        return m.Stats.unpack(self.link.exchange(Kind.STATS).payload)

    def fault(self, node: int | None) -> None:
        """Lets one node of the plan round wrongly; only firmware that was built with FAULT= can."""
        self.link.exchange(Kind.FAULT, m.FaultRequest(m.NO_NODE if node is None else node).pack())

    def restart(self) -> None:
        """Starts the board again as after power-on, and waits until it answers."""
        self.link.exchange(Kind.RESTART)
        time.sleep(0.05)
        self.connect()

    def send_object(self, what: Object, content: bytes) -> int:
        """An object in chunks; goes on where a broken transfer of the same object stopped. Returns where it began."""
        digest = hashlib.sha256(content).digest()
        begin = m.BeginRequest(what, len(content), digest).pack()
        begun = have = m.Have.unpack(self.link.exchange(Kind.BEGIN, begin).payload).have_bytes
        while have < len(content):
            step = self._chunk_bytes()
            chunks = [
                (Kind.CHUNK, m.ChunkRequest(digest[:4], at, len(content), content[at : at + step]).pack())
                for at in range(have, min(have + self.hello.window * 8 * step, len(content)), step)
            ]
            have = m.Have.unpack(self.link.exchange_all(chunks)[-1].payload).have_bytes
        return begun

    def _piece_bytes(self) -> int:
        """So many bytes of payload that a frame has a good chance to arrive whole."""
        likely = self.link.stats.bytes_between_damages / 2
        return int(min(max(likely, _LEAST_PIECE_BYTES), self.hello.payload_bytes))

    def _chunk_bytes(self) -> int:
        """So many that two requests fit into the board's receive buffer."""
        most = max(self._piece_bytes() - m.ChunkRequest.size_bytes(), _LEAST_PIECE_BYTES)
        while most > 64 and 2 * encoded_bytes(most + m.ChunkRequest.size_bytes()) > self.hello.receive_bytes:
            most -= 16
        return most

    def _read(self, what: Object, total: int | None, offset: int = 0) -> tuple[bytes, int]:
        """An object's bytes from ``offset`` on, and the number of its first frame if it is a tap."""
        step = max(self._piece_bytes() - m.ReadReply.size_bytes(), _LEAST_PIECE_BYTES)
        first = m.ReadReply.unpack(self.link.exchange(Kind.READ, m.ReadRequest(what, offset, step).pack()).payload)
        whole = first.total_bytes
        if total is not None and whole != total:
            raise LinkError(f"{self.name} has {whole} bytes of {what.name.lower()} where {total} were announced")
        content = bytearray(first.part)
        requests = [
            (Kind.READ, m.ReadRequest(what, at, step).pack()) for at in range(offset + len(first.part), whole, step)
        ]
        for answer in self.link.exchange_all(requests):
            content += m.ReadReply.unpack(answer.payload).part
        if len(content) != whole - offset:
            raise LinkError(f"{self.name} sent {len(content)} of {whole - offset} bytes of {what.name.lower()}")
        return bytes(content), first.first_frame

    def _running(self) -> Program:
        if self._program is None:
            raise BridgeError(f"{self.name} has no program yet; call start(program) first")
        return self._program

    def close(self) -> None:
        self.link.close()


def _joined(parts: list[Pushed]) -> Pushed:
    if len(parts) == 1:
        return parts[0]
    outputs = [np.concatenate(pieces) for pieces in zip(*(p.outputs for p in parts), strict=True)]
    taps = [p.tapped for p in parts if p.tapped is not None and len(p.tapped)]
    first = next((p.tap_first for p in parts if p.tapped is not None and len(p.tapped)), 0)
    tapped = np.concatenate(taps) if taps else parts[-1].tapped
    return Pushed(outputs, tuple(c for p in parts for c in p.costs), tapped, first)
