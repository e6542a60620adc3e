"""Model: a .tflite file that is ready to stream, and what can be said about it before it runs."""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tcnstream.compiler.alignment import alignments
from tcnstream.compiler.lower import lower
from tcnstream.compiler.normalise import is_dynamic_range, normalise
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.policies import apply_policy, global_nodes, parse_policy
from tcnstream.compiler.timing import remembered_frames, timings
from tcnstream.engines.base import ENGINES, ROUNDINGS, Executor, make_executor
from tcnstream.engines.native.planfile import lacking, write_plan
from tcnstream.errors import EngineError, ModelError, StreamError, TcnStreamError
from tcnstream.spec import TensorSpec
from tcnstream.stream import Pool, Stream, as_frames
from tcnstream.tflite.graph import Array, Graph, ModelFile, Shape
from tcnstream.tflite.reader import read_model

if TYPE_CHECKING:
    from tcnstream.engines.interpreter.stateful import StatefulModel

_Made = TypeVar("_Made")


@dataclass(frozen=True, eq=False)
class Row:
    """One operation as ``inspect`` shows it; counts are per input frame unless named otherwise."""

    index: int
    label: str
    kind: str
    out_shape: Shape
    dtype: str
    rate: Fraction
    delay_frames: int
    receptive_field_frames: int | None
    state_bytes: int
    macs_per_frame: float


class Model:
    """A model that can be streamed; made by ``load``. Holds nothing of any stream.

    ``inputs`` and ``outputs`` are TensorSpecs, ``delay`` and ``receptive_field`` count input frames (the
    largest over the outputs; receptive_field is None under a cumulative policy), ``state_bytes`` is
    what one stream must remember, ``macs_per_frame`` the multiply-adds per input frame.
    """

    def __init__(self, file: ModelFile, time_axis: int | None = None) -> None:
        self.file = file
        self.time_axis = time_axis
        self._stateful = _checked(file, _stateful, time_axis) if file.is_stateful else None
        self.plan = _checked(file, _lowered, time_axis) if self._stateful is None else self._stateful.plan
        self._timings = facts = timings(self.plan)
        places = alignments(self.plan)

        def spec(i: int, shape: Shape) -> TensorSpec:
            tensor, timing, offset = self.plan.tensors[i], facts[i], places[i]
            assert timing is not None and offset is not None
            return TensorSpec(tensor.name, shape, tensor.dtype, tensor.quantization, timing.rate, timing.delay, offset)

        self.inputs = tuple(spec(i, self.plan.tensors[i].shape) for i in self.plan.inputs)
        self.outputs = tuple(
            spec(o, shape) for o, shape in zip(self.plan.outputs, self.plan.output_shapes, strict=True)
        )
        ends = [t for o in self.plan.outputs if (t := facts[o]) is not None]
        self.delay = max(t.delay for t in ends)
        fields = [t.receptive_field for t in ends]
        self.receptive_field = None if None in fields else max(f for f in fields if f is not None)
        self.window_frames = self.plan.window_frames
        # What an executor has compiled serves all streams of one kind.
        self._executors: dict[tuple[str, str, bool, str], Executor] = {}

    @property
    def graph(self) -> Graph:
        """The file's main subgraph, as read."""
        return self.file.graphs[0]

    @property
    def is_dynamic_range(self) -> bool:
        """Whether TFLite would quantize activations by the whole window's range; streamed in float instead."""
        return is_dynamic_range(self.graph)

    @property
    def is_stateful(self) -> bool:
        """Whether the file brings its own state in resource variables; it runs as it is, hop by hop."""
        return self._stateful is not None

    @property
    def needs_time_pooling(self) -> bool:
        """Whether an operation needs all of time, so that ``stream`` asks for a policy."""
        return bool(global_nodes(self.plan))

    @cached_property
    def state_bytes(self) -> int:
        own = 0 if self._stateful is None else self._stateful.state_bytes
        return own + sum(row.state_bytes for row in self.rows())

    @cached_property
    def macs_per_frame(self) -> float:
        return sum(row.macs_per_frame for row in self.rows())

    def rows(self) -> list[Row]:
        """One row per input and per operation, in order; a queue counts where its tensor is made."""
        plan, facts, kept = self.plan, self._timings, remembered_frames(self.plan)
        rows = []
        made: list[tuple[Node | None, tuple[int, ...]]] = [(None, (i,)) for i in plan.inputs]
        made += [(node, node.outputs) for node in plan.nodes]
        for node, outputs in made:
            tensor, timing = plan.tensors[outputs[0]], facts[outputs[0]]
            assert timing is not None
            queued = sum(kept[o] * math.prod(plan.tensors[o].shape) * plan.tensors[o].dtype.itemsize for o in outputs)
            rows.append(
                Row(
                    index=-1 if node is None else node.index,
                    label=tensor.name if node is None else node.label,
                    kind="INPUT" if node is None else str(node.options.get("reduce", node.kind)),
                    out_shape=tensor.shape,
                    dtype=str(tensor.dtype),
                    rate=timing.rate,
                    delay_frames=timing.delay,
                    receptive_field_frames=timing.receptive_field,
                    state_bytes=queued,
                    macs_per_frame=0.0 if node is None else float(_macs(plan, node) * timing.rate),
                )
            )
        return rows

    def summary(self) -> str:
        """A row per operation (rate, delay, receptive field, state, cost) and the totals, as text."""
        head = ("op", "kind", "label", "frame", "dtype", "rate", "delay", "field", "state B", "MACs")
        table = [head]
        for r in self.rows():
            field = "all" if r.receptive_field_frames is None else str(r.receptive_field_frames)
            table.append(
                (
                    "" if r.index < 0 else str(r.index),
                    r.kind,
                    r.label if len(r.label) <= 40 else "..." + r.label[-37:],
                    "x".join(map(str, r.out_shape)),
                    r.dtype,
                    str(r.rate),
                    str(r.delay_frames),
                    field,
                    str(r.state_bytes),
                    f"{r.macs_per_frame:.12g}",
                )
            )
        widths = [max(len(row[k]) for row in table) for k in range(len(head))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
        field = "all of the past" if self.receptive_field is None else f"{self.receptive_field} frames"
        lines.append(
            f"total: delay {self.delay} frames, receptive field {field}, state {self.state_bytes} bytes,"
            f" {self.macs_per_frame:.12g} multiply-adds per input frame"
        )
        if self.needs_time_pooling:
            names = ", ".join(f"`{n.options['reduce']}` (op {n.index})" for n in global_nodes(self.plan))
            lines.append(f"needs time_pooling=: {names} run over all of time")
        if self.is_dynamic_range:
            lines.append("dynamic-range weights: streamed with float activations; `verify` reports the distance")
        return "\n".join(lines)

    def stream(
        self,
        engine: str = "auto",
        time_pooling: str | None = None,
        calibration: Array | Sequence[Array] | None = None,
        exact: bool = True,
        rounding: str = "litert",
        rate_hz: float | None = None,
    ) -> Stream:
        """A new stream at its start.

        ``engine``: "auto" (the fastest that has all operations), "native", "interpreter" or "reference".
        ``time_pooling``: the policy for operations over all of time, "trailing", "trailing:FRAMES",
        "cumulative" or "frozen" (which measures on ``calibration``, (frames, *frame_shape)).
        ``exact=False`` lets the interpreter engine use TFLite's fast kernels.
        ``rounding``: "litert", or "tflm" for what a board with TFLite Micro computes (its FULLY_CONNECTED
        rounds twice); the interpreter engine has only "litert".
        ``rate_hz``: the input's sample rate, for ``Stream.times``.
        Raises NotStreamableError without a policy where one is needed, EngineError where the engine
        lacks an operation or is not installed, StreamError for an unknown policy, engine or rounding.
        """
        executor, identity = self._executor(engine, time_pooling, calibration, exact, rounding)
        return Stream(executor, self.inputs, self.outputs, identity, rate_hz)

    def pool(
        self,
        lanes: int,
        engine: str = "auto",
        time_pooling: str | None = None,
        calibration: Array | Sequence[Array] | None = None,
        exact: bool = True,
        rounding: str = "litert",
        rate_hz: float | None = None,
    ) -> Pool:
        """``lanes`` independent streams that share the plan and its constants; arguments as for ``stream``."""
        if lanes < 1:
            raise StreamError(f"a pool of {lanes} lanes is empty; ask for at least one")
        executor, identity = self._executor(engine, time_pooling, calibration, exact, rounding)
        return Pool([Stream(executor, self.inputs, self.outputs, identity, rate_hz) for _ in range(lanes)])

    def plan_file(
        self,
        time_pooling: str | None = None,
        calibration: Array | Sequence[Array] | None = None,
        rounding: str = "litert",
    ) -> bytes:
        """The streaming program as the flat file that the C core runs in place; arguments as for ``stream``.

        The format is that of ``tcnstream.engines.native.planfile``. Raises EngineError naming the first operation
        that the core lacks, else as ``stream``.
        """
        if self._stateful is not None:
            raise EngineError(
                f"{self.file.source} brings its own state in variables, which a plan file cannot hold;"
                " a board runs the .tflite itself"
            )
        plan, identity = self._program(time_pooling, calibration, rounding)
        return write_plan(plan, identity, rounding)

    def native_lacks(self) -> list[str]:
        """One sentence for every operation that keeps the native engine from running this model; empty if none does.

        An operation over all of time counts as its trailing stand-in.
        """
        if self._stateful is not None:
            return ["the native engine has no variables of a model's own; the interpreter runs it as it is"]
        return [str(error) for error in lacking(apply_policy(self.plan, parse_policy("trailing")))]

    def _program(
        self, time_pooling: str | None, calibration: Array | Sequence[Array] | None, rounding: str
    ) -> tuple[Plan, str]:
        """The plan under a policy, and the name that its snapshots go by."""
        if rounding not in ROUNDINGS:
            raise StreamError(f"rounding={rounding!r} is unknown; use {' or '.join(map(repr, ROUNDINGS))}")
        policy = None if time_pooling is None else parse_policy(time_pooling)
        if calibration is not None:
            chunks = [calibration] if isinstance(calibration, np.ndarray) else list(calibration)
            if len(chunks) != len(self.inputs):
                raise StreamError(
                    f"calibration takes {len(self.inputs)} recordings, one per input, and got {len(chunks)}"
                )
            calibration = [as_frames(spec, chunk) for spec, chunk in zip(self.inputs, chunks, strict=True)]
        plan = apply_policy(self.plan, policy, calibration)
        identity = f"{self.file.sha256[:16]}/axis={self.time_axis}/pooling={policy if plan is not self.plan else None}"
        frozen = [plan.tensors[n.inputs[1]].data for n in plan.nodes if n.kind == "TIME_FROZEN"]
        if frozen:
            identity += ":" + hashlib.sha256(b"".join(np.asarray(f).tobytes() for f in frozen)).hexdigest()[:8]
        if rounding != ROUNDINGS[0]:
            identity += f"/rounding={rounding}"
        return plan, identity

    def _executor(
        self,
        engine: str,
        time_pooling: str | None,
        calibration: Array | Sequence[Array] | None,
        exact: bool,
        rounding: str,
    ) -> tuple[Executor, str]:
        if engine not in ("auto", *ENGINES):
            raise StreamError(f"engine={engine!r} is unknown; use 'auto' or one of {', '.join(map(repr, ENGINES))}")
        plan, identity = self._program(time_pooling, calibration, rounding)
        if calibration is not None:
            return self._new_executor(engine, plan, exact, rounding), identity
        key = engine, identity, exact, rounding
        if key not in self._executors:
            self._executors[key] = self._new_executor(engine, plan, exact, rounding)
        return self._executors[key], identity

    def _new_executor(self, engine: str, plan: Plan, exact: bool, rounding: str) -> Executor:
        if self._stateful is None:
            return make_executor(engine, plan, exact, rounding)
        only = self._stateful.engine
        if engine not in ("auto", only) or rounding != ROUNDINGS[0]:
            raise EngineError(
                f"a model with variables of its own runs in the {only} engine alone, which rounds as LiteRT does;"
                f" use engine='{only}'"
            )
        return self._stateful.executor(exact)


def load(source: str | os.PathLike[str] | bytes, time_axis: int | None = None) -> Model:
    """Read a .tflite file and make it ready to stream: its path or bytes, a card that names it, or a shipped name.

    ``time_axis`` is the axis of the file's inputs that is time; None takes the first axis longer than
    1 after the batch: 1 for (1, 800, 1) and for a spectrogram (1, frames, bins, 1), 2 for (1, 1, 800, 1).
    Raises ModelError for what is not a sound model, NotStreamableError for what has no streaming form, SignalError for
    a card that is wrong.
    """
    if isinstance(source, str | os.PathLike):
        source = _tflite_of(Path(source))
    return Model(read_model(source), time_axis)


def _tflite_of(path: Path) -> Path:
    """The file that a path, a card or a shipped model's name means; a process that names a file needs no cards."""
    if path.suffix.lower() == ".toml" or not path.exists():
        from tcnstream.signal.card import find_model, shipped_models

        if path.suffix.lower() == ".toml" or str(path) in shipped_models():
            return find_model(path)[0]
    return path


def _lowered(file: ModelFile, time_axis: int | None) -> Plan:
    return lower(normalise(file.graphs[0]), time_axis)


def _stateful(file: ModelFile, time_axis: int | None) -> StatefulModel:
    from tcnstream.engines.interpreter.stateful import StatefulModel  # brings the interpreter, which few models need

    return StatefulModel(file, time_axis)


def _checked(file: ModelFile, make: Callable[[ModelFile, int | None], _Made], time_axis: int | None) -> _Made:
    """What ``make`` makes of the file; whatever does not fit together in it is a ModelError."""
    try:
        return make(file, time_axis)
    except TcnStreamError:
        raise
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AssertionError,
        ArithmeticError,
        MemoryError,
        struct.error,
    ) as e:
        raise ModelError(
            f"{file.source}: the operations do not fit together ({type(e).__name__}: {e}); convert the model again"
        ) from e


def _macs(plan: Plan, node: Node) -> int:
    """Multiply-adds for one output frame of a node."""
    out = math.prod(plan.tensors[node.outputs[0]].shape)
    if node.kind in ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
        weights = plan.tensors[node.inputs[1]].shape
        return out * math.prod(weights[1:]) // node.window.up
    if node.kind == "DEPTHWISE_CONV_2D":
        weights = plan.tensors[node.inputs[1]].shape
        return out * weights[0] * weights[1]
    if node.kind == "BATCH_MATMUL":
        return out * plan.tensors[node.inputs[1]].shape[0]
    return 0
