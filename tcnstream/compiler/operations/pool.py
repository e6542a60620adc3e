"""Pools: the greatest or the mean of a window, padding not counted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tcnstream.compiler import batch_rules
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation, from_file
from tcnstream.compiler.operations.time import TIME_PAD
from tcnstream.compiler.patches import lies_across, padding_of, patches
from tcnstream.compiler.plan import ActivationOptions, Node, Window
from tcnstream.compiler.spatial import PADDING, STRIDES, SpatialOptions, access_window, spatial
from tcnstream.tflite.graph import Op
from tcnstream.tflite.validate import COUNT, Operands, Rule, Shapes


@dataclass(frozen=True)
class PoolOptions(SpatialOptions):
    """``filter_t`` by ``filter_f`` places go together; of a mean of integers ``halves_up``, else away from 0."""

    filter_t: int = 1
    filter_f: int = 1
    halves_up: bool = False


def _shapes(o: Operands) -> Shapes:
    shape = o.shape(0, rank=4)
    return ((shape[0], *o.spatial((o.count_option("filter_height"), o.count_option("filter_width"))), shape[3]),)


def _pool(lw: Lowering, op: Op) -> None:
    i = op.inputs[0]
    size = (op.integer("filter_height", 1), op.integer("filter_width", 1))
    if lies_across(lw, op, i, size):
        return _pool_patches(lw, op, size)
    axes = spatial(lw, op, i, size)
    kernel = (size[1], size[0]) if axes.swap else size
    stride = axes.of(op, "stride_{}")
    window, (pad_begin, pad_end) = access_window(lw, op, i, axes, kernel, stride)
    options = PoolOptions(
        activation=from_file(ActivationOptions, op).activation,
        stride_f=stride[1],
        pad_f_begin=pad_begin,
        pad_f_end=pad_end,
        filter_t=kernel[0],
        filter_f=kernel[1],
    )
    frame = axes.frame(lw.shape(op.outputs[0]))
    lw.emit(op, [axes.operand], axes.axis, options=options, window=window, fill=lw.zero(i), frame=frame)


def _counting_padding(lw: Lowering, op: Op, node: Node, weights: npt.NDArray[np.float64]) -> int | None:
    """A mean over padding of zeros, as PyTorch's pools count it, from one that leaves padding out.

    Converters bring the second to the first: they multiply the frames at the ends by the part that is no padding.
    """
    window, (source,), (made,) = node.window, node.inputs, node.outputs
    frames, like = lw.windows[source], lw.tensors[source]
    places = window.stride * np.arange(len(weights))[:, None] - window.pad_begin + np.arange(window.extent)
    parts = ((places >= 0) & (places < frames)).mean(axis=1)
    if like.dtype != np.float32 or len(weights) != lw.windows[made] or np.abs(parts - weights).max() > _ROUNDING:
        return None
    pad_end = max(0, int(places.max()) + 1 - frames) if window.pad_end is None else window.pad_end
    padding = Window(pad_begin=window.pad_begin, pad_end=pad_end)
    padded = lw.step(op, [(source, like.shape)], like, like.shape, frames, TIME_PAD.kind, window=padding)
    whole = replace(window, pad_begin=0, pad_end=0)
    operand, frame = (padded[0], node.views[0]), lw.tensors[made].shape
    return lw.step(op, [operand], like, frame, len(weights), node.kind, options=node.options, window=whole)[0]


def _pool_patches(lw: Lowering, op: Op, size: tuple[int, int]) -> None:
    """A pool over both axes of a frame."""
    i, greatest = op.inputs[0], op.kind == MAX_POOL_2D.kind
    if not greatest and any(map(any, padding_of(lw, op, i, size))):
        lw.refuse(op, "averages over two axes of every frame, with fewer values at their edges")
    found = patches(lw, op, i, size, _least(lw.graph.tensors[i].dtype))
    activation = from_file(ActivationOptions, op).activation
    options = PoolOptions(activation=activation, stride_f=found.taps, filter_f=found.taps)
    channels = lw.shape(i)[3]
    operand = (found.value, (found.places * found.taps, channels))
    lw.emit(op, [operand], found.axis, options=options, frame=(found.places, channels))


def _least(dtype: np.dtype[np.generic]) -> float | int:
    """What no maximum is less than."""
    return float(np.finfo(np.float32).min) if dtype.kind == "f" else int(np.iinfo(dtype.name).min)


_RULE = Rule(
    shapes=_shapes, options=STRIDES | PADDING | {"filter_height": COUNT, "filter_width": COUNT}, same_scale=True
)
_ROUNDING = 1e-6
_TYPES = ("float32", "int8", "int16")

MAX_POOL_2D = Operation(
    "MAX_POOL_2D",
    _RULE,
    PoolOptions,
    lower=_pool,
    types=_TYPES,
    batch=batch_rules.of_images,
    skips_padding=True,
    keeps_numbers=True,
)
AVERAGE_POOL_2D = Operation(
    "AVERAGE_POOL_2D",
    _RULE,
    PoolOptions,
    lower=_pool,
    types=_TYPES,
    batch=batch_rules.of_images,
    weighed=_counting_padding,
    skips_padding=True,
    keeps_numbers=True,
)

OPERATIONS = (MAX_POOL_2D, AVERAGE_POOL_2D)
