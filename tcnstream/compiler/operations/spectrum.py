"""Spectra of one frame's samples: a discrete Fourier transform is a matrix product, and complex numbers are pairs.

A complex tensor is two streams, its real and its imaginary part; ``TimedTensor.imaginary`` says which the second is.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.lowering import Lowering, TimedTensor, frame_shape
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations.activation import SQRT
from tcnstream.compiler.operations.dense import FULLY_CONNECTED
from tcnstream.compiler.operations.elementwise import ADD, MUL, SumOptions
from tcnstream.compiler.plan import ActivationOptions
from tcnstream.tflite.graph import ABSENT, Op, Shape, Tensor
from tcnstream.tflite.validate import Operands, Rule, Shapes, require

TRANSFORM = "RFFT2D"


def _bins(o: Operands) -> Shapes:
    shape, (height, width) = o.shape(0), o.integers(1, count=2)
    require(len(shape) > 1 and min(height, width) > 0, f"a transform of {height} by {width} over {shape}")
    return ((*shape[:-2], height, width // 2 + 1),)


def _transform(lw: Lowering, op: Op) -> None:
    """Bin k of ``width`` samples is the sum of x[t] * exp(-2j * pi * k * t / width); fewer samples end in zeros."""
    i = op.inputs[0]
    stream, shape = lw.stream(op, i), lw.shape(i)
    height, width = lw.integers(op, 1)
    if stream.axis is not None and stream.axis >= len(shape) - 2:
        lw.refuse(op, "transforms the whole window at once")
    if height != 1 or shape[-2] != 1:
        lw.refuse(op, "transforms two axes of every frame")
    value, frame = lw.operand(i)
    samples, bins = np.arange(shape[-1]), np.arange(width // 2 + 1)
    angles = 2 * math.pi * (np.outer(bins, samples) % width) / width
    within = samples < width
    like = Tensor(lw.label(op), (), np.dtype(np.float32))
    parts = []
    for weights in (np.cos(angles), -np.sin(angles)):
        matrix = np.where(within, weights, 0).astype(np.float32)
        constant = lw.add_constant(replace(like, name=f"{like.name}/transform"), matrix)
        operands = [(value, frame), (constant, matrix.shape), (ABSENT, ())]
        made = (*frame[:-1], len(bins))
        options = ActivationOptions()
        parts.append(lw.step(op, operands, like, made, stream.window_frames, FULLY_CONNECTED.kind, options=options)[0])
    lw.streams[op.outputs[0]] = TimedTensor(parts[0], stream.axis, stream.window_frames, stream.statistic, parts[1])


def _parts(lw: Lowering, op: Op) -> tuple[TimedTensor, int, Shape]:
    """The stream of the real part, the value of the imaginary part, and the shape of a frame of either."""
    i = op.inputs[0]
    stream = lw.stream(op, i)
    if stream.imaginary is None:
        lw.refuse(op, "reads complex numbers that no transform of a frame made")
    return stream, stream.imaginary, frame_shape(lw.shape(i), stream.axis)


def _magnitude(lw: Lowering, op: Op) -> None:
    stream, imaginary, frame = _parts(lw, op)
    like, frames = lw.graph.tensors[op.outputs[0]], stream.window_frames
    squares = [
        lw.step(op, [(part, frame)] * 2, like, frame, frames, MUL.kind, options=ActivationOptions())
        for part in (stream.value, imaginary)
    ]
    total = lw.step(op, squares, like, frame, frames, ADD.kind, options=SumOptions())
    lw.emit(op, [total], stream.axis, kind=SQRT.kind)


def _real(lw: Lowering, op: Op) -> None:
    stream, _, _ = _parts(lw, op)
    lw.streams[op.outputs[0]] = replace(stream, imaginary=None)


def _imaginary(lw: Lowering, op: Op) -> None:
    stream, imaginary, _ = _parts(lw, op)
    lw.streams[op.outputs[0]] = replace(stream, value=imaginary, imaginary=None)


def _makes_real_numbers(o: Operands) -> None:
    made = o.graph.tensors[o.op.outputs[0]]
    require(made.dtype == np.float32, f"`{made.name}` is {made.dtype}, not real numbers")


_OF_COMPLEX = Rule(demands=_makes_real_numbers, retyped=True, scaled=False)

OPERATIONS = (
    Operation(
        TRANSFORM,
        Rule(operands=(2, 2), shapes=_bins, retyped=True, scaled=False),
        lower=_transform,
        complex_numbers=True,
        batch=batch_rules.beside_two,
    ),
    Operation("COMPLEX_ABS", _OF_COMPLEX, lower=_magnitude, complex_numbers=True),
    Operation("REAL", _OF_COMPLEX, lower=_real, complex_numbers=True),
    Operation("IMAG", _OF_COMPLEX, lower=_imaginary, complex_numbers=True),
)
