"""What a constant stands for."""

from __future__ import annotations

import numpy as np

from tcnstream.tflite.graph import Array, Tensor


def data_of(tensor: Tensor) -> Array:
    """The values of a tensor that is known to be a constant."""
    assert tensor.data is not None
    return tensor.data


def dequantize(tensor: Tensor) -> Array:
    """The float32 values of a quantized or half-precision constant."""
    data, q = data_of(tensor), tensor.quantization
    if q is None:
        return data.astype(np.float32)
    shape = [1] * data.ndim
    if q.per_channel:
        shape[q.axis] = -1
    centred = data.astype(np.float32) - q.zero_point.astype(np.float32).reshape(shape)
    return (centred * q.scale.reshape(shape)).astype(np.float32)
