"""Graph -> Graph: a sequence that is cut into its frames one by one, and put together again, as UNPACK and PACK.

litert-torch writes a SLICE for every frame of what PyTorch steps through, and a CONCATENATION behind the steps;
``x[:, t]`` in a loop is a STRIDED_SLICE each.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from tcnstream.compiler.operations.cuts import SLICE, STRIDED_SLICE
from tcnstream.compiler.operations.layout import TRANSPOSE
from tcnstream.compiler.operations.pieces import CONCATENATION, PACK, SPLIT, UNPACK
from tcnstream.compiler.operations.reshape import RESHAPE
from tcnstream.tflite.graph import Graph, Op, OptionValue, Shape, Tensor
from tcnstream.tflite.shapes import strided_slice

LEAST_FRAMES = 4


def unstacked(graph: Graph) -> Iterator[tuple[Graph, int]]:
    """For every sequence that is taken apart frame by frame the graph in which it is an UNPACK, and its first output.

    Behind it CONCATENATION of as many single frames is PACK. What is an UNPACK already comes as it is.
    """
    for op in graph.ops:
        if op.kind == UNPACK.kind and len(op.outputs) >= LEAST_FRAMES:
            yield _packed(graph, len(op.outputs)), op.outputs[0]
    for source, axis, cuts in _groups(graph):
        yield _packed(*_apart(graph, source, axis, cuts)), len(graph.tensors)


def _groups(graph: Graph) -> Iterator[tuple[int, int, list[tuple[Op, int]]]]:
    """Sequences whose every frame along one axis is cut out once: the tensor, the axis, what cuts.

    What cuts is (operation, tensor) for each frame, from the first to the last one.
    """
    found: dict[tuple[int, int], dict[int, tuple[Op, int]]] = {}
    for op in graph.ops:
        for axis, k, made in _cuts(graph, op):
            source = op.inputs[1] if op.kind == SPLIT.kind else op.inputs[0]
            found.setdefault((source, axis), {})[k] = op, made
    for (source, axis), cuts in found.items():
        count = graph.tensors[source].shape[axis]
        if count >= LEAST_FRAMES and len(cuts) == count:
            yield source, axis, [cuts[k] for k in range(count)]


def _cuts(graph: Graph, op: Op) -> Iterator[tuple[int, int, int]]:
    """The single frames that an operation cuts out: along which axis, which one, and as which tensor."""
    tensors = graph.tensors
    if op.kind == SPLIT.kind and (place := tensors[op.inputs[0]].data) is not None:
        shape = tensors[op.inputs[1]].shape
        axis = int(place.reshape(-1)[0]) % len(shape)
        if len(op.outputs) == shape[axis]:
            yield from ((axis, k, made) for k, made in enumerate(op.outputs))
        return
    if op.kind not in (SLICE.kind, STRIDED_SLICE.kind):
        return
    shape, numbers = tensors[op.inputs[0]].shape, [tensors[i].data for i in op.inputs[1:]]
    places = [data.reshape(-1).tolist() for data in numbers if data is not None]
    if len(places) < len(numbers):
        return
    if op.kind == SLICE.kind:
        taken = [(b, n if size == -1 else b + size, 1) for b, size, n in zip(*places, shape, strict=True)]
    else:
        index = strided_slice(op, shape, *places)
        if None in index:
            return
        taken = [_taken(one, n) for one, n in zip(index, shape, strict=False)]
    cut = [a for a, (one, n) in enumerate(zip(taken, shape, strict=False)) if one != (0, n, 1)]
    if len(cut) == 1 and taken[cut[0]][1] - taken[cut[0]][0] == 1:
        yield cut[0], taken[cut[0]][0], op.outputs[0]


def _taken(one: slice | int | None, n: int) -> tuple[int, int, int]:
    """Begin, end and step of what is taken of an axis of ``n``."""
    assert one is not None
    return one.indices(n) if isinstance(one, slice) else (one % n, one % n + 1, 1)


def _apart(graph: Graph, source: int, axis: int, cuts: list[tuple[Op, int]]) -> tuple[Graph, int]:
    """The graph in which one UNPACK gives the frames; each keeps its tensor."""
    whole = graph.tensors[source]
    shape = _without(whole.shape, axis)
    count = len(cuts)
    frames = [dataclasses.replace(whole, name=f"{whole.name}/{k}", shape=shape, data=None) for k in range(count)]
    made = range(len(graph.tensors), len(graph.tensors) + count)
    gone = {id(op) for op, _ in cuts}
    first = next(op for op in graph.ops if id(op) in gone)
    unpack = Op(UNPACK.kind, (source,), tuple(made), {"axis": axis, "num": count}, first.index)
    shaped = [Op(RESHAPE.kind, (f,), (o,), {}, op.index) for f, (op, o) in zip(made, cuts, strict=True)]
    ops: list[Op] = []
    for op in graph.ops:
        if op is first:
            ops += [unpack, *shaped]
        elif id(op) not in gone:
            ops.append(op)
    return dataclasses.replace(graph, tensors=(*graph.tensors, *frames), ops=tuple(ops)), count


def _packed(graph: Graph, count: int) -> Graph:
    """The graph in which ``count`` single frames are put together by PACK."""
    tensors, ops = list(graph.tensors), list[Op]()
    stacked = {op.outputs[0]: reshape for op in graph.ops if (reshape := _stacked(graph, op, count)) is not None}
    gone = {reshape.outputs[0] for reshape in stacked.values()}
    for op in graph.ops:
        axis = _joined_axis(graph, op, count)
        if op.outputs and op.outputs[0] in stacked:
            options: dict[str, OptionValue] = {"axis": op.integer("axis", 0), "values_count": count}
            ops.append(Op(PACK.kind, op.inputs, stacked[op.outputs[0]].outputs, options, op.index))
        elif op.outputs and op.outputs[0] in gone:
            continue
        elif axis is None:
            ops.append(op)
        else:
            parts = []
            for i in op.inputs:
                tensors.append(dataclasses.replace(tensors[i], shape=_without(tensors[i].shape, axis)))
                parts.append(len(tensors) - 1)
                ops.append(Op(RESHAPE.kind, (i,), (parts[-1],), {}, op.index))
            ops.append(Op(PACK.kind, tuple(parts), op.outputs, {"axis": axis, "values_count": count}, op.index))
    return dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _stacked(graph: Graph, op: Op, count: int) -> Op | None:
    """The RESHAPE that gives ``count`` frames, joined by CONCATENATION, an axis of their own: ``torch.stack``."""
    if op.kind != CONCATENATION.kind or len(op.inputs) != count:
        return None
    if op.options.get("fused_activation_function", "NONE") != "NONE":
        return None
    shapes = {graph.tensors[i].shape for i in op.inputs}
    axis = op.integer("axis", 0)
    readers = [reader for reader in graph.ops if op.outputs[0] in reader.inputs]
    if len(shapes) != 1 or axis < 0 or len(readers) != 1 or op.outputs[0] in graph.outputs:
        return None
    (shape,), (reader,) = shapes, readers
    made = (*shape[:axis], count, *shape[axis:])
    alone = math.prod(shape[:axis]) == 1 and not any(graph.tensors[i].is_constant for i in op.inputs)
    fits = reader.kind == RESHAPE.kind and graph.tensors[reader.outputs[0]].shape == made
    return reader if alone and fits else None


def _joined_axis(graph: Graph, op: Op, count: int) -> int | None:
    """The axis along which CONCATENATION joins ``count`` single frames."""
    if op.kind != CONCATENATION.kind or len(op.inputs) != count:
        return None
    if op.options.get("fused_activation_function", "NONE") != "NONE":
        return None
    axis = op.integer("axis", 0) % len(graph.tensors[op.outputs[0]].shape)
    alone = all(graph.tensors[i].shape[axis] == 1 and not graph.tensors[i].is_constant for i in op.inputs)
    return axis if alone else None


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def time_first(graph: Graph, first: int) -> Graph:
    """The graph in which the UNPACK that makes ``first`` steps along axis 0, and so does PACK of as many frames."""
    tensors, ops = list[Tensor](graph.tensors), list[Op]()
    count = next(len(op.outputs) for op in graph.ops if op.outputs[0] == first)
    for op in graph.ops:
        if op.outputs[0] == first and (axis := _axis_of(op, tensors[op.inputs[0]])):
            i = _turned(tensors, op.inputs[0], axis)
            ops.append(_transpose(tensors, op.inputs[0], i, _to_front(axis, len(tensors[i].shape)), op.index))
            ops.append(Op(UNPACK.kind, (i,), op.outputs, {**op.options, "axis": 0}, op.index))
        elif op.kind == PACK.kind and len(op.inputs) == count and (axis := _axis_of(op, tensors[op.outputs[0]])):
            o = _turned(tensors, op.outputs[0], axis)
            ops.append(Op(PACK.kind, op.inputs, (o,), {**op.options, "axis": 0}, op.index))
            back = tuple(int(k) for k in np.argsort(_to_front(axis, len(tensors[o].shape))))
            ops.append(_transpose(tensors, o, op.outputs[0], back, op.index))
        else:
            ops.append(op)
    return dataclasses.replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _axis_of(op: Op, whole: Tensor) -> int:
    return op.integer("axis", 0) % len(whole.shape)


def _to_front(axis: int, rank: int) -> tuple[int, ...]:
    return axis, *(a for a in range(rank) if a != axis)


def _turned(tensors: list[Tensor], i: int, axis: int) -> int:
    """A tensor like ``i`` with ``axis`` as its first one."""
    tensor = tensors[i]
    shape = tuple(tensor.shape[a] for a in _to_front(axis, len(tensor.shape)))
    tensors.append(dataclasses.replace(tensor, name=f"{tensor.name}/time_first", shape=shape))
    return len(tensors) - 1


def _transpose(tensors: list[Tensor], source: int, made: int, permutation: tuple[int, ...], index: int) -> Op:
    order = np.array(permutation, np.int32)
    tensors.append(Tensor("", order.shape, order.dtype, data=order))
    return Op(TRANSPOSE.kind, (source, len(tensors) - 1), (made,), {}, index)
