"""The newest input frames of a stream, kept so that another one can take up from them."""

from __future__ import annotations

from collections.abc import Sequence

from tcnstream.compiler.plan import Plan
from tcnstream.compiler.tails import Tail
from tcnstream.engines.state import Queue
from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array


class NewestFrames:
    """What ``Stream.tail`` gives: per input the newest frames that were pushed, as many as may be asked for."""

    def __init__(self, plan: Plan, tail: Tail) -> None:
        self._plan, self._tail = plan, tail
        self.forget(0)

    def forget(self, pushed_frames: int) -> None:
        """Nothing is kept of the first ``pushed_frames`` frames."""
        tensors = [self._plan.tensors[i] for i in self._plan.inputs]
        self._queues = [Queue(tensor.shape, tensor.dtype) for tensor in tensors]
        for queue in self._queues:
            queue.skip_to(pushed_frames)

    def take(self, chunks: Sequence[Array]) -> None:
        """Frames that were pushed, (n, *frame_shape) per input."""
        most = self._tail.most_frames
        for queue, chunk in zip(self._queues, chunks, strict=True):
            newest = chunk[max(0, len(chunk) - most) :]
            if len(newest) < len(chunk):
                queue.skip_to(queue.end_frame + len(chunk) - len(newest))
            queue.append(newest)
            queue.drop_before(max(queue.first_frame, queue.end_frame - most))

    def frames(self) -> tuple[Array, ...]:
        """The frames that rebuild the stream, (n, *frame_shape) per input; StreamError where they were not kept."""
        end = self._queues[0].end_frame
        begin = end - self._tail.frames(end)
        if (missing := self._queues[0].first_frame - begin) > 0:
            raise StreamError(
                f"a stream that was restored knows its newest frames only after {missing} more: push them, or take a"
                " snapshot"
            )
        return tuple(queue.read(begin, end).copy() for queue in self._queues)
