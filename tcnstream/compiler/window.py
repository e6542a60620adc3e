"""Graph -> Graph: the lengths that a file leaves open get numbers, so that all shapes follow from them.

A converter that was told of no batch or no length writes 1 for it, and computes shapes at run time. With a batch of 1
and a window of so many frames the same file is one of fixed shapes, which ``validate`` works out one by one.
"""

from __future__ import annotations

import dataclasses

from tcnstream.tflite.graph import Graph, Tensor

OPEN_WINDOW_FRAMES = 5040
"""The window of a file that leaves it open.

It has many divisors, so that strides, pools and frames of usual lengths divide it: then layers pad as for any length
that they divide.
"""


def is_open(graph: Graph) -> bool:
    """Whether the length of the window is open, not only the batch."""
    return any(open_time_axes(graph.tensors[i]) for i in graph.inputs)


def open_time_axes(tensor: Tensor) -> tuple[int, ...]:
    """The open axes of an input that are not the batch."""
    return tuple(axis for axis in tensor.open_axes if axis > 0 or len(tensor.shape) == 1)


def written(tensor: Tensor) -> str:
    """The shape of an input as a person reads it: (1, any, 3) where a length is left open."""
    sizes = ["any" if axis in tensor.open_axes else str(n) for axis, n in enumerate(tensor.shape)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def settle(graph: Graph) -> Graph:
    """The graph with numbers for the open lengths of its inputs: a batch of 1, a window of OPEN_WINDOW_FRAMES."""
    tensors = list(graph.tensors)
    for i in graph.inputs:
        shape = list(tensors[i].shape)
        for axis in tensors[i].open_axes:
            shape[axis] = OPEN_WINDOW_FRAMES if axis in open_time_axes(tensors[i]) else 1
        tensors[i] = dataclasses.replace(tensors[i], shape=tuple(shape))
    return dataclasses.replace(graph, tensors=tuple(tensors))
