"""``tcnstream demo``: a shipped recording through a shipped model, as if it came in live."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tcnstream.cli.demo_live import LIVE, play_live
from tcnstream.cli.options import EngineOption, JsonOption
from tcnstream.cli.show import err, out, print_json, say, show_table
from tcnstream.errors import SignalError
from tcnstream.opened import Frames, OpenedModel, open_input, open_model
from tcnstream.options import StreamOptions
from tcnstream.pipeline import pipeline_for
from tcnstream.signal.card import model_files
from tcnstream.signal.heart import HeartRate
from tcnstream.signal.outfile import writable
from tcnstream.signal.plot import default_suffix, draw, must_be_drawable
from tcnstream.signal.segments import Segment
from tcnstream.signal.sinks.base import segment_fields
from tcnstream.signal.sources.base import Gap, ReadOptions, Recording
from tcnstream.signal.strips import COLOURS
from tcnstream.signal.units import is_said, unit_factor

DATA = Path(__file__).resolve().parent.parent / "data"


@dataclass(frozen=True)
class Demo:
    """A shipped recording and the shipped model that it goes through."""

    file: str
    model: str
    what: str


DEMOS = {
    "ecg": Demo("ecg.csv", "ecg_beats", "Real ECG, lead {channel}"),
    "audio": Demo("audio.ogg", "speech", "Speech, music and noise"),
}
CHUNK_S = 0.05
"""What a live source gives at a time."""


def demo(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="ecg: a minute of a real electrocardiogram; audio: speech, music, noise; live: both, in a browser.",
        ),
    ] = "ecg",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="Shipped model, .tflite file or card; else the demo's own."
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The picture: .svg, .png or .pdf (extra plot); else NAME.png, without that extra NAME.svg.",
        ),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0, help="Times real time on a terminal; 0 is as fast as it goes.")
    ] = 10.0,
    engine: EngineOption = "auto",
    json: JsonOption = False,
) -> None:
    """Play a shipped recording through a shipped model: segments, and a picture with the trace coloured by label.

    `ecg` finds the waves of a real ECG and counts the heart rate, `audio` who speaks and where there is music. `live`
    plays both over and over through the daemon, for its page in a browser; Ctrl-C ends it.

    Example: `tcnstream demo ecg --model ecg_fast --out ecg.svg`
    """
    if name == LIVE:
        if picture is not None or model is not None or json or engine != "auto":
            raise SignalError(f"demo {LIVE} shows its streams in a browser and has no options: leave them out")
        play_live()
        return
    if name not in DEMOS:
        raise SignalError(f"there is no demo {name!r}: choose one of {', '.join(DEMOS)}, {LIVE}")
    chosen = DEMOS[name]
    picture = Path(name + default_suffix()) if picture is None else picture
    must_be_drawable(writable(picture, *model_files(model or chosen.model)))
    opened = open_model(model or chosen.model)
    recording = open_input(opened, str(DATA / chosen.file), ReadOptions())
    wanted = "" if opened.card is None else opened.card.units
    if unit_factor(recording.units, wanted) is None:
        raise SignalError(
            f"demo {name} plays a recording in {recording.units} and {opened.path.name} takes {wanted}: "
            "choose another demo or --model"
        )
    signal = np.concatenate([piece for piece in recording.chunks if not isinstance(piece, Gap)])
    assert recording.rate_hz is not None
    player = Player(opened, replace(recording, frames=len(signal), chunks=live(signal, recording.rate_hz)), engine)
    player.play(speed if err.is_terminal and not json else 0)
    bpm = player.heart_rates_bpm
    draw(
        picture,
        signal[:, 0],
        recording.rate_hz,
        player.segments,
        labels=player.shown,
        units=recording.units if is_said(recording.units) else "",
        one_scale=not is_said(recording.units),
        title=f"{chosen.what.format(channel=recording.channels[0])}, segmented by {opened.path.stem}"
        + (f", heart rate {np.median(bpm):.0f}/min" if bpm else ""),
    )
    if json:
        print_json({"model": str(opened.path), **player.facts(), "picture": str(picture)})
        return
    show_table(player.table(12))
    out.print(player.summary())
    say(
        f"{player.signal_s:g} s of signal in {player.compute_s:.2f} s, {player.signal_s / player.compute_s:.0f} times "
        f"real time, {CHUNK_S:g} s a push on the {player.engine} engine"
    )
    say(f"picture: {picture}")


def live(signal: Frames, rate_hz: float) -> Iterator[Frames]:
    """The recording in the small pieces that a live source gives."""
    step = max(1, round(CHUNK_S * rate_hz))
    for at in range(0, len(signal), step):
        yield signal[at : at + step]


class Player:
    """Streams a recording through a model and keeps what a person wants to see."""

    def __init__(self, opened: OpenedModel, recording: Recording, engine: str) -> None:
        self._recording = recording
        self._pipeline = pipeline_for(opened, recording, low_latency=True, options=StreamOptions(engine))
        self._heart = HeartRate()
        background = opened.card.segments.background if opened.card else ""
        self.engine = self._pipeline.engine
        self.shown = [label for label in self._pipeline.labels if label != background]
        self.segments: list[Segment] = []
        self.heart_rates_bpm: list[float] = []
        self.signal_s = (recording.frames or 0) / (recording.rate_hz or math.inf)
        self.compute_s = 0.0

    def play(self, speed: float) -> None:
        """At ``speed`` times real time with a live view on the terminal, or as fast as it goes without one (0)."""
        begin = time.monotonic()
        if not speed:
            for _ in self._positions():
                pass
            self.compute_s = time.monotonic() - begin
            return
        busy = 0.0
        with Live(console=err, refresh_per_second=12, transient=True) as view:
            mark = time.monotonic()
            for position_s in self._positions():
                busy += time.monotonic() - mark
                view.update(self._view(position_s))
                time.sleep(max(0.0, begin + position_s / speed - time.monotonic()))
                mark = time.monotonic()
        self.compute_s = busy

    def facts(self) -> dict[str, object]:
        """What was found, for programs."""
        bpm = self.heart_rates_bpm
        return {
            "engine": self.engine,
            "signal_s": self.signal_s,
            "compute_s": round(self.compute_s, 3),
            **({"heart_rate_bpm": round(float(np.median(bpm)), 1)} if bpm else {}),
            "segments": [segment_fields(segment) for segment in self.segments],
        }

    def table(self, last: int) -> Table:
        """The last segments."""
        table = Table(box=None, header_style="bold", pad_edge=False, title=None)
        for title in ("start (s)", "end (s)", "ms"):
            table.add_column(title, justify="right")
        table.add_column("label")
        table.add_column("mean probability", justify="right")
        for segment in self.segments[-last:]:
            table.add_row(
                f"{segment.start_s:.3f}",
                f"{segment.end_s:.3f}",
                f"{1000 * (segment.end_s - segment.start_s):.0f}",
                Text(segment.name.upper(), style=self._style(segment.label)),
                f"{segment.probability:.3f}",
            )
        return table

    def summary(self) -> Group:
        """Counts, mean durations, heart rate."""
        lines = []
        for label in self.shown:
            there = [s for s in self.segments if s.label == label]
            mean = f", {1000 * fmean(s.end_s - s.start_s for s in there):.0f} ms on average" if there else ""
            marked = {"ventricular": sum(s.is_ventricular for s in there), "noise": sum(s.is_noise for s in there)}
            which = "".join(f", {count} {mark}" for mark, count in marked.items() if count)
            lines.append(Text.assemble((label.upper(), self._style(label)), f": {len(there)}{which}{mean}"))
        bpm = self.heart_rates_bpm
        if bpm:
            lines.append(Text(f"heart rate: {np.median(bpm):.0f} beats/min ({min(bpm):.0f} to {max(bpm):.0f})"))
        return Group(*lines)

    def _positions(self) -> Iterator[float]:
        """Plays; yields the seconds of signal that have gone in."""
        for piece in self._recording.chunks:
            self._take(self._pipeline.push(piece))
            yield self._pipeline.position_s
        self._take(self._pipeline.flush())

    def _take(self, segments: list[Segment]) -> None:
        self.segments += segments
        for segment in segments:
            bpm = self._heart.push([segment])
            if segment.label.lower() == self._heart.label and bpm is not None:
                self.heart_rates_bpm.append(bpm)

    def _view(self, position_s: float) -> Group:
        heart = ""
        if self._heart.label in self.shown:
            bpm = f"{self.heart_rates_bpm[-1]:.0f}" if self.heart_rates_bpm else "--"
            heart = f"   heart rate {bpm} beats/min"
        return Group(Text(f"{position_s:6.1f} s{heart}", style="bold"), self.table(10))

    def _style(self, label: str) -> str:
        return f"bold {COLOURS[self.shown.index(label) % len(COLOURS)]}" if label in self.shown else ""
