"""The streaming program: canonical nodes over frames, the one input of every engine.

Every streamed tensor is an array ``(frames, *frame_shape)``: time comes first, the batch axis is
gone. A node says which input frames an output frame reads (``Window``) and what it computes
(``kind``, ``options``, constants in canonical layout). Engines only compute; when a frame can be
computed is settled by counting, in ``timing``.

Canonical layouts (F is the frequency axis of spectrogram models, 1 elsewhere)::

    CONV_2D            x (t, F, C)   weights (O, kt, kf, C / groups)   bias (O,) or absent
    DEPTHWISE_CONV_2D  x (t, F, C)   weights (kt, kf, C * multiplier)  bias
    TRANSPOSE_CONV     x (t, F, C)   weights (O, kt, kf, C)            bias or absent
    *_POOL_2D          x (t, F, C)
    all others         x (t, *frame_shape); axes in options count time as axis 0

Besides the file's own kinds there are those of ``operations/time.py``, which only move frames or take a statistic
over them. What a node's options may be is said there too, by a dataclass for each family of operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias, TypeVar

from tcnstream.tflite.graph import Array, Graph, Shape, Tensor

Edge: TypeAlias = Literal["fill", "reflect", "symmetric", "clip", "hold"]


@dataclass(frozen=True)
class Window:
    """Which input frames an output frame reads; all counts are frames.

    Put the input on a line with ``up - 1`` gaps between frames. Output frame j reads the ``extent``
    places from ``stride * j - pad_begin`` on. ``pad_end`` places exist after the end of the signal
    (negative: the last ones are cut off); None means as many as give ceil(frames / stride) output
    frames, TFLite's SAME. ``edge`` says what stands in the padding: a constant (``Node.fill``),
    the mirrored signal, its first and last frame (hold), or nothing (the window is clipped).
    """

    up: int = 1
    stride: int = 1
    extent: int = 1
    pad_begin: int = 0
    pad_end: int | None = 0
    edge: Edge = "fill"

    @property
    def is_mirrored(self) -> bool:
        """Whether the padding shows frames of the signal itself, so that they must be there first."""
        return self.edge in ("reflect", "symmetric")


SAME_FRAME = Window()


@dataclass(frozen=True)
class Options:
    """What a node computes with besides its operands. Each family of operations has a subclass with named fields."""

    @property
    def kind_in_file(self) -> str:
        """What the file calls the operation, where the node's own kind does not say it; else empty."""
        return ""


UNBOUNDED = "UNBOUNDED"
"""No activation and no limit: an infinity stays one, where NONE makes the largest number of it."""


@dataclass(frozen=True)
class AxisOptions(Options):
    """``axis`` of (time, *frame), never 0."""

    axis: int


@dataclass(frozen=True)
class ActivationOptions(Options):
    """``activation`` is the schema's name of the function that is applied last, such as RELU6, or UNBOUNDED."""

    activation: str = "NONE"

    @property
    def activation_in_file(self) -> str:
        """The schema has no name for UNBOUNDED: an operation of a file ends at the largest number."""
        return "NONE" if self.activation == UNBOUNDED else self.activation


NO_OPTIONS = Options()

_Family = TypeVar("_Family", bound=Options)


@dataclass(frozen=True, eq=False)
class Node:
    """One step of the program.

    ``inputs`` and ``outputs`` index ``Plan.tensors`` (graph.ABSENT for an operand left out).
    ``views`` gives, per input, the frame shape in which this node sees it: reshapes cost nothing.
    ``window`` holds for every streamed input; a node with several reads frame j of each. ``fill`` is
    the raw value (in the input's dtype) of padding frames. ``label`` and ``index`` name the
    operation of the file.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    views: tuple[Shape, ...]
    options: Options = NO_OPTIONS
    window: Window = SAME_FRAME
    fill: float | int = 0
    label: str = ""
    index: int = -1

    def options_of(self, family: type[_Family]) -> _Family:
        """The options, which must be those of ``family``."""
        if not isinstance(self.options, family):
            raise TypeError(f"{self.kind} ({self.label}) has {self.options}, where {family.__name__} belong")
        return self.options

    @property
    def kind_in_file(self) -> str:
        """What the file calls this operation: a mean over all of time is TIME_REDUCE here and MEAN there."""
        return self.options.kind_in_file or self.kind


@dataclass(frozen=True, eq=False)
class StepGraph:
    """A graph that takes a step by itself, a fixed number of frames at a time, with its state outside of it.

    Its inputs are those of the file, then the states before the step; its outputs those of the file, then the states
    after it. ``start`` has a state's value before the first step, for each of them. ``is_fed_back``: the states are
    inputs and outputs of the file's own.
    """

    graph: Graph
    start: tuple[Array, ...]
    is_fed_back: bool = False

    @property
    def inputs(self) -> tuple[int, ...]:
        """The inputs of the file."""
        return self.graph.inputs[: len(self.graph.inputs) - len(self.start)]

    @property
    def outputs(self) -> tuple[int, ...]:
        """The outputs of the file."""
        return self.graph.outputs[: len(self.graph.outputs) - len(self.start)]

    @property
    def states(self) -> tuple[tuple[int, int, Array], ...]:
        """Every state: the tensor before the step, the one after it, and its start."""
        before, after = self.graph.inputs[len(self.inputs) :], self.graph.outputs[len(self.outputs) :]
        return tuple(zip(before, after, self.start, strict=True))


@dataclass(frozen=True, eq=False)
class Plan:
    """Nodes in execution order over ``tensors`` (streams: ``shape`` is the frame's; constants have data).

    ``output_shapes`` are the frame shapes in which the outputs leave; ``window_frames`` is the time
    length of the file's input, ``windows`` that of each tensor (0 for constants, 1 where a window took
    time away). ``input_axes`` and ``output_axes`` say where time is in the file's own shapes (None: gone);
    ``other_axes`` are input axes along which the file would stream, too. ``window_is_open``: the file is
    for signals of any length, and ``window_frames`` is only what shapes were worked out for. ``states`` is what is fed
    back: each tensor that a TIME_STATE makes, and the one whose frames it shows a frame later. The nodes of a loop
    stand together. ``input_places`` says which inputs of the file the plan's inputs are (the others have no time), and
    ``input_steps`` how many of its frames each has a step: 1, but where rates differ. ``steps`` is
    what the plan was made from where the file takes steps by itself.
    """

    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    output_shapes: tuple[Shape, ...]
    window_frames: int
    windows: tuple[int, ...]
    input_axes: tuple[int | None, ...] = ()
    output_axes: tuple[int | None, ...] = ()
    other_axes: tuple[tuple[int | None, ...], ...] = ()
    window_is_open: bool = False
    states: Mapping[int, int] = field(default_factory=dict)
    input_places: tuple[int, ...] = ()
    input_steps: tuple[int, ...] = ()
    steps: StepGraph | None = None

    @cached_property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """For every node, its inputs that carry frames."""
        return tuple(tuple(i for i in node.inputs if i >= 0 and self.tensors[i].data is None) for node in self.nodes)

    @cached_property
    def loops(self) -> tuple[range, ...]:
        """Nodes that must go together, frame by frame: what is fed back to the first of them is made by the last."""
        writer = {o: k for k, node in enumerate(self.nodes) for o in node.outputs}
        found: list[range] = []
        for read, written in sorted(self.states.items(), key=lambda state: writer[state[0]]):
            first, last = writer[read], writer.get(written, -1)
            if found and first < found[-1].stop:
                found[-1] = range(found[-1].start, max(found[-1].stop, last + 1))
            elif last > first:
                found.append(range(first, last + 1))
        return tuple(found)
