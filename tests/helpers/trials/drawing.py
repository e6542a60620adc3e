"""What the builders draw from: values, scales, shapes, weights and biases of one operation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from helpers.singleop import Trial, tensor
from tcnstream.tflite.graph import Array, Tensor

F32, I8, U8, I16, I32, I64, BOOL = np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_
QUANTIZED = (I8, I16)
ENCODED = (I8, U8, I16)
Rng = np.random.Generator


class FarScales(np.random.Generator):
    """Draws quantization that no converter writes: scales far apart, zero points at the ends, long biases."""

    @classmethod
    def of(cls, seed: int) -> FarScales:
        return cls(np.random.PCG64(seed))

    def farther(self, scale: Any, least: float, most: float) -> Any:
        """Every other scale, times two to a power between these."""
        apart = self.random(np.shape(scale)) < 0.5
        return np.where(apart, scale * 2.0 ** self.uniform(least, most, np.shape(scale)), scale).astype(np.float32)


Build = Callable[[Rng, Any], Trial]


def values(rng: Rng, shape: tuple[int, ...], dtype: Any, low: float = -4.0, high: float = 4.0) -> Array:
    """Random numbers that use the whole range of an integer type, extremes included."""
    if dtype is F32:
        return rng.uniform(low, high, shape).astype(F32)
    if dtype is BOOL:
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype) if dtype in ENCODED else np.iinfo(I8)
    drawn = rng.integers(limits.min, limits.max, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.05, rng.choice([limits.min, limits.max], shape), drawn).astype(dtype)


def some_scale(rng: Rng, dtype: Any, around: float = 6.0) -> np.float32:
    """A scale that makes the type span about ``around``, give or take a factor of four."""
    scale = F32(2 * around / 4.0 ** rng.uniform(-1, 1) / (2.0 ** (8 * np.dtype(dtype).itemsize)))
    return F32(rng.farther(scale, -10, 10)) if isinstance(rng, FarScales) else scale


def quantized(rng: Rng, shape: tuple[int, ...], dtype: Any, around: float = 6.0, **fixed: Any) -> Tensor:
    """A tensor of this type, with random quantization if it is int8 or int16."""
    if dtype not in ENCODED:
        return tensor(shape, dtype)
    limits = np.iinfo(dtype)
    zero_point = 0 if dtype is I16 else int(rng.integers(limits.min, limits.max, endpoint=True))
    if isinstance(rng, FarScales) and dtype is not I16 and rng.random() < 0.3:
        zero_point = any_of(rng, limits.min, limits.max)
    chosen = {"scale": some_scale(rng, dtype, around), "zero_point": zero_point}
    return tensor(shape, dtype, **(chosen | fixed))


def some_shape(rng: Rng, rank: int = 3) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(1, 7, rank))


def any_of(rng: Rng, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


def bias_of(rng: Rng, x: Tensor, weights: Tensor, channels: int, depth: int, always: bool = False) -> Tensor | None:
    """A bias of the type and scale that the converter writes, sometimes none."""
    if not always and rng.random() < 0.25:
        return None
    if x.quantization is None or weights.quantization is None:
        return tensor((channels,), F32, data=values(rng, (channels,), F32))
    wide = x.dtype == I16
    limit = 60 * (256 if wide else 1) * math.isqrt(100 * depth)
    scales = x.quantization.scale * weights.quantization.scale
    if isinstance(rng, FarScales):
        limit = any_of(rng, limit, 2**31 - 1, 2**40 if wide else 2**31 - 1)
    return tensor((channels,), I64 if wide else I32, scale=scales, data=rng.integers(-limit, limit, channels))


def weights_of(rng: Rng, dtype: Any, shape: tuple[int, ...], axis: int, per_tensor: bool = False) -> Tensor:
    """Symmetric int8 weights, per channel or per tensor, or float32 ones."""
    if dtype is F32:
        return tensor(shape, F32, data=values(rng, shape, F32, -1, 1))
    scales = rng.uniform(0.2, 1.0, 1 if per_tensor else shape[axis]) / 127
    if isinstance(rng, FarScales):
        scales = rng.farther(scales, -14, 8)
    return tensor(shape, I8, scale=scales, axis=axis, data=rng.integers(-127, 127, shape, endpoint=True))


def scale_to_fit(rng: Rng, x: Tensor, weights: Tensor, depth: int, shape: tuple[int, ...]) -> Tensor:
    """An output tensor whose scale lets a typical sum of ``depth`` products use its range, sometimes exceed it."""
    if x.quantization is None or weights.quantization is None:
        return tensor(shape, F32)
    spread = 74 * 2.0 ** (8 * x.dtype.itemsize - 8) * math.sqrt(depth)
    step = float(x.quantization.scale[0]) * float(weights.quantization.scale.mean()) * spread * 74
    scale = step / 2.0 ** (8 * x.dtype.itemsize - 8) / rng.uniform(10, 60)
    if isinstance(rng, FarScales):
        scale = float(rng.farther(scale, -20, 4))
    zero_point = 0 if x.dtype == I16 else int(rng.integers(-128, 128))
    return tensor(shape, x.dtype, scale=scale, zero_point=zero_point)


def zero_of(whole: Tensor) -> int:
    return 0 if whole.quantization is None else int(whole.quantization.zero_point[0])


def frame_of(whole: Tensor) -> Tensor:
    """Facts of a stream whose file tensor is (1, t, ...)."""
    return replace(whole, shape=whole.shape[2:])


def int32(*numbers: Any) -> Array:
    return np.asarray(numbers, I32)
