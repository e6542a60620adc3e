"""Operands of elementwise operations: streams, or constants spread over the frame."""

from __future__ import annotations

import math

import numpy as np

from tcnstream.engines.native.pack.context import Arguments, Context, Packed, Packer
from tcnstream.tflite.graph import Array


def _full_frame(view: tuple[int, ...], shape: tuple[int, ...]) -> Array | None:
    """Which element of an operand each output element takes; None where it is its own."""
    inner = view[max(0, len(view) - len(shape)) :]  # a constant may have an axis for time, of length 1
    places = np.arange(math.prod(view)).reshape(*(1,) * (len(shape) - len(inner)), *inner)
    spread = np.broadcast_to(places, shape).reshape(-1)
    return None if spread.size == places.size else spread.astype(np.uint32)


def operand_fields(context: Context, count: int, dtypes: tuple[np.dtype[np.generic], ...]) -> Arguments:
    """Number of elements, then a constant (or None) and an index (or None) per operand."""
    call, shape = context.call, context.target.shape
    constants: Arguments = []
    indices: Arguments = []
    for position in range(count):
        index = _full_frame(context.node.views[position], shape)
        values = call.arrays[position]
        if values is None:
            constants.append(("I", None))
            indices.append(("I", None if index is None else index.tobytes()))
        else:
            flat = values.reshape(-1).astype(dtypes[position])
            constants.append(("I", np.ascontiguousarray(flat if index is None else flat[index]).tobytes()))
            indices.append(("I", None))
    return [("I", math.prod(shape)), *constants, *indices]


def select(context: Context) -> Packed:
    """SELECT: the condition is bool, values are copied raw."""
    call, target = context.call, context.target
    if call.tensor(0).dtype != np.bool_ or any(call.tensor(p).dtype != target.dtype for p in (1, 2)):
        raise context.lacks(f"{call.tensor(0).dtype} and {call.tensor(1).dtype} operands")
    dtypes = (np.dtype(np.bool_), target.dtype, target.dtype)
    return Packed("SELECT", 0, context.streams, operand_fields(context, 3, dtypes))


PACKERS: dict[str, Packer] = {"SELECT": select, "SELECT_V2": select}
