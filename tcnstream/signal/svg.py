"""A Plot as SVG, written by hand: lines, rectangles and text are all that it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from tcnstream.signal.strips import PLAIN, Plot, Strip

WIDTH, STRIP_HEIGHT, TITLE_HEIGHT = 1400.0, 150.0, 46.0
LEFT, RIGHT, BELOW = 62.0, 12.0, 24.0
"""Pixels around the area of a strip; labels stand there."""
GRID, TEXT = "#e7e3e3", "#555555"


def rendered(plot: Plot) -> str:
    """The whole file."""
    height = TITLE_HEIGHT + STRIP_HEIGHT * len(plot.strips)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" font-family="sans-serif">',
        f'<rect width="{WIDTH:g}" height="{height:g}" fill="white"/>',
        f'<text x="{LEFT:g}" y="30" font-size="19">{escape(plot.title)}</text>',
        *_legend(plot),
    ]
    for number, strip in enumerate(plot.strips):
        lines.append(f'<g transform="translate(0 {TITLE_HEIGHT + STRIP_HEIGHT * number:g})">')
        lines += _strip(plot, strip)
        lines.append("</g>")
    return "\n".join([*lines, "</svg>", ""])


def _legend(plot: Plot) -> Iterator[str]:
    right = WIDTH - RIGHT
    for label, colour in reversed(list(plot.colours.items())):
        name = plot.legend(label)
        yield f'<text x="{right:g}" y="30" font-size="16" text-anchor="end">{escape(name)}</text>'
        right -= 10 * len(name) + 10
        yield f'<line x1="{right - 30:g}" y1="25" x2="{right:g}" y2="25" stroke="{colour}" stroke-width="4"/>'
        right -= 52


def _strip(plot: Plot, strip: Strip) -> Iterator[str]:
    wide, high = WIDTH - LEFT - RIGHT, STRIP_HEIGHT - BELOW

    def across(seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        part = (np.asarray(seconds, np.float64) - strip.begin_s) / (strip.end_s - strip.begin_s)
        return LEFT + wide * np.clip(part, 0, 1)

    def down(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return high * (strip.high - np.asarray(values, np.float64)) / (strip.high - strip.low)

    for second in _ticks(strip.begin_s, strip.end_s, plot.tick_s):
        at = float(across(second))
        yield f'<path d="M{at:.1f} 0V{high:g}" stroke="{GRID}"/>'
        yield _label(at, high + 15, "middle", f"{second:g} s")
    for value in _ticks(strip.low, strip.high, _nice_step((strip.high - strip.low) / 4)):
        at = float(down(value))
        yield f'<path d="M{LEFT:g} {at:.1f}H{LEFT + wide:g}" stroke="{GRID}"/>'
        yield _label(LEFT - 6, at + 4, "end", f"{value:g}")
    if plot.units:
        turned = f'transform="translate(14 {high / 2:g}) rotate(-90)"'
        yield f'<text {turned} font-size="12" text-anchor="middle" fill="{TEXT}">{escape(plot.units)}</text>'
    x, y = across(strip.times), down(strip.values)
    for label, colour in plot.colours.items():
        for span in strip.covered[label]:
            start, end = across(span).tolist()
            area = f'x="{start:.1f}" y="0" width="{end - start:.1f}" height="{high:g}"'
            yield f'<rect {area} fill="{colour}" fill-opacity="0.13"/>'
    yield f'<path d="{_line(x, y)}" fill="none" stroke="{PLAIN}"/>'
    for label, colour in plot.colours.items():
        if line := _line(x, down(strip.coloured(label))):
            yield f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="2.4" stroke-linecap="round"/>'


def _label(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}" fill="{TEXT}">{text}</text>'


def _line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> str:
    """A line through the points, broken where there is none (NaN)."""
    pieces, pen = [], "M"
    for at, level in zip(x.tolist(), y.tolist(), strict=True):
        if math.isnan(level):
            pen = "M"
            continue
        pieces.append(f"{pen}{at:.1f} {level:.1f}")
        pen = "L"
    return "".join(pieces)


def _ticks(low: float, high: float, step: float) -> list[float]:
    """The multiples of ``step`` from ``low`` to ``high``."""
    return [round(k * step, 9) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _nice_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, ``about`` or a little more."""
    power: float = 10.0 ** math.floor(math.log10(about))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= about)
