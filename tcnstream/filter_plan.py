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
    weights = _weights(alignment, kernel)
    if alignment.phases == 1:
        _convolve(steps, alignment, weights[0], bias, separable)
    else:
        view, options = (channels,), {"separable": int(separable)}
        steps.add("TIME_RESAMPLE", view, (out,), _resampling(alignment), [weights, bias], options)
    return steps.plan(out)


def _weights(alignment: Polyphase, kernel: Frames) -> Frames:
    """(phases, taps, channels, filters)"""
    padded = np.concatenate([kernel, np.zeros((1, *kernel.shape[1:]), np.float32)])
    places = [[len(kernel) if k is None else k for k in row] for row in alignment.taps]
    return np.ascontiguousarray(padded[np.transpose(places)])


def _convolve(steps: _Steps, alignment: Polyphase, weights: Frames, bias: Frames | None, separable: bool) -> None:
    taps, channels, filters = weights.shape
    if separable:
        kind, laid_out = "DEPTHWISE_CONV_2D", weights.reshape(taps, 1, channels * filters)
    else:
        kind, laid_out = "CONV_2D", weights.transpose(2, 0, 1)[:, :, None]
    zeros = alignment.begin - alignment.mirror[0], alignment.end - alignment.mirror[1]
    reach = Reach(1, alignment.stride, taps, *zeros)
    options = {"dilation_t": 1, "stride_f": 1, "dilation_f": 1, "pad_f_begin": 0, "pad_f_end": 0}
    out = laid_out.shape[2] if separable else filters
    steps.add(
        kind,
        (1, channels),
        (1, out),
        reach,
        [np.ascontiguousarray(laid_out), bias],
        {**options, "fused_activation_function": "NONE"},
    )


def _resampling(alignment: Polyphase) -> Reach:
    """Output frame j is place keep * j + crop among the phases of all blocks, and reads what its block reads."""
    phases, taps = alignment.phases, len(alignment.taps)
    pad_begin = (alignment.begin - alignment.mirror[0] + 1) * phases - 1 - alignment.crop
    pad_end = alignment.surplus - 1 - pad_begin + taps * phases - sum(alignment.mirror) * phases
    return Reach(phases, alignment.keep, taps * phases, pad_begin, pad_end)


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
