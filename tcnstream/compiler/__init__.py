"""Graph -> Plan: a .tflite graph becomes the streaming program that every engine runs."""

from __future__ import annotations

from tcnstream.compiler.lower import lower
from tcnstream.compiler.normalise import normalise
from tcnstream.compiler.plan import Plan
from tcnstream.compiler.simplify import simplify
from tcnstream.compiler.validate import validate
from tcnstream.tflite.graph import Graph


def compile(graph: Graph, time_axis: int | None = None) -> Plan:
    """The streaming program of a graph as read; ``time_axis`` is that of its inputs, None the first that can be time.

    Raises ModelError for a graph that is not sound, NotStreamableError for what has no streaming form, by name.
    """
    sound = validate(graph)
    plain = normalise(sound)
    plan = lower(plain, time_axis)
    return simplify(plan)
