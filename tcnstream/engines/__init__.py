"""Engines compute the frames of a Plan; each one is a table of operations behind ``Executor``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tcnstream.errors import EngineError
from tcnstream.graph import Array
from tcnstream.plan import Plan
from tcnstream.state import State

ENGINES = ("interpreter", "reference")
"""The engines by name, fastest first."""


class Executor(Protocol):
    """Computes frames for any number of streams of one plan; holds nothing of a stream itself.

    ``block_frames`` are the chunk sizes that it likes, largest first; a push is cut into those, and
    what is left over, if the last one is not 1, is a block of its own.
    """

    name: str
    plan: Plan
    block_frames: tuple[int, ...]

    def advance(self, state: State, chunks: Sequence[Array] | None) -> list[Array]:
        """Take in frames of every input (None: the signal is over) and compute all that they allow.

        Returns the new frames of every output, (m, *tensor shape), as views that hold until the next
        call; what nothing will read any more is forgotten.
        """


def make_executor(engine: str, plan: Plan, exact: bool = True) -> Executor:
    """The named engine for ``plan``; "auto" takes the fastest that has all of its operations."""
    if engine == "auto":
        for name in ENGINES[:-1]:
            try:
                return make_executor(name, plan, exact)
            except EngineError:
                continue
        return make_executor(ENGINES[-1], plan, exact)
    if engine == "interpreter":
        from tcnstream.engines.interpreter import InterpreterExecutor

        return InterpreterExecutor(plan, exact=exact)
    from tcnstream.engines.reference import ReferenceExecutor

    return ReferenceExecutor(plan)
