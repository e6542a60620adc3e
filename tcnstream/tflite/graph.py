"""What a model file says, as frozen facts: Graph, Tensor, Op, Quantization.

A Graph is one subgraph of a .tflite file. Tensors are addressed by their position in
``Graph.tensors``; operations stand in execution order. Constants carry their data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tcnstream.errors import ModelError

Array: TypeAlias = npt.NDArray[np.generic]
Shape: TypeAlias = tuple[int, ...]
OptionValue: TypeAlias = int | float | bool | str | tuple[int, ...]

ABSENT = -1
"""An optional operand that the file leaves out (TFLite writes -1)."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """Affine quantization: real = scale * (q - zero_point).

    ``scale`` (float32) and ``zero_point`` (int64) have one entry (per tensor) or one per slice
    along ``axis`` (per channel).
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        return self.scale.size > 1


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph. ``data`` is there for constants only (read-only, ``shape``-shaped).

    ``open_axes`` are the axes whose length the file leaves open (-1 in its shape signature); ``shape`` has 1 there.
    ``is_variable``: a kernel keeps in it what it needs the next time; no operation computes it.
    """

    name: str
    shape: Shape
    dtype: np.dtype[np.generic]
    quantization: Quantization | None = None
    data: Array | None = None
    open_axes: tuple[int, ...] = ()
    is_variable: bool = False

    @property
    def is_constant(self) -> bool:
        return self.data is not None


UNUSABLE_SCALE = "has a quantization scale that is not a positive number"


def has_usable_scale(tensor: Tensor) -> bool:
    """Whether a tensor that has one scale has one above 0."""
    q = tensor.quantization
    return q is None or q.scale.size != 1 or q.scale[0] != 0


def scaled_zeros(tensor: Tensor) -> Tensor:
    """A constant of zeros with the least scale where the file states 0, so that nothing divides by it.

    Zeros are zeros at any scale, and converters state 0 for them.
    """
    if has_usable_scale(tensor) or tensor.data is None or tensor.data.any() or tensor.quantization is None:
        return tensor
    least = np.full(1, np.finfo(np.float32).tiny)
    least.flags.writeable = False
    return replace(tensor, quantization=replace(tensor.quantization, scale=least))


@dataclass(frozen=True, eq=False)
class Op:
    """One operation.

    ``kind`` is the schema's name (``"CONV_2D"``); ``options`` are the schema's builtin options with
    the schema's own field names and enum values as their names (``{"padding": "SAME",
    "stride_w": 1, "fused_activation_function": "RELU6"}``). ``index`` is the position in the file.
    ``intermediates`` are tensors that only say how a kernel rounds between its steps.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    index: int = -1
    intermediates: tuple[int, ...] = ()

    def integer(self, name: str, default: int) -> int:
        """An integer option of this operation; ModelError where the file has something else there."""
        value = self.options.get(name, default)
        if not isinstance(value, int):
            raise ModelError(f"`{self.kind}` (op {self.index}) has {name}={value!r}, where an integer belongs")
        return int(value)


@dataclass(frozen=True, eq=False)
class Graph:
    """One subgraph: tensors, operations in execution order, and which tensors are its ends.

    ``siblings`` are all graphs of the file, this one among them, by the numbers by which operations call them.
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = ""
    siblings: tuple[Graph, ...] = ()


@dataclass(frozen=True)
class Signature:
    """A way to call a file by name: one of its graphs, and what the converter calls that graph's ends.

    ``inputs`` and ``outputs`` have the tensors of graph ``graph`` by their names.
    """

    name: str
    graph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class ModelFile:
    """All of a .tflite file: its subgraphs, its bytes and where they came from.

    ``signature`` is the one that is streamed; without one the first graph is the model.
    """

    graphs: tuple[Graph, ...]
    sha256: str
    source: str = "<bytes>"
    description: str = ""
    content: bytes = b""
    signatures: tuple[Signature, ...] = ()
    signature: Signature | None = None

    @property
    def main(self) -> Graph:
        """The graph that is streamed."""
        return self.graphs[0 if self.signature is None else self.signature.graph]

    @property
    def is_main_first(self) -> bool:
        """Whether the graph that is streamed is the one that an interpreter runs unasked."""
        return self.main is self.graphs[0]

    def called(self, name: str | None) -> ModelFile:
        """The file with the signature ``name``; None takes the one of the first graph, which may have none.

        Raises ModelError where the file has no such signature.
        """
        if name is None:
            return replace(self, signature=next((s for s in self.signatures if s.graph == 0), None))
        for signature in self.signatures:
            if signature.name == name:
                return replace(self, signature=signature)
        known = ", ".join(f"`{s.name}`" for s in self.signatures) or "none"
        raise ModelError(f"{self.source} has no signature `{name}`; it has {known}")

    def name_of(self, tensor: int) -> str:
        """What the signature calls an input or output of the main graph; the tensor's own name where it has none."""
        if self.signature is not None:
            for ends in (self.signature.inputs, self.signature.outputs):
                for name, i in ends.items():
                    if i == tensor:
                        return name
        return self.main.tensors[tensor].name

    @property
    def is_stateful(self) -> bool:
        """Whether the model keeps state of its own, in resource variables."""
        kinds = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
        return any(op.kind in kinds for op in self.main.ops)
