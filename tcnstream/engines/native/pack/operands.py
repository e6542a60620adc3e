"""Operands of elementwise operations: streams, or constants spread over the frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tcnstream.engines.native.layout.arguments import Select
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack.context import Context, Packed, packs
from tcnstream.tflite.graph import Array


def _full_frame(view: tuple[int, ...], shape: tuple[int, ...]) -> Array | None:
    """Which element of an operand each output element takes; None where it is its own."""
    inner = view[max(0, len(view) - len(shape)) :]  # a constant may have an axis for time, of length 1
    places = np.arange(math.prod(view)).reshape((*(1,) * (len(shape) - len(inner)), *inner))
    spread = np.broadcast_to(places, shape).reshape(-1)
    return None if spread.size == places.size else spread.astype(np.uint32)


def operand_blobs(
    context: Context, dtypes: Sequence[np.dtype[np.generic]]
) -> tuple[list[bytes | None], list[bytes | None]]:
    """Per operand its frame of constants (None for a stream), and which of its elements are taken (None: all)."""
    facts, shape = context.facts, context.target.shape
    constants: list[bytes | None] = []
    indices: list[bytes | None] = []
    for position, dtype in enumerate(dtypes):
        index = _full_frame(context.node.views[position], shape)
        values = facts.arrays[position]
        if values is None:
            constants.append(None)
            indices.append(None if index is None else index.tobytes())
        else:
            flat = values.reshape(-1).astype(dtype)
            constants.append(np.ascontiguousarray(flat if index is None else flat[index]).tobytes())
            indices.append(None)
    return constants, indices


@packs("SELECT", "SELECT_V2")
def select(context: Context) -> Packed:
    """SELECT: the condition is bool, values are copied raw."""
    facts, target = context.facts, context.target
    if facts.tensor(0).dtype != np.bool_ or any(facts.tensor(p).dtype != target.dtype for p in (1, 2)):
        raise context.unsupported(f"{facts.tensor(0).dtype} and {facts.tensor(1).dtype} operands")
    (c0, c1, c2), (i0, i1, i2) = operand_blobs(context, (np.dtype(np.bool_), target.dtype, target.dtype))
    arguments = Select(elements=math.prod(target.shape), constant=(c0, c1, c2), index=(i0, i1, i2))
    return Packed(Kind.SELECT, context.streams, arguments)
