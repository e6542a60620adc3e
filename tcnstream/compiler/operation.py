"""What the compiler knows of one operation, in one record; ``operations/`` has a file of them per family."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.batch_rules import Follow
from tcnstream.compiler.lowering import Lowering
from tcnstream.compiler.plan import ActivationOptions, Node, Options, Plan
from tcnstream.tflite.graph import Array, Op, OptionValue, Tensor
from tcnstream.tflite.validate import Rule

O = TypeVar("O", bound=Options)  # noqa: E741 (the letter of options)

Lower: TypeAlias = Callable[[Lowering, Op], None]
"""Says an operation of the file over frames: appends nodes, makes an alias, or refuses by name."""

Fold: TypeAlias = Callable[[Op, list[Tensor], Tensor], Array | tuple[Array, ...]]
"""What an operation gives when all of its operands are constants, an array for each output of several; the last
argument is its (first) output.
"""


def folded(fold: Fold, op: Op, operands: list[Tensor], output: Tensor) -> tuple[Array, ...]:
    """What ``fold`` gives for each output of ``op``."""
    made = fold(op, operands, output)
    return made if isinstance(made, tuple) else (made,)


Refusal: TypeAlias = Callable[[Op], str]
"""Why an operation of the file has no streaming form."""

Weighed: TypeAlias = Callable[[Lowering, Op, Node, npt.NDArray[np.float64]], int | None]
"""The plan's value of the frames of a node times a weight each, said by another node; None: nothing says it."""

MultiplyAdds: TypeAlias = Callable[[Plan, Node], int]
"""Multiply-adds for one output frame of a node."""


def no_multiply_adds(plan: Plan, node: Node) -> int:
    return 0


def multiply_adds_per_value(plan: Plan, node: Node, products: int) -> int:
    """``products`` for each value of an output frame."""
    return products * math.prod(plan.tensors[node.outputs[0]].shape)


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of the file format, or one that the compiler makes itself.

    ``rule`` is what its operands and options must be in a file, and what shapes follow from them; None for what no
    file has, or what is refused anyway. ``options`` is the type of a node's options. Without ``lower`` it has no
    streaming form, and ``refusal`` says why. ``fold`` computes what converters leave on constants: with
    ``folds_shapes`` from the operands' shapes alone, with ``folds_plain_numbers`` only where neither scales nor an
    activation are in play. ``types`` are the value types of its nodes in which TFLite's reference kernels
    have it; the random trials draw each of them. ``batch`` says where a batch lies in its outputs; without it the batch
    stays where ``rule`` keeps or spreads the operands' shape, and counts as mixed elsewhere. ``weighed`` says its
    frames where those at the ends of the window are multiplied.

    The flags say what passes over a graph or a plan must know, so that none of them needs to know kinds.
    """

    kind: str
    rule: Rule | None = None
    options: type[Options] = Options
    lower: Lower | None = None
    refusal: str | Refusal = "has no streaming form here"
    fold: Fold | None = None
    folds_shapes: bool = False
    folds_plain_numbers: bool = False
    multiply_adds: MultiplyAdds = no_multiply_adds
    weighed: Weighed | None = None
    types: tuple[str, ...] = ()
    batch: Follow | None = None
    is_convolution: bool = False
    """Padding in front of it can become its own, and SPACE_TO_BATCH_ND around it its dilation."""
    slides_kernel: bool = False
    """Moves a kernel, its operand 1, along height and width."""
    complex_numbers: bool = False
    """Takes or gives complex numbers, as pairs of streams."""
    reshapes: bool = False
    """A reshape in one of its spellings."""
    moves_values: bool = False
    """Gives each frame's values in another order or shape, and nothing else."""
    keeps_numbers: bool = False
    """Makes no NaN of numbers, as a root, a logarithm or a quotient may."""
    takes_picked: bool = False
    """Reads frames picked from a window before it is known what they add up to; for others they are settled."""
    skips_padding: bool = False
    """Padding does not count: it is not the constant ``Node.fill``."""
    table: int | None = None
    """Which operand is a table, where the other one has the numbers of its rows."""
    cuts_frames: bool = False
    """Makes several frames out of one, of which the file does not say which stands where the one stood."""
    remembers_all: bool = False
    """Depends on all of the past."""
    over_time: bool = False
    """A statistic of frames at different times."""
    carries: bool = False
    """Hands a running value from one call to the next."""


_NAME_IN_FILE = {"activation": "fused_activation_function"}


def from_file(family: type[O], op: Op) -> O:
    """The options of ``op`` as its family's dataclass: the fields that a file has, under the schema's names."""
    values = {}
    for field in dataclasses.fields(family):
        name = _NAME_IN_FILE.get(field.name, field.name)
        if name in op.options:
            values[field.name] = op.options[name]
    return family(**values)


def to_file(options: Options) -> dict[str, OptionValue]:
    """The inverse of ``from_file``, for families whose fields are all the schema's."""
    values = {_NAME_IN_FILE.get(f.name, f.name): getattr(options, f.name) for f in dataclasses.fields(options)}
    if isinstance(options, ActivationOptions):
        values[_NAME_IN_FILE["activation"]] = options.activation_in_file
    return values
