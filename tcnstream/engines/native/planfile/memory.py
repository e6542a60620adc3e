"""Where the frames of a plan live while the core runs it.

Tensors are numbered as they are made. What a stream must remember of one between two pushes, its lookback, is a ring of
the state. Within a push its new frames stand in a slot of the scratch, which tensors share that never live at the same
time. Both need no more than the Window of each node: the core counts frames as ``timing.counts`` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from tcnstream.compiler.plan import Plan
from tcnstream.compiler.timing import remembered_frames
from tcnstream.engines.native.layout.file import NO_NUMBER, RingRecord
from tcnstream.engines.native.unsigned import signed_plan
from tcnstream.tflite.graph import Tensor


def stream_numbers(plan: Plan) -> dict[int, int]:
    """The numbers that the tensors of a plan have in its file: the inputs, then what the nodes make."""
    plan = signed_plan(plan)
    made = (*plan.inputs, *(o for node in plan.nodes for o in node.outputs))
    return {i: number for number, i in enumerate(made)}


def frame_bytes(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * tensor.dtype.itemsize


def growth(plan: Plan) -> list[tuple[Fraction, int]]:
    """Per tensor (rate, extra): b input frames never make more than ceil(b * rate) + extra new frames."""
    rates: list[Fraction] = [Fraction(0)] * len(plan.tensors)
    slack: list[Fraction] = [Fraction(0)] * len(plan.tensors)
    for i in plan.inputs:
        rates[i] = Fraction(1)
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        window = node.window
        ratio = Fraction(window.up, window.stride)
        extra = max(slack[i] for i in sources) * ratio + Fraction(window.stride - 1, window.stride)
        if window.is_mirrored:
            extra += 2 * max(window.pad_begin, 0) + 1
        else:
            extra += max(0, (window.pad_begin + min(window.pad_end or 0, 0) - window.extent) // window.stride + 1)
        for o in node.outputs:
            rates[o], slack[o] = rates[sources[0]] * ratio, extra
    return [(rate, math.ceil(e)) for rate, e in zip(rates, slack, strict=True)]


def rings(plan: Plan, numbers: Mapping[int, int]) -> tuple[list[RingRecord], int]:
    """A ring per tensor of which a stream remembers anything, and the bytes of all rings."""
    remembered = remembered_frames(plan)
    readers = _last_readers(plan)
    kept = {i: remembered[i] for i in numbers if remembered[i]}
    places = {}
    end = 0
    # Frames of whole cache lines come first: then none of them lies across two lines.
    for i in sorted(kept, key=lambda i: -math.gcd(frame_bytes(plan.tensors[i]), 64)):
        end += -end % max(plan.tensors[i].dtype.itemsize, 4)
        places[i] = end
        end += kept[i] * frame_bytes(plan.tensors[i])
    records = [
        RingRecord(frames=frames, at=places[i], tensor=numbers[i], last_reader=readers[i]) for i, frames in kept.items()
    ]
    return records, end


def scratch_slots(plan: Plan, rates: Sequence[tuple[Fraction, int]]) -> tuple[list[int], int]:
    """Per tensor its slot, NO_NUMBER for inputs and constants, and how many there are.

    Two tensors that live at the same time never share one; of the free ones a tensor takes that of the nearest size.
    ``rates`` are those of ``growth``.
    """
    writers, readers = _writers(plan), _last_readers(plan)
    free: list[int] = []
    size: list[Fraction] = []
    slots = [NO_NUMBER] * len(plan.tensors)
    for k in range(len(plan.nodes)):
        for i in plan.nodes[k].outputs:
            need = (rates[i][0] + rates[i][1]) * frame_bytes(plan.tensors[i])
            if free:
                slot = min(free, key=lambda s: (abs(size[s] - need), s))
                free.remove(slot)
                size[slot] = max(size[slot], need)
            else:
                slot = len(size)
                size.append(need)
            slots[i] = slot
        for i in range(len(plan.tensors)):
            last = readers[i] if readers[i] != NO_NUMBER else writers[i]
            if slots[i] != NO_NUMBER and i not in plan.outputs and last == k:
                free.append(slots[i])
    return slots, len(size)


def _writers(plan: Plan) -> list[int]:
    """Per tensor the node that makes it, NO_NUMBER for inputs and constants."""
    made = [NO_NUMBER] * len(plan.tensors)
    for k, node in enumerate(plan.nodes):
        for o in node.outputs:
            made[o] = k
    return made


def _last_readers(plan: Plan) -> list[int]:
    """Per tensor the last node that reads it, NO_NUMBER without any; what a loop reads or makes lives until its end."""
    last = [NO_NUMBER] * len(plan.tensors)
    ends = list(range(len(plan.nodes)))
    for loop in plan.loops:
        ends[loop.start : loop.stop] = [loop.stop - 1] * len(loop)
    for k, (node, sources) in enumerate(zip(plan.nodes, plan.sources, strict=True)):
        fed = [plan.states[o] for o in node.outputs if o in plan.states]
        made = node.outputs if ends[k] > k else ()
        for i in (*sources, *fed, *made):
            last[i] = max(ends[k], last[i] if last[i] != NO_NUMBER else 0)
    return last
