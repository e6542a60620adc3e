"""Upsample by zeros, filter, downsample: which frames meet which weights, and as one convolution at the input's rate.

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
class Alignment:
    """What output frames read: the definition as counts, on a line with ``up - 1`` places after every input frame.

    Output frame j reads ``support`` places from ``down * j - pad_begin`` on, and ``pad_end`` places stand behind the
    line (negative: so many at its end do not exist). Place k of those meets weight k of the kernel, for a convolution
    weight ``support - 1 - k``. The first ``mirror`` frames before and after the input are its reflection, symmetric
    about its first and its last frame; all else outside is zero. The first output frame stands at input frame
    ``offset``.
    """

    support: int
    corr: bool
    up: int
    down: int
    pad_begin: int
    pad_end: int
    mirror: tuple[int, int]
    offset: Fraction

    def frames(self, n: int) -> int:
        """Output frames of ``n`` input frames."""
        places = self.up * n + self.pad_begin + self.pad_end - self.support
        return max(0, places // self.down + 1) if n else 0


def align(
    kernel_support: int, *, corr: bool, strides_down: int, strides_up: int, padding: str, extra_pad_end: bool | None
) -> Alignment:
    """The counts for these arguments of the definition.

    With ``same_*`` padding the first output frame is aligned with the first input frame; with ``valid`` it is the first
    that reads no frame before the signal. ``extra_pad_end`` lets the upsampled signal end with ``up - 1`` zeros; None:
    with ``same_*`` padding it does.
    """
    center = kernel_support // 2
    before, after = (center, kernel_support - 1 - center) if corr else (kernel_support - 1 - center, center)
    if extra_pad_end is None:
        extra_pad_end = padding != "valid"
    cut_off = 0 if extra_pad_end else strides_up - 1
    pads, first, mirror = (before, after), 0, (0, 0)
    if padding == "valid":
        pads, first = (0, 0), before
    elif padding == "same_reflect":
        last = strides_up - gcd(strides_up, strides_down) if extra_pad_end else 0
        mirror = before // strides_up, (after + last) // strides_up
    offset = Fraction(first, strides_up)
    return Alignment(kernel_support, corr, strides_up, strides_down, pads[0], pads[1] - cut_off, mirror, offset)


@dataclass(frozen=True)
class Polyphase:
    """The convolution that does it; all counts are frames.

    ``taps[t][p]`` is the place in the given kernel of the weight with which input frame ``j + t - begin`` enters phase
    p of block j, None for no weight. ``begin`` and ``end`` frames in all stand before and after the input, mirrored
    ones next to it. The convolution advances by ``stride`` input frames per block. Its blocks are cut into phases; the
    first ``crop`` frames are dropped and of the rest every ``keep``-th is the output. Phase 0 of a block stands
    ``centre`` input frames behind the first one that the block reads.
    """

    taps: tuple[tuple[int | None, ...], ...]
    begin: int
    end: int
    stride: int
    crop: int
    keep: int
    centre: Fraction

    @property
    def phases(self) -> int:
        return len(self.taps[0])


def polyphase(alignment: Alignment) -> Polyphase:
    """The convolution for an alignment."""
    support, up = alignment.support, alignment.up
    # Strides with a common divisor skip the same phases of every block.
    common = gcd(up, alignment.down)
    phases, keep = up // common, alignment.down // common
    # There are `phases` times the input's frames, and so many more, before every `keep`-th is taken.
    surplus = -(-(alignment.pad_begin + alignment.pad_end + 1 - support) // common)
    # Blocks are laid so that the last one ends with the last frame: cropping at the start costs no delay.
    crop = -surplus % phases
    blocks = (surplus + crop) // phases

    taps: dict[int, list[int | None]] = {}
    for phase in range(phases):
        place = common * (phase - crop) - alignment.pad_begin
        for k in range(-place % up, support, up):
            frame = (place + k) // up
            if frame not in taps:
                taps[frame] = [None] * phases
            taps[frame][phase] = k if alignment.corr else support - 1 - k
    # A tap without weights where the last frame is read by nothing: it still decides which frames exist.
    oldest, newest = min(taps), max(*taps, -blocks)
    return Polyphase(
        taps=tuple(tuple(taps.get(t, [None] * phases)) for t in range(oldest, newest + 1)),
        begin=-oldest,
        end=blocks + newest,
        stride=keep if phases == 1 else 1,
        crop=crop,
        keep=1 if phases == 1 else keep,
        centre=alignment.offset - Fraction(common * crop, up) - oldest,
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


def refuse_short(owner: str, alignment: Alignment, frames: int) -> None:
    """ModelError where a reflection would need more frames than there are; of no frames it makes none."""
    if 0 < frames <= max(alignment.mirror):
        raise ModelError(
            f"{owner}: padding = 'same_reflect' reflects {max(alignment.mirror)} frames about the first or last one, "
            f"and the signal has {frames}; give it {max(alignment.mirror) + 1} at least, or use 'same_zeros'."
        )
