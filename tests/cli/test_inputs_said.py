"""What the commands say of inputs that are no single signal, of signatures, and of files that do not stream."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.installed import need_interpreter
from helpers.netfile import Net
from helpers.paths import DATA, MODELS

import tcnstream
from tcnstream.engines.interpreter.export import export_streaming
from tcnstream.engines.interpreter.runtime import open_interpreter

Call = Callable[..., tuple[int, str, str]]
INPUTS, CONVERTED = DATA / "inputs", DATA / "converted"


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """Two operations that turn time around, with one between them that streams."""
    net = Net()
    x = net.input((1, 12, 4))
    axes = net.constant([1], np.int32)
    turned = net.same(x, "REVERSE_V2", x.shape, 1, axes)
    back = net.same(net.same(turned, "RELU", x.shape, 1), "REVERSE_V2", x.shape, 1, axes)
    spread = net.same(back, "RELU", x.shape, 1)
    net.output(net.same(spread, "CUSTOM", x.shape, 1, custom_code="Wavelet"))
    (tmp_path / "refused.tflite").write_bytes(net.content())
    return tmp_path / "refused.tflite"


def test_inspect_of_a_refused_file_shows_all_that_is_in_the_way(call: Call, refused: Path) -> None:
    code, out, err = call("inspect", refused)
    assert code == 2 and err.startswith("tcnstream: `")
    assert "no streaming form. Inputs: t0 (1, 12, 4)." in plain(out)
    assert "time as axis 1: comes to op" in plain(out) and "in the way" in plain(out)
    facts = json.loads(call("inspect", refused, "--json")[1])
    assert facts["streamable"] is False
    assert [op["kind"] for op in facts["operations"]][:2] == ["REVERSE_V2", "RELU"]
    assert len(facts["time_axes"]) == 2 and len(facts["refusals"]) >= 1
    assert all(set(refusal) == {"index", "why"} for refusal in facts["refusals"])


def test_all_refusals_are_told_and_not_the_first_alone(call: Call) -> None:
    facts = json.loads(call("inspect", CONVERTED / "lt_circular.tflite", "--json")[1])
    assert [refusal["index"] for refusal in facts["refusals"]] == [1, 4, 7, 15, 18, 21]
    assert all("differs from frame to frame" in refusal["why"] for refusal in facts["refusals"])
    assert facts["inputs"] == [{"name": "args_0", "shape": [1, 1, 200], "dtype": "float32"}]


def test_variables_without_values_are_one_refusal(call: Call) -> None:
    facts = json.loads(call("inspect", CONVERTED / "k3_batchNone.tflite", "--json")[1])
    assert "is read before anything was assigned to it" in facts["refusals"][0]["why"]
    assert len(facts["operations"]) > 10


def test_what_is_no_model_shows_nothing(call: Call) -> None:
    assert call("inspect", __file__)[1] == ""


def test_inspect_says_what_inputs_are(call: Call) -> None:
    said = plain(call("inspect", INPUTS / "rates_and_static.tflite")[1])
    assert "inputs have different rates: frames per input frame are 1 of acc and 4 of ppg." in said
    assert "input who (6,) has no time: it is given once for a stream (--static)." in said
    said = plain(call("inspect", INPUTS / "states_lstm_named.tflite")[1])
    assert "output h_out is fed back to h_in, which begins as zeros" in said
    facts = json.loads(call("inspect", INPUTS / "states_lstm_named.tflite", "--json")[1])
    assert facts["states"] == {"h_in": "h_out", "c_in": "c_out"}


def test_a_signature_is_named_and_shown(call: Call) -> None:
    path = CONVERTED / "lt_multisig.tflite"
    assert "signature tcn; --signature takes another: raw." in plain(call("inspect", path)[1])
    facts = json.loads(call("inspect", path, "--signature", "raw", "--json")[1])
    assert (facts["signature"], facts["signatures"]) == ("raw", ["tcn", "raw"])
    code, _, err = call("inspect", path, "--signature", "rav")
    assert code == 2 and "has no signature `rav`; it has `tcn`, `raw`" in err


def test_states_are_said_as_pairs(call: Call) -> None:
    path = INPUTS / "states_lstm_unclear.tflite"
    code, _, err = call("inspect", path)
    assert code == 2 and "say --states h=output_1" in err and "or --states none if none is" in err
    said = ("--states", "h=output_1", "--states", "c=output_2")
    assert call("inspect", path, *said)[0] == 0
    assert "is no IN=OUT" in call("inspect", path, "--states", "h")[2]
    need_interpreter()
    assert call("verify", path, *said, "--chunkings", 1)[0] == 0


def test_static_values_are_numbers_or_a_file(call: Call, tmp_path: Path) -> None:
    path, signal, made = CONVERTED / "m2_static.tflite", tmp_path / "signal.csv", tmp_path / "frames.raw"
    signal.write_text("".join(f"{k},{-k}\n" for k in range(40)))
    run = ("run", path, signal, "--rate", 50, "--quiet", "--format", "raw", "--out", made)
    code, _, err = call(*run)
    assert code == 2 and "pass --static demo=..." in err
    np.save(tmp_path / "demo.npy", np.array([0.5, 1], np.float32))
    frames = []
    for values in ("0.5,1", f"{tmp_path}/demo.npy", "0,0"):
        assert call(*run, "--static", f"demo={values}")[0] == 0
        frames.append(made.read_bytes())
    assert frames[0] == frames[1] != frames[2] and len(frames[0]) == 40 * 2 * 4
    assert "is no list of numbers" in call(*run, "--static", "demo=a,b")[2]


def test_exports_hold_static_values(call: Call, tmp_path: Path) -> None:
    path = CONVERTED / "m2_static.tflite"
    for kind in ("plan", "c-header", "streaming-tflite"):
        assert call("export", path, tmp_path / "out", "--to", kind, "--static", "demo=0.5,1")[0] == 0
        assert "has no time and is given once" in call("export", path, tmp_path / "out", "--to", kind)[2]
    code, _, err = call("export", INPUTS / "states_dtln.tflite", tmp_path / "out")
    assert code == 2 and "keeps a state from frame to frame" in err and "op -1" not in err
    assert "as an export of a stream does: run it as it is, or export the model that it was made of" in err


def test_a_streaming_file_of_two_rates_takes_steps() -> None:
    need_interpreter()
    opened = tcnstream.load(CONVERTED / "m2_two_rates.tflite")
    made = export_streaming(opened.plan)
    interpreter = open_interpreter(made.content, exact=True)
    ends = [detail["shape"].tolist() for detail in interpreter.get_input_details()]
    assert ends == [[1, 1, 3], [1, 1, 4, 1]]
    rng = np.random.default_rng(0)
    acc, ppg = rng.standard_normal((30, 3)).astype(np.float32), rng.standard_normal((120, 1)).astype(np.float32)
    answers = []
    for k in range(30):
        for detail, x in zip(interpreter.get_input_details(), (acc[k], ppg[4 * k : 4 * k + 4]), strict=True):
            interpreter.set_tensor(detail["index"], x.reshape(detail["shape"]))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    got = np.concatenate(answers)[made.lag_frames[0] :]
    np.testing.assert_allclose(got, opened.stream().push(acc, ppg), rtol=1e-5, atol=1e-5)


def test_verify_says_what_becomes_of_the_edges_of_a_window(call: Call) -> None:
    need_interpreter()
    said = plain(call("verify", CONVERTED / "k3_causal.tflite", "--chunkings", 1)[1])
    assert "gives 128 frames of output_0; the first 30 and the last 0 depend on padding at its edges" in said
    assert "The 98 between them were compared, and are the stream's." in said
    facts = json.loads(call("verify", CONVERTED / "k3_causal.tflite", "--chunkings", 1, "--json")[1])
    (window,) = facts["own_window"]
    assert (window["left"], window["right"], window["inside_distance"]) == (30, 0, 0.0)
    assert window["edge_distance"] > 0.01


def test_inspect_says_which_entry_of_a_batch_is_the_stream(call: Call) -> None:
    path = CONVERTED / "k3b_b4.tflite"
    assert "takes a batch of 4, whose entries nothing mixes: a stream is the first one" in plain(
        call("inspect", path)[1]
    )
    assert json.loads(call("inspect", path, "--json")[1])["batch"] == 4
    assert tcnstream.load(CONVERTED / "k3_two_in.tflite").batch == 1


def test_verify_says_which_axis_is_time_where_another_would_do(call: Call) -> None:
    """It passed along either one, and nobody was told that electrodes had been taken for time."""
    need_interpreter()
    path = MODELS / "spectro.f32.tflite"
    plan = tcnstream.load(path).plan
    (axis,), ((other,),) = plan.input_axes, plan.other_axes
    said = plain(call("verify", path, "--chunkings", 1)[1])
    assert f"time is axis {axis} of (1, " in said and f"it would stream along axis {other}, too (--time-axis)" in said
    assert "too (--time-axis)" not in plain(call("verify", path, "--chunkings", 1, "--time-axis", axis)[1])
    facts = json.loads(call("verify", path, "--chunkings", 1, "--json")[1])
    assert (facts["time_axes"], facts["other_time_axes"]) == ([axis], [[other]])
