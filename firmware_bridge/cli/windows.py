"""Targets that answer whole windows of the file: stock Ambiq firmware, and the unmodified file in TFLite Micro."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from firmware_bridge import report as pages
from firmware_bridge.cli.options import conclude
from firmware_bridge.compare import TensorReport, parse_tolerance
from firmware_bridge.neuralspot import check as check_stock
from firmware_bridge.neuralspot import is_stock, open_stock_target
from firmware_bridge.recordings import open_program
from firmware_bridge.tflm_file import check_file
from tcnstream.cli.common import progress_bar
from tcnstream.opened import OpenedModel
from tcnstream.tflite.graph import Array

_FILE_TARGETS = ("tflm?file", "tflm?file=1")


def takes_windows(target: str) -> bool:
    return is_stock(target) or target in _FILE_TARGETS


def check_windows(
    opened: OpenedModel, target: str, signal: Array, tolerance: str, rounding: str, junit: Path | None, json: bool
) -> None:
    """Compares window by window and says so; exit code 1 where they differ."""
    if not is_stock(target):
        program = open_program(opened.model, rounding=rounding)[1]
        file = check_file(program, signal, parse_tolerance(tolerance))
        _junit(junit, opened, target, file.tensors, file.verdict, file.first_difference)
        conclude(file, json)
        return
    stock = open_stock_target(target)
    try:
        with progress_bar("comparing") as progress:
            task = progress.add_task("")
            found = check_stock(
                opened.model,
                stock.port,
                signal,
                convention=stock.convention,
                framing=stock.framing,
                tolerance=tolerance,
                rounding=rounding,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    finally:
        stock.port.close()
    _junit(junit, opened, target, found.outputs, found.verdict, found.first_difference)
    conclude(found, json, (*found.notes, *found.faults))


def _junit(
    file: Path | None, opened: OpenedModel, target: str, tensors: tuple[TensorReport, ...], verdict: str, first: object
) -> None:
    """A case per tensor."""
    if file is None:
        return
    data = {
        "model": opened.path.name,
        "target": target,
        "verdict": verdict,
        "first_difference": None if first is None else asdict(first),  # type: ignore[call-overload]
        "stages": [{"name": f"{t.role} {t.name}", "passed": t.passed, "note": ""} for t in tensors],
    }
    file.write_text(pages.to_junit(data), encoding="utf-8")
