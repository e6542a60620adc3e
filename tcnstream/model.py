"""Model: a .tflite file that is ready to stream, and what can be said about it before it runs."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tcnstream.compiler import compile
from tcnstream.compiler.alignment import alignments
from tcnstream.compiler.cost import multiply_adds
from tcnstream.compiler.normalise import is_dynamic_range
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.policies import apply_policy, global_nodes, parse_policy
from tcnstream.compiler.timing import remembered_frames, timings
from tcnstream.engines.base import ROUNDINGS, Executor
from tcnstream.engines.choose import make_executor
from tcnstream.engines.native.planfile import unsupported_parts, write_plan
from tcnstream.errors import EngineError, StreamError
from tcnstream.options import StreamOptions
from tcnstream.pool import Pool
from tcnstream.spec import TensorSpec
from tcnstream.stream import Stream, as_frames
from tcnstream.tflite.graph import Array, Graph, ModelFile, Shape
from tcnstream.tflite.reader import read_model

if TYPE_CHECKING:
    from tcnstream.engines.interpreter.stateful import StatefulModel


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
        self._stateful = _stateful(file, time_axis) if file.is_stateful else None
        self.plan = compile(file.graphs[0], time_axis) if self._stateful is None else self._stateful.plan
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
                    kind="INPUT" if node is None else node.kind_in_file,
                    out_shape=tensor.shape,
                    dtype=str(tensor.dtype),
                    rate=timing.rate,
                    delay_frames=timing.delay,
                    receptive_field_frames=timing.receptive_field,
                    state_bytes=queued,
                    macs_per_frame=0.0 if node is None else float(multiply_adds(plan, node) * timing.rate),
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
            names = ", ".join(f"`{n.kind_in_file}` (op {n.index})" for n in global_nodes(self.plan))
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
        """``open``, with the fields of StreamOptions as arguments."""
        return self.open(StreamOptions(engine, time_pooling, calibration, exact, rounding, rate_hz))

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
        """``open_pool``, with the fields of StreamOptions as arguments."""
        return self.open_pool(lanes, StreamOptions(engine, time_pooling, calibration, exact, rounding, rate_hz))

    def open(self, options: StreamOptions) -> Stream:
        """A new stream at its start.

        Raises NotStreamableError without a policy where one is needed, EngineError where the engine lacks an operation
        or is not installed, StreamError for a calibration or sample rate that cannot be used.
        """
        executor, identity = self._executor(options)
        return Stream(executor, self.inputs, self.outputs, identity, options.rate_hz)

    def open_pool(self, lanes: int, options: StreamOptions) -> Pool:
        """``lanes`` independent streams that share the plan and its constants.

        Raises StreamError for less than one lane, else as ``open``.
        """
        if lanes < 1:
            raise StreamError(f"a pool of {lanes} lanes is empty; ask for at least one")
        first = self.open(options)
        return Pool([first, *(first.another() for _ in range(lanes - 1))])

    def plan_file(
        self,
        time_pooling: str | None = None,
        calibration: Array | Sequence[Array] | None = None,
        rounding: str = "litert",
    ) -> bytes:
        """The streaming program as the flat file that the C core runs in place; arguments as those of StreamOptions.

        The format is that of ``tcnstream.engines.native.planfile``. Raises EngineError naming the first operation
        that the core lacks, else as ``stream``.
        """
        options = StreamOptions(time_pooling=time_pooling, calibration=calibration, rounding=rounding)
        if self._stateful is not None:
            raise EngineError(
                f"{self.file.source} brings its own state in variables, which a plan file cannot hold;"
                " a board runs the .tflite itself"
            )
        plan, identity = self._program(options)
        return write_plan(plan, identity, rounding)

    def native_lacks(self) -> list[str]:
        """One sentence for every operation that keeps the native engine from running this model; empty if none does.

        An operation over all of time counts as its trailing stand-in.
        """
        if self._stateful is not None:
            return ["the native engine has no variables of a model's own; the interpreter runs it as it is"]
        return [str(error) for error in unsupported_parts(apply_policy(self.plan, parse_policy("trailing")))]

    def _program(self, options: StreamOptions) -> tuple[Plan, str]:
        """The plan under a policy, and the name that its snapshots go by."""
        policy, calibration = options.policy, self._calibration(options)
        constants: Sequence[Array] = ()
        if policy is not None and policy.kind == "frozen" and self.needs_time_pooling:
            from tcnstream.engines.reference.calibration import measure  # brings an engine that few streams need

            constants = measure(self.plan, calibration)
        plan = apply_policy(self.plan, policy, constants)
        identity = f"{self.file.sha256[:16]}/axis={self.time_axis}/pooling={policy if plan is not self.plan else None}"
        if constants:
            digest = hashlib.sha256(b"".join(np.asarray(values).tobytes() for values in constants)).hexdigest()
            identity += f":{digest[:8]}"
        if options.rounding != ROUNDINGS[0]:
            identity += f"/rounding={options.rounding}"
        return plan, identity

    def _calibration(self, options: StreamOptions) -> list[Array] | None:
        if options.calibration is None:
            return None
        given = options.calibration
        chunks = [given] if isinstance(given, np.ndarray) else list(given)
        if len(chunks) != len(self.inputs):
            raise StreamError(f"calibration takes {len(self.inputs)} recordings, one per input, and got {len(chunks)}")
        return [as_frames(spec, chunk) for spec, chunk in zip(self.inputs, chunks, strict=True)]

    def _executor(self, options: StreamOptions) -> tuple[Executor, str]:
        plan, identity = self._program(options)
        if options.calibration is not None:
            return self._new_executor(plan, options), identity
        key = options.engine, identity, options.exact, options.rounding
        if key not in self._executors:
            self._executors[key] = self._new_executor(plan, options)
        return self._executors[key], identity

    def _new_executor(self, plan: Plan, options: StreamOptions) -> Executor:
        if self._stateful is None:
            return make_executor(options.engine, plan, options.exact, options.rounding)
        only = self._stateful.engine
        if options.engine not in ("auto", only) or options.rounding != ROUNDINGS[0]:
            raise EngineError(
                f"a model with variables of its own runs in the {only} engine alone, which rounds as LiteRT does;"
                f" use engine='{only}'"
            )
        return self._stateful.executor(options.exact)


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


def _stateful(file: ModelFile, time_axis: int | None) -> StatefulModel:
    from tcnstream.engines.interpreter.stateful import StatefulModel  # brings the interpreter, which few models need

    return StatefulModel(file, time_axis)
