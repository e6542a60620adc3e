"""Which operation differs first: bisection over taps, and the inputs that produced it.

An operation is at fault when what it reads agrees on both sides and what it makes does not. Starting from a
tensor that differs, the tensors it was made from are searched by halves: each probe runs the board
again over the same chunks with one tensor tapped. A tensor that agrees shields all that is behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from firmware_bridge.boards.program import Program
from firmware_bridge.check.compare import Tolerance, flat
from tcnstream.compiler.plan import Node
from tcnstream.compiler.timing import first_read, last_read
from tcnstream.tflite.graph import Array

_SHOWN_FRAMES = 64
_SHOWN_VALUES = 512


@dataclass(frozen=True)
class OperandValues:
    """What an operation read, on both sides: ``values`` (frames, elements) of a tensor from ``first_frame`` on."""

    tensor: str
    first_frame: int
    values: tuple[tuple[float, ...], ...]
    shortened: bool


@dataclass(frozen=True)
class Difference:
    """The first difference: ``frame`` counts frames of ``tensor``, ``element`` is the index in a flat frame.

    ``operation`` is "KIND (op N, `label`)"; ``index`` is N, its position in the model file, ``node`` that in the
    plan, -1 where no operation is at fault. ``cause`` names the difference if it is a known one.
    """

    tensor: str
    operation: str
    index: int
    node: int
    frame: int
    element: int
    expected: float
    got: float
    inputs: tuple[OperandValues, ...]
    probes: int
    cause: str = ""


@dataclass(frozen=True)
class Tapped:
    """Frames of one tensor on the board, from number ``first_frame`` of the stream on."""

    first_frame: int
    frames: Array


def producers(program: Program) -> dict[int, int]:
    """Tensor -> the node of the plan that makes it."""
    return {o: k for k, node in enumerate(program.plan.nodes) for o in node.outputs}


def kind_in_file(node: Node) -> str:
    """What the model file calls it: the plan says means as sums, and dense layers over time as convolutions."""
    return node.kind_in_file


def named(node: Node) -> str:
    return f"{kind_in_file(node)} (op {node.index}, `{node.label}`)"


def locate(
    program: Program,
    start: int,
    inputs: Sequence[Array],
    flushed: bool,
    replay: Callable[[int], Tapped],
    tolerance: Tolerance,
) -> Difference | None:
    """The first operation that differs, going back from tensor ``start``; None if on repetition nothing differs.

    ``inputs`` is the signal that ``replay`` streams, from the start of the stream; ``replay(tensor)`` gives the board's
    frames of that tensor.
    """
    maker = producers(program)
    probes = 0

    @cache
    def first_wrong(tensor: int) -> tuple[int, Array, Array] | None:
        """(frame, expected, got) where both sides first part."""
        nonlocal probes
        probes += 1
        tapped = replay(tensor)
        ours = program.all_frames([tensor], inputs, flush=flushed)[tensor]
        n = min(len(tapped.frames), max(len(ours) - tapped.first_frame, 0))
        a = flat(ours[tapped.first_frame : tapped.first_frame + n])
        b = flat(tapped.frames[:n])
        wrong = np.flatnonzero(~tolerance.agrees(program.plan.tensors[tensor], a, b).all(axis=1))
        if not len(wrong):
            return None
        return tapped.first_frame + int(wrong[0]), a[wrong[0]], b[wrong[0]]

    if start in program.plan.inputs or first_wrong(start) is None:
        return None
    order = {tensor: k for k, tensor in enumerate(program.streams())}
    at, agreeing = start, set(program.plan.inputs)
    while open_tensors := _behind(program, at, agreeing, maker):
        probe = sorted(open_tensors, key=order.__getitem__)[len(open_tensors) // 2]
        if first_wrong(probe) is None:
            agreeing.add(probe)
        else:
            at = probe
    found = first_wrong(at)
    assert found is not None
    return _describe(program, at, maker[at], found, inputs, flushed, tolerance, probes)


def _behind(program: Program, tensor: int, agreeing: set[int], maker: dict[int, int]) -> set[int]:
    """Tensors that ``tensor`` was made from, as far as no agreeing one lies between."""
    found: set[int] = set()
    waiting = [tensor]
    while waiting:
        node = maker.get(waiting.pop())
        for source in () if node is None else program.plan.sources[node]:
            if source not in agreeing and source not in found:
                found.add(source)
                waiting.append(source)
    return found


def _describe(
    program: Program,
    tensor: int,
    k: int,
    found: tuple[int, Array, Array],
    inputs: Sequence[Array],
    flushed: bool,
    tolerance: Tolerance,
    probes: int,
) -> Difference:
    frame, expected, got = found
    fact, node = program.plan.tensors[tensor], program.plan.nodes[k]
    element = int(np.flatnonzero(~tolerance.agrees(fact, expected, got))[0])
    read = program.all_frames(program.plan.sources[k], inputs, flush=flushed)
    operands = []
    for source in dict.fromkeys(program.plan.sources[k]):
        begin, end = max(first_read(node.window, frame), 0), last_read(node.window, frame) + 1
        frames = read[source][begin : max(end, begin + 1)]
        rows = flat(frames)
        shown = rows[-_SHOWN_FRAMES:, :_SHOWN_VALUES]
        operands.append(
            OperandValues(
                program.plan.tensors[source].name,
                begin + len(rows) - len(shown),
                tuple(tuple(float(v) for v in row) for row in shown),
                shown.shape != rows.shape,
            )
        )
    return Difference(
        tensor=fact.name,
        operation=named(node),
        index=node.index,
        node=k,
        frame=frame,
        element=element,
        expected=float(expected[element]),
        got=float(got[element]),
        inputs=tuple(operands),
        probes=probes,
        cause=_known_cause(program, tensor, k, frame, got, inputs, flushed),
    )


def _known_cause(
    program: Program, tensor: int, k: int, frame: int, got: Array, inputs: Sequence[Array], flushed: bool
) -> str:
    """The name of a difference that is known, where the board's numbers are exactly those that it gives."""
    node = program.plan.nodes[k]
    if kind_in_file(node) == "FULLY_CONNECTED" and program.plan.tensors[tensor].dtype.kind == "i":
        other = "tflm" if program.rounding == "litert" else "litert"
        twin = Program(program.model, program.plan, b"", other)
        # What it reads agrees on both sides, so only this operation's own rounding may be changed.
        theirs = twin.one_node(k, tensor, inputs, flushed, program)
        if frame < len(theirs) and np.array_equal(theirs[frame].reshape(-1), got):
            names = {"tflm": "TensorFlow Lite Micro", "litert": "LiteRT"}
            twice = "twice" if other == "tflm" else "once"
            return (
                f"the rounding of FULLY_CONNECTED: {names[other]} rounds {twice} where {names[program.rounding]} does"
                f" not; compare with --rounding {other}"
            )
    return ""
