"""Lanes of a native pool, whose rings stand side by side after a short push together, give the bytes of streams alone.

Whatever lanes do that puts them out of step: pauses, pushes of their own, resets, ends, snapshots carried from lane to
lane, leaving and joining.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from helpers.networks import signals
from helpers.paths import MODELS
from helpers.random_layers import draw_network

import tcnstream
from tcnstream import EngineError, Model, NotStreamableError, Pool, Stream
from tcnstream.tflite.graph import Array

LANES = 11  # one more than a vector has places, and enough for rings side by side
NAMES = (
    "causal.f32", "causal.i16", "causal.i8", "ktcn_seq.i8", "nse_lg.i8", "nse_mb_d2b2.i8",
    "sig_decim2.f32", "sig_reflect.f32", "spectro.i8", "strided.i8", "unet_max.f32", "wavenet.i8",
)  # fmt: skip


def _as_tuple(made: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return made if isinstance(made, tuple) else (made,)


class _Twins:
    """A pool and as many streams alone, to which everything happens alike."""

    def __init__(self, model: Model, seed: int, lanes: int = LANES, **options: Any) -> None:
        self.model, self.rng, self.lanes = model, np.random.default_rng(seed), lanes
        self.pool: Pool = model.pool(lanes, engine="native", **options)
        self.alone: list[Stream] = [model.stream(engine="native", **options) for _ in range(lanes)]

    def chunks(self, n: int, lanes: int) -> list[tuple[Array, ...]]:
        return [signals(self.model.inputs, n, int(self.rng.integers(1 << 30))) for _ in range(lanes)]

    def push(self, n: int, lanes: list[int]) -> None:
        chunks = self.chunks(n, len(lanes))
        stacked = tuple(np.stack(column) for column in zip(*chunks, strict=True))
        out = tuple(np.zeros((len(lanes), 4 * n + 80, *p.shape), p.dtype) for p in self.model.outputs)
        counts = np.reshape(self.pool.push_into(stacked, out, lanes), (len(lanes), -1))
        for row, (lane, chunk) in enumerate(zip(lanes, chunks, strict=True)):
            expected = _as_tuple(self.alone[lane].push(*chunk))
            for y, m, e in zip(out, counts[row], expected, strict=True):
                assert y[row, :m].tobytes() == e.tobytes(), f"lane {lane}, {n} frames"

    def disturb(self, lane: int) -> None:
        what = self.rng.integers(5)
        if what == 0:
            (chunk,) = self.chunks(5, 1)
            pairs = zip(_as_tuple(self.pool[lane].push(*chunk)), _as_tuple(self.alone[lane].push(*chunk)), strict=True)
            assert all(a.tobytes() == b.tobytes() for a, b in pairs)
        elif what == 1:
            self.pool[lane].reset()
            self.alone[lane].reset()
        elif what == 2:
            blob = self.pool[lane].snapshot()
            other = int(self.rng.integers(self.lanes))
            self.pool[other].restore(blob)
            self.alone[other].restore(blob)
        elif what == 3:
            self.pool.leave(lane)
            assert self.pool.join() == lane
            self.alone[lane].reset()
        else:
            before = self.alone[lane].snapshot()
            try:
                expected = _as_tuple(self.alone[lane].flush())
            except tcnstream.StreamError:  # too short for its mirrored edges
                self.alone[lane].restore(before)
                return
            got = _as_tuple(self.pool[lane].flush())
            assert all(a.tobytes() == b.tobytes() for a, b in zip(got, expected, strict=True))
            self.pool[lane].reset()
            self.alone[lane].reset()

    def compare_snapshots(self) -> None:
        for lane, stream in enumerate(self.alone):
            assert self.pool[lane].snapshot() == stream.snapshot(), f"lane {lane}"

    def run(self, rounds: int) -> None:
        everyone = list(range(self.lanes))
        for _ in range(rounds):
            n = int(self.rng.choice((1, 1, 1, 2, 3, 9)))
            some = sorted(
                self.rng.choice(self.lanes, int(self.rng.integers(1, self.lanes + 1)), replace=False).tolist()
            )
            self.push(n, everyone if self.rng.random() < 0.6 else some)
            if self.rng.random() < 0.4:
                self.disturb(int(self.rng.integers(self.lanes)))
        self.compare_snapshots()
        for n in (1, 70, 1):
            self.push(n, everyone)
        self.compare_snapshots()


@pytest.mark.parametrize("name", NAMES)
def test_lanes_side_by_side_are_streams_alone(name: str) -> None:
    _Twins(tcnstream.load(MODELS / f"{name}.tflite"), 1).run(40)


def test_lanes_that_sum_over_the_past_are_streams_alone() -> None:
    _Twins(tcnstream.load(MODELS / "nse_lg_se.i8.tflite"), 4, time_pooling="trailing").run(40)


@pytest.mark.parametrize("name", ["ecg", "ecg.f32"])
def test_lanes_of_shipped_models_are_streams_alone(name: str) -> None:
    twins = _Twins(tcnstream.load(name), 2)
    twins.push(1400, list(range(LANES)))  # far enough for every step to be like the one before
    twins.run(40)


@pytest.mark.parametrize("name", ["causal.i8", "nse_lg.f32"])
@pytest.mark.parametrize("lanes", [1, 3, 31, 33, 64, 65, 150])
def test_pools_of_any_size_are_streams_alone(lanes: int, name: str) -> None:
    twins = _Twins(tcnstream.load(MODELS / f"{name}.tflite"), lanes, lanes)
    twins.push(500, list(range(lanes)))
    twins.run(12)


@pytest.mark.parametrize("seed", range(40))
def test_lanes_of_random_networks_are_streams_alone(seed: int) -> None:
    rng = random.Random(seed)
    while True:
        try:
            model = tcnstream.load(draw_network(rng).content)
            model.stream(engine="native")
            break
        except (EngineError, NotStreamableError):
            continue
    _Twins(model, seed).run(25)


def test_a_lane_outlives_its_pool() -> None:
    twins = _Twins(tcnstream.load(MODELS / "causal.i8.tflite"), 3)
    twins.push(1, list(range(twins.lanes)))
    lane = twins.pool[4]
    del twins.pool
    (chunk,) = twins.chunks(30, 1)
    assert np.asarray(lane.push(*chunk)).tobytes() == np.asarray(twins.alone[4].push(*chunk)).tobytes()
    assert lane.snapshot() == twins.alone[4].snapshot()
