"""Layers and set-ups of random networks, as Hypothesis draws them, and how a network is streamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from helpers.networks import Layer, layer
from tcnstream import Stream
from tcnstream.tflite.graph import Array

DTYPES = ("float32", "int8", "int16")


def options(name: str, **choices: Sequence[Any]) -> st.SearchStrategy[Layer]:
    return st.fixed_dictionaries({key: st.sampled_from(list(values)) for key, values in choices.items()}).map(
        lambda drawn: layer(name, **drawn)
    )


CONVOLUTIONS = options(
    "convolution",
    kernel=range(1, 10),
    dilation=(1, 2, 3, 4, 7, 16),
    stride=(1, 1, 2, 3),
    padding=("same", "valid", "causal", "REFLECT", "SYMMETRIC"),
    channels=(1, 2, 4),
    kind=("CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "GROUPED"),
    activation=("NONE", "RELU", "RELU6"),
    bias=(True, False),
    sideways=(True, False),
    kernel_f=(1, 2, 3),
    stride_f=(1, 2),
)
KEEPING_FRAMES = st.one_of(
    CONVOLUTIONS,
    options("batched_dilation", kernel=(2, 3, 5), dilation=(2, 3, 8), channels=(2, 3)),
    options("pooling", size=range(1, 6), kind=("MAX_POOL_2D", "AVERAGE_POOL_2D")),
    options("activation", kind=("RELU", "LOGISTIC", "TANH", "LEAKY_RELU", "SOFTMAX")),
    options("with_constant", kind=("MUL", "ADD", "SUB")),
    options("dense", units=(1, 3), flat=(True, False)),
    options("swap_back_and_forth", kind=("TANH", "LOGISTIC")),
    options("shuffle", kind=("SPLIT", "STRIDED_SLICE")),
    options("prelu"),
)


def around(inner: st.SearchStrategy[Layer]) -> st.SearchStrategy[Layer]:
    branch = st.lists(inner, min_size=1, max_size=3)
    joins = st.sampled_from(["ADD", "SUB", "MUL", "CONCATENATION", "MAXIMUM"])
    return st.one_of(
        st.builds(lambda b, j: layer("residual", inner=b, kind=j), branch, joins),
        st.builds(
            lambda b, r, k, j: layer("hourglass", inner=b, ratio=r, kind=k, join_kind=j),
            branch,
            st.sampled_from([2, 3]),
            st.sampled_from(["tile", "resize", "transpose", "unfold"]),
            joins,
        ),
    )


INNER = st.recursive(KEEPING_FRAMES, around, max_leaves=5)
ANY_LAYER = st.one_of(
    INNER,
    INNER,
    options("pooling", size=range(1, 6), stride=(1, 2, 3), same=(True, False), kind=("MAX_POOL_2D", "AVERAGE_POOL_2D")),
    options(
        "upsampling",
        ratio=(2, 3),
        kind=("tile", "resize", "transpose", "unfold"),
        kernel=range(1, 6),
        same=(True, False),
    ),
    options("crop", before=(0, 1, 5), after=(0, 1, 4)),
    options(
        "mirror",
        before=(0, 1, 3, 8, 11, 20),
        after=(0, 1, 4, 9),
        kind=("REFLECT", "SYMMETRIC"),
        kernel=(1, 3, 5),
        channels=(1, 2),
    ),
    options("decimate", first=(0, 1, 2), step=(2, 3)),
    st.builds(
        lambda b, j: layer("cropped_residual", inner=b, kind=j),
        st.lists(CONVOLUTIONS, min_size=1, max_size=2),
        st.sampled_from(["ADD", "MUL", "CONCATENATION"]),
    ),
    st.just(layer("tap")),
)
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
