"""What a policy means, defined without the package's own lowering and kernels.

The file's operations run one by one in the TFLite reference kernels, as the file has them. A statistic over
all of time becomes one statistic per frame, each by the same operation on the frames that the policy names;
what follows then has a value per frame, computed as a batch, until it meets the signal again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from tcnstream.tflite.graph import Array, Graph, Op, Tensor
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.writer import write_model

STATISTICS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")


@dataclass(frozen=True, eq=False)
class Known:
    """A value of the file; ``per_frame`` if the batch axis counts frames instead of time, which is gone."""

    array: Array
    per_frame: bool = False


def by_definition(content: bytes, x: Array, window_frames: int | None = None, frozen_on: Array | None = None) -> Array:
    """The output for an input of the file's own shape under a policy.

    ``window_frames`` is that of a trailing policy, None for all frames so far; under a frozen one the
    statistics are those of the file on the recording ``frozen_on``.
    """
    if frozen_on is None:
        return evaluate(content, x, window_frames)[0]
    _, constants = evaluate(content, frozen_on, offline=True)
    return evaluate(content, x, constants=constants)[0]


def evaluate(
    content: bytes,
    x: Array,
    window_frames: int | None = None,
    *,
    offline: bool = False,
    constants: Sequence[Array] = (),
) -> tuple[Array, list[Array]]:
    """(output, statistics over all of the signal in order)."""
    graph = read_model(content).graphs[0]
    frames = max(graph.tensors[graph.inputs[0]].shape)
    known = {i: Known(t.data) for i, t in enumerate(graph.tensors) if t.data is not None}
    known[graph.inputs[0]] = Known(x)
    measured: list[Array] = []
    for op in graph.ops:
        values = [known[i] for i in op.inputs if i >= 0]
        out = graph.tensors[op.outputs[0]]
        if op.kind in STATISTICS and not values[0].per_frame and reduces_time(values, frames):
            if offline or constants:
                stands = run(graph, op, [v.array for v in values], out.shape) if offline else constants[len(measured)]
                measured.append(stands)
                known[op.outputs[0]] = Known(stands)
                continue
            time = values[0].array.shape.index(frames)
            parts = []
            for j in range(frames):
                begin = 0 if window_frames is None else max(0, j + 1 - window_frames)
                some = np.take(values[0].array, range(begin, j + 1), axis=time)
                parts.append(run(graph, op, [some, values[1].array], out.shape))
            known[op.outputs[0]] = Known(np.concatenate(parts), per_frame=True)
            continue
        per_frame = any(v.per_frame for v in values)
        if per_frame and frames in out.shape:
            # It meets the signal again, or a constant that is as long.
            time = out.shape.index(frames)
            values = [Known(np.swapaxes(v.array, 0, time)) if v.per_frame else v for v in values]
            per_frame = False
        shape = (frames, *out.shape[1:]) if per_frame else out.shape
        if op.kind == "RESHAPE" and per_frame:
            known[op.outputs[0]] = Known(values[0].array.reshape(shape), per_frame)
        else:
            known[op.outputs[0]] = Known(run(graph, op, [v.array for v in values], shape), per_frame)
    return known[graph.outputs[0]].array, measured


def reduces_time(values: Sequence[Known], frames: int) -> bool:
    shape = values[0].array.shape
    return any(shape[int(axis)] == frames for axis in values[1].array.reshape(-1))


def run(graph: Graph, op: Op, arrays: Sequence[Array], out_shape: tuple[int, ...]) -> Array:
    """One operation of the file in the reference kernels, on arrays of any shape."""
    shapes = tuple(array.shape for array in arrays)
    interpreter, feeds = opened(graph, op, shapes, tuple(out_shape))
    for index, position in feeds:
        interpreter.set_tensor(index, np.ascontiguousarray(arrays[position]))
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@lru_cache(maxsize=256)
def opened(graph: Graph, op: Op, shapes: tuple[tuple[int, ...], ...], out_shape: tuple[int, ...]) -> Any:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")
    present = [i for i in op.inputs if i >= 0]
    tensors: list[Tensor] = [
        dataclasses.replace(graph.tensors[i], shape=shape) for i, shape in zip(present, shapes, strict=True)
    ]
    place = {i: k for k, i in enumerate(present)}
    tensors.append(dataclasses.replace(graph.tensors[op.outputs[0]], shape=out_shape))
    one = Op(op.kind, tuple(place.get(i, -1) for i in op.inputs), (len(present),), op.options)
    fed = tuple(k for k, i in enumerate(present) if graph.tensors[i].data is None)
    content = write_model([Graph(tuple(tensors), (one,), fed, (len(present),))])
    interpreter = litert.Interpreter(
        model_content=content, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    return interpreter, [(detail["index"], k) for detail, k in zip(details, fed, strict=True)]
