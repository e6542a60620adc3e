"""A filter between rates as a node of the plan: each channel by itself."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operations.time import RESAMPLE_ONE, TIME_RESAMPLE, ResampleOptions
from tcnstream.compiler.plan import Window
from tcnstream.tflite.graph import Op, Shape, Tensor


def resample(
    lw: Lowering,
    op: Op,
    operand: tuple[int, Shape],
    weights: npt.NDArray[np.float32],
    window: Window,
    like: Tensor,
    window_frames: int,
) -> int:
    """The plan's value of ``operand`` filtered: ``weights`` (up, taps) are the same for all of its channels.

    Those of integers must be multiples of 1 / RESAMPLE_ONE.
    """
    value, frame = operand
    channels = math.prod(frame)
    if like.dtype.kind == "i":
        weights = np.rint(weights * RESAMPLE_ONE)
    spread = np.broadcast_to(weights[:, :, None, None], (*weights.shape, channels, 1))
    spread = np.ascontiguousarray(spread, np.int16 if like.dtype.kind == "i" else np.float32)
    constant = lw.add_constant(Tensor(f"{lw.label(op)}/weights", (), spread.dtype), spread)
    inputs = [(value, (channels,)), (constant, spread.shape)]
    options = ResampleOptions(separable=True)
    kind = TIME_RESAMPLE.kind
    return lw.step(op, inputs, like, frame, window_frames, kind, options=options, window=window)[0]
