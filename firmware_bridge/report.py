"""A check as a file: JSON for programs, JUnit for CI, one self-contained HTML page for people.

``to_json`` makes plain data; the other two are made from it, so that a saved JSON can become a page later.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any
from xml.etree import ElementTree

import numpy as np

from firmware_bridge.errors import BridgeError
from firmware_bridge.verdict import NOT_COMPARED, CheckReport, Trace

FORMAT = 2
_MOST_POINTS = 1500
_MOST_LINES = 8
_AROUND_FRAMES = 60


def to_json(report: CheckReport) -> dict[str, Any]:
    """Plain data; infinite numbers become null. Traces are thinned to some 1,500 frames, but near a difference."""
    data = {
        "format": FORMAT,
        "passed": report.passed,
        "verdict": report.verdict,
        **{k: v for k, v in asdict(report).items() if k not in ("signal", "traces")},
        "traces": [_thinned(trace, report) for trace in ([report.signal] if report.signal else [])],
        "outputs": [_thinned(trace, report) for trace in report.traces],
    }
    clean: dict[str, Any] = _finite(data)
    return clean


def _thinned(trace: Trace, report: CheckReport) -> dict[str, Any]:
    frames = len(trace.host)
    step = max(1, math.ceil(frames / _MOST_POINTS))
    picked = set(range(0, frames, step))
    first = next((t.first_different_frame for t in report.tensors if t.role == "output" and t.name == trace.name), None)
    if first is not None:
        picked |= set(range(max(0, first - _AROUND_FRAMES), min(frames, first + _AROUND_FRAMES)))
    place = sorted(k for k in picked if k < min(len(trace.host), len(trace.board)))
    return {
        "name": trace.name,
        "frames": place,
        "host": trace.host[place].tolist(),
        "board": trace.board[place].tolist(),
        "first_difference": first,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def load(content: bytes) -> dict[str, Any]:
    """What ``check --json`` wrote. Raises BridgeError for anything else."""
    try:
        data = json.loads(content)
    except ValueError as error:
        raise BridgeError(f"this is no JSON: {error}; give what `firmware-bridge check --json` printed") from error
    if not isinstance(data, dict) or not {"format", "stages", "verdict"} <= data.keys():
        raise BridgeError("this is no result of `firmware-bridge check --json` on a board; run that first")
    if data["format"] != FORMAT:
        raise BridgeError(
            f"the result has format {data['format']} and this version reads {FORMAT}; check again with this version"
        )
    if lacks := {entry.name for entry in fields(CheckReport)} - {*data, "signal"}:
        raise BridgeError(f"the result lacks {', '.join(sorted(lacks))}: it was cut or changed; check again")
    return data


def to_junit(data: dict[str, Any]) -> str:
    """A test suite with a case per stage; what was not compared is skipped, with the reason."""
    stages = data["stages"]
    failures = sum(not stage["passed"] for stage in stages)
    skipped = [stage for stage in stages if stage["note"].startswith(NOT_COMPARED)]
    suite = ElementTree.Element(
        "testsuite",
        name=f"firmware-bridge {data['model']} on {data['target']}",
        tests=str(len(stages)),
        failures=str(failures),
        skipped=str(len(skipped)),
        errors="0",
    )
    for stage in stages:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{data['target']}.{data['model']}", name=stage["name"]
        )
        if not stage["passed"]:
            failure = ElementTree.SubElement(case, "failure", message=data["verdict"])
            failure.text = json.dumps(data["first_difference"], indent=1)
        elif stage in skipped:
            ElementTree.SubElement(case, "skipped", message=stage["note"])
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def to_html(data: dict[str, Any]) -> str:
    """One page with everything in it, pictures too; it loads nothing from anywhere."""
    colour = "#176f3d" if data["passed"] else "#b3261e"
    parts = [
        f"<p class='verdict' style='background:{colour}'>{html.escape(data['verdict'])}</p>",
        _table(
            ("what", "value"),
            [
                ("model", f"{data['model']}, sha-256 {data['model_sha256'][:16]}..."),
                ("target", f"{data['target']}: {data['board']['target']}, firmware {data['board']['build']}"),
                ("core", data["board"]["core"]),
                ("host", f"{data['engine']} engine, {data['rounding']} rounding"),
                ("input", f"{data['frames_in']:,} frames, {data['chunks']} chunks, tolerance {data['tolerance']}"),
                ("emulated", "yes: never run on silicon by this check" if data["board"]["emulated"] else "no"),
            ],
        ),
        "<h2>Stages</h2>",
        _table(
            ("stage", "result", "output frames", "states", "note"),
            [
                (s["name"], "equal" if s["passed"] else "DIFFERENT", f"{s['frames']:,}", str(s["states"]), s["note"])
                for s in data["stages"]
            ],
        ),
        _difference(data),
        "<h2>Outputs over the signal</h2>",
        _outputs(data),
        "<h2>Tensors</h2>",
        _table(
            ("tensor", "role", "made by", "frames", "equal", "steps", "largest", "RMSE", "MAE", "SNR dB", "cosine"),
            [_tensor_row(t) for t in data["tensors"]],
        ),
        "<h2>Difference per tensor over time</h2>",
        _heat_map(data),
        "<h2>Cost of an input frame</h2>",
        _cost(data),
        "<h2>Link and memory</h2>",
        _table(("what", "value"), [(k.replace("_", " "), f"{v:,}") for k, v in data["link"].items()]),
    ]
    if data["memory"]:
        parts.append(_table(("what", "value"), [(k.replace("_", " "), f"{v:,}") for k, v in data["memory"].items()]))
    if data["log"]:
        parts.append("<h2>Log of the firmware</h2><pre>" + html.escape("\n".join(data["log"])) + "</pre>")
    title = html.escape(f"{data['model']} on {data['target']}")
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<style>{_STYLE}</style></head>"
        f"<body><h1>{title}</h1>{''.join(parts)}</body></html>\n"
    )


_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c1b1f}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-size:13px}"
    "td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:left;overflow-wrap:anywhere}"
    ".verdict{color:#fff;padding:.8rem 1rem;border-radius:.4rem}img{max-width:100%}pre{background:#f4f4f4;padding:1rem}"
)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    made = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{made}</tr>{body}</table>"


def _tensor_row(t: dict[str, Any]) -> tuple[str, ...]:
    steps = "" if t["largest_steps"] is None else str(t["largest_steps"])
    snr = "inf" if t["snr_db"] is None else f"{t['snr_db']:.1f}"
    return (
        t["name"],
        t["role"],
        t["operation"],
        f"{t['frames']:,}",
        f"{t['equal']:,}",
        steps,
        f"{t['largest']:.3g}",
        f"{t['rmse']:.3g}",
        f"{t['mae']:.3g}",
        snr,
        f"{t['cosine']:.6f}",
    )


def _difference(data: dict[str, Any]) -> str:
    d = data["first_difference"]
    if d is None:
        return ""
    rows = [
        ("operation", d["operation"]),
        ("tensor", d["tensor"]),
        ("frame, element", f"{d['frame']}, {d['element']}"),
        ("expected, got", f"{d['expected']:g}, {d['got']:g}"),
        ("cause", d["cause"] or "unknown"),
        ("found with", f"{d['probes']} taps"),
    ]
    inputs = "".join(
        f"<p>{html.escape(o['tensor'])}, from frame {o['first_frame']}{' (shortened)' if o['shortened'] else ''}:</p>"
        f"<pre>{html.escape(chr(10).join(' '.join(f'{v:g}' for v in row) for row in o['values']))}</pre>"
        for o in d["inputs"]
    )
    return (
        "<h2>First difference</h2>" + _table(("what", "value"), rows) + "<h3>The inputs that produced it</h3>" + inputs
    )


def _picture(figure: Any) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, bbox_inches="tight")
    return f"<img alt='' src='data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}'>"


def _figure(rows: int, height: float) -> tuple[Any, list[Any]]:
    """Axes one below the other, without a window system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, height))
    return figure, [figure.add_subplot(rows, 1, k + 1) for k in range(rows)]


def _outputs(data: dict[str, Any]) -> str:
    shown = [*data["traces"], *data["outputs"]]
    if not shown:
        return "<p>no frames</p>"
    figure, axes = _figure(len(shown), 2.2 * len(shown))
    for k, (axis, trace) in enumerate(zip(axes, shown, strict=True)):
        host, board = np.array(trace["host"], float), np.array(trace["board"], float)
        signal = k < len(data["traces"])
        for line in range(min(host.shape[1] if host.ndim == 2 else 0, _MOST_LINES)):
            axis.plot(trace["frames"], host[:, line], color=f"C{line}", linewidth=1.4, alpha=0.6)
            if not signal:
                axis.plot(trace["frames"], board[:, line], color="black", linewidth=0.7, linestyle=":")
        if trace["first_difference"] is not None:
            axis.axvline(trace["first_difference"], color="#b3261e", linewidth=1)
        axis.set_title(f"{trace['name'][:90]} ({'input' if signal else 'host: colour, board: dots'})", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[-1].set_xlabel("frame", fontsize=8)
    figure.subplots_adjust(hspace=0.5)
    return _picture(figure)


def _heat_map(data: dict[str, Any]) -> str:
    rows = [t for t in data["tensors"] if any(t["profile"])]
    if not rows:
        return f"<p>No difference in any of {len(data['tensors'])} comparisons, at any time.</p>"
    figure, (axis,) = _figure(1, 1.2 + 0.22 * len(rows))
    values = np.array([t["profile"] for t in rows], float)
    with np.errstate(divide="ignore"):
        logarithm = np.where(values > 0, np.log10(values), np.nan)
    image = axis.imshow(logarithm, aspect="auto", cmap="magma", interpolation="nearest")
    axis.set_yticks(range(len(rows)), [f"{t['role']}: {t['name'][-48:]}" for t in rows], fontsize=6)
    axis.set_xlabel("time (parts of the recording)", fontsize=8)
    figure.colorbar(image, ax=axis, label="log10 of the largest difference")
    return "<p>Steps, or real units of floats. White: equal, or nothing compared.</p>" + _picture(figure)


def _cost(data: dict[str, Any]) -> str:
    cost = data["cost"]
    if cost is None:
        return "<p>not measured</p>"
    figure, (axis,) = _figure(1, 2.4)
    edges = [edge for edge, _ in cost["histogram"]]
    width = (cost["worst"] - edges[0]) / max(len(edges), 1) or 1.0
    axis.bar(edges, [n for _, n in cost["histogram"]], width=width * 0.95, align="edge")
    axis.set_xlabel(f"{cost['unit']} per frame", fontsize=8)
    if cost["deadline"] is not None:
        axis.axvline(cost["deadline"], color="#b3261e")
    axis.tick_params(labelsize=7)
    return f"<p>{html.escape(cost_sentence(data))}</p>" + _picture(figure)


def cost_sentence(data: dict[str, Any]) -> str:
    """Median, p99 and worst, and what they mean at the model's rate."""
    cost = data["cost"]
    if cost is None:
        return "cost: not measured"
    emulated = " (emulated; not cycles)" if cost["estimated"] else ""
    text = (
        f"{cost['unit']} per input frame{emulated}: median {cost['median']:,.0f}, p99 {cost['p99']:,.0f},"
        f" worst {cost['worst']:,.0f}"
    )
    if cost["rate_hz"] is None:
        return f"{text}; no deadline: neither model nor recording says the rate (--rate HZ)"
    if cost["deadline"] is None:
        what = "an emulator's time is no board's" if cost["clock_hz"] is None else "no clock is known (--clock MHZ)"
        return f"{text}; no deadline: {what}"
    clock = "" if cost["clock_hz"] is None else f" with {cost['clock_of']} at {cost['clock_hz'] / 1e6:g} MHz"
    share = f"the worst takes {cost['share']:.1%}"
    text += f"; the deadline of {cost['rate_hz']:g} Hz{clock} is {cost['deadline']:,.0f}"
    kept = cost["share"] <= 1
    if cost["estimated"]:
        text += f" cycles: {'would be kept' if kept else 'would be MISSED'}, {share}"
        return f"{text} (estimate: one cycle for each emulated instruction, no wait states)"
    return f"{text}: {'kept' if kept else 'MISSED'}, {share}"
