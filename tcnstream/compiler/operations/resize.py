"""Images resized: frames repeated, or drawn between two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tcnstream.compiler import batch_rules
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation, from_file
from tcnstream.compiler.operations.time import RESAMPLE_ONE, TIME_REPEAT
from tcnstream.compiler.plan import Options, Window
from tcnstream.compiler.resampling import resample
from tcnstream.compiler.selection import interpolated
from tcnstream.compiler.spatial import Axes, refuse_growth, spatial
from tcnstream.tflite.graph import Op
from tcnstream.tflite.validate import FLAG, Operands, Rule, Shapes


@dataclass(frozen=True)
class ResizeOptions(Options):
    """Where a place reads, along frequency: corners upon corners, or the centres of pixels upon one another."""

    align_corners: bool = False
    half_pixel_centers: bool = False


def _resized(o: Operands) -> Shapes:
    shape = o.shape(0, rank=4)
    height, width = o.integers(1, count=2)
    return ((shape[0], height, width, shape[3]),)


def _resize(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    shape, out = lw.shape(i), lw.shape(op.outputs[0])
    axes = spatial(lw, op, i, (1, 1))
    t, f = (2, 1) if axes.swap else (1, 2)
    options = from_file(ResizeOptions, op)
    refuse_growth(lw, op, axes, out[t])
    if out[t] % shape[t] or out[f] % shape[f]:
        lw.refuse(op, f"resizes {shape[t]} frames to {out[t]}, which is no whole multiple")
    if options.align_corners:
        lw.refuse(op, "aligns the corners of the window, so each frame depends on its length")
    ratio_t, ratio_f = out[t] // shape[t], out[f] // shape[f]
    operand = axes.operand
    if ratio_t == 1:
        return lw.emit(op, [operand], axes.axis, options=options, frame=axes.frame(out))
    if ratio_f > 1:
        frame = (shape[f] * ratio_f, shape[3])
        operand = lw.step(op, [operand], lw.graph.tensors[i], frame, shape[t], op.kind, options=options)
    window = Window(up=ratio_t, extent=ratio_t, pad_begin=ratio_t - 1)
    return lw.emit(op, [operand], axes.axis, kind=TIME_REPEAT.kind, window=window)


def _interpolate(lw: Lowering, op: Op) -> None:
    """Between the two frames around each place, at a whole ratio along time: a triangular filter between the rates.

    TFLite's ``resize_bilinear.h``: place j reads input place (j + 1/2) / ratio - 1/2 with half-pixel centres, j / ratio
    without; beyond the ends the last frame counts.
    """
    i = op.inputs[0]
    shape, out = lw.shape(i), lw.shape(op.outputs[0])
    axes = spatial(lw, op, i, (1, 1))
    t, f = (2, 1) if axes.swap else (1, 2)
    options = from_file(ResizeOptions, op)
    refuse_growth(lw, op, axes, out[t])
    like = lw.graph.tensors[i]
    if like.dtype not in (np.float32, np.int8, np.int16):
        lw.refuse(op, f"interpolates {like.dtype} frames, where only float32, int8 and int16 ones are")
    if shape[f] not in (1, out[f]):
        lw.refuse(op, f"interpolates between {shape[f]} places beside time")
    corners = options.align_corners and out[t] > 1
    ratio, rest = divmod(out[t] - 1, shape[t] - 1) if corners and shape[t] > 1 else divmod(out[t], shape[t])
    if rest:
        return _between(lw, op, axes, options)
    if like.dtype != np.float32 and RESAMPLE_ONE // 2 % ratio:
        lw.refuse(
            op,
            f"interpolates integers in steps of 1/{RESAMPLE_ONE} of a frame, which {ratio} frames for each do not"
            " divide, so that each one drifts from its place",
            "Resize by a power of two, or convert to float32 or float16",
        )
    operand = axes.operand
    if out[f] != shape[f]:
        frame = (out[f], shape[3])
        kind = RESIZE_NEAREST_NEIGHBOR.kind
        if ratio == 1:
            return lw.emit(op, [operand], axes.axis, kind=kind, options=ResizeOptions(), frame=axes.frame(out))
        operand = lw.step(op, [operand], like, frame, shape[t], kind, options=ResizeOptions())
    if ratio == 1:
        return lw.alias(op, i, axes.axis)
    weights, window = _triangle(ratio, options.half_pixel_centers and not corners, shape[t], out[t])
    value = resample(lw, op, operand, weights, window, like, out[t])
    lw.streams[op.outputs[0]] = replace(lw.streams[i], value=value, window_frames=out[t])


def _between(lw: Lowering, op: Op, axes: Axes, options: ResizeOptions) -> None:
    """At any other ratio, where the places between frames come again: two frames and their weights for each."""
    i = op.inputs[0]
    shape, out = lw.shape(i), lw.shape(op.outputs[0])
    t, f = (2, 1) if axes.swap else (1, 2)
    frames, made = shape[t], out[t]
    corners, like = options.align_corners and made > 1, lw.graph.tensors[i]
    ratio = Fraction(frames - 1, made - 1) if corners else Fraction(frames, made)
    shift = Fraction(1, 2) if options.half_pixel_centers and not corners else Fraction(0)
    places = [min(max((j + shift) * ratio - shift, Fraction(0)), Fraction(frames - 1)) for j in range(made)]
    before = np.array([math.floor(place) for place in places])
    rest = np.array([float(place - math.floor(place)) for place in places])
    index = np.stack([before, np.minimum(before + 1, frames - 1)], 1)
    found = None
    if like.dtype == np.float32 and shape[f] == out[f] and made > 1:
        found = interpolated(index, np.stack([1 - rest, rest], 1), frames)
    if found is None:
        what = f"{frames} frames to {made}"
        if corners:
            whole = f", or to {(frames - 1) * (made // frames) + 1} frames" if made > frames else ""
            lw.refuse(
                op,
                f"resizes {what} corner upon corner, so that each of {made - 1} steps is {ratio} of a frame: it depends"
                " on the length of the window",
                f"Train with a resizing that does not align corners{whole}",
            )
        lw.refuse(op, f"resizes {what}, which is no whole multiple")
    value = resample(lw, op, axes.operand, *found, like, made)
    lw.streams[op.outputs[0]] = replace(lw.streams[i], value=value, window_frames=made)


def _triangle(ratio: int, half_pixel: bool, frames: int, outputs: int) -> tuple[npt.NDArray[np.float32], Window]:
    """Weights (ratio, taps) of each set of output frames, and what they read.

    On the line with ``ratio - 1`` places after every frame output j stands at j, with half-pixel centres
    (ratio - 1) / 2 before it, and weighs a frame d places away by 1 - d / ratio.
    """
    behind = (ratio - 1) / 2 if half_pixel else 0.0
    begin = math.ceil(behind + ratio) - 1
    extent = begin + math.ceil(ratio - behind)
    taps = -(-extent // ratio)
    places = np.arange(ratio)[:, None] + ratio * np.arange(taps)
    weights = np.maximum(0, 1 - np.abs(places - begin + behind) / ratio).astype(np.float32)
    pad_end = outputs - 1 + extent - begin - ratio * frames
    return weights, Window(up=ratio, extent=extent, pad_begin=begin, pad_end=pad_end, edge="hold")


_RULE = Rule(
    operands=(2, 2),
    shapes=_resized,
    options={"align_corners": FLAG, "half_pixel_centers": FLAG},
    scaled=False,
    same_scale=True,
)

RESIZE_NEAREST_NEIGHBOR = Operation(
    "RESIZE_NEAREST_NEIGHBOR",
    _RULE,
    options=ResizeOptions,
    lower=_resize,
    types=("float32", "int8", "int16"),
    batch=batch_rules.of_images,
)

OPERATIONS = (
    RESIZE_NEAREST_NEIGHBOR,
    Operation("RESIZE_BILINEAR", _RULE, options=ResizeOptions, lower=_interpolate, batch=batch_rules.of_images),
)
