"""Whether an operation's operands, options and outputs fit together, before anything is computed with them.

A file states the shape of every tensor. The shape of an output follows from the operands and the
options; a file where the two differ is damaged, and nothing later needs to look again. What holds for
one operation is a ``Rule``; ``check`` applies it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from tcnstream.errors import ModelError
from tcnstream.tflite.graph import ABSENT, Graph, Op, OptionValue, Shape, Tensor
from tcnstream.tflite.shapes import same_padding

MOST_VALUES = 1 << 27
"""Values of one tensor, or under one window: half a gigabyte of float32, far more than any signal needs."""

MOST_INTEGERS = 1 << 22
"""Values of an operand that says where something goes: a few, or one for each value that is gathered."""

ANY_NUMBER = 1 << 16
"""As many operands as a file may hold."""

Shapes: TypeAlias = tuple[Shape, ...] | None
"""The shapes of all outputs; None where the operands leave a choice, which the rule has checked itself."""


@dataclass(frozen=True)
class OptionRule:
    """The type and range of an option's value, as the reader gives it; no ``choices``: any."""

    type: type[int] | type[float] | type[bool] | type[str] | type[tuple[int, ...]]
    least: int | None = None
    choices: tuple[OptionValue, ...] = ()

    def admits(self, value: OptionValue) -> bool:
        kinds = (int, float) if self.type is float else self.type
        if not isinstance(value, kinds) or (self.choices and value not in self.choices):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return self.least is None or (isinstance(value, int | float) and value >= self.least)


COUNT = OptionRule(int, least=1)
WHOLE = OptionRule(int)
WHOLES = OptionRule(tuple)
REAL = OptionRule(float)
FLAG = OptionRule(bool)
NEVER = OptionRule(bool, choices=(False,))


def one_of(*names: str) -> OptionRule:
    return OptionRule(str, choices=names)


ACTIVATION = OptionRule(str)
"""Any that the schema knows: TFLite ignores those that an operation does not have."""


@dataclass(frozen=True, eq=False)
class Rule:
    """What a file must hold for one operation.

    ``shapes`` are those of its outputs; ``demands`` refuses what no shape shows.
    ``operands`` are the fewest and the most; those beyond the fewest may be left out, unless there may be
    ``ANY_NUMBER``. ``values`` is the operand that carries the values, ``weights`` the one that weighs them, whose
    scales, if it has several, go along ``channel_axis``, and ``bias`` the one that is added to the sums;
    ``more_weights`` and ``more_biases`` are others that weigh and are added. ``symmetric``: TFLite refuses weights with
    a zero point. ``alike``: all operands have one type; ``retyped``: the output may have another one. ``scaled``:
    numbers are computed, so that integers of 8 or 16 bits need one scale. ``same_scale``: values are moved, and keep
    their scale; ``rescales_unsigned``: but uint8, which the kernel brings to the scale of the output.
    """

    operands: tuple[int, int] = (1, 1)
    several_outputs: bool = False
    shapes: Callable[[Operands], Shapes] = field(default_factory=lambda: same)
    demands: Callable[[Operands], None] = lambda o: None
    options: Mapping[str, OptionRule] = field(default_factory=dict)
    values: int = 0
    weights: int | None = None
    more_weights: tuple[int, ...] = ()
    channel_axis: int | None = None
    bias: int | None = None
    more_biases: tuple[int, ...] = ()
    symmetric: bool = False
    same_scale: bool = False
    rescales_unsigned: bool = False
    alike: bool = False
    retyped: bool = False
    scaled: bool = True

    @classmethod
    def of_moves(cls, operands: tuple[int, int], shapes: Callable[[Operands], Shapes], **facts: Any) -> Rule:
        """Of an operation that moves values and computes nothing: it needs no scale, and keeps one that there is."""
        return cls(operands, shapes=shapes, scaled=False, same_scale=True, **facts)

    def weights_of(self, op: Op) -> tuple[int, ...]:
        """The tensors that weigh the values of ``op``, those that are there."""
        return _there(op, self.weights, self.more_weights)

    def biases_of(self, op: Op) -> tuple[int, ...]:
        """The tensors that are added to the sums of ``op``, those that are there."""
        return _there(op, self.bias, self.more_biases)


def _there(op: Op, position: int | None, more: tuple[int, ...]) -> tuple[int, ...]:
    positions = () if position is None else (position, *more)
    return tuple(op.inputs[k] for k in positions if k < len(op.inputs) and op.inputs[k] != ABSENT)


def check(graph: Graph, op: Op, rule: Rule) -> Graph:
    """ModelError where ``op`` does not make tensors of the shapes that the graph states.

    Where the file leaves lengths open, the shapes of its outputs are those that follow; returns the graph with them.
    """
    for o in op.outputs:
        tensor = graph.tensors[o]
        if any(n < (0 if rule.several_outputs else 1) for n in tensor.shape):
            raise _wrong(graph, op, f"makes a tensor of shape {tensor.shape}, which holds nothing")
        if math.prod(tensor.shape) > MOST_VALUES:
            raise _wrong(graph, op, f"makes {math.prod(tensor.shape)} values, more than {MOST_VALUES}")
    least, most = rule.operands
    needed = op.inputs if most == ANY_NUMBER else op.inputs[:least]
    if not least <= len(op.inputs) <= most or ABSENT in needed:
        raise _wrong(graph, op, f"has {len(op.inputs)} operands, where {least} to {most} belong")
    if not op.outputs or (len(op.outputs) != 1 and not rule.several_outputs):
        raise _wrong(graph, op, f"has {len(op.outputs)} outputs, where one belongs")
    values = graph.tensors[op.inputs[rule.values]] if op.inputs else None
    if values is not None and 0 in values.shape:
        raise _wrong(graph, op, f"reads a tensor of shape {values.shape}, which holds nothing")
    for name, option in rule.options.items():
        if name in op.options and not option.admits(op.options[name]):
            raise _wrong(graph, op, f"has {name}={op.options[name]!r}")
    try:
        rule.demands(Operands(graph, op))
        expected = rule.shapes(Operands(graph, op))
    except _UnknownError:
        expected = None
    except _DoesNotFitError as e:
        raise _wrong(graph, op, f"has operands that do not fit together ({e})") from e
    if expected is not None and follows_open_lengths(graph):
        graph = _restated(graph, op, expected)
    stated = tuple(graph.tensors[o].shape for o in op.outputs)
    if expected is not None and not _states(graph, expected, stated):
        made, said = (", ".join(map(str, shapes)) for shapes in (expected, stated))
        raise _wrong(graph, op, f"makes a tensor of shape {made}, where the file states {said}")
    if expected is not None and any(math.prod(shape) > MOST_VALUES for shape in expected):
        raise _wrong(graph, op, f"makes more than {MOST_VALUES} values")
    _check_types(graph, op, rule)
    return graph


def follows_open_lengths(graph: Graph) -> bool:
    """Whether the file leaves lengths of its inputs open: the shapes that it states need not be those at work."""
    return any(graph.tensors[i].open_axes for i in graph.inputs)


def _restated(graph: Graph, op: Op, shapes: tuple[Shape, ...]) -> Graph:
    if all(graph.tensors[o].shape == shape for o, shape in zip(op.outputs, shapes, strict=False)):
        return graph
    tensors = list(graph.tensors)
    for o, shape in zip(op.outputs, shapes, strict=False):
        tensors[o] = replace(tensors[o], shape=shape)
    return replace(graph, tensors=tuple(tensors))


def _states(graph: Graph, expected: tuple[Shape, ...], stated: tuple[Shape, ...]) -> bool:
    """Whether the stated shapes are the expected ones.

    A file of any length has inputs of nothing but 1s, and 1 in the place of every length that follows from them.
    """
    if expected == stated:
        return True
    if not is_of_any_length(graph) or len(expected) != len(stated):
        return False
    return all(
        len(made) == len(said) and all(s in (m, 1) for m, s in zip(made, said, strict=True))
        for made, said in zip(expected, stated, strict=True)
    )


def is_of_any_length(graph: Graph) -> bool:
    """Whether the file is one for signals of any length, which states 1 for every length that it leaves open."""
    return all(math.prod(graph.tensors[i].shape) == 1 for i in graph.inputs)


def _wrong(graph: Graph, op: Op, what: str) -> ModelError:
    name = graph.tensors[op.outputs[0]].name if op.outputs else ""
    return ModelError(f"`{op.kind}` (op {op.index}, `{name}`) {what}; convert the model again")


class _UnknownError(Exception):
    """An operand is not a constant, which the lowering refuses by name."""


class _DoesNotFitError(Exception):
    """What does not fit together."""


def require(fits: bool, what: str) -> None:
    """Refuses the operation, in a rule, unless it ``fits``."""
    if not fits:
        raise _DoesNotFitError(what)


def require_scale(tensor: Tensor) -> None:
    """Refuses the operation, in a rule, unless ``tensor`` has one scale."""
    q = tensor.quantization
    require(q is not None and not q.per_channel, f"`{tensor.name}` is {tensor.dtype} and needs one scale")


class Operands:
    """The operands of one operation, as its rule reads them."""

    def __init__(self, graph: Graph, op: Op) -> None:
        self.graph, self.op = graph, op

    @property
    def is_of_any_length(self) -> bool:
        return is_of_any_length(self.graph)

    @property
    def leaves_lengths_open(self) -> bool:
        """Whether shapes must follow from the operands, since those that the file states may not be those at work."""
        return follows_open_lengths(self.graph)

    def known_integers(self, position: int) -> list[int]:
        """The integers of an operand if it is there and a constant; else none."""
        there = position < len(self.op.inputs) and self.op.inputs[position] != ABSENT
        return self.integers(position) if there and self.tensor(position).is_constant else []

    def tensor(self, position: int) -> Tensor:
        return self.graph.tensors[self.op.inputs[position]]

    def shape(self, position: int, rank: int | None = None) -> Shape:
        """Of an operand that is there, and that has ``rank`` axes."""
        tensor = self.tensor(position)
        require(rank is None or len(tensor.shape) == rank, f"`{tensor.name}` has the shape {tensor.shape}")
        return tensor.shape

    def shapes(self) -> list[Shape]:
        return [self.shape(k) for k in range(len(self.op.inputs))]

    def out(self) -> Shape:
        return self.graph.tensors[self.op.outputs[0]].shape

    def count(self, position: int) -> int | None:
        """How many values an operand has that may be left out."""
        if position >= len(self.op.inputs) or self.op.inputs[position] == ABSENT:
            return None
        return math.prod(self.shape(position))

    def integers(self, position: int, count: int | None = None) -> list[int]:
        """``count`` integers, or any number of them, that must be constants."""
        tensor = self.tensor(position)
        if tensor.dtype.kind not in "iu":
            raise _DoesNotFitError(f"`{tensor.name}` is {tensor.dtype}, not integers")
        if tensor.data is None:
            raise _UnknownError
        require(count in (None, tensor.data.size), f"`{tensor.name}` has {tensor.data.size} values")
        require(tensor.data.size <= MOST_INTEGERS, f"`{tensor.name}` has {tensor.data.size} values")
        integers: list[int] = tensor.data.reshape(-1).tolist()
        return integers

    def count_option(self, name: str) -> int:
        """An option whose rule is COUNT."""
        return self.op.integer(name, 1)

    def spatial(self, kernel: Shape) -> Shape:
        """Height and width after a window of ``kernel`` has gone over the input."""
        shape = self.shape(0, rank=4)
        explicit = self.op.options.get("explicit_padding")
        made = []
        for axis, letter in ((1, "h"), (2, "w")):
            stride, dilation = self.count_option(f"stride_{letter}"), self.count_option(f"dilation_{letter}_factor")
            k = kernel[axis - 1]
            extent = (k - 1) * dilation + 1
            if isinstance(explicit, tuple):
                padding = sum(explicit[2 * axis - 2 : 2 * axis])
            else:
                same = self.op.options.get("padding") == "SAME"
                padding = sum(same_padding(shape[axis], k, stride, dilation)) if same else 0
            require(extent * math.prod(shape) // shape[axis] <= MOST_VALUES, f"a window of {extent} places")
            made.append((shape[axis] + padding - extent) // stride + 1)
        return tuple(made)


def axis_of(shape: Shape, axis: int) -> int:
    """``axis`` counted from the front, which ``shape`` must have."""
    require(-len(shape) <= axis < len(shape), f"axis {axis} of {shape}")
    return axis % len(shape)


def spread(*shapes: Shape) -> Shape:
    """The shape to which all of these spread by broadcasting."""
    rank = max(map(len, shapes))
    made = []
    for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        wide = set(sizes) - {1}
        require(len(wide) <= 1, f"shapes {' and '.join(map(str, shapes))}")
        made.append(wide.pop() if wide else 1)
    return tuple(made)


def same(o: Operands) -> Shapes:
    """One output of the shape of the first operand."""
    return (o.shape(0),)


def broadcast(o: Operands) -> Shapes:
    """One output to whose shape all operands spread."""
    return (spread(*o.shapes()),)


def _keeps_numbers(a: Tensor, b: Tensor, rule: Rule) -> bool:
    """Whether values of ``a`` may be handed on as values of ``b``."""
    if a.dtype == np.uint8 and rule.rescales_unsigned:
        return (a.quantization is None) == (b.quantization is None)
    return a.dtype not in (np.int8, np.int16, np.uint8) or _same_scale(a, b)


def _same_scale(a: Tensor, b: Tensor) -> bool:
    p, q = a.quantization, b.quantization
    if p is q or p is None or q is None:
        return p is q
    return p.scale.tobytes() == q.scale.tobytes() and p.zero_point.tobytes() == q.zero_point.tobytes()


def has_short_sums(op: Op) -> bool:
    """Whether the file says that products of int16 are summed in 32 bits, not 64."""
    return op.options.get("quantized_bias_type") == "INT32"


def _bias_type(op: Op, values: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """What is added to sums of products: of real numbers, or integers as long as the sums."""
    if values.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.int64 if values == np.int16 and not has_short_sums(op) else np.int32)


def _check_types(graph: Graph, op: Op, rule: Rule) -> None:
    values = graph.tensors[op.inputs[rule.values]]
    alike = [graph.tensors[o] for o in op.outputs] if not rule.retyped else []
    if rule.alike:
        alike += [graph.tensors[i] for i in op.inputs]
    for tensor in alike:
        if tensor.dtype != values.dtype:
            raise _wrong(graph, op, f"mixes {values.dtype} with the {tensor.dtype} of `{tensor.name}`")
    for i in rule.weights_of(op):
        weights = graph.tensors[i]
        # Floats with integer weights: TFLite quantizes them by the range of the whole window.
        hybrid = values.dtype == np.float32 and weights.dtype == np.int8 and weights.is_constant
        if weights.dtype.kind != values.dtype.kind and not hybrid:
            raise _wrong(graph, op, f"weighs {values.dtype} with {weights.dtype}")
        if weights.dtype.kind in "iu" and weights.quantization is None:
            raise _wrong(graph, op, f"has integer weights `{weights.name}` without a scale")
        q = weights.quantization
        if rule.channel_axis is not None and q is not None and q.per_channel and q.axis != rule.channel_axis:
            raise _wrong(graph, op, f"has weights `{weights.name}` with scales along axis {q.axis}")
        if rule.symmetric and weights.dtype.kind == "i" and q is not None and q.zero_point.any():
            raise _wrong(graph, op, f"has weights `{weights.name}` with a zero point, which TFLite does not take")
    for i in rule.biases_of(op):
        bias, expected = graph.tensors[i], _bias_type(op, values.dtype)
        if bias.dtype != expected:
            raise _wrong(graph, op, f"adds the {bias.dtype} of `{bias.name}` to {values.dtype}, not {expected}")
    if rule.same_scale:
        for tensor in (graph.tensors[i] for i in (*op.inputs, *op.outputs) if i != ABSENT):
            if tensor.dtype == values.dtype and not _keeps_numbers(values, tensor, rule):
                raise _wrong(graph, op, f"moves values between `{values.name}` and `{tensor.name}` of different scales")
    if not rule.scaled:
        return
    computed = [graph.tensors[i] for i in op.inputs if i != ABSENT and i not in rule.weights_of(op)]
    for tensor in (values, *computed, *(graph.tensors[o] for o in op.outputs)):
        q = tensor.quantization
        if tensor.dtype in (np.int8, np.uint8, np.int16) and (q is None or q.per_channel):
            raise _wrong(graph, op, f"needs one scale for `{tensor.name}`")
