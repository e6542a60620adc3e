"""Every operation in the interpreter engine: what the reference kernels' own functions give, in chunks of any size.

What the installed interpreter lacks runs on the host's kernels, so every operation has an answer here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.singleop import assert_same, compute, feeds_of, plan_of
from helpers.trials.cases import PARAMETERS
from helpers.trials.drawing import Build

from tcnstream.compiler.plan import SAME_FRAME
from tcnstream.engines.interpreter.executor import InterpreterExecutor
from tcnstream.engines.state import State
from tcnstream.measure.compare import chunk_sizes
from tcnstream.tflite.graph import Array

pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")


@pytest.mark.parametrize(("build", "dtype"), PARAMETERS)
def test_an_operation_of_the_interpreter_engine_equals_the_reference(build: Build, dtype: Any) -> None:
    for seed in range(2):
        trial = build(np.random.default_rng(seed), dtype)
        if trial.window is not SAME_FRAME:
            continue
        plan = plan_of(trial)
        feeds = feeds_of(trial, plan)
        executor, state = InterpreterExecutor(plan), State(plan)
        parts: list[list[Array]] = []
        at = 0
        for size in chunk_sizes(len(feeds[0]), np.random.default_rng(seed)):
            made = executor.advance(state, [feed[at : at + size] for feed in feeds])
            parts.append([frames.copy() for frames in made])
            at += size
        parts.append([frames.copy() for frames in executor.advance(state, None)])
        assert_same([np.concatenate(pieces) for pieces in zip(*parts, strict=True)], compute(trial))
