"""RESIZE_BILINEAR along time: integers as TFLite's reference kernels round them, edges that repeat a frame."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.netfile import Net
from helpers.oracle import reference_kernels

import tcnstream
from tcnstream import NotStreamableError

FRAMES, CHANNELS = 9, 3
CORNERS, HALF_PIXEL, PLAIN = (True, False), (False, True), (False, False)


def resized(dtype: str, ratio: int, mode: tuple[bool, bool], sideways: bool) -> Net:
    net, axis = Net(dtype), 2 if sideways else 1
    shape, size = [1, 1, 1, CHANNELS], [1, 1]
    shape[axis] = FRAMES
    size[axis - 1] = (FRAMES - 1) * ratio + 1 if mode == CORNERS else FRAMES * ratio
    align, half = mode
    x = net.input(tuple(shape), axis)
    made = (1, *size, CHANNELS)
    options = {"align_corners": align, "half_pixel_centers": half}
    net.output(net.same(x, "RESIZE_BILINEAR", made, axis, net.constant(size, np.int32), **options))
    return net


@pytest.mark.parametrize("mode", [HALF_PIXEL, PLAIN, CORNERS], ids=["half_pixel", "plain", "corners"])
@pytest.mark.parametrize("sideways", [False, True])
@pytest.mark.parametrize(
    ("dtype", "ratio"), [("float32", 2), ("float32", 3), ("int8", 2), ("int8", 8), ("int16", 2), ("int16", 32)]
)
def test_frames_between_frames(dtype: str, ratio: int, mode: tuple[bool, bool], sideways: bool) -> None:
    net = resized(dtype, ratio, mode, sideways)
    content = net.content()
    model = tcnstream.load(content, time_axis=2 if sideways else 1)
    limits = np.iinfo(dtype) if dtype != "float32" else np.iinfo(np.int8)
    signal = net.rng.integers(limits.min, limits.max + 1, (FRAMES, CHANNELS)).astype(dtype)
    expected = reference_kernels(content, [signal.reshape(net.tensors[net.inputs[0]].shape)])[0].reshape(-1, CHANNELS)
    whole = expected.reshape(-1, *model.outputs[0].shape)
    engines = engines_here(model)
    assert "native" not in engines or not model.native_lacks()
    for engine in engines:
        verify_contract(model, signal.reshape(-1, *model.inputs[0].shape), whole, engine=engine)


def test_integers_that_drift_from_their_places_are_refused() -> None:
    """A third of 1024 is no integer: TFLite adds up the rest from frame to frame."""
    with pytest.raises(NotStreamableError, match="which 3 frames for each do not divide"):
        tcnstream.load(resized("int8", 3, HALF_PIXEL, False).content(), time_axis=1)
