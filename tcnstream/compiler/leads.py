"""Where the end of a window meets what all of a window makes.

The last frame of a window goes on as every frame of a stream, so that it begins with frames that no whole window ends
with: its ``lead``. What reads a whole window, or an earlier frame of it, has one frame per window and none before.
Where two of them meet, they must stand for the same window, so that the longer lead is cut off.
"""

from __future__ import annotations

from dataclasses import replace

from tcnstream.compiler.lowering import Lowering, TimedTensor
from tcnstream.compiler.operations.time import TIME_PAD
from tcnstream.compiler.plan import Window
from tcnstream.tflite.graph import Op


def align(lw: Lowering, op: Op) -> None:
    """Operands of ``op`` without time stand for the same windows, until ``settle_leads``."""
    gone = _without_time(lw, op)
    if all(stream.statistic for stream in gone.values()):
        return
    least = min(map(_lead, gone.values()))
    for i, stream in gone.items():
        if more := _lead(stream) - least:
            like = lw.tensors[stream.value]
            window = Window(pad_begin=-more)
            operand = (stream.value, like.shape)
            value, _ = lw.step(op, [operand], like, like.shape, stream.window_frames, TIME_PAD.kind, window=window)
            lw.exchanged.setdefault(i, stream)
            lw.streams[i] = replace(stream, value=value, statistic=False, lead=least)


def settle_leads(lw: Lowering, op: Op) -> None:
    """What ``op`` made has the lead of its operands, which others may read as they were."""
    gone = [stream for stream in _without_time(lw, op).values() if not stream.statistic]
    for o in op.outputs:
        made = lw.streams.get(o)
        if gone and made is not None and made.axis is None and made.picked is None and not made.lead:
            lw.streams[o] = replace(made, lead=min(stream.lead for stream in gone))
    lw.streams |= lw.exchanged
    lw.exchanged.clear()


def _without_time(lw: Lowering, op: Op) -> dict[int, TimedTensor]:
    streams = {i: lw.streams[i] for i in op.inputs if i in lw.streams}
    return {i: stream for i, stream in streams.items() if stream.axis is None and stream.picked is None}


def _lead(stream: TimedTensor) -> int:
    """A statistic has a value at every frame, the last one of a window included."""
    return stream.window_frames - 1 if stream.statistic else stream.lead
