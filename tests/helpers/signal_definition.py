"""SignalConv1D as its specification says it, step by step in plain loops: the oracle of everything that computes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers.paths import DATA
from tcnstream.tflite.graph import Array

GOLDEN = DATA / "signal_conv1d.npz"


def definition(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    corr: bool = False,
    strides_down: int = 1,
    strides_up: int = 1,
    padding: str = "valid",
    extra_pad_end: bool | None = None,
    channel_separable: bool = False,
) -> Array:
    """``x`` (frames, channels), ``kernel`` (support, channels, filters) -> (frames, channels out), in float64.

    A reflection that would need frames beyond the other end raises IndexError.
    """
    n, channels = x.shape
    support, _, filters = kernel.shape
    if extra_pad_end is None:
        extra_pad_end = padding != "valid"

    # 1. Upsample: strides_up - 1 zeros after every frame; after the last one only with extra_pad_end.
    length = n * strides_up if extra_pad_end else (n - 1) * strides_up + 1
    upsampled = np.zeros((length, channels))
    upsampled[::strides_up] = x

    def at(i: int) -> Array:
        """The upsampled signal at any place."""
        if 0 <= i < length:
            return upsampled[i]
        if padding == "same_zeros":
            return np.zeros(channels)
        assert padding == "same_reflect"
        # The input is reflected, about its first and its last frame; what it is upsampled by stays zero.
        if i % strides_up:
            return np.zeros(channels)
        frame = i // strides_up
        mirrored = -frame if frame < 0 else 2 * (n - 1) - frame
        if not 0 <= mirrored < n:
            raise IndexError("the reflection is longer than the signal")
        return x[mirrored].astype(np.float64)

    # 2. Convolve or correlate; the kernel's place K // 2 lies on the output frame.
    def filtered(place: int) -> Array:
        made = np.zeros((channels, filters))
        for k in range(support):
            offset = k - support // 2
            made += at(place + offset if corr else place - offset)[:, None] * kernel[k]
        return made.reshape(-1) if channel_separable else made.sum(axis=0)

    places = list(range(length))
    if padding == "valid":
        before, after = support // 2, support - 1 - support // 2
        if not corr:
            before, after = after, before
        places = places[before : max(before, length - after)]

    # 3. Downsample (before the sums, to save them), 4. add the bias.
    out = channels * filters if channel_separable else filters
    y = np.array([filtered(place) for place in places[::strides_down]]).reshape(-1, out)
    return y if bias is None else y + bias


@dataclass(frozen=True)
class Golden:
    """A configuration of the original layer; answers are absent where it raised NotImplementedError."""

    config: dict[str, Any]
    x: Array
    kernel: Array | None
    bias: Array | None
    y: Array | None

    @property
    def of_definition(self) -> dict[str, Any]:
        names = ("corr", "strides_down", "strides_up", "padding", "extra_pad_end", "channel_separable")
        return {name: self.config[name] for name in names}


def golden() -> Iterator[Golden]:
    """Part of the 800 configurations recorded with tensorflow-compression 2."""
    with np.load(GOLDEN) as arrays:
        for i in range(int(arrays["n"])):
            config, x = json.loads(str(arrays[f"cfg_{i}"])), arrays[f"x_{i}"]
            kernel, bias, y = (arrays.get(f"{k}_{i}") for k in ("kernel", "bias", "y"))
            yield Golden(config, x, kernel, bias, y)
