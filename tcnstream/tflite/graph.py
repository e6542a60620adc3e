"""What a model file says, as frozen facts: Graph, Tensor, Op, Quantization.

A Graph is one subgraph of a .tflite file. Tensors are addressed by their position in
``Graph.tensors``; operations stand in execution order. Constants carry their data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """

    name: str
    shape: Shape
    dtype: np.dtype[np.generic]
    quantization: Quantization | None = None
    data: Array | None = None
    open_axes: tuple[int, ...] = ()

    @property
    def is_constant(self) -> bool:
        return self.data is not None


@dataclass(frozen=True, eq=False)
class Op:
    """One operation.

    ``kind`` is the schema's name (``"CONV_2D"``); ``options`` are the schema's builtin options with
    the schema's own field names and enum values as their names (``{"padding": "SAME",
    "stride_w": 1, "fused_activation_function": "RELU6"}``). ``index`` is the position in the file.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    index: int = -1

    def integer(self, name: str, default: int) -> int:
        """An integer option of this operation; ModelError where the file has something else there."""
        value = self.options.get(name, default)
        if not isinstance(value, int):
            raise ModelError(f"`{self.kind}` (op {self.index}) has {name}={value!r}, where an integer belongs")
        return int(value)


@dataclass(frozen=True, eq=False)
class Graph:
    """One subgraph: tensors, operations in execution order, and which tensors are its ends."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = ""


@dataclass(frozen=True, eq=False)
class ModelFile:
    """All of a .tflite file: its subgraphs (the first one is the model), its bytes and where they came from."""

    graphs: tuple[Graph, ...]
    sha256: str
    source: str = "<bytes>"
    description: str = ""
    content: bytes = b""

    @property
    def is_stateful(self) -> bool:
        """Whether the model keeps state of its own, in resource variables."""
        kinds = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
        return any(op.kind in kinds for op in self.graphs[0].ops)
