"""The definition of every operation, in NumPy, with the arithmetic of the TFLite reference kernels.

Integer results equal LiteRT's ``BUILTIN_REF`` bit for bit, float32 results within 1e-5 * max(1, |b|).
A kernel is a function of a ``Call``; ``KERNELS`` has one per operation. Time is axis 0 and always
VALID: a kernel gets exactly the frames that it needs and knows nothing of the stream around it.
Adding an operation is one function and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from tcnstream.engines.reference.kernels import activations, dense, elementwise, shape, softmax, windowed
from tcnstream.engines.reference.kernels.activations import real_function
from tcnstream.engines.reference.kernels.call import Call
from tcnstream.engines.reference.kernels.elementwise import comparison, logical
from tcnstream.engines.reference.kernels.reduce import arg_extreme, mean_from_sum, mean_of, reduction
from tcnstream.tflite.graph import Array

Kernel: TypeAlias = Callable[[Call], tuple[Array, ...]]

KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "CONV_2D": windowed.conv_2d,
        "DEPTHWISE_CONV_2D": windowed.depthwise_conv_2d,
        "TRANSPOSE_CONV": windowed.transpose_conv,
        "MAX_POOL_2D": windowed.max_pool_2d,
        "AVERAGE_POOL_2D": windowed.average_pool_2d,
        "FULLY_CONNECTED": dense.fully_connected,
        "BATCH_MATMUL": dense.batch_matmul,
        "ADD": elementwise.add,
        "SUB": elementwise.sub,
        "MUL": elementwise.mul,
        "DIV": elementwise.div,
        "MAXIMUM": elementwise.maximum,
        "MINIMUM": elementwise.minimum,
        "SQUARED_DIFFERENCE": elementwise.squared_difference,
        "POW": elementwise.power,
        "QUANTIZE": elementwise.quantize,
        "DEQUANTIZE": elementwise.dequantize,
        "CAST": elementwise.cast,
        "EQUAL": comparison(np.equal, ("int8", "int16")),
        "NOT_EQUAL": comparison(np.not_equal, ("int8", "int16")),
        "LESS": comparison(np.less, ("int8",)),
        "LESS_EQUAL": comparison(np.less_equal, ("int8",)),
        "GREATER": comparison(np.greater, ("int8",)),
        "GREATER_EQUAL": comparison(np.greater_equal, ("int8",)),
        "LOGICAL_AND": logical(np.logical_and),
        "LOGICAL_OR": logical(np.logical_or),
        "LOGICAL_NOT": elementwise.logical_not,
        "SELECT": elementwise.select,
        "SELECT_V2": elementwise.select,
        "LOGISTIC": activations.logistic,
        "TANH": activations.tanh,
        "SOFTMAX": softmax.softmax,
        "LOG_SOFTMAX": softmax.log_softmax,
        "RELU": activations.relu,
        "RELU6": activations.relu6,
        "RELU_N1_TO_1": activations.relu_n1_to_1,
        "RELU_0_TO_1": activations.relu_0_to_1,
        "LEAKY_RELU": activations.leaky_relu,
        "PRELU": activations.prelu,
        "HARD_SWISH": activations.hard_swish,
        "ELU": activations.elu,
        "GELU": activations.gelu,
        "ABS": activations.absolute,
        "NEG": activations.neg,
        "EXP": activations.exp,
        "LOG": activations.log,
        "RSQRT": activations.rsqrt,
        "SQRT": real_function(np.sqrt),
        "SQUARE": real_function(np.square),
        "SIN": real_function(np.sin),
        "COS": real_function(np.cos),
        "FLOOR": real_function(np.floor),
        "CEIL": real_function(np.ceil),
        "ROUND": real_function(np.rint),
        "SIGN": activations.sign,
        "MEAN": reduction("MEAN"),
        "SUM": reduction("SUM"),
        "REDUCE_MAX": reduction("REDUCE_MAX"),
        "REDUCE_MIN": reduction("REDUCE_MIN"),
        "REDUCE_PROD": reduction("REDUCE_PROD"),
        "ARG_MAX": arg_extreme(np.argmax, -np.inf),
        "ARG_MIN": arg_extreme(np.argmin, np.inf),
        "RESHAPE": shape.reshape,
        "EXPAND_DIMS": shape.reshape,
        "SQUEEZE": shape.reshape,
        "TRANSPOSE": shape.transpose,
        "PAD": shape.pad,
        "PADV2": shape.pad,
        "MIRROR_PAD": shape.mirror_pad,
        "CONCATENATION": shape.concatenation,
        "SPLIT": shape.split,
        "SPLIT_V": shape.split,
        "SLICE": shape.strided_slice,
        "STRIDED_SLICE": shape.strided_slice,
        "TILE": shape.tile,
        "BROADCAST_TO": shape.broadcast_to,
        "GATHER": shape.gather,
        "PACK": shape.pack,
        "UNPACK": shape.unpack,
        "RESIZE_NEAREST_NEIGHBOR": shape.resize_nearest_neighbor,
    }
)
"""Operation name of the schema -> kernel."""

__all__ = ("KERNELS", "Call", "Kernel", "mean_from_sum", "mean_of")
