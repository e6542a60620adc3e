"""Signals to measure with: noise for a model's inputs, and arrays as its file takes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tcnstream.compiler.batch import batch_axes, batch_of
from tcnstream.compiler.feedback import Pair, zeros
from tcnstream.compiler.prepare import prepared
from tcnstream.model import Model
from tcnstream.spec import TensorSpec
from tcnstream.tflite.graph import Array, Graph


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


def file_arrays(model: Model, window: list[Array], static: Mapping[str, Array]) -> dict[int, Array]:
    """Frames in the shapes of the file's inputs, and the values of inputs without time, by their tensors.

    Where the file has a batch above 1, each of its entries gets the same frames.
    """
    arrays = {}
    for i, frames, axis in zip(model.file_inputs, window, model.plan.input_axes, strict=True):
        tensor = model.graph.tensors[i]
        opened = {a: len(frames) if a == axis else 1 for a in tensor.open_axes}
        shape = tuple(opened.get(a, n) for a, n in enumerate(tensor.shape))
        batch = batch_of([tensor], [axis])
        entry = (shape[0] // batch, *shape[1:]) if shape else shape
        array = np.ascontiguousarray(np.moveaxis(frames, 0, max((axis or 0) - 1, 0))).reshape(entry)
        arrays[i] = np.repeat(array, batch, axis=0) if batch > 1 else array
    for i, spec in zip(model.file_static, model.static_inputs, strict=True):
        arrays[i] = static[spec.name].reshape(model.graph.tensors[i].shape)
    return arrays


def in_file_order(model: Model, arrays: Mapping[int, Array]) -> list[Array]:
    """Arrays by their tensors in the order in which the file has its inputs; states are zeros."""
    graph = model.graph
    return [arrays[i] if i in arrays else zeros(graph.tensors[i]) for i in graph.inputs]


def as_state(graph: Graph, pair: Pair, value: Array) -> Array:
    """What an output was, as the input that it is fed back to takes it."""
    after, before = graph.tensors[pair.output], graph.tensors[pair.input]
    a, b = after.quantization, before.quantization
    if a is None or b is None or (np.array_equal(a.scale, b.scale) and np.array_equal(a.zero_point, b.zero_point)):
        return value.reshape(before.shape).astype(before.dtype)
    real = (value.astype(np.float64) - float(a.zero_point.flat[0])) * float(a.scale.flat[0])
    limits = np.iinfo(before.dtype.str)
    raw = np.round(real / float(b.scale.flat[0])) + float(b.zero_point.flat[0])
    return np.clip(raw, limits.min, limits.max).reshape(before.shape).astype(before.dtype)


def first_entries(model: Model, answers: list[Array]) -> list[Array]:
    """What the file answers for the first entry of its batch."""
    tensors = [model.graph.tensors[i] for i in model.file_inputs]
    batch = batch_of(tensors, model.plan.input_axes)
    if batch == 1:
        return answers
    axes = batch_axes(prepared(model.graph), batch)
    return [y if axis is None else np.split(y, batch, axis)[0] for y, axis in zip(answers, axes, strict=True)]
