"""How convolutions of int8 round, by a third definition: where LiteRT's kernels differ from each other, which is right.

``k3_c2d_1T.i8`` has a TILE of int8, which the reference kernels lack: run as it is, LiteRT answers by its fast kernels,
up to 4 steps away. Its answer here is that of the reference kernels with the TILE spelt as a CONCATENATION.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from helpers.oracle import reference_kernels
from helpers.paths import DATA

from tcnstream.tflite.graph import Graph, Op
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.writer import write_model

Integers = npt.NDArray[np.int64]

GRAPH = read_model((DATA / "converted" / "k3_c2d_1T.i8.tflite").read_bytes()).main
SEPARABLE = (5, 6)
"""A depthwise convolution of 3 frames, and one of a single frame behind it."""


def multiplied(sums: Integers, real: npt.NDArray[np.float64]) -> Integers:
    """``MultiplyByQuantizedMultiplier`` in whole numbers: halves up at 31 bits, away from 0 after the shift."""
    fraction, exponent = np.frexp(real)
    multiplier, shift = np.rint(fraction * 2.0**31).astype(np.int64), exponent.astype(np.int64)
    product = (sums << np.maximum(shift, 0)) * multiplier
    high = (product + (1 << 30)) >> 31
    right = np.maximum(-shift, 0)
    half = (np.int64(1) << right) >> 1
    return np.asarray(np.sign(high) * ((np.abs(high) + half) >> right))


def numbers(i: int) -> tuple[npt.NDArray[np.float64], int]:
    q = GRAPH.tensors[i].quantization
    assert q is not None
    return q.scale.astype(np.float64), int(q.zero_point[0])


def constant(i: int) -> Integers:
    data = GRAPH.tensors[i].data
    assert data is not None
    return data.astype(np.int64)


def by_definition(op: Op, x: Integers) -> Integers:
    """A convolution along time, SAME, of (frames, channels), as TFLite's specification for int8 says it."""
    (source, zero), (scales, _), (target, zero_out) = (numbers(i) for i in (*op.inputs[:2], op.outputs[0]))
    weights = constant(op.inputs[1])
    taps = weights.shape[2]
    padded = np.pad(x - zero, ((taps // 2, taps // 2), (0, 0)))
    windows = np.stack([padded[k : k + len(x)] for k in range(taps)], 1)
    if op.kind == "DEPTHWISE_CONV_2D":
        sums = (windows * weights[0, 0]).sum(axis=1)
    else:
        sums = np.einsum("tkc,okc->to", windows, weights[:, 0])
    sums = sums + constant(op.inputs[2])
    return np.asarray(np.clip(multiplied(sums, source[0] * scales / target[0]) + zero_out, -128, 127))


@pytest.mark.parametrize("place", SEPARABLE)
def test_convolutions_round_as_whole_numbers_say(place: int) -> None:
    op = GRAPH.ops[place]
    shape = GRAPH.tensors[op.inputs[0]].shape
    x = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    alone: Graph = dataclasses.replace(GRAPH, ops=(op,), inputs=op.inputs[:1], outputs=op.outputs)
    (answer,) = reference_kernels(write_model([alone]), [x])
    np.testing.assert_array_equal(answer[0, 0], by_definition(op, x[0, 0].astype(np.int64)))
