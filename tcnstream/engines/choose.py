"""Which engine runs a plan: by name, or the fastest that has all of it."""

from __future__ import annotations

import warnings

from tcnstream.compiler.plan import Plan
from tcnstream.engines.base import ENGINES, ROUNDINGS, Executor
from tcnstream.engines.reference.defined import check_defined
from tcnstream.errors import EngineError

# Each engine is imported when it is asked for: a process that runs one of them starts without the others.


def make_executor(engine: str, plan: Plan, exact: bool = True, rounding: str = ROUNDINGS[0]) -> Executor:
    """The named engine for ``plan``; "auto" takes the fastest that has all of its operations.

    ``exact=False`` lets the interpreter engine use TFLite's fast kernels and the native one fuse multiply-adds of
    float32. ``rounding`` is one of ``ROUNDINGS``; the interpreter engine has only the first. Raises EngineError where
    the engine lacks an operation or is not installed, and where TFLite has no defined answer.
    """
    check_defined(plan)
    if engine == "auto":
        return _fastest(plan, exact, rounding)
    if engine == "native":
        from tcnstream.engines.native.executor import NativeExecutor

        return NativeExecutor(plan, rounding, exact=exact)
    if engine == "interpreter":
        if rounding != ROUNDINGS[0]:
            raise EngineError(
                f"the interpreter engine rounds as LiteRT does, not as rounding={rounding!r} asks;"
                ' use engine="native" or engine="reference"'
            )
        if plan.steps is not None:
            from tcnstream.engines.interpreter.stateful import StepExecutor

            return StepExecutor(plan, plan.steps, exact)
        from tcnstream.engines.interpreter.executor import InterpreterExecutor

        return InterpreterExecutor(plan, exact=exact)
    from tcnstream.engines.reference.executor import ReferenceExecutor

    return ReferenceExecutor(plan, rounding)


def _fastest(plan: Plan, exact: bool, rounding: str) -> Executor:
    from tcnstream.engines.native.core import load_core

    candidates = list(ENGINES)
    try:
        load_core()
    except EngineError as e:
        # Python's default filter shows this once per process and place.
        warnings.warn(f"{e}; a slower engine takes over", RuntimeWarning, stacklevel=3)
        candidates.remove("native")
    for name in candidates[:-1]:
        try:
            return make_executor(name, plan, exact, rounding)
        except EngineError as e:
            if name == "native":
                warnings.warn(f"{e}; engine='auto' takes a slower one", RuntimeWarning, stacklevel=3)
    return make_executor(candidates[-1], plan, exact, rounding)
