"""Layers and set-ups of random networks, as Hypothesis draws them, and how a network is streamed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st

import tcnstream
from helpers.netfile import DoesNotFitError
from helpers.networks import Layer, Network, build, layer
from tcnstream import Stream
from tcnstream.engines.interpreter.export import streaming_tflite
from tcnstream.errors import EngineError, NotStreamableError
from tcnstream.tflite.graph import Array

DTYPES = ("float32", "int8", "int16", "uint8")


Choices: TypeAlias = tuple[str, Mapping[str, Sequence[Any]]]
"""A layer by name, and what its options are drawn from."""

CONVOLUTION: Choices = (
    "convolution",
    {
        "kernel": range(1, 10),
        "dilation": (1, 2, 3, 4, 7, 16),
        "stride": (1, 1, 2, 3),
        "padding": ("same", "valid", "causal", "REFLECT", "SYMMETRIC"),
        "channels": (1, 2, 4),
        "kind": ("CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "GROUPED"),
        "activation": ("NONE", "RELU", "RELU6"),
        "bias": (True, False),
        "sideways": (True, False),
        "kernel_f": (1, 2, 3),
        "stride_f": (1, 2),
    },
)
KEEPING: tuple[Choices, ...] = (
    CONVOLUTION,
    ("batched_dilation", {"kernel": (2, 3, 5), "dilation": (2, 3, 8), "channels": (2, 3)}),
    ("pooling", {"size": range(1, 6), "kind": ("MAX_POOL_2D", "AVERAGE_POOL_2D")}),
    ("activation", {"kind": ("RELU", "LOGISTIC", "TANH", "LEAKY_RELU", "SOFTMAX")}),
    ("with_constant", {"kind": ("MUL", "ADD", "SUB")}),
    ("dense", {"units": (1, 3), "flat": (True, False)}),
    ("swap_back_and_forth", {"kind": ("TANH", "LOGISTIC")}),
    ("shuffle", {"kind": ("SPLIT", "STRIDED_SLICE")}),
    ("prelu", {}),
    ("normalised", {"kind": ("LAYER", "L2")}),
    ("reversed_channels", {}),
    ("whole_steps", {"kind": ("FLOOR_DIV", "FLOOR_MOD"), "by": (0.7, -1.5)}),
)
"""Layers that keep the number of frames, or can be told to."""

ALONG: tuple[Choices, ...] = tuple(c for c in KEEPING if c[0] not in ("convolution", "batched_dilation", "pooling"))
"""Layers that make each frame of its own alone."""

OTHERS: tuple[Choices, ...] = (
    (
        "pooling",
        {
            "size": range(1, 6),
            "stride": (1, 2, 3),
            "same": (True, False),
            "kind": ("MAX_POOL_2D", "AVERAGE_POOL_2D"),
        },
    ),
    (
        "upsampling",
        {
            "ratio": (2, 3),
            "kind": ("tile", "resize", "transpose", "unfold", "pieces", "linear"),
            "kernel": range(1, 6),
            "same": (True, False),
        },
    ),
    ("crop", {"before": (0, 1, 5), "after": (0, 1, 4)}),
    ("replicate", {"before": (1, 2, 4), "after": (0, 2), "kernel": (2, 3)}),
    (
        "mirror",
        {
            "before": (0, 1, 3, 8, 11, 20),
            "after": (0, 1, 4, 9),
            "kind": ("REFLECT", "SYMMETRIC"),
            "kernel": (1, 3, 5),
            "channels": (1, 2),
        },
    ),
    ("decimate", {"first": (0, 1, 2), "step": (2, 3)}),
    ("spectrum", {"size": (4, 8, 16), "step": (2, 4, 8)}),
)

RECURRENT: tuple[Choices, ...] = (
    ("lstm", {"cells": (1, 3), "coupled": (True, False), "clip": (0.0, 0.5)}),
    ("rnn", {"units": (1, 3), "activation": ("TANH", "RELU")}),
    ("unrolled", {"units": (1, 2)}),
)
"""Layers whose frames depend on all of the past."""

CACHED: tuple[Choices, ...] = (("cached", {"kernel": (2, 3, 5)}),)
"""Layers with a state that goes in and comes out; such a file takes its window as a hop."""
JOINS = ("ADD", "SUB", "MUL", "CONCATENATION", "MAXIMUM")
STRETCHES = ("tile", "resize", "transpose", "unfold", "pieces")


def options(name: str, **choices: Sequence[Any]) -> st.SearchStrategy[Layer]:
    return st.fixed_dictionaries({key: st.sampled_from(list(values)) for key, values in choices.items()}).map(
        lambda drawn: layer(name, **drawn)
    )


CONVOLUTIONS = options(CONVOLUTION[0], **CONVOLUTION[1])
KEEPING_FRAMES = st.one_of(*(options(name, **choices) for name, choices in (*KEEPING, *RECURRENT)))


def around(inner: st.SearchStrategy[Layer]) -> st.SearchStrategy[Layer]:
    branch = st.lists(inner, min_size=1, max_size=3)
    joins = st.sampled_from(JOINS)
    return st.one_of(
        st.builds(lambda b, j: layer("residual", inner=b, kind=j), branch, joins),
        st.builds(
            lambda b, r, k, j: layer("hourglass", inner=b, ratio=r, kind=k, join_kind=j),
            branch,
            st.sampled_from([2, 3]),
            st.sampled_from(STRETCHES),
            joins,
        ),
    )


INNER = st.recursive(KEEPING_FRAMES, around, max_leaves=5)
ANY_LAYER = st.one_of(
    INNER,
    INNER,
    *(options(name, **choices) for name, choices in OTHERS),
    st.builds(
        lambda b, j: layer("cropped_residual", inner=b, kind=j),
        st.lists(CONVOLUTIONS, min_size=1, max_size=2),
        st.sampled_from(["ADD", "MUL", "CONCATENATION"]),
    ),
    st.just(layer("tap")),
)


def draw_network(rng: random.Random) -> Network:
    """A small network of the same layers without Hypothesis, which is slow over many thousands of them.

    One in ten feeds states back, and one in ten has its state in variables, as a streaming export.
    """
    while True:
        try:
            if rng.random() < 0.1:
                return draw_stateful(rng)
            drawn = build(
                [_draw_layer(rng) for _ in range(rng.choice((1, 1, 2, 3)))],
                rng.randint(12, 40),
                channels=rng.choice((1, 2, 4)),
                dtype=rng.choice(DTYPES),
                seed=rng.randrange(1000),
                bins=rng.choice((0, 0, 0, 4, 7)),
                second=[_draw_layer(rng, KEEPING)] if rng.random() < 0.15 else None,
                head=rng.choice(("", "", "", "last", "flatten")),
                far_scales=rng.random() < 0.2,
            )
            return drawn if rng.random() < 0.9 else _exported(drawn)
        except DoesNotFitError:
            continue


def draw_stateful(rng: random.Random) -> Network:
    """A network that feeds a state back; its window is the hop. Raises DoesNotFitError."""
    layers = [_draw_layer(rng, ALONG) for _ in range(rng.choice((0, 1, 1, 2)))]
    layers.insert(rng.randrange(len(layers) + 1), _drawn(rng, CACHED[0]))
    return build(layers, rng.choice((1, 2, 4, 8)), channels=rng.choice((1, 2, 4)), seed=rng.randrange(1000))


def _exported(network: Network) -> Network:
    """The same as a streaming export, with its state in variables, where it has that form."""
    try:
        return Network(streaming_tflite(tcnstream.load(network.content)), network.window, network.strides)
    except (EngineError, NotStreamableError):
        raise DoesNotFitError("has no form as an export") from None


def _draw_layer(rng: random.Random, choices: Sequence[Choices] = (*KEEPING, *RECURRENT, *OTHERS)) -> Layer:
    if rng.random() < 0.15:
        inner = [_draw_layer(rng, KEEPING) for _ in range(rng.choice((1, 2)))]
        if rng.random() < 0.5:
            return layer("residual", inner=inner, kind=rng.choice(JOINS))
        return layer(
            "hourglass", inner=inner, ratio=rng.choice((2, 3)), kind=rng.choice(STRETCHES), join_kind=rng.choice(JOINS)
        )
    return _drawn(rng, rng.choice(choices))


def _drawn(rng: random.Random, choice: Choices) -> Layer:
    name, among = choice
    return layer(name, **{key: rng.choice(values) for key, values in among.items()})


SETUPS = st.fixed_dictionaries(
    {
        "channels": st.sampled_from([1, 2, 4]),
        "dtype": st.sampled_from(DTYPES),
        "seed": st.integers(0, 9),
        "bins": st.sampled_from([0, 0, 0, 4, 7]),
        "sideways": st.booleans(),
        "second": st.one_of(st.none(), st.none(), st.lists(KEEPING_FRAMES, max_size=2)),
        "head": st.sampled_from(["", "", "", "last", "flatten"]),
    }
)


def at_window(x: Array, axis: int | None) -> Array:
    assert axis is not None
    return np.moveaxis(x[None], 1, axis) if axis else x


def streamed(stream: Stream, signal: Sequence[Array], sizes: Sequence[int]) -> tuple[Array, ...]:
    """All that a stream returns for the signal in chunks of these sizes."""
    parts, begin = [], 0
    for n in sizes:
        made = stream.push(*(x[begin : begin + n] for x in signal))
        parts.append(made if isinstance(made, tuple) else (made,))
        begin += n
    tail = stream.flush()
    parts.append(tail if isinstance(tail, tuple) else (tail,))
    return tuple(np.concatenate(p) for p in zip(*parts, strict=True))
