"""A whole signal through a plan at once: what a network computes of inputs that have no time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tcnstream.compiler.plan import Plan
from tcnstream.engines.reference.executor import ReferenceExecutor
from tcnstream.tflite.graph import Array


def compute_whole(plan: Plan, signal: Sequence[Array]) -> list[Array]:
    """All frames of the outputs, (m, *frame_shape) each, for a signal (n, *frame_shape) per input, in their dtypes."""
    executor = ReferenceExecutor(plan)
    memory = executor.new_memory()
    parts = [[y.copy() for y in executor.advance(memory, chunks)] for chunks in (signal, None)]
    return [np.concatenate(frames) for frames in zip(*parts, strict=True)]
