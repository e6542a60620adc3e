"""Sums of products, and statistics of a frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from helpers.singleop import Trial, tensor
from helpers.trials.drawing import (
    ACTIVATIONS,
    F32,
    I8,
    I16,
    I32,
    I64,
    Build,
    Rng,
    any_of,
    bias_of,
    quantized,
    scale_to_fit,
    some_shape,
    values,
    weights_of,
)
from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import AxisOptions


def dense(rng: Rng, dtype: Any) -> Trial:
    rows, depth, channels = int(rng.integers(1, 9)), int(rng.integers(1, 20)), int(rng.integers(1, 6))
    per_tensor = bool(rng.random() < 0.5)
    x = quantized(rng, (rows, depth), dtype)
    weights = weights_of(rng, dtype, (channels, depth), 0, per_tensor)
    if weights.quantization is not None and per_tensor and dtype is I8 and rng.random() < 0.5:
        weights = replace(
            weights, quantization=replace(weights.quantization, zero_point=np.array([rng.integers(-9, 9)]))
        )
    output = scale_to_fit(rng, x, weights, depth, (rows, channels))
    bias = bias_of(rng, x, weights, channels, depth)
    options = {"fused_activation_function": any_of(rng, *ACTIVATIONS)}
    return Trial("FULLY_CONNECTED", (x, weights, bias), (values(rng, x.shape, dtype),), (output,), options)


def matrix_product(rng: Rng, dtype: Any) -> Trial:
    t, n, k, m = some_shape(rng, 4)
    adj_x, adj_y = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    x = quantized(rng, (t, k, n) if adj_x else (t, n, k), dtype)
    shape = (m, k) if adj_y else (k, m)
    y = quantized(rng, shape, dtype)
    y = replace(y, data=values(rng, shape, dtype))
    output = scale_to_fit(rng, x, y, k, (t, n, m))
    if dtype is I16:
        output = replace(output, quantization=replace(output.quantization, scale=output.quantization.scale * F32(256)))
    options = {"adj_x": adj_x, "adj_y": adj_y}
    return Trial("BATCH_MATMUL", (x, y), (values(rng, x.shape, dtype),), (output,), options)


def reducing(kind: str, rescales: bool = False) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        shape = some_shape(rng, 4)
        axes = any_of(rng, (1,), (2,), (3,), (1, 2), (1, 3), (1, 2, 3), (-1,))
        keep = bool(rng.random() < 0.5)
        gone = {axis % 4 for axis in axes}
        out = tuple(1 if a in gone else n for a, n in enumerate(shape) if keep or a not in gone)
        x = quantized(rng, shape, dtype)
        output = quantized(rng, out, dtype, around=6.0) if rescales else replace(x, shape=out)
        low, high = (0.5, 1.5) if kind == "REDUCE_PROD" else (-4.0, 4.0)
        return Trial(
            kind,
            (x, tensor((len(axes),), I32, data=axes)),
            (values(rng, shape, dtype, low, high),),
            (output,),
            {"keep_dims": keep},
            plan_options=StatisticOptions(Statistic(kind), axes),
        )

    return build


def indexing(kind: str) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        shape, axis = some_shape(rng), int(rng.integers(1, 3))
        x = quantized(rng, shape, dtype)
        kinds = {"output_type": any_of(rng, "INT32", "INT64")}
        output = tensor((*shape[:axis], *shape[axis + 1 :]), I32 if kinds["output_type"] == "INT32" else I64)
        operands = (x, tensor((1,), I32, data=[axis]))
        feed = np.round(values(rng, shape, dtype))
        return Trial(kind, operands, (feed,), (output,), kinds, plan_options=AxisOptions(axis))

    return build
