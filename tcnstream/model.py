"""Model: a .tflite file that is ready to stream, and what can be said about it before it runs."""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.alignment import alignments
from tcnstream.compiler.batch import batch_of
from tcnstream.compiler.compile import compile_model
from tcnstream.compiler.cost import multiply_adds
from tcnstream.compiler.normalise import is_dynamic_range
from tcnstream.compiler.operations.time import TIME_UNFOLD
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.policies import apply_policy, global_nodes, parse_policy
from tcnstream.compiler.timing import remembered_frames, timings
from tcnstream.engines.base import ROUNDINGS
from tcnstream.engines.choose import make_executor
from tcnstream.engines.native.planfile.unsupported import unsupported_parts
from tcnstream.engines.native.planfile.write import write_plan
from tcnstream.errors import ModelError, StreamError
from tcnstream.given import Given, Opened, digest, given_values, start_of
from tcnstream.options import StreamOptions
from tcnstream.pool import Pool, must_fit
from tcnstream.spec import TensorSpec
from tcnstream.stream import Stream, in_steps
from tcnstream.tflite.graph import Array, Graph, ModelFile, Shape
from tcnstream.tflite.reader import read_model

if TYPE_CHECKING:
    from tcnstream.signal.card import Card

_MOST_EXECUTORS = 64
"""Kept for streams to come: with inputs that have no time, each of their values has its own."""


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

    ``inputs`` and ``outputs`` are TensorSpecs, by the names of the file's signature where it has one; ``delay`` and
    ``receptive_field`` count input frames (the largest over the outputs; receptive_field is None under a cumulative
    policy), ``state_bytes`` is what one stream must remember, ``macs_per_frame`` the multiply-adds per input frame.
    ``static_inputs`` have no time: their values are given once for a stream. ``state_inputs`` feed an output back, and
    are no business of ``push``; ``states`` has the pairs. ``file_inputs``, ``file_outputs`` and ``file_static`` say
    which tensors of ``graph`` those without ``file`` are.

    Where inputs have different rates, an input frame is one of the first input, and ``input_steps`` says how many
    frames of each belong together: a push takes a multiple of them.
    """

    def __init__(self, file: ModelFile, time_axis: int | None = None, states: Mapping[str, str] | None = None) -> None:
        self.time_axis = time_axis
        self.signature = None if file.signature is None else file.signature.name
        self._states_said = None if states is None else dict(states)
        self._compiled = compile_model(file, time_axis, states, _compute_whole)
        self.file = file = self._compiled.file
        self.plan = self._compiled.plan
        self._timings = facts = timings(self.plan)
        places = alignments(self.plan)

        self.input_steps = self.plan.input_steps or (1,) * len(self.plan.inputs)
        step_frames = self.input_steps[0]

        def spec(i: int, name: str, shape: Shape, rate: Fraction) -> TensorSpec:
            tensor, timing, offset = self.plan.tensors[i], facts[i], places[i]
            assert timing is not None and offset is not None
            delay, offset = timing.delay * step_frames, offset * step_frames
            return TensorSpec(name, shape, tensor.dtype, tensor.quantization, rate, delay, offset)

        self.file_inputs, self.file_outputs = self._compiled.inputs, self._compiled.outputs
        self.inputs = tuple(
            spec(i, file.name_of(f), self.plan.tensors[i].shape[steps > 1 :], Fraction(steps, step_frames))
            for i, f, steps in zip(self.plan.inputs, self.file_inputs, self.input_steps, strict=True)
        )
        self.file_static = self._compiled.static
        self.static_inputs = tuple(map(self._given_spec, self.file_static))
        self.states = self._compiled.states
        self.state_inputs = tuple(self._given_spec(pair.input) for pair in self.states)
        self.outputs = tuple(
            spec(o, file.name_of(f), shape, t.rate / step_frames)
            for o, f, shape in zip(self.plan.outputs, self.file_outputs, self.plan.output_shapes, strict=True)
            if (t := facts[o]) is not None
        )
        ends = [t for o in self.plan.outputs if (t := facts[o]) is not None]
        self.delay = max(t.delay for t in ends) * step_frames
        fields = [t.receptive_field for t in ends]
        self.receptive_field = None if None in fields else max(f for f in fields if f is not None) * step_frames
        self.window_frames = self.plan.window_frames * step_frames
        # What an executor has compiled serves all streams of one kind.
        self._executors: OrderedDict[tuple[object, ...], Opened] = OrderedDict()

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[object, ...]]:
        """What pickle asks for: a model travels as its file, and what engines compiled of it is made anew."""
        return _again, (self.file.content, self.file.source, self.time_axis, self.signature, self._states_said)

    @property
    def graph(self) -> Graph:
        """The file's main subgraph, as read."""
        return self.file.main

    def _given_spec(self, i: int) -> TensorSpec:
        tensor = self.graph.tensors[i]
        shape = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
        return TensorSpec(self.file.name_of(i), shape, tensor.dtype, tensor.quantization, Fraction(0))

    @property
    def batch(self) -> int:
        """Entries of the file's batch, which nothing mixes: a stream is its first one."""
        return batch_of([self.graph.tensors[i] for i in self.file_inputs], self.plan.input_axes)

    @property
    def is_dynamic_range(self) -> bool:
        """Whether TFLite would quantize activations by the whole window's range; streamed in float instead."""
        return is_dynamic_range(self.graph)

    @property
    def is_stateful(self) -> bool:
        """Whether the file brings its own state, in resource variables, and takes a hop of frames at a time."""
        return self.plan.steps is not None

    @property
    def is_recurrent(self) -> bool:
        """Whether layers keep states from frame to frame: each window of the file starts anew, a stream goes on."""
        return bool(self.plan.states) and not self.is_stateful

    @property
    def kernels_remember(self) -> bool:
        """Whether TFLite's own kernels keep those states from one invocation to the next, as a stream does."""
        return any(self.graph.tensors[i].is_variable for op in self.graph.ops for i in op.inputs if i >= 0)

    @property
    def recurrence(self) -> str:
        """A sentence on how the file's own windows and a stream differ; empty for a model that is not recurrent."""
        if not self.is_recurrent:
            return ""
        if self.kernels_remember:
            how = "TFLite's kernels go on so from one invocation to the next, until reset_all_variables()"
        else:
            how = "each window of the file starts anew and knows nothing of the one before"
        return f"recurrent: a frame depends on all of the past, from the state at the stream's start; {how}"

    @property
    def needs_time_pooling(self) -> bool:
        """Whether an operation needs all of time, so that ``stream`` asks for a policy."""
        return bool(global_nodes(self.plan))

    @cached_property
    def state_bytes(self) -> int:
        return sum(row.state_bytes for row in self.rows())

    @cached_property
    def macs_per_frame(self) -> float:
        return sum(row.macs_per_frame for row in self.rows())

    def rows(self) -> list[Row]:
        """One row per input and per operation, in order; a queue counts where its tensor is made."""
        plan, facts, kept = self.plan, self._timings, remembered_frames(self.plan)
        steps = self.input_steps[0]
        rows = []
        apart = {n.inputs[0]: n.outputs[0] for n in plan.nodes if n.kind == TIME_UNFOLD.kind and n.index < 0}
        inputs = [apart.get(i, i) for i in plan.inputs]
        made: list[tuple[Node | None, tuple[int, ...]]] = [(None, (i,)) for i in inputs]
        made += [(node, node.outputs) for node in plan.nodes if node.outputs[0] not in inputs]
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
                    rate=timing.rate / steps,
                    delay_frames=timing.delay * steps,
                    receptive_field_frames=None if (f := timing.receptive_field) is None else f * steps,
                    state_bytes=queued,
                    macs_per_frame=0.0 if node is None else float(multiply_adds(plan, node) * timing.rate / steps),
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
        if self.is_recurrent:
            lines.append(self.recurrence)
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
        static: Mapping[str, npt.ArrayLike] | None = None,
        states: Mapping[str, npt.ArrayLike] | None = None,
        keep_tail: bool = False,
    ) -> Stream:
        """``open``, with the fields of StreamOptions as arguments."""
        options = StreamOptions(engine, time_pooling, calibration, exact, rounding, rate_hz, static, states, keep_tail)
        return self.open(options)

    def pool(
        self,
        lanes: int,
        engine: str = "auto",
        time_pooling: str | None = None,
        calibration: Array | Sequence[Array] | None = None,
        exact: bool = True,
        rounding: str = "litert",
        rate_hz: float | None = None,
        static: Mapping[str, npt.ArrayLike] | None = None,
        states: Mapping[str, npt.ArrayLike] | None = None,
        keep_tail: bool = False,
    ) -> Pool:
        """``open_pool``, with the fields of StreamOptions as arguments."""
        options = StreamOptions(engine, time_pooling, calibration, exact, rounding, rate_hz, static, states, keep_tail)
        return self.open_pool(lanes, options)

    def open(self, options: StreamOptions) -> Stream:
        """A new stream at its start.

        Raises NotStreamableError without a policy where one is needed, EngineError where the engine lacks an operation
        or is not installed, StreamError for a calibration, a sample rate or a static input that cannot be used.
        """
        (values,) = self._given(options)
        return self._opened(options, values)

    def open_pool(self, lanes: int, options: StreamOptions) -> Pool:
        """``lanes`` independent streams that share the plan and its constants.

        Raises StreamError for less than one lane, or more than fit into the machine's memory, else as ``open``.
        """
        must_fit(lanes, self.state_bytes)
        values = self._given(options, lanes)
        if not values[0]:
            first = self._opened(options, ())
            return Pool([first, *(first.another() for _ in range(lanes - 1))])
        return Pool([self._opened(options, each) for each in values])

    def _opened(self, options: StreamOptions, values: tuple[Array, ...]) -> Stream:
        executor, identity = self._executor(options, values)
        opened = functools.partial(self._executor, options)
        given = Given(self.static_inputs, self.state_inputs, values, opened) if values else None
        return Stream(executor, self.inputs, self.outputs, identity, options.rate_hz, given, options.keep_tail)

    def plan_file(
        self,
        time_pooling: str | None = None,
        calibration: Array | Sequence[Array] | None = None,
        rounding: str = "litert",
        static: Mapping[str, npt.ArrayLike] | None = None,
        family: str = "portable",
        states: Mapping[str, npt.ArrayLike] | None = None,
    ) -> bytes:
        """The streaming program as the flat file that the C core runs in place; arguments as those of StreamOptions.

        Inputs without time, and what states begin as, are constants of the file. The format is that of
        ``tcnstream.engines.native.layout.file``; ``family``: the processors for which int8 weights are packed,
        "cortex-m-dsp" or "cortex-m-helium", which then alone run it. Raises EngineError naming the first operation that
        the core lacks, else as ``stream``.
        """
        options = StreamOptions("auto", time_pooling, calibration, rounding=rounding, static=static, states=states)
        (values,) = self._given(options)
        plan, identity = self._program(options, values)
        return write_plan(plan, identity, rounding, family)

    def native_lacks(self) -> list[str]:
        """One sentence for every operation that keeps the native engine from running this model; empty if none does.

        An operation over all of time counts as its trailing stand-in, over whatever frames.
        """
        plan = replace(self.plan, window_is_open=False)
        return [str(error) for error in unsupported_parts(apply_policy(plan, parse_policy("trailing")))]

    def _given(self, options: StreamOptions, lanes: int | None = None) -> list[tuple[Array, ...]]:
        """The values of static inputs and of states at the start, for each of ``lanes`` streams (None: for one)."""
        pairs = {self.file.name_of(p.input): self.file.name_of(p.output) for p in self.states}
        return given_values(
            self.static_inputs, self.state_inputs, options.static, start_of(pairs, options.states), lanes
        )

    def plan_with(
        self, static: Mapping[str, npt.ArrayLike] | None = None, states: Mapping[str, npt.ArrayLike] | None = None
    ) -> Plan:
        """The plan of a stream whose inputs without time have these values, and whose states begin as said.

        Raises StreamError as ``open``.
        """
        (values,) = self._given(StreamOptions(static=static, states=states))
        return self._plan_with(values)

    def _plan_with(self, values: tuple[Array, ...]) -> Plan:
        if not values:
            return self.plan
        count = len(self.static_inputs)
        try:
            return self._compiled.given(values[:count], values[count:], _compute_whole)
        except IndexError as e:
            raise StreamError(f"a static input is the number of a row that its table does not have: {e}") from None

    def _program(self, options: StreamOptions, values: tuple[Array, ...]) -> tuple[Plan, str]:
        """The plan under a policy, and the name that its snapshots go by."""
        policy, calibration = options.policy, self._calibration(options)
        constants: Sequence[Array] = ()
        given = self._plan_with(values)
        if policy is not None and policy.kind == "frozen" and self.needs_time_pooling:
            from tcnstream.engines.reference.calibration import measure  # brings an engine that few streams need

            constants = measure(given, calibration)
        plan = apply_policy(given, policy, constants)
        identity = f"{self.file.sha256[:16]}/axis={self.time_axis}/pooling={policy if plan is not given else None}"
        if constants:
            measured = hashlib.sha256(b"".join(np.asarray(c).tobytes() for c in constants)).hexdigest()
            identity += f":{measured[:8]}"
        if not self.file.is_main_first:
            identity += f"/signature={self.signature}"
        if self.states:
            pairs = ",".join(f"{self.file.name_of(p.input)}<{self.file.name_of(p.output)}" for p in self.states)
            identity += f"/states={pairs}"
        if values:
            identity += f"/given={digest(values)}"
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
        return in_steps(self.inputs, self.input_steps, chunks)

    def _executor(self, options: StreamOptions, values: tuple[Array, ...]) -> Opened:
        if options.calibration is not None:
            plan, identity = self._program(options, values)
            return make_executor(options.engine, plan, options.exact, options.rounding), identity
        key: tuple[object, ...] = options.engine, options.time_pooling, options.exact, options.rounding, digest(values)
        opened = self._executors.get(key)
        if opened is None:
            plan, identity = self._program(options, values)
            opened = make_executor(options.engine, plan, options.exact, options.rounding), identity
        # Another thread may ask for a stream, too, and forget one meanwhile.
        self._executors[key] = opened
        with suppress(KeyError):
            self._executors.move_to_end(key)
            while len(self._executors) > _MOST_EXECUTORS:
                self._executors.popitem(last=False)
        return opened


def load(
    source: str | os.PathLike[str] | bytes,
    time_axis: int | None = None,
    *,
    signature: str | None = None,
    states: Mapping[str, str] | None = None,
) -> Model:
    """Read a .tflite file and make it ready to stream: its path or bytes, a card that names it, or a shipped name.

    ``signature`` is the name of one of the ways to call the file; None takes that of its first graph. ``states`` says
    which outputs are fed back to which inputs, ``{"h_in": "h_out"}``; None takes what the card says, or recognises them
    by their names and shapes, and an empty one says that there are none.


    ``time_axis`` is the axis of the file's inputs that is time; None takes the one along which the file streams, of
    several the one along which kernels slide: 1 of (1, 800, 1), 2 of PyTorch's (1, 8, 800).
    Raises ModelError for what is not a sound model, NotStreamableError for what has no streaming form, SignalError for
    a card that is wrong.
    """
    if isinstance(source, str | os.PathLike):
        source, card = _tflite_of(Path(source))
        if card is not None:
            signature = card.signature or None if signature is None else signature
            states = card.states or None if states is None else states
    elif not isinstance(source, bytes | bytearray | memoryview):
        raise ModelError(f"{source!r} is no model: give a path, a shipped name or the bytes of a .tflite file")
    return Model(read_model(source).called(signature), time_axis, states)


def _again(
    content: bytes,
    source: str,
    time_axis: int | None,
    signature: str | None,
    states: Mapping[str, str] | None,
) -> Model:
    return Model(replace(read_model(content).called(signature), source=source), time_axis, states)


def _tflite_of(path: Path) -> tuple[Path, Card | None]:
    """The file that a path, a card or a shipped model's name means; a process that names a file needs no cards."""
    if path.suffix.lower() == ".toml" or not path.exists():
        from tcnstream.signal.card import find_model, shipped_models

        if path.suffix.lower() == ".toml" or str(path) in shipped_models():
            return find_model(path)
    return path, None


def _compute_whole(plan: Plan, signal: Sequence[Array]) -> Sequence[Array]:
    from tcnstream.engines.reference.once import compute_whole  # brings an engine that few models need

    return compute_whole(plan, signal)
