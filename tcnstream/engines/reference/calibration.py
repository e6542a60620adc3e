"""Frozen statistics: what an operation over all of time gives on a recording, as a constant of the Plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tcnstream.compiler.operations.statistics import StatisticOptions
from tcnstream.compiler.operations.time import TIME_FROZEN, TIME_REDUCE
from tcnstream.compiler.plan import Plan
from tcnstream.engines.reference.executor import ReferenceExecutor
from tcnstream.engines.reference.kernels import mean_of
from tcnstream.engines.state import State
from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array, Tensor


def freeze(plan: Plan, calibration: Sequence[Array] | None) -> Plan:
    """Measure each statistic on the calibration recording, in order, and put the constant in its place."""
    if calibration is None or not len(calibration[0]):
        raise StreamError("time_pooling='frozen' needs a recording to measure on; pass calibration=")
    while needy := [k for k, node in enumerate(plan.nodes) if node.kind == TIME_REDUCE.kind]:
        k = needy[0]
        node = plan.nodes[k]
        source = node.inputs[0]
        frames = _offline_tensor(replace(plan, nodes=plan.nodes[:k], outputs=(source,)), calibration, source)
        target = plan.tensors[node.outputs[0]]
        options = node.options_of(StatisticOptions)
        values = frames.reshape(len(frames), *node.views[0])
        measured = mean_of(values, options.axes, plan.tensors[source], target, options.statistic)
        measured = np.asarray(measured).reshape(target.shape)
        constant = Tensor(f"{node.label}/frozen", target.shape, target.dtype, target.quantization, measured)
        frozen = replace(
            node,
            kind=TIME_FROZEN.kind,
            inputs=(*node.inputs, len(plan.tensors)),
            views=(*node.views, target.shape),
        )
        plan = replace(
            plan,
            tensors=(*plan.tensors, constant),
            windows=(*plan.windows, 0),
            nodes=(*plan.nodes[:k], frozen, *plan.nodes[k + 1 :]),
        )
    return plan


def _offline_tensor(plan: Plan, signal: Sequence[Array], tensor: int) -> Array:
    state, executor = State(plan), ReferenceExecutor(plan)
    executor.run(state, state.arrive(signal))
    executor.run(state, state.end())
    queue = state.queues[tensor]
    return queue.read(queue.first_frame, queue.end_frame)
