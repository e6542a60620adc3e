"""Upsample by zeros, filter, downsample, as one convolution at the input's own rate.

The definition (that of tensorflow-compression's SignalConv1D): put ``up - 1`` zeros between input frames, convolve or
correlate with a kernel whose centre is at ``K // 2``, keep every ``down``-th frame. Its alignment depends on the kernel
and the strides only, never on the length of the signal, which is what a stream needs.

Computed as written most products are with zeros or are thrown away. The polyphase form (Crochiere and Rabiner,
Multirate Digital Signal Processing, 1983) multiplies each input frame with the taps that meet it: a convolution makes
``phases`` output frames side by side per input frame, which are then cut apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from operator import index
from typing import Any, TypeVar

import numpy as np

from tcnstream.errors import ModelError

Choice = TypeVar("Choice")

PADDINGS = ("valid", "same_zeros", "same_reflect")


@dataclass(frozen=True)
class Polyphase:
    """The convolution that does it; all counts are frames.

    ``taps[t][p]`` is the place in the given kernel of the weight with which input frame ``j + t - begin`` enters phase
    p of block j, None for no weight. First ``mirror`` frames before and after the input are its reflection (symmetric
    about its first and its last frame), then ``begin`` and ``end`` frames in all stand before and after it, zeros
    beyond the mirrored ones. The convolution advances by ``stride`` input frames per block. Its blocks are cut into
    phases; the first ``crop`` frames are dropped and of the rest every ``keep``-th is the output. The first of those
    stands at input frame ``offset``.
    """

    taps: tuple[tuple[int | None, ...], ...]
    begin: int
    end: int
    mirror: tuple[int, int]
    stride: int
    crop: int
    keep: int
    surplus: int
    offset: Fraction

    @property
    def phases(self) -> int:
        return len(self.taps[0])

    def frames(self, n: int) -> int:
        """Output frames of ``n`` input frames."""
        return -(-max(0, self.phases * n + self.surplus) // (self.stride * self.keep)) if n else 0


def polyphase(
    kernel_support: int, *, corr: bool, strides_down: int, strides_up: int, padding: str, extra_pad_end: bool | None
) -> Polyphase:
    """The convolution for these arguments of the definition.

    With ``same_*`` padding the first output frame is aligned with the first input frame; with ``valid`` it is the first
    that reads no frame before the signal. ``extra_pad_end`` lets the upsampled signal end with ``up - 1`` zeros; None:
    with ``same_*`` padding it does.
    """
    if extra_pad_end is None:
        extra_pad_end = padding != "valid"
    center = kernel_support // 2
    before, after = (center, kernel_support - 1 - center) if corr else (kernel_support - 1 - center, center)
    # On the upsampled axis output frames stand at first, first + 1, ... : up * n + count of them for n input frames.
    first, count = (before, 1 - kernel_support) if padding == "valid" else (0, 0)
    tail = strides_up - 1
    if not extra_pad_end:
        count -= tail
    # Strides with a common divisor skip the same phases of every block.
    common = gcd(strides_up, strides_down)
    phases, keep = strides_up // common, strides_down // common
    surplus = -(-count // common)
    # Blocks are laid so that the last one ends with the last frame: cropping at the start costs no delay.
    crop = -surplus % phases
    blocks = (surplus + crop) // phases
    start = first - common * crop

    taps: dict[int, list[int | None]] = {}
    for phase in range(phases):
        place = start + common * phase - before
        for k in range(-place % strides_up, kernel_support, strides_up):
            frame = (place + k) // strides_up
            if frame not in taps:
                taps[frame] = [None] * phases
            taps[frame][phase] = k if corr else kernel_support - 1 - k
    # A tap without weights where the last frame is read by nothing: it still decides which frames exist.
    oldest, newest = min(taps), max(*taps, -blocks)
    begin, end = -oldest, blocks + newest
    mirror = (0, 0)
    if padding == "same_reflect":
        reads = after if not extra_pad_end else after + tail
        mirror = min(begin, before // strides_up), min(end, reads // strides_up)
    return Polyphase(
        taps=tuple(tuple(taps.get(t, [None] * phases)) for t in range(oldest, newest + 1)),
        begin=begin,
        end=end,
        mirror=mirror,
        stride=keep if phases == 1 else 1,
        crop=crop,
        keep=1 if phases == 1 else keep,
        surplus=surplus,
        offset=Fraction(first, strides_up),
    )


def whole(owner: str, name: str, value: object) -> int:
    """A count from 1 on, also as a NumPy integer or a sequence of one; ModelError otherwise."""
    try:
        numbers: list[Any] = list(value) if isinstance(value, Iterable) else [value]
        (count,) = map(index, numbers)
    except (TypeError, ValueError):
        count = 0
    if isinstance(value, bool) or count < 1:
        raise ModelError(f"{owner}: {name} = {value!r}; it should be a whole number from 1 on.")
    return count


def flag(owner: str, name: str, value: object) -> bool:
    """A truth value, also as NumPy's or as 0 or 1; ModelError otherwise."""
    if isinstance(value, int | np.bool_) and value in (0, 1):
        return bool(value)
    raise ModelError(f"{owner}: {name} = {value!r}; it should be True or False.")


def choice(owner: str, name: str, value: object, choices: Sequence[Choice]) -> Choice:
    """``value`` if it is one of ``choices``; ModelError otherwise."""
    for one in choices:
        if value is one or (isinstance(one, str) and value == one):
            return one
    raise ModelError(f"{owner}: {name} = {value!r}; it should be one of {', '.join(map(str, choices))}.")


def refuse_short(owner: str, alignment: Polyphase, frames: int) -> None:
    """ModelError where a reflection would need more frames than there are; of no frames it makes none."""
    if 0 < frames <= max(alignment.mirror):
        raise ModelError(
            f"{owner}: padding = 'same_reflect' reflects {max(alignment.mirror)} frames about the first or last one, "
            f"and the signal has {frames}; give it {max(alignment.mirror) + 1} at least, or use 'same_zeros'."
        )
