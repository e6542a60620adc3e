"""What a check found: stages, tensors, the first difference, and one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field

from firmware_bridge.boards.board import BoardFacts
from firmware_bridge.check.compare import TensorReport
from firmware_bridge.check.cost import CostReport, OperationCost
from firmware_bridge.check.locate import Difference
from firmware_bridge.link.messages import Stats
from firmware_bridge.link.session import LinkStats
from tcnstream.tflite.graph import Array

NOT_COMPARED = "not compared"
"""How the note of a stage begins that a target cannot take part in."""


@dataclass(frozen=True)
class Stage:
    """One part of a check; ``frames`` are output frames compared, ``states`` snapshots compared."""

    name: str
    passed: bool
    frames: int
    states: int = 0
    note: str = ""

    @property
    def result(self) -> str:
        """For a table."""
        return "not compared" if self.note.startswith(NOT_COMPARED) else "equal" if self.passed else "DIFFERENT"


@dataclass(frozen=True)
class Trace:
    """Both sides' frames of one output over the first stream, (frames, elements) in real units, for a picture."""

    name: str
    host: Array
    board: Array


@dataclass(frozen=True)
class CheckReport:
    """What was compared and what came of it; ``passed`` only if every stage did."""

    target: str
    board: BoardFacts
    model: str
    model_sha256: str
    rounding: str
    engine: str
    tolerance: str
    chunks: str
    taps: str
    frames_in: int
    stages: tuple[Stage, ...]
    tensors: tuple[TensorReport, ...]
    first_difference: Difference | None
    cost: CostReport | None
    link: LinkStats
    memory: Stats | None
    plan_bytes: int
    operations: tuple[OperationCost, ...] = ()
    source: str = ""
    log: tuple[str, ...] = ()
    signal: Trace | None = field(default=None, repr=False)
    traces: tuple[Trace, ...] = field(default=(), repr=False)

    @property
    def passed(self) -> bool:
        return all(stage.passed for stage in self.stages)

    @property
    def verdict(self) -> str:
        """One sentence."""
        frames = sum(stage.frames for stage in self.stages)
        if self.passed:
            compared = sum(stage.states for stage in self.stages)
            return (
                f"EQUAL: {self.target} computes what the host computes: {frames:,} output frames and {compared:,}"
                f" states compared, tolerance {self.tolerance}"
            )
        failed = "; ".join(stage.name for stage in self.stages if not stage.passed)
        if (d := self.first_difference) is None:
            return f"DIFFERENT in: {failed}. No operation differs when it is run again with a tap on it"
        cause = f"; {d.cause}" if d.cause else ""
        return (
            f"DIFFERENT: first at frame {d.frame} of {d.operation}: expected {d.expected:g}, got {d.got:g}{cause}."
            f" Different in: {failed}"
        )
