"""The newest input frames of a stream, kept so that another one can take up from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tcnstream.compiler.plan import Plan
from tcnstream.compiler.tails import Tail
from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array


class NewestFrames:
    """What ``Stream.tail`` gives: per input the newest frames that were pushed, as many as may be asked for."""

    def __init__(self, plan: Plan, tail: Tail) -> None:
        self._tail = tail
        self._tensors = [plan.tensors[i] for i in plan.inputs]
        self._frame_bytes = [math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in self._tensors]
        self._most_bytes = [tail.most_frames * size for size in self._frame_bytes]
        self.forget(0)

    def forget(self, pushed_frames: int) -> None:
        """Nothing is kept of the first ``pushed_frames`` frames."""
        self._pushed_frames = self._known_from = pushed_frames
        self._kept = [bytearray() for _ in self._tensors]

    def take(self, chunks: Sequence[Array]) -> None:
        """Frames that were pushed, (n, *frame_shape) per input."""
        self._pushed_frames += len(chunks[0])
        for kept, most, chunk in zip(self._kept, self._most_bytes, chunks, strict=True):
            kept += chunk[-self._tail.most_frames :].tobytes()
            if len(kept) > most:
                # At the front of a bytearray nothing is moved, but for a time now and then.
                del kept[: -most or None]

    def blobs(self) -> list[bytes]:
        """The frames that rebuild the stream, per input in its own numbers; StreamError where they were not kept."""
        wanted = self._tail.frames(self._pushed_frames)
        if (missing := self._known_from - (self._pushed_frames - wanted)) > 0:
            raise StreamError(
                f"a stream that was restored knows its newest frames only after {missing} more: push them, or take a"
                " snapshot"
            )
        return [
            bytes(kept[len(kept) - wanted * size :]) for kept, size in zip(self._kept, self._frame_bytes, strict=True)
        ]

    def frames(self) -> tuple[Array, ...]:
        """``blobs`` as arrays (n, *frame_shape)."""
        return tuple(
            np.frombuffer(blob, tensor.dtype).reshape(-1, *tensor.shape).copy()
            for blob, tensor in zip(self.blobs(), self._tensors, strict=True)
        )
