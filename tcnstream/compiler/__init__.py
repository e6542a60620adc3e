"""Graph -> Plan: a .tflite graph becomes the streaming program that every engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tcnstream.compiler.loops import arrange
from tcnstream.compiler.lower import lower
from tcnstream.compiler.normalise import normalise
from tcnstream.compiler.plan import Plan
from tcnstream.compiler.simplify import simplify
from tcnstream.compiler.static import Compute, StaticPart, split
from tcnstream.compiler.steps import compile_steps
from tcnstream.compiler.time_axis import lower_along_time
from tcnstream.compiler.validate import validate
from tcnstream.compiler.variables import explicit
from tcnstream.compiler.whiles import has_whiles, inline_whiles
from tcnstream.compiler.window import is_open, settle
from tcnstream.tflite.graph import Array, Graph, ModelFile


def compile_model(file: ModelFile, time_axis: int | None = None, compute: Compute | None = None) -> Plan:
    """The streaming program of a file: of its main graph, or of the steps that a graph with variables takes."""
    if file.is_stateful:
        return compile_steps(explicit(file), time_axis)
    return compile(file.main, time_axis, compute)


def compile(graph: Graph, time_axis: int | None = None, compute: Compute | None = None) -> Plan:
    """The streaming program of a graph as read; ``time_axis`` is that of its inputs, None the one that streams.

    Inputs for which no axis can be time have none: they are constants, zeros until ``compile_with``. ``compute`` tells
    such an input from a signal: what is made of it is the same at all times. Raises ModelError for a graph that is not
    sound, NotStreamableError for what has no streaming form, by name.
    """
    plan = lower_along_time(_prepared(graph), time_axis, compute)
    return replace(arrange(simplify(plan)), window_is_open=is_open(graph))


def static_part(graph: Graph, plan: Plan) -> StaticPart:
    """What ``graph`` computes of those of its inputs that have no time in ``plan``."""
    static = [i for k, i in enumerate(graph.inputs) if k not in plan.input_places]
    return split(_prepared(graph), static)


def compile_with(part: StaticPart, values: Sequence[Array], plan: Plan, compute: Compute) -> Plan:
    """``plan`` with the values of the inputs that have no time, an array for each of ``part.inputs``.

    Raises NotStreamableError where what is made of them differs from frame to frame of the window.
    """
    made = arrange(simplify(lower(part.filled(values, compute), plan.input_axes)))
    kept = {name: getattr(plan, name) for name in ("other_axes", "window_is_open", "input_places")}
    return replace(made, **kept)


def _prepared(graph: Graph) -> Graph:
    sound = validate(settle(graph))
    return normalise(validate(inline_whiles(sound)) if has_whiles(sound) else sound)
