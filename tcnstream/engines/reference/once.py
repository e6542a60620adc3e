"""One frame through a plan: what a network computes of inputs that have no time."""

from __future__ import annotations

from collections.abc import Sequence

from tcnstream.compiler.plan import Plan
from tcnstream.engines.reference.executor import ReferenceExecutor
from tcnstream.tflite.graph import Array


def compute_once(plan: Plan, values: Sequence[Array]) -> list[Array]:
    """The outputs of ``plan``, (1, *frame_shape) each, for one frame of each input, in the model's dtype."""
    executor = ReferenceExecutor(plan)
    frames = [x.reshape(1, *plan.tensors[i].shape) for x, i in zip(values, plan.inputs, strict=True)]
    return executor.advance(executor.new_memory(), frames)
