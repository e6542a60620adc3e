"""``tcnstream run``: a recording, a pipe or a microphone through a model."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
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
    RateOption,
    RawChannelsOption,
    RawFormatOption,
    SignatureOption,
    StatesOption,
    StaticOption,
    TimeAxisOption,
    TimePoolingOption,
    UnitsOption,
    calibration_frames,
    note,
    progress_bar,
    said_states,
    said_static,
)
from tcnstream.errors import SignalError
from tcnstream.opened import OpenedModel, assumed_unit, open_input, open_model
from tcnstream.options import StreamOptions
from tcnstream.pipeline import Pipeline, pipeline_for
from tcnstream.signal import sinks, sources
from tcnstream.signal.card import model_files
from tcnstream.signal.outfile import writable
from tcnstream.signal.preprocess import first_seconds
from tcnstream.signal.segments import Segment
from tcnstream.signal.sinks.base import closing
from tcnstream.signal.sources.base import Chunk, Gap, Listening, ReadOptions, Recording, listed

_LONG_WAIT_S = 0.05
"""From here on a person who waits for answers is told why."""


def run(
    model: ModelArgument,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help=sources.described(),
        ),
    ],
    format: Annotated[str, typer.Option("--format", "-f", metavar="KIND", help=sinks.described())] = "jsonl",
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
    signature: SignatureOption = None,
    states: StatesOption = None,
    static: StaticOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on standard error.")] = False,
) -> None:
    """Stream a recording or a microphone through a model; write segments (start, end, label, probability) or frames.

    With a card, the recording is converted to the model's rate and unit and goes through the card's preprocessing.
    Without one it goes in as it is, and labels are the numbers of the output channels.

    A microphone is heard until Ctrl-C, which ends the signal as the end of a file does.

    Example: `tcnstream run ecg record.hea --channel ii --format csv --out waves.csv`
    """
    kind = sinks.sink_kind(format)
    if output is None and kind.refuses_stdout:
        raise SignalError(kind.refuses_stdout)
    if output is not None:
        writable(output, *model_files(model), *sources.files_of(source), *sources.files_of(calibration))
    opened = open_model(model, time_axis, signature, said_states(states))
    options = ReadOptions(channel, rate, units, gain, raw_format, raw_channels, hold_gaps)
    constants = calibration_frames(opened, calibration, options, time_pooling)
    with ExitStack() as stack:
        preferred_hz = opened.card.rate_hz if opened.card else None
        gaps = Gaps()
        listening = Listening(preferred_hz, overflowed=_say_overflow, held=gaps.hold)
        if not sources.ends_by_itself(source):
            listening = replace(listening, stop=stack.enter_context(interrupted()))
        recording = open_input(opened, source, options, listening)
        if duration is not None:
            recording = first_seconds(recording, duration)
        makes_segments = kind.takes == "segments"
        pipeline = pipeline_for(
            opened,
            recording,
            gain=gain,
            output=head,
            low_latency=low_latency,
            segments=makes_segments,
            keep_frames=not makes_segments,
            options=StreamOptions(engine, time_pooling, constants, static=said_static(static)),
        )
        sink = kind.open(output, recording.rate_hz)
        if not quiet:
            note(_what(opened, recording, pipeline))
            if recording.remark:
                note(f"{recording.source}: {recording.remark}")
            if assumed := assumed_unit(opened, recording):
                note(assumed)
            if sources.is_live(source) and pipeline.waits_s > _LONG_WAIT_S and not low_latency:
                note(f"the conversion of the rate waits for {pipeline.waits_s:.2g} s of signal (less: --low-latency)")
        # A bar between the lines of the answer would make both unreadable.
        show = not quiet and (output is not None or not sys.stdout.isatty())
        progress = stack.enter_context(progress_bar("streaming", show))
        task = progress.add_task("", total=recording.frames)
        counts: Counter[str] = Counter()
        try:
            with closing(sink):
                for segments in _through(pipeline, recording, gaps, lambda frames: progress.advance(task, frames)):
                    counts.update(segment.label for segment in segments)
                    sink.write(segments if makes_segments else pipeline.frames)
        except KeyboardInterrupt:
            if output is not None and not quiet:
                note(f"interrupted: {output} holds what was final by then")
            raise
        finally:
            if not quiet and (said := gaps.said(recording.rate_hz)):
                note(said)
    if not quiet and makes_segments:
        note(_found(counts))


@dataclass
class Gaps:
    """What was missing in a signal, or odd of it, and what was done about it."""

    left: list[int] = field(default_factory=list)
    held_frames: int = 0
    constant: set[float] | None = None

    def look(self, chunk: Chunk) -> None:
        """Notes whether the signal has changed at all; more than one value is no constant."""
        if len(chunk) and (self.constant is None or self.constant):
            seen = (self.constant or set()) | {float(chunk.min()), float(chunk.max())}
            self.constant = seen if len(seen) == 1 else set()

    def hold(self, frames: int) -> None:
        self.held_frames += frames

    def said(self, rate_hz: float | None) -> str:
        """A sentence for a person; empty where nothing was missing."""
        found = []
        if self.left:
            how_long = f"{sum(self.left):,} frames" if rate_hz is None else f"{sum(self.left) / rate_hz:.4g} s"
            found.append(
                f"{len(self.left)} gap(s), {how_long} in all: the signal ends before each and begins anew behind it"
            )
        if self.constant:
            found.append(f"the signal never changed: it was {next(iter(self.constant)):g} throughout")
        if self.held_frames:
            found.append(f"in {self.held_frames:,} frame(s) a value was missing and the last one was repeated")
        return "; ".join(found)


def _through(
    pipeline: Pipeline, recording: Recording, gaps: Gaps, advance: Callable[[int], None]
) -> Iterator[list[Segment]]:
    """What each piece makes final, the end of the signal last. ``advance`` is told of every piece's frames."""
    for piece in recording.chunks:
        yield pipeline.push(piece)
        if isinstance(piece, Gap):
            gaps.left.append(piece.frames)
        else:
            gaps.look(piece)
        advance(piece.frames if isinstance(piece, Gap) else len(piece))
    yield pipeline.flush()


def _say_overflow() -> None:
    note("overflow: this computer was too slow for the microphone, and samples were lost")


def _found(counts: Counter[str]) -> str:
    found = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
    return f"{counts.total()} segments" + (f": {found}" if found else "")


@contextmanager
def interrupted() -> Iterator[Callable[[], bool]]:
    """Makes the first Ctrl-C a flag, which the function that it yields reads; the second one is KeyboardInterrupt."""
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


def _what(opened: OpenedModel, recording: Recording, pipeline: Pipeline) -> str:
    rate = f"{recording.rate_hz:g} Hz" if recording.rate_hz else "no rate"
    if pipeline.frames_hz != recording.rate_hz:
        rate += f" -> {pipeline.frames_hz:g} Hz"
    others = len(recording.available) - len(recording.channels)
    more = f" of {listed(recording.available)}" if others > 0 else ""
    return (
        f"{recording.source}: channel {', '.join(recording.channels)}{more}, {rate}, "
        f"{recording.units or 'no unit'}; "
        f"{opened.path.name} on the {pipeline.engine} engine"
    )
