"""Functions of one value, of two and of three."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from helpers.singleop import Trial, tensor
from helpers.trials.drawing import (
    ACTIVATIONS,
    BOOL,
    F32,
    I8,
    I16,
    I32,
    I64,
    QUANTIZED,
    U8,
    Build,
    Rng,
    any_of,
    quantized,
    some_shape,
    values,
    zero_of,
)
from tcnstream.tflite.graph import Array


def unary(
    kind: str, low: float = -4.0, high: float = 4.0, around: float = 4.0, out: Any = None, **options: Any
) -> Build:
    """One operand, all values of int8 and (spread over the trials) of int16."""

    def build(rng: Rng, dtype: Any) -> Trial:
        fixed = (out or {}).get(dtype, {})
        if dtype is F32:
            feed = np.concatenate([values(rng, (5, 12), F32, low, high), np.full((1, 12), max(low, 0.0), F32)])
        else:
            limits = np.iinfo(dtype if dtype in QUANTIZED else I8)
            feed = np.arange(limits.min, limits.max + 1).astype(dtype).reshape(-1, 16)
        x = quantized(rng, feed.shape, dtype, around=12.0 * 4.0 ** rng.uniform(-2, 1) if dtype in QUANTIZED else 1)
        output = quantized(rng, feed.shape, dtype, around=around, **fixed)
        return Trial(kind, (x,), (feed,), (output,), options)

    return build


def binary(
    kind: str, act: bool = False, low: float = -4.0, high: float = 4.0, same_scale: bool = False, **fixed: Any
) -> Build:
    """Two operands: equal shapes, a constant per channel, a constant scalar, or a constant on the left.

    ``same_scale``: values are copied or compared raw, so all have one scale.
    """

    def build(rng: Rng, dtype: Any) -> Trial:
        shape = some_shape(rng)
        output_dtype = fixed.get("out", dtype)
        a, b = quantized(rng, shape, dtype), quantized(rng, shape, dtype)
        if same_scale:
            b = replace(b, quantization=a.quantization)
        output = quantized(rng, shape, output_dtype, around=12.0)
        if same_scale:
            output = replace(output, quantization=a.quantization)
        options = {"fused_activation_function": any_of(rng, *ACTIVATIONS)} if act else {}
        feeds = [values(rng, shape, dtype, low, high) for _ in range(2)]
        which = int(rng.integers(4))
        if which:
            side = 0 if which == 3 else 1
            narrow = (shape[-1],) if which != 2 else (1,)
            constant = replace((a, b)[side], shape=narrow, data=values(rng, narrow, dtype, low, high))
            operands = (constant, b) if side == 0 else (a, constant)
            return Trial(kind, operands, feeds[:1], (output,), options)
        return Trial(kind, (a, b), feeds, (output,), options)

    return build


def adding(kind: str) -> Build:
    """ADD and SUB; int16 sometimes with the shifts that old converters ask for (the option's default)."""

    def build(rng: Rng, dtype: Any) -> Trial:
        trial = binary(kind, act=True)(rng, dtype)
        flag = {"pot_scale_int16": bool(rng.random() < 0.5)}
        trial = replace(trial, options={**trial.options, **flag})
        if dtype is not I16 or rng.random() < 0.5:
            return trial
        shape, output = trial.outputs[0].shape, 2.0 ** float(rng.integers(-15, -8))
        scales = [output, output / 2.0 ** float(rng.integers(0, 5))]
        a, b = (tensor(shape, I16, scale=scale) for scale in rng.permutation(scales))
        feeds = [values(rng, shape, I16) for _ in range(2)]
        return replace(trial, operands=(a, b), feeds=feeds, outputs=(tensor(shape, I16, scale=output),))

    return build


def saturating(kind: str, out: dict[Any, dict[str, Any]]) -> Build:
    """LOGISTIC and TANH treat int16 inputs apart whose scale is a power of two."""

    def build(rng: Rng, dtype: Any) -> Trial:
        trial = unary(kind, -100, 100, out=out)(rng, dtype)
        if dtype is not I16 or rng.random() < 0.4:
            return trial
        scale = 2.0 ** float(rng.integers(-15, -8)) * any_of(rng, 1.0, 1.0, 1.0004, 1.01)
        return replace(trial, operands=(tensor(trial.feeds[0].shape, I16, scale=scale),))

    return build


def sharpening(kind: str, out: dict[Any, dict[str, Any]], beta: bool) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        shape = (64, int(rng.integers(1, 24)))
        x = quantized(rng, shape, dtype, around=8.0 * 4.0 ** rng.uniform(-2, 2))
        options = {"beta": float(any_of(rng, 1.0, 0.5, 2.25))} if beta else {}
        feed = values(rng, shape, dtype, -9, 9)
        return Trial(kind, (x,), (feed,), (quantized(rng, shape, dtype, **out.get(dtype, {})),), options)

    return build


def bending(rng: Rng, dtype: Any) -> Trial:
    t, n, channels = some_shape(rng)
    x = quantized(rng, (t, n, channels), dtype)
    shape = any_of(rng, (channels,), (1, channels), (n, channels), (1, 1, 1))
    alpha = quantized(rng, shape, dtype, around=1.0)
    alpha = replace(alpha, data=values(rng, shape, dtype))
    output = quantized(rng, x.shape, dtype)
    return Trial("PRELU", (x, alpha), (values(rng, x.shape, dtype),), (output,))


def leaking(rng: Rng, dtype: Any) -> Trial:
    return unary("LEAKY_RELU", alpha=float(any_of(rng, 0.01, 0.2, 1.5)))(rng, dtype)


def quantizing(rng: Rng, dtype: Any) -> Trial:
    """float32 to what a model's ends may be, and every integer type to the ones that the reference kernels allow."""
    shape = (9, 40)
    target = any_of(rng, *{F32: (I8, U8, I16), I8: (I8, U8), U8: (I8, U8), I16: (I8, I16), I32: (I8, I16)}[dtype])
    if dtype is I32:
        x, feed = tensor(shape, I32, scale=rng.uniform(1e-4, 1e-3)), rng.integers(-1 << 20, 1 << 20, shape).astype(I32)
    else:
        x, feed = quantized(rng, shape, dtype), values(rng, shape, dtype, -8, 8)
    return Trial("QUANTIZE", (x,), (feed,), (quantized(rng, shape, target),))


def dequantizing(rng: Rng, dtype: Any) -> Trial:
    shape = (16, 16)
    if dtype is np.float16:
        return Trial(
            "DEQUANTIZE", (tensor(shape, dtype),), (values(rng, shape, F32).astype(dtype),), (tensor(shape, F32),)
        )
    return Trial("DEQUANTIZE", (quantized(rng, shape, dtype),), (values(rng, shape, dtype),), (tensor(shape, F32),))


def casting(rng: Rng, dtype: Any) -> Trial:
    shape = some_shape(rng)
    target = any_of(rng, F32, I8, I16, I32, I64, BOOL)
    names = {F32: "FLOAT32", I8: "INT8", I16: "INT16", I32: "INT32", I64: "INT64", BOOL: "BOOL"}
    feed = values(rng, shape, dtype, -9, 9)
    options = {"in_data_type": names[dtype], "out_data_type": names[target]}
    return Trial("CAST", (tensor(shape, dtype),), (feed,), (tensor(shape, target),), options)


def choosing(kind: str) -> Build:
    def build(rng: Rng, dtype: Any) -> Trial:
        shape = some_shape(rng)
        x = quantized(rng, shape, dtype)
        feeds = (values(rng, shape, BOOL), values(rng, shape, dtype), values(rng, shape, dtype))
        return Trial(kind, (tensor(shape, BOOL), x, x), feeds, (x,))

    return build


def comparing(kind: str) -> Build:
    return binary(kind, out=BOOL)


def dividing(kind: str, raw: bool = False, **options: Any) -> Build:
    """Two operands of which the second never stands for zero; ``raw``: never is zero."""

    def build(rng: Rng, dtype: Any) -> Trial:
        trial = binary(kind, **options)(rng, dtype)
        divisor = trial.operands[1]
        zero = 0 if raw else zero_of(divisor)

        def never_zero(data: Array) -> Array:
            return np.where(data == zero, zero + (1 if zero < 100 else -1), data).astype(data.dtype)

        if divisor.data is not None:
            return replace(trial, operands=(trial.operands[0], replace(divisor, data=never_zero(divisor.data))))
        return replace(trial, feeds=(*trial.feeds[:-1], never_zero(trial.feeds[-1])))

    return build


def raising(rng: Rng, dtype: Any) -> Trial:
    trial = binary("POW", low=0.1, high=2.5)(rng, dtype)
    if dtype is not I32:
        return trial
    operands = [o if o.data is None else replace(o, data=np.abs(o.data) % 6) for o in trial.operands]
    return replace(trial, operands=operands, feeds=[np.abs(feed) % 6 for feed in trial.feeds])


def inverting(rng: Rng, dtype: Any) -> Trial:
    """1 / sqrt; the reference kernel stops at what stands for a negative number."""
    trial = unary("RSQRT", 0.01)(rng, dtype)
    return replace(trial, feeds=[np.maximum(trial.feeds[0], zero_of(trial.operands[0])).astype(dtype)])


LOGISTIC_OUT = {I8: {"scale": 1 / 256, "zero_point": -128}, I16: {"scale": 1 / 32768}}
TANH_OUT = {I8: {"scale": 1 / 128, "zero_point": 0}, I16: {"scale": 1 / 32768}}
LOG_SOFTMAX_OUT = {I8: {"scale": 16 / 256, "zero_point": 127}}
