"""Functions of one operand: activations, elementary functions, changes of type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tcnstream.compiler import batch_rules
from tcnstream.compiler.constants import data_of, dequantize
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.operation import Operation, from_file
from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.elementwise import DIV, MAXIMUM
from tcnstream.compiler.operations.statistics import Statistic, StatisticOptions
from tcnstream.compiler.plan import ActivationOptions, Options
from tcnstream.tflite.graph import Array, Op, Tensor
from tcnstream.tflite.validate import FLAG, REAL, Operands, Rule, Shapes, one_of, require, require_scale, same


@dataclass(frozen=True)
class SlopeOptions(Options):
    """Negative values are multiplied by ``alpha``."""

    alpha: float = 0.0


@dataclass(frozen=True)
class GeluOptions(Options):
    """``approximate``: by a hyperbolic tangent, else by the error function."""

    approximate: bool = False


@dataclass(frozen=True)
class SoftmaxOptions(Options):
    """``beta`` scales the input."""

    beta: float = 1.0


def _quantized(o: Operands) -> Shapes:
    """Integers of any length need a scale, so that they stand for real numbers."""
    source, made = o.tensor(0), o.graph.tensors[o.op.outputs[0]]
    require(made.dtype.kind in "iu", f"`{made.name}` is {made.dtype}, not integers")
    require(source.dtype.kind in "iu" or source.dtype == np.float32, f"`{source.name}` is {source.dtype}")
    for tensor in (source, made):
        if tensor.dtype != np.float32:
            require_scale(tensor)
    return same(o)


def _dequantized(o: Operands) -> Shapes:
    """Constants may have a scale per channel; they are folded."""
    tensor = o.tensor(0)
    if not tensor.is_constant and tensor.dtype != np.float16:
        require(tensor.dtype.kind in "iu", f"`{tensor.name}` is {tensor.dtype}, not integers")
        require_scale(tensor)
    made = o.graph.tensors[o.op.outputs[0]].dtype
    require(made.kind == "f", f"it gives real numbers, not {made}")
    return same(o)


_LEAST_LOOKED_UP, _MOST_LOOKED_UP = 2.0**-31 / (3 * 4096), 2.0**31 / (3 * 4096)
"""Of int16 a table is looked up at steps of 1 / (3 * 4096), to which TFLite brings a scale by 32 bits and 31 shifts."""


def _looked_up(o: Operands) -> Shapes:
    """TFLite's answers are undefined, and not told so, where a scale cannot be brought to the table's."""
    tensor = o.tensor(0)
    if tensor.dtype == np.int16 and tensor.quantization is not None:
        scale = float(tensor.quantization.scale[0])
        fits = _LEAST_LOOKED_UP <= scale < _MOST_LOOKED_UP
        require(fits, f"`{tensor.name}` has a scale of {scale:g}, which TFLite cannot bring to its table's")
    return same(o)


def _pointwise(lw: Lowering, op: Op) -> None:
    """Value by value."""
    i = op.inputs[0]
    axis = lw.stream(op, i).axis
    lw.emit(op, [lw.operand(i)], axis, options=from_file(operation(op.kind).options, op))


def _cast(lw: Lowering, op: Op) -> None:
    """Another type; of complex numbers the real part."""
    stream, target = lw.stream(op, op.inputs[0]), lw.graph.tensors[op.outputs[0]]
    if target.dtype.kind == "c":
        lw.refuse(op, "makes complex numbers of real ones")
    if stream.imaginary is None:
        return _pointwise(lw, op)
    if target.dtype != np.float32:
        lw.refuse(op, f"makes {target.dtype} of complex numbers")
    lw.streams[op.outputs[0]] = replace(stream, imaginary=None)


def _along_last_axis(lw: Lowering, op: Op) -> None:
    """Over the last axis of a frame, which must not be time."""
    i = op.inputs[0]
    if lw.stream(op, i).axis == len(lw.shape(i)) - 1:
        lw.refuse(op, "normalises over time")
    _pointwise(lw, op)


def _function(
    kind: str,
    *types: str,
    of: Callable[[Array], Array] | None = None,
    shapes: Callable[[Operands], Shapes] = same,
    keeps_numbers: bool = False,
) -> Operation:
    """A function of one value, without options; ``of`` is what it computes of constants without a scale.

    Without an integer type among ``types`` it has none, and so for real numbers and conditions.
    """
    kinds = {np.dtype(name).kind for name in types}

    def demands(o: Operands) -> None:
        tensor = o.tensor(0)
        require(tensor.dtype.kind.replace("u", "i") in kinds, f"`{tensor.name}` is {tensor.dtype}")

    def fold(op: Op, inputs: list[Tensor], output: Tensor) -> Array:
        assert of is not None
        return np.asarray(of(data_of(inputs[0]))).astype(output.dtype)

    plain = None if of is None else fold
    return Operation(
        kind,
        Rule(shapes=shapes, demands=demands),
        lower=_pointwise,
        types=types,
        fold=plain,
        folds_plain_numbers=True,
        batch=batch_rules.kept,
        keeps_numbers=keeps_numbers,
    )


def _has_lengths(o: Operands) -> None:
    tensor = o.tensor(0)
    require(tensor.dtype in (np.float32, np.int8, np.uint8), f"`{tensor.name}` is {tensor.dtype}")


_LEAST_LENGTH = np.array([1e-6], np.float32)


def _unit_length(lw: Lowering, op: Op) -> None:
    """Vectors along the last axis, each divided by its length: for float32 said by what it is made of."""
    i = op.inputs[0]
    stream, like = lw.stream(op, i), lw.graph.tensors[i]
    if stream.axis == len(lw.shape(i)) - 1:
        lw.refuse(op, "normalises over time")
    operand = lw.operand(i)
    if like.dtype != np.float32:
        return lw.emit(op, [operand], stream.axis)
    whole = operand[1]
    one, frames = (*whole[:-1], 1), stream.window_frames
    sums = StatisticOptions(Statistic.SUM, (len(whole),))
    # Unlike a product a square may be infinite, as the sum of the reference kernel is.
    made = lw.step(op, [operand], like, whole, frames, SQUARE.kind)
    made = lw.step(op, [made], like, one, frames, Statistic.SUM.value, options=sums)
    made = lw.step(op, [made], like, one, frames, SQRT.kind)
    least = lw.add_constant(Tensor("least length", (1,), like.dtype), _LEAST_LENGTH), (1,)
    # In this order a length that is no number stays none.
    made = lw.step(op, [least, made], like, one, frames, MAXIMUM.kind)
    return lw.emit(op, [operand, made], stream.axis, kind=DIV.kind, options=ActivationOptions())


_ALL = ("float32", "int8", "int16")

SQUARE = _function("SQUARE", "float32", of=np.square, keeps_numbers=True)
SQRT = _function("SQRT", "float32", of=np.sqrt)
SOFTMAX = Operation(
    "SOFTMAX",
    Rule(options={"beta": REAL}),
    SoftmaxOptions,
    lower=_along_last_axis,
    types=_ALL,
    batch=batch_rules.along_last,
    keeps_numbers=True,
)

LOGISTIC = _function(
    "LOGISTIC", *_ALL, of=lambda x: np.reciprocal(1 + np.exp(np.negative(x))), shapes=_looked_up, keeps_numbers=True
)
TANH = _function("TANH", *_ALL, of=np.tanh, shapes=_looked_up, keeps_numbers=True)
RELU = _function("RELU", *_ALL, of=lambda x: np.maximum(x, 0), keeps_numbers=True)
RELU6 = _function("RELU6", *_ALL, of=lambda x: np.clip(x, 0, 6), keeps_numbers=True)
RELU_N1_TO_1 = _function("RELU_N1_TO_1", "float32", "int8", of=lambda x: np.clip(x, -1, 1), keeps_numbers=True)
RSQRT = _function("RSQRT", *_ALL, of=lambda x: np.reciprocal(np.sqrt(x)))
CAST = Operation(
    "CAST",
    Rule(retyped=True, scaled=False),
    lower=_cast,
    fold=lambda op, ins, out: data_of(ins[0]).astype(out.dtype),
    complex_numbers=True,
    types=("float32", "int8", "int16", "int32", "int64", "bool"),
)


QUANTIZE = Operation(
    "QUANTIZE",
    Rule(shapes=_quantized, retyped=True),
    lower=_pointwise,
    types=("float32", "int8", "uint8", "int16", "int32"),
)

DEQUANTIZE = Operation(
    "DEQUANTIZE",
    Rule(shapes=_dequantized, retyped=True, scaled=False),
    lower=_pointwise,
    fold=lambda op, ins, out: dequantize(ins[0]),
    types=("float16", "int8", "uint8", "int16"),
    batch=batch_rules.kept,
)

L2_NORMALIZATION = Operation(
    "L2_NORMALIZATION",
    Rule(demands=_has_lengths, options={"fused_activation_function": one_of("NONE")}),
    lower=_unit_length,
    types=("int8",),
    batch=batch_rules.along_last,
)

OPERATIONS = (
    LOGISTIC,
    TANH,
    RELU,
    RELU6,
    RELU_N1_TO_1,
    _function("RELU_0_TO_1", "float32", "int8", of=lambda x: np.clip(x, 0, 1), keeps_numbers=True),
    Operation(
        "LEAKY_RELU", Rule(options={"alpha": REAL}), SlopeOptions, lower=_pointwise, types=_ALL, keeps_numbers=True
    ),
    _function("ELU", "float32", "int8", keeps_numbers=True),
    Operation(
        "GELU",
        Rule(options={"approximate": FLAG}),
        GeluOptions,
        lower=_pointwise,
        types=("float32", "int8"),
        keeps_numbers=True,
    ),
    _function("HARD_SWISH", "float32", "int8", keeps_numbers=True),
    _function("ABS", *_ALL, "int32", of=np.abs, keeps_numbers=True),
    _function("NEG", *_ALL, "int32", "int64", of=np.negative, keeps_numbers=True),
    _function("EXP", *_ALL, of=np.exp),
    _function("LOG", *_ALL, of=np.log),
    RSQRT,
    SQRT,
    SQUARE,
    _function("SIN", "float32", of=np.sin),
    _function("COS", "float32", of=np.cos),
    _function("FLOOR", "float32", of=np.floor),
    _function("CEIL", "float32", of=np.ceil),
    _function("ROUND", "float32", of=np.rint),
    _function("SIGN", "float32", "int32", of=np.sign),
    _function("LOGICAL_NOT", "bool", of=np.logical_not),
    SOFTMAX,
    Operation("LOG_SOFTMAX", Rule(), lower=_along_last_axis, types=("float32", "int8"), batch=batch_rules.along_last),
    L2_NORMALIZATION,
    QUANTIZE,
    DEQUANTIZE,
    CAST,
)
