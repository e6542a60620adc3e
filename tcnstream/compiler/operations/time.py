"""Operations that no file has: the compiler makes them, to move frames about or to take statistics over them."""

from __future__ import annotations

from dataclasses import dataclass

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation, multiply_adds_per_value
from tcnstream.compiler.plan import Node, Options, Plan
from tcnstream.tflite.graph import Op, Shape, Tensor


@dataclass(frozen=True)
class ResampleOptions(Options):
    """``separable``: each channel has filters of its own, else every filter reads all channels."""

    separable: bool = False


@dataclass(frozen=True)
class GraphOptions(Options):
    """``refusal`` says which operation keeps the graph from being a plan of its operations."""

    refusal: str = ""

    def alone(self, engine: str) -> str:
        """Why ``engine`` does not have it."""
        return f'the {engine} engine lacks a step of this model, of which the {self.refusal} Use engine="interpreter"'


STEPS_FOR_A_WINDOW = "steps once for a whole window, and not from frame to frame"
"""Why a recurrent layer behind a layer that has taken time away is refused."""

RESAMPLE_ONE = 1024
"""The weight 1 of a TIME_RESAMPLE of integers, whose weights are integers, too."""


def _resampling_multiply_adds(plan: Plan, node: Node) -> int:
    _, taps, channels, _ = plan.tensors[node.inputs[1]].shape
    separable = node.options_of(ResampleOptions).separable
    return multiply_adds_per_value(plan, node, taps if separable else taps * channels)


TIME_PAD = Operation("TIME_PAD", keeps_numbers=True)
"""Frames of padding (constant or mirrored), or a crop, or a decimation."""

TIME_WINDOW = Operation("TIME_WINDOW", keeps_numbers=True)
"""``extent`` frames side by side as one."""

TIME_UNFOLD = Operation("TIME_UNFOLD", cuts_frames=True, keeps_numbers=True)
"""One frame cut into ``up`` frames."""

TIME_REPEAT = Operation("TIME_REPEAT", cuts_frames=True, keeps_numbers=True)
"""Each frame ``up`` times."""

TIME_RESAMPLE = Operation("TIME_RESAMPLE", options=ResampleOptions, multiply_adds=_resampling_multiply_adds)
"""A filter between rates: weights (up, taps, C, filters), one set of them for each output frame."""

TIME_REDUCE = Operation("TIME_REDUCE", over_time=True)
"""A statistic over all of time; a policy must replace it before it can run."""

TIME_TRAILING = Operation("TIME_TRAILING", over_time=True)
"""The statistic of the last ``extent`` frames, of fewer while the stream is younger."""

TIME_CUMULATIVE = Operation("TIME_CUMULATIVE", over_time=True, remembers_all=True, carries=True)
"""The statistic of all frames so far."""

TIME_FROZEN = Operation("TIME_FROZEN")
"""What the statistic was on a calibration recording: a constant, its operand 1."""

TIME_STATE = Operation("TIME_STATE", remembers_all=True)
"""Frame j is frame j - 1 of the tensor that ``Plan.states`` names; frame 0 is a constant, its operand 0.

The other operands are streams that say how many frames there are.
"""

STATEFUL_GRAPH = Operation("STATEFUL_GRAPH", options=GraphOptions)
"""One step of a model that takes them by itself, run as it is."""


def state(lw: Lowering, op: Op, start: Tensor, clock: tuple[int, Shape], window_frames: int) -> tuple[int, Shape]:
    """What is fed back, as an operand: the frame before of what ``Lowering.feed_back`` names; ``start`` holds frame 0.

    There are as many frames as of ``clock`` and of all else that the loop reads.
    """
    assert start.data is not None
    constant = lw.add_constant(start, start.data)
    return lw.step(op, [(constant, start.shape), clock], start, start.shape, window_frames, TIME_STATE.kind)


OPERATIONS = (
    TIME_PAD,
    TIME_WINDOW,
    TIME_UNFOLD,
    TIME_REPEAT,
    TIME_RESAMPLE,
    TIME_REDUCE,
    TIME_TRAILING,
    TIME_CUMULATIVE,
    TIME_FROZEN,
    TIME_STATE,
    STATEFUL_GRAPH,
)
