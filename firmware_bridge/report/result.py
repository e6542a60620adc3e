"""A check as plain data, from which a JUnit file and a page can be made at once or later."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import Any

from firmware_bridge.check.verdict import CheckReport, Trace
from firmware_bridge.errors import BridgeError

FORMAT = 3
_MOST_POINTS = 1500
_AROUND_FRAMES = 60


def to_json(report: CheckReport) -> dict[str, Any]:
    """Plain data; infinite numbers become null. Traces are thinned to some 1,500 frames, but near a difference."""
    data = {
        "format": FORMAT,
        "passed": report.passed,
        "verdict": report.verdict,
        **{k: v for k, v in asdict(report).items() if k not in ("signal", "traces", "stages")},
        "stages": [{**asdict(stage), "result": stage.result} for stage in report.stages],
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
