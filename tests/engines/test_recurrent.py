"""Recurrent layers: a whole signal from the state at its start, in every engine, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.contract import engines_here, verify_contract
from helpers.paths import DATA

import tcnstream
from tcnstream.tflite.graph import Array

CONVERTED = DATA / "converted"
LOOPS = ("k3_lstm", "k2_gru", "k3_stacked_cells", "k3_conv_gru_last")
ENGINES = ("reference", "interpreter", "native")


def opened(name: str) -> tcnstream.Model:
    return tcnstream.load(CONVERTED / f"{name}.tflite")


def whole_signal(model: tcnstream.Model, frames: int) -> tuple[Array, tuple[Array, ...]]:
    """Noise, and the reference engine's answer to all of it at once."""
    x = np.random.default_rng(frames).standard_normal((frames, *model.inputs[0].shape)).astype(np.float32)
    stream = model.stream("reference")
    parts = [_each(stream.push(x)), _each(stream.flush())]
    return x, tuple(np.concatenate(made) for made in zip(*parts, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", LOOPS)
def test_the_contract_holds_over_many_windows(name: str, engine: str) -> None:
    model = opened(name)
    if engine not in engines_here(model):
        pytest.skip(f"the {engine} engine is not installed")
    x, expected = whole_signal(model, 70)
    verify_contract(model, x, expected, engine=engine)


@pytest.mark.parametrize("name", LOOPS)
def test_what_depends_on_all_of_the_past_says_so(name: str) -> None:
    model = opened(name)
    assert model.receptive_field is None
    assert "receptive field all of the past" in model.summary()


def test_only_what_waits_for_its_own_past_runs_frame_by_frame() -> None:
    """What a layer makes of its inputs alone, and the layers around it, take whole blocks."""
    plan = opened("k3_lstm").plan
    (loop,) = plan.loops
    reads_signal = [k for k, node in enumerate(plan.nodes) if node.inputs[0] == plan.inputs[0]]
    assert reads_signal and all(k < loop.start for k in reads_signal)
    assert len(plan.states) == sum(node.kind == "TIME_STATE" for node in plan.nodes) == 2


def _each(frames: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return frames if isinstance(frames, tuple) else (frames,)
