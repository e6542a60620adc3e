"""How a stream is to compute: the choices that a stream, a pool, a plan file and a pipeline share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tcnstream.tflite.graph import Array


@dataclass(frozen=True)
class StreamOptions:
    """What ``Model.stream`` takes by the same names, which are said there."""

    engine: str = "auto"
    time_pooling: str | None = None
    calibration: Array | Sequence[Array] | None = None
    exact: bool = True
    rounding: str = "litert"
    rate_hz: float | None = None
