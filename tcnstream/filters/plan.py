"""The program of a SignalFilter: the definition in ``polyphase`` as one or two nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.operations.time import TIME_PAD, TIME_RESAMPLE, ResampleOptions
from tcnstream.compiler.plan import NO_OPTIONS, Node, Options, Plan, Window
from tcnstream.filters.polyphase import Alignment
from tcnstream.tflite.graph import ABSENT, Tensor

Frames = npt.NDArray[np.float32]


def filter_plan(alignment: Alignment, kernel: Frames, bias: Frames | None, separable: bool) -> Plan:
    """Frames (channels,) through ``kernel`` (support, channels, filters) to frames of all filters.

    What a reflection needs is mirrored first. Then every output frame is computed alone, from the weights that meet
    input frames and not the places between them.
    """
    channels, filters = kernel.shape[1:]
    steps = _Steps(channels)
    begin, end = alignment.mirror
    if begin or end:
        steps.add(TIME_PAD.kind, (channels,), (channels,), Window(pad_begin=begin, pad_end=end, edge="reflect"))
    up = alignment.up
    window = Window(
        up, alignment.down, alignment.support, alignment.pad_begin - up * begin, alignment.pad_end - up * end
    )
    out = channels * filters if separable else filters
    constants, options = [_weights(alignment, kernel), bias], ResampleOptions(separable)
    steps.add(TIME_RESAMPLE.kind, (channels,), (out,), window, constants, options)
    return steps.plan(out)


def _weights(alignment: Alignment, kernel: Frames) -> Frames:
    """(up, taps, channels, filters): every ``up``-th weight from each of the first ``up`` on, zeros behind the last."""
    up, (support, *shape) = alignment.up, kernel.shape
    padded = np.zeros((support + -support % up, *shape), np.float32)
    padded[:support] = kernel if alignment.corr else kernel[::-1]
    return np.ascontiguousarray(padded.reshape(-1, up, *shape).swapaxes(0, 1))


class _Steps:
    """Nodes one behind the other."""

    def __init__(self, channels: int) -> None:
        self._tensors = [Tensor("signal", (channels,), np.dtype(np.float32))]
        self._nodes: list[Node] = []
        self._value = 0

    def add(
        self,
        kind: str,
        view: tuple[int, ...],
        shape: tuple[int, ...],
        window: Window,
        constants: Sequence[Frames | None] = (),
        options: Options = NO_OPTIONS,
    ) -> None:
        inputs, views = [self._value], [view]
        for data in constants:
            inputs.append(ABSENT if data is None else self._new(Tensor(kind, data.shape, data.dtype, None, data)))
            views.append(() if data is None else data.shape)
        self._value = self._new(Tensor(kind, shape, np.dtype(np.float32)))
        node = Node(kind, tuple(inputs), (self._value,), tuple(views), options, window, label=kind.lower())
        self._nodes.append(node)

    def _new(self, tensor: Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def plan(self, channels: int) -> Plan:
        windows = tuple(0 if tensor.is_constant else 1 for tensor in self._tensors)
        return Plan(
            tuple(self._tensors), tuple(self._nodes), (0,), (self._value,), ((channels,),), 1, windows, (0,), (0,)
        )
