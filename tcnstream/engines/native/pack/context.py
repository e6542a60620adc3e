"""What a packer is given and what it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

from tcnstream.compiler.operations.convolution import ConvolutionOptions
from tcnstream.compiler.plan import Node, Plan
from tcnstream.engines.native.layout.codes import Family
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.layout.record import Record
from tcnstream.engines.reference.kernels import KernelContext
from tcnstream.engines.reference.kernels.context import facts_of, is_quantized
from tcnstream.engines.reference.kernels.fixed_point import activation_range
from tcnstream.engines.registry import Registry
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Tensor


@dataclass(frozen=True, eq=False)
class Packed:
    """One node as the core sees it.

    ``operands`` are the tensors that it reads as streams, ``op`` says which of the kind's functions it is, ``taps``
    how many rows one output position reads; ``behind`` stands behind the arguments, which say that it does.
    """

    kind: Kind
    operands: tuple[int, ...]
    arguments: Record | None
    op: int = 0
    taps: int = 1
    behind: Record | None = None


def unsupported(node: Node, what: str = "") -> EngineError:
    """What is raised for an operation, or a use of it, that the core does not have."""
    name = f"`{node.kind_in_file}`" + (f" with {what}" if what else "")
    return EngineError(
        f"the native engine lacks {name} (op {node.index}, `{node.label}`);"
        ' use engine="interpreter" or engine="reference"'
    )


@dataclass(frozen=True, eq=False)
class Context:
    """One node of a plan, the rounding of its dense layers, and the processors for which it is packed."""

    plan: Plan
    node: Node
    rounding: str
    family: Family = Family.PORTABLE

    @cached_property
    def facts(self) -> KernelContext:
        """What a kernel is given, without frames: for the functions that only read facts from it."""
        return facts_of(self.plan, self.node, self.rounding)

    @property
    def source(self) -> Tensor:
        return self.plan.tensors[self.node.inputs[0]]

    @property
    def target(self) -> Tensor:
        return self.plan.tensors[self.node.outputs[0]]

    @property
    def streams(self) -> tuple[int, ...]:
        """The inputs that are no constants."""
        return tuple(i for i in self.node.inputs if i >= 0 and self.plan.tensors[i].data is None)

    def unsupported(self, what: str = "") -> EngineError:
        return unsupported(self.node, what)


Packer: TypeAlias = Callable[[Context], Packed]

PACKERS: Registry[Packer] = Registry("tcnstream.engines.native.pack")
"""Operation of the Plan -> how it is packed."""

packs = PACKERS.enter


def range_or_zero(facts: KernelContext) -> tuple[int, int]:
    """The least and the greatest integer that an activation lets through, (0, 0) for what has no scale."""
    return activation_range(facts, facts.activation, facts.output) if is_quantized(facts.output) else (0, 0)


class Frequency(NamedTuple):
    """How a window moves along the frequency axis."""

    stride: int = 1
    dilation: int = 1
    pad_begin: int = 0


def frequency(context: Context) -> Frequency:
    """How the node's window moves along the frequency axis."""
    options = context.node.options_of(ConvolutionOptions)
    return Frequency(options.stride_f, options.dilation_f, options.pad_f_begin)
