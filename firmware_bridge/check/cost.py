"""What an input frame costs on a board, against the time that the model's rate leaves for it.

A board counts cycles, and its HELLO says its clock. An emulated board counts instructions, which say nothing about
time by themselves: they are set against the cycles of a chip with the same core, as an estimate that is marked as
one, since one instruction a cycle is the best case of a Cortex-M4F and wait states are not emulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firmware_bridge.boards.board import BoardFacts, Cost
from firmware_bridge.boards.table import BOARDS
from tcnstream.engines.native.planfile.facts import NodeFacts

_MOST_BARS = 40


@dataclass(frozen=True)
class CostReport:
    """Cost of one input frame in ``unit``, over all pushes; a push of n frames counts as n of its mean.

    A model with strides works once in ``step_frames`` input frames, so pushes are taken together until they have as
    many: a frame that completes a step has the time of all of them.

    ``deadline`` is what one frame may cost at ``rate_hz``, in the same unit; ``share`` the worst frame's part of
    it, above 1 if it is missed. Both are None where rate or clock is unknown. ``clock_hz`` is the clock behind a
    deadline in cycles or instructions, ``clock_of`` whose. ``estimated``: instructions were set against cycles, one
    for one.
    """

    unit: str
    step_frames: int
    frames: int
    median: float
    p99: float
    worst: float
    rate_hz: float | None
    deadline: float | None
    share: float | None
    clock_hz: float | None
    clock_of: str
    estimated: bool
    histogram: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class OperationCost:
    """What an operation takes for an input frame, in the unit of the CostReport, and its part of all operations."""

    operation: str
    kind: str
    per_frame: float
    share: float


def operation_costs(
    facts: BoardFacts, nodes: Sequence[NodeFacts], ticks: Sequence[int], frames: int
) -> tuple[OperationCost, ...]:
    """By the counter's sums over ``frames`` input frames; reading the counter is counted as well."""
    units = [facts.units(n) for n in ticks]
    whole = max(1.0, sum(units))
    return tuple(
        OperationCost(node.label, node.kind, unit / frames, unit / whole)
        for node, unit in zip(nodes, units, strict=True)
    )


def cost_report(
    facts: BoardFacts,
    costs: Sequence[Cost],
    rate_hz: float | None,
    clock_hz: float | None = None,
    step_frames: int = 1,
) -> CostReport | None:
    """``rate_hz`` is the model's input rate; ``clock_hz`` replaces the clock that the board or the table says."""
    costs = _in_steps(costs, step_frames)
    if not costs:
        return None
    unit = facts.ticks
    per_frame = np.array([facts.units(cost.ticks) / cost.frames for cost in costs])
    weights = np.array([cost.frames for cost in costs])
    order = np.argsort(per_frame)
    reached = np.cumsum(weights[order]) / weights.sum()

    def quantile(q: float) -> float:
        return float(per_frame[order][min(int(np.searchsorted(reached, q)), len(order) - 1)])

    clock_of, clock = _clock(facts, clock_hz)
    deadline = clock / rate_hz if rate_hz and clock else None
    worst = float(per_frame.max())
    counted, edges = np.histogram(per_frame, bins=min(_MOST_BARS, max(1, len(np.unique(per_frame)))), weights=weights)
    return CostReport(
        unit=unit,
        step_frames=step_frames,
        frames=int(weights.sum()),
        median=quantile(0.5),
        p99=quantile(0.99),
        worst=worst,
        rate_hz=rate_hz,
        deadline=deadline,
        share=None if deadline is None else worst / deadline,
        clock_hz=None if unit == "nanoseconds" else clock,
        clock_of=clock_of,
        estimated=unit == "instructions",
        histogram=tuple((float(edge), int(n)) for edge, n in zip(edges, counted, strict=False)),
    )


def _in_steps(costs: Sequence[Cost], step_frames: int) -> list[Cost]:
    """Consecutive pushes taken together until they have a step's frames; what is left at the end goes to the last."""
    steps: list[Cost] = []
    frames = ticks = 0
    for cost in costs:
        frames, ticks = frames + cost.frames, ticks + cost.ticks
        if frames >= step_frames:
            steps.append(Cost(frames, ticks))
            frames = ticks = 0
    if frames:
        last = steps.pop() if steps else Cost(0, 0)
        steps.append(Cost(last.frames + frames, last.ticks + ticks))
    return steps


def _clock(facts: BoardFacts, given_hz: float | None) -> tuple[str, float | None]:
    """Whose clock, and how many of the board's units pass in a second; None where nobody knows."""
    if facts.ticks == "nanoseconds":
        # An emulator's own time is not that of any board.
        return "", None if facts.emulated else 1e9
    if facts.ticks == "cycles":
        return ("the clock given", given_hz) if given_hz else ("the board's clock", float(facts.clock_hz) or None)
    board = BOARDS.get(facts.target)
    chip = board.estimate if board is not None else None
    return ("a chip", given_hz) if chip is None else (chip.name, given_hz or chip.clock_hz)


def cost_sentence(cost: dict[str, Any] | None) -> str:
    """Median, p99 and worst, and what they mean at the model's rate; ``cost`` is a CostReport as plain data."""
    if cost is None:
        return "cost: not measured"
    emulated = " (emulated; not cycles)" if cost["estimated"] else ""
    steps = f", in steps of {cost['step_frames']} frames" if cost["step_frames"] > 1 else ""
    text = (
        f"{cost['unit']} per input frame{steps}{emulated}: median {cost['median']:,.0f}, p99 {cost['p99']:,.0f},"
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
