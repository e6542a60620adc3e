"""Where a frame stands on the input's clock, so that a label is put where it belongs.

Frame j of a tensor stands at input frame ``step * j + offset``; ``Timing.step`` counts input frames per frame, and
``alignments`` finds the offset, a fold over the plan:

* A layer whose padding makes up for what its kernel takes (padding before and after = extent - 1) gives as many frames
  as it gets, but for its stride: frame j stands at frame ``stride * j`` of its input. So stand SAME and causal layers,
  and ``SignalConv1D`` with ``same_*`` padding, whatever the kernel.
* Any other window (VALID, TFLite's SAME with a stride, a pool) stands at the middle of what it reads, which is
  ``stride * j + (extent - 1) / 2 - pad_begin``; so does a transposed convolution, on the line with its gaps.
* A convolution of ``SignalConv1D`` says in its name where its kernel's centre lies (``mark``), which the file's numbers
  do not: with VALID padding, an even kernel and its mirror image look the same.
* A crop or a slice moves by what it cuts off.
* Where frames are cut into ``up`` frames, or repeated, the file does not say whether a frame stood for the first of
  them (interpolation), for the last, or for their middle (patches, pools). Networks are trained on labels at
  ``step * j``: of all that is possible that which is nearest to offset 0 is taken, once what follows is known. The same
  holds for padding beyond what a kernel takes, until a crop says on which side it was too much.
* A join stands where all of its operands can stand; if there is no such place, where the operand stands whose offset
  is nearest to 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.time import TIME_PAD
from tcnstream.compiler.plan import SAME_FRAME, Node, Plan, Window

_MARK = re.compile(r"/centre_(-?\d+)_of_(\d+)_in_(\d+)(?:_\d+)?/(?:convolution|depthwise)\d*(?:;|$)")


def mark(centre: Fraction, phases: int) -> str:
    """The scope of a convolution whose frame stands ``centre`` input frames behind the first one that it reads.

    Converters keep the names of operations. If the frame is cut into ``phases`` next, it stands where the first does.
    """
    return f"centre_{centre.numerator}_of_{centre.denominator}_in_{phases}"


@dataclass(frozen=True)
class _Place:
    """Frame 0 stands somewhere from ``low`` to ``high`` (input frames), if the padding in front of it is not counted.

    ``begin`` and ``end`` frames of padding are there that no window has taken yet. ``phases``: the first of so many
    frames stands where a frame stands that is cut into them; 0 where that is not known.
    """

    step: Fraction = Fraction(1)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)
    begin: int = 0
    end: int = 0
    phases: int = 0

    @property
    def offset(self) -> Fraction:
        """The possible offset that is nearest to 0."""
        place = self.padded()
        return min(max(Fraction(0), place.low), place.high)

    def moved(self, low: Fraction, high: Fraction | None = None) -> _Place:
        """By so many of its own frames."""
        high = low if high is None else high
        if low == high == 0:
            return self
        return replace(self, low=self.low + self.step * low, high=self.high + self.step * high)

    def padded(self) -> _Place:
        """The padding that nothing has taken counts as frames."""
        if self.begin == self.end == 0:
            return self
        return replace(self.moved(Fraction(-self.begin)), begin=0, end=0)


def alignments(plan: Plan) -> list[Fraction | None]:
    """For every tensor where its frame 0 stands, in input frames (None for constants)."""
    # Where inputs have different rates, the first of the frames of a step stands where the step does.
    steps = plan.input_steps or (0,) * len(plan.inputs)
    places = {i: _Place(phases=frames) for i, frames in zip(plan.inputs, steps, strict=True)}
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        place = _through(node, _joined([places[i] for i in sources]))
        places |= dict.fromkeys(node.outputs, place)
    return [places[i].offset if i in places else None for i in range(len(plan.tensors))]


def _joined(operands: list[_Place]) -> _Place:
    if len(operands) == 1:
        return operands[0]
    operands = [operand.padded() for operand in operands]
    low, high = max(operand.low for operand in operands), min(operand.high for operand in operands)
    if low <= high:
        return replace(operands[0], low=low, high=high, phases=0)
    return min(operands, key=lambda operand: abs(operand.offset))


def _through(node: Node, place: _Place) -> _Place:
    window, record = node.window, operation(node.kind)
    if marked := _MARK.search(node.label) if record.is_convolution else None:
        return _centred(window, place, Fraction(int(marked[1]), int(marked[2])), int(marked[3]))
    if window is SAME_FRAME or window == SAME_FRAME:
        return place
    if record.cuts_frames:
        earliest = 0 if place.phases == window.up else Fraction(1 - window.up, window.up)
        place = place.padded().moved(Fraction(earliest), Fraction(0))
        return replace(place, step=place.step / window.up, phases=0)
    if window.up > 1:
        middle = Fraction(window.extent - 1, 2) - window.pad_begin
        place = place.padded().moved(middle / window.up)
        return replace(place, step=place.step * window.stride / window.up)
    if node.kind == TIME_PAD.kind:
        return _pad(window, place)
    return _window(window, place)


def _centred(window: Window, place: _Place, centre: Fraction, phases: int) -> _Place:
    place = replace(place.moved(centre - place.begin - window.pad_begin), begin=0, end=0)
    return replace(place, step=place.step * window.stride, phases=phases)


def _pad(window: Window, place: _Place) -> _Place:
    if window.stride == 1 and min(window.pad_begin, window.pad_end or 0) >= 0:
        return replace(place, begin=place.begin + window.pad_begin, end=place.end + (window.pad_end or 0))
    place = place.padded().moved(Fraction(-window.pad_begin))
    return replace(place, step=place.step * window.stride)


def _window(window: Window, place: _Place) -> _Place:
    begin, taken = place.begin + window.pad_begin, window.extent - 1
    spare = None if window.pad_end is None else begin + place.end + window.pad_end - taken
    place = replace(place, begin=0, end=0, phases=0)
    if spare is None or spare < 0:
        place = place.moved(Fraction(taken, 2) - begin)
    else:
        place = place.moved(Fraction(-spare), Fraction(0))
    return replace(place, step=place.step * window.stride)
