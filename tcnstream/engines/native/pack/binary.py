"""Two operands, element by element."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tcnstream.compiler.operations.elementwise import SumOptions
from tcnstream.engines.native.layout.arguments import Binary, BinaryFloat, BinaryScalar, Operands
from tcnstream.engines.native.layout.functions import BinaryOp
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack.context import Context, Packed, packs, range_or_zero
from tcnstream.engines.native.pack.operands import operand_blobs
from tcnstream.engines.reference.kernels import KernelContext
from tcnstream.engines.reference.kernels.context import is_quantized, scale_of, zero_point_of
from tcnstream.engines.reference.kernels.fixed_point import (
    checked_log2,
    float_range,
    integer_range,
    quantize_multiplier,
)

_SCALED_COMPARISONS = {BinaryOp.EQUAL: (np.int8, np.int16), BinaryOp.NOT_EQUAL: (np.int8, np.int16)}
_UNCLIPPED = (-(1 << 31), (1 << 31) - 1)
_PLAIN_RANGES = {"RELU": (0, (1 << 31) - 1), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}


@dataclass
class _Numbers:
    """The fixed-point part of ``Binary`` and ``BinaryScalar``."""

    zeros: tuple[int, int] = (0, 0)
    left_shift: int = 0
    multipliers: tuple[int, int] = (0, 0)
    shifts: tuple[int, int] = (0, 0)
    multiplier_out: int = 0
    shift_out: int = 0
    zero_out: int = 0
    range: tuple[int, int] = (0, 0)


def _fixed(real: Any) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(real)
    return int(multiplier), int(shift)


def _elements(context: Context) -> int:
    return math.prod(context.target.shape)


def _operands(context: Context) -> Operands | None:
    """What is not a stream as it stands; None where both are."""
    dtype = context.facts.tensor(0).dtype
    (c0, c1), (i0, i1) = operand_blobs(context, (dtype, dtype))
    if all(part is None for part in (c0, c1, i0, i1)):
        return None
    return Operands(constant=(c0, c1), index=(i0, i1))


def _floats(context: Context, op: BinaryOp) -> Packed:
    low, high = float_range(context.facts.activation)
    operands = _operands(context)
    arguments = BinaryFloat(elements=_elements(context), low_f=low, high_f=high, has_operands=operands is not None)
    return Packed(Kind.BINARY, context.streams, arguments, op, behind=operands)


def _integers(context: Context, op: BinaryOp, numbers: _Numbers) -> Packed:
    operands = _operands(context)
    arguments = Binary(
        elements=_elements(context),
        multiplier=numbers.multipliers,
        multiplier_out=numbers.multiplier_out,
        left_shift=numbers.left_shift,
        zero=numbers.zeros,
        zero_out=numbers.zero_out,
        low=numbers.range[0],
        high=numbers.range[1],
        shift=numbers.shifts,
        shift_out=numbers.shift_out,
        has_operands=operands is not None,
    )
    return Packed(Kind.BINARY, context.streams, arguments, op, behind=operands)


def _scalars(context: Context, op: BinaryOp, numbers: _Numbers) -> Packed:
    dtype = context.facts.tensor(0).dtype
    (c0, c1), (i0, i1) = operand_blobs(context, (dtype, dtype))
    arguments = BinaryScalar(
        elements=_elements(context),
        constant=(c0, c1),
        index=(i0, i1),
        zero=numbers.zeros,
        left_shift=numbers.left_shift,
        multiplier=numbers.multipliers,
        shift=numbers.shifts,
        multiplier_out=numbers.multiplier_out,
        shift_out=numbers.shift_out,
        zero_out=numbers.zero_out,
        low=numbers.range[0],
        high=numbers.range[1],
    )
    return Packed(Kind.BINARY_SCALAR, context.streams, arguments, op)


@packs("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")
def _binary(context: Context) -> Packed:
    """Arithmetic of two operands: with vectors for float32 and what has a scale, else element by element."""
    facts, op = context.facts, BinaryOp[context.node.kind]
    dtype = context.target.dtype
    if any(t is None or t.dtype != dtype for t in facts.inputs) or dtype == np.bool_:
        raise context.unsupported(f"{context.source.dtype}")
    if dtype != np.float32 and not is_quantized(facts.output):
        numbers = _Numbers(range=_PLAIN_RANGES.get(facts.activation, _UNCLIPPED))
        return _scalars(context, op, numbers)
    if dtype not in (np.float32, np.int8, np.int16):
        raise context.unsupported(f"{dtype}")
    if dtype == np.float32:
        return _floats(context, op)
    if op in (BinaryOp.MAXIMUM, BinaryOp.MINIMUM):
        return _integers(context, op, _Numbers())
    if op == BinaryOp.DIV:
        return _quotient(context)
    if dtype == np.int16 and op in (BinaryOp.ADD, BinaryOp.SUB) and facts.options(SumOptions).pot_scale_int16:
        exponents = [checked_log2(scale_of(facts, t)) for t in (facts.tensor(0), facts.tensor(1), facts.output)]
        known = [e for e in exponents if e is not None]
        if len(known) == 3:
            return _shifted(context, op, known)
    return _integers(context, op, _scaled(context, op))


def _scales(facts: KernelContext) -> tuple[np.float32, np.float32, np.float32]:
    return scale_of(facts, facts.tensor(0)), scale_of(facts, facts.tensor(1)), scale_of(facts, facts.output)


def _zeros(facts: KernelContext) -> tuple[int, int]:
    return zero_point_of(facts, facts.tensor(0)), zero_point_of(facts, facts.tensor(1))


def _scaled(context: Context, op: BinaryOp) -> _Numbers:
    """ADD, SUB, MUL, SQUARED_DIFFERENCE of integers with a scale, as ``kernels.elementwise`` computes them."""
    facts = context.facts
    a, b, out = _scales(facts)
    left_shift = 0
    multipliers, shifts = (0, 0), (0, 0)
    if op == BinaryOp.MUL:
        real = np.float64(a * b / out)
    else:
        left_shift = 7 if op == BinaryOp.SQUARED_DIFFERENCE else 15 if facts.output.dtype == np.int16 else 20
        twice_max = np.float64(2 * max(np.float64(a), np.float64(b)))
        one, other = _fixed(np.float64(a) / twice_max), _fixed(np.float64(b) / twice_max)
        multipliers, shifts = (one[0], other[0]), (one[1], other[1])
        if op == BinaryOp.SQUARED_DIFFERENCE:
            real = twice_max * twice_max / ((1 << 14) * np.float64(out))
        else:
            real = twice_max / ((1 << left_shift) * np.float64(out))
    zero_out = zero_point_of(facts, facts.output)
    return _Numbers(_zeros(facts), left_shift, multipliers, shifts, *_fixed(real), zero_out, range_or_zero(facts))


def _quotient(context: Context) -> Packed:
    facts = context.facts
    if facts.output.dtype != np.int8:
        raise context.unsupported(f"{facts.output.dtype}")
    a, b, out = _scales(facts)
    multiplier, shift = _fixed(a / (b * out))
    if multiplier == 0:
        raise context.unsupported("a scale of nothing")
    numbers = _Numbers(zeros=_zeros(facts), multiplier_out=multiplier, shift_out=shift, range=range_or_zero(facts))
    numbers.zero_out = zero_point_of(facts, facts.output)
    return _scalars(context, BinaryOp.DIV, numbers)


def _shifted(context: Context, op: BinaryOp, exponents: list[int]) -> Packed:
    """int16 with scales that are powers of two: one operand is shifted, none rescaled."""
    facts = context.facts
    right = exponents[2] - exponents[0], exponents[2] - exponents[1]
    if min(right) != 0 or max(right) > 31:
        raise facts.unsupported(f"power-of-two scales 2**{exponents}")
    shifted = BinaryOp.ADD_SHIFTED if op == BinaryOp.ADD else BinaryOp.SUB_SHIFTED
    return _scalars(context, shifted, _Numbers(shifts=right, range=range_or_zero(facts)))


@packs("PRELU")
def _prelu(context: Context) -> Packed:
    facts, dtype = context.facts, context.target.dtype
    if dtype == np.float32 and facts.tensor(1).dtype in (np.float32, np.float16):
        return _scalars(context, BinaryOp.PRELU, _Numbers())
    if dtype != np.int8 or facts.tensor(0).dtype != dtype or facts.tensor(1).dtype != dtype:
        raise context.unsupported(f"{dtype}")
    a, b, out = _scales(facts)
    identity, slope = _fixed(a / out), _fixed(a * b / out)
    numbers = _Numbers(_zeros(facts), 0, (identity[0], 0), (identity[1], 0), *slope, zero_point_of(facts, facts.output))
    numbers.range = integer_range(dtype)
    return _scalars(context, BinaryOp.PRELU, numbers)


@packs("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
def _comparison(context: Context) -> Packed:
    """Quantized operands are brought to one scale; other integers and real numbers are compared as they are."""
    facts, op = context.facts, BinaryOp[context.node.kind]
    first = facts.tensor(0)
    if facts.tensor(1).dtype != first.dtype:
        raise context.unsupported(f"{first.dtype} and {facts.tensor(1).dtype}")
    if not is_quantized(first) or first.dtype not in _SCALED_COMPARISONS.get(op, (np.int8,)):
        return _scalars(context, op, _Numbers())
    one, other = _fixed(scale_of(facts, first)), _fixed(scale_of(facts, facts.tensor(1)))
    numbers = _Numbers(_zeros(facts), 8, (one[0], other[0]), (one[1], other[1]))
    return _scalars(context, op, numbers)


@packs("LOGICAL_AND", "LOGICAL_OR")
def _logic(context: Context) -> Packed:
    if any(context.facts.tensor(p).dtype != np.bool_ for p in (0, 1)):
        raise context.unsupported(f"{context.facts.tensor(0).dtype}")
    return _scalars(context, BinaryOp[context.node.kind], _Numbers())
