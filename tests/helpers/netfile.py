"""A .tflite file under construction, for tests: tensors, constants and operations, in float32, int8, uint8 or 16x8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tcnstream.tflite.graph import Array, Graph, Op, OptionValue, Quantization, Tensor
from tcnstream.tflite.writer import write_model

Shape = tuple[int, ...]

_ZERO_POINTS = (-128, -127, -40, 0, 3, 126, 127)


class DoesNotFitError(Exception):
    """A layer makes no sense where it stands: a window longer than the signal, a pad longer than what it mirrors."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the file that carries the signal: time on ``axis``; ``spread`` is about its standard deviation."""

    index: int
    shape: Shape
    axis: int
    spread: float
    quantization: Quantization | None

    @property
    def frames(self) -> int:
        return self.shape[self.axis]


class Net:
    """A file under construction. Every method appends operations and returns the value that they make.

    ``far_scales``: integers of scales that no converter writes: far apart, so that multipliers are above 1 and sums
    shifted left, zero points at the ends, biases on scales of their own.
    """

    def __init__(self, dtype: str = "float32", seed: int = 0, far_scales: bool = False) -> None:
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(seed)
        self.far = np.random.default_rng(seed) if far_scales else None
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.strides = 1

    @property
    def is_quantized(self) -> bool:
        return self.dtype.kind in "iu"

    # --- tensors ---

    def input(self, shape: Shape, axis: int = 1, name: str = "") -> Value:
        value = self.value(shape, axis, 1.0)
        self.inputs.append(value.index)
        self.name(value, name)
        return value

    def name(self, value: Value, name: str) -> None:
        if name:
            self.tensors[value.index] = replace(self.tensors[value.index], name=name)

    def output(self, value: Value) -> None:
        if value.index not in self.outputs and value.index not in self.inputs:
            self.outputs.append(value.index)

    def value(self, shape: Shape, axis: int, spread: float, q: Quantization | None = None) -> Value:
        if any(n < 1 for n in shape):
            raise DoesNotFitError(f"shape {shape}")
        if self.is_quantized and q is None:
            q = self.quantization(spread)
        self.tensors.append(Tensor(f"t{len(self.tensors)}", tuple(shape), self.dtype, q))
        return Value(len(self.tensors) - 1, tuple(shape), axis, spread, q)

    def quantization(self, spread: float) -> Quantization:
        if self.far is not None:
            spread *= 2.0 ** self.far.uniform(-8, 4)
            if self.dtype == np.int8:
                return quantization(2.5 * spread / 127, int(self.far.choice(_ZERO_POINTS)))
            if self.dtype == np.uint8:
                return quantization(2.5 * spread / 127, 128 + int(self.far.choice(_ZERO_POINTS)))
        if self.dtype == np.int16:
            return quantization(4 * spread / 32767, 0)
        middle = 128 if self.dtype == np.uint8 else 0
        return quantization(2.5 * spread / 127, middle + int(self.rng.integers(-40, 40)))

    def constant(self, data: Any, dtype: Any = None, q: Quantization | None = None) -> int:
        data = np.asarray(data, dtype)
        self.tensors.append(Tensor(f"c{len(self.tensors)}", data.shape, data.dtype, q, data))
        return len(self.tensors) - 1

    def variable(self, shape: Shape, dtype: Any = np.float32, q: Quantization | None = None) -> int:
        """What a recurrent kernel remembers."""
        self.tensors.append(Tensor(f"s{len(self.tensors)}", shape, np.dtype(dtype), q, is_variable=True))
        return len(self.tensors) - 1

    def op(self, kind: str, inputs: Sequence[int], outputs: Sequence[Value], **options: OptionValue) -> None:
        self.ops.append(Op(kind, tuple(inputs), tuple(o.index for o in outputs), options, len(self.ops)))

    def content(self) -> bytes:
        return write_model([Graph(tuple(self.tensors), tuple(self.ops), tuple(self.inputs), tuple(self.outputs))])

    # --- layout ---

    def same(self, x: Value, kind: str, shape: Shape, axis: int, *operands: int, **options: OptionValue) -> Value:
        """An operation that moves values and keeps their quantization."""
        y = self.value(shape, axis, x.spread, x.quantization)
        self.op(kind, [x.index, *operands], [y], **options)
        return y

    def reshape(self, x: Value, shape: Shape, axis: int) -> Value:
        return self.same(x, "RESHAPE", shape, axis, self.constant(shape, np.int32), new_shape=tuple(shape))

    def transpose(self, x: Value, perm: Shape) -> Value:
        shape = tuple(x.shape[p] for p in perm)
        return self.same(x, "TRANSPOSE", shape, perm.index(x.axis), self.constant(perm, np.int32))

    def as_4d(self, x: Value, sideways: bool = False) -> Value:
        """(1, T, C) as (1, T, 1, C), or as (1, 1, T, C) as Keras does for Conv1D."""
        if len(x.shape) == 4:
            return x
        _, frames, channels = x.shape
        if sideways:
            return self.reshape(x, (1, 1, frames, channels), 2)
        return self.reshape(x, (1, frames, 1, channels), 1)

    def like(self, y: Value, x: Value) -> Value:
        """``y`` in the rank of ``x``, where x was (1, T, C) before ``as_4d``."""
        if len(x.shape) == 4 or len(y.shape) == 3:
            return y
        return self.reshape(y, (1, y.frames, y.shape[-1]), 1)

    def cut(self, x: Value, axis: int, begin: int, end: int, step: int = 1) -> Value:
        """STRIDED_SLICE along one axis, ``end`` counted from the start."""
        n = len(range(begin, end, step))
        shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
        begins, ends, steps = [0] * len(shape), list(x.shape), [1] * len(shape)
        begins[axis], ends[axis], steps[axis] = begin, end, step
        masks = sum(1 << a for a in range(len(shape)) if a != axis)
        operands = [self.constant(v, np.int32) for v in (begins, ends, steps)]
        return self.same(x, "STRIDED_SLICE", shape, x.axis, *operands, begin_mask=masks, end_mask=masks)

    def pad(self, x: Value, before: int, after: int, kind: str = "PAD") -> Value:
        """Frames of padding along time: PAD, or MIRROR_PAD as "REFLECT" or "SYMMETRIC"."""
        if not before and not after:
            return x
        pairs = np.zeros((len(x.shape), 2), np.int32)
        pairs[x.axis] = before, after
        shape = tuple(n + int(sum(p)) for n, p in zip(x.shape, pairs, strict=True))
        if kind == "PAD":
            return self.same(x, "PAD", shape, x.axis, self.constant(pairs))
        if max(before, after) > x.frames - (kind == "REFLECT"):
            raise DoesNotFitError("a mirrored edge longer than the signal")
        return self.same(x, "MIRROR_PAD", shape, x.axis, self.constant(pairs), mode=kind)

    def requantize(self, x: Value, q: Quantization | None) -> Value:
        if q is None or x.quantization is q:
            return x
        y = self.value(x.shape, x.axis, x.spread, q)
        self.op("QUANTIZE", [x.index], [y])
        return y

    # --- arithmetic ---

    def weights(self, shape: Shape, axis: int, fan_in: int) -> tuple[int, Array]:
        """A weight constant of about unit gain; returns it and its real scales along ``axis``."""
        real = self.rng.normal(0, 1 / math.sqrt(fan_in), shape).astype(np.float32)
        if self.dtype.kind == "f":
            return self.constant(real), np.ones(1, np.float32)
        if self.dtype == np.uint8:
            return self.unsigned_weights(real)
        others = tuple(a for a in range(len(shape)) if a != axis)
        scale = (np.abs(real).max(axis=others) / 127 + 1e-6).astype(np.float32)
        spread = [1] * len(shape)
        spread[axis] = -1
        if self.far is not None:
            scale *= (2.0 ** self.far.uniform(-12, 6, len(scale))).astype(np.float32)
        raw = np.clip(np.round(real / scale.reshape(spread)), -127, 127).astype(np.int8)
        return self.constant(raw, q=Quantization(scale, np.zeros(len(scale), np.int64), axis)), scale

    def unsigned_weights(self, real: Array) -> tuple[int, Array]:
        """With a zero point of their own, as converters wrote them before int8: the whole range, one scale."""
        low, high = min(float(real.min()), 0.0), max(float(real.max()), 0.0)
        scale = np.float32((high - low) / 255 + 1e-6)
        if self.far is not None:
            scale *= np.float32(2.0 ** self.far.uniform(-12, 6))
        zero = int(np.clip(np.round(-low / scale), 0, 255))
        raw = np.clip(np.round(real / scale) + zero, 0, 255)
        return self.constant(raw, np.uint8, quantization(float(scale), zero)), np.array([scale], np.float32)

    def bias(self, x: Value, channels: int, scale: Array) -> int:
        real = self.rng.normal(0, 0.3, channels)
        if x.quantization is None:
            return self.constant(real, np.float32)
        scales = np.broadcast_to(x.quantization.scale[0] * scale, channels).astype(np.float32)
        if self.dtype == np.uint8:
            scales = scales[:1]
        if self.far is not None:
            scales = scales * (2.0 ** self.far.uniform(-3, 3, len(scales))).astype(np.float32)
        wide = np.int64 if self.dtype == np.int16 else np.int32
        limit = 2.0**31 - 1 if wide == np.int32 else 2.0**38
        return self.constant(
            np.clip(np.round(real / scales), -limit, limit),
            wide,
            Quantization(scales, np.zeros(len(scales), np.int64), 0),
        )

    def weighted(
        self,
        kind: str,
        x: Value,
        shape: Shape,
        weights: Shape,
        axis: int,
        fan_in: int,
        with_bias: bool = True,
        before: Sequence[int] = (),
        time: int | None = None,
        **options: OptionValue,
    ) -> Value:
        # The reference kernels of these want a bias, and converters write one.
        with_bias |= self.is_quantized or kind == "CONV_2D"
        with_bias &= kind != "TRANSPOSE_CONV" or self.dtype != np.uint8
        w, scale = self.weights(weights, axis, fan_in)
        y = self.value(shape, x.axis if time is None else time, x.spread * 0.9 + 0.1)
        operands = [*before, w, x.index] if kind == "TRANSPOSE_CONV" else [x.index, w]
        if with_bias:
            operands.append(self.bias(x, shape[-1], scale))
        self.op(kind, operands, [y], **options)
        return y


def quantization(scale: float, zero_point: int) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64), 0)


def out_frames(frames: int, kernel: int, stride: int, dilation: int, same: bool) -> int:
    extent = (kernel - 1) * dilation + 1
    return -(-frames // stride) if same else (frames - extent) // stride + 1
