"""The pictures of a check's page, drawn from its JSON: outputs over the signal, differences over time, cost."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from tcnstream.signal.extras import optional_package

_MOST_LINES = 8
_AROUND_FRAMES = 40
_WIDTH_IN = 11
_BAD = "#b3261e"
_SMALL = 8


def must_be_plottable() -> Any:
    """The module that draws. Raises MissingExtraError where it is not installed."""
    return optional_package("matplotlib.figure", "a page with plots is asked for", "plot")


def short(name: str, most: int = 44) -> str:
    """A tensor's name as far as it tells it from others: converters join the names of all that they fused."""
    first = "".join(letter if letter.isprintable() else "?" for letter in name.split(";")[0])
    return first if len(first) <= most else "..." + first[3 - most :]


def outputs(data: dict[str, Any]) -> str:
    """The input, and every output of both sides; where one differs also a closer look and the difference over time."""
    rows: list[tuple[str, dict[str, Any]]] = [("input", trace) for trace in data["traces"]]
    for trace in data["outputs"]:
        rows.append(("output", trace))
        if trace["first_difference"] is not None:
            rows += [("closer", trace), ("difference", trace)]
    if not rows:
        return "<p>no frames</p>"
    figure, axes = _figure(len(rows), 2.1 * len(rows))
    for axis, (what, trace) in zip(axes, rows, strict=True):
        if what == "difference":
            _difference_over_time(axis, data, trace)
        else:
            _lines(axis, what, trace)
        axis.tick_params(labelsize=_SMALL)
    figure.subplots_adjust(hspace=0.75)
    return _picture(figure, "both sides' outputs over the signal")


def _lines(axis: Any, what: str, trace: dict[str, Any]) -> None:
    frames, first = np.array(trace["frames"], int), trace["first_difference"]
    host, board = np.array(trace["host"], float), np.array(trace["board"], float)
    elements = host.shape[1] if host.ndim == 2 else 0
    shown = np.ones(len(frames), bool)
    if what == "closer":
        shown = np.abs(frames - first) <= _AROUND_FRAMES
    for line in range(min(elements, _MOST_LINES)):
        axis.plot(frames[shown], host[shown, line], color=f"C{line}", linewidth=1.4, alpha=0.65)
        if what != "input":
            style = {"marker": ".", "markersize": 4.0} if what == "closer" else {}
            axis.plot(frames[shown], board[shown, line], color="black", linewidth=0.7, linestyle=":", **style)
    if first is not None:
        axis.axvline(first, color=_BAD, linewidth=1)
    some = f", {_MOST_LINES} of {elements} elements" if elements > _MOST_LINES else ""
    legend = "" if what == "input" else ", host in colour, board dotted black"
    title = f"around the first difference, frame {first}" if what == "closer" else f"{what} {short(trace['name'], 70)}"
    axis.set_title(f"{title}{legend}{some}", fontsize=_SMALL + 1, loc="left", parse_math=False)
    axis.set_xlabel("frame of the " + ("input" if what == "input" else "output"), fontsize=_SMALL)


def _difference_over_time(axis: Any, data: dict[str, Any], trace: dict[str, Any]) -> None:
    """The largest difference in each part of the time, of every frame and not of those drawn only."""
    tensor = next(t for t in data["tensors"] if t["role"] == "output" and t["name"] == trace["name"])
    profile = np.array(tensor["profile"], float)
    places = np.linspace(0, data["frames_in"], len(profile), endpoint=False)
    axis.bar(places, profile, width=data["frames_in"] / max(len(profile), 1), align="edge", color=_BAD)
    unit = "steps" if tensor["largest_steps"] is not None else "real units"
    axis.set_title(f"largest difference over time, {unit}", fontsize=_SMALL + 1, loc="left", parse_math=False)
    axis.set_xlabel("input frame", fontsize=_SMALL)


def heat_map(data: dict[str, Any]) -> str:
    """Difference per tensor over time; a row per comparison that found one, in the order of execution."""
    rows = [t for t in data["tensors"] if any(t["profile"])]
    if not rows:
        return f"<p>No difference in any of {len(data['tensors'])} comparisons, at any time.</p>"
    figure, (axis,) = _figure(1, 1.4 + 0.24 * len(rows))
    values = np.array([t["profile"] for t in rows], float)
    with np.errstate(divide="ignore"):
        logarithm = np.where(values > 0, np.log10(values), np.nan)
    extent = (0, data["frames_in"], len(rows) - 0.5, -0.5)
    image = axis.imshow(logarithm, aspect="auto", cmap="magma_r", interpolation="nearest", extent=extent)
    names = [f"{t['role']}: {short(t['name'])} ({short(t['operation'].split(',')[0].rstrip(')'))})" for t in rows]
    axis.set_yticks(range(len(rows)), names, fontsize=_SMALL - 1, parse_math=False)
    axis.set_xlabel("input frame", fontsize=_SMALL)
    axis.tick_params(axis="x", labelsize=_SMALL)
    if (first := data["first_difference"]) is not None:
        wrong = [k for k, t in enumerate(rows) if t["name"] == first["tensor"]]
        for k in wrong:
            axis.get_yticklabels()[k].set_color(_BAD)
    bar = figure.colorbar(image, ax=axis)
    bar.set_label("log10 of the largest difference", fontsize=_SMALL)
    bar.ax.tick_params(labelsize=_SMALL)
    return (
        "<p>Differences in integer steps, or real units of floats; the darker, the larger. White: equal, or nothing"
        " compared. The tensor where it began is written in red.</p>"
    ) + _picture(figure, "difference per tensor over time")


def cost(data: dict[str, Any]) -> str:
    """How many frames cost how much, with median, p99, worst and the deadline where it is near."""
    found = data["cost"]
    figure, (axis,) = _figure(1, 2.6)
    edges = [edge for edge, _ in found["histogram"]]
    width = (found["worst"] - edges[0]) / max(len(edges), 1) or max(found["worst"] * 0.01, 1.0)
    axis.bar(edges, [n for _, n in found["histogram"]], width=width * 0.95, align="edge", color="#7a9cc6")
    for name, style in (("median", "-"), ("p99", "--"), ("worst", ":")):
        axis.axvline(found[name], color="black", linewidth=1, linestyle=style, label=f"{name} {found[name]:,.0f}")
    if found["deadline"] is not None and found["deadline"] < 3 * found["worst"]:
        axis.axvline(found["deadline"], color=_BAD, linewidth=1.5, label=f"deadline {found['deadline']:,.0f}")
    axis.legend(fontsize=_SMALL, loc="upper right")
    axis.set_xlabel(f"{found['unit']} per input frame", fontsize=_SMALL)
    axis.set_ylabel("input frames", fontsize=_SMALL)
    axis.tick_params(labelsize=_SMALL)
    return _picture(figure, "cost of an input frame")


def _picture(figure: Any, what: str) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, bbox_inches="tight")
    return f"<img alt='{what}' src='data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}'>"


def _figure(rows: int, height: float) -> tuple[Any, Sequence[Any]]:
    """Axes one below the other, without a window system."""
    figure = must_be_plottable().Figure(figsize=(_WIDTH_IN, height))
    return figure, [figure.add_subplot(rows, 1, k + 1) for k in range(rows)]
