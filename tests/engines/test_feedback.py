"""What is fed back within a plan: states in loops and without one, in every engine that has them, however it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tcnstream.compiler.loops import arrange
from tcnstream.compiler.operations.elementwise import SumOptions
from tcnstream.compiler.plan import NO_OPTIONS, SAME_FRAME, ActivationOptions, Node, Options, Plan, Window
from tcnstream.engines.base import Executor
from tcnstream.engines.native.executor import NativeExecutor
from tcnstream.engines.reference.executor import ReferenceExecutor
from tcnstream.errors import NotStreamableError
from tcnstream.tflite.graph import Array, Tensor

START = np.array([1, 2], np.float32)
DECAY = np.array([0.5, 0.25], np.float32)
ENGINES = [ReferenceExecutor, NativeExecutor]


def tensor(name: str, data: Array | None = None) -> Tensor:
    return Tensor(name, (2,), np.dtype(np.float32), None, data)


TENSORS = tuple(map(tensor, ["x", "", "", "decayed", "smooth", "smooth before", "sum", "sum before", "late"]))
TENSORS = (TENSORS[0], tensor("start", START), tensor("decay", DECAY), *TENSORS[3:])
STATES = {5: 4, 7: 6, 8: 4}


def node(
    kind: str, inputs: Sequence[int], output: int, options: Options = NO_OPTIONS, window: Window = SAME_FRAME
) -> Node:
    return Node(kind, tuple(inputs), (output,), ((2,),) * len(inputs), options, window, label=TENSORS[output].name)


def smoothed_twice() -> Plan:
    """smooth = decay * smooth + x and sum = sum + smooth, each a loop of its own; late is smooth, a frame later.

    The nodes of the two loops are mixed here.
    """
    nodes = (
        node("TIME_STATE", [1, 0], 7),
        node("TIME_STATE", [1, 0], 5),
        node("TIME_STATE", [1, 0], 8),
        node("MUL", [5, 2], 3, ActivationOptions()),
        node("ADD", [3, 0], 4, SumOptions()),
        node("ADD", [7, 4], 6, SumOptions()),
    )
    outputs = (4, 6, 8)
    return Plan(TENSORS, nodes, (0,), outputs, ((2,),) * 3, 8, (8,) * len(TENSORS), (1,), (1, 1, 1), states=STATES)


def expected(x: Array) -> tuple[Array, Array, Array]:
    smooth, total, made = START, START, []
    for frame in x:
        late, smooth = smooth, smooth * DECAY + frame
        total = total + smooth
        made.append((smooth, total, late))
    smooths, totals, lates = (np.array(column) for column in zip(*made, strict=True))
    return smooths, totals, lates


def streamed(executor: Executor, x: Array, sizes: Sequence[int]) -> list[Array]:
    """All frames, through a snapshot after every chunk."""
    memory, begin = executor.new_memory(), 0
    parts: list[list[Array]] = []
    for n in sizes:
        parts.append([frames.copy() for frames in executor.advance(memory, [x[begin : begin + n]])])
        begin += n
        saved, memory = memory.snapshot("model"), executor.new_memory()
        memory.restore(saved, "model")
    parts.append([frames.copy() for frames in executor.advance(memory, None)])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sizes", [[600], [1] * 600, [0, 7, 1, 300, 1, 1, 290]], ids=["one", "ones", "mixed"])
def test_states_are_what_they_were_a_frame_before(engine: type[ReferenceExecutor], sizes: list[int]) -> None:
    x = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    made = streamed(engine(arrange(smoothed_twice())), x, sizes)
    for frames, wanted in zip(made, expected(x), strict=True):
        np.testing.assert_array_equal(frames, wanted)


def test_the_nodes_of_a_loop_stand_together() -> None:
    plan = arrange(smoothed_twice())
    assert [plan.nodes[k].label for loop in plan.loops for k in loop] == [
        "smooth before", "decayed", "smooth", "sum before", "sum",
    ]  # fmt: skip
    assert len(plan.loops) == 2


def test_a_snapshot_goes_on_in_the_other_engine() -> None:
    plan = arrange(smoothed_twice())
    x = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    for first, second in (
        (ReferenceExecutor(plan), NativeExecutor(plan)),
        (NativeExecutor(plan), ReferenceExecutor(plan)),
    ):
        one, other = first.new_memory(), second.new_memory()
        first.advance(one, [x[:13]])
        other.restore(one.snapshot("model"), "model")
        for frames, wanted in zip(second.advance(other, [x[13:]]), expected(x), strict=True):
            np.testing.assert_array_equal(frames, wanted[13:])


def test_a_window_along_time_within_a_loop_is_refused_by_name() -> None:
    plan = smoothed_twice()
    late = replace(plan.nodes[3], kind="TIME_PAD", inputs=(5,), views=((2,),), window=Window(pad_begin=1, pad_end=-1))
    with pytest.raises(NotStreamableError, match=r"`TIME_PAD` .* several times of what is fed back"):
        arrange(replace(plan, nodes=(*plan.nodes[:3], late, *plan.nodes[4:])))
