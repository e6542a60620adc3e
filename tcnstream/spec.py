"""TensorSpec: what goes into a model and what comes out of it, frame by frame."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tcnstream.engines.native import real as native
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
        scale, zero_point = self._scale
        quick = native.quantize(x, self.dtype, scale, zero_point)
        if quick is not None:
            return quick
        if np.isnan(x).any():
            frame = int(np.argwhere(np.isnan(x))[0][0])
            raise StreamError(
                f"frame {frame} of the chunk holds NaN, which {self.dtype} input `{self.name}` cannot hold;"
                " clean the signal first"
            )
        low, high = _limits(self.dtype.str)
        scaled = x / np.float32(scale)
        rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)) + np.float32(zero_point)
        raw: Array = np.minimum(np.maximum(rounded, low), high).astype(self.dtype)
        return raw

    def dequantize(self, y: Array) -> npt.NDArray[np.float32]:
        """Values in this tensor's dtype as float32 real numbers."""
        if self.quantization is None or self.dtype.kind == "f":
            return y.astype(np.float32)
        scale, zero_point = self._scale
        quick = native.dequantize(y, scale, zero_point)
        if quick is not None:
            return quick
        real: npt.NDArray[np.float32] = (y.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        return real

    @functools.cached_property
    def _scale(self) -> tuple[float, int]:
        """Real numbers per integer, a float32, and the integer that is 0."""
        assert self.quantization is not None
        return float(self.quantization.scale.flat[0]), int(self.quantization.zero_point.flat[0])


@functools.cache
def _limits(dtype: str) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return limits.min, limits.max
