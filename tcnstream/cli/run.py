"""``tcnstream run``: a recording, a pipe or a microphone through a model."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, cast, get_args

import numpy as np
import numpy.typing as npt
import typer

from tcnstream.cli.common import (
    CalibrationOption,
    ChannelOption,
    EngineOption,
    GainOption,
    HoldGapsOption,
    ModelArgument,
    Opened,
    RateOption,
    RawChannelsOption,
    RawFormatOption,
    TimeAxisOption,
    TimePoolingOption,
    UnitsOption,
    note,
    open_model,
    progress_bar,
)
from tcnstream.errors import SignalError
from tcnstream.model import Port
from tcnstream.signal.card import card_segmenter
from tcnstream.signal.front import first_seconds, prepare
from tcnstream.signal.microphone import PREFIX, open_microphone
from tcnstream.signal.resample import Quality
from tcnstream.signal.segments import Segment, Segmenter
from tcnstream.signal.sources import RawFormat, Recording, open_recording, read_raw
from tcnstream.signal.writers import CsvWriter, JsonLinesWriter, NpyWriter, RawWriter, SegmentWriter, WfdbWriter
from tcnstream.stream import Stream

FORMATS = ("jsonl", "csv", "wfdb", "raw")
Frames = npt.NDArray[np.float32]


def run(
    model: ModelArgument,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="WAV, FLAC, Ogg, CSV, NPY, WFDB or EDF file, - for standard input, mic: or mic:NAME for a microphone.",
        ),
    ],
    format: Annotated[str, typer.Option("--format", "-f", metavar="KIND", help="jsonl, csv, wfdb or raw.")] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where to write; else standard output (not for wfdb)."),
    ] = None,
    channel: ChannelOption = None,
    rate: RateOption = None,
    units: UnitsOption = None,
    gain: GainOption = 1.0,
    raw_format: RawFormatOption = None,
    raw_channels: RawChannelsOption = 1,
    hold_gaps: HoldGapsOption = False,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", help="End after so much signal; a microphone else at Ctrl-C."),
    ] = None,
    low_latency: Annotated[
        bool,
        typer.Option(
            "--low-latency",
            help="Convert the rate by interpolation (milliseconds of delay, some aliasing) instead of long filters.",
        ),
    ] = False,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="NAME", help="Which output of several, by name or number; else the first."),
    ] = None,
    engine: EngineOption = "auto",
    time_pooling: TimePoolingOption = None,
    calibration: CalibrationOption = None,
    time_axis: TimeAxisOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on standard error.")] = False,
) -> None:
    """Stream a recording or a microphone through a model; write segments (start, end, label, probability) or frames.

    With a card, the recording is converted to the model's rate and unit and goes through the card's preprocessing.
    Without one it goes in as it is, and labels are the numbers of the output channels.

    A microphone is heard until Ctrl-C, which ends the signal as the end of a file does.

    Example: `tcnstream run ecg record.hea --channel ii --format csv --out waves.csv`
    """
    if format not in FORMATS:
        raise SignalError(f"there is no format {format!r}: choose one of {', '.join(FORMATS)}")
    if format == "wfdb" and output is None:
        raise SignalError("WFDB annotations are a file beside the record: name it with --out, for example record.tcn")
    opened = open_model(model, time_axis)
    port = choose_output(opened, head)
    reading = Reading(channel, rate, units, gain, raw_format, raw_channels, hold_gaps)
    constants = None if calibration is None else whole(opened, calibration, reading)
    with ExitStack() as stack:
        if source.startswith(PREFIX):
            recording = open_live(opened, source, reading, stack.enter_context(interrupted()))
        else:
            recording = open_input(opened, source, reading)
        if duration is not None:
            recording = first_seconds(recording, duration)
        prepared = prepare_for(opened, recording, gain, low_latency)
        stream = opened.model.stream(engine, time_pooling, constants)
        if not quiet:
            note(_what(opened, recording, prepared, stream))
        # A bar between the lines of the answer would make both unreadable.
        show = not quiet and (output is not None or not sys.stdout.isatty())
        progress = stack.enter_context(progress_bar("streaming", show))
        task = progress.add_task("", total=prepared.frames)
        if format == "raw":
            take, finish = _frame_sink(output, stack)
        else:
            take, finish = _segment_sink(opened, port, prepared, format, output, recording.rate_hz, stack, quiet)
        for frames in output_frames(stream, prepared, port, lambda count: progress.advance(task, count)):
            take(frames)
        finish()


@dataclass(frozen=True)
class Reading:
    """How a person says a recording is to be read; None where the recording says it itself."""

    channel: list[str] | None = None
    rate_hz: float | None = None
    units: str | None = None
    gain: float = 1.0
    raw_format: str | None = None
    raw_channels: int = 1
    hold_gaps: bool = False


def open_live(opened: Opened, source: str, reading: Reading, stop: Callable[[], bool]) -> Recording:
    """The microphone that ``source`` names, until ``stop()``; lost samples are said on standard error."""
    return open_microphone(
        source.removeprefix(PREFIX),
        channels=_wanted(opened, reading),
        rate_hz=reading.rate_hz,
        preferred_hz=opened.card.rate_hz if opened.card else None,
        stop=stop,
        overflowed=lambda: note("overflow: this computer was too slow for the microphone, and samples were lost"),
    )


def _wanted(opened: Opened, reading: Reading) -> list[str] | int:
    """The channels to read: chosen ones, or as many as the model takes."""
    if len(opened.model.inputs) != 1:
        raise SignalError(
            f"{opened.path.name} has {len(opened.model.inputs)} inputs and a recording is one signal: "
            "feed it from Python, with one chunk per input to Stream.push"
        )
    wanted: list[str] | int = reading.channel or opened.channels
    if isinstance(wanted, list) and len(wanted) != opened.channels:
        raise SignalError(
            f"{opened.path.name} takes {opened.channels} channel(s) and {len(wanted)} are chosen: "
            "give --channel as many times"
        )
    return wanted


@contextmanager
def interrupted() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, instead of an exception out of nowhere; the second time it is one."""
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def open_input(opened: Opened, source: str, reading: Reading) -> Recording:
    """The recording as it is, with the channels that the model takes."""
    wanted = _wanted(opened, reading)
    kind = reading.raw_format
    if kind is not None and kind not in get_args(RawFormat):
        raise SignalError(f"there is no raw format {kind!r}: choose one of {', '.join(get_args(RawFormat))}")
    raw = cast(RawFormat | None, kind)
    count, hold = reading.raw_channels, reading.hold_gaps
    if source == "-":
        recording = read_raw(sys.stdin.buffer, raw or "f32le", wanted, count, hold_gaps=hold)
    else:
        recording = open_recording(source, channels=wanted, raw_format=raw, raw_channels=count, hold_gaps=hold)
    return replace(
        recording,
        rate_hz=recording.rate_hz if reading.rate_hz is None else reading.rate_hz,
        units=recording.units if reading.units is None else reading.units,
    )


def prepare_for(opened: Opened, recording: Recording, gain: float, low_latency: bool = False) -> Recording:
    """The recording as the model's card asks for it; as it is, but for the gain, without a card."""
    quality: Quality = "QQ" if low_latency else "HQ"
    card = opened.card
    if card is None:
        return prepare(recording, None, recording.units, gain=gain)
    return prepare(recording, card.rate_hz, card.units, card.preprocessing, quality, gain)


def whole(opened: Opened, source: str, reading: Reading) -> Frames:
    """All input frames (n, *frame shape) of a recording, as the model takes them."""
    chunks = list(prepare_for(opened, open_input(opened, source, reading), reading.gain).chunks)
    frames = np.concatenate([np.zeros((0, opened.channels), np.float32), *chunks])
    return frames.reshape(len(frames), *opened.model.inputs[0].shape)


def output_frames(stream: Stream, recording: Recording, port: Port, advance: Callable[[int], None]) -> Iterator[Frames]:
    """Real numbers (m, *frame shape) of one output; the last piece is the flushed tail.

    ``advance`` is told of every chunk's input frames.
    """

    def real(answer: npt.NDArray[np.generic] | tuple[npt.NDArray[np.generic], ...]) -> Frames:
        return port.dequantize(answer[which] if isinstance(answer, tuple) else answer)

    shape, which = stream.inputs[0].shape, stream.outputs.index(port)
    for chunk in recording.chunks:
        yield real(stream.push(chunk.reshape(len(chunk), *shape)))
        advance(len(chunk))
    yield real(stream.flush())


def flat(frames: Frames) -> Frames:
    """(m, *frame shape) -> (m, labels)."""
    return frames.reshape(len(frames), int(np.prod(frames.shape[1:])))


def choose_output(opened: Opened, head: str | None) -> Port:
    """The model's output of that name or number; the first one if nothing is said."""
    ports = opened.model.outputs
    for number, port in enumerate(ports):
        if head in (None, port.name, str(number)):
            return port
    names = ", ".join(port.name for port in ports)
    raise SignalError(f"{opened.path.name} has no output {head!r}: choose one of {names} (--head)")


def make_segmenter(opened: Opened, port: Port, rate_hz: float) -> Segmenter:
    """By the card; without one, labels are the numbers of the output channels and every frame counts.

    A frame lasts as long as it takes the next one to follow, half of that before and half after its centre. Input frame
    0 lasts from 0 to 1 / ``rate_hz``.
    """
    frame_hz = rate_hz * float(port.rate)
    start_s = float(port.offset + (1 - 1 / port.rate) / 2) / rate_hz
    if opened.card is not None:
        return card_segmenter(opened.card, frame_hz, start_s)
    labels = tuple(str(number) for number in range(int(np.prod(port.shape))))
    return Segmenter(labels, frame_hz, probabilities=_ends_in_softmax(opened, port), start_s=start_s)


def _ends_in_softmax(opened: Opened, port: Port) -> bool:
    plan = opened.model.plan
    tensor = plan.outputs[opened.model.outputs.index(port)]
    return any(node.kind == "SOFTMAX" and tensor in node.outputs for node in plan.nodes)


def _what(opened: Opened, recording: Recording, prepared: Recording, stream: Stream) -> str:
    rate = f"{recording.rate_hz:g} Hz" if recording.rate_hz else "no rate"
    if prepared.rate_hz != recording.rate_hz:
        rate += f" -> {prepared.rate_hz:g} Hz"
    others = len(recording.available) - len(recording.channels)
    more = f" of {', '.join(recording.available)}" if others else ""
    return (
        f"{recording.source}: channel {', '.join(recording.channels)}{more}, {rate}, {recording.units or 'no unit'}; "
        f"{opened.path.name} on the {stream.engine} engine"
    )


def _frame_sink(output: Path | None, stack: ExitStack) -> tuple[Callable[[Frames], None], Callable[[], None]]:
    if output is not None and output.suffix.lower() == ".npy":
        npy = NpyWriter(output)
        return npy.write, npy.close
    raw = RawWriter(sys.stdout.buffer if output is None else stack.enter_context(output.open("wb")))
    return raw.write, raw.close


def _segment_sink(
    opened: Opened,
    port: Port,
    prepared: Recording,
    format: str,
    output: Path | None,
    record_rate_hz: float | None,
    stack: ExitStack,
    quiet: bool,
) -> tuple[Callable[[Frames], None], Callable[[], None]]:
    if prepared.rate_hz is None or record_rate_hz is None:
        raise SignalError(f"{prepared.source} does not say its sample rate, so that seconds are unknown: give --rate")
    segmenter = make_segmenter(opened, port, prepared.rate_hz)
    writer: SegmentWriter
    if format == "wfdb":
        assert output is not None
        writer = WfdbWriter(output, record_rate_hz)
    else:
        text = sys.stdout if output is None else stack.enter_context(output.open("w", newline="", encoding="utf-8"))
        writer = JsonLinesWriter(text) if format == "jsonl" else CsvWriter(text)
    counts: dict[str, int] = {}

    def put(segments: list[Segment]) -> None:
        for segment in segments:
            counts[segment.label] = counts.get(segment.label, 0) + 1
        writer.write(segments)

    def finish() -> None:
        put(segmenter.flush())
        writer.close()
        if not quiet:
            found = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
            note(f"{sum(counts.values())} segments" + (f": {found}" if found else ""))

    return lambda frames: put(segmenter.push(flat(frames))), finish
