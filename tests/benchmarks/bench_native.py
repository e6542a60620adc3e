"""The figures that the native engine is held to.

``cd tests && python -m benchmarks.bench_native [--json FILE] [--rounds N]``

Each row is a ratio of two things measured in turns in one run, in processor time of one thread, beside what it must
reach and what it aims at. Not a test: nothing here passes or fails by a clock. Peers that are not installed leave
their rows out, and say so.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from helpers.allocations import count as allocator_calls
from helpers.networks import build, layer
from helpers.paths import MODELS

import tcnstream
from tcnstream import EngineError, Model
from tcnstream.compiler.timing import steady_frames
from tcnstream.engines.native.core import load_core
from tcnstream.measure.bench import Call, in_turns, rerun, stream_push
from tcnstream.measure.peers import PEERS, open_peer
from tcnstream.signal.card import find_model

CHUNK_FRAMES = 64
LANES = 1000


@dataclass(frozen=True)
class Figure:
    """A measured ratio; ``must`` and ``aim`` are least values, or most values where ``most``."""

    what: str
    value: float
    must: float
    aim: float | None
    most: bool
    ours: str
    theirs: str

    @property
    def reached(self) -> str:
        def holds(bound: float | None) -> bool:
            return bound is not None and (self.value <= bound if self.most else self.value >= bound)

        return "aim" if holds(self.aim) else "must" if holds(self.must) else "NO"


def load(name: str) -> Model:
    return tcnstream.load(MODELS / f"{name}.tflite")


def tcn16(dtype: str = "float32", padding: str = "causal", window: int = 1024) -> Model:
    """16 convolutions of 32 channels, kernel 3, dilation 1 to 128, residual."""

    def twice(dilation: int) -> list[object]:
        one = layer("convolution", kernel=3, dilation=dilation, padding=padding, channels=32, activation="RELU")
        return [one, one]

    blocks = [layer("residual", inner=twice(2**k)) for k in range(8)]  # type: ignore[arg-type]
    layers = [layer("convolution", kernel=1, channels=32), *blocks, layer("convolution", kernel=1, channels=4)]
    return tcnstream.load(build(layers, window, channels=1, dtype=dtype).content)


def depthwise(dilation: int) -> Model:
    """64 channels, each with a kernel of 3."""
    one = layer("convolution", kernel=3, dilation=dilation, padding="causal", channels=64, kind="DEPTHWISE_CONV_2D")
    return tcnstream.load(build([one], 2 * dilation + 64, channels=64).content)


def faster(
    what: str, ours: tuple[Call, float], theirs: tuple[Call, float], must: float, aim: float, rounds: int
) -> Figure:
    """How many times faster; each call comes with the frames that it computes.

    The median of the rounds' ratios: a machine that changes its speed between two rounds would split two medians.
    """
    (call, frames), (other, their_frames) = ours, theirs
    times = [in_turns([call, other], 1, 0.1) for _ in range(rounds)]
    a, b = sorted(times, key=lambda pair: pair[1] / pair[0])[rounds // 2]
    mine, other_s = a / frames, b / their_frames
    return Figure(what, other_s / mine, must, aim, False, f"{1e6 * mine:.3g} µs", f"{1e6 * other_s:.3g} µs")


def at_most(
    what: str, ours: tuple[Call, float], theirs: tuple[Call, float], must: float, aim: float, rounds: int
) -> Figure:
    """How many times their time ours is."""
    one = faster(what, ours, theirs, must, aim, rounds)
    return Figure(what, 1 / one.value, must, aim, True, one.ours, one.theirs)


def figures(rounds: int) -> Iterator[Figure]:
    small = load("nse_lg.f32")
    native = (stream_push(small, 1, "native"), 1)
    yield faster("nse_lg.f32, hop 1, against the window again", native, (rerun(small), 1), 60, 200, rounds)
    interpreter = (stream_push(small, 1, "interpreter"), 1)
    yield faster("nse_lg.f32, hop 1, against the interpreter engine", native, interpreter, 8, 25, rounds)

    deep = tcn16()
    for peer in PEERS:
        must, aim = (10.0, 40.0) if peer == "tract" else (1.0, 10.0)
        try:
            other = open_peer(peer, deep.plan, 1)
        except EngineError as e:
            print(f"left out: {e}", file=sys.stderr)
            continue
        x = np.zeros((1, 1, 1), np.float32)
        step = (lambda other=other, x=x: other.step(x)), 1
        name = f"TCN of 16 convolutions, hop 1, against {peer}"
        yield faster(name, (stream_push(deep, 1, "native"), 1), step, must, aim, rounds)

    for name, model in (("nse_lg.f32", small), ("TCN of 16 convolutions", deep), ("ecg.f32", shipped("ecg.f32"))):
        whole = (rerun(model), model.window_frames)
        for engine, what, must, aim in (
            ("native", "float32", 1.5, 1.0),
            ("native-fast", "float32, exact=False", 1.0, 0.8),
        ):
            ours = (stream_push(model, CHUNK_FRAMES, engine), CHUNK_FRAMES)
            yield at_most(
                f"{name}, {what}, chunks of 64, against XNNPACK on the window", ours, whole, must, aim, rounds
            )
    integers = (("nse_lg.i8", load("nse_lg.i8")), ("TCN of 16 convolutions", tcn16("int8")), ("ecg", shipped("ecg")))
    for name, model in integers:
        ours = (stream_push(model, CHUNK_FRAMES, "native"), CHUNK_FRAMES)
        for what, delegate, must, aim in (("TFLite's fast kernels", False, 2.0, 5.0), ("XNNPACK", True, 1.3, 2.0)):
            whole = (rerun(model, delegate), model.window_frames)
            yield faster(f"{name}, int8, chunks of 64, against {what} on the window", ours, whole, must, aim, rounds)

    far, near = depthwise(8192), depthwise(1)
    yield at_most(
        "depthwise 64 channels, hop 1, dilation 8192 against 1",
        (stream_push(far, 1, "native"), 1),
        (stream_push(near, 1, "native"), 1),
        1.15,
        1.0,
        rounds,
    )
    for name in ("nse_lg.f32", "nse_lg.i8", "unet_max.f32", "causal.i16"):
        yield state(name, load(name))
    yield state("ecg", shipped("ecg"))
    yield allocations(1_000_000)
    yield lanes(rounds)
    yield start(rounds)
    for name in ("wavenet.i8", "causal.f32", "sig_valid.f32"):
        yield loading(name, rounds)


def shipped(name: str) -> Model:
    path, _ = find_model(name)
    return tcnstream.load(path)


def state(name: str, model: Model) -> Figure:
    """All memory of a stream in the core against each queue's frames in the tensor's own type."""
    plan = model.plan
    taken = load_core().Plan(model.plan_file()).facts()["state_bytes"]
    least = sum(
        frames * math.prod(tensor.shape) * tensor.dtype.itemsize
        for frames, tensor in zip(steady_frames(plan), plan.tensors, strict=True)
    )
    return Figure(f"{name}, state of a stream", taken / least, 1.3, 1.1, True, f"{taken:,} B", f"{least:,} B")


def allocations(pushes: int) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        calls = allocator_calls(MODELS / "nse_lg.f32.tflite", pushes, Path(folder))
    return Figure(f"allocations in {pushes:,} push_into calls", calls, 0, 0, True, f"{calls}", "0")


def lanes(rounds: int) -> Figure:
    """A pool on all processors against pushes one by one, both by the clock on the wall."""
    model = shipped("ecg")
    (source,), (result,) = model.inputs, model.outputs
    pool, single = model.pool(LANES, "native"), model.pool(LANES, "native")
    x = np.zeros((LANES, 1, *source.shape), source.dtype)
    out = np.zeros((LANES, 4, *result.shape), result.dtype)
    each = [(stream.push_into, x[k], out[k]) for k, stream in enumerate(single)]

    def together() -> None:
        pool.push_into(x, out)

    def one_by_one() -> None:
        for push, frame, room in each:
            push(frame, room)

    def wall_s(call: Callable[[], None]) -> float:
        begin = time.perf_counter()
        for _ in range(5):
            call()
        return (time.perf_counter() - begin) / 5

    field = model.receptive_field
    assert field is not None
    warm = np.zeros((LANES, 3 * field, *source.shape), source.dtype)
    for lanes in (pool, single):
        lanes.push(warm)
    times = [(wall_s(together), wall_s(one_by_one)) for _ in range(3 * rounds)]
    a, b = (sorted(column)[len(column) // 2] for column in zip(*times, strict=True))
    what = f"ecg, {LANES:,} lanes in a pool against as many pushes"
    return Figure(what, b / a, 6, 10, False, f"{1e3 * a:.3g} ms", f"{1e3 * b:.3g} ms")


_START = """
import time
started = time.process_time()
import numpy
begin = time.process_time()
import tcnstream
model = tcnstream.load({path!r})
stream = model.stream("native")
stream.push(numpy.zeros((model.delay + 1, *model.inputs[0].shape), numpy.float32))
print(1e3 * (time.process_time() - begin), 1e3 * (begin - started))
"""


def start(rounds: int) -> Figure:
    """Import, load and first frame in a fresh process, from compiled modules, without numpy's import."""
    program = _START.format(path=str(find_model("ecg")[0]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times_ms = []
    with tempfile.TemporaryDirectory() as folder:
        environment["PYTHONPYCACHEPREFIX"] = folder
        for _ in range(2 + 2 * rounds):
            command = [sys.executable, "-c", program]
            run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            times_ms.append(tuple(map(float, run.stdout.split())))
    took_ms, numpy_ms = (sorted(column)[rounds] for column in zip(*times_ms[1:], strict=True))
    beside = f"numpy's import {numpy_ms:.3g} ms"
    return Figure("ecg, load to first frame in a fresh process, ms", took_ms, 50, 10, True, f"{took_ms:.3g} ms", beside)


def loading(name: str, rounds: int) -> Figure:
    """Processor time of ``load`` for each megabyte of the file, and beside it for each of its operations."""
    content, took_s = (MODELS / f"{name}.tflite").read_bytes(), []
    for _ in range(1 + 3 * rounds):
        begin_s = time.process_time()
        model = tcnstream.load(content)
        took_s.append(time.process_time() - begin_s)
    least_s, operations = min(took_s[1:]), len(model.graph.ops)
    each = f"{1e3 * least_s / operations:.2g} ms for each of {operations} operations"
    what = f"{name}, load, s for each MB"
    return Figure(what, least_s / (len(content) / 1e6), 0.3, None, True, f"{1e3 * least_s:.3g} ms", each)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split(":")[0] if __doc__ else None)
    options.add_argument("--json", type=Path, help="write the figures to this file as well")
    options.add_argument("--rounds", type=int, default=7)
    chosen = options.parse_args()
    print("| what | must | aim | measured | ours | theirs | reached |")
    print("|---|--:|--:|--:|--:|--:|---|")
    done = []
    for one in figures(chosen.rounds):
        done.append(one)
        sign = "≤ " if one.most else "≥ "
        aim = "" if one.aim is None else f"{sign}{one.aim:g}"
        row = (one.what, f"{sign}{one.must:g}", aim, f"{one.value:.3g}", one.ours, one.theirs, one.reached)
        print(f"| {' | '.join(row)} |", flush=True)
    if chosen.json is not None:
        facts = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
        rows = [asdict(one) | {"reached": one.reached} for one in done]
        chosen.json.write_text(json.dumps({**facts, "figures": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
