"""Small random networks, written straight as .tflite files for any window, in float32, int8, uint8 and 16x8.

A network is a list of layers; ``build(layers, window)`` gives its file. The same layers and seed give the same
weights for every window, so that a long signal has an offline answer as well: that of the file whose
window is the signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from helpers.layers import (
    activation,
    batched_dilation,
    convolution,
    crop,
    decimate,
    dense,
    join,
    mirror,
    normalised,
    pooling,
    prelu,
    replicate,
    reversed_channels,
    shuffle,
    spectrum,
    swap_back_and_forth,
    upsampling,
    whole_steps,
    with_constant,
)
from helpers.netfile import DoesNotFitError, Net, Shape, Value
from helpers.recurrent_layers import cached, lstm, rnn, unrolled
from tcnstream.tflite.graph import Array


@dataclass(frozen=True)
class Layer:
    """A layer by name with its parameters, and the layers inside of it; ``apply`` appends it to a Net."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    inner: tuple[Layer, ...] = ()

    def __repr__(self) -> str:
        inside = f", inner={list(self.inner)}" if self.inner else ""
        return f"layer({self.name!r}{''.join(f', {k}={v!r}' for k, v in self.options.items())}{inside})"


def layer(name: str, *, inner: Sequence[Layer] = (), **options: Any) -> Layer:
    return Layer(name, options, tuple(inner))


def residual(net: Net, x: Value, inner: Sequence[Layer], kind: str = "ADD", keep: bool = False) -> Value:
    y = apply(net, x, inner, keep=True)
    if y is x:
        raise DoesNotFitError("an empty branch")
    if y.shape[-1] != x.shape[-1] and kind != "CONCATENATION":
        y = convolution(net, y, kernel=1, channels=x.shape[-1])
    return join(net, [x, y] if kind == "SUB" else [y, x], kind)


def cropped_residual(net: Net, x: Value, inner: Sequence[Layer], kind: str = "ADD") -> Value:
    """VALID layers in the branch and as much cut off the skip, half of it on either side."""
    y = apply(net, x, [layer(i.name, **{**i.options, "stride": 1, "padding": "valid"}) for i in inner])
    lost = x.frames - y.frames
    if lost < 1:
        raise DoesNotFitError("nothing to crop")
    skip = crop(net, x, lost // 2, lost - lost // 2)
    if y.shape[-1] != skip.shape[-1]:
        y = convolution(net, y, kernel=1, channels=skip.shape[-1])
    return join(net, [y, skip], kind)


def hourglass(
    net: Net, x: Value, inner: Sequence[Layer], ratio: int = 2, kind: str = "tile", join_kind: str = "ADD"
) -> Value:
    """Down, layers, up again, and the skip: a U-Net's level."""
    if x.frames % ratio:
        raise DoesNotFitError("the frames are no multiple of the ratio")
    down = pooling(net, x, ratio, ratio)
    up = upsampling(net, apply(net, down, inner, keep=True), ratio, kind)
    if up.shape[-1] != x.shape[-1] and join_kind != "CONCATENATION":
        up = convolution(net, up, kernel=1, channels=x.shape[-1])
    return join(net, [up, x], join_kind)


def u_net(
    net: Net,
    x: Value,
    levels: Sequence[Layer],
    ratios: Sequence[int],
    down: str = "stride",
    up: str = "unfold",
    joins: str = "ADD",
    taps: bool = True,
) -> Value:
    """Levels of one rate each: down by a strided layer, ``levels[k]`` there, up again, joined with what stayed.

    With ``taps`` every level is an output of its own, at its own rate.
    """
    if not ratios:
        return x
    ratio, *others = ratios
    if x.frames % ratio:
        raise DoesNotFitError("the frames are no multiple of the ratio")
    if down == "stride":
        low = convolution(net, x, kernel=ratio + 1, stride=ratio, channels=x.shape[-1])
    elif down == "causal":
        low = convolution(net, x, kernel=5, stride=ratio, padding="causal", channels=x.shape[-1])
    else:
        low = pooling(net, x, ratio, ratio, kind="AVERAGE_POOL_2D")
    low = apply(net, low, levels[:1], keep=True)
    low = u_net(net, low, levels[1:], others, down, up, joins, taps)
    if taps:
        net.output(low)
    high = upsampling(net, low, ratio, up)
    if high.shape[-1] != x.shape[-1] and joins != "CONCATENATION":
        high = convolution(net, high, kernel=1, channels=x.shape[-1])
    return join(net, [high, x], joins)


def tap(net: Net, x: Value) -> Value:
    """What is here becomes an output of its own."""
    net.output(x)
    return x


LAYERS: Mapping[str, Callable[..., Value]] = {
    "convolution": convolution,
    "batched_dilation": batched_dilation,
    "pooling": pooling,
    "upsampling": upsampling,
    "activation": activation,
    "with_constant": with_constant,
    "prelu": prelu,
    "dense": dense,
    "swap_back_and_forth": swap_back_and_forth,
    "shuffle": shuffle,
    "lstm": lstm,
    "rnn": rnn,
    "unrolled": unrolled,
    "normalised": normalised,
    "reversed_channels": reversed_channels,
    "whole_steps": whole_steps,
    "spectrum": spectrum,
    "cached": cached,
    "crop": crop,
    "mirror": mirror,
    "replicate": replicate,
    "decimate": decimate,
    "residual": residual,
    "cropped_residual": cropped_residual,
    "hourglass": hourglass,
    "u_net": u_net,
    "tap": tap,
}

KEEPING = ("convolution", "batched_dilation", "pooling", "residual")
"""Layers that take ``keep``; of the others those below keep the number of frames anyway."""

HARMLESS = (
    "activation",
    "with_constant",
    "prelu",
    "dense",
    "swap_back_and_forth",
    "shuffle",
    "lstm",
    "rnn",
    "unrolled",
    "normalised",
    "reversed_channels",
    "whole_steps",
    "hourglass",
    "tap",
)


def apply(net: Net, x: Value, layers: Sequence[Layer], keep: bool = False) -> Value:
    for one in layers:
        options = dict(one.options)
        if one.inner:
            options["levels" if one.name == "u_net" else "inner"] = one.inner
        if keep and one.name in KEEPING:
            options["keep"] = True
        elif keep and one.name not in HARMLESS:
            raise DoesNotFitError(f"{one.name} changes the number of frames")
        x = LAYERS[one.name](net, x, **options)
    return x


@dataclass(frozen=True)
class Network:
    """A file and how long a signal must be to fit its strides."""

    content: bytes
    window: int
    strides: int


def build(
    layers: Sequence[Layer],
    window: int,
    *,
    channels: int = 2,
    bins: int = 0,
    dtype: str = "float32",
    seed: int = 0,
    sideways: bool = False,
    second: Sequence[Layer] | None = None,
    head: str = "",
    far_scales: bool = False,
) -> Network:
    """The network's file for a signal of ``window`` frames.

    ``bins`` gives a spectrogram input (1, T, bins, channels); ``sideways`` puts its time on the width.
    ``second`` are the layers of a second input, joined before ``layers``. ``head`` "last" keeps the last frame,
    "flatten" puts a dense layer over all frames. ``far_scales`` are those of ``Net``. Raises DoesNotFitError where a
    layer makes no sense.
    """
    net = Net(dtype, seed, far_scales)
    shape: Shape = (1, window, bins, channels) if bins else (1, window, channels)
    if bins and sideways:
        shape = (1, bins, window, channels)
    x = net.input(shape, 2 if bins and sideways else 1)
    if second is not None:
        other = net.input(shape, x.axis)
        x = join(net, [x, convolution(net, apply(net, other, second), kernel=1, channels=channels)], "ADD")
    x = apply(net, x, layers)
    if head == "last":
        x = net.cut(x, x.axis, x.frames - 1, x.frames)
        x = net.reshape(x, (1, math.prod(x.shape)), 1)
        x = net.weighted("FULLY_CONNECTED", x, (1, 3), (3, x.shape[1]), 0, x.shape[1])
    elif head == "flatten":
        x = net.reshape(x, (1, math.prod(x.shape)), 1)
        x = net.weighted("FULLY_CONNECTED", x, (1, 3), (3, x.shape[1]), 0, x.shape[1])
    if x.index in net.inputs:
        raise DoesNotFitError("no layer")
    net.output(x)
    return Network(net.content(), window, net.strides)


def signals(model_inputs: Sequence[Any], frames: int, seed: int = 0) -> tuple[Array, ...]:
    """A random signal for every input, of ``frames`` frames, over the whole range of its type."""
    rng = np.random.default_rng(seed)
    made = []
    for port in model_inputs:
        shape = (frames, *port.shape)
        if port.dtype.kind == "f":
            made.append(rng.normal(0, 1, shape).astype(port.dtype))
        else:
            limits = np.iinfo(port.dtype.str)
            made.append(rng.integers(limits.min, limits.max, shape, port.dtype.str, endpoint=True).astype(port.dtype))
    return tuple(made)
