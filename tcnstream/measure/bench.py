"""What a push costs, against running the file's whole window again on every hop, and against other runtimes."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from tcnstream.engines.base import ENGINES
from tcnstream.engines.interpreter.runtime import open_interpreter
from tcnstream.engines.native.planfile.memory import growth
from tcnstream.errors import EngineError, StreamError
from tcnstream.measure.material import file_arrays, in_file_order, noise, some_static
from tcnstream.measure.peers import PEERS, open_peer
from tcnstream.model import Model
from tcnstream.stream import Stream
from tcnstream.tflite.writer import write_model

HOPS_FRAMES = (1, 16, 160)

_LEAST_SAMPLE_NS = 200_000
"""A sample is so many calls that reading the clock around it costs nothing beside them."""

_PEER_TOLERANCE = 1e-3
"""A peer that is further away, relative to the largest value, computes something else and is not measured."""

Call = Callable[[], object]

# All that is measured runs in one thread: its own processor time does not count what else the machine does.
_clock_ns = time.thread_time_ns if os.name == "posix" else time.perf_counter_ns


@dataclass(frozen=True)
class Measurement:
    """Median cost of pushing ``hop_frames`` at a time into one engine or peer, in processor time of one thread.

    ``window_us`` is the unmodified file's whole window, ``window_frames`` long, run once by the interpreter's fast
    kernels; both are measured in turns in the same run.
    """

    engine: str
    hop_frames: int
    us_per_push: float
    window_us: float
    window_frames: int

    @property
    def us_per_frame(self) -> float:
        return self.us_per_push / self.hop_frames

    @property
    def window_us_per_frame(self) -> float:
        """Running the window again for every hop; several windows where the hop is longer than one."""
        return self.window_us * math.ceil(self.hop_frames / self.window_frames) / self.hop_frames

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

    ``engines`` are names of engines and peers (``peers.PEERS``); None takes all that are installed and can run the
    model. "interpreter-fast" is the interpreter engine with fast kernels. A push is ``Stream.push_into``. Streams are
    first warmed past the receptive field, so that the steady state is measured. Raises what ``Model.stream`` and
    ``open_peer`` raise.
    """
    engines = usable_engines(model, time_pooling) if engines is None else engines
    for engine in engines:
        _must_open(model, engine, time_pooling)
    window = rerun(model)
    measured = []
    for turn, (engine, hop) in enumerate((engine, hop) for engine in engines for hop in hops_frames):
        push = _peer_push(model, engine, hop) if engine in PEERS else stream_push(model, hop, engine, time_pooling)
        push_s, window_s = in_turns([push, window], rounds, round_s)
        frames = hop * model.input_steps[0]
        measured.append(Measurement(engine, frames, 1e6 * push_s, 1e6 * window_s, model.window_frames))
        if progress is not None:
            progress(turn + 1, len(engines) * len(hops_frames))
    return measured


def _must_open(model: Model, engine: str, time_pooling: str | None) -> None:
    """Raises what the measurement would, before any other engine is measured."""
    if engine in PEERS:
        open_peer(engine, model.plan_with(some_static(model, _rng())), 1)
    else:
        _stream(model, engine, time_pooling)


def usable_engines(model: Model, time_pooling: str | None = None) -> list[str]:
    """Engines that are built here and have all of the model's operations, fastest first, then the peers."""
    usable = []
    computes_reals = any(tensor.dtype == np.float32 for tensor in model.plan.tensors)
    for engine in ENGINES:
        try:
            model.stream(engine, time_pooling, static=some_static(model, _rng()))
        except EngineError:
            continue
        has_fast = engine == "interpreter" or (engine == "native" and computes_reals)
        usable += [engine, f"{engine}-fast"] if has_fast else [engine]
    for peer in PEERS:
        try:
            open_peer(peer, model.plan_with(some_static(model, _rng())), 1)
        except EngineError:
            continue
        usable.append(peer)
    return usable


def in_turns(calls: Sequence[Call], rounds: int, round_s: float) -> list[float]:
    """Median seconds of each call, measured one after the other in every round."""
    times = [[_seconds(call, round_s) for call in calls] for _ in range(rounds)]
    return [median(column) for column in zip(*times, strict=True)]


def stream_push(model: Model, hop_frames: int, engine: str = "auto", time_pooling: str | None = None) -> Call:
    """A push of ``hop_frames`` frames of noise into a stream past its receptive field; see ``bench`` for ``engine``.

    Where inputs have different rates, it is so many steps of ``Model.input_steps``.
    """
    stream = _stream(model, engine, time_pooling)
    chunks = noise(model, hop_frames, _rng())
    for _ in range(2 + math.ceil(min(model.receptive_field or 0, 10_000) / hop_frames)):
        stream.push(*chunks)
    rates = growth(stream.plan)
    rooms = [math.ceil(hop_frames * rates[o][0]) + rates[o][1] for o in stream.plan.outputs]
    made = [np.empty((room, *spec.shape), spec.dtype) for room, spec in zip(rooms, model.outputs, strict=True)]
    # One array goes in as it is: making a tuple for it would be measured too.
    x, out = (chunks[0] if len(chunks) == 1 else tuple(chunks)), (made[0] if len(made) == 1 else tuple(made))
    return functools.partial(stream.push_into, x, out)


def _stream(model: Model, engine: str, time_pooling: str | None) -> Stream:
    name, _, fast = engine.partition("-")
    if name not in ("auto", *ENGINES) or fast not in ("", "fast"):
        raise StreamError(f"there is no engine {engine!r}: choose one of {', '.join((*ENGINES, *PEERS))}")
    return model.stream(name, time_pooling, exact=not fast, static=some_static(model, _rng()))


def rerun(model: Model, delegate: bool = True) -> Call:
    """The file's whole window again: input in, the interpreter's fast kernels on one thread, outputs out.

    ``delegate=False`` keeps to TFLite's own kernels, without XNNPACK.
    """
    content = model.file.content if model.file.is_main_first else write_model([model.graph])
    frames = noise(model, model.plan.window_frames, _rng())
    window = in_file_order(model, file_arrays(model, frames, some_static(model, _rng())))
    interpreter = open_interpreter(content, exact=False, delegate=delegate, inputs=window)
    details = interpreter.get_input_details()
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def again() -> object:
        for detail, array in zip(details, window, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return again


def draw(path: str | Path, measured: Sequence[Measurement], title: str) -> None:
    """Writes a picture (.png, .svg or .pdf) of the cost per frame over the hop, a line per engine."""
    from tcnstream.signal.plot import new_figure, save_figure
    from tcnstream.signal.strips import COLOURS, PLAIN

    figure = new_figure(path, 8, 5)
    axes = figure.subplots()
    hops = sorted({row.hop_frames for row in measured})
    for number, engine in enumerate(dict.fromkeys(row.engine for row in measured)):
        rows = sorted((row for row in measured if row.engine == engine), key=lambda row: row.hop_frames)
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(hops, [row.us_per_frame for row in rows], marker="o", color=colour, label=engine)
    window_us = [median(r.window_us_per_frame for r in measured if r.hop_frames == hop) for hop in hops]
    axes.plot(hops, window_us, marker="s", linestyle="--", color=PLAIN, label="window again")
    axes.set(xscale="log", yscale="log", xlabel="frames a push", ylabel="µs per frame", title=title, xticks=hops)
    axes.set_xticklabels([str(hop) for hop in hops])
    axes.minorticks_off()
    axes.grid(True, alpha=0.3)
    axes.legend(frameon=False)
    save_figure(figure, path)


def _peer_push(model: Model, name: str, hop_frames: int) -> Call:
    """The same push into a peer, after a look at what it answers."""
    static = some_static(model, _rng())
    peer = open_peer(name, model.plan_with(static), hop_frames)
    field = model.receptive_field or 0
    pushes = 2 + math.ceil(2 * (field + peer.delay_frames) / hop_frames)
    (signal,) = noise(model, pushes * hop_frames, _rng())
    columns = np.ascontiguousarray(signal.reshape(len(signal), -1).T[None], np.float32)
    chunks = np.split(columns, pushes, axis=2)
    answered = np.concatenate([peer.step(np.ascontiguousarray(chunk)) for chunk in chunks], axis=2)[0].T
    expected = np.asarray(model.stream(static=static).push(signal)).reshape(-1, answered.shape[1])
    answered = answered[peer.delay_frames :]
    both = slice(field, min(len(expected), len(answered)))
    distance = float(np.abs(answered[both] - expected[both]).max())
    if not distance <= _PEER_TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise EngineError(f"{name} answers {distance:g} away from this network's output, so its time says nothing")
    return functools.partial(peer.step, np.ascontiguousarray(chunks[-1]))


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _seconds(call: Call, at_least_s: float) -> float:
    """Median time of one call, over samples that take ``at_least_s`` together."""
    calls = 1
    while (took_ns := _sample_ns(call, calls)) < _LEAST_SAMPLE_NS and calls < 1_000_000:
        calls *= 2
    samples = [took_ns]
    end = time.perf_counter() + at_least_s
    while time.perf_counter() < end:
        samples.append(_sample_ns(call, calls))
    return 1e-9 * median(samples) / calls


def _sample_ns(call: Call, calls: int) -> int:
    begin = _clock_ns()
    for _ in range(calls):
        call()
    return _clock_ns() - begin
