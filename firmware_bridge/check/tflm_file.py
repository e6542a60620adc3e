"""The unmodified file in TensorFlow Lite Micro, window by window: which operation computes something else, and why.

``tflm`` runs the streaming export, which has none of the operations that TFLite Micro gets wrong. Firmware that runs
the file itself does, and this says where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from firmware_bridge.boards.program import Program, as_inputs
from firmware_bridge.boards.tflm import ARENA_BYTES, import_micro
from firmware_bridge.check.compare import Tally, TensorReport, Tolerance, flat
from firmware_bridge.check.locate import kind_in_file, named, producers
from firmware_bridge.errors import BridgeError
from tcnstream.tflite.graph import Array

_MOST_WINDOWS = 8


@dataclass(frozen=True)
class FileDifference:
    """The first operation in the order of execution that differs; ``frame`` counts from the start of the window."""

    window: int
    frame: int
    operation: str
    index: int
    tensor: str
    expected: float
    got: float
    cause: str


@dataclass(frozen=True)
class FileReport:
    """What came of it; ``passed``: there are frames that both sides have, and all of them agree in every window."""

    windows: int
    tolerance: str
    tensors: tuple[TensorReport, ...]
    first_difference: FileDifference | None

    @property
    def passed(self) -> bool:
        return any(tensor.frames for tensor in self.tensors) and all(tensor.passed for tensor in self.tensors)

    @property
    def verdict(self) -> str:
        """One sentence."""
        frames = sum(tensor.frames for tensor in self.tensors)
        if not frames:
            return "NOTHING COMPARED: TFLite Micro gives no tensor with the shape that the host computes"
        if (d := self.first_difference) is None:
            return f"EQUAL: TFLite Micro runs the file as it should: {frames:,} frames of {len(self.tensors)} tensors"
        cause = f"; {d.cause}" if d.cause else ""
        return (
            f"DIFFERENT: first at frame {d.frame} of {d.operation}, window {d.window}: expected {d.expected:g}, got"
            f" {d.got:g}{cause}"
        )


def check_file(
    program: Program,
    signal: Array,
    tolerance: Tolerance | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FileReport:
    """The model's own .tflite in TFLite Micro on up to 8 windows of ``signal``, every tensor against the host.

    ``progress`` is called with (windows done, windows in all).

    Raises TargetError without tflite-micro, BridgeError for a signal shorter than the window or a model that
    TFLite Micro cannot run.
    """
    tolerance = tolerance or Tolerance()
    inputs = as_inputs(program, signal)
    size = program.model.window_frames
    if len(inputs[0]) < size:
        raise BridgeError(f"the file's window has {size} frames and the recording {len(inputs[0])}; give a longer one")
    made = producers(program)
    tallies = {
        i: Tally(program.plan.tensors[i], "tensor", named(program.plan.nodes[made[i]]), tolerance, size)
        for i in _comparable(program)
    }
    if not tallies:
        raise BridgeError("no tensor of the file has its frames in the order of the plan, so nothing can be compared")
    first: FileDifference | None = None
    windows = min(_MOST_WINDOWS, len(inputs[0]) // size)
    for window in range(windows):
        part = [x[window * size : (window + 1) * size] for x in inputs]
        ours = program.all_frames(list(tallies), part)
        for i, theirs in _run(program, part, ours):
            same = tallies[i].add(ours[i], theirs, 0)
            if not same and first is None:
                first = _first(program, window, i, ours[i], theirs, tolerance)
        if progress is not None:
            progress(window + 1, windows)
    return FileReport(windows, str(tolerance), tuple(t.report() for t in tallies.values()), first)


def _file_tensors(program: Program) -> dict[int, int]:
    """Tensor of the plan -> tensor of the file with the same frames in the same order."""
    graph, file = program.model.graph, program.model.file
    by_name = {tensor.name: i for i, tensor in enumerate(graph.tensors)}
    by_name |= {file.name_of(i): i for i in (*graph.inputs, *graph.outputs)}
    # Between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND frames stand in another order; behind the latter they do not.
    restored = {op.inputs[0]: op.outputs[0] for op in graph.ops if op.kind == "BATCH_TO_SPACE_ND"}
    found = {}
    for i in program.streams():
        if (place := by_name.get(program.plan.tensors[i].name)) is not None:
            found[i] = restored.get(place, place)
    return found


def _comparable(program: Program) -> list[int]:
    places = _file_tensors(program)
    return [i for i in program.streams() if i in places and i not in program.plan.inputs]


def _run(program: Program, window: list[Array], ours: dict[int, Array]) -> Iterator[tuple[int, Array]]:
    micro: Any = import_micro()
    graph = program.model.graph
    try:
        interpreter = micro.runtime.Interpreter.from_bytes(
            program.model.file.content,
            arena_size=ARENA_BYTES,
            intrepreter_config=micro.runtime.InterpreterConfig.kPreserveAllTensors,
        )
        for k, (i, x, axis) in enumerate(zip(graph.inputs, window, program.model.plan.input_axes, strict=True)):
            shape = graph.tensors[i].shape
            interpreter.set_input(np.ascontiguousarray(np.moveaxis(x, 0, max((axis or 0) - 1, 0))).reshape(shape), k)
        interpreter.invoke()
    except RuntimeError as error:
        raise BridgeError(
            f"TFLite Micro cannot run this file: {error}; compare the streaming export (target tflm)"
        ) from error
    places = _file_tensors(program)
    for i in ours:
        theirs = np.array(interpreter.GetTensor(places[i], 0)["tensor_data"])
        if theirs.size == ours[i].size:
            yield i, theirs.reshape(ours[i].shape)


def _first(program: Program, window: int, i: int, ours: Array, theirs: Array, tolerance: Tolerance) -> FileDifference:
    fact, node = program.plan.tensors[i], program.plan.nodes[producers(program)[i]]
    a, b = flat(ours), flat(theirs)
    frame, element = (int(v) for v in np.argwhere(~tolerance.agrees(fact, a, b))[0])
    return FileDifference(
        window,
        frame,
        named(node),
        node.index,
        fact.name,
        float(a[frame, element]),
        float(b[frame, element]),
        _cause(program, node.index, kind_in_file(node)),
    )


def _cause(program: Program, index: int, kind: str) -> str:
    graph = program.model.graph
    made_by = {o: op.kind for op in graph.ops for o in op.outputs}
    if 0 <= index < len(graph.ops) and made_by.get(graph.ops[index].inputs[0]) == "SPACE_TO_BATCH_ND":
        return (
            "TFLite Micro computes what stands between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND wrongly in this file"
            " (branches); deploy the streaming export or the C core, which have neither"
        )
    if kind == "FULLY_CONNECTED" and program.rounding == "litert":
        return "TFLite Micro rounds FULLY_CONNECTED twice where LiteRT rounds once; compare with --rounding tflm"
    return ""
