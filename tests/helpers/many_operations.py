"""Models that put the core's smaller operations one behind the other, after a convolution for the edges' sake."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.singleop import tensor
from tcnstream.tflite.graph import Graph, Op, OptionValue, Tensor
from tcnstream.tflite.writer import write_model

FRAMES = 24
CHANNELS = 4
I8, I16, I32, F32, BOOL = np.int8, np.int16, np.int32, np.float32, np.bool_


class _Chain:
    """Tensors and operations, in the order in which they are added."""

    def __init__(self, dtype: Any, seed: int) -> None:
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []

    def new(self, made: Tensor) -> int:
        self.tensors.append(made)
        return len(self.tensors) - 1

    def stream(self, shape: tuple[int, ...], scale: float = 0.04, zero_point: int = 3, dtype: Any = None) -> int:
        """A tensor (1, FRAMES, *shape); quantized if it is int8 or int16."""
        chosen = self.dtype if dtype is None else np.dtype(dtype)
        if dtype is None and chosen != F32:
            fine = scale / 256 if chosen == I16 else scale
            return self.new(tensor((1, FRAMES, *shape), chosen, fine, 0 if chosen == I16 else zero_point))
        return self.new(tensor((1, FRAMES, *shape), chosen))

    def constant(self, values: Any, dtype: Any = I32) -> int:
        data = np.asarray(values, dtype)
        return self.new(tensor(data.shape, dtype, data=data))

    def weights(self, shape: tuple[int, ...], scale: float = 0.02) -> int:
        if self.dtype == F32:
            return self.new(tensor(shape, F32, data=self.rng.normal(0, 0.4, shape)))
        return self.new(tensor(shape, I8, scale, 0, data=self.rng.integers(-90, 90, shape)))

    def bias(self, x: int) -> int:
        if self.dtype == F32:
            return self.new(tensor((CHANNELS,), F32, data=self.rng.normal(0, 0.3, CHANNELS)))
        wide = np.int64 if self.dtype == I16 else I32
        data = self.rng.integers(-500, 500, CHANNELS)
        return self.new(tensor((CHANNELS,), wide, float(self._scale_of(x)[0]) * 0.02, 0, data=data))

    def like(self, shape: tuple[int, ...], scale: float = 0.04, zero_point: int = 3) -> int:
        """A constant of the model's own type."""
        if self.dtype == F32:
            return self.new(tensor(shape, F32, data=self.rng.normal(0, 1, shape)))
        low, fine = (-30000, scale / 256) if self.dtype == I16 else (-100, scale)
        data = self.rng.integers(low, -low, shape)
        return self.new(tensor(shape, self.dtype, fine, 0 if self.dtype == I16 else zero_point, data=data))

    def add(self, kind: str, inputs: list[int], outputs: int | list[int], **options: OptionValue) -> Any:
        made = [outputs] if isinstance(outputs, int) else outputs
        self.ops.append(Op(kind, tuple(inputs), tuple(made), options))
        return outputs

    def convolution(self, x: int, scale: float = 0.05) -> int:
        channels = self.tensors[x].shape[-1]
        wide = (1, FRAMES, 1, channels)
        image = self.new(tensor(wide, self.dtype, *self._scale_of(x)))
        self.add("RESHAPE", [x, self.constant(wide)], image, new_shape=wide)
        out = self.new(tensor((1, FRAMES, 1, CHANNELS), self.dtype, *self._scale(scale)))
        inputs = [image, self.weights((CHANNELS, 3, 1, channels)), self.bias(image)]
        self.add("CONV_2D", inputs, out, padding="SAME", stride_w=1, stride_h=1, dilation_h_factor=2)
        flat = self.new(tensor((1, FRAMES, CHANNELS), self.dtype, *self._scale(scale)))
        self.add("RESHAPE", [out, self.constant((1, FRAMES, CHANNELS))], flat, new_shape=(1, FRAMES, CHANNELS))
        return flat

    def _scale(self, scale: float) -> tuple[Any, Any]:
        if self.dtype == F32:
            return None, 0
        return (scale / 256, 0) if self.dtype == I16 else (scale, 3)

    def _scale_of(self, x: int) -> tuple[Any, Any]:
        q = self.tensors[x].quantization
        return (None, 0) if q is None else (float(q.scale[0]), int(q.zero_point[0]))

    def model(self, x: int, y: int) -> bytes:
        return write_model([Graph(tuple(self.tensors), tuple(self.ops), (x,), (y,))])


def many_operations(dtype: Any, seed: int = 0) -> bytes:
    """One input (1, 24, 4) and one output (1, 24, *) of ``dtype``: float32, int8 or int16."""
    c = _Chain(dtype, seed)
    x = c.stream((CHANNELS,))
    h = c.convolution(x)
    parts = [c.stream((2,), 0.05) for _ in range(2)]
    c.add("SPLIT", [c.constant(2), h], parts, num_splits=2)
    rows = [c.stream((), 0.05) for _ in range(2)]
    c.add("UNPACK", [parts[0]], rows, num=2, axis=2)
    swapped = c.add("PACK", [rows[1], rows[0]], c.stream((2,), 0.05), values_count=2, axis=2)
    greater = c.add("GREATER", [swapped, parts[1]], c.stream((2,), dtype=BOOL))
    chosen = c.add("SELECT_V2", [greater, swapped, parts[1]], c.stream((2,), 0.05))
    leaky = c.add("LEAKY_RELU", [h], c.stream((CHANNELS,), 0.03, -7), alpha=0.3)
    magnitude = c.add("ABS", [leaky], c.stream((CHANNELS,), 0.03, -7))
    clipped = c.add("RELU6", [h], c.stream((CHANNELS,), 0.025, -100))
    grown = c.add("EXP", [c.add("NEG", [clipped], c.stream((CHANNELS,), 0.025, -100))], c.stream((CHANNELS,), 0.02))
    ends = [chosen, leaky, magnitude, clipped, grown]
    if np.dtype(dtype) != I16:
        ends += _small_types(c, h)
    ends = [_on_one_scale(c, end) for end in ends]
    width = sum(c.tensors[end].shape[-1] for end in ends)
    y = c.add("CONCATENATION", ends, c.stream((width,), 0.05), axis=2)
    return c.model(x, y)


def _small_types(c: _Chain, h: int) -> list[int]:
    """Operations that only float32 and int8 have: a classifier's, and integers and conditions on the way."""
    bent = c.add("PRELU", [h, c.like((1, CHANNELS))], c.stream((CHANNELS,), 0.06, 1))
    smooth = c.add("GELU", [bent], c.stream((CHANNELS,), 0.05), approximate=False)
    logs = c.add("LOG_SOFTMAX", [smooth], c.stream((CHANNELS,), 16 / 256, 127))
    best = c.add("ARG_MAX", [logs, c.constant(2)], c.stream((), dtype=I32), output_type="INT32")
    column = c.add("EXPAND_DIMS", [best, c.constant(2)], c.stream((1,), dtype=I32))
    hot = c.add("EQUAL", [column, c.constant(np.arange(CHANNELS)[None, None])], c.stream((CHANNELS,), dtype=BOOL))
    moved = c.add("ADD", [column, c.constant([[[-2, 1, 5, 0]]])], c.stream((CHANNELS,), dtype=I32))
    most = c.add("REDUCE_MAX", [moved, c.constant([2])], c.stream((1,), dtype=I32), keep_dims=True)
    below = c.add("LESS", [moved, most], c.stream((CHANNELS,), dtype=BOOL))
    both = c.add("LOGICAL_AND", [hot, below], c.stream((CHANNELS,), dtype=BOOL))
    neither = c.add("LOGICAL_NOT", [both], c.stream((CHANNELS,), dtype=BOOL))
    kept = c.add(
        "SELECT_V2", [neither, smooth, c.add("RELU", [smooth], c.stream((CHANNELS,)))], c.stream((CHANNELS,), 0.05)
    )
    product = c.add("REDUCE_PROD", [bent, c.constant([2])], c.stream((1,), 0.04, -2), keep_dims=True)
    return [bent, logs, kept, product]


def _on_one_scale(c: _Chain, end: int) -> int:
    if c.dtype == F32:
        return end
    return int(c.add("QUANTIZE", [end], c.stream(c.tensors[end].shape[2:], 0.05)))


def signal(dtype: Any, frames: int, seed: int = 1) -> Any:
    """Frames (frames, 4) for these models."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype) == F32:
        return rng.normal(0, 1.5, (frames, CHANNELS)).astype(F32)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, (frames, CHANNELS), endpoint=True).astype(dtype)
