"""A picture of a recording, its trace coloured by segment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal.extras import optional_package
from tcnstream.signal.segments import Segment

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette: told apart by people with any colour vision, and on a grey print."""
PLAIN = "#8a8f98"
MOST_POINTS = 6000
"""Of a strip; more than the picture has columns."""


def thinned(signal: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Positions and values (m,) that draw the same line as ``signal`` (n,): the extremes of MOST_POINTS / 2 parts."""
    at = np.arange(len(signal))
    if len(signal) <= MOST_POINTS:
        return at, signal
    parts = np.array_split(at, MOST_POINTS // 2)
    ends = [sorted((int(part[signal[part].argmin()]), int(part[signal[part].argmax()]))) for part in parts]
    at = np.array(ends).ravel()
    return at, signal[at]


def draw(
    path: str | Path,
    signal: npt.NDArray[np.float32],
    rate_hz: float,
    segments: Iterable[Segment],
    *,
    labels: Sequence[str],
    units: str = "",
    title: str = "",
    strip_s: float = 10.0,
    one_scale: bool = False,
) -> None:
    """Writes ``signal`` (frames,) as strips of ``strip_s`` seconds, each segment in the colour of its label.

    With ``one_scale`` what is softer is lower in all strips; otherwise each strip is as high as it can be.
    The file's ending says the kind: .png, .svg or .pdf. Raises SignalError for another one, or if the drawing package
    is missing.
    """
    ticker = optional_package("matplotlib.ticker", "a picture is asked for", "plot")
    segments = list(segments)
    colours = {label: COLOURS[number % len(COLOURS)] for number, label in enumerate(labels)}
    strips = max(1, math.ceil(len(signal) / rate_hz / strip_s))
    figure = new_figure(path, 14, 0.8 + 1.5 * strips)
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.0)
    axes = figure.subplots(strips, 1, squeeze=False)[:, 0]
    for strip, ax in enumerate(axes):
        begin_s, end_s = strip * strip_s, (strip + 1) * strip_s
        first = round(begin_s * rate_hz)
        at, shown = thinned(signal[first : round(end_s * rate_hz) + 1])
        times = (first + at) / rate_hz
        ax.plot(times, shown, color=PLAIN, linewidth=0.7, zorder=2)
        for label, colour in colours.items():
            here = [s for s in segments if s.label == label and s.end_s > begin_s and s.start_s < end_s]
            inside = np.zeros(len(shown), bool)
            for segment in here:
                inside |= (times >= segment.start_s) & (times <= segment.end_s)
            trace = np.where(inside, shown, np.nan)
            ax.plot(times, trace, color=colour, linewidth=1.7, solid_capstyle="round", zorder=3)
            bars = [(segment.start_s, segment.end_s - segment.start_s) for segment in here]
            whole_height = ax.get_xaxis_transform()
            ax.broken_barh(bars, (0, 1), transform=whole_height, facecolor=colour, alpha=0.13, linewidth=0, zorder=1)
        ax.set_xlim(begin_s, end_s)
        if len(shown):
            low, high = (signal.min(), signal.max()) if one_scale else (shown.min(), shown.max())
            middle, half = (high + low) / 2, max(float(high - low) / 2, 1e-6) * 1.1
            ax.set_ylim(middle - half, middle + half)
        ax.xaxis.set_major_locator(ticker.MultipleLocator(1.0 if strip_s <= 20 else strip_s / 10))
        ax.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g s"))
        ax.grid(True, color="#e7e3e3", linewidth=0.6, zorder=0)
        ax.tick_params(length=0, labelsize=8, labelcolor="#555555")
        for side in ax.spines.values():
            side.set_visible(False)
        if units:
            ax.set_ylabel(units, fontsize=8, color="#555555")
    axes[0].set_title(title, loc="left", fontsize=12, pad=8)
    handles = [
        axes[0].plot([], [], color=colour, linewidth=3, label=label.upper() if len(label) <= 3 else label)[0]
        for label, colour in colours.items()
    ]
    above = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.4}
    axes[0].legend(handles=handles, ncols=len(handles), frameon=False, fontsize=10, **above)
    save_figure(figure, path)


def must_be_drawable(path: str | Path) -> None:
    """Raises SignalError if ``path`` ends in none of .png, .svg and .pdf, or if the drawing package is missing."""
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise SignalError(f"{Path(path).name} is of no kind that can be drawn: end it in .png, .svg or .pdf")
    optional_package("matplotlib", "a picture is asked for", "plot")


def new_figure(path: str | Path, width_in: float, height_in: float) -> Any:
    """An empty matplotlib Figure to be saved at ``path``. Raises SignalError as ``must_be_drawable``."""
    must_be_drawable(path)
    module = optional_package("matplotlib.figure", "a picture is asked for", "plot")
    return module.Figure(figsize=(width_in, height_in), layout="constrained")


def save_figure(figure: Any, path: str | Path) -> None:
    """Writes the file; the same figure gives the same bytes, whenever it is drawn."""
    undated = {"Date": None} if Path(path).suffix.lower() == ".svg" else None
    figure.savefig(path, dpi=120, facecolor="white", metadata=undated)
