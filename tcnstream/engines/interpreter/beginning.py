"""The start of a signal in a graph of fixed shapes: padding in the place of the frames that stand before it.

Compilers ahead of time know no counter of int32 and no choice between floats. So hops are counted in the type of the
frames themselves, by sums in a scale of 1 that stop at the type's greatest value. Integers are multiplied by 0 before
the start and by 1 from then on, which is exact. Floats are kept between two limits that open at the start: 0 times
infinity would be no number.

A minimum or maximum gives its second operand where either is NaN, and so a NaN passes all limits or none. Where
operations can make one of silence it must not pass, for padding stands in its place; one of the signal is then the
largest number. Only a choice could tell the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeAlias

import numpy as np

from tcnstream.engines.interpreter.step import StepGraph
from tcnstream.tflite.graph import Array, OptionValue, Quantization, Tensor

FirstHops: TypeAlias = tuple[int, ...]
"""The first hop in which each of a hop's frames does not stand before the signal; they differ by 1 at most."""

_P = ParamSpec("_P")


@dataclass(frozen=True)
class Counting:
    """How hops are counted in a type: by the whole numbers from ``first`` to ``last``.

    ``flag_zero_point`` makes 1 the greatest value of the type, where its zero point is free.
    """

    first: int
    last: int
    zero_point: int = 0
    flag_zero_point: int = 0

    @property
    def span(self) -> int:
        """Hops after which the next counter begins; two are in both, for frames with two first hops."""
        return self.last - self.first - 1


_COUNTING = {
    "int8": Counting(0, 255, -128, 126),
    "uint8": Counting(0, 255, 0, 254),
    "int16": Counting(-32766, 32767),
    "float32": Counting(0, 1 << 24),
}
_SCALED_SUM = {"pot_scale_int16": False}
"""ADD by any scale: int16 is else shifted by powers of two."""
_MIDDLE = {"uint8": 128}
"""The zero point of what is below 0 as well."""


_Make: TypeAlias = Callable[Concatenate["Beginning", _P], int]


def _once(make: _Make[_P]) -> _Make[_P]:
    """The same tensor for the same arguments, made when it is first asked for."""

    def made(self: Beginning, /, *args: _P.args, **kwargs: _P.kwargs) -> int:
        key = (make, args)
        if key not in self._made:
            self._made[key] = make(self, *args, **kwargs)
        return self._made[key]

    return made


class Beginning:
    """Pads the frames of ``graph``, which has seen ``hops`` hops of the signal.

    ``remember(like, start)`` makes a part of the graph's state, and gives the tensor that is its value in a hop;
    ``following`` says which tensor is its value in the next.
    """

    def __init__(self, graph: StepGraph, hops: int, remember: Callable[[Tensor, Array], int]) -> None:
        self.following: dict[int, int] = {}
        self._graph = graph
        self._hops = hops
        self._remember = remember
        self._made: dict[object, int] = {}

    def pad(self, value: int, like: Tensor, padding: float, first_hops: FirstHops, *, passes_nan: bool = False) -> int:
        """``value`` (1, frames, ...), typed and scaled as ``like``, with ``padding`` in frames before the signal."""
        graph, shape = self._graph, self._graph.tensors[value].shape
        value = graph.reshape(value, (1, shape[1], 1, math.prod(shape[2:])))
        if like.dtype == np.float32:
            padded = self._limited(value, like, padding, first_hops, passes_nan)
        elif like.quantization is not None:
            padded = self._multiplied(value, like, like.quantization, int(padding), first_hops)
        else:
            padded = self._chosen(value, like, padding, first_hops)
        return graph.reshape(padded, shape)

    def _multiplied(self, value: int, like: Tensor, q: Quantization, padding: int, first_hops: FirstHops) -> int:
        shape, dtype = self._graph.tensors[value].shape, str(like.dtype)
        above = padding - int(q.zero_point.flat[0])
        kept = self._graph.op("MUL", (value, self._flag(dtype, first_hops)), like, shape)
        if above == 0:
            return kept
        fill = self._fill(dtype, float(q.scale.flat[0]), int(q.zero_point.flat[0]), above, first_hops)
        return self._graph.op("ADD", (kept, fill), like, shape, _SCALED_SUM)

    def _limited(self, value: int, like: Tensor, padding: float, first_hops: FirstHops, passes_nan: bool) -> int:
        shape = self._graph.tensors[value].shape

        def beside(limit: int, value: int) -> tuple[int, int]:
            return (limit, value) if passes_nan else (value, limit)

        value = self._graph.op("MINIMUM", beside(self._most(padding, first_hops), value), like, shape)
        return self._graph.op("MAXIMUM", beside(self._least(padding, first_hops), value), like, shape)

    def _chosen(self, value: int, like: Tensor, padding: float, first_hops: FirstHops) -> int:
        """Of plain integers, which are no numbers that a compiler for networks is sure to multiply."""
        shape = self._graph.tensors[value].shape
        otherwise = self._graph.constant(np.full(1, padding, like.dtype))
        return self._graph.op("SELECT_V2", (self._begun(first_hops), value, otherwise), like, shape)

    @_once
    def _begun(self, first_hops: FirstHops) -> int:
        since = self._since("float32", first_hops)
        shape = self._graph.tensors[since].shape
        return self._graph.op(
            "GREATER", (since, self._number("float32", 0)), Tensor("begun", (), np.dtype(bool)), shape
        )

    @_once
    def _most(self, padding: float, first_hops: FirstHops) -> int:
        """The padding before the start, infinity from then on."""
        endless = self._endless(math.inf, first_hops)
        operands = (endless, self._number("float32", padding))
        return self._graph.op("MAXIMUM", operands, _scaled("float32"), self._graph.tensors[endless].shape)

    @_once
    def _least(self, padding: float, first_hops: FirstHops) -> int:
        """The padding before the start, minus infinity from then on."""
        endless = self._endless(-math.inf, first_hops)
        operands = (endless, self._number("float32", padding))
        return self._graph.op("MINIMUM", operands, _scaled("float32"), self._graph.tensors[endless].shape)

    def _endless(self, end: float, first_hops: FirstHops) -> int:
        """``end`` from the start on, the other infinity before it."""
        since = self._since("float32", first_hops)
        operands = (since, self._number("float32", end))
        return self._graph.op("MUL", operands, _scaled("float32"), self._graph.tensors[since].shape)

    @_once
    def _fill(self, dtype: str, scale: float, zero_point: int, above: int, first_hops: FirstHops) -> int:
        """Steps from the zero point to the padding before the start, none from then on."""
        flag = self._flag(dtype, first_hops)
        shape = self._graph.tensors[flag].shape
        before = self._graph.op(
            "ADD", (flag, self._number(dtype, -1)), _scaled(dtype, _MIDDLE.get(dtype, 0)), shape, _SCALED_SUM
        )
        steps = self._number(dtype, -math.copysign(1, above), scale * abs(above))
        return self._graph.op("MUL", (before, steps), _scaled(dtype, zero_point, scale), shape)

    @_once
    def _flag(self, dtype: str, first_hops: FirstHops) -> int:
        """(1, frames, 1, 1) in a scale of 1: 0 before the start, 1 from then on."""
        since = self._since(dtype, first_hops)
        if _COUNTING[dtype].flag_zero_point:
            return since
        shape = self._graph.tensors[since].shape
        return self._graph.op("MINIMUM", (since, self._number(dtype, 1)), _scaled(dtype), shape)

    @_once
    def _since(self, dtype: str, first_hops: FirstHops) -> int:
        """(1, frames, 1, 1): of integers 0 before a frame's first hop and then 1, 2 ...; of floats half a hop less."""
        counting = _COUNTING[dtype]
        place = max(0, (max(first_hops) - 2) // counting.span)
        behind = [max(f - place * counting.span, 0) + counting.first for f in first_hops]
        is_float = dtype == "float32"
        like = _scaled(dtype, counting.flag_zero_point)
        offsets = np.array([(0.5 if is_float else 1) - b + counting.flag_zero_point for b in behind])
        offset = self._graph.constant(offsets.astype(dtype).reshape(1, -1, 1, 1), like.quantization)
        options: dict[str, OptionValue] = {} if is_float else {"fused_activation_function": "RELU", **_SCALED_SUM}
        return self._graph.op("ADD", (self._counter(dtype, place), offset), like, (1, len(behind), 1, 1), options)

    @_once
    def _counter(self, dtype: str, place: int) -> int:
        """The hops of the signal from ``place * span`` on, as far as the type counts."""
        counting = _COUNTING[dtype]
        like = _scaled(dtype, counting.zero_point)
        hops = min(max(self._hops - place * counting.span, 0), counting.last - counting.first)
        value = self._remember(like, np.full((1,) * 4, counting.first + hops + counting.zero_point, dtype))
        step = self._flag(dtype, (place * counting.span,)) if place else self._number(dtype, 1)
        self.following[value] = self._graph.op("ADD", (value, step), like, (1,) * 4, _SCALED_SUM)
        return value

    @_once
    def _number(self, dtype: str, number: float, scale: float = 1) -> int:
        """So many steps of ``scale``."""
        like = _scaled(dtype, _MIDDLE.get(dtype, 0), scale)
        return self._graph.constant(np.full((1,) * 4, number + _MIDDLE.get(dtype, 0), dtype), like.quantization)


def _scaled(dtype: str, zero_point: int = 0, scale: float = 1) -> Tensor:
    q = Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))
    return Tensor("begun", (), np.dtype(dtype), None if dtype == "float32" else q)
