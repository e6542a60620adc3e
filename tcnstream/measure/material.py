"""Signals to measure with: noise for a model's inputs, and arrays as its file takes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tcnstream.model import Model
from tcnstream.spec import TensorSpec
from tcnstream.tflite.graph import Array


def noise(model: Model, steps: int, rng: np.random.Generator) -> list[Array]:
    """Noise for every input of a model, as many frames of each as ``steps`` steps have."""
    return [noise_of(spec, (steps * k,), rng) for spec, k in zip(model.inputs, model.input_steps, strict=True)]


def noise_of(spec: TensorSpec, lead: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Values (*lead, *frame_shape) in an input's type: normal, over all integers that have a scale, 0 for others."""
    shape = (*lead, *spec.shape)
    if spec.dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape)).astype(spec.dtype)
    if spec.quantization is None:
        return np.zeros(shape, spec.dtype)
    limits = np.iinfo(spec.dtype.str)
    return np.asarray(rng.integers(limits.min, limits.max, shape, spec.dtype.str, endpoint=True))


def some_static(model: Model, rng: np.random.Generator) -> dict[str, Array]:
    """Noise for the inputs without time, by name."""
    return {spec.name: noise_of(spec, (), rng) for spec in model.static_inputs}


def file_arrays(model: Model, window: list[Array], static: Mapping[str, Array]) -> list[Array]:
    """Frames in the shapes of the file's inputs, with the values of inputs without time among them."""
    arrays = {}
    for i, frames, axis in zip(model.file_inputs, window, model.plan.input_axes, strict=True):
        tensor = model.graph.tensors[i]
        opened = {a: len(frames) if a == axis else 1 for a in tensor.open_axes}
        shape = tuple(opened.get(a, n) for a, n in enumerate(tensor.shape))
        arrays[i] = np.ascontiguousarray(np.moveaxis(frames, 0, max((axis or 0) - 1, 0))).reshape(shape)
    for i, spec in zip(model.file_static, model.static_inputs, strict=True):
        arrays[i] = static[spec.name].reshape(model.graph.tensors[i].shape)
    return [arrays[i] for i in model.graph.inputs]
