"""Two operands, element by element."""

from __future__ import annotations

import math

import numpy as np

from tcnstream.engines.kernels.call import is_quantized, scale_of, zero_point_of
from tcnstream.engines.kernels.fixed_point import quantize_multiplier
from tcnstream.engines.pack.context import Arguments, Context, Packed, Packer, float_range, range_or_zero
from tcnstream.graph import Array


def _full_frame(values: Array, view: tuple[int, ...], shape: tuple[int, ...]) -> Array | None:
    """Which element of an operand each output element takes; None where it is its own."""
    places = np.arange(math.prod(view)).reshape(view)
    missing = len(shape) - len(view)
    spread = np.broadcast_to(places.reshape(*(1,) * max(missing, 0), *view), shape).reshape(-1)
    return None if spread.size == places.size else spread.astype(np.uint32)


_BINARY = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")


def _binary(context: Context) -> Packed:
    call, node = context.call, context.node
    op = _BINARY.index(node.kind)
    dtype, shape = context.target.dtype, context.target.shape
    if dtype not in (np.float32, np.int8, np.int16) or any(t is None or t.dtype != dtype for t in call.inputs):
        raise context.lacks(f"{context.source.dtype}")
    quantized = is_quantized(call.output)
    if dtype != np.float32 and (not quantized or node.kind == "DIV"):
        raise context.lacks(f"{dtype}")
    constants: list[bytes | None] = []
    indices: list[bytes | None] = []
    for position in (0, 1):
        view = node.views[position]
        index = _full_frame(np.empty(0), view, shape)
        values = call.arrays[position]
        if values is None:
            constants.append(None)
            indices.append(None if index is None else index.tobytes())
        else:
            flat = values.reshape(-1)
            constants.append(np.ascontiguousarray(flat if index is None else flat[index]).tobytes())
            indices.append(None)
    zeros, multipliers, shifts = [0, 0], [0, 0], [0, 0]
    left_shift = multiplier_out = shift_out = zero_out = 0
    if quantized and node.kind not in ("MAXIMUM", "MINIMUM"):
        zeros = [zero_point_of(call, call.tensor(p)) for p in (0, 1)]
        zero_out = zero_point_of(call, call.output)
        scales = [scale_of(call, call.tensor(p)) for p in (0, 1)]
        output_scale = scale_of(call, call.output)
        if node.kind == "MUL":
            real = np.float64(scales[0] * scales[1] / output_scale)
        else:
            if dtype == np.int16 and node.kind in ("ADD", "SUB") and call.flag("pot_scale_int16"):
                raise context.lacks("pot_scale_int16")
            left_shift = 7 if node.kind == "SQUARED_DIFFERENCE" else 15 if dtype == np.int16 else 20
            twice_max = np.float64(2 * max(np.float64(s) for s in scales))
            for p in (0, 1):
                m, s = quantize_multiplier(np.float64(scales[p]) / twice_max)
                multipliers[p], shifts[p] = int(m), int(s)
            if node.kind == "SQUARED_DIFFERENCE":
                real = twice_max * twice_max / ((1 << 14) * np.float64(output_scale))
            else:
                real = twice_max / ((1 << left_shift) * np.float64(output_scale))
        m, s = quantize_multiplier(real)
        multiplier_out, shift_out = int(m), int(s)
    low, high = range_or_zero(call) if node.kind not in ("MAXIMUM", "MINIMUM") else (0, 0)
    low_f, high_f = float_range(call)
    arguments: Arguments = [
        ("I", math.prod(shape)),
        ("I", constants[0]),
        ("I", constants[1]),
        ("I", indices[0]),
        ("I", indices[1]),
        ("i", zeros[0]),
        ("i", zeros[1]),
        ("i", left_shift),
        ("i", multipliers[0]),
        ("i", multipliers[1]),
        ("i", shifts[0]),
        ("i", shifts[1]),
        ("i", multiplier_out),
        ("i", shift_out),
        ("i", zero_out),
        ("i", low),
        ("i", high),
        ("f", low_f),
        ("f", high_f),
    ]
    return Packed("BINARY", op, context.streams, arguments)


PACKERS: dict[str, Packer] = dict.fromkeys(_BINARY, _binary)
