"""Operations that are gone before lowering: arithmetic with shapes, and dilation by way of the batch."""

from __future__ import annotations

import math

import numpy as np

from tcnstream.compiler.constants import data_of
from tcnstream.compiler.operation import Operation
from tcnstream.tflite.validate import Operands, Rule, Shapes, require, spread


def _shape_of(o: Operands) -> Shapes:
    return ((len(o.shape(0)),),)


def _filled(o: Operands) -> Shapes:
    require(o.count(1) == 1, f"{o.count(1)} values to fill with")
    return (tuple(o.integers(0)),)


def _counted(o: Operands) -> Shapes:
    (begin,), (end,), (step,) = (o.integers(k, count=1) for k in range(3))
    require(step != 0, "a step of 0")
    return ((len(range(begin, end, step)),),)


def _spread_shapes(o: Operands) -> Shapes:
    return ((len(spread(*(tuple(o.integers(k)) for k in range(2)))),),)


def _blocks(o: Operands) -> tuple[list[int], list[tuple[int, int]]]:
    """How time (and frequency) is cut into blocks, and what is padded or cropped on either side of each axis."""
    block = o.integers(1)
    require(0 < len(block) < len(o.shape(0)) and min(block) > 0, f"blocks {block} of {o.shape(0)}")
    pairs = o.integers(2, count=2 * len(block))
    require(min(pairs) >= 0, f"edges {pairs[:8]}")
    return block, list(zip(pairs[::2], pairs[1::2], strict=True))


def _into_batch(o: Operands) -> Shapes:
    shape, (block, pads) = o.shape(0), _blocks(o)
    if o.is_of_any_length:
        return None
    made = []
    for n, b, pad in zip(shape[1:], block, pads, strict=False):
        require((n + sum(pad)) % b == 0, f"{n + sum(pad)} places in blocks of {b}")
        made.append((n + sum(pad)) // b)
    return ((shape[0] * math.prod(block), *made, *shape[len(block) + 1 :]),)


def _out_of_batch(o: Operands) -> Shapes:
    shape, (block, crops) = o.shape(0), _blocks(o)
    if o.is_of_any_length:
        return None
    require(shape[0] % math.prod(block) == 0, f"a batch of {shape[0]} in blocks {block}")
    made = [n * b - sum(crop) for n, b, crop in zip(shape[1:], block, crops, strict=False)]
    return ((shape[0] // math.prod(block), *made, *shape[len(block) + 1 :]),)


SPACE_TO_BATCH_ND = Operation("SPACE_TO_BATCH_ND", Rule.of_moves((3, 3), _into_batch))
BATCH_TO_SPACE_ND = Operation("BATCH_TO_SPACE_ND", Rule.of_moves((3, 3), _out_of_batch))

OPERATIONS = (
    SPACE_TO_BATCH_ND,
    BATCH_TO_SPACE_ND,
    Operation(
        "SHAPE",
        Rule(shapes=_shape_of, retyped=True, scaled=False),
        fold=lambda op, ins, out: np.array(ins[0].shape, out.dtype),
        folds_shapes=True,
    ),
    Operation(
        "ZEROS_LIKE",
        Rule(),
        fold=lambda op, ins, out: np.zeros(ins[0].shape, out.dtype),
        folds_shapes=True,
        folds_plain_numbers=True,
    ),
    Operation(
        "FILL",
        Rule(operands=(2, 2), shapes=_filled, values=1, scaled=False),
        fold=lambda op, ins, out: np.full(data_of(ins[0]).tolist(), data_of(ins[1]).item(), out.dtype),
    ),
    Operation(
        "RANGE",
        Rule(operands=(3, 3), shapes=_counted, alike=True, scaled=False),
        fold=lambda op, ins, out: np.arange(*(data_of(t).item() for t in ins)).astype(out.dtype),
    ),
    Operation(
        "BROADCAST_ARGS",
        Rule(operands=(2, 2), shapes=_spread_shapes, alike=True, scaled=False),
        fold=lambda op, ins, out: np.array(spread(*(tuple(data_of(t).tolist()) for t in ins)), out.dtype),
    ),
)
