"""Whether an operation's operands and its output fit together, before anything is computed with them.

A file states the shape of every tensor. The shape of an output follows from the operands and the
options; a file where the two differ is damaged, and nothing later needs to look again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tcnstream.errors import ModelError
from tcnstream.tflite.graph import ABSENT, Graph, Op, Shape
from tcnstream.tflite.shapes import same_padding, strided_slice

_MOST_VALUES = 1 << 27
"""Values of one tensor, or under one window: half a gigabyte of float32, far more than any signal needs."""


def check(graph: Graph, op: Op) -> None:
    """ModelError where ``op`` does not make tensors of the shapes that the graph states."""
    for o in op.outputs:
        tensor = graph.tensors[o]
        if any(n < 1 for n in tensor.shape):
            raise _wrong(graph, op, f"makes a tensor of shape {tensor.shape}, which holds nothing")
        if math.prod(tensor.shape) > _MOST_VALUES:
            raise _wrong(graph, op, f"makes {math.prod(tensor.shape)} values, more than {_MOST_VALUES}")
    least, most = _OPERANDS.get(op.kind, (1, 1))
    if not least <= len(op.inputs) <= most or any(i == ABSENT for i in op.inputs[:least]):
        raise _wrong(graph, op, f"has {len(op.inputs)} operands, where {least} to {most} belong")
    if len(op.outputs) != 1 and op.kind not in ("SPLIT", "SPLIT_V", "UNPACK"):
        raise _wrong(graph, op, f"has {len(op.outputs)} outputs, where one belongs")
    try:
        expected = _SHAPES.get(op.kind, _same)(_Operands(graph, op))
    except _UnknownError:
        return
    except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, OverflowError) as e:
        raise _wrong(graph, op, f"has operands that do not fit together ({e})") from e
    stated = tuple(graph.tensors[o].shape for o in op.outputs)
    if expected is not None and not _states(graph, expected, stated):
        made, said = (", ".join(map(str, shapes)) for shapes in (expected, stated))
        raise _wrong(graph, op, f"makes a tensor of shape {made}, where the file states {said}")
    _check_types(graph, op)


def _states(graph: Graph, expected: tuple[Shape, ...], stated: tuple[Shape, ...]) -> bool:
    """Whether the stated shapes are the expected ones.

    A file of any length has inputs of nothing but 1s, and 1 in the place of every length that follows from them.
    """
    if expected == stated:
        return True
    of_any_length = all(math.prod(graph.tensors[i].shape) == 1 for i in graph.inputs)
    pairs = zip(expected, stated, strict=True)
    return of_any_length and all(
        len(made) == len(said) and all(s in (m, 1) for m, s in zip(made, said, strict=True)) for made, said in pairs
    )


def _wrong(graph: Graph, op: Op, what: str) -> ModelError:
    name = graph.tensors[op.outputs[0]].name if op.outputs else ""
    return ModelError(f"`{op.kind}` (op {op.index}, `{name}`) {what}; convert the model again")


class _Operands:
    """The operands of one operation, as its rule reads them."""

    def __init__(self, graph: Graph, op: Op) -> None:
        self.graph, self.op = graph, op

    def shape(self, position: int) -> Shape:
        return self.graph.tensors[self.op.inputs[position]].shape

    def out(self) -> Shape:
        return self.graph.tensors[self.op.outputs[0]].shape

    def count(self, position: int) -> int | None:
        """How many values an operand has that may be left out."""
        if position >= len(self.op.inputs) or self.op.inputs[position] == ABSENT:
            return None
        return math.prod(self.shape(position))

    def integers(self, position: int) -> list[int]:
        """A constant operand of integers; ValueError for anything else."""
        tensor = self.graph.tensors[self.op.inputs[position]]
        if tensor.data is None:
            raise _UnknownError
        if tensor.dtype.kind not in "iu":
            raise ValueError(f"`{tensor.name}` is {tensor.dtype}, not integers")
        return [int(n) for n in tensor.data.reshape(-1)]

    def option(self, name: str, default: int = 1) -> int:
        """An integer option that counts something; ValueError below 1."""
        value = self.op.integer(name, default)
        if value < 1:
            raise ValueError(f"{name}={value}")
        return value

    def spatial(self, kernel: Shape) -> Shape:
        """Height and width after a window of ``kernel`` has gone over the input."""
        shape = self.shape(0)
        explicit = self.op.options.get("explicit_padding")
        made = []
        for axis, letter in ((1, "h"), (2, "w")):
            stride, dilation = self.option(f"stride_{letter}"), self.option(f"dilation_{letter}_factor")
            k = kernel[axis - 1]
            if isinstance(explicit, tuple):
                padding = sum(explicit[2 * axis - 2 : 2 * axis])
            else:
                same = self.op.options.get("padding") == "SAME"
                padding = sum(same_padding(shape[axis], k, stride, dilation)) if same else 0
            if ((k - 1) * dilation + 1) * math.prod(shape) // shape[axis] > _MOST_VALUES:
                raise ValueError(f"a window of {(k - 1) * dilation + 1} places")
            made.append((shape[axis] + padding - (k - 1) * dilation - 1) // stride + 1)
        return tuple(made)


class _UnknownError(Exception):
    """An operand is not a constant, which the lowering refuses by name."""


_Shapes = tuple[Shape, ...] | None


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)


def _same(o: _Operands) -> _Shapes:
    return (o.shape(0),)


def _same_size(o: _Operands) -> _Shapes:
    _require(math.prod(o.shape(0)) == math.prod(o.out()), f"{o.shape(0)} has another size than {o.out()}")
    return None


def _broadcast(o: _Operands) -> _Shapes:
    return (np.broadcast_shapes(*(o.shape(k) for k in range(len(o.op.inputs)))),)


def _conv(o: _Operands) -> _Shapes:
    shape, (filters, height, width, depth) = o.shape(0), o.shape(1)
    _require(len(shape) == 4 and shape[3] % depth == 0, f"weights of depth {depth} over {shape}")
    _require(filters % (shape[3] // depth) == 0, f"{filters} filters in {shape[3] // depth} groups")
    _require(o.count(2) in (None, filters), f"a bias of {o.count(2)} for {filters} filters")
    return ((shape[0], *o.spatial((height, width)), filters),)


def _depthwise(o: _Operands) -> _Shapes:
    shape, (one, height, width, channels) = o.shape(0), o.shape(1)
    _require(len(shape) == 4 and one == 1 and channels % shape[3] == 0, f"weights {o.shape(1)} over {shape}")
    _require(o.count(2) in (None, channels), f"a bias of {o.count(2)} for {channels} channels")
    return ((shape[0], *o.spatial((height, width)), channels),)


def _transposed(o: _Operands) -> _Shapes:
    (filters, *kernel, depth), shape, out = o.shape(1), o.shape(2), o.out()
    _require(len(shape) == 4 == len(out) and shape[3] == depth, f"weights {o.shape(1)} over {shape}")
    _require(o.count(3) in (None, filters), f"a bias of {o.count(3)} for {filters} filters")
    for axis, letter in ((1, "h"), (2, "w")):
        stride, k = o.option(f"stride_{letter}"), kernel[axis - 1]
        reads = out[axis] if o.op.options.get("padding") == "SAME" else out[axis] - k + 1
        _require(-(-reads // stride) == shape[axis], f"{out[axis]} places of {shape[axis]} at stride {stride}")
    return ((shape[0], out[1], out[2], filters),)


def _pooled(o: _Operands) -> _Shapes:
    shape = o.shape(0)
    _require(len(shape) == 4, f"a pool over {shape}")
    return ((shape[0], *o.spatial((o.option("filter_height"), o.option("filter_width"))), shape[3]),)


def _dense(o: _Operands) -> _Shapes:
    units, depth = o.shape(1)
    values, out = math.prod(o.shape(0)), o.out()
    _require(values % depth == 0 and out[-1:] == (units,), f"weights {o.shape(1)} over {o.shape(0)} for {out}")
    _require(math.prod(out) == values // depth * units, f"{values // depth} rows for {out}")
    _require(o.count(2) in (None, units), f"a bias of {o.count(2)} for {units} units")
    return None


def _matmul(o: _Operands) -> _Shapes:
    left, right = list(o.shape(0)), list(o.shape(1))
    if o.op.options.get("adj_x"):
        left[-2:] = left[:-3:-1]
    if o.op.options.get("adj_y"):
        right[-2:] = right[:-3:-1]
    _require(min(len(left), len(right)) > 1 and left[-1] == right[-2], f"{o.shape(0)} times {o.shape(1)}")
    return ((*np.broadcast_shapes(tuple(left[:-2]), tuple(right[:-2])), left[-2], right[-1]),)


def _padded(o: _Operands) -> _Shapes:
    shape, pads = o.shape(0), o.integers(1)
    _require(len(pads) == 2 * len(shape) and min(pads, default=0) >= 0, f"paddings {pads[:8]} around {shape}")
    if o.op.kind == "MIRROR_PAD":
        least = 1 if o.op.options.get("mode", "REFLECT") == "REFLECT" else 0
        longest = zip(pads[::2], pads[1::2], shape, strict=True)
        _require(all(max(p, q) <= n - least for p, q, n in longest), f"edges {pads[:8]} mirrored in {shape}")
    return (tuple(n + p + q for n, p, q in zip(shape, pads[::2], pads[1::2], strict=True)),)


def _axis_of(shape: Shape, axis: int) -> int:
    _require(-len(shape) <= axis < len(shape), f"axis {axis} of {shape}")
    return axis % len(shape)


def _side_by_side(o: _Operands) -> _Shapes:
    shapes = [o.shape(k) for k in range(len(o.op.inputs))]
    axis = _axis_of(shapes[0], o.op.integer("axis", 0))
    rests = {(s[:axis], s[axis + 1 :]) for s in shapes}
    _require(len(rests) == 1, f"{shapes[0]} beside others")
    return ((*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :]),)


def _pieces(o: _Operands) -> _Shapes:
    position, place = (1, 0) if o.op.kind == "SPLIT" else (0, 2)
    shape, outs = o.shape(position), [o.graph.tensors[i].shape for i in o.op.outputs]
    (axis,) = o.integers(place)
    axis = _axis_of(shape, axis)
    rest = (shape[:axis], shape[axis + 1 :])
    _require(all((s[:axis], s[axis + 1 :]) == rest for s in outs), f"{shape} in pieces {outs[:3]}")
    _require(sum(s[axis] for s in outs) == shape[axis], f"{shape} in pieces {outs[:3]}")
    return None


def _sliced(o: _Operands) -> _Shapes:
    shape, begin, size = o.shape(0), o.integers(1), o.integers(2)
    made = []
    for n, b, s in zip(shape, begin, size, strict=True):
        _require(0 <= b < n and (s == -1 or 0 < s <= n - b), f"{s} values from {b} of {n}")
        made.append(n - b if s == -1 else s)
    return (tuple(made),)


def _strided(o: _Operands) -> _Shapes:
    shape, lists = o.shape(0), [o.integers(k) for k in (1, 2, 3)]
    _require(0 not in lists[2], "a stride of 0")
    index = strided_slice(o.op, shape, *lists)
    return (np.broadcast_to(np.zeros((), np.int8), shape)[index].shape,)


def _permuted(o: _Operands) -> _Shapes:
    shape, perm = o.shape(0), o.integers(1)
    _require(sorted(perm) == list(range(len(shape))), f"axes {perm} of {shape}")
    return (tuple(shape[p] for p in perm),)


def _tiled(o: _Operands) -> _Shapes:
    shape, multiples = o.shape(0), o.integers(1)
    return (tuple(n * m for n, m in zip(shape, multiples, strict=True)),)


def _stretched(o: _Operands) -> _Shapes:
    _require(np.broadcast_shapes(o.shape(0), o.out()) == o.out(), f"{o.shape(0)} stretched to {o.out()}")
    return None


def _reduced(o: _Operands) -> _Shapes:
    shape = o.shape(0)
    gone = {_axis_of(shape, axis) for axis in o.integers(1)}
    kept = tuple(1 if a in gone else n for a, n in enumerate(shape))
    left = tuple(n for a, n in enumerate(shape) if a not in gone)
    return (kept if len(o.out()) == len(shape) else left,)


def _extreme(o: _Operands) -> _Shapes:
    shape = o.shape(0)
    (axis,) = o.integers(1)
    axis = _axis_of(shape, axis)
    return ((*shape[:axis], *shape[axis + 1 :]),)


def _gathered(o: _Operands) -> _Shapes:
    shape, indices = o.shape(0), o.integers(1)
    axis = _axis_of(shape, o.op.integer("axis", 0))
    _require(all(0 <= i < shape[axis] for i in indices), f"indices outside of {shape[axis]} values")
    return ((*shape[:axis], *o.shape(1), *shape[axis + 1 :]),)


def _resized(o: _Operands) -> _Shapes:
    shape = o.shape(0)
    _require(len(shape) == 4, f"{shape} resized")
    height, width = o.integers(1)
    return ((shape[0], height, width, shape[3]),)


def _stacked(o: _Operands) -> _Shapes:
    shapes = {o.shape(k) for k in range(len(o.op.inputs))}
    _require(len(shapes) == 1, "different shapes stacked")
    shape = shapes.pop()
    axis = _axis_of((*shape, 1), o.op.integer("axis", 0))
    return ((*shape[:axis], len(o.op.inputs), *shape[axis:]),)


def _unstacked(o: _Operands) -> _Shapes:
    shape = o.shape(0)
    axis = _axis_of(shape, o.op.integer("axis", 0))
    _require(shape[axis] == len(o.op.outputs), f"{shape[axis]} slices in {len(o.op.outputs)} outputs")
    return ((*shape[:axis], *shape[axis + 1 :]),) * shape[axis]


_JOINED = (
    *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW", "PRELU"),
    *("LOGICAL_AND", "LOGICAL_OR"),
)
_COMPARED = ("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "EQUAL", "NOT_EQUAL")
_CHOSEN = ("SELECT", "SELECT_V2")
_STATISTICS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
_EXTREMES = ("ARG_MAX", "ARG_MIN")
_POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")
_MANY = 1 << 16

_OPERANDS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys((*_JOINED, *_COMPARED, *_STATISTICS, *_EXTREMES), (2, 2)),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), (2, 3)),
    **dict.fromkeys(("PAD", "MIRROR_PAD", "TRANSPOSE", "TILE", "BROADCAST_TO", "GATHER", "BATCH_MATMUL"), (2, 2)),
    **dict.fromkeys(("SPLIT", "EXPAND_DIMS", "RESIZE_NEAREST_NEIGHBOR"), (2, 2)),
    **dict.fromkeys(("PADV2", "SPLIT_V", "SLICE", *_CHOSEN), (3, 3)),
    **dict.fromkeys(("CONCATENATION", "PACK"), (1, _MANY)),
    "TRANSPOSE_CONV": (3, 4),
    "STRIDED_SLICE": (4, 4),
    "RESHAPE": (1, 2),
}
"""The fewest and the most operands; one where nothing is stated."""

_SHAPES: Mapping[str, Callable[[_Operands], _Shapes]] = {
    **dict.fromkeys((*_JOINED, *_COMPARED, *_CHOSEN), _broadcast),
    **dict.fromkeys(_STATISTICS, _reduced),
    **dict.fromkeys(_EXTREMES, _extreme),
    **dict.fromkeys(_POOLS, _pooled),
    **dict.fromkeys(("RESHAPE", "EXPAND_DIMS", "SQUEEZE"), _same_size),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _padded),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _pieces),
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _matmul,
    "CONCATENATION": _side_by_side,
    "SLICE": _sliced,
    "STRIDED_SLICE": _strided,
    "TRANSPOSE": _permuted,
    "TILE": _tiled,
    "BROADCAST_TO": _stretched,
    "GATHER": _gathered,
    "RESIZE_NEAREST_NEIGHBOR": _resized,
    "PACK": _stacked,
    "UNPACK": _unstacked,
}
"""What the shapes of the outputs follow from; those of all others are that of the input."""

_VALUES = {"SPLIT": 1, "TRANSPOSE_CONV": 2, "SELECT": 1, "SELECT_V2": 1}
"""Which operand carries the values, where it is not the first."""

_WEIGHTS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1, "FULLY_CONNECTED": 1, "BATCH_MATMUL": 1}
_RETYPED = ("QUANTIZE", "DEQUANTIZE", "CAST", *_EXTREMES, *_COMPARED)
_ONLY_MOVED = (
    *("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "PAD", "PADV2", "MIRROR_PAD", "SPLIT", "SPLIT_V", "CONCATENATION"),
    *("SLICE", "STRIDED_SLICE", "TRANSPOSE", "TILE", "BROADCAST_TO", "GATHER", "RESIZE_NEAREST_NEIGHBOR", "PACK"),
    *("UNPACK", *_CHOSEN, *_POOLS, *_EXTREMES, *_COMPARED, "MAXIMUM", "MINIMUM", "REDUCE_MAX", "REDUCE_MIN", "CAST"),
)
"""Operations that need no scale, because they compute nothing but which value goes where."""


def _check_types(graph: Graph, op: Op) -> None:
    place = _VALUES.get(op.kind, 0)
    values = graph.tensors[op.inputs[place]]
    alike = [graph.tensors[o] for o in op.outputs] if op.kind not in _RETYPED else []
    if op.kind in (*_JOINED, *_COMPARED, "CONCATENATION", "PACK"):
        alike += [graph.tensors[i] for i in op.inputs]
    for tensor in alike:
        if tensor.dtype != values.dtype:
            raise _wrong(graph, op, f"mixes {values.dtype} with the {tensor.dtype} of `{tensor.name}`")
    if op.kind in _WEIGHTS:
        weights = graph.tensors[op.inputs[_WEIGHTS[op.kind]]]
        if weights.dtype.kind != values.dtype.kind:
            raise _wrong(graph, op, f"weighs {values.dtype} with {weights.dtype}")
        if weights.dtype.kind == "i" and weights.quantization is None:
            raise _wrong(graph, op, f"has integer weights `{weights.name}` without a scale")
    if op.kind in _ONLY_MOVED:
        return
    for tensor in (values, *(graph.tensors[o] for o in op.outputs)):
        q = tensor.quantization
        if tensor.dtype in (np.int8, np.int16) and (q is None or q.per_channel):
            raise _wrong(graph, op, f"needs one scale for `{tensor.name}`")
