"""A model as stock firmware runs it: one window of bytes in, one window of bytes out, again and again.

The answer to a window is the file's offline answer. A stream that is fed the window and flushed gives it exactly,
and so does the installed interpreter where a stream cannot (statistics over all of time, dynamic-range weights).
A model that keeps its own state goes on from window to window, as it does on the board.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tcnstream.engines.interpreter.runtime import run_offline
from tcnstream.errors import NotStreamableError
from tcnstream.model import Model
from tcnstream.tflite.graph import Array


@dataclass(frozen=True)
class Layout:
    """One tensor of the file: its shape there, where time is (None: the last frame alone), a frame's shape."""

    name: str
    shape: tuple[int, ...]
    axis: int | None
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def frames(self) -> int:
        return 1 if self.axis is None else self.shape[self.axis]


class WindowModel:
    """``run`` answers one window; ``inputs`` and ``outputs`` say how its bytes lie, as in the file.

    ``first_output_only``: as firmware that knows no other. Raises NotStreamableError for a model with several
    inputs: the calls of stock firmware fill the first only.
    """

    def __init__(self, model: Model, rounding: str = "litert", first_output_only: bool = False) -> None:
        graph = model.graph
        if len(graph.inputs) != 1:
            raise NotStreamableError(
                f"the model has {len(graph.inputs)} inputs and stock Ambiq firmware fills the first only;"
                " use tcnstream's own firmware for it"
            )
        self.model = model
        self.rounding = rounding
        self.inputs = tuple(
            Layout(port.name, graph.tensors[i].shape, axis, port.dtype)
            for port, i, axis in zip(model.inputs, graph.inputs, model.plan.input_axes, strict=True)
        )
        self.outputs = tuple(
            Layout(port.name, graph.tensors[o].shape, axis, port.dtype)
            for port, o, axis in zip(model.outputs, graph.outputs, model.plan.output_axes, strict=True)
        )[: 1 if first_output_only else None]
        self._by_file = model.needs_time_pooling or model.is_dynamic_range
        self._stream = None if self._by_file else model.stream(rounding=rounding)

    @property
    def keeps_state(self) -> bool:
        return self.model.is_stateful

    @property
    def input_bytes(self) -> int:
        return sum(layout.nbytes for layout in self.inputs)

    @property
    def output_bytes(self) -> int:
        return sum(layout.nbytes for layout in self.outputs)

    def reset(self) -> None:
        """Back to what a board has after power-up."""
        if self._stream is not None:
            self._stream.reset()

    def run(self, window: bytes) -> bytes:
        """The outputs, one behind the other, for an input of exactly ``input_bytes``."""
        (layout,) = self.inputs
        x = np.frombuffer(window, layout.dtype.newbyteorder("<")).astype(layout.dtype).reshape(layout.shape)
        if self._stream is None:
            return b"".join(
                _little(np.asarray(y)) for y in run_offline(self.model.file.content, [x])[: len(self.outputs)]
            )
        if not self.keeps_state:
            self._stream.reset()
        pushed = _as_list(self._stream.push(self.to_frames(x)))
        if self.keeps_state:
            made = pushed
        else:
            made = [np.concatenate(both) for both in zip(pushed, _as_list(self._stream.flush()), strict=True)]
        return b"".join(_little(_to_file(y, layout)) for y, layout in zip(made, self.outputs, strict=False))

    def to_frames(self, x: Array) -> Array:
        """An array of the file's input shape as (frames, *frame_shape)."""
        axis = self.inputs[0].axis or 0
        return np.moveaxis(x, axis, 0).reshape(x.shape[axis], *self.model.inputs[0].shape)

    def to_bytes(self, frames: Array) -> bytes:
        """One window of frames, in the model's dtype, as the file's input lies in memory."""
        (layout,) = self.inputs
        axis = layout.axis or 0
        rest = layout.shape[:axis] + layout.shape[axis + 1 :]
        return _little(np.moveaxis(frames.reshape(len(frames), *rest), 0, axis))

    def split(self, outputs: bytes) -> list[Array]:
        """The bytes of the outputs as frames, (frames, *frame_shape) each."""
        found, begin = [], 0
        for layout, port in zip(self.outputs, self.model.outputs, strict=False):
            y = np.frombuffer(outputs, layout.dtype.newbyteorder("<"), math.prod(layout.shape), begin)
            y = y.astype(layout.dtype).reshape(layout.shape)
            moved = y if layout.axis is None else np.moveaxis(y, layout.axis, 0)
            found.append(moved.reshape(layout.frames, *port.shape))
            begin += layout.nbytes
        return found


def _to_file(frames: Array, layout: Layout) -> Array:
    if layout.axis is None:
        return frames[-1:].reshape(layout.shape)
    rest = layout.shape[: layout.axis] + layout.shape[layout.axis + 1 :]
    return np.moveaxis(frames.reshape(len(frames), *rest), 0, layout.axis)


def _little(array: Array) -> bytes:
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _as_list(frames: Array | Sequence[Array]) -> list[Array]:
    return [frames] if isinstance(frames, np.ndarray) else list(frames)
