"""The convention of Autodeploy's validator over the three calls: configuration, window in chunks, statistics.

sendBlockToEVB with cmd 0 configures (seven u32, then a u32 size per tensor, exact length), with cmd 4 appends a chunk
of the input, with any other cmd appends a chunk of the model. computeOnEVB with cmd 0 runs the window that was
appended or that it brings, with cmd 4 asks for the next chunk of output; descriptions say `FullTensor`,
`PartTensor`, `LastTensor`. fetchBlockFromEVB gives statistics: `FullStats`, or `PartStats` up to `LastStats`, then one
`FullPMUStats` per layer if they were asked for, or `PmuUnavailable`.

Source: AmbiqAI/neuralSPOT, `tools/autodeploy/templates/validator/` (firmware) and `validator.py` (its client).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from firmware_bridge.neuralspot.client import Client, RefusalError, find_framing
from firmware_bridge.neuralspot.datablock import Command, DataBlock, Status
from firmware_bridge.neuralspot.erpc import Framing
from firmware_bridge.neuralspot.window import WindowModel

MOST_INPUT_CHUNK_BYTES = 3000
MOST_OUTPUT_CHUNK_BYTES = 3096
"""The firmware's message buffer of 4096 less its margin of 1000."""
MOST_TENSORS = 10
MOST_EVENTS = 40
CSV_HEADER_BYTES = 512
ERROR_TEXT_BYTES = 256

_PREAMBLE = struct.Struct("<7I")
_PMU_CSV_BYTES = 2048
_TAG_BYTES = 20
_MOST_STATS_BYTES = 1 << 20
_PLATFORMS = {3: "Apollo3", 4: "Apollo4", 5: "Apollo5"}


@dataclass(frozen=True)
class Config:
    """What the validator tells a board about the model that it runs; sizes in bytes, one per tensor."""

    input_sizes: tuple[int, ...]
    output_sizes: tuple[int, ...]
    profile: bool = False
    warmup: int = 1
    full_pmu: bool = False

    def encode(self) -> bytes:
        numbers = (
            int(self.profile),
            sum(self.input_sizes),
            sum(self.output_sizes),
            # The validator sends one less; a board counts the invocations before the profiled one.
            (self.warmup - 1) & 0xFFFFFFFF,
            len(self.input_sizes),
            len(self.output_sizes),
            int(self.full_pmu),
        )
        sizes = self.input_sizes + self.output_sizes
        return _PREAMBLE.pack(*numbers) + struct.pack(f"<{len(sizes)}I", *sizes)


def decode_config(data: bytes) -> Config:
    """The configuration in a block's buffer. Raises ValueError, in words, for what a board refuses."""
    if len(data) < _PREAMBLE.size:
        raise ValueError(f"a configuration has at least 28 bytes and this has {len(data)}")
    profile, in_bytes, out_bytes, warmup, inputs, outputs, full_pmu = _PREAMBLE.unpack_from(data)
    if inputs > MOST_TENSORS or outputs > MOST_TENSORS:
        raise ValueError(f"{inputs} inputs and {outputs} outputs, and a board has room for {MOST_TENSORS} of each")
    wanted = _PREAMBLE.size + 4 * (inputs + outputs)
    if len(data) != wanted:
        raise ValueError(f"a configuration of {inputs} inputs, {outputs} outputs has {wanted} bytes, not {len(data)}")
    sizes = struct.unpack_from(f"<{inputs + outputs}I", data, _PREAMBLE.size)
    config = Config(sizes[:inputs], sizes[inputs:], profile == 1, (warmup + 1) & 0xFFFFFFFF, full_pmu == 1)
    if (sum(config.input_sizes), sum(config.output_sizes)) != (in_bytes, out_bytes):
        raise ValueError(
            f"tensors of {sum(config.input_sizes)} and {sum(config.output_sizes)} bytes are announced as {in_bytes}"
            f" and {out_bytes}"
        )
    return config


@dataclass(frozen=True)
class Event:
    """One layer as the board's profiler saw it.

    ``counters`` on an Apollo3 or 4 are eight of the cache and six of the core, of which ``cycles`` is the first; on an
    Apollo5 the board's PMU events.
    """

    tag: str
    elapsed_us: int
    estimated_macs: int
    counters: tuple[int, ...]

    @property
    def cycles(self) -> int | None:
        return self.counters[8] if len(self.counters) == 14 else None

    def encode(self) -> bytes:
        numbers = (*self.counters, self.estimated_macs, self.elapsed_us)
        return struct.pack(f"<{len(numbers)}I", *numbers) + _text(self.tag, _TAG_BYTES)


def decode_event(data: bytes) -> Event:
    """A record of the profiler; 4 bytes (ahead-of-time firmware) are the microseconds alone."""
    if len(data) < 8 + _TAG_BYTES:
        return Event("", int.from_bytes(data[:4], "little"), 0, ())
    # Firmware before 2024 has room for 11 letters, and records of 76 bytes.
    words = (len(data) - (12 if len(data) == 76 else _TAG_BYTES)) // 4
    *counters, macs, microseconds = struct.unpack_from(f"<{words}I", data)
    tag = data[4 * words :].split(b"\0")[0].decode(errors="replace")
    return Event(tag, microseconds, macs, tuple(counters))


@dataclass(frozen=True)
class Stats:
    """A board's statistics since it was configured; one event per layer, of the window that was profiled."""

    arena_bytes: int
    buffer_bytes: int
    event_bytes: int
    pmu_count: int
    pmu_events_per_layer: int
    captured_events: int
    platform: int
    csv_header: str
    events: tuple[Event, ...]

    @property
    def platform_name(self) -> str:
        return _PLATFORMS.get(self.platform, f"platform {self.platform}")


def encode_stats(stats: Stats, error: str = "") -> bytes:
    """The firmware's structure: preamble, CSV header, room for 40 events, the last error's text."""
    room = b"".join(event.encode() for event in stats.events).ljust(MOST_EVENTS * stats.event_bytes, b"\0")
    buffer_bytes = _PREAMBLE.size + CSV_HEADER_BYTES + len(room) + ERROR_TEXT_BYTES
    preamble = _PREAMBLE.pack(
        stats.arena_bytes,
        buffer_bytes,
        stats.event_bytes,
        stats.pmu_count,
        stats.pmu_events_per_layer,
        stats.captured_events,
        stats.platform,
    )
    return preamble + _text(stats.csv_header, CSV_HEADER_BYTES) + room + _text(error, ERROR_TEXT_BYTES)


def decode_stats(data: bytes) -> Stats:
    """Raises ValueError, in words, for bytes that are no statistics."""
    begin = _PREAMBLE.size + CSV_HEADER_BYTES
    if len(data) < begin:
        raise ValueError(f"statistics have at least {begin} bytes and these have {len(data)}")
    arena, buffer, event_bytes, pmu_count, pmu_events, captured, platform = _PREAMBLE.unpack_from(data)
    header = data[_PREAMBLE.size : begin].split(b"\0")[0].decode(errors="replace")
    kept = min(captured, (len(data) - begin) // event_bytes) if event_bytes else 0
    records = (data[begin + k * event_bytes : begin + (k + 1) * event_bytes] for k in range(kept))
    events = tuple(decode_event(record) for record in records)
    return Stats(arena, buffer, event_bytes, pmu_count, pmu_events, captured, platform, header, events)


@dataclass(frozen=True)
class PmuLayer:
    """The performance counters of one layer, in the order of the CSV header."""

    layer: int
    csv_header: str
    counters: tuple[int, ...]


def decode_pmu(data: bytes) -> PmuLayer:
    """Raises ValueError, in words, for bytes that are no counters of a layer."""
    if len(data) < 4 + _PMU_CSV_BYTES or len(data) % 4:
        raise ValueError(f"counters of a layer have 2052 bytes and four for each counter, not {len(data)}")
    numbers = struct.unpack_from(f"<{(len(data) - 4 - _PMU_CSV_BYTES) // 4}I", data, 4 + _PMU_CSV_BYTES)
    header = data[4 : 4 + _PMU_CSV_BYTES].split(b"\0")[0].decode(errors="replace")
    return PmuLayer(struct.unpack_from("<I", data)[0], header, numbers)


class ValidatorBoard:
    """A board with the validator's firmware, or a twin of it.

    ``open`` before ``run``; after a CallError, ``restore`` makes the board forget a half-sent window.
    """

    convention = "validator"

    def __init__(self, client: Client, model: WindowModel, *, profile: bool = False, full_pmu: bool = False) -> None:
        self.client = client
        self._model = model
        self._config = Config(
            tuple(layout.nbytes for layout in model.inputs),
            tuple(layout.nbytes for layout in model.outputs),
            profile=profile,
            full_pmu=full_pmu,
        )

    def open(self, framings: Sequence[Framing] = (Framing.V1_9,), *, send_model: bool = False) -> None:
        """Find the framing that the board answers to, and configure it; ``send_model`` is for boards with PSRAM.

        Raises CallError if it answers to none, RefusalError if it does not want this configuration.
        """
        self.client.recover()
        if not send_model:
            find_framing(self.client, framings, self._configure)
            if not self._model.keeps_state and self._model.input_bytes > MOST_INPUT_CHUNK_BYTES:
                self._discard()
            return
        # Statistics can be asked for without a model, and show that the framing is right before a model goes over.
        find_framing(self.client, framings, self.client.fetch)
        for chunk in _chunks(self._model.model.file.content, MOST_INPUT_CHUNK_BYTES):
            status = self.client.send(DataBlock.of(chunk, "Model Chunk", Command.READ))
            self._accepted(status, "a chunk of the model (only boards with PSRAM take one)")
        self._configure()

    def run(self, window: bytes) -> bytes:
        """All outputs for one window. Raises CallError, RefusalError, LinkError."""
        if len(window) > MOST_INPUT_CHUNK_BYTES:
            for chunk in _chunks(window, MOST_INPUT_CHUNK_BYTES):
                status = self.client.send(DataBlock.of(chunk, "Input Chunk", Command.WRITE))
                self._accepted(status, "a chunk of the input")
            window = b""
        block, status = self.client.compute(DataBlock.of(window, "Input Tensor" if window else "Empty Tensor"))
        self._accepted(status, f"the window ({block.description or 'no reason given'})")
        outputs, wanted = bytearray(block.buffer), self._model.output_bytes
        while block.description == "PartTensor" and len(outputs) < wanted:
            # Empty on purpose: older firmware copies the request's buffer over the chunk that it returns.
            block, status = self.client.compute(DataBlock.of(b"", "Empty Tensor", Command.WRITE))
            self._accepted(status, "a chunk of the output")
            if not block.buffer:
                break
            outputs += block.buffer
        if block.description not in ("FullTensor", "PartTensor", "LastTensor"):
            raise RefusalError(
                f"the board calls its output {block.description!r}, where the validator's firmware says FullTensor,"
                " PartTensor or LastTensor; is another firmware running?"
            )
        if len(outputs) < wanted:
            raise RefusalError(
                f"the board gave {len(outputs)} bytes of output where the model has {wanted}; is another model flashed?"
            )
        # Older firmware adds up the sizes of all windows and announces ever more; the first bytes are the answer.
        return bytes(outputs[:wanted])

    def restore(self) -> None:
        """After a CallError: silence, configuration, and a run for nothing that clears what was half sent.

        Raises RefusalError for a model with its own state: a run for nothing would change that.
        """
        if self._model.keeps_state:
            raise RefusalError(
                "the model keeps its own state on the board, and after a lost reply nobody knows how far it is;"
                " reset the board and start again"
            )
        self.client.recover()
        self._configure()
        self._discard()

    def stats(self) -> Stats:
        """The statistics of the windows so far. Raises CallError, RefusalError, LinkError."""
        for _ in range(2):
            data = self._fetch_stats()
            try:
                stats = decode_stats(data)
            except ValueError as error:
                reason = str(error)
            else:
                if stats.buffer_bytes == len(data):
                    return stats
                reason = f"the board announced statistics of {stats.buffer_bytes} bytes and sent {len(data)}"
            # An earlier client may have left half of them behind; the second time they begin at the beginning.
        raise RefusalError(f"{reason}; is another firmware running?")

    def _fetch_stats(self) -> bytes:
        data = bytearray()
        while True:
            block, status = self.client.fetch()
            self._accepted(status, "the request for statistics")
            data += block.buffer
            if block.description in ("FullStats", "LastStats"):
                return bytes(data)
            if block.description != "PartStats" or not block.buffer or len(data) > _MOST_STATS_BYTES:
                raise RefusalError(f"the board calls its statistics {block.description!r}; what firmware is running?")

    def pmu(self, layers: int) -> list[PmuLayer]:
        """Counters per layer, after ``stats`` of a board opened with ``full_pmu``; empty where it has none."""
        found = []
        for _ in range(layers):
            block, status = self.client.fetch()
            if block.description == "PmuUnavailable":
                break
            self._accepted(status, "the request for counters")
            if block.description != "FullPMUStats":
                raise RefusalError(f"the board sends {block.description!r} where counters of a layer are due")
            try:
                found.append(decode_pmu(block.buffer))
            except ValueError as error:
                raise RefusalError(str(error)) from error
        return found

    def _discard(self) -> None:
        """Make older firmware forget the chunks that an earlier, broken exchange left in it: it must run them."""
        self.client.compute(DataBlock.of(b"", "Empty Tensor"))

    def _configure(self) -> None:
        status = self.client.send(DataBlock.of(self._config.encode(), "Model Config"))
        self._accepted(
            status,
            f"the configuration ({sum(self._config.input_sizes)} bytes in, {sum(self._config.output_sizes)} out;"
            " is another model flashed, or its arena too small?)",
        )

    def _accepted(self, status: int, what: str) -> None:
        if status != Status.SUCCESS:
            raise RefusalError(f"the board answered {status_name(status)} to {what}")


def status_name(status: int) -> str:
    """A status as a person reads it."""
    known = {Status.FAILURE: "failure", Status.BLOCK_TOO_LARGE: "block too large"}
    return f"{known[Status(status)]} ({status})" if status in known else f"status {status}"


def _text(text: str, size: int) -> bytes:
    return text.encode()[: size - 1].ljust(size, b"\0")


def _chunks(data: bytes, size: int) -> Iterator[bytes]:
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]
