"""Streams that have run for years: the same bits just below, at and beyond 2**31, 2**32 and 2**53 frames."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.bridge_tools import a_board
from helpers.contract import assert_frames, engines_here
from helpers.networks import build, layer, signals

import tcnstream
from firmware_bridge.boards.program import Program
from tcnstream import Model
from tcnstream.compiler.timing import counts, settled_frames
from tcnstream.engines.native.planfile.facts import read_facts
from tcnstream.engines.native.snapshot import to_core
from tcnstream.engines.state import State
from tcnstream.tflite.graph import Array

MARKS = (1 << 31, 1 << 32, 1 << 53)
BEFORE, AFTER = 300, 60


def model_of(dtype: str) -> Model:
    """Dilations, strides of 3 and 2 and back, a residual branch that waits."""
    layers = [
        layer("convolution", kernel=5, dilation=4, padding="causal"),
        layer("residual", inner=[layer("convolution", kernel=7, padding="same")]),
        layer("convolution", kernel=3, stride=3),
        layer("hourglass", inner=[layer("convolution", kernel=3)], ratio=2, kind="resize"),
    ]
    return tcnstream.load(build(layers, 60, dtype=dtype).content)


def aged(model: Model, state: State, frames: int) -> State:
    """The same state as if the stream had begun so many frames before; they must be whole periods."""
    plan = model.plan
    old = State(plan)
    have = counts(plan, state.pushed_frames + frames, ended=False)
    old._continue(state.pushed_frames + frames, False, have, state.remembered, {})
    return old


def near(model: Model, mark: int) -> tuple[State, int]:
    """A state after BEFORE frames of the signal, and by how many frames it must age to end just below ``mark``."""
    _, period = settled_frames(model.plan)
    stream = model.stream("reference")
    stream.push(signals(model.inputs, BEFORE)[0])
    assert isinstance(stream.memory, State)
    return stream.memory, (mark - 20 - BEFORE) // period * period


def continued(model: Model) -> tuple[Array, ...]:
    stream = model.stream("reference")
    signal = signals(model.inputs, BEFORE + AFTER)[0]
    stream.push(signals(model.inputs, BEFORE)[0])
    return (np.concatenate([stream.push(signal[:AFTER]), stream.flush()]),)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int16"])
@pytest.mark.parametrize("mark", MARKS)
def test_a_stream_goes_on_past_the_mark(mark: int, dtype: str) -> None:
    model = model_of(dtype)
    state, age = near(model, mark)
    old = aged(model, state, age)
    signal = signals(model.inputs, BEFORE + AFTER)[0][:AFTER]
    expected = continued(model)
    for engine in engines_here(model):
        stream = model.stream(engine)
        stream.restore(old.snapshot(stream.identity))
        made = [stream.push(signal[k : k + 7]) for k in range(0, AFTER, 7)]
        assert stream.frames_in == old.pushed_frames + AFTER > mark
        assert_frames((np.concatenate([*made, stream.flush()]),), expected, 1e-5, engine)


@pytest.mark.parametrize("target", ["host", "qemu-m4"])
def test_a_board_goes_on_past_the_marks(target: str) -> None:
    model = model_of("int8")
    program = Program.of(model)
    signal = signals(model.inputs, BEFORE + AFTER)[0][:AFTER]
    (expected,) = continued(model)
    with a_board(target) as board:
        board.start(program)
        for mark in MARKS:
            state, age = near(model, mark)
            board.restore(to_core(aged(model, state, age), read_facts(program.content)))
            made = [board.push([signal[k : k + 7]]).outputs[0] for k in range(0, AFTER, 7)]
            assert np.array_equal(np.concatenate([*made, board.flush().outputs[0]]), expected)
            assert board.stats().frames_in > mark
