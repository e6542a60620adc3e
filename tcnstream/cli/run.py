"""``tcnstream run``: a recording, a pipe or a microphone through a model."""

from __future__ import annotations

import math
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from tcnstream.cli.folder import run_folder
from tcnstream.cli.options import EngineOption, FileOptions, ModelArgument, ReadingOptions, StreamingOptions, grouped
from tcnstream.cli.show import note, progress_bar
from tcnstream.errors import SignalError
from tcnstream.opened import OpenedModel, assumed_unit, open_input
from tcnstream.options import StreamOptions
from tcnstream.pipeline import Pipeline, PipelineArguments, pipeline_for
from tcnstream.signal import sinks, sources
from tcnstream.signal.card import model_files
from tcnstream.signal.outfile import naming, writable
from tcnstream.signal.preprocess import first_seconds
from tcnstream.signal.segments import Segment
from tcnstream.signal.sinks.base import closing
from tcnstream.signal.sources.base import Gap, Listening, Piece, Recording, listed
from tcnstream.signal.units import is_said, unit_factor

_MOST_VOLTS = 0.1
"""An electrode and the body give less, offsets apart."""


@grouped
def run(
    model: ModelArgument,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help=sources.described(),
        ),
    ],
    *,
    format: Annotated[str, typer.Option("--format", "-f", metavar="KIND", help=sinks.described())] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where to write; else standard output (not for wfdb)."),
    ] = None,
    reading: ReadingOptions,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", help="End after so much signal; a microphone else at Ctrl-C."),
    ] = None,
    low_latency: Annotated[
        bool | None,
        typer.Option(
            "--low-latency/--no-low-latency",
            help="Convert the rate by interpolation (milliseconds of delay, some aliasing), or by long filters; else"
            " a file by filters, and what is live (a pipe, a microphone) by interpolation.",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="NAME", help="Which output of several, by name or number; else the first."),
    ] = None,
    engine: EngineOption = "auto",
    streaming: StreamingOptions,
    file: FileOptions,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, metavar="N", help="For a folder: recordings at a time; else one a core."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on standard error.")] = False,
) -> None:
    """Stream a recording or a microphone through a model; write segments (start, end, label, probability) or frames.

    With a card, the recording is converted to the model's rate and unit and goes through the card's preprocessing.
    Without one it goes in as it is, and labels are the numbers of the output channels.

    A folder is taken whole, recording by recording, into one Parquet file (`--out segments.parquet`, extra `arrow`).
    What cannot be read is named, and is not the end; a run that is stopped goes on where it was.

    A microphone is heard until Ctrl-C, which ends the signal as the end of a file does.

    Example: `tcnstream run ecg record.hea --channel ii --format csv --out waves.csv`
    """
    if sources.is_folder(source):
        only_for_one = {
            "--format": format != "jsonl",
            "--duration": duration is not None,
            "--calibration": streaming.calibration,
        }
        if given := [name for name, said in only_for_one.items() if said]:
            raise SignalError(f"{' and '.join(given)} is for one recording, and {source} is a folder: leave it out")
        arguments = PipelineArguments(
            gain=reading.gain,
            output=head,
            low_latency=bool(low_latency),
            options=StreamOptions(engine, streaming.time_pooling, static=streaming.fixed),
        )
        run_folder(Path(source), output, model, file, reading.said, arguments, jobs, quiet)
        return
    if jobs is not None:
        raise SignalError(f"--jobs is for a folder of recordings, and {source} is none: leave it out")
    kind = sinks.sink_kind(format)
    if output is None and kind.refuses_stdout:
        raise SignalError(kind.refuses_stdout)
    if output is not None:
        writable(output, *model_files(model), *sources.files_of(source), *sources.files_of(streaming.calibration))
    opened = file.open(model)
    constants = streaming.constants(opened, reading.said)
    with ExitStack() as stack:
        preferred_hz = opened.card.rate_hz if opened.card else None
        seen = Seen()
        listening = Listening(preferred_hz, overflowed=_say_overflow, held=seen.hold)
        if not sources.ends_by_itself(source):
            listening = replace(listening, stop=stack.enter_context(interrupted()))
        recording = open_input(opened, source, reading.said, listening)
        if duration is not None:
            recording = first_seconds(recording, duration)
        makes_segments = kind.takes == "segments"
        hurries = sources.is_live(source) if low_latency is None else low_latency
        pipeline = pipeline_for(
            opened,
            recording,
            gain=reading.gain,
            output=head,
            low_latency=hurries,
            segments=makes_segments,
            keep_frames=not makes_segments,
            options=StreamOptions(engine, streaming.time_pooling, constants, static=streaming.fixed),
        )
        sink = kind.open(output, recording.rate_hz)
        if not quiet:
            note(_what(opened, recording, pipeline))
            if recording.remark:
                note(f"{recording.source}: {recording.remark}")
            if assumed := assumed_unit(opened, recording):
                note(assumed)
            if sources.is_live(source) and (waits := _waits(pipeline, hurries)):
                note(waits)
        # A bar between the lines of the answer would make both unreadable.
        show = not quiet and (output is not None or not sys.stdout.isatty())
        progress = stack.enter_context(progress_bar("streaming", show))
        task = progress.add_task("", total=recording.frames)
        counts: Counter[str] = Counter()
        try:
            with naming(output or Path("standard output")), closing(sink):
                for segments in _through(pipeline, recording, seen, lambda frames: progress.advance(task, frames)):
                    counts.update(segment.name for segment in segments)
                    sink.write(segments if makes_segments else pipeline.frames)
        except KeyboardInterrupt:
            if output is not None and not quiet:
                note(f"interrupted: {output} holds what was final by then")
            raise
        finally:
            for sentence in () if quiet else seen.said(recording.rate_hz, _assumed_volts(opened, recording)):
                note(sentence)
    if not quiet and makes_segments:
        note(_found(counts))


@dataclass
class Seen:
    """What was missing in a signal, or odd of it, and what was done about it."""

    gaps: list[int] = field(default_factory=list)
    held_frames: int = 0
    low: float = math.inf
    high: float = -math.inf

    def look(self, piece: Piece) -> None:
        if isinstance(piece, Gap):
            self.gaps.append(piece.frames)
        elif len(piece):
            self.low, self.high = min(self.low, float(piece.min())), max(self.high, float(piece.max()))

    def hold(self, frames: int) -> None:
        self.held_frames += frames

    def said(self, rate_hz: float | None, assumed_volts: float | None) -> Iterator[str]:
        """Sentences for a person. ``assumed_volts`` is what 1 was taken for, None where a unit was said."""
        if self.gaps:
            how_long = f"{sum(self.gaps):,} frames" if rate_hz is None else f"{sum(self.gaps) / rate_hz:.4g} s"
            yield f"{len(self.gaps)} gap(s), {how_long} in all: the signal ends before each and begins anew behind it"
        if self.held_frames:
            yield f"in {self.held_frames:,} frame(s) a value was missing and the last one was repeated"
        if self.low == self.high:
            yield f"the signal never changed: it was {self.low:g} throughout"
        if assumed_volts is not None and (self.high - self.low) * assumed_volts > _MOST_VOLTS:
            yield (
                f"the samples lie between {self.low:g} and {self.high:g}, more than any body gives in the unit that "
                "they were taken for: give --units (uV?), or --gain for the steps of a converter"
            )


def _through(
    pipeline: Pipeline, recording: Recording, seen: Seen, advance: Callable[[int], None]
) -> Iterator[list[Segment]]:
    """What each piece makes final, the end of the signal last. ``advance`` is told of every piece's frames."""
    for piece in recording.chunks:
        yield pipeline.push(piece)
        seen.look(piece)
        advance(piece.frames if isinstance(piece, Gap) else len(piece))
    yield pipeline.flush()


def _assumed_volts(opened: OpenedModel, recording: Recording) -> float | None:
    """What 1 of a recording without a unit is taken for, in V; None where the unit is said, or is none of volts."""
    if opened.card is None or not is_said(opened.card.units) or is_said(recording.units):
        return None
    return unit_factor(opened.card.units, "V")


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


def _waits(pipeline: Pipeline, hurries: bool) -> str:
    """On the signal that an answer waits for, and the way out; empty where it waits for none."""
    waits = []
    if pipeline.waits_s:
        how = (
            "interpolation (--no-low-latency: the filters that files get)"
            if hurries
            else "filters (--low-latency: interpolation, in milliseconds)"
        )
        waits.append(f"{pipeline.waits_s * 1000:.3g} ms for the rate's conversion by {how}")
    if pipeline.model.delay and pipeline.frames_hz:
        waits.append(f"{pipeline.model.delay / pipeline.frames_hz * 1000:.3g} ms that the model looks ahead")
    return f"an answer waits for {' and '.join(waits)}" if waits else ""


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
