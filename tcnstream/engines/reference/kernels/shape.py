"""Operations that only move values: axes in options are array axes, time being axis 0."""

from __future__ import annotations

import numpy as np

from tcnstream.compiler.operations.cuts import PadOptions, SliceOptions
from tcnstream.compiler.operations.layout import ReverseOptions, TileOptions, TransposeOptions
from tcnstream.compiler.operations.resize import ResizeOptions
from tcnstream.compiler.plan import AxisOptions
from tcnstream.engines.reference.kernels.context import KernelContext, as_frames, kernel
from tcnstream.tflite.graph import Array


def _frames(context: KernelContext, position: int) -> Array:
    """An operand with a time axis: a constant is the same in every frame."""
    values = context.array(position)
    if not context.tensor(position).is_constant:
        return values
    streams = (a for a, t in zip(context.arrays, context.inputs, strict=True) if t is not None and not t.is_constant)
    rank = next((a.ndim for a in streams if a is not None), 1 + len(context.output.shape))
    shape = values.shape[1:] if values.ndim == rank else values.shape
    return np.broadcast_to(values, (context.n_frames, *shape))


def _pairs(values: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(values[::2], values[1::2], strict=True))


@kernel("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
def reshape(context: KernelContext) -> tuple[Array, ...]:
    """The same values in frames of another shape."""
    return (as_frames(context, context.array(0)),)


@kernel("TRANSPOSE")
def transpose(context: KernelContext) -> tuple[Array, ...]:
    """Axes in the order ``perm``; perm[0] is 0."""
    return (as_frames(context, np.transpose(context.array(0), context.options(TransposeOptions).perm)),)


@kernel("PAD", "PADV2")
def pad(context: KernelContext) -> tuple[Array, ...]:
    """``paddings`` (begin, end, begin, end, ...) per frame axis, filled with the node's ``fill``."""
    widths = [(0, 0), *_pairs(context.options(PadOptions).paddings)]
    return (as_frames(context, np.pad(context.array(0), widths, constant_values=context.node.fill)),)


@kernel("MIRROR_PAD")
def mirror_pad(context: KernelContext) -> tuple[Array, ...]:
    """``paddings`` per frame axis, the signal mirrored without (REFLECT) or with (SYMMETRIC) its border."""
    widths = [(0, 0), *_pairs(context.options(PadOptions).paddings)]
    if context.options(PadOptions).mode == "SYMMETRIC":
        return (as_frames(context, np.pad(context.array(0), widths, mode="symmetric")),)
    return (as_frames(context, np.pad(context.array(0), widths, mode="reflect")),)


@kernel("CONCATENATION")
def concatenation(context: KernelContext) -> tuple[Array, ...]:
    """Operands side by side along ``axis``. Integers are copied raw: the reference kernel wants one scale."""
    parts = [_frames(context, position) for position in range(len(context.arrays))]
    return (as_frames(context, np.concatenate(parts, axis=context.options(AxisOptions).axis)),)


@kernel("SPLIT", "SPLIT_V")
def split(context: KernelContext) -> tuple[Array, ...]:
    """Pieces along ``axis``, as large as the outputs say."""
    axis, values = context.options(AxisOptions).axis, context.array(0)
    ends = np.cumsum([tensor.shape[axis - 1] for tensor in context.outputs])
    parts = np.split(values, ends[:-1], axis=axis)
    return tuple(as_frames(context, part, output) for output, part in enumerate(parts))


@kernel("SLICE", "STRIDED_SLICE")
def strided_slice(context: KernelContext) -> tuple[Array, ...]:
    """``begin`` : ``end`` : ``stride`` per frame axis, all resolved; going down, end -1 is before the start."""
    options = context.options(SliceOptions)
    spans = zip(options.begin, options.end, options.stride, strict=True)
    cuts = tuple(slice(b, None if s < 0 and e < 0 else e, s) for b, e, s in spans)
    return (as_frames(context, context.array(0)[(slice(None), *cuts)]),)


@kernel("REVERSE_V2")
def reverse(context: KernelContext) -> tuple[Array, ...]:
    """Values turned around along ``axes``."""
    return (as_frames(context, np.flip(context.array(0), context.options(ReverseOptions).axes)),)


@kernel("TILE")
def tile(context: KernelContext) -> tuple[Array, ...]:
    """Every frame axis repeated ``multiples`` times."""
    return (as_frames(context, np.tile(context.array(0), (1, *context.options(TileOptions).multiples))),)


@kernel("BROADCAST_TO")
def broadcast_to(context: KernelContext) -> tuple[Array, ...]:
    """A frame stretched to the output's shape by broadcasting."""
    values = context.array(0)
    missing = len(context.output.shape) + 1 - values.ndim
    aligned = values.reshape(values.shape[0], *(1,) * missing, *values.shape[1:])
    return (as_frames(context, np.broadcast_to(aligned, (context.n_frames, *context.output.shape))),)


@kernel("GATHER")
def gather(context: KernelContext) -> tuple[Array, ...]:
    """Slices along ``axis`` at the constant indices of operand 1."""
    return (
        as_frames(
            context,
            np.take(context.array(0), context.array(1).astype(np.int64), axis=context.options(AxisOptions).axis),
        ),
    )


@kernel("PACK")
def pack(context: KernelContext) -> tuple[Array, ...]:
    """Operands stacked along the new ``axis``."""
    parts = np.broadcast_arrays(*(context.array(position) for position in range(len(context.arrays))))
    return (as_frames(context, np.stack(parts, axis=context.options(AxisOptions).axis)),)


@kernel("UNPACK")
def unpack(context: KernelContext) -> tuple[Array, ...]:
    """The slices along ``axis``, one per output."""
    values = np.moveaxis(context.array(0), context.options(AxisOptions).axis, 0)
    return tuple(as_frames(context, values[output], output) for output in range(len(context.outputs)))


@kernel("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest_neighbor(context: KernelContext) -> tuple[Array, ...]:
    """Frequency (axis 1 of (t, F, C)) stretched to the output's. Source: ``resize_nearest_neighbor.h``."""
    size, wanted = context.array(0).shape[1], context.output.shape[0]
    options = context.options(ResizeOptions)
    corners = options.align_corners and wanted > 1
    scale = np.float32(size - 1) / np.float32(wanted - 1) if corners else np.float32(size) / np.float32(wanted)
    place = (np.arange(wanted, dtype=np.float32) + np.float32(0.5 if options.half_pixel_centers else 0.0)) * scale
    nearest = np.floor(place + np.float32(0.5)) if options.align_corners else np.floor(place)
    index = np.clip(nearest.astype(np.int64), 0, size - 1)
    return (as_frames(context, context.array(0)[:, index]),)
