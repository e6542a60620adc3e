"""Plans packed for a family of processors: the boards' own kernels beside the reference, and whose plan is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from helpers.bridge_tools import a_board, program
from helpers.networks import Layer, build, layer, signals

import tcnstream
from firmware_bridge.boards.program import Program
from firmware_bridge.errors import RefusedError
from firmware_bridge.link.messages import CommitRequest, Kind, Object
from tcnstream.engines.native.layout.file import node_records
from tcnstream.engines.native.layout.functions import ConvOp
from tcnstream.engines.native.planfile.write import write_plan

pytestmark = pytest.mark.slow

BOARDS = {"qemu-m4": "cortex-m-dsp", "qemu-m55": "cortex-m-helium"}


def conv(channels: int, kernel: int, **options: Any) -> Layer:
    return layer("convolution", channels=channels, kernel=kernel, **options)


def depthwise(channels: int, kernel: int, **options: Any) -> Layer:
    return layer("convolution", channels=channels, kernel=kernel, kind="DEPTHWISE_CONV_2D", **options)


NETWORKS: dict[str, tuple[Sequence[Layer], dict[str, Any]]] = {
    # Channels around 4 and 16, taps odd and even, limits of an activation, a row that is a window and one that is not.
    "odd": (
        [
            conv(5, 3),
            depthwise(5, 4),
            conv(16, 1),
            depthwise(16, 3, dilation=2, activation="RELU"),
            conv(7, 1),
            conv(33, 2),
            depthwise(33, 5, activation="RELU6"),
            conv(18, 1, activation="RELU"),
            conv(3, 4, dilation=3, padding="causal"),
        ],
        {"channels": 1},
    ),
    "strided": (
        [conv(6, 5, stride=2), depthwise(6, 3), conv(17, 3, padding="REFLECT"), conv(4, 1, stride=2)],
        {"channels": 3},
    ),
    "places": (
        [conv(4, 3, kernel_f=3), depthwise(4, 3, kernel_f=2), conv(5, 2, stride_f=2), conv(6, 2, kind="GROUPED")],
        {"channels": 2, "bins": 7},
    ),
    "wide": (
        [
            conv(5, 3),
            conv(16, 1),
            layer("residual", inner=[conv(16, 3)], kind="ADD"),
            conv(7, 1, activation="RELU"),
            conv(33, 2),
            conv(18, 1, stride=2),
            conv(8, 1),
            conv(3, 4, dilation=3, padding="causal"),
        ],
        {"channels": 1, "dtype": "int16"},
    ),
    "wide places": ([conv(4, 3, kernel_f=3), conv(5, 2, stride_f=2)], {"channels": 2, "bins": 7, "dtype": "int16"}),
    "sums": (
        [
            conv(19, 3),
            layer("residual", inner=[conv(19, 3)], kind="ADD"),
            layer("residual", inner=[conv(8, 1)], kind="SUB"),
            layer("residual", inner=[depthwise(19, 2)], kind="ADD"),
        ],
        {"channels": 2},
    ),
}


@pytest.mark.parametrize("board", BOARDS)
def test_packed_kernels_give_the_reference_s_bits(board: str) -> None:
    """Whole networks of odd shapes, in pushes of one frame and of many, on the board and in the reference engine."""
    with a_board(board) as connected:
        for name, (layers, options) in NETWORKS.items():
            network = build(layers, 64, **{"dtype": "int8", "seed": 7, **options})
            model = tcnstream.load(network.content)
            (x,) = signals(model.inputs, 64, seed=1)
            stream = model.stream(engine="reference")
            expected = np.concatenate([stream.push(x), stream.flush()])
            connected.start(Program.of(model))
            assert _packed_nodes(model, BOARDS[board]) >= 2
            made, at = [], 0
            for n in (1, 17, *[1] * 20, 26):
                made += connected.push([x[at : at + n]]).outputs
                at += n
            made += connected.flush().outputs
            answer = np.concatenate([y.reshape(-1) for y in made])
            assert answer.tobytes() == expected.tobytes(), name


def _packed_nodes(model: tcnstream.Model, family: str) -> int:
    content = write_plan(model.plan, family=family)
    return sum(node.op == ConvOp.FOURS for node in node_records(content) if node.kind in (1, 2))


def _given(board: Any, content: bytes) -> None:
    board.send_object(Object.PLAN, content)
    board.link.exchange(Kind.COMMIT, CommitRequest(Object.PLAN).pack())
    board.connect()


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_keeps_the_portable_plan_that_it_has(board: str) -> None:
    """One snapshot serves both plans, for they remember the same."""
    portable = program("nse_sm.i8")
    x = signals(portable.model.inputs, 150)[0]
    with a_board(board) as connected:
        _given(connected, portable.content)
        connected.start(portable)
        assert connected.runs(portable)
        connected.push([x[:100]])
        blob = connected.snapshot()
        expected = connected.push([x[100:]]).outputs[0]
        _given(connected, portable.packed_for(BOARDS[board]).content)
        connected.start(portable)
        assert not connected.runs(portable)
        connected.restore(blob)
        assert connected.push([x[100:]]).outputs[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("board", BOARDS)
def test_another_family_s_plan_is_refused_with_both_names(board: str) -> None:
    own = BOARDS[board]
    (other,) = set(BOARDS.values()) - {own}
    with (
        a_board(board) as connected,
        pytest.raises(RefusedError, match=f"packed for {other} and its core runs {own} plans"),
    ):
        _given(connected, program("nse_sm.i8").packed_for(other).content)
