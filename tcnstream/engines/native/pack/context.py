"""What a packer is given and what it makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from tcnstream.compiler.plan import Node, Plan
from tcnstream.engines.reference.kernels import Call
from tcnstream.engines.reference.kernels.call import is_quantized
from tcnstream.engines.reference.kernels.fixed_point import CLIPS, activation_range
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array, Tensor

KINDS = (
    "",
    "CONV",
    "DEPTHWISE",
    "TRANSPOSE_CONV",
    "POOL",
    "BINARY",
    "UNARY",
    "TABLE",
    "TABLE16",
    "SIGMOID16",
    "SOFTMAX",
    "MOVE",
    "TIME_MOVE",
    "QUANTIZE",
    "RESCALE",
    "REDUCE",
    "TRAILING",
    "CUMULATIVE",
    "RESAMPLE",
    "PAIR",
    "SELECT",
    "VALUE",
    "EXTREME",
)
"""The core's operations by number."""


F32_MAX = float(np.finfo(np.float32).max)


Blob: TypeAlias = bytes
Arguments: TypeAlias = list[tuple[str, Any]]
"""(struct code, value) per field; a ``bytes`` value is a blob whose offset is written, None is offset 0."""


@dataclass(frozen=True, eq=False)
class Packed:
    """One node as the core sees it: its operation, the streams that it reads, its arguments."""

    kind: str
    op: int
    operands: tuple[int, ...]
    arguments: Arguments
    taps: int = 1


def lacks(node: Node, what: str = "") -> EngineError:
    name = f"`{node.options.get('reduce', node.kind)}`" + (f" with {what}" if what else "")
    return EngineError(
        f"the native engine lacks {name} (op {node.index}, `{node.label}`);"
        ' use engine="interpreter" or engine="reference"'
    )


@dataclass(frozen=True, eq=False)
class Context:
    plan: Plan
    node: Node
    rounding: str

    @cached_property
    def call(self) -> Call:
        """A call without frames, for the functions that read facts from it."""
        facts: list[Tensor | None] = []
        arrays: list[Array | None] = []
        for i, view in zip(self.node.inputs, self.node.views, strict=True):
            tensor = None if i < 0 else self.plan.tensors[i]
            facts.append(None if tensor is None else dataclasses.replace(tensor, shape=view))
            arrays.append(None if tensor is None or tensor.data is None else tensor.data.reshape(view))
        return Call(
            node=self.node,
            inputs=tuple(facts),
            arrays=tuple(arrays),
            outputs=tuple(self.plan.tensors[o] for o in self.node.outputs),
            n_frames=0,
            valid=(0, 0),
            rounding=self.rounding,
        )

    @property
    def source(self) -> Tensor:
        return self.plan.tensors[self.node.inputs[0]]

    @property
    def target(self) -> Tensor:
        return self.plan.tensors[self.node.outputs[0]]

    @property
    def streams(self) -> tuple[int, ...]:
        return tuple(i for i in self.node.inputs if i >= 0 and self.plan.tensors[i].data is None)

    def lacks(self, what: str = "") -> EngineError:
        return lacks(self.node, what)


Packer: TypeAlias = Callable[[Context], Packed]


def range_or_zero(call: Call) -> tuple[int, int]:
    return activation_range(call, call.activation, call.output) if is_quantized(call.output) else (0, 0)


def float_range(call: Call) -> tuple[float, float]:
    """``CalculateActivationRange``: infinities become the largest finite number."""
    low, high = CLIPS.get(call.activation, (None, None))
    return (-F32_MAX if low is None else low), (F32_MAX if high is None else high)


def frequency(context: Context) -> tuple[int, int, int]:
    call = context.call
    return call.integer("stride_f", 1), call.integer("dilation_f", 1), call.integer("pad_f_begin", 0)
