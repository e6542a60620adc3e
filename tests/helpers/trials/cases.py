"""Which builder draws an operation, and with which types: ``CASES`` and ``PARAMETERS``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.trials.drawing import F32, I8, I16, Build
from helpers.trials.elementwise import (
    LOG_SOFTMAX_OUT,
    LOGISTIC_OUT,
    TANH_OUT,
    adding,
    bending,
    binary,
    casting,
    choosing,
    comparing,
    dequantizing,
    dividing,
    inverting,
    leaking,
    quantizing,
    raising,
    saturating,
    sharpening,
    unary,
)
from helpers.trials.moves import (
    expanding,
    gathering,
    joining,
    moved,
    padding,
    padding_with_value,
    parting,
    reshaping,
    resizing,
    reversing,
    slicing,
    slicing_with_strides,
    squeezing,
    stacking,
    stretching,
    tiling,
    transposing,
    unstacking,
)
from helpers.trials.sums import dense, indexing, matrix_product, reducing
from helpers.trials.windowed import convolution, depthwise, pool, transposed
from tcnstream.compiler.operation import Operation
from tcnstream.compiler.operations import operations
from tcnstream.compiler.operations.statistics import StatisticOptions
from tcnstream.tflite.validate import broadcast, same

ALL = (F32, I8, I16)

BUILDERS: dict[str, Build] = {
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": depthwise,
    "TRANSPOSE_CONV": transposed,
    "MAX_POOL_2D": pool("MAX_POOL_2D"),
    "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D"),
    "FULLY_CONNECTED": dense,
    "BATCH_MATMUL": matrix_product,
    "ADD": adding("ADD"),
    "SUB": adding("SUB"),
    "DIV": dividing("DIV", act=True),
    "FLOOR_DIV": dividing("FLOOR_DIV", raw=True, same_scale=True),
    "FLOOR_MOD": dividing("FLOOR_MOD", raw=True, same_scale=True),
    "POW": raising,
    "QUANTIZE": quantizing,
    "DEQUANTIZE": dequantizing,
    "CAST": casting,
    "LOGISTIC": saturating("LOGISTIC", LOGISTIC_OUT),
    "TANH": saturating("TANH", TANH_OUT),
    "SOFTMAX": sharpening("SOFTMAX", LOGISTIC_OUT, True),
    "LOG_SOFTMAX": sharpening("LOG_SOFTMAX", LOG_SOFTMAX_OUT, False),
    "L2_NORMALIZATION": sharpening("L2_NORMALIZATION", {I8: {"scale": 1 / 128, "zero_point": 0}}, False),
    "RELU6": unary("RELU6", -9, 9),
    "LEAKY_RELU": leaking,
    "PRELU": bending,
    "LOG": unary("LOG", 0.01),
    "RSQRT": inverting,
    "SQRT": unary("SQRT", 0.0),
    "ARG_MAX": indexing("ARG_MAX"),
    "ARG_MIN": indexing("ARG_MIN"),
    "RESHAPE": moved("RESHAPE", reshaping),
    "EXPAND_DIMS": moved("EXPAND_DIMS", expanding),
    "SQUEEZE": squeezing,
    "REVERSE_V2": moved("REVERSE_V2", reversing),
    "TRANSPOSE": moved("TRANSPOSE", transposing),
    "PAD": moved("PAD", padding(False)),
    "PADV2": padding_with_value,
    "MIRROR_PAD": moved("MIRROR_PAD", padding(True)),
    "CONCATENATION": joining,
    "SPLIT": parting("SPLIT"),
    "SPLIT_V": parting("SPLIT_V"),
    "SLICE": moved("SLICE", slicing),
    "STRIDED_SLICE": moved("STRIDED_SLICE", slicing_with_strides),
    "TILE": moved("TILE", tiling),
    "BROADCAST_TO": stretching,
    "GATHER": moved("GATHER", gathering),
    "PACK": stacking,
    "UNPACK": unstacking,
    "RESIZE_NEAREST_NEIGHBOR": resizing,
    "GELU": lambda rng, dtype: unary("GELU", approximate=bool(rng.random() < 0.5))(rng, dtype),
}
"""Operations that need data or operands of their own; all others are drawn as their record says (``drawn``)."""


def drawn(record: Operation) -> Build | None:
    """What draws an operation: its own builder, or that of its family; None if it has neither."""
    kind, rule = record.kind, record.rule
    if kind in BUILDERS or rule is None:
        return BUILDERS.get(kind)
    if record.options is StatisticOptions:
        return reducing(kind, rescales=rule.scaled)
    if rule.shapes is same and rule.operands == (1, 1):
        return unary(kind)
    if rule.shapes is not broadcast:
        return None
    if rule.operands == (3, 3):
        return choosing(kind)
    if rule.retyped:
        return comparing(kind)
    return binary(kind, act="fused_activation_function" in rule.options, same_scale=not rule.scaled)


CASES: dict[str, tuple[Build, tuple[Any, ...]]] = {
    kind: (build, tuple(np.dtype(name).type for name in record.types))
    for kind, record in operations().items()
    if record.lower is not None and record.types and (build := drawn(record)) is not None
}
"""The builder and the types of every operation that is computed as itself, not said by others."""

PARAMETERS = [
    pytest.param(build, dtype, id=f"{kind}-{np.dtype(dtype).name}")
    for kind, (build, dtypes) in CASES.items()
    for dtype in dtypes
]
"""Every operation with every one of its types, for ``pytest.mark.parametrize``."""
