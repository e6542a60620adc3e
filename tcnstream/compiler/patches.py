"""Windows over both axes of a frame: what each of them reads stands side by side, as one place of a longer axis.

A node slides along time and along one more axis. Where time is gone, or frames share a network as a batch, both axes of
an operation lie within the frame; then the values of every window are gathered, and the node works on places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operations.cuts import PAD, PadOptions
from tcnstream.compiler.operations.gathers import GATHER
from tcnstream.compiler.plan import AxisOptions
from tcnstream.compiler.spatial import refuse_longer
from tcnstream.tflite.graph import Op, Shape, Tensor
from tcnstream.tflite.shapes import same_padding
from tcnstream.tflite.validate import MOST_VALUES


@dataclass(frozen=True)
class Patches:
    """``value`` has frames of ``places`` windows, each with ``taps`` rows of the input's channels.

    Of several ``groups`` of channels each has its taps side by side.
    """

    value: int
    places: int
    taps: int
    axis: int | None


def lies_across(lw: Lowering, op: Op, i: int, kernel: Shape) -> bool:
    """Whether a window of ``kernel`` goes over two axes of every frame of ``i``."""
    stream, shape = lw.stream(op, i), lw.shape(i)
    batch = stream.axis is None and shape[0] != 1
    if len(shape) != 4 or stream.axis not in (None, 0) or batch:
        return False
    return not ((shape[1] == 1 and kernel[0] == 1) or (shape[2] == 1 and kernel[1] == 1))


def padding_of(lw: Lowering, op: Op, i: int, kernel: Shape) -> list[tuple[int, int]]:
    """Places before and after height and width."""
    explicit = op.options.get("explicit_padding")
    if isinstance(explicit, tuple):
        top, bottom, left, right = explicit
        return [(top, bottom), (left, right)]
    if op.options.get("padding") != "SAME":
        return [(0, 0), (0, 0)]
    facts = zip(lw.shape(i)[1:3], kernel, "hw", strict=True)
    return [
        same_padding(n, k, op.integer(f"stride_{axis}", 1), op.integer(f"dilation_{axis}_factor", 1))
        for n, k, axis in facts
    ]


def patches(lw: Lowering, op: Op, i: int, kernel: Shape, fill: float | int, groups: int = 1) -> Patches:
    """What each window of ``kernel`` over the frames of ``i`` reads, with ``fill`` in its padding."""
    stream, (_, height, width, channels) = lw.stream(op, i), lw.shape(i)
    like, value, frames = lw.graph.tensors[i], stream.value, stream.window_frames
    pads = padding_of(lw, op, i, kernel)
    frame: Shape = (height, width, channels)
    if any(map(any, pads)):
        paddings = (*pads[0], *pads[1], 0, 0)
        padded = (height + sum(pads[0]), width + sum(pads[1]), channels)
        value, frame = lw.step(
            op, [(value, frame)], like, padded, frames, PAD.kind, options=PadOptions(paddings), fill=fill
        )
    for axis, taps, places in zip("hw", kernel, frame[:2], strict=True):
        refuse_longer(lw, op, (taps - 1) * op.integer(f"dilation_{axis}_factor", 1) + 1, places)
    # (places of an axis, its taps): where each window stands there
    rows, columns = (
        op.integer(f"stride_{axis}", 1) * np.arange(places)[:, None]
        + op.integer(f"dilation_{axis}_factor", 1) * np.arange(taps)
        for axis, places, taps in zip("hw", lw.shape(op.outputs[0])[1:3], kernel, strict=True)
    )
    where = rows[:, None, :, None] * frame[1] + columns[None, :, None, :]
    places, taps = len(rows) * len(columns), kernel[0] * kernel[1]
    if places * taps * channels > MOST_VALUES:
        lw.refuse(op, f"reads {places} windows of {taps * channels} values in every frame")
    depth = channels // groups
    of_group = np.arange(channels).reshape(groups, 1, depth)
    index = where.reshape(places, 1, taps, 1) * channels + of_group
    flat = index.reshape(-1).astype(np.int32)
    constant = lw.add_constant(Tensor(f"{lw.label(op)}/windows", flat.shape, flat.dtype), flat)
    whole = (frame[0] * frame[1] * channels,)
    made, _ = lw.step(
        op,
        [(value, whole), (constant, flat.shape)],
        like,
        flat.shape,
        frames,
        GATHER.kind,
        options=AxisOptions(1),
    )
    return Patches(made, places, taps, stream.axis)
