"""Models with inputs without time, states that are fed back and several signatures, on a board."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.paths import DATA
from typer.testing import CliRunner

import tcnstream
from firmware_bridge.boards.program import Program
from firmware_bridge.cli.app import app
from firmware_bridge.errors import BridgeError
from tcnstream.errors import TcnStreamError

CONVERTED, INPUTS = DATA / "converted", DATA / "inputs"
STATIC = ("--static", "demo=0.5,-1")
STATES = ("--states", "h=output_1", "--states", "c=output_2")


def bridge(tmp_path: Path, command: str, path: Path, frame_size: int, target: str, *options: str) -> str:
    """What a command says; its refusals are raised."""
    x = np.random.default_rng(0).normal(size=(120, frame_size)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    said = CliRunner().invoke(
        app, [command, str(path), "--target", target, "--input", str(tmp_path / "x.npy"), *options]
    )
    if isinstance(said.exception, TcnStreamError):
        raise said.exception
    assert said.exit_code == 0, said.output
    return said.output


@pytest.mark.parametrize(
    ("path", "frame_size", "options"),
    [
        (CONVERTED / "m2_static.tflite", 2, STATIC),
        (INPUTS / "states_lstm_unclear.tflite", 20, STATES),
        (CONVERTED / "lt_multisig.tflite", 4, ("--signature", "raw")),
        (CONVERTED / "lt_multisig.tflite", 4, ("--signature", "tcn")),
    ],
)
def test_check_and_soak_open_a_model_as_run_does(
    path: Path, frame_size: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    assert "EQUAL: host computes what the host computes" in bridge(
        tmp_path, "check", path, frame_size, "host", *options
    )
    assert "EQUAL: host through" in bridge(
        tmp_path, "soak", path, frame_size, "host", "--frames", "100", "--chunk", "7", *options
    )


def test_values_that_are_missing_or_have_no_use_are_told(tmp_path: Path) -> None:
    path = CONVERTED / "m2_static.tflite"
    with pytest.raises(TcnStreamError, match=r"`demo` \(2,\) has no time .* pass static={'demo': \.\.\.}"):
        bridge(tmp_path, "check", path, 2, "host")
    with pytest.raises(TcnStreamError, match="static names `nobody`, which is no input without time"):
        bridge(tmp_path, "check", path, 2, "host", *STATIC, "--static", "nobody=1")
    with pytest.raises(BridgeError, match="has no --static: it answers whole windows"):
        bridge(tmp_path, "check", path, 2, "tflm?file=1", *STATIC)
    with pytest.raises(BridgeError, match="`demo` is none of the signal: check it as a stream"):
        bridge(tmp_path, "check", path, 2, "tflm?file=1")
    with pytest.raises(TcnStreamError, match="has no signature `no`; it has `tcn`, `raw`"):
        bridge(tmp_path, "check", CONVERTED / "lt_multisig.tflite", 4, "host", "--signature", "no")


def test_a_program_holds_what_its_stream_is_given() -> None:
    model = tcnstream.load(CONVERTED / "m2_static.tflite")
    one, other = (Program.of(model, static={"demo": value}) for value in ([0.5, -1], [0.5, 1]))
    assert one.sha256 != other.sha256
    x = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    (output,) = one.plan.outputs
    expected = model.stream(static={"demo": [0.5, -1]}).push(x)
    assert np.array_equal(one.all_frames([output], [x], flush=False)[output].reshape(expected.shape), expected)
