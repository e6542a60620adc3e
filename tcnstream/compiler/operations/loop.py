"""WHILE, and the ends of a loop that steps through sequences, which ``compiler.whiles`` makes of it.

One step of a loop is said over frames as it stands: its tensors have no time, and each frame of the stream is one step.
"""

from __future__ import annotations

from dataclasses import replace

from tcnstream.compiler.lowering import Lowering, TimedTensor, frame_shape
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations.time import STEPS_FOR_A_WINDOW, state
from tcnstream.tflite.graph import Op
from tcnstream.tflite.validate import ANY_NUMBER, WHOLE, Operands, Rule, Shapes


def _variables(o: Operands) -> Shapes:
    """A loop hands its variables on in the shapes in which it got them."""
    return tuple(o.shapes())


def _why(op: Op) -> str:
    return str(op.options.get("why", "loops over the window"))


def _read(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    axis, loop = lw.stream(op, i).axis, replace(op, kind=WHILE.kind)
    if axis is None:
        lw.refuse(loop, STEPS_FOR_A_WINDOW)
    if axis != 0:
        lw.refuse_axis(loop, f"steps along axis 0 of {lw.shape(i)}, which is not time")
    lw.alias(op, i, None)


def _collect(lw: Lowering, op: Op) -> None:
    lw.alias(op, op.inputs[0], 0)


def _last(lw: Lowering, op: Op) -> None:
    lw.alias(op, op.inputs[0], None)
    last = lw.streams[op.outputs[0]]
    lw.streams[op.outputs[0]] = replace(last, lead=last.window_frames - 1)


def _state(lw: Lowering, op: Op) -> None:
    _, following, *sequences = op.inputs
    tensor = lw.graph.tensors[op.outputs[0]]
    start = lw.constant(op, 0)
    start = start.reshape(frame_shape(start.shape, None))
    held = replace(tensor, shape=start.shape, data=start)
    value, _ = state(lw, op, held, lw.operand(sequences[0]), lw.window_frames_of(op))
    lw.streams[op.outputs[0]] = TimedTensor(value, None, lw.window_frames_of(op))
    lw.await_feedback(value, following)


WHILE = Operation(
    "WHILE",
    Rule(
        operands=(1, ANY_NUMBER),
        several_outputs=True,
        shapes=_variables,
        options={"cond_subgraph_index": WHOLE, "body_subgraph_index": WHOLE},
        retyped=True,
        scaled=False,
    ),
    refusal=_why,
)

_INNER = Rule(operands=(1, ANY_NUMBER), shapes=lambda o: None, retyped=True, scaled=False)
"""``compiler.whiles`` makes what fits together."""

LOOP_READ = Operation("LOOP_READ", _INNER, lower=_read)
"""The frame of a sequence that a step takes."""

LOOP_STATE = Operation("LOOP_STATE", _INNER, lower=_state)
"""A state before a step: operand 0 at the start, then operand 1 of the step before.

The other operands are what is stepped through.
"""

LOOP_COLLECT = Operation("LOOP_COLLECT", _INNER, lower=_collect)
"""The frames of all steps as a sequence."""

LOOP_LAST = Operation("LOOP_LAST", _INNER, lower=_last)
"""A state after the last step: every frame is the last one so far."""

OPERATIONS = (WHILE, LOOP_READ, LOOP_STATE, LOOP_COLLECT, LOOP_LAST)
