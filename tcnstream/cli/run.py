"""``tcnstream run``: a recording, a pipe or a microphone through a model."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

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
    writable,
)
from tcnstream.cli.reading import (
    Reading,
    calibration_frames,
    choose_output,
    files_of,
    open_input,
    open_live,
    output_frames,
    prepare_for,
)
from tcnstream.cli.sinks import FrameSink, kept, segment_sink
from tcnstream.errors import SignalError
from tcnstream.signal.front import first_seconds
from tcnstream.signal.microphone import PREFIX
from tcnstream.signal.sources import Recording
from tcnstream.stream import Stream

FORMATS = ("jsonl", "csv", "wfdb", "raw")


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
    if output is not None:
        writable(output, Path(model), *files_of(source), *files_of(calibration))
    opened = open_model(model, time_axis)
    port = choose_output(opened, head)
    reading = Reading(channel, rate, units, gain, raw_format, raw_channels, hold_gaps)
    constants = calibration_frames(opened, calibration, reading, time_pooling)
    with ExitStack() as stack:
        if source.startswith(PREFIX):
            recording = open_live(opened, source, reading, stack.enter_context(interrupted()))
        else:
            recording = open_input(opened, source, reading)
        if duration is not None:
            recording = first_seconds(recording, duration)
        prepared = prepare_for(opened, recording, gain, low_latency)
        stream = opened.model.stream(engine, time_pooling, constants)
        bare = format == "raw"
        sink = FrameSink(output) if bare else segment_sink(opened, port, recording, prepared, format, output)
        if not quiet:
            note(_what(opened, recording, prepared, stream))
        # A bar between the lines of the answer would make both unreadable.
        show = not quiet and (output is not None or not sys.stdout.isatty())
        progress = stack.enter_context(progress_bar("streaming", show))
        task = progress.add_task("", total=prepared.frames)
        try:
            with kept(sink):
                for frames in output_frames(stream, prepared, port, lambda count: progress.advance(task, count)):
                    sink.take(frames)
                sink.flush()
        except KeyboardInterrupt:
            if output is not None and not quiet:
                note(f"interrupted: {output} holds what was final by then")
            raise
    if not quiet and (found := sink.summary()):
        note(found)


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


def _what(opened: Opened, recording: Recording, prepared: Recording, stream: Stream) -> str:
    rate = f"{recording.rate_hz:g} Hz" if recording.rate_hz else "no rate"
    if prepared.rate_hz != recording.rate_hz:
        rate += f" -> {prepared.rate_hz:g} Hz"
    others = len(recording.available) - len(recording.channels)
    more = f" of {', '.join(recording.available)}" if others else ""
    return (
        f"{recording.source}: {recording.remark}channel {', '.join(recording.channels)}{more}, {rate}, "
        f"{recording.units or 'no unit'}; "
        f"{opened.path.name} on the {stream.engine} engine"
    )
