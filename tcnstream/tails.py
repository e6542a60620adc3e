"""The newest input frames of a stream, kept so that another one can take up from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tcnstream.compiler.plan import Plan
from tcnstream.compiler.tails import Tail
from tcnstream.engines.base import Keeper
from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array


class KeptBytes:
    """A Keeper for engines that have none of their own."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()

    def keep(self, frames: bytes) -> None:
        """As ``Keeper.keep``."""
        self._kept += frames
        if len(self._kept) > self._most:
            # At the front of a bytearray nothing is moved, but for a time now and then.
            del self._kept[: -self._most or None]

    def forget(self) -> None:
        """As ``Keeper.forget``."""
        self._kept.clear()

    def newest(self, n: int) -> bytes:
        """As ``Keeper.newest``."""
        return bytes(self._kept[len(self._kept) - n :])


def kept_bytes(plan: Plan, tail: Tail) -> list[int]:
    """Per input, how many bytes of it may be asked for."""
    return [tail.most_frames * math.prod(plan.tensors[i].shape) * plan.tensors[i].dtype.itemsize for i in plan.inputs]


class NewestFrames:
    """What ``Stream.tail`` gives: per input the newest frames that were pushed, as many as may be asked for.

    ``keepers``, one per input, have them; ``known_from`` is the first frame of the signal that they may have.
    """

    def __init__(self, plan: Plan, tail: Tail, keepers: Sequence[Keeper]) -> None:
        self._tail, self._keepers = tail, keepers
        self._tensors = [plan.tensors[i] for i in plan.inputs]
        frame_bytes = [math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in self._tensors]
        self._sized = list(zip(keepers, frame_bytes, strict=True))
        self._known_from = 0

    def forget(self, pushed_frames: int) -> None:
        """Nothing is kept of the first ``pushed_frames`` frames."""
        self._known_from = pushed_frames
        for keeper in self._keepers:
            keeper.forget()

    def take(self, chunks: Sequence[Array]) -> None:
        """Frames that were pushed, (n, *frame_shape) per input."""
        for keeper, chunk in zip(self._keepers, chunks, strict=True):
            keeper.keep(chunk[-self._tail.most_frames or len(chunk) :].tobytes())

    def blobs(self, pushed_frames: int) -> list[bytes]:
        """The frames that rebuild a stream that has had so many, per input in its own numbers; StreamError where they
        were not kept."""
        wanted = self._tail.frames(pushed_frames)
        if (missing := self._known_from - (pushed_frames - wanted)) > 0:
            raise StreamError(
                f"a stream that was restored knows its newest frames only after {missing} more: push them, or take a"
                " snapshot"
            )
        return [keeper.newest(wanted * frame_bytes) for keeper, frame_bytes in self._sized]

    def frames(self, pushed_frames: int) -> tuple[Array, ...]:
        """``blobs`` as arrays (n, *frame_shape)."""
        return tuple(
            np.frombuffer(blob, tensor.dtype).reshape(-1, *tensor.shape).copy()
            for blob, tensor in zip(self.blobs(pushed_frames), self._tensors, strict=True)
        )
