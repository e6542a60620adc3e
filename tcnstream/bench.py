"""What a push costs, against running the file's whole window again on every hop."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from tcnstream.engines import ENGINES
from tcnstream.engines.runtime import open_interpreter
from tcnstream.errors import EngineError
from tcnstream.graph import Array
from tcnstream.model import Model

HOPS_FRAMES = (1, 16, 160)

# All that is measured runs in one thread: its own processor time does not count what else the machine does.
_clock_ns = time.thread_time_ns if os.name == "posix" else time.perf_counter_ns


@dataclass(frozen=True)
class Measurement:
    """Median cost per input frame of pushing ``hop_frames`` at a time.

    ``window_us_per_frame`` is the same for the unmodified file: all of its window again for every hop (several windows
    where the hop is longer than one), by the interpreter's fast kernels on one thread. ``times_faster`` is their ratio,
    both measured in turns in the same run, in processor time of the one thread that computes.
    """

    engine: str
    hop_frames: int
    us_per_frame: float
    window_us_per_frame: float

    @property
    def times_faster(self) -> float:
        return self.window_us_per_frame / self.us_per_frame


def bench(
    model: Model,
    hops_frames: Sequence[int] = HOPS_FRAMES,
    engines: Sequence[str] | None = None,
    *,
    time_pooling: str | None = None,
    rounds: int = 7,
    round_s: float = 0.1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Measurement]:
    """Measures every engine at every hop, ``rounds`` times for ``round_s`` each; medians over the rounds.

    ``engines=None`` takes all that can run the model here. The engine ``"interpreter-fast"`` is the interpreter engine
    with fast kernels. Streams are first warmed past the receptive field, so that the steady state is measured. Raises
    what ``Model.stream`` raises.
    """
    engines = usable_engines(model, time_pooling) if engines is None else engines
    rng = np.random.default_rng(0)
    rerun = _rerun(model)
    measured = []
    for turn, (engine, hop) in enumerate((engine, hop) for engine in engines for hop in hops_frames):
        name, _, fast = engine.partition("-")
        stream = model.stream(name, time_pooling, exact=not fast)
        chunks = _noise(model, hop, rng)
        for _ in range(2 + math.ceil(min(model.receptive_field or 0, 10_000) / hop)):
            stream.push(*chunks)
        pushes, windows = [], []
        for _ in range(rounds):
            pushes.append(_seconds(functools.partial(stream.push, *chunks), round_s))
            windows.append(_seconds(rerun, round_s))
        per_hop = median(windows) * math.ceil(hop / model.window_frames)
        measured.append(Measurement(engine, hop, 1e6 * median(pushes) / hop, 1e6 * per_hop / hop))
        if progress is not None:
            progress(turn + 1, len(engines) * len(hops_frames))
    return measured


def usable_engines(model: Model, time_pooling: str | None = None) -> list[str]:
    """Engines that are built here and have all of the model's operations, fastest first."""
    usable = []
    for engine in ENGINES:
        try:
            model.stream(engine, time_pooling)
        except EngineError:
            continue
        usable += [engine, f"{engine}-fast"] if engine == "interpreter" else [engine]
    return usable


def _rerun(model: Model) -> Callable[[], object]:
    interpreter = open_interpreter(model.file.content, exact=False)
    details = interpreter.get_input_details()
    rng = np.random.default_rng(1)
    window = [_values(rng, detail["shape"], np.dtype(detail["dtype"])) for detail in details]
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def again() -> object:
        for detail, array in zip(details, window, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return again


def _noise(model: Model, frames: int, rng: np.random.Generator) -> list[Array]:
    return [_values(rng, (frames, *port.shape), port.dtype) for port in model.inputs]


def _values(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype[np.generic]) -> Array:
    values: Array = (rng.standard_normal(tuple(shape)) * (1.0 if dtype.kind == "f" else 40.0)).astype(dtype)
    return values


def _seconds(call: Callable[[], object], at_least_s: float) -> float:
    """Median time of one call, over calls that take ``at_least_s`` together."""
    times_ns: list[int] = []
    end = time.perf_counter() + at_least_s
    while not times_ns or time.perf_counter() < end:
        begin = _clock_ns()
        call()
        times_ns.append(_clock_ns() - begin)
    return 1e-9 * median(times_ns)
