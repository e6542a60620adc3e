"""Targets that are no stream of our own firmware: stock Ambiq boards in `soak` and pytest, TensorFlow Lite Micro."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.bridge_tools import MODELS, a_board, program, signal, with_plugin
from helpers.bridge_twins import a_twin
from helpers.networks import build, layer
from helpers.paths import STATEFUL
from typer.testing import CliRunner

import tcnstream
from firmware_bridge.boards.program import Program
from firmware_bridge.check.run import check
from firmware_bridge.check.shadow import Shadow
from firmware_bridge.check.soak import soak
from firmware_bridge.cli.app import app
from firmware_bridge.errors import BridgeError
from firmware_bridge.neuralspot import open_stock_target, soak_stock
from firmware_bridge.targets import open_board
from tcnstream.errors import EngineError

SMALL = "nse_sm.i8"
MODEL = MODELS / f"{SMALL}.tflite"
STATEFUL = STATEFUL / "hey_mycroft.tflite"
pytest_plugins = ["pytester"]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "signal.npy"
    frames = np.resize(signal(SMALL), (1700, *signal(SMALL).shape[1:]))
    np.save(path, program(SMALL).model.inputs[0].dequantize(frames))
    return path


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


# --- stock firmware -----------------------------------------------------------------------------


def test_a_soak_of_a_stock_board_survives_damage_and_a_hung_up_line() -> None:
    model = program(SMALL).model

    def spoil(number: int, reply: bytes) -> bytes | None:
        if number == 9:
            return None
        return reply[:-3] + b"\xff" + reply[-2:] if number == 14 else reply

    told: list[str] = []
    with a_twin(model, spoil=spoil) as target:
        found = soak_stock(
            model,
            lambda: open_stock_target(target),
            signal(SMALL),
            frames=6 * model.window_frames,
            timeout_s=60.0,
            on_event=told.append,
        )
    assert found.passed, found.verdict
    assert found.frames_in == 6 * model.window_frames and found.frames_compared == 6 * model.window_frames
    assert found.line_failures == 2 and 0 < found.longest_outage_s < 60
    assert "hung up" in told[0] and "damaged on the line" in " ".join(told) and told == found.events


def test_a_soak_of_a_stock_board_ends_with_a_difference_or_a_lost_board() -> None:
    model = program(SMALL).model
    other = program("nse_lg.i8").model
    with a_twin(other) as target:
        found = soak_stock(model, lambda: open_stock_target(target), signal(SMALL), frames=10_000)
    assert not found.passed and found.verdict.startswith("DIFFERENT: output `")
    with a_twin(model, spoil=lambda number, reply: None if number > 3 else reply) as target:
        found = soak_stock(model, lambda: open_stock_target(target), signal(SMALL), frames=10_000, recover_s=1.0)
    assert "did not come back within 1 s" in found.verdict and found.frames_in < 10_000


def test_a_model_with_its_own_state_is_not_soaked_on_stock_firmware() -> None:
    model = tcnstream.load(STATEFUL)
    x = np.zeros((10 * model.window_frames, *model.inputs[0].shape), np.float32)
    with a_twin(model) as target, pytest.raises(BridgeError, match="keeps its own state on the board"):
        soak_stock(model, lambda: open_stock_target(target), x, frames=100)


def test_soak_and_check_of_a_stock_board_from_the_command_line(recording: Path, tmp_path: Path) -> None:
    with a_twin(program(SMALL).model) as target:
        made = run("soak", MODEL, "-t", target, "-i", recording, "--frames", 2400, "--json")
        assert made.exit_code == 0 and json.loads(made.stdout)["frames_in"] == 2400
        junit = tmp_path / "r.xml"
        assert run("check", MODEL, "-t", target, "-i", recording, "--junit", junit).exit_code == 0
        (case,) = ElementTree.parse(junit).getroot()
        assert str(case.get("name")).startswith("output ")
        refused = run("soak", MODEL, "-t", target, "-i", recording, "--frames", 10, "--faults", "drop=0.1")
        assert isinstance(refused.exception, BridgeError) and "has no --faults" in str(refused.exception)


@pytest.mark.parametrize("convention", ["validator", "heartkit"])
def test_the_pytest_plugin_on_a_stock_board(
    convention: Any, pytester: pytest.Pytester, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = with_plugin(monkeypatch)
    pytester.makepyfile(
        f"""
        def test_board(hil_check):
            report = hil_check({str(MODEL)!r}, {str(recording)!r}, tolerance="exact")
            assert report.passed, report.verdict
            assert report.windows == 3 and report.convention == {convention!r}

        def test_itself(board):
            pass
        """
    )
    with a_twin(program(SMALL).model, convention) as target:
        told = pytester.runpytest_inprocess(*plugin, "--hil-target", target)
    told.assert_outcomes(passed=1, errors=1)
    assert "stock firmware answers whole windows only; use `hil_check`" in told.stdout.str().replace("\nE  ", "")
    pytester.runpytest_inprocess(*plugin, "--hil-target", target, "-k", "test_board").assert_outcomes(failed=1)


# --- TensorFlow Lite Micro ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["strided.i8", "unet_max.f32", "nse_lg.i8", "causal.i16"])
def test_tflm_agrees_in_whole_hops_and_its_state_crosses_both_ways(name: str) -> None:
    ours = program(name, "tflm")
    with a_board("tflm") as board:
        board.start(ours)
        report = check(ours, board, signal(name, 203), taps="all")
        assert board.hop_frames == {"strided.i8": 16, "unet_max.f32": 8}.get(name, 1)
    assert report.passed, report.verdict
    stages = {stage.name: stage for stage in report.stages}
    assert stages["state"].states >= 1 and {t.role for t in report.tensors} == {"output", "state", "tensor"}
    for crossing in ("snapshot of the host, restored on the board", "snapshot of the board, restored on the host"):
        assert stages[crossing].states == 1 and stages[crossing].frames > 0
    assert ("takes hops of" in stages["random chunks"].note) == (name == "strided.i8")


def test_tflm_in_hops_of_the_user_s_choice() -> None:
    with a_board("tflm?hop=3", SMALL) as board:
        report = check(program(SMALL), board, signal(SMALL, 100))
        assert report.passed and board.hop_frames == 3, report.verdict
        board.reset()
        board.push([signal(SMALL, 4)])
        with pytest.raises(BridgeError, match="1 frames wait for the rest of one; push that first"):
            board.snapshot()
        with pytest.raises(EngineError, match=r"after whole hops of 3 frames .* took 4 frames"):
            stream = open_board("host", program(SMALL))
            try:
                stream.push([signal(SMALL, 4)])
                board.restore(stream.snapshot())
            finally:
                stream.close()


def test_a_dense_layer_over_time_is_named_as_the_file_has_it() -> None:
    """Flattening and a dense layer become one convolution over time, which is still that dense layer."""
    net = build([layer("tap")], 51, channels=2, dtype="int16", head="flatten", seed=2)
    dense = Program.of(tcnstream.load(net.content))
    (port,) = dense.model.inputs
    x = np.random.default_rng(0).integers(-32768, 32768, (300, *port.shape)).astype(np.int16)
    with a_board("tflm") as board:
        board.start(dense)
        found = check(dense, board, x).first_difference
    assert found is not None and found.operation.startswith("FULLY_CONNECTED (op 1, ")
    assert "rounds twice" in found.cause


def test_tflm_is_soaked_and_shadowed() -> None:
    with a_board("tflm"):
        pass
    found = soak(program(SMALL), lambda: open_board("tflm", program(SMALL)), signal(SMALL, 300), frames=2500)
    assert found.passed and found.states_compared == 3, found.verdict
    strided = program("strided.i8")
    found = soak(strided, lambda: open_board("tflm", strided), signal("strided.i8", 333), frames=4000)
    assert found.passed and found.frames_compared > 100 and found.states_compared >= 1, found.verdict
    with a_board("tflm", SMALL) as board:
        with Shadow(program(SMALL).model.stream(), board, program(SMALL)) as shadow:
            for k in range(0, 200, 10):
                shadow.push(signal(SMALL)[k : k + 10])
        assert shadow.report().passed and shadow.report().frames > 150
    with a_board("tflm?hop=4", SMALL) as board, pytest.raises(BridgeError, match="takes hops of 4 frames"):
        Shadow(program(SMALL).model.stream(), board, program(SMALL))
