"""One step of a stream as a .tflite graph under construction; ``emit.py`` says each node in it.

A step is a graph for fixed numbers of new frames. Frames lie on axis 1: a tensor of frames ``(F, C)``
is ``(1, n, F, C)``, and frame shapes of less than two axes get leading 1s, so that views which only
move 1s around need no operation. What an operation reads of the past enters as graph inputs
(``Feed``), which the host fills from the queues, padding included.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tcnstream.compiler.operations import operation
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.timing import first_read, last_read
from tcnstream.tflite.graph import Array, Graph, Op, OptionValue, Quantization, Shape, Tensor

Range = tuple[int, int]

_MOST_OPERANDS = 10
"""TFLite Micro's CONCATENATION takes no more."""


class NeedsHost(Exception):  # noqa: N818 (control flow, never seen by users)
    """This node has no TFLite form in this step."""


@dataclass(frozen=True)
class Feed:
    """Every ``stride``-th frame of an operand that the host copies into graph input ``graph_input`` from ``offset`` on.

    ``begin`` and ``end`` count from the frames that the tensor had before the step.
    """

    graph_input: int
    offset: int
    node: int
    position: int
    begin: int
    end: int
    stride: int = 1

    @property
    def frames(self) -> int:
        return -(-(self.end - self.begin) // self.stride)


@dataclass(frozen=True)
class Work:
    """What node ``index`` has to compute in a step: ``frames`` new frames from ``first_frame`` on."""

    index: int
    first_frame: int
    frames: int


@dataclass(frozen=True)
class Span:
    """A streamed tensor in a step: frames before it and after it."""

    have: int
    goal: int


def lay_out(frame: Shape) -> Shape:
    """A frame's shape in a step graph, with at least two axes."""
    return (1,) * (2 - len(frame)) + frame


class StepGraph:
    """The graph of consecutive nodes of one step, under construction.

    ``made`` maps tensors of the plan to their new frames in this graph. ``taps`` lets a dilated
    convolution read one range per tap, so that what a step touches does not grow with the dilation.
    """

    taps = True

    def __init__(self, plan: Plan, spans: Sequence[Span]) -> None:
        self.plan = plan
        self.spans = spans
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.inputs: list[int] = []
        self.feeds: list[Feed] = []
        self.nodes: list[int] = []
        self.made: dict[int, int] = {}
        self._fed: dict[tuple[object, ...], int] = {}
        self._constants: dict[tuple[int, Shape], int] = {}
        self._reshapes: dict[tuple[int, Shape], int] = {}
        self._reshaped: dict[int, int] = {}

    def add(self, work: Work, made: Sequence[int]) -> None:
        """Node ``work.index`` is in the graph: its outputs are the tensors ``made``."""
        for o, value in zip(self.plan.nodes[work.index].outputs, made, strict=True):
            self.made[o] = self.reshape(value, (1, work.frames, *lay_out(self.plan.tensors[o].shape)))
        self.nodes.append(work.index)

    def graph(self, kept: Sequence[int]) -> Graph:
        """The graph whose outputs are the new frames of the plan's tensors ``kept``."""
        return Graph(tuple(self.tensors), tuple(self.ops), tuple(self.inputs), tuple(self.made[i] for i in kept))

    # --- building blocks ---------------------------------------------------------------------

    def value(self, like: Tensor, shape: Shape) -> int:
        self.tensors.append(Tensor(f"{like.name}:{len(self.tensors)}", shape, like.dtype, like.quantization))
        return len(self.tensors) - 1

    def constant(self, data: Array, quantization: Quantization | None = None) -> int:
        self.tensors.append(Tensor(f"constant:{len(self.tensors)}", data.shape, data.dtype, quantization, data))
        return len(self.tensors) - 1

    def integers(self, values: Sequence[int] | Sequence[Sequence[int]]) -> int:
        return self.constant(np.array(values, np.int32))

    def plan_constant(self, i: int, shape: Shape, axis: int = 0) -> int:
        """A constant of the plan in ``shape``; ``axis`` is where its per-channel axis lies there."""
        key = (i, shape)
        if key not in self._constants:
            tensor = self.plan.tensors[i]
            assert tensor.data is not None
            q = tensor.quantization
            self._constants[key] = self.constant(
                tensor.data.reshape(shape), replace(q, axis=axis) if q is not None and q.per_channel else q
            )
        return self._constants[key]

    def op(
        self,
        kind: str,
        inputs: Sequence[int],
        like: Tensor,
        shape: Shape,
        options: Mapping[str, OptionValue] | None = None,
    ) -> int:
        """Append an operation with one output of ``shape``, typed and quantized as ``like``."""
        out = self.value(like, shape)
        self.ops.append(Op(kind, tuple(inputs), (out,), options or {}))
        return out

    def reshape(self, i: int, shape: Shape) -> int:
        """The same values in another shape: once, and never of a reshape.

        LiteRT 2.3 reshapes in place, and lets a product overwrite the reshape of a reshape that others still read.
        """
        i = self._reshaped.get(i, i)
        tensor, key = self.tensors[i], (i, shape)
        if tensor.shape == shape:
            return i
        if key not in self._reshapes:
            made = self.op("RESHAPE", (i, self.integers(shape)), tensor, shape, {"new_shape": shape})
            self._reshapes[key], self._reshaped[made] = made, i
        return self._reshapes[key]

    def concatenate(self, parts: Sequence[int], axis: int = 1) -> int:
        if len(parts) == 1:
            return parts[0]
        if len(parts) > _MOST_OPERANDS:
            groups = [parts[k : k + _MOST_OPERANDS] for k in range(0, len(parts), _MOST_OPERANDS)]
            return self.concatenate([self.concatenate(group, axis) for group in groups], axis)
        first = self.tensors[parts[0]]
        shape = list(first.shape)
        shape[axis] = sum(self.tensors[p].shape[axis] for p in parts)
        return self.op("CONCATENATION", parts, first, tuple(shape), {"axis": axis})

    def cut(self, i: int, begin: int, frames: int, stride: int = 1) -> int:
        """Every ``stride``-th frame from ``begin`` on."""
        tensor = self.tensors[i]
        if frames == tensor.shape[1]:
            return i
        shape = (1, frames, *tensor.shape[2:])
        rest = (0,) * (len(shape) - 2)
        start = self.integers((0, begin, *rest))
        if stride == 1:
            return self.op("SLICE", (i, start, self.integers(shape)), tensor, shape)
        stop = self.integers((1, begin + (frames - 1) * stride + 1, *shape[2:]))
        strides = self.integers((1, stride, *(1 for _ in rest)))
        return self.op("STRIDED_SLICE", (i, start, stop, strides), tensor, shape)

    def pad(self, i: int, paddings: Sequence[tuple[int, int]], fill: float | int) -> int:
        tensor = self.tensors[i]
        shape = tuple(n + a + b for n, (a, b) in zip(tensor.shape, paddings, strict=True))
        value = self.constant(np.array(fill, tensor.dtype).reshape(1), tensor.quantization)
        return self.op("PADV2", (i, self.integers(paddings), value), tensor, shape)

    # --- what nodes read ---------------------------------------------------------------------

    def whole_range(self, node: Node, work: Work) -> Range:
        last = work.first_frame + work.frames - 1
        return first_read(node.window, work.first_frame), last_read(node.window, last) + 1

    def read(self, node: Node, work: Work, position: int, ranges: Sequence[Range] | None = None) -> int:
        """The frames of an operand that the node reads, one range behind the other, in the node's view."""
        i, view = node.inputs[position], node.views[position]
        tensor, span = self.plan.tensors[i], self.spans[i]
        parts: list[int | list[Range]] = []

        def from_host(begin: int, end: int) -> None:
            if parts and isinstance(parts[-1], list):
                parts[-1].append((begin, end))
            else:
                parts.append([(begin, end)])

        for begin, end in ranges or [self.whole_range(node, work)]:
            if i not in self.made:
                from_host(begin, end)
                continue
            if begin < span.have:
                from_host(begin, min(end, span.have))
            new_begin, new_end = max(begin, span.have), min(end, span.goal)
            if new_begin < new_end:
                parts.append(self.cut(self.made[i], new_begin - span.have, new_end - new_begin))
            if end > span.goal:
                missing = (1, end - max(begin, span.goal), *lay_out(tensor.shape))
                parts.append(self.constant(np.full(missing, node.fill, tensor.dtype), tensor.quantization))
        found = self.concatenate([p if isinstance(p, int) else self.feed(work, position, p) for p in parts])
        return self.reshape(found, (1, self.tensors[found].shape[1], *lay_out(view)))

    def feed(self, work: Work, position: int, ranges: Sequence[Range]) -> int:
        """A graph input that the host fills with these ranges of an operand."""
        node = self.plan.nodes[work.index]
        i = node.inputs[position]
        key = (i, tuple(ranges), node.fill, node.window.edge)
        if key not in self._fed:
            tensor = self.plan.tensors[i]
            frames = sum(end - begin for begin, end in ranges)
            made = self.value(tensor, (1, frames, *lay_out(tensor.shape)))
            offset, base = 0, self.spans[i].have
            for begin, end, stride in _as_slices(ranges):
                feed = Feed(len(self.inputs), offset, work.index, position, begin - base, end - base, stride)
                self.feeds.append(feed)
                offset += feed.frames
            self.inputs.append(made)
            self._fed[key] = made
        return self._fed[key]


def _as_slices(ranges: Sequence[Range]) -> list[tuple[int, int, int]]:
    """Single frames at one distance as one slice with that stride; all else range by range."""
    firsts = [begin for begin, _ in ranges]
    distances = {b - a for a, b in itertools.pairwise(firsts)}
    if len(distances) == 1 and all(end - begin == 1 for begin, end in ranges):
        return [(firsts[0], firsts[-1] + 1, distances.pop())]
    return [(begin, end, 1) for begin, end in ranges]


def touches_edge(plan: Plan, node: Node, work: Work, spans: Sequence[Span]) -> bool:
    """Whether the node reads frames before the start or after the end of the signal in this step."""
    begin = first_read(node.window, work.first_frame)
    end = last_read(node.window, work.first_frame + work.frames - 1) + 1
    return begin < 0 or any(end > spans[i].goal for i in plan.sources[work.index])


def depends_on_edge(node: Node) -> bool:
    """Whether the node treats padding other than as frames of the constant ``fill``."""
    return node.window.edge != "fill" or operation(node.kind).skips_padding
