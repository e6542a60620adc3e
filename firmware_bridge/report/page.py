"""A check as one self-contained HTML page for people; it loads nothing from anywhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from firmware_bridge.check.cost import cost_sentence
from firmware_bridge.report import plots

Row = Sequence[str]

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c1b1f}"
    "h1,.verdict{overflow-wrap:anywhere}table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-size:13px}"
    "td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}"
    "td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}td{overflow-wrap:anywhere}td.w{white-space:nowrap}"
    "tr.bad td{background:#fbe9e7}tr.bad td:first-child{border-left:3px solid #b3261e}"
    ".verdict{color:#fff;padding:.8rem 1rem;border-radius:.4rem}.wide{overflow-x:auto}"
    "img{max-width:100%}pre{background:#f4f4f4;padding:1rem;overflow-x:auto}"
)


def to_html(data: dict[str, Any]) -> str:
    """The page for what ``report.to_json`` gives. Raises MissingExtraError for want of matplotlib."""
    colour = "#176f3d" if data["passed"] else "#b3261e"
    title = html.escape(f"{data['model']} on {data['target']}")
    parts = [
        f"<h1>{title}</h1><p class='verdict' style='background:{colour}'>{html.escape(data['verdict'])}</p>",
        _table(("what", "value"), _facts(data)),
        "<h2>Stages</h2>",
        _stages(data),
        _difference(data),
        "<h2>Outputs over the signal</h2>",
        plots.outputs(data),
        "<h2>Difference per tensor over time</h2>",
        plots.heat_map(data),
        "<h2>Tensors</h2>",
        _tensors(data),
        "<h2>Cost of an input frame</h2>",
        f"<p>{html.escape(cost_sentence(data['cost']))}</p>",
        "" if data["cost"] is None else plots.cost(data),
        _operations(data),
        "<h2>Memory of the board</h2>",
        _memory(data),
        "<h2>Link</h2>",
        _table(("what", "count"), [(k.replace("_", " "), f"{v:,}") for k, v in data["link"].items()], numbers=(1,)),
    ]
    if data["log"]:
        parts.append("<h2>Log of the firmware</h2><pre>" + html.escape("\n".join(data["log"])) + "</pre>")
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _table(
    head: Row, rows: Sequence[Row], numbers: Sequence[int] = (), bad: Sequence[int] = (), words: Sequence[int] = ()
) -> str:
    """``numbers`` are columns that stand right, ``words`` those that are never broken, ``bad`` rows that are marked."""

    def cells(tag: str, row: Row) -> str:
        classes = [" class='n'" if k in numbers else " class='w'" if k in words else "" for k in range(len(row))]
        return "".join(f"<{tag}{c}>{html.escape(cell)}</{tag}>" for c, cell in zip(classes, row, strict=True))

    marked = ["<tr class='bad'>" if k in bad else "<tr>" for k in range(len(rows))]
    body = "".join(f"{begin}{cells('td', row)}</tr>" for begin, row in zip(marked, rows, strict=True))
    return f"<div class='wide'><table><tr>{cells('th', head)}</tr>{body}</table></div>"


def _facts(data: dict[str, Any]) -> list[Row]:
    board, cost = data["board"], data["cost"]
    rate = f" at {cost['rate_hz']:g} Hz" if cost is not None and cost["rate_hz"] else ""
    source = f"{data['source']}: " if data["source"] else ""
    return [
        ("model", f"{data['model']}, sha-256 {data['model_sha256'][:16]}..."),
        ("recording", f"{source}{data['frames_in']:,} input frames{rate}, {data['chunks']} chunks"),
        ("target", f"{data['target']}: {board['target']}, firmware {board['build']}, core {board['core']}"),
        ("emulated", "yes: never run on silicon by this check" if board["emulated"] else "no"),
        ("host", f"{data['engine']} engine, {data['rounding']} rounding"),
        ("tolerance", data["tolerance"]),
    ]


def _operations(data: dict[str, Any]) -> str:
    if not (operations := data["operations"]):
        return ""
    unit = data["cost"]["unit"] if data["cost"] else "ticks"
    emulated = " (emulated; not cycles)" if unit == "instructions" else ""
    return f"<h3>By operation, in {unit} per input frame{emulated}</h3>" + _table(
        ("operation", "kind", unit, "share"),
        [(o["operation"], o["kind"], f"{o['per_frame']:,.1f}", f"{o['share']:.1%}") for o in operations],
        numbers=(2, 3),
    )


def _count(n: int) -> str:
    return f"{n:,}" if n else ""


def _stages(data: dict[str, Any]) -> str:
    stages = data["stages"]
    return _table(
        ("stage", "result", "output frames", "states", "note"),
        [(s["name"], s["result"], _count(s["frames"]), _count(s["states"]), s["note"]) for s in stages],
        numbers=(2, 3),
        bad=[k for k, s in enumerate(stages) if not s["passed"]],
    )


def _difference(data: dict[str, Any]) -> str:
    if (d := data["first_difference"]) is None:
        return ""
    rows = [
        ("operation", d["operation"]),
        ("tensor", d["tensor"]),
        ("frame", f"{d['frame']} of this tensor, element {d['element']}"),
        ("host, board", f"{d['expected']:g}, {d['got']:g} (difference {d['got'] - d['expected']:g})"),
        ("cause", d["cause"] or "none that is known"),
        ("found with", f"{d['probes']} taps"),
    ]
    return (
        "<h2>First difference</h2>"
        + _table(("what", "value"), rows)
        + "<h3>The inputs that produced it, equal on both sides</h3>"
        + "".join(_operand(operand) for operand in d["inputs"])
    )


def _operand(operand: dict[str, Any]) -> str:
    cut = " (shortened)" if operand["shortened"] else ""
    lines = (
        f"frame {operand['first_frame'] + k}:  " + " ".join(f"{v:g}" for v in row)
        for k, row in enumerate(operand["values"])
    )
    return f"<p>{html.escape(operand['tensor'])}{cut}:</p><pre>{html.escape(chr(10).join(lines))}</pre>"


def _tensors(data: dict[str, Any]) -> str:
    """Those that differ first, marked; each in the order of execution. The whole names stand below the table."""
    tensors = sorted(data["tensors"], key=lambda t: t["equal"] == t["frames"])
    table = _table(
        ("tensor", "role", "made by", "frames", "different", "steps", "largest", "RMSE", "MAE", "SNR dB", "cosine"),
        [_tensor_row(t) for t in tensors],
        numbers=range(3, 11),
        words=(1, 2),
        bad=[k for k, t in enumerate(tensors) if t["equal"] < t["frames"]],
    )
    pairs = dict.fromkeys((plots.short(t["name"]), t["name"]) for t in tensors)
    names = [(short, whole) for short, whole in pairs if short != whole]
    if not names:
        return table
    return f"{table}<details><summary>whole names</summary>{_table(('short', 'whole'), names)}</details>"


def _tensor_row(t: dict[str, Any]) -> Row:
    return (
        plots.short(t["name"]),
        t["role"],
        t["operation"].split(", `")[0] + (")" if ", `" in t["operation"] else ""),
        f"{t['frames']:,}",
        _count(t["frames"] - t["equal"]) or "0",
        "" if t["largest_steps"] is None else f"{t['largest_steps']:,}",
        f"{t['largest']:.3g}",
        f"{t['rmse']:.3g}",
        f"{t['mae']:.3g}",
        "inf" if t["snr_db"] is None else f"{t['snr_db']:.1f}",
        f"{t['cosine']:.6f}",
    )


def _memory(data: dict[str, Any]) -> str:
    m = data["memory"]
    if m is None:
        return "<p>This target does not tell.</p>"
    rows = [
        ("plan (flash, or RAM where it came over the link)", f"{data['plan_bytes']:,}"),
        ("state of the stream (RAM)", f"{m['state_bytes']:,}"),
        ("scratch of the core (RAM)", f"{m['scratch_bytes']:,}"),
        ("snapshot", f"{m['snapshot_bytes']:,}"),
    ]
    if m["stack_bytes"]:
        rows.append(("stack, high-water mark of what there is", f"{m['stack_used_bytes']:,} of {m['stack_bytes']:,}"))
    rows += [(f"{k} (count)", f"{m[k]:,}") for k in ("damaged", "repeated", "gaps", "overruns") if m[k]]
    return _table(("what", "bytes"), rows, numbers=(1,))
