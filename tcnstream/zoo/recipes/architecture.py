"""A small separable network: its units, where each parameter lies in one flat vector, and what computes over it.

It is exactly what ``tcnstream.zoo.tcn`` builds from ``mb`` blocks with batch norm. ``compiled_step`` and ``jax_step``
are the two that compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tcnstream.errors import ModelError
from tcnstream.zoo.tcn_params import TcnParams

Floats = npt.NDArray[np.float32]
Place = tuple[slice, tuple[int, ...]]

MAX_TAPS = 9
EPSILON = 1e-3
"""Of the batch norms, as in separable.c."""


@dataclass(frozen=True)
class Unit:
    """A depthwise and a pointwise convolution. Tap k reads frame ``t - past + k * dilation``.

    ``skip`` is the unit whose input is added to this one's output, or -1. ``name`` is the layers' prefix.
    """

    taps: int
    dilation: int
    past: int
    skip: int
    name: str

    @property
    def look_ahead(self) -> int:
        """Frames."""
        return (self.taps - 1) * self.dilation - self.past


def units_of(stages: Sequence[TcnParams]) -> tuple[int, list[Unit]]:
    """Channels and units of a chain of networks, the last one with the classes on top.

    Raises ModelError if the parameters say something that this program does not train.
    """
    channels = {block.filters for stage in stages for block in stage.blocks}
    if len(channels) != 1 or next(iter(channels)) % 16:
        raise ModelError(f"separable: the blocks have {sorted(channels)} filters; one multiple of 16 is needed.")
    units: list[Unit] = []
    for s, stage in enumerate(stages):
        for b, block in enumerate(stage.blocks):
            where = f"separable: stage {s}, block {b}"
            taps, dilation = (
                extent[1] if isinstance(extent, tuple) else extent for extent in (block.kernel, block.dilation)
            )
            expands = int(block.filters * block.ex_ratio) if block.ex_ratio != 1 else None
            wanted = block.filters if s == b == 0 else None
            if stage.block_type != "mb" or block.norm != "batch" or block.activation != "relu6" or block.se_ratio:
                raise ModelError(f"{where}: only mb blocks with batch norm and relu6, without squeeze-excite.")
            if block.branch != 1 or block.dropout or taps > MAX_TAPS or taps % 2 == 0 or expands != wanted:
                raise ModelError(
                    f"{where}: only one branch, no dropout, an odd kernel up to {MAX_TAPS}, and the first block alone "
                    "expanding, to its own number of filters."
                )
            past = (taps - 1) * dilation if stage.padding == "causal" else (taps - 1) * dilation // 2
            first = len(units)
            for d in range(1, block.depth + 1):
                joins = first if d == block.depth and (s or b) else -1
                units.append(Unit(taps, dilation, past, joins, f"{s}:B{b + 1}.D{d}"))
        top = s == len(stages) - 1
        if stage.include_top != top or stage.input_kernel is not None or (top and stage.output_kernel != 1):
            raise ModelError(f"separable: stage {s}: no input kernel, and the last stage alone with a 1-frame top.")
    return next(iter(channels)), units


@dataclass(frozen=True)
class Architecture:
    """A stem, units and a head; the last ``marks`` of the ``classes`` are yes-or-no questions of their own."""

    channels: int
    units: tuple[Unit, ...]
    inputs: int = 1
    classes: int = 4
    marks: int = 0

    @cached_property
    def parts(self) -> dict[str, Place]:
        """Name ("stem.w", "0:B1.D1.dw", ...) -> place and shape in the flat vector, in its order."""
        c = self.channels
        shapes: dict[str, tuple[int, ...]] = {"stem.w": (self.inputs, c), **_norm("stem", c)}
        for u in self.units:
            shapes |= {f"{u.name}.dw": (u.taps, c), **_norm(f"{u.name}.dw", c)}
            shapes |= {f"{u.name}.pw": (c, c), **_norm(f"{u.name}.pw", c)}
        shapes |= {"head.w": (c, self.classes), "head.b": (self.classes,)}
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()]).tolist()
        starts = [0, *ends[:-1]]
        return {n: (slice(a, b), shape) for (n, shape), a, b in zip(shapes.items(), starts, ends, strict=True)}

    @property
    def norms(self) -> list[str]:
        """The batch norms, in the order of their statistics: a mean and a variance (channels) each."""
        return ["stem", *(f"{u.name}.{kind}" for u in self.units for kind in ("dw", "pw"))]

    @property
    def look_ahead(self) -> int:
        """Frames."""
        return sum(u.look_ahead for u in self.units)


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.gamma": (channels,), f"{name}.beta": (channels,)}


class Step(Protocol):
    """Computes over the frames of a batch: ``x`` (lanes, frames, inputs); vectors are flat float32.

    ``statistics`` are those of the batch norms, one after the other: on the batch itself, but for ``predict``, which
    takes them.
    """

    name: str
    """Where and with what it computes, for the log."""

    def learn(self, x: Floats, target: Floats, weight: Floats, parameters: Floats) -> tuple[float, Floats, Floats]:
        """The loss of ``Network.learn``, its gradient and the statistics."""
        ...

    def measure(self, x: Floats, parameters: Floats) -> Floats:
        """The statistics."""
        ...

    def predict(self, x: Floats, parameters: Floats, statistics: Floats) -> Floats:
        """Logits (lanes, frames, classes)."""
        ...
