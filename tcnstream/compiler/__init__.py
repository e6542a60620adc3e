"""Graph -> Plan: a .tflite graph becomes the streaming program that every engine runs."""

from __future__ import annotations

from dataclasses import replace

from tcnstream.compiler.loops import arrange
from tcnstream.compiler.normalise import normalise
from tcnstream.compiler.plan import Plan
from tcnstream.compiler.simplify import simplify
from tcnstream.compiler.time_axis import lower_along_time
from tcnstream.compiler.validate import validate
from tcnstream.compiler.window import is_open, settle
from tcnstream.tflite.graph import Graph


def compile(graph: Graph, time_axis: int | None = None) -> Plan:
    """The streaming program of a graph as read; ``time_axis`` is that of its inputs, None the one that streams.

    Raises ModelError for a graph that is not sound, NotStreamableError for what has no streaming form, by name.
    """
    sound = validate(settle(graph))
    plain = normalise(sound)
    plan = lower_along_time(plain, time_axis)
    return replace(arrange(simplify(plan)), window_is_open=is_open(graph))
