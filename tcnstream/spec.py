"""TensorSpec: what goes into a model and what comes out of it, frame by frame."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array, Quantization, Shape


@dataclass(frozen=True, eq=False)
class TensorSpec:
    """An input or output of a model: what a frame of it looks like.

    ``shape`` is the frame's (without batch and time), ``rate`` its frames per input frame, ``delay`` the input frames
    by which a frame trails its place in the input. Frame j stands at input frame ``j / rate + offset``; how the offset
    follows from the model is said in ``tcnstream.compiler.alignment``.
    """

    name: str
    shape: Shape
    dtype: np.dtype[np.generic]
    quantization: Quantization | None
    rate: Fraction
    delay: int = 0
    offset: Fraction = Fraction(0)

    def quantize(self, x: npt.NDArray[np.float32]) -> Array:
        """float32 values as this tensor's dtype, rounded half away from zero and clipped as TFLite does.

        A NaN has no integer: StreamError. A tensor of a float type returns ``x`` in that type.
        """
        if self.quantization is None or self.dtype.kind == "f":
            return x.astype(self.dtype)
        if np.isnan(x).any():
            frame = int(np.argwhere(np.isnan(x))[0][0])
            raise StreamError(
                f"frame {frame} of the chunk holds NaN, which {self.dtype} input `{self.name}` cannot hold;"
                " clean the signal first"
            )
        low, high = _limits(self.dtype.str)
        scaled = x / self.quantization.scale.reshape(-1)[0]
        rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)) + float(self.quantization.zero_point[0])
        raw: Array = np.minimum(np.maximum(rounded, low), high).astype(self.dtype)
        return raw

    def dequantize(self, y: Array) -> npt.NDArray[np.float32]:
        """Values in this tensor's dtype as float32 real numbers."""
        if self.quantization is None or self.dtype.kind == "f":
            return y.astype(np.float32)
        scale, zero_point = self.quantization.scale.reshape(-1)[0], self.quantization.zero_point.reshape(-1)[0]
        real: npt.NDArray[np.float32] = (y.astype(np.float32) - np.float32(zero_point)) * scale
        return real


@functools.cache
def _limits(dtype: str) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return limits.min, limits.max
