"""Operations that only move values: axes in options are array axes, time being axis 0."""

from __future__ import annotations

import numpy as np

from tcnstream.compiler.operations.cuts import PadOptions, SliceOptions
from tcnstream.compiler.operations.layout import AxisOptions, TileOptions, TransposeOptions
from tcnstream.compiler.operations.resize import ResizeOptions
from tcnstream.engines.reference.kernels.call import Call, as_frames, kernel
from tcnstream.tflite.graph import Array


def _frames(call: Call, position: int) -> Array:
    """An operand with a time axis: a constant is the same in every frame."""
    values = call.array(position)
    if not call.tensor(position).is_constant:
        return values
    rank = 1 + len(call.output.shape)
    shape = values.shape[1:] if values.ndim == rank else values.shape
    return np.broadcast_to(values, (call.n_frames, *shape))


def _pairs(values: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(values[::2], values[1::2], strict=True))


@kernel("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
def reshape(call: Call) -> tuple[Array, ...]:
    """The same values in frames of another shape."""
    return (as_frames(call, call.array(0)),)


@kernel("TRANSPOSE")
def transpose(call: Call) -> tuple[Array, ...]:
    """Axes in the order ``perm``; perm[0] is 0."""
    return (as_frames(call, np.transpose(call.array(0), call.options(TransposeOptions).perm)),)


@kernel("PAD", "PADV2")
def pad(call: Call) -> tuple[Array, ...]:
    """``paddings`` (begin, end, begin, end, ...) per frame axis, filled with the node's ``fill``."""
    widths = [(0, 0), *_pairs(call.options(PadOptions).paddings)]
    return (as_frames(call, np.pad(call.array(0), widths, constant_values=call.node.fill)),)


@kernel("MIRROR_PAD")
def mirror_pad(call: Call) -> tuple[Array, ...]:
    """``paddings`` per frame axis, the signal mirrored without (REFLECT) or with (SYMMETRIC) its border."""
    widths = [(0, 0), *_pairs(call.options(PadOptions).paddings)]
    if call.options(PadOptions).mode == "SYMMETRIC":
        return (as_frames(call, np.pad(call.array(0), widths, mode="symmetric")),)
    return (as_frames(call, np.pad(call.array(0), widths, mode="reflect")),)


@kernel("CONCATENATION")
def concatenation(call: Call) -> tuple[Array, ...]:
    """Operands side by side along ``axis``. Integers are copied raw: the reference kernel wants one scale."""
    parts = [_frames(call, position) for position in range(len(call.arrays))]
    return (as_frames(call, np.concatenate(parts, axis=call.options(AxisOptions).axis)),)


@kernel("SPLIT", "SPLIT_V")
def split(call: Call) -> tuple[Array, ...]:
    """Pieces along ``axis``, as large as the outputs say."""
    axis, values = call.options(AxisOptions).axis, call.array(0)
    ends = np.cumsum([tensor.shape[axis - 1] for tensor in call.outputs])
    parts = np.split(values, ends[:-1], axis=axis)
    return tuple(as_frames(call, part, output) for output, part in enumerate(parts))


@kernel("SLICE", "STRIDED_SLICE")
def strided_slice(call: Call) -> tuple[Array, ...]:
    """``begin`` : ``end`` : ``stride`` per frame axis, all resolved; going down, end -1 is before the start."""
    options = call.options(SliceOptions)
    spans = zip(options.begin, options.end, options.stride, strict=True)
    cuts = tuple(slice(b, None if s < 0 and e < 0 else e, s) for b, e, s in spans)
    return (as_frames(call, call.array(0)[(slice(None), *cuts)]),)


@kernel("TILE")
def tile(call: Call) -> tuple[Array, ...]:
    """Every frame axis repeated ``multiples`` times."""
    return (as_frames(call, np.tile(call.array(0), (1, *call.options(TileOptions).multiples))),)


@kernel("BROADCAST_TO")
def broadcast_to(call: Call) -> tuple[Array, ...]:
    """A frame stretched to the output's shape by broadcasting."""
    values = call.array(0)
    missing = len(call.output.shape) + 1 - values.ndim
    aligned = values.reshape(values.shape[0], *(1,) * missing, *values.shape[1:])
    return (as_frames(call, np.broadcast_to(aligned, (call.n_frames, *call.output.shape))),)


@kernel("GATHER")
def gather(call: Call) -> tuple[Array, ...]:
    """Slices along ``axis`` at the constant indices of operand 1."""
    return (
        as_frames(call, np.take(call.array(0), call.array(1).astype(np.int64), axis=call.options(AxisOptions).axis)),
    )


@kernel("PACK")
def pack(call: Call) -> tuple[Array, ...]:
    """Operands stacked along the new ``axis``."""
    parts = np.broadcast_arrays(*(call.array(position) for position in range(len(call.arrays))))
    return (as_frames(call, np.stack(parts, axis=call.options(AxisOptions).axis)),)


@kernel("UNPACK")
def unpack(call: Call) -> tuple[Array, ...]:
    """The slices along ``axis``, one per output."""
    values = np.moveaxis(call.array(0), call.options(AxisOptions).axis, 0)
    return tuple(as_frames(call, values[output], output) for output in range(len(call.outputs)))


@kernel("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest_neighbor(call: Call) -> tuple[Array, ...]:
    """Frequency (axis 1 of (t, F, C)) stretched to the output's. Source: ``resize_nearest_neighbor.h``."""
    size, wanted = call.array(0).shape[1], call.output.shape[0]
    options = call.options(ResizeOptions)
    corners = options.align_corners and wanted > 1
    scale = np.float32(size - 1) / np.float32(wanted - 1) if corners else np.float32(size) / np.float32(wanted)
    place = (np.arange(wanted, dtype=np.float32) + np.float32(0.5 if options.half_pixel_centers else 0.0)) * scale
    nearest = np.floor(place + np.float32(0.5)) if options.align_corners else np.floor(place)
    index = np.clip(nearest.astype(np.int64), 0, size - 1)
    return (as_frames(call, call.array(0)[:, index]),)
