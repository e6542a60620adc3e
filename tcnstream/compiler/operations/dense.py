"""Matrix products over the last axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.lowering import Lowering, axes_of_frame
from tcnstream.compiler.operation import Operation, from_file, multiply_adds_per_value
from tcnstream.compiler.operations.layout import TRANSPOSE, TransposeOptions, swapped
from tcnstream.compiler.operations.time import TIME_WINDOW
from tcnstream.compiler.plan import ActivationOptions, Node, Options, Plan, Window
from tcnstream.tflite.graph import Op, Shape
from tcnstream.tflite.validate import ACTIVATION, FLAG, Operands, Rule, Shapes, one_of, require, spread


@dataclass(frozen=True)
class MatrixOptions(Options):
    """Whether the left (``adj_x``) or the right operand (``adj_y``) is transposed."""

    adj_x: bool = False
    adj_y: bool = False


@dataclass(frozen=True)
class Sums16Options(Options):
    """``scales`` bring sums to int16, one for each of as many equal parts; ``operation`` is what has them inside."""

    scales: tuple[float, ...]
    operation: str

    @property
    def kind_in_file(self) -> str:
        return self.operation


def _dense_shapes(o: Operands) -> Shapes:
    units, depth = o.shape(1, rank=2)
    values, out = math.prod(o.shape(0)), o.out()
    require(depth > 0 and values % depth == 0, f"weights {o.shape(1)} over {o.shape(0)}")
    require(o.count(2) in (None, units), f"a bias of {o.count(2)} for {units} units")
    if o.leaves_lengths_open:
        rows = o.shape(0)[:-1] if o.op.options.get("keep_num_dims") else (values // depth,)
        require(math.prod(rows) == values // depth, f"{values // depth} rows for {rows}")
        return ((*rows, units),)
    require(out[-1:] == (units,), f"weights {o.shape(1)} over {o.shape(0)} for {out}")
    require(math.prod(out) == values // depth * units, f"{values // depth} rows for {out}")
    return None


def _matrix_shapes(o: Operands) -> Shapes:
    left, right = list(o.shape(0)), list(o.shape(1))
    if o.op.options.get("adj_x"):
        left[-2:] = left[:-3:-1]
    if o.op.options.get("adj_y"):
        right[-2:] = right[:-3:-1]
    require(min(len(left), len(right)) > 1 and left[-1] == right[-2], f"{o.shape(0)} times {o.shape(1)}")
    return ((*spread(tuple(left[:-2]), tuple(right[:-2])), left[-2], right[-1]),)


def _fully_connected(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    data = lw.constant(op, 1)
    stream, shape = lw.stream(op, i), lw.shape(i)
    operand = lw.operand(i)
    axis, out = stream.axis, lw.shape(op.outputs[0])
    if axis is not None and (axis == len(shape) - 1 or math.prod(shape) == data.shape[1] != shape[-1]):
        operand = _whole_window(lw, op, i, operand, axis)
        axis = None
    elif axis is not None and (len(out) != len(shape) or out[axis] != shape[axis]):
        axis = 0 if len(out) == 2 and out[0] == shape[axis] else None
        if axis is None:
            lw.refuse(op, f"turns {shape} into {out}, which mixes time with other axes")
    elif axis is None and math.prod(operand[1]) == data.shape[1]:
        operand = (operand[0], (data.shape[1],))
    constant = lw.add_constant(lw.graph.tensors[op.inputs[1]], data)
    inputs = [operand, (constant, data.shape), lw.bias(op, 2)]
    window_frames = 1 if axis is None and stream.axis is not None else None
    lw.emit(op, inputs, axis, options=from_file(ActivationOptions, op), window_frames=window_frames)


def _whole_window(lw: Lowering, op: Op, i: int, operand: tuple[int, Shape], axis: int) -> tuple[int, Shape]:
    """All frames of the window as one, in the order of the file, where time stands behind other axes."""
    shape, frame = lw.shape(i), operand[1]
    kept = axes_of_frame(shape, axis)
    frames, before = shape[axis], math.prod(shape[:axis])
    like, window = lw.graph.tensors[i], Window(extent=frames)
    flat, made = lw.step(op, [operand], like, (frames, *frame), 1, TIME_WINDOW.kind, window=window)
    if before > 1:
        source = (flat, (frames, before, math.prod(frame) // before))
        ahead = tuple(shape[a] for a in kept if a < axis)
        flat, made = swapped(lw, op, like, source, 1), (*ahead, frames, *shape[axis + 1 :])
    elif math.prod(frame) == 1:
        made = (frames,)
    return flat, made


def _batch_matmul(lw: Lowering, op: Op) -> None:
    """A product with a constant (k, m): of each row of the signal (..., n, k), said as it stands or turned around.

    Where the constant stands left, it is turned around, and so is the signal, (..., k, n), and what is made of it.
    """
    left, right = (i in lw.streams for i in op.inputs)
    if left and right:
        lw.refuse(op, "multiplies the signal's frames with each other, as attention does")
    (i, other), position = (op.inputs, 1) if left else (op.inputs[::-1], 0)
    turns_x, turns_y = bool(op.options.get("adj_x", False)), bool(op.options.get("adj_y", False))
    is_turned, makes_turned = turns_x if left else not turns_y, right
    stream, shape, out = lw.stream(op, i), lw.shape(i), lw.shape(op.outputs[0])
    rows, depth = (len(shape) - 1, len(shape) - 2) if is_turned else (len(shape) - 2, len(shape) - 1)
    if stream.axis == depth:
        lw.refuse(op, "sums over time")
    matrix = lw.constant(op, position)
    if any(n != 1 for n in matrix.shape[:-2]):
        lw.refuse(op, "has another matrix for each batch")
    matrix = matrix.reshape(matrix.shape[-2:])
    matrix = matrix.T if (turns_y if left else not turns_x) else matrix
    units = matrix.size // shape[depth]
    inputs = [(lw.add_constant(lw.graph.tensors[other], np.ascontiguousarray(matrix), 1), matrix.shape)]
    axis = stream.axis
    if axis is not None:
        axis = len(out) - (1 if makes_turned else 2) if axis == rows else axis + len(out) - len(shape)
    beside = tuple(shape[a] for a in axes_of_frame(shape, stream.axis) if a not in (rows, depth))
    frames, like = stream.window_frames, lw.graph.tensors[op.outputs[0]]
    if rows == stream.axis or shape[rows] == 1:
        operand = (stream.value, (*beside, shape[depth]))
        return lw.emit(op, [operand, *inputs], axis, options=MatrixOptions())
    operand, swap = lw.operand(i), (*range(len(beside) + 1), len(beside) + 2, len(beside) + 1)
    options = TransposeOptions(swap)
    if is_turned:
        view = (*beside, shape[rows], shape[depth])
        operand = lw.step(op, [operand], lw.graph.tensors[i], view, frames, TRANSPOSE.kind, options=options)
    if not makes_turned:
        return lw.emit(op, [operand, *inputs], axis, options=MatrixOptions())
    view = (*beside, shape[rows], units)
    made = lw.step(op, [operand, *inputs], like, view, frames, op.kind, options=MatrixOptions())
    return lw.emit(op, [made], axis, kind=TRANSPOSE.kind, options=options)


def _dense_multiply_adds(plan: Plan, node: Node) -> int:
    return multiply_adds_per_value(plan, node, plan.tensors[node.inputs[1]].shape[1])


def _matrix_multiply_adds(plan: Plan, node: Node) -> int:
    return multiply_adds_per_value(plan, node, plan.tensors[node.inputs[1]].shape[0])


def _sums_multiply_adds(plan: Plan, node: Node) -> int:
    return multiply_adds_per_value(plan, node, node.views[1][1])


_TYPES = ("float32", "int8", "int16")

FULLY_CONNECTED = Operation(
    "FULLY_CONNECTED",
    Rule(
        operands=(2, 3),
        shapes=_dense_shapes,
        options={"fused_activation_function": ACTIVATION, "weights_format": one_of("DEFAULT")},
        weights=1,
        channel_axis=0,
        bias=2,
    ),
    options=ActivationOptions,
    lower=_fully_connected,
    multiply_adds=_dense_multiply_adds,
    types=_TYPES,
    batch=batch_rules.dense,
    keeps_numbers=True,
)

BATCH_MATMUL = Operation(
    "BATCH_MATMUL",
    Rule(operands=(2, 2), shapes=_matrix_shapes, options={"adj_x": FLAG, "adj_y": FLAG}, weights=1),
    options=MatrixOptions,
    lower=_batch_matmul,
    multiply_adds=_matrix_multiply_adds,
    types=_TYPES,
    batch=batch_rules.product,
    keeps_numbers=True,
)

SUMS_INT16 = Operation("SUMS_INT16", options=Sums16Options, multiply_adds=_sums_multiply_adds)
"""A dense layer of int8 whose outputs are int16, inside of another operation."""

OPERATIONS = (FULLY_CONNECTED, BATCH_MATMUL, SUMS_INT16)
