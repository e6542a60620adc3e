"""Sound files of every kind for ``fuzz`` to damage.

Random networks, single operations of all that the compiler knows, recurrent layers as one operation, and small files
as converters write them: loops, spectra, states, static inputs, open lengths.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers import recurrent_files
from helpers.many_operations import many_operations
from helpers.paths import DATA
from helpers.random_layers import draw_network
from helpers.singleop import model_of
from helpers.trials.cases import CASES

Base = tuple[bytes, int | None]
"""A file, and the axis of its inputs that is time; None: to be found."""

_FOLDERS = ("converted", "inputs", "spectra", "stateful")
_MOST_BYTES = 25_000
"""Larger files take more time than they are worth."""


@functools.cache
def _converted() -> tuple[Path, ...]:
    found = [path for folder in _FOLDERS for path in sorted((DATA / folder).glob("*.tflite"))]
    return tuple(path for path in found if path.stat().st_size <= _MOST_BYTES)


def _network(rng: random.Random) -> Base:
    return draw_network(rng).content, None


def _operation(rng: random.Random) -> Base:
    build, dtypes = CASES[rng.choice(sorted(CASES))]
    return model_of(build(np.random.default_rng(rng.randrange(1 << 32)), rng.choice(dtypes))), 0


def _converters_file(rng: random.Random) -> Base:
    return rng.choice(_converted()).read_bytes(), None


def _chain(rng: random.Random) -> Base:
    return many_operations(rng.choice((np.float32, np.int8, np.int16)), rng.randrange(100)), None


def _recurrent(rng: random.Random) -> Base:
    seed, frames = rng.randrange(1000), rng.randint(2, 12)
    depth, units = rng.randint(1, 4), rng.randint(1, 4)
    kind = rng.choice(("lstm", "lstm", "lstm of int8", "rnn", "svdf", "svdf of int8"))
    if kind == "lstm":
        return recurrent_files.lstm(
            frames,
            depth,
            units,
            units=rng.choice((None, 2)),
            coupled=rng.random() < 0.3,
            peephole=rng.random() < 0.3,
            norm=rng.random() < 0.3,
            time_major=rng.random() < 0.3,
            activation=rng.choice(("TANH", "RELU6", "RELU")),
            cell_clip=rng.choice((0.0, 0.7)),
            seed=seed,
        ), None
    if kind == "lstm of int8":
        return recurrent_files.lstm_int8(frames, depth, units, coupled=rng.random() < 0.3, seed=seed), None
    if kind == "rnn":
        activation = rng.choice(("TANH", "RELU_N1_TO_1", "NONE"))
        return recurrent_files.rnn(frames, depth, units, activation=activation, seed=seed), None
    rank, memory = rng.randint(1, 3), rng.randint(1, 6)
    return (recurrent_files.svdf if kind == "svdf" else recurrent_files.svdf_int8)(
        depth, units, rank, memory, seed=seed
    ), None


_DRAWN: tuple[tuple[Callable[[random.Random], Base], int], ...] = (
    (_network, 11),
    (_operation, 4),
    (_converters_file, 3),
    (_recurrent, 1),
    (_chain, 1),
)
"""What is drawn, and how often of twenty times."""


def draw(rng: random.Random) -> Base:
    """A sound file and its time axis."""
    made, often = zip(*_DRAWN, strict=True)
    return rng.choices(made, often)[0](rng)
