"""A picture of a recording, its trace coloured by segment.

An .svg is written here, the same in every install; .png and .pdf take matplotlib (extra ``plot``).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.errors import SignalError
from tcnstream.signal import svg
from tcnstream.signal.extras import optional_package
from tcnstream.signal.outfile import new_file, write_file
from tcnstream.signal.segments import Segment
from tcnstream.signal.strips import COLOURS, PLAIN, Plot, make_strip


def draw(
    path: str | Path,
    signal: npt.NDArray[np.float32],
    rate_hz: float,
    segments: Sequence[Segment],
    *,
    labels: Sequence[str],
    units: str = "",
    title: str = "",
    strip_s: float = 10.0,
    one_scale: bool = False,
) -> None:
    """Writes ``signal`` (frames,) as strips of ``strip_s`` seconds, each segment in the colour of its label.

    Ventricular beats, and what is noise, have colours of their own (``Segment.name``).

    With ``one_scale`` what is softer is lower in all strips; otherwise each strip is as high as it can be.
    The file's ending says the kind: .png, .svg or .pdf. Raises SignalError for another one, MissingExtraError if the
    package that draws it is missing.
    """
    must_be_drawable(path)
    segments = [replace(segment, label=segment.name) for segment in segments]
    labels = [*labels, *sorted({segment.label for segment in segments}.difference(labels), reverse=True)]
    count = max(1, math.ceil(len(signal) / rate_hz / strip_s))
    plot = Plot(
        [
            make_strip(signal, rate_hz, segments, labels, k * strip_s, (k + 1) * strip_s, one_scale)
            for k in range(count)
        ],
        {label: COLOURS[number % len(COLOURS)] for number, label in enumerate(labels)},
        units,
        title,
        1.0 if strip_s <= 20 else strip_s / 10,
    )
    if Path(path).suffix.lower() == ".svg":
        write_file(Path(path), svg.rendered(plot).encode())
    else:
        _draw_by_matplotlib(path, plot)


def _draw_by_matplotlib(path: str | Path, plot: Plot) -> None:
    figure = new_figure(path, 14, 0.8 + 1.5 * len(plot.strips))
    ticker = optional_package("matplotlib.ticker", "a picture is asked for", "plot")
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.0)
    axes = figure.subplots(len(plot.strips), 1, squeeze=False)[:, 0]
    for strip, ax in zip(plot.strips, axes, strict=True):
        ax.plot(strip.times, strip.values, color=PLAIN, linewidth=0.7, zorder=2)
        for label, colour in plot.colours.items():
            ax.plot(strip.times, strip.coloured(label), color=colour, linewidth=1.7, solid_capstyle="round", zorder=3)
            bars = [(start_s, end_s - start_s) for start_s, end_s in strip.covered[label]]
            whole_height = ax.get_xaxis_transform()
            ax.broken_barh(bars, (0, 1), transform=whole_height, facecolor=colour, alpha=0.13, linewidth=0, zorder=1)
        ax.set_xlim(strip.begin_s, strip.end_s)
        ax.set_ylim(strip.low, strip.high)
        ax.xaxis.set_major_locator(ticker.MultipleLocator(plot.tick_s))
        ax.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g s"))
        ax.grid(True, color="#e7e3e3", linewidth=0.6, zorder=0)
        ax.tick_params(length=0, labelsize=8, labelcolor="#555555")
        for side in ax.spines.values():
            side.set_visible(False)
        if plot.units:
            ax.set_ylabel(plot.units, fontsize=8, color="#555555")
    axes[0].set_title(plot.title, loc="left", fontsize=12, pad=8)
    handles = [
        axes[0].plot([], [], color=colour, linewidth=3, label=plot.legend(label))[0]
        for label, colour in plot.colours.items()
    ]
    above = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.4}
    axes[0].legend(handles=handles, ncols=len(handles), frameon=False, fontsize=10, **above)
    save_figure(figure, path)


def default_suffix() -> str:
    """Of a picture that everybody can open, where it can be drawn here."""
    return ".png" if importlib.util.find_spec("matplotlib") else ".svg"


def must_be_drawable(path: str | Path) -> None:
    """Raises SignalError if ``path`` ends in none of .png, .svg and .pdf, MissingExtraError for want of matplotlib."""
    if _suffix(path) != ".svg":
        optional_package("matplotlib", f"a picture as {Path(path).suffix} is asked for", "plot")


def must_be_plottable(path: str | Path) -> None:
    """As ``must_be_drawable``, for a diagram that matplotlib draws whatever the ending."""
    _suffix(path)
    optional_package("matplotlib", "a diagram is asked for", "plot")


def _suffix(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".svg", ".pdf"):
        raise SignalError(f"{Path(path).name} is of no kind that can be drawn: end it in .png, .svg or .pdf")
    return suffix


def new_figure(path: str | Path, width_in: float, height_in: float) -> Any:
    """An empty matplotlib Figure to be saved at ``path``. Raises as ``must_be_plottable``."""
    must_be_plottable(path)
    module = optional_package("matplotlib.figure", "a diagram is asked for", "plot")
    return module.Figure(figsize=(width_in, height_in), layout="constrained")


def save_figure(figure: Any, path: str | Path) -> None:
    """Writes the file; the same figure gives the same bytes, whenever it is drawn."""
    suffix = _suffix(path)
    with new_file(Path(path)) as stream:
        metadata = {"Date": None} if suffix == ".svg" else None
        figure.savefig(stream, format=suffix[1:], dpi=120, facecolor="white", metadata=metadata)
