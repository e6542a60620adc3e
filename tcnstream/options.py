"""StreamOptions: how a model is to be streamed, said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.policies import Policy, parse_policy
from tcnstream.engines.base import ENGINES, ROUNDINGS
from tcnstream.errors import StreamError
from tcnstream.tflite.graph import Array


@dataclass(frozen=True, eq=False)
class StreamOptions:
    """What ``Model.stream`` and ``Model.pool`` may be told; ``Model.open`` and ``Model.open_pool`` take it whole.

    ``engine``: "auto" (the fastest that has all operations), "native", "interpreter" or "reference".
    ``time_pooling``: the policy for operations over all of time, "trailing", "trailing:FRAMES", "cumulative" or
    "frozen" (which measures on ``calibration``, (frames, *frame_shape) per input in the model's dtype or float32).
    ``exact=False`` lets the native engine fuse multiply-adds of float32 and the interpreter engine use TFLite's fast
    kernels. ``rounding``: "litert", or "tflm" for what a board with TFLite Micro computes (its FULLY_CONNECTED rounds
    twice), which is exact; the interpreter engine has only "litert".
    ``rate_hz``: the input's sample rate (the first one's, if they differ), for ``Stream.times``. ``static``: the values
    of inputs that have no time, by name, each of the file's shape or without its batch; in a pool also (lanes, *shape).
    ``states``: what inputs that an output is fed back to begin as, likewise; zeros where left out.
    ``keep_tail``: a stream keeps its newest input frames, for ``Stream.tail``; a pool then pushes lane after lane.

    Raises StreamError for an unknown engine, policy or rounding, and for an ``exact`` that is neither True nor False.
    """

    engine: str = "auto"
    time_pooling: str | None = None
    calibration: Array | Sequence[Array] | None = None
    exact: bool = True
    rounding: str = "litert"
    rate_hz: float | None = None
    static: Mapping[str, npt.ArrayLike] | None = None
    states: Mapping[str, npt.ArrayLike] | None = None
    keep_tail: bool = False

    def __post_init__(self) -> None:
        if self.engine not in ("auto", *ENGINES):
            raise StreamError(
                f"engine={self.engine!r} is unknown; use 'auto' or one of {', '.join(map(repr, ENGINES))}"
            )
        if self.rounding not in ROUNDINGS:
            raise StreamError(f"rounding={self.rounding!r} is unknown; use {' or '.join(map(repr, ROUNDINGS))}")
        for name, said in (("exact", self.exact), ("keep_tail", self.keep_tail)):
            if not isinstance(said, bool | np.bool_):
                raise StreamError(f"{name}={said!r}; give True or False")
        if not self.exact and self.rounding != ROUNDINGS[0]:
            raise StreamError(
                f"rounding={self.rounding!r} asks for a board's own bits and exact=False gives them up;"
                " leave one of the two out"
            )
        _ = self.policy

    @property
    def policy(self) -> Policy | None:
        """``time_pooling`` as the compiler takes it."""
        return None if self.time_pooling is None else parse_policy(self.time_pooling)
