"""What stands in for an operation that needs all of time: trailing, cumulative or frozen statistics.

Each TIME_REDUCE of a plan is replaced, operation by operation, by exactly the definition that the
policy's name says; integer models use the file's own integer arithmetic for as many frames as there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.operations.time import TIME_CUMULATIVE, TIME_FROZEN, TIME_REDUCE, TIME_TRAILING
from tcnstream.compiler.plan import Node, Plan, Window
from tcnstream.errors import NotStreamableError, StreamError
from tcnstream.tflite.graph import Array, Tensor

_WAYS_OUT = (
    "Choose what stands in for it: time_pooling='trailing' (the last frames), 'cumulative' (all frames so far) or"
    " 'frozen' (constants from a calibration recording); or end the model before it"
)
_DOES = {
    Statistic.MEAN: "averages",
    Statistic.SUM: "sums",
    Statistic.MAXIMUM: "takes the maximum of",
    Statistic.MINIMUM: "takes the minimum of",
}


MOST_FRAMES = 1 << 24
"""As far as a trailing statistic looks back: 17 minutes of audio at 16 kHz, and all of it is remembered."""


@dataclass(frozen=True)
class Policy:
    """``kind`` is trailing, cumulative or frozen; ``window_frames`` None means the file's own window."""

    kind: str
    window_frames: int | None = None

    def __str__(self) -> str:
        return self.kind if self.window_frames is None else f"{self.kind}:{self.window_frames}"


def parse_policy(text: str) -> Policy:
    """``"trailing"``, ``"trailing:400"``, ``"cumulative"`` or ``"frozen"``; else a StreamError."""
    kind, colon, window = text.partition(":")
    if kind == "trailing" and colon:
        if window.isdecimal() and int(window) > 0:
            if int(window) > MOST_FRAMES:
                raise StreamError(f"time_pooling={text!r} looks back farther than {MOST_FRAMES} frames; take fewer")
            return Policy(kind, int(window))
    elif kind in ("trailing", "cumulative", "frozen") and not colon:
        return Policy(kind)
    raise StreamError(f"time_pooling={text!r} is unknown; use 'trailing', 'trailing:FRAMES', 'cumulative' or 'frozen'")


def global_nodes(plan: Plan) -> list[Node]:
    """The nodes that need all of time."""
    return [node for node in plan.nodes if node.kind == TIME_REDUCE.kind]


def apply_policy(plan: Plan, policy: Policy | None, constants: Sequence[Array] = ()) -> Plan:
    """The plan with every TIME_REDUCE replaced.

    Without a policy a plan that has one is a NotStreamableError that names the operation. ``constants``, for "frozen":
    what each of them gives, in the order of the nodes, as ``engines.reference.calibration.measure`` finds it.
    """
    needy = global_nodes(plan)
    if not needy:
        return plan
    if policy is None:
        node = needy[0]
        statistic = node.options_of(StatisticOptions).statistic
        all_frames = "all frames" if plan.window_is_open else f"all {plan.windows[node.inputs[0]]} frames"
        others = f", and {len(needy) - 1} more like it" if len(needy) > 1 else ""
        raise NotStreamableError(
            f"`{node.kind_in_file}` (op {node.index}, `{node.label}`) {_DOES[statistic]}"
            f" {all_frames} of the window{others}, so it has no exact streaming form. {_WAYS_OUT}."
        )
    if policy.kind == "frozen":
        return freeze(plan, constants)
    if policy.kind == "trailing" and policy.window_frames is None and plan.window_is_open:
        raise StreamError(
            "time_pooling='trailing' takes the file's window, which this file leaves open; say over how many frames, as"
            " 'trailing:400'"
        )
    return replace(plan, nodes=tuple(_replaced(plan, node, policy) for node in plan.nodes))


def freeze(plan: Plan, constants: Sequence[Array]) -> Plan:
    """The plan with a constant in the place of each TIME_REDUCE, of the first ones if there are fewer constants."""
    for k, measured in zip(
        [k for k, n in enumerate(plan.nodes) if n.kind == TIME_REDUCE.kind], constants, strict=False
    ):
        node = plan.nodes[k]
        target = plan.tensors[node.outputs[0]]
        values = np.asarray(measured).reshape(target.shape)
        constant = Tensor(f"{node.label}/frozen", target.shape, target.dtype, target.quantization, values)
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


def _replaced(plan: Plan, node: Node, policy: Policy) -> Node:
    if node.kind != TIME_REDUCE.kind:
        return node
    if policy.kind == "cumulative":
        return replace(node, kind=TIME_CUMULATIVE.kind)
    frames = policy.window_frames or plan.windows[node.inputs[0]]
    window = Window(extent=frames, pad_begin=frames - 1, edge="clip")
    return replace(node, kind=TIME_TRAILING.kind, window=window)
