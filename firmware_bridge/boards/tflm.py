"""TensorFlow Lite Micro as an independent device: the PyPI package runs the exported streaming .tflite.

It takes whole hops and cannot end a signal. Every tensor of its graph can be read hop by hop, and what the graph
assigns to its resource variables is the stream's state: a snapshot. The package cannot write variables, so a snapshot
is restored by a new interpreter, on a file whose variables begin with it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from firmware_bridge.boards.board import BoardFacts, Cost, Pushed
from firmware_bridge.boards.program import Program
from firmware_bridge.errors import BridgeError, TargetError
from firmware_bridge.link.messages import Can, Stats
from firmware_bridge.link.session import LinkStats
from tcnstream.engines.interpreter.export import StreamingExport, export_streaming
from tcnstream.engines.native.snapshot import from_core, to_core
from tcnstream.engines.state import State
from tcnstream.tflite.graph import Array

ARENA_BYTES = 64 << 20
"""Memory for all tensors at once, which nothing reuses while they can be read."""


class TflmBoard:
    """Implements Board by ``tflite_micro.runtime.Interpreter``. ``hop_frames``: None takes the fewest."""

    can = Can.TAP | Can.SNAPSHOT
    log: tuple[tuple[str, str], ...] = ()

    def __init__(self, name: str, hop_frames: int | None = None) -> None:
        self.name = name
        self.link_stats = LinkStats()
        self._hop_frames = hop_frames
        self._micro: Any = import_micro()
        self._program: Program | None = None
        self._export: StreamingExport | None = None
        self._interpreter: Any = None
        self._tap: int | None = None

    @property
    def hop_frames(self) -> int:
        return self._exported().hop_frames

    @property
    def facts(self) -> BoardFacts:
        return BoardFacts("tflm", "tflite-micro", "TensorFlow Lite Micro", 0, "nanoseconds", 10**9, False)

    def start(self, program: Program) -> None:
        """Raises EngineError for a model that has no form with fixed shapes."""
        self._program = program
        self.reset()

    def reset(self) -> None:
        self._begin(State(self._running().plan))

    def _begin(self, state: State) -> None:
        """A new interpreter whose stream goes on from ``state``."""
        plan = self._running().plan
        export = self._export = export_streaming(plan, self._hop_frames, state)
        config = self._micro.runtime.InterpreterConfig.kPreserveAllTensors
        self._interpreter = self._micro.runtime.Interpreter.from_bytes(
            export.content, intrepreter_config=config, arena_size=ARENA_BYTES
        )
        self._waiting: list[list[Array]] = [[] for _ in plan.inputs]
        self._begun = state
        self._hops = self._first_hop = state.pushed_frames // export.hop_frames

    def push(self, chunks: Sequence[Array]) -> Pushed:
        program, export = self._running(), self._exported()
        for waiting, chunk in zip(self._waiting, chunks, strict=True):
            waiting.append(np.ascontiguousarray(chunk))
        ready = [np.concatenate(parts) for parts in self._waiting]
        hop = export.hop_frames
        outputs: list[list[Array]] = [[] for _ in program.plan.outputs]
        tapped: list[Array] = []
        costs = []
        tap_first = self._tap_first()
        for begin in range(0, len(ready[0]) - hop + 1, hop):
            started = time.perf_counter_ns()
            for k, frames in enumerate(ready):
                self._interpreter.set_input(frames[begin : begin + hop][None], k)
            self._interpreter.invoke()
            costs.append(Cost(hop, time.perf_counter_ns() - started))
            for k, parts in enumerate(outputs):
                y = np.array(self._interpreter.get_output(k))[0]
                parts.append(y[self._dropped(export.lag_frames[k], export.frames_per_hop[k]) :])
            if self._tap is not None:
                tapped.append(self._tapped(self._tap))
            self._hops += 1
        left = len(ready[0]) % hop
        self._waiting = [[frames[len(frames) - left :]] for frames in ready]
        shapes = program.plan.output_shapes
        types = [program.plan.tensors[o].dtype for o in program.plan.outputs]
        made = [
            np.concatenate([np.empty((0, *shape), dtype), *(y.reshape(-1, *shape) for y in parts)])
            for parts, shape, dtype in zip(outputs, shapes, types, strict=True)
        ]
        if self._tap is None:
            return Pushed(made, tuple(costs))
        fact = program.plan.tensors[self._tap]
        return Pushed(made, tuple(costs), np.concatenate([np.empty((0, *fact.shape), fact.dtype), *tapped]), tap_first)

    def _dropped(self, lag: int, per_hop: int) -> int:
        """Frames of this hop's output that stand for times before the signal."""
        return min(max(lag - self._hops * per_hop, 0), per_hop)

    def _tap_first(self) -> int:
        if self._tap is None:
            return 0
        place = self._exported().tensors[self._tap]
        return max(self._hops * place.frames_per_hop - place.lag_frames, 0)

    def _tapped(self, tensor: int) -> Array:
        place, fact = self._exported().tensors[tensor], self._running().plan.tensors[tensor]
        frames = np.array(self._interpreter.GetTensor(place.index, 0)["tensor_data"]).reshape(
            place.frames_per_hop, *fact.shape
        )
        made: Array = frames[self._dropped(place.lag_frames, place.frames_per_hop) :]
        return made

    def flush(self) -> Pushed:
        raise BridgeError(f"{self.name} cannot end a signal: the exported model has fixed shapes")

    def snapshot(self) -> bytes:
        """Raises BridgeError in the middle of a hop: what waits there was not computed yet."""
        if waiting := sum(len(part) for part in self._waiting[0]):
            raise BridgeError(
                f"{self.name} has a state after whole hops of {self.hop_frames} frames, and {waiting} frames wait for"
                " the rest of one; push that first"
            )
        return to_core(self._state(), self._running().facts)

    def _state(self) -> State:
        """What the graph assigned to its variables in the last hop, as far as anything will read it."""
        if self._hops == self._first_hop:
            return self._begun
        plan, export = self._running().plan, self._exported()

        def newest(i: int, n: int) -> Array:
            if not n:
                return np.empty((0, *plan.tensors[i].shape), plan.tensors[i].dtype)
            past = np.array(self._interpreter.GetTensor(export.remembered[i], 0)["tensor_data"])
            return past.reshape(-1, *plan.tensors[i].shape)[-n:]

        return State.resumed(plan, self._hops * export.hop_frames, ended=False, newest=newest)

    def restore(self, blob: bytes) -> None:
        """Raises EngineError for a snapshot that was not taken after whole hops."""
        program = self._running()
        self._begin(from_core(program.plan, program.facts, blob))

    def tap(self, tensor: int | None) -> None:
        self._tap = tensor

    def stats(self) -> Stats | None:
        return None

    def close(self) -> None:
        self._interpreter = None

    def _running(self) -> Program:
        if self._program is None:
            raise BridgeError(f"{self.name} has no program yet; call start(program) first")
        return self._program

    def _exported(self) -> StreamingExport:
        if self._export is None:
            raise BridgeError(f"{self.name} has no program yet; call start(program) first")
        return self._export


def import_micro() -> Any:
    """The package; TargetError where it is not installed."""
    try:
        import tflite_micro
    except ImportError as error:
        raise TargetError(
            "target tflm needs the package tflite-micro (Linux on x86-64): pip install tflite-micro"
        ) from error
    return tflite_micro
