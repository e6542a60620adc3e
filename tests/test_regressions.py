"""Bugs that were found, each kept as the smallest model that showed it."""

from __future__ import annotations

import numpy as np
import pytest

import tcnstream
from tcnstream.graph import Graph, Op, Tensor
from tcnstream.tflite_writer import write_model


def _float(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, np.dtype(np.float32))


def _padded_pool(frames: int) -> bytes:
    pairs = np.array([[0, 0], [3, 0], [0, 0], [0, 0]], np.int32)
    pool = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "filter_height": 4, "filter_width": 1}
    tensors = (
        _float("x", 1, frames, 1, 2),
        Tensor("pairs", pairs.shape, pairs.dtype, None, pairs),
        _float("padded", 1, frames + 3, 1, 2),
        _float("y", 1, frames, 1, 2),
    )
    ops = (Op("PAD", (0, 1), (2,)), Op("AVERAGE_POOL_2D", (2,), (3,), pool))
    return write_model([Graph(tensors, ops, (0,), (3,))])


@pytest.mark.parametrize("chunk_frames", [0, 1, 5, 24])
def test_frames_of_a_padding_operation_are_made_and_not_only_counted(chunk_frames: int) -> None:
    """A PAD that no convolution takes in counted its padding as made before the first frame came."""
    x = np.random.default_rng(0).standard_normal((24, 1, 2)).astype(np.float32)
    stream = tcnstream.load(_padded_pool(24)).stream("reference")
    parts = [stream.push(x[:0])]
    parts += [stream.push(x[i : i + max(chunk_frames, 1)]) for i in range(0, 24, max(chunk_frames, 1))]
    padded = np.concatenate([np.zeros((3, 1, 2), np.float32), x])
    expected = np.stack([padded[j : j + 4].mean(axis=0) for j in range(24)])
    np.testing.assert_allclose(np.concatenate([*parts, stream.flush()]), expected, rtol=0, atol=1e-6)
