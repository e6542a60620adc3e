"""Engines compute the frames of a Plan; each one is a table of operations behind ``Executor``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

from tcnstream.compiler.plan import Plan
from tcnstream.engines.state import State
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array

ENGINES = ("native", "interpreter", "reference")
"""The engines by name, fastest first."""

ROUNDINGS = ("litert", "tflm")
"""How integer FULLY_CONNECTED rounds: once, as LiteRT does, or twice, as TensorFlow Lite Micro does."""


class Memory(Protocol):
    """All that a stream remembers, wherever the engine keeps it; ``state.State`` says what each member means."""

    @property
    def pushed_frames(self) -> int: ...

    @property
    def ended(self) -> bool: ...

    def reset(self) -> None: ...

    def live_bytes(self) -> int: ...

    def snapshot(self, identity: str) -> bytes: ...

    def restore(self, blob: bytes, identity: str) -> None: ...


class Executor(Protocol):
    """Computes frames for any number of streams of one plan; holds nothing of a stream itself.

    ``block_frames`` are the chunk sizes that it likes, largest first; a push is cut into those, and
    what is left over, if the last one is not 1, is a block of its own. An engine that keeps a stream's
    memory in its own form has a method ``new_memory``; the others work on ``state.State``.
    """

    name: str
    plan: Plan
    block_frames: tuple[int, ...]

    def advance(self, state: Any, chunks: Sequence[Array] | None) -> list[Array]:
        """Take in frames of every input (None: the signal is over) and compute all that they allow.

        Returns the new frames of every output, (m, *tensor shape), as views that hold until the next
        call; what nothing will read any more is forgotten.
        """


def new_memory(executor: Executor) -> Memory:
    """A stream's memory at its start, in the form that the engine works on."""
    make = getattr(executor, "new_memory", None)
    memory: Memory = State(executor.plan) if make is None else make()
    return memory


def make_executor(engine: str, plan: Plan, exact: bool = True, rounding: str = ROUNDINGS[0]) -> Executor:
    """The named engine for ``plan``; "auto" takes the fastest that has all of its operations.

    ``rounding`` is one of ``ROUNDINGS``; the interpreter engine has only the first.
    """
    if engine == "auto":
        for name in ENGINES[:-1]:
            try:
                return make_executor(name, plan, exact, rounding)
            except EngineError as e:
                if name == "native" and isinstance(e.__cause__, ImportError):
                    # The core was not built; Python's default filter shows this once per process and place.
                    warnings.warn(f"{e}; a slower engine takes over", RuntimeWarning, stacklevel=2)
        return make_executor(ENGINES[-1], plan, exact, rounding)
    if engine == "native":
        from tcnstream.engines.native.executor import NativeExecutor

        return NativeExecutor(plan, rounding)
    if engine == "interpreter":
        if rounding != ROUNDINGS[0]:
            raise EngineError(
                f"the interpreter engine rounds as LiteRT does, not as rounding={rounding!r} asks;"
                ' use engine="native" or engine="reference"'
            )
        from tcnstream.engines.interpreter.executor import InterpreterExecutor

        return InterpreterExecutor(plan, exact=exact)
    from tcnstream.engines.reference.executor import ReferenceExecutor

    return ReferenceExecutor(plan, rounding)
