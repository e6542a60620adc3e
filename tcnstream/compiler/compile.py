"""A file as its streaming program: all steps of the compiler, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tcnstream.compiler.feedback import (
    Pair,
    as_steps,
    by_name,
    by_shape,
    called_states,
    hint,
    named,
    refuse_if_unclear,
    static_of,
)
from tcnstream.compiler.loops import arrange
from tcnstream.compiler.lower import lower
from tcnstream.compiler.plan import Plan
from tcnstream.compiler.prepare import prepared
from tcnstream.compiler.simplify import simplify
from tcnstream.compiler.static import Compute, split
from tcnstream.compiler.steps import compile_steps
from tcnstream.compiler.time_axis import lower_along_time, slides
from tcnstream.compiler.variables import explicit, without_idle
from tcnstream.compiler.window import is_open
from tcnstream.errors import ModelError, NotStreamableError
from tcnstream.tflite.graph import Array, Graph, ModelFile


@dataclass(frozen=True, eq=False)
class Compiled:
    """A file's streaming program, and which of its inputs are no signals.

    ``plan`` calls its inputs and outputs as the file's signature does; ``file`` is without the variables that no output
    depends on. ``static`` are tensors of the main graph that have no time, ``states`` inputs that feed an output back.
    """

    plan: Plan
    file: ModelFile
    time_axis: int | None
    static: tuple[int, ...] = ()
    states: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", self._named(self.plan))

    def _named(self, plan: Plan) -> Plan:
        tensors, file = list(plan.tensors), self.file
        ends = [*zip(plan.outputs, self.outputs, strict=True), *zip(plan.inputs, self.inputs, strict=True)]
        for i, in_file in ends:
            tensors[i] = replace(tensors[i], name=file.name_of(in_file))
        return replace(plan, tensors=tuple(tensors))

    @property
    def inputs(self) -> tuple[int, ...]:
        """The inputs of the main graph that are signals."""
        others = {*self.static, *(pair.input for pair in self.states)}
        return tuple(i for i in self.file.main.inputs if i not in others)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The outputs of the main graph that leave the model."""
        if not self.states or self.plan.steps is None:
            return self.file.main.outputs
        return self.plan.steps.outputs

    def given(self, values: Sequence[Array], start: Sequence[Array], compute: Compute) -> Plan:
        """The program for values of the static inputs and for what the states begin as, in the file's dtypes.

        Raises NotStreamableError where what is made of a static input differs from frame to frame of the window.
        """
        if self.states:
            static = dict(zip(self.static, values, strict=True))
            return self._named(_fed_back(self.file, self.states, self.time_axis, static, start, compute))
        part = split(prepared(self.file.main, compute), self.static)
        made = arrange(simplify(lower(part.filled(values, compute), self.plan.input_axes)))
        kept = {name: getattr(self.plan, name) for name in ("other_axes", "window_is_open", "input_places")}
        return self._named(replace(made, **kept))


def compile_model(
    file: ModelFile,
    time_axis: int | None = None,
    states: Mapping[str, str] | None = None,
    compute: Compute | None = None,
) -> Compiled:
    """The streaming program of a file: of its main graph, or of the steps that a graph with a state takes.

    ``states`` names inputs and the outputs that are fed back to them; None recognises them by their names, and by
    their shapes where the file does not stream otherwise. Raises what ``compile`` raises, ModelError for ``states``
    that do not fit.
    """
    file = without_idle(file)
    if file.is_stateful:
        if states:
            raise ModelError("states: the file has variables of its own, and remembers by itself; leave states out")
        return Compiled(compile_steps(explicit(file), time_axis), file, time_axis)
    pairs = by_name(file) if states is None else named(file, states)
    try:
        if pairs:
            return _recognised(file, pairs, time_axis, compute)
    except NotStreamableError:
        if states is not None:
            raise
    try:
        plan = compile(file.main, time_axis, compute)
    except NotStreamableError as e:
        pairs = by_shape(file) if states is None else ()
        if not pairs:
            if states is None:
                refuse_if_unclear(file, called_states(file))
            raise NotStreamableError(f"{e}{hint(file)}", e.op_index) from e
        return _recognised(file, pairs, time_axis, compute)
    static = tuple(i for k, i in enumerate(file.main.inputs) if k not in plan.input_places)
    if states is None and static and not slides(plan):
        pairs = by_shape(file)
        if any(pair.input in static for pair in pairs):
            return _recognised(file, pairs, time_axis, compute)
        refuse_if_unclear(file, static)
    return Compiled(plan, file, time_axis, static)


def _recognised(file: ModelFile, pairs: tuple[Pair, ...], time_axis: int | None, compute: Compute | None) -> Compiled:
    static = static_of(file.main, pairs)
    plan = _fed_back(file, pairs, time_axis, dict.fromkeys(static), None, compute)
    return Compiled(plan, file, time_axis, static, pairs)


def _fed_back(
    file: ModelFile,
    pairs: Sequence[Pair],
    time_axis: int | None,
    static: Mapping[int, Array | None],
    start: Sequence[Array] | None,
    compute: Compute | None,
) -> Plan:
    return compile_steps(as_steps(file.main, pairs, start, static), time_axis, static, compute)


def compile(graph: Graph, time_axis: int | None = None, compute: Compute | None = None) -> Plan:
    """The streaming program of a graph as read; ``time_axis`` is that of its inputs, None the one that streams.

    Inputs for which no axis can be time have none: they are constants, zeros until ``Compiled.given``. ``compute``
    tells such an input from a signal: what is made of it is the same at all times. Raises ModelError for a graph that
    is not sound, NotStreamableError for what has no streaming form, by name.
    """
    plan = lower_along_time(prepared(graph, compute), time_axis, compute)
    return replace(arrange(simplify(plan)), window_is_open=is_open(graph))
