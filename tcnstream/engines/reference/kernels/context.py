"""What a kernel is given: one node, its operands' facts and arrays, and which frames to compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.operations.dense import BATCH_MATMUL, FULLY_CONNECTED
from tcnstream.compiler.plan import ActivationOptions, Node, Options, Plan
from tcnstream.engines.registry import Registry
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array, Quantization, Tensor

Ints: TypeAlias = npt.NDArray[np.int64]
Doubles: TypeAlias = npt.NDArray[np.float64]
Reals: TypeAlias = npt.NDArray[np.floating[Any]]

_Family = TypeVar("_Family", bound=Options)


@dataclass(frozen=True, eq=False, kw_only=True)
class KernelContext:
    """One invocation of a kernel.

    ``inputs`` and ``outputs`` are the operands' facts; a streamed tensor's ``shape`` is that of a
    frame, a constant's is whole. ``arrays`` are streams ``(t, *frame_shape)``, already cut to the
    frames that are needed, padded in time and seen as the node's ``views`` say, or whole constants
    in canonical layout. The kernel
    returns ``n_frames`` frames per output, the first of them being frame ``first_frame``.
    ``first_input_frame`` is the signal's index of ``arrays[0][0]`` (negative in the left padding);
    ``valid`` is the part [begin, end) of ``arrays[0]`` along time that is signal, not padding.
    ``rounding`` is ``"litert"``, or ``"tflm"`` where FULLY_CONNECTED rounds twice. ``carry`` is the running value of a
    node that hands one to its next invocation, None at the start of the stream. ``fed_back`` are the frames that a
    state shows, from the one before ``first_frame`` on.
    """

    node: Node
    inputs: tuple[Tensor | None, ...]
    arrays: tuple[Array | None, ...]
    outputs: tuple[Tensor, ...]
    n_frames: int
    valid: tuple[int, int]
    first_frame: int = 0
    first_input_frame: int = 0
    rounding: str = "litert"
    carry: Array | None = None
    fed_back: Array | None = None

    @property
    def output(self) -> Tensor:
        return self.outputs[0]

    def tensor(self, position: int) -> Tensor:
        """The facts of an operand that must be there."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if tensor is None:
            raise EngineError(f"{self.node.kind} ({self.node.label}) lacks operand {position}; the file is incomplete.")
        return tensor

    def array(self, position: int) -> Array:
        """The values of an operand that must be there."""
        array = self.arrays[position] if position < len(self.arrays) else None
        if array is None:
            raise EngineError(f"{self.node.kind} ({self.node.label}) lacks operand {position}; the file is incomplete.")
        return array

    def optional(self, position: int) -> Array | None:
        """The values of an operand that a file may leave out, such as a bias."""
        return self.arrays[position] if position < len(self.arrays) else None

    def options(self, family: type[_Family]) -> _Family:
        """The node's options, which are those of ``family``."""
        return self.node.options_of(family)

    @property
    def activation(self) -> str:
        """The fused activation function's name in the schema, "NONE" when there is none."""
        options = self.node.options
        return options.activation if isinstance(options, ActivationOptions) else ActivationOptions.activation

    def unsupported(self, what: str) -> EngineError:
        """The error for a form of this operation that the reference kernels do not have either."""
        return EngineError(
            f"{self.node.kind} ({self.node.label}) with {what} has no reference arithmetic; "
            "convert the model with another type for this operation."
        )


def facts_of(plan: Plan, node: Node, rounding: str = "litert") -> KernelContext:
    """What a kernel is given for a node of a plan, without frames: for functions that only read facts from it."""
    tensors = [
        None if i < 0 else replace(plan.tensors[i], shape=v) for i, v in zip(node.inputs, node.views, strict=True)
    ]
    return KernelContext(
        node=node,
        inputs=tuple(tensors),
        arrays=tuple(None if t is None or t.data is None else t.data.reshape(t.shape) for t in tensors),
        outputs=tuple(plan.tensors[o] for o in node.outputs),
        n_frames=0,
        valid=(0, 0),
        rounding=rounding,
    )


Kernel: TypeAlias = Callable[[KernelContext], tuple[Array, ...]]
"""The frames of each output; a node that carries a running value gives the new one behind them."""

KERNELS: Registry[Kernel] = Registry("tcnstream.engines.reference.kernels")

Undefined: TypeAlias = Callable[[KernelContext], str | None]
"""What TFLite's kernel has no answer for, of a node with these facts; None where it has one."""

UNDEFINED: dict[str, Undefined] = {}
"""Quantized operations of the file whose kernels leave C's rules, or end the process, at some scales."""


def kernel(*kinds: str, undefined: Undefined | None = None) -> Callable[[Kernel], Kernel]:
    """A decorator: what follows is the kernel of these operations, ``undefined`` says where TFLite's is."""
    if undefined is not None:
        UNDEFINED.update(dict.fromkeys(kinds, undefined))
    return KERNELS.enter(*kinds)


def quantization_of(context: KernelContext, tensor: Tensor) -> Quantization:
    """The quantization that an integer tensor must have."""
    if tensor.quantization is None:
        raise context.unsupported(f"{tensor.dtype} tensor {tensor.name!r} without quantization")
    return tensor.quantization


_QUANTIZED = (np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.int16))


def is_quantized(tensor: Tensor) -> bool:
    """Whether the tensor's integers stand for real numbers (uint8, int8 or int16 with a scale)."""
    return tensor.dtype in _QUANTIZED and tensor.quantization is not None


def scale_of(context: KernelContext, tensor: Tensor) -> np.float32:
    """Per-tensor scale, as the float32 that the file holds."""
    return np.float32(quantization_of(context, tensor).scale.flat[0])


def zero_point_of(context: KernelContext, tensor: Tensor) -> int:
    """Per-tensor zero point."""
    return int(quantization_of(context, tensor).zero_point.flat[0])


def weight_zero_point(context: KernelContext) -> int:
    """The zero point of the weights, operand 1, as far as the reference kernels subtract one.

    That of dense layers with one scale, and of constant matrices; all other weights are symmetric by specification,
    and a zero point in their file is not read.
    """
    weights = quantization_of(context, context.tensor(1))
    if context.node.kind_in_file in (FULLY_CONNECTED.kind, BATCH_MATMUL.kind) and not weights.per_channel:
        return int(weights.zero_point.flat[0])
    return 0


def has_wide_sums(context: KernelContext) -> bool:
    """Whether products are summed in 64 bits: those of int16, unless the bias is one of 32."""
    bias = context.optional(2)
    return context.output.dtype == np.int16 and (bias is None or bias.dtype == np.int64)


def ints_without_zero_point(context: KernelContext, position: int) -> Ints:
    """An integer operand minus its per-tensor zero point."""
    return context.array(position).astype(np.int64) - zero_point_of(context, context.tensor(position))


def as_frames(context: KernelContext, values: Array, output: int = 0) -> Array:
    """``values`` as ``n_frames`` frames of the output's shape and type."""
    tensor = context.outputs[output]
    return values.astype(tensor.dtype, copy=False).reshape((context.n_frames, *tensor.shape))
