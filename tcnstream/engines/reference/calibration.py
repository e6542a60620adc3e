"""Calibration: what the operations over all of time give on a recording, the constants of the policy "frozen"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tcnstream.compiler.operations.statistics import StatisticOptions
from tcnstream.compiler.operations.time import TIME_REDUCE
from tcnstream.compiler.plan import Plan
from tcnstream.compiler.policies import freeze
from tcnstream.engines.reference.executor import ReferenceExecutor
from tcnstream.engines.reference.kernels import mean_of
from tcnstream.engines.state import State
from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array


def measure(plan: Plan, calibration: Sequence[Array] | None) -> list[Array]:
    """The value of every TIME_REDUCE of the plan on a recording, in the order of the nodes.

    ``calibration`` is the recording, (frames, *frame_shape) in the model's dtype for each input. A later operation is
    measured with the constants of the earlier ones in place. Raises StreamError without a recording.
    """
    if calibration is None or not len(calibration[0]):
        raise StreamError("time_pooling='frozen' needs a recording to measure on; pass calibration=")
    constants: list[Array] = []
    for k, node in enumerate(plan.nodes):
        if node.kind != TIME_REDUCE.kind:
            continue
        source = node.inputs[0]
        before = freeze(replace(plan, nodes=plan.nodes[:k], outputs=(source,)), constants)
        frames = _offline_tensor(before, calibration, source)
        options = node.options_of(StatisticOptions)
        values = frames.reshape(len(frames), *node.views[0])
        target = plan.tensors[node.outputs[0]]
        constants.append(mean_of(values, options.axes, plan.tensors[source], target, options.statistic))
    return constants


def _offline_tensor(plan: Plan, signal: Sequence[Array], tensor: int) -> Array:
    state, executor = State(plan), ReferenceExecutor(plan)
    executor.run(state, state.arrive(signal))
    executor.run(state, state.end())
    return state.remembered(tensor)
