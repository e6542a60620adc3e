"""Targets that answer whole windows of the file: stock Ambiq firmware, and the unmodified file in TFLite Micro."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from firmware_bridge.check.tflm_file import FileReport
from firmware_bridge.cli.options import conclude, written_behind
from firmware_bridge.neuralspot import NeuralSpotReport
from firmware_bridge.report.junit import Case, to_junit
from firmware_bridge.targets import Target, check_windows
from tcnstream.cli.show import progress_bar
from tcnstream.opened import OpenedModel
from tcnstream.tflite.graph import Array


def compare_windows(
    opened: OpenedModel, target: Target, signal: Array, tolerance: str, rounding: str, junit: Path | None, json: bool
) -> None:
    """Compares window by window and says so; exit code 1 where they differ."""
    with progress_bar("comparing") as progress:
        task = progress.add_task("")
        found = check_windows(
            target,
            opened.model,
            signal,
            tolerance=tolerance,
            rounding=rounding,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    remarks = (*found.notes, *found.faults) if isinstance(found, NeuralSpotReport) else ()
    with written_behind((junit, lambda: _junit(opened, target, found))):
        conclude(found, json, remarks)


def _junit(opened: OpenedModel, target: Target, found: NeuralSpotReport | FileReport) -> str:
    """A case per tensor."""
    tensors = found.tensors if isinstance(found, FileReport) else found.outputs
    first = None if found.first_difference is None else asdict(found.first_difference)
    cases = [Case(f"{t.role} {t.name}", t.passed) for t in tensors]
    return to_junit(opened.path.name, target.text, cases, found.verdict, first)
