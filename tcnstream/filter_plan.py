"""The program of a SignalFilter: the definition in ``polyphase`` as one or two nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tcnstream.graph import ABSENT, OptionValue, Tensor
from tcnstream.plan import Node, Plan, Reach
from tcnstream.polyphase import Polyphase

Frames = npt.NDArray[np.float32]


def filter_plan(alignment: Polyphase, kernel: Frames, bias: Frames | None, separable: bool) -> Plan:
    """Frames (channels,) through ``kernel`` (support, channels, filters) to frames of all filters.

    What a reflection needs is mirrored first. Then every output frame is computed alone, from the taps of its phase.
    """
    channels, filters = kernel.shape[1:]
    out = channels * filters if separable else filters
    steps = _Steps(channels)
    if any(alignment.mirror):
        begin, end = alignment.mirror
        steps.add("TIME_PAD", (channels,), (channels,), Reach(pad_begin=begin, pad_end=end, edge="reflect"))
    reach, constants = _resampling(alignment), [_weights(alignment, kernel), bias]
    steps.add("TIME_RESAMPLE", (channels,), (out,), reach, constants, {"separable": int(separable)})
    return steps.plan(out)


def _weights(alignment: Polyphase, kernel: Frames) -> Frames:
    """(phases, taps, channels, filters)"""
    padded = np.concatenate([kernel, np.zeros((1, *kernel.shape[1:]), np.float32)])
    places = [[len(kernel) if k is None else k for k in row] for row in alignment.taps]
    return np.ascontiguousarray(padded[np.transpose(places)])


def _resampling(alignment: Polyphase) -> Reach:
    """Output frame j is place keep * j + crop among the phases of all blocks, and reads what its block reads."""
    phases, taps = alignment.phases, len(alignment.taps)
    pad_begin = (alignment.begin - alignment.mirror[0] + 1) * phases - 1 - alignment.crop
    pad_end = alignment.surplus - 1 - pad_begin + taps * phases - sum(alignment.mirror) * phases
    return Reach(phases, alignment.keep * alignment.stride, taps * phases, pad_begin, pad_end)


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
        reach: Reach,
        constants: Sequence[Frames | None] = (),
        options: Mapping[str, OptionValue] = MappingProxyType({}),
    ) -> None:
        inputs, views = [self._value], [view]
        for data in constants:
            inputs.append(ABSENT if data is None else self._new(Tensor(kind, data.shape, data.dtype, None, data)))
            views.append(() if data is None else data.shape)
        self._value = self._new(Tensor(kind, shape, np.dtype(np.float32)))
        node = Node(kind, tuple(inputs), (self._value,), tuple(views), options, reach, label=kind.lower())
        self._nodes.append(node)

    def _new(self, tensor: Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def plan(self, channels: int) -> Plan:
        windows = tuple(0 if tensor.is_constant else 1 for tensor in self._tensors)
        return Plan(
            tuple(self._tensors), tuple(self._nodes), (0,), (self._value,), ((channels,),), 1, windows, (0,), (0,)
        )
