"""The commands as a person and as a program use them."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from helpers.installed import need_interpreter
from helpers.netfile import Net
from helpers.networks import build, layer
from helpers.paths import AUDIO, ECG, MODELS, STATEFUL

import tcnstream
from tcnstream.cli import bench as bench_command
from tcnstream.cli import show
from tcnstream.cli import verify as verify_command
from tcnstream.engines.interpreter import runtime
from tcnstream.engines.interpreter.export import export_streaming
from tcnstream.engines.native.core import load_core
from tcnstream.engines.native.layout.codes import MAX_PORTS
from tcnstream.engines.native.planfile.c_array import Room, c_header
from tcnstream.measure import verify as measured
from tcnstream.measure.bench import Measurement
from tcnstream.measure.verify import Check, Difference, VerifyReport
from tcnstream.signal.card import load_card, shipped_models
from tcnstream.signal.outfile import write_file
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.writer import write_model

COMMANDS = ("inspect", "run", "verify", "bench", "export", "demo")
Call = Callable[..., tuple[int, str, str]]


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """The command line in another process, of the package that is tested here, wherever it lies.

    A run of the tests in the background ignores Ctrl-C, and its children with it: here they hear it all the same.
    """
    command = [sys.executable, "-P", "-m", "tcnstream", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(tcnstream.__file__).parents[1])}
    listen = None if os.name == "nt" else partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(  # type: ignore[call-overload]
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, preexec_fn=listen, **options
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(call: Call, command: str) -> None:
    code, out, _ = call(command, "--help")
    assert code == 0
    assert f"Example: tcnstream {command}" in re.sub(r"\s+", " ", out.replace("`", ""))


def test_version(call: Call) -> None:
    assert call("--version")[:2] == (0, f"tcnstream {tcnstream.__version__}\n")


def test_inspect_shows_a_row_per_operation_and_totals(call: Call, model: Path) -> None:
    code, out, _ = call("inspect", model)
    loaded = tcnstream.load(model)
    assert code == 0
    for row in loaded.rows():
        assert any(row.kind in line and f"{row.state_bytes:,}" in line for line in out.splitlines())
    total = next(line for line in out.splitlines() if "total" in line).split()
    assert total[1:4] == [str(loaded.delay), str(loaded.receptive_field), f"{loaded.state_bytes:,}"]
    assert "128 ms at 250 Hz" in out


def test_inspect_for_programs(call: Call, model: Path) -> None:
    code, out, _ = call("inspect", model, "--json")
    facts = json.loads(out)
    loaded = tcnstream.load(model)
    assert code == 0 and facts["delay_frames"] == loaded.delay
    assert sum(row["state_bytes"] for row in facts["operations"]) == facts["state_bytes"]
    assert [row["kind"] for row in facts["operations"]] == [row.kind for row in loaded.rows()]


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_inspect_says_what_a_card_says(call: Call, name: str) -> None:
    card = load_card(shipped_models()[name])
    facts = json.loads(call("inspect", name, "--json")[1])
    assert facts["card"]["limits"] == card.limits and facts["card"]["quality"] == card.quality
    shown = re.sub(r"\s+", " ", call("inspect", name)[1])
    for said in (card.training_data, card.licence, card.limits, str(card.quality["measured"])):
        assert re.sub(r"\s+", " ", said) in shown
    for label in set(card.quality) & set(card.labels):
        assert f"quality.{label}: f1 {card.quality[label]['f1']:g}" in shown
    if name.startswith("ecg_beats"):
        assert "quality.unseen: 4, 7, 8, " in shown


@pytest.fixture
def slow_model(tmp_path: Path) -> Path:
    """Labels at a quarter of the input's rate, each from the four frames around it and their neighbours."""
    layers = [layer("convolution", kernel=3, channels=2), layer("tap"), layer("pooling", size=4, stride=4)]
    path = tmp_path / "slow.tflite"
    path.write_bytes(build(layers, 64, channels=1).content)
    return path


def test_inspect_says_rates_as_fractions_and_delays_in_milliseconds(call: Call, slow_model: Path) -> None:
    out = re.sub(r"\s+", " ", call("inspect", slow_model, "--rate", 1000)[1])
    assert "an output frame trails its input by 4 frames = 4 ms at 1000 Hz" in out
    assert "1 frames per input frame = 1000 Hz, delay 1 frames = 1 ms; its frame j stands at input frame 1 * j." in out
    assert (
        "1/4 frames per input frame = 250 Hz, delay 4 frames = 4 ms; its frame j stands at input frame 4 * j + 3/2."
        in out
    )
    facts = json.loads(call("inspect", slow_model, "--rate", 1000, "--json")[1])
    assert (facts["rate_hz"], facts["delay_frames"], facts["delay_ms"]) == (1000, 4, 4)
    kept = [[o[k] for k in ("rate", "rate_hz", "delay_frames", "delay_ms", "offset_frames")] for o in facts["outputs"]]
    assert kept == [["1", 1000, 1, 1, 0], ["1/4", 250, 4, 4, 1.5]]
    facts = json.loads(call("inspect", slow_model, "--json")[1])
    assert (facts["rate_hz"], facts["delay_ms"], facts["outputs"][1]["rate_hz"]) == (None, None, None)
    assert call("inspect", slow_model, "--rate", 0)[0] == 2


def test_run_puts_the_labels_of_a_slow_output_where_they_belong(call: Call, slow_model: Path, tmp_path: Path) -> None:
    x = np.repeat(np.random.default_rng(3).normal(0, 3, 16), 4)[:, None].astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    model = tcnstream.load(slow_model)
    stream = model.stream(rate_hz=8)
    slow = np.concatenate([part[1] for part in (stream.push(x), stream.flush())])
    labels = slow.argmax(axis=1)
    changes = [0, *(np.flatnonzero(np.diff(labels)) + 1), len(labels)]
    assert len(changes) > 4
    middles = stream.times(slow, output=1)
    # Four frames of 1/8 s, half of them before the middle; a frame of the input lasts from its time on.
    starts = [middles[k] - 0.25 + 0.0625 for k in changes[:-1]]
    _, out, _ = call("run", slow_model, tmp_path / "x.npy", "--rate", 8, "--head", "1")
    found = [json.loads(line) for line in out.splitlines()]
    assert starts == [k / 2 for k in changes[:-1]]
    assert [s["start_s"] for s in found] == pytest.approx(starts)
    assert [s["end_s"] for s in found] == pytest.approx([k / 2 for k in changes[1:]])


def test_run_writes_raw_frames_equal_to_the_offline_answer(call: Call, tmp_path: Path) -> None:
    with np.load(MODELS / "nse_lg.f32.npz") as known:
        x, y = known["x"], known["y"]
    np.save(tmp_path / "x.npy", x.reshape(-1, 1))
    code, _, _ = call("run", MODELS / "nse_lg.f32.tflite", tmp_path / "x.npy", "-f", "raw", "-o", tmp_path / "y.npy")
    assert code == 0
    got = np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(got, y.reshape(got.shape), rtol=1e-5, atol=1e-5)


def test_run_gives_the_same_segments_in_every_format(call: Call, model: Path, tmp_path: Path) -> None:
    code, out, err = call("run", model, ECG)
    assert code == 0 and "channel MLII, 360 Hz -> 250 Hz, mV" in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) > 10 and {line["label"] for line in lines} <= {"p", "qrs", "t", "u"}
    assert all(0 <= line["start_s"] < line["end_s"] <= 60 and 0 < line["probability"] <= 1 for line in lines)
    assert all(line["end_s"] - line["start_s"] >= 0.0199 for line in lines if line["label"] == "qrs")
    assert call("run", model, ECG, "-f", "csv", "-o", tmp_path / "x.csv", "--quiet") == (0, "", "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert [(float(row["start_s"]), row["label"]) for row in rows] == [(s["start_s"], s["label"]) for s in lines]


def test_run_writes_wfdb_annotations_at_the_rate_of_the_recording(call: Call, model: Path, tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    code, _, _ = call("run", model, ECG, "-f", "wfdb", "-o", tmp_path / "ecg.tcn")
    assert code == 0
    annotations = wfdb.rdann(str(tmp_path / "ecg"), "tcn")
    assert annotations.fs == 360 and annotations.sample.max() < 60 * 360
    assert {"(", ")", "N", "t"} <= set(annotations.symbol)


def test_run_reads_wfdb_and_chooses_the_channel(call: Call, model: Path, tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    x = np.loadtxt(ECG, comments="#", skiprows=4)
    signals = np.stack([np.zeros_like(x), x], axis=1)
    wfdb.wrsamp("r", 360, ["uV", "uV"], ["flat", "ecg"], signals * 1000, fmt=["16", "16"], write_dir=str(tmp_path))
    code, out, _ = call("run", model, tmp_path / "r.hea", "-c", "ecg")
    direct = call("run", model, ECG)[1]
    assert code == 0
    # Format 16 rounds the microvolts; a boundary here and there moves by a frame.
    assert abs(len(out.splitlines()) - len(direct.splitlines())) <= len(direct.splitlines()) // 20


def test_a_pipe_gives_the_same_as_a_file(model: Path, tmp_path: Path) -> None:
    x = np.loadtxt(ECG, comments="#", skiprows=4).astype("<f4")
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "x.f32").write_bytes(x.tobytes())
    for rate_hz, chosen in ((250, []), (360, ["--no-low-latency"]), (360, ["--low-latency"])):
        arguments = ("--rate", rate_hz, "--units", "mV", "--quiet", *chosen)
        with start("run", model, tmp_path / "x.npy", *arguments) as process:
            expected, _ = process.communicate()
        with start("run", model, "-", *arguments, stdin=subprocess.PIPE) as process:
            got, err = process.communicate(x.tobytes())
        assert process.returncode == 0 and err == b""
        assert got == expected and len(got.splitlines()) > 10


def test_a_file_as_standard_input_gives_the_same_as_by_its_name(model: Path, tmp_path: Path) -> None:
    x = np.loadtxt(ECG, comments="#", skiprows=4).astype("<f4")[:7200]
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "x.f32").write_bytes(x.tobytes())
    arguments = ("--rate", 360, "--units", "mV", "--quiet")
    with start("run", model, tmp_path / "x.npy", *arguments) as process:
        expected, _ = process.communicate()
    with (tmp_path / "x.f32").open("rb") as file, start("run", model, "-", *arguments, stdin=file) as process:
        assert process.communicate()[0] == expected and len(expected.splitlines()) > 10


@pytest.mark.parametrize(
    ("options", "hurries", "most_lag_s", "said"),
    [
        (
            ["--rate", 360],
            True,
            0.33,
            "5.56 ms for the rate's conversion by interpolation (--no-low-latency: the filte",
        ),
        (["--rate", 250], False, 0.33, "an answer waits for 192 ms that the model looks ahead"),
        (
            ["--rate", 360, "--no-low-latency"],
            False,
            0.65,
            "322 ms for the rate's conversion by filters (--low-latency",
        ),
    ],
)
def test_a_pipe_is_answered_at_once_unless_filters_are_asked_for(
    options: list[object], hurries: bool, most_lag_s: float, said: str
) -> None:
    x = np.loadtxt(ECG, comments="#", skiprows=4).astype("<f4")[:3600]
    rate_hz = float(str(options[1]))
    pipeline = tcnstream.Pipeline("ecg", rate_hz=rate_hz, units="mV", low_latency=hurries)
    known = [(segment, at / rate_hz) for at, value in enumerate(x, 1) for segment in pipeline.push(value[None])]
    assert max(at_s - segment.end_s for segment, at_s in known) < most_lag_s
    with start("run", "ecg", "-", "--units", "mV", *options, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        give_up = threading.Timer(90, process.kill)
        give_up.start()
        process.stdin.write(x.tobytes())
        process.stdin.flush()
        lines = [json.loads(process.stdout.readline()) for _ in known]
        process.stdin.close()
        assert said in process.stderr.read().decode()
        give_up.cancel()
    assert [line["end_s"] for line in lines] == [pytest.approx(segment.end_s) for segment, _ in known]


def test_a_pipe_is_answered_while_it_is_open(model: Path) -> None:
    x = np.loadtxt(ECG, comments="#", skiprows=4).astype("<f4")
    options = ("--rate", 360, "--raw-format", "f32le", "--quiet")
    with start("run", model, "-", *options, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(x[:7200].tobytes())
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        process.stdin.close()
        process.stdout.read()
        assert first["start_s"] < 20 and process.wait() == 0


@pytest.mark.parametrize("empty", [np.zeros(0, np.float32), np.zeros((0, 1), np.float32)])
def test_a_recording_of_no_frames_is_refused(call: Call, model: Path, tmp_path: Path, empty: np.ndarray) -> None:
    recording, out = tmp_path / "x.npy", tmp_path / "y.jsonl"
    np.save(recording, empty)
    out.write_text("an older answer")
    says = f"tcnstream: {recording} holds no samples: give a recording with at least one frame\n"
    assert call("run", model, recording, "--rate", 250, "--quiet") == (2, "", says)
    assert call("run", model, recording, "--rate", 250, "--quiet", "--hold-gaps", "-o", out) == (2, "", says)
    assert call("verify", model, "--input", recording, "--rate", 250, "--units", "mV") == (2, "", says)
    assert out.read_text() == "an older answer"


def test_a_pipe_without_a_sample_is_refused(model: Path) -> None:
    command = [sys.executable, "-m", "tcnstream", "run", str(model), "-", "--rate", "250", "--quiet"]
    for kind in ("f32le", "text"):
        run = subprocess.run([*command, "--raw-format", kind], input=b"", capture_output=True)
        assert run.returncode == 2 and not run.stdout and b"give a recording with at least one frame" in run.stderr


def test_an_assumed_unit_is_said(call: Call, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(300, np.float32))
    _, _, err = call("run", model, tmp_path / "x.npy", "--rate", 250)
    assert f"{tmp_path / 'x.npy'} does not say its unit: taken for mV (else give --units)" in err
    for said in (("--units", "mV"), ("--quiet",)):
        assert "does not say its unit" not in call("run", model, tmp_path / "x.npy", "--rate", 250, *said)[2]
    assert "does not say its unit" not in call("run", model, ECG)[2]
    assert (
        "does not say its unit: taken for mV" in call("verify", model, "--input", tmp_path / "x.npy", "--rate", 250)[2]
    )


def test_what_is_read_is_never_written_over(call: Call, model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(ECG.read_bytes())
    (tmp_path / "r.hea").write_text("r 1 360 8\nr.dat 16 200 12 0 0 0 0 II\n")
    (tmp_path / "r.dat").write_bytes(bytes(16))
    (tmp_path / "link.csv").symlink_to("x.csv")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    recording = tmp_path / "x.csv"
    for arguments in (
        ("run", model, recording, "-o", recording),
        ("run", model, recording, "-o", tmp_path / "link.csv"),
        ("run", model, tmp_path / "r.hea", "-o", tmp_path / "r.dat"),
        ("run", model, recording, "-f", "raw", "-o", model),
        ("export", model, model),
        ("export", model, recording, "--to", "plan", "--time-pooling", "frozen", "--calibration", recording),
    ):
        code, _, err = call(*arguments)
        assert code == 2 and "is read here and would be written over: name another file" in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_recording_that_cannot_be_read_leaves_an_older_answer_alone(call: Call, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("1\n2\nthree\n")
    for kind, name in (("jsonl", "y.jsonl"), ("csv", "y.csv"), ("raw", "y.raw"), ("raw", "y.npy"), ("wfdb", "y.tcn")):
        if kind == "wfdb":
            pytest.importorskip("wfdb")
        (tmp_path / name).write_text("the answer of yesterday")
        code, _, err = call("run", model, tmp_path / "bad.csv", "--rate", 250, "-f", kind, "-o", tmp_path / name)
        assert code == 2 and "line 3, column 0 is 'three' and not a number" in err
        assert (tmp_path / name).read_text() == "the answer of yesterday"


@pytest.mark.parametrize("name", ["y.jsonl", "y.csv", "y.raw", "y.npy", "y.tcn"])
def test_what_was_final_when_a_recording_broke_off_is_kept(call: Call, model: Path, tmp_path: Path, name: str) -> None:
    kind = {".npy": "raw", ".tcn": "wfdb"}.get(Path(name).suffix, name[2:])
    if kind == "wfdb":
        pytest.importorskip("wfdb")
    lines = ECG.read_text().splitlines()
    (tmp_path / "cut.csv").write_text("\n".join([*lines[:9000], "three"]))
    (tmp_path / "whole.csv").write_text("\n".join(lines[:9000]))
    assert call("run", model, tmp_path / "cut.csv", "-f", kind, "-o", tmp_path / name)[0] == 2
    assert call("run", model, tmp_path / "whole.csv", "-f", kind, "-o", tmp_path / f"w{name}")[0] == 0
    if name == "y.npy":
        cut, all_frames = np.load(tmp_path / name), np.load(tmp_path / "wy.npy")
        np.testing.assert_array_equal(cut, all_frames[: len(cut)])
        assert len(cut) > len(all_frames) / 2
        return
    cut_bytes, all_bytes = ((tmp_path / file).read_bytes() for file in (name, f"w{name}"))
    assert len(cut_bytes) > len(all_bytes) / 2
    # Annotations end in two bytes that say so.
    common = cut_bytes[:-2] if kind == "wfdb" else cut_bytes
    assert all_bytes.startswith(common)


def test_numbers_are_never_cut_on_a_narrow_terminal(call: Call, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = call("inspect", model)[1].split()
    monkeypatch.setattr(show.out, "width", 30)
    narrow = call("inspect", model)[1]
    assert "…" not in narrow
    assert [word for word in wide if word[0].isdigit()] == [word for word in narrow.split() if word[0].isdigit()]
    assert "…" not in call("bench", model, "--hop", 1, "--engine", "interpreter-fast", "--rounds", 1)[1]
    assert "…" not in call("verify", model, "--chunkings", 1)[1]


def test_large_counts_are_shown_to_the_last_digit(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "wide.tflite"
    path.write_bytes(build([layer("convolution", kernel=9, channels=611)], 32, channels=611).content)
    assert f"{9 * 611 * 611:,}" in call("inspect", path)[1]
    assert f" {9 * 611 * 611} multiply-adds per input frame" in tcnstream.load(path).summary()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupt_keeps_what_was_final(model: Path, tmp_path: Path) -> None:
    x = np.loadtxt(ECG, comments="#", skiprows=4).astype("<f4")
    output = tmp_path / "y.npy"
    arguments = ("-", "--rate", 250, "--raw-format", "f32le", "-f", "raw", "-o", output)
    with start("run", model, *arguments, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(x.tobytes())
        process.stdin.flush()
        end = time.monotonic() + 90
        while time.monotonic() < end and not any(file.stat().st_size > 300_000 for file in tmp_path.glob(".y.npy.*")):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(90)
        assert process.returncode == 130
        assert f"interrupted: {output} holds what was final by then" in process.stderr.read().decode()
    assert len(np.load(output)) > 15_000


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupt_stops_without_a_traceback(model: Path) -> None:
    with start("run", model, "-", "--rate", "250", stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        end = time.monotonic() + 90
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert process.returncode == 130
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("arguments", [("run", ECG), ("inspect",), ("inspect", "--json"), ("inspect", "--help")])
def test_a_closed_pipe_stops_without_a_traceback(model: Path, arguments: tuple[object, ...]) -> None:
    with start(arguments[0], model, *arguments[1:]) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait() == 141  # not 1, with which `verify` says that the contract does not hold
        assert b"Traceback" not in process.stderr.read()


def test_verify_proves_the_contract_on_a_recording(call: Call, model: Path) -> None:
    need_interpreter()
    code, out, _ = call("verify", model, "--input", ECG, "--chunkings", 2, "--seed", 3)
    assert code == 0
    assert "the stream equals the offline answer, bit for bit, over 15,000 input frames" in out


def test_verify_names_the_first_frame_and_tensor_that_differ(
    call: Call, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Difference(frame=17, tensor="conv_2", operation="CONV_2D (op 4)", expected=3.0, got=4.0)
    report = VerifyReport("interpreter", 800, (Check("chunking 1 of 1", False, 800, 1.0, "", found),))
    monkeypatch.setattr(verify_command, "compare", lambda *_, **__: report)
    code, out, _ = call("verify", model)
    assert code == 1
    assert "first difference at frame 17 of tensor conv_2, made by CONV_2D (op 4): expected 3, got 4." in out


def test_verify_for_programs(call: Call, model: Path) -> None:
    need_interpreter()
    code, out, _ = call("verify", model, "--chunkings", 1, "--json")
    report = json.loads(out)
    assert code == 0 and report["passed"] and all(check["distance"] == 0 for check in report["checks"])


def test_bench_measures_every_engine_and_hop(call: Call, model: Path) -> None:
    need_interpreter()
    code, out, _ = call("bench", model, "--hop", 1, "--hop", 16, "--engine", "interpreter", "--rounds", 1, "--json")
    rows = json.loads(out)
    assert code == 0 and [row["hop_frames"] for row in rows] == [1, 16]
    assert all(row["us_per_frame"] > 0 for row in rows)
    assert call("bench", model, "--hop", 160, "--engine", "interpreter-fast", "--rounds", 1)[0] == 0


def test_bench_shows_large_costs_without_powers_of_ten(
    call: Call, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Measurement("reference", 1, cost_us, 123_456_700.0, 800) for cost_us in (98_765.4, 1234.56, 0.98765)]
    monkeypatch.setattr(bench_command, "measure", lambda *_, **__: rows)
    out = call("bench", model, "--engine", "reference")[1]
    assert [line.split()[2:] for line in out.splitlines() if line.startswith("reference")] == [
        ["98,765", "98,765", "123,456,700", "1,250"],
        ["1235", "1235", "123,456,700", "100,001"],
        ["0.9877", "0.9877", "123,456,700", "125,000,456"],
    ]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_demo_shows_segments_heart_rate_and_a_picture(call: Call, model: Path, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / f"ecg.{suffix}"
    code, out, _ = call("demo", "ecg", "--model", model, "--out", picture)
    assert code == 0
    assert "mean probability" in out and "heart rate:" in out and f"picture: {picture}" in out
    assert picture.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    code, out, _ = call("demo", "ecg", "--model", model, "--out", picture, "--json")
    assert code == 0 and json.loads(out)["signal_s"] == 60


MISTAKES: list[tuple[tuple[object, ...], str]] = [
    (("inspect", "nothing"), "there is no model 'nothing'"),
    (("inspect", __file__), "no TFLite file"),
    (("inspect", MODELS / "spectro.f32.tflite", "--time-axis", 9), "axis"),
    (("run", "MODEL", "none.wav"), "there is no file none.wav"),
    (("run", "MODEL", ECG, "--channel", "V9"), "has no channel 'V9': choose one of MLII"),
    (("run", "MODEL", ECG, "-c", "0", "-c", "0"), "takes 1 channel(s) and 2 are chosen"),
    (("run", "MODEL", ECG, "--format", "xml"), "there is no format 'xml'"),
    (("run", "MODEL", ECG, "--format", "wfdb"), "name it with --out"),
    (("run", "MODEL", ECG, "--raw-format", "u8"), "there is no raw format 'u8'"),
    (("run", "MODEL", ECG, "--engine", "magic"), "--engine magic is unknown"),
    (("run", "MODEL", ECG, "--units", "bar"), "is in bar and the model takes mV"),
    (("run", "MODEL", ECG, "--rate", "-5"), "give one above 0"),
    (("run", "MODEL", ECG, "--rate", "0"), "cannot have 0 samples a second"),
    (("run", MODELS / "nse_lg.i8.tflite", ECG, "--rate", "0"), "cannot have 0 samples a second"),
    (("run", MODELS / "nse_lg.i8.tflite", ECG, "--rate", "-1"), "cannot have -1 samples a second"),
    (("run", "MODEL", ECG, "--rate", "inf", "--duration", "1"), "cannot have inf samples a second"),
    (("run", "MODEL", ECG, "--gain", "nan"), "a gain of nan leaves nothing"),
    (("run", "MODEL", ECG, "--gain", "0"), "a gain of 0 leaves nothing"),
    (("run", "MODEL", ""), ". is a folder: give a recording in it"),
    (("run", "MODEL", ECG, "-o", "/nonexistent/x.jsonl"), "there is no folder /nonexistent for x.jsonl"),
    (("run", "MODEL", ECG, "-o", MODELS), "is a folder: name a file in it"),
    (("run", "MODEL", ECG, "-f", "wfdb", "-o", "ecg.dat"), "ecg.dat would be a part of the record itself"),
    (("run", MODELS / "nse_lg_se.f32.tflite", ECG), "--time-pooling trailing (the last frames)"),
    (("run", MODELS / "nse_lg_se.f32.tflite", ECG, "--time-pooling", "frozen"), "pass --calibration"),
    (("inspect", MODELS), "is a folder: give a .tflite file"),
    (("run", "MODEL", ECG, "--calibration", ECG), "--calibration is for --time-pooling frozen alone"),
    (("verify", "MODEL", "--calibration", ECG, "--time-pooling", "trailing"), "for --time-pooling frozen alone"),
    (("export", "MODEL", "x.tflite", "--calibration", ECG), "--to streaming-tflite has no --calibration"),
    (("verify", "MODEL", "--input", "none.csv"), "there is no file none.csv"),
    (("bench", "MODEL", "--hop", 0), "pushes nothing"),
    (("bench", "MODEL", "--plot", "/nonexistent/x.svg"), "there is no folder /nonexistent for x.svg"),
    (("bench", "MODEL", "--plot", "x.doc"), "of no kind that can be drawn"),
    (("export", "MODEL", "/nonexistent/x.tflite"), "there is no folder /nonexistent for x.tflite"),
    (("export", "MODEL", "x.tflite", "--to", "onnx"), "there is no export 'onnx'"),
    (("demo", "eeg"), "there is no demo 'eeg'"),
    (("demo", "ecg", "--out", "/nonexistent/x.png"), "there is no folder /nonexistent for x.png"),
    (("demo", "ecg", "--model", "MODEL", "--out", "ecg.doc"), "of no kind that can be drawn"),
    (("run", "MODEL"), "Missing argument"),
    (("fly",), "No such command"),
]


@pytest.mark.parametrize(("arguments", "text"), MISTAKES, ids=[" ".join(map(str, m[0][:3]))[-40:] for m in MISTAKES])
def test_a_mistake_is_one_sentence_and_exit_code_2(
    call: Call, model: Path, arguments: tuple[object, ...], text: str
) -> None:
    code, _, err = call(*(model if argument == "MODEL" else argument for argument in arguments))
    assert code == 2 and text in err
    if not err.startswith("Usage"):
        assert err.splitlines()[-1].startswith("tcnstream: ")


def test_an_unexpected_error_is_a_sentence_too(call: Call, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("tcnstream.opened.load", broken)
    code, _, err = call("inspect", model)
    assert code == 2 and "unexpected ZeroDivisionError: by zero; this is a bug" in err


def test_a_recording_with_too_few_channels_is_refused(call: Call, tmp_path: Path) -> None:
    many = next(path for path in sorted(MODELS.glob("*.tflite")) if inputs(path) > 1)
    code, _, err = call("run", many, ECG)
    assert code == 2 and "has 1" in err


def inputs(path: Path) -> int:
    try:
        return int(np.prod(tcnstream.load(path).inputs[0].shape))
    except tcnstream.TcnStreamError:
        return 0


def test_export_writes_what_the_library_makes(call: Call, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "stream.tflite"
    code, out, _ = call("export", model, output, "--to", "streaming-tflite", "--hop", 10, "--json")
    facts, made = json.loads(out), export_streaming(tcnstream.load(model), 10)
    assert code == 0 and output.read_bytes() == made.content
    assert facts["hop_frames"] == 10 and facts["operations"] == list(made.operations)
    code, out, _ = call("export", model, output)
    assert code == 0 and f"drop the first {made.lag_frames[0]}" in out


def test_export_writes_a_plan_and_a_c_array(call: Call, model: Path, tmp_path: Path) -> None:
    plan, header = tmp_path / "ecg.plan", tmp_path / "my ecg.h"
    content = tcnstream.load(model).plan_file(rounding="tflm")
    code, out, _ = call("export", model, plan, "--to", "plan", "--rounding", "tflm", "--json")
    facts = json.loads(out)
    assert code == 0 and plan.read_bytes() == content
    assert facts["plan_bytes"] == len(content) and facts["rounding"] == "tflm" and facts["symbol"] is None
    code, out, _ = call("export", model, header, "--to", "c-header", "--rounding", "tflm")
    sizes = load_core().Plan(content, block=64).facts()
    room = Room(sizes["state_bytes"], sizes["scratch_bytes"], 64)
    assert code == 0 and header.read_text() == c_header(content, "my_ecg_plan", room)
    assert f"#define MY_ECG_PLAN_STATE_BYTES {room.state_bytes}u" in header.read_text()
    assert f"a plan of {len(content):,} bytes" in out and "my_ecg_plan" in out
    code, out, _ = call("export", model, plan, "--to", "plan", "--family", "cortex-m-dsp", "--json")
    packed = json.loads(out)
    assert code == 0 and packed["plan_bytes"] < facts["plan_bytes"] and packed["operations"] == facts["operations"]
    code, _, err = call("export", model, header, "--to", "c-header", "--symbol", "2nd")
    assert code == 2 and "'2nd' is no name in C" in err
    code, _, err = call("export", model, tmp_path / "a.h", "--to", "c-header", "--symbol", "while")
    assert code == 2 and "'while' is no name in C" in err and not (tmp_path / "a.h").exists()
    for taken in ("tcn", "string"):
        code, _, err = call("export", model, tmp_path / taken, "--to", "firmware")
        assert code == 2 and f"{taken}.h would stand before" in err and not (tmp_path / taken).exists()
    for option in (("--hop", 2), ("--symbol", "x")):
        code, _, err = call("export", model, plan, "--to", "plan", *option)
        assert code == 2 and f"--to plan has no {option[0]}: leave it out" in err


def test_without_a_kind_an_export_is_what_its_ending_says(call: Call, model: Path, tmp_path: Path) -> None:
    assert call("export", model, tmp_path / "x.h")[0] == call("export", model, tmp_path / "x.PLAN")[0] == 0
    assert "const uint8_t x_plan[" in (tmp_path / "x.h").read_text()
    assert (tmp_path / "x.PLAN").read_bytes() == tcnstream.load(model).plan_file()


def test_a_firmware_folder_takes_nothing_of_a_user_s(call: Call, model: Path, tmp_path: Path) -> None:
    mine = tmp_path / "app"
    mine.mkdir()
    (mine / "CMakeLists.txt").write_text("project(mine)\n")
    code, _, err = call("export", model, mine, "--to", "firmware")
    assert code == 2 and f"{mine} holds files that are of no export" in err and str(mine / "model") in err
    assert [path.name for path in mine.iterdir()] == ["CMakeLists.txt"]
    assert (mine / "CMakeLists.txt").read_text() == "project(mine)\n"
    code, _, err = call("export", model, mine / "CMakeLists.txt", "--to", "firmware")
    assert code == 2 and "is a file" in err
    (tmp_path / "net").mkdir()
    assert call("export", model, tmp_path / "net", "--to", "firmware")[0] == 0
    (tmp_path / "net" / "net.c").unlink()
    (tmp_path / "net" / "notes.txt").write_text("mine")
    assert call("export", model, tmp_path / "net", "--to", "firmware", "--rounding", "tflm")[0] == 0
    assert (tmp_path / "net" / "net.c").is_file() and (tmp_path / "net" / "notes.txt").read_text() == "mine"


def test_an_export_of_firmware_that_breaks_off_can_be_done_again(
    call: Call, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "only.h":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_file(path, content)

    with monkeypatch.context() as patched:
        patched.setattr("tcnstream.cli.export.write_file", full)
        assert call("export", model, tmp_path / "net", "--to", "firmware")[0] == 2
    assert not (tmp_path / "net" / "CMakeLists.txt").exists()
    assert call("export", model, tmp_path / "net", "--to", "firmware")[0] == 0
    assert (tmp_path / "net" / "CMakeLists.txt").is_file()


def test_export_takes_a_policy_and_its_calibration(call: Call, tmp_path: Path) -> None:
    model, plan = MODELS / "nse_lg_se.i8.tflite", tmp_path / "se.plan"
    code, _, err = call("export", model, plan, "--to", "plan")
    assert code == 2 and "averages all 800 frames" in err and not plan.exists()
    code, out, _ = call("export", model, plan, "--to", "plan", "--time-pooling", "frozen", "--calibration", ECG)
    assert code == 0 and "a plan of" in out


def test_inspect_says_what_the_native_engine_lacks(call: Call, model: Path, tmp_path: Path) -> None:
    assert json.loads(call("inspect", model, "--json")[1])["native_lacks"] == []
    stateful = next((STATEFUL).glob("*.tflite"))
    assert json.loads(call("inspect", stateful, "--json")[1])["native_lacks"] == []
    net = Net()
    x = net.input((1, 12, 4))
    for _ in range(MAX_PORTS + 1):
        net.output(net.same(x, "RELU", x.shape, 1))
    (tmp_path / "many.tflite").write_bytes(net.content())
    assert json.loads(call("inspect", tmp_path / "many.tflite", "--json")[1])["native_lacks"] != []
    assert "Not for the native engine, so another one runs it whole: " in call("inspect", tmp_path / "many.tflite")[1]


def test_an_output_is_chosen_by_name_or_number(call: Call, model: Path) -> None:
    assert call("run", model, ECG, "--head", "0", "--quiet") == call("run", model, ECG, "--quiet")
    code, _, err = call("run", model, ECG, "--head", "nose")
    assert code == 2 and "has no output 'nose': choose one of 0 (" in err


def test_a_warning_is_a_note_without_code(call: Call, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warned(path: Path, time_axis: int | None, **said: Any) -> tcnstream.Model:
        warnings.warn("the core is not built here", RuntimeWarning, stacklevel=1)
        return load(path, time_axis, **said)

    load = tcnstream.load
    monkeypatch.setattr("tcnstream.opened.load", warned)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, _, err = call("inspect", model)
    assert code == 0 and err == "tcnstream: note: the core is not built here\n"


@pytest.mark.parametrize("name", [name for name in shipped_models() if name.startswith("ecg")])
def test_a_shipped_model_segments_the_shipped_recording(call: Call, tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    code, out, _ = call("demo", "ecg", "--model", name, "--out", tmp_path / "ecg.png", "--json")
    shown = json.loads(out)
    waves = [segment["label"] for segment in shown["segments"]]
    assert code == 0
    # A minute with 100 beats at a median rate of 104 (peaks of the band-passed signal); premature ones have no P.
    assert 98 <= shown["heart_rate_bpm"] <= 112
    assert 95 <= waves.count("qrs") <= 108 and 80 <= waves.count("t") <= 110
    assert 60 <= waves.count("p") <= 100


@pytest.mark.parametrize("name", [name for name in shipped_models() if name.startswith("speech")])
def test_a_shipped_speech_model_segments_the_shipped_audio(call: Call, tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    code, out, _ = call("demo", "audio", "--model", name, "--out", tmp_path / "audio.png", "--json")
    shown = json.loads(out)
    assert code == 0 and shown["signal_s"] == 36 and "heart_rate_bpm" not in shown
    assert (tmp_path / "audio.png").read_bytes()[:4] == b"\x89PNG"
    # What was put where, s (tcnstream/data/README.md).
    for label, start_s, end_s in (
        ("speech", 1.0, 4.0),
        ("music", 8.5, 14.5),
        ("speech", 15.0, 20.0),
        ("speech", 28, 31.3),
    ):
        found = sum(
            max(0.0, min(s["end_s"], end_s) - max(s["start_s"], start_s))
            for s in shown["segments"]
            if s["label"] == label
        )
        assert found > 0.75 * (end_s - start_s), (label, start_s)
    said = sum(s["end_s"] - s["start_s"] for s in shown["segments"] if s["label"] == "speech")
    assert said < 3 + 5 + 3.3 + 1.5


@pytest.mark.skipif("speech" not in shipped_models(), reason="no speech model is shipped here")
def test_audio_of_any_kind_and_rate_goes_through_the_speech_model(call: Call, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    soxr = pytest.importorskip("soxr")
    samples, _ = soundfile.read(AUDIO, dtype="float32", stop=7 * 16000)
    spans = []
    for name, rate_hz in (("x.wav", 16000), ("x.flac", 44100), ("x.ogg", 48000), ("x.wav", 22050)):
        soundfile.write(tmp_path / name, soxr.resample(samples, 16000, rate_hz), rate_hz)
        code, out, _ = call("run", "speech", tmp_path / name, "--quiet")
        assert code == 0
        spans.append([(s["label"], s["start_s"], s["end_s"]) for s in map(json.loads, out.splitlines())])
    assert [label for label, *_ in spans[0]] == ["speech"]
    for span in spans:
        assert [label for label, *_ in span] == ["speech"]
        assert abs(span[0][1] - spans[0][0][1]) < 0.06 and abs(span[0][2] - spans[0][0][2]) < 0.06


def test_verify_without_an_interpreter_compares_with_the_reference_and_says_that_the_file_was_not_asked(
    call: Call, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refused to do anything, and before that said that all comparisons passed, of which none was with the file."""
    monkeypatch.setattr(runtime, "_CANDIDATES", ())
    runtime.find_runtime.cache_clear()
    try:
        code, out, err = call("verify", model, "--chunkings", 2)
        as_json = call("verify", model, "--chunkings", 2, "--json")
    finally:
        runtime.find_runtime.cache_clear()
    assert code == as_json[0] == 2 and "the stream equals the reference engine alone, bit for bit" in out
    said = " ".join(err.split())
    assert "the file itself was not asked" in said and "pip install tcnstream[interpreter]" in said
    report = json.loads(as_json[1])
    assert not report["passed"] and "no TFLite interpreter is installed here" in report["not_asked"]
    assert [check["passed"] for check in report["checks"]] == [True] * 2


def test_verify_of_a_file_that_the_interpreter_cannot_run_does_not_end_well(
    call: Call, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_interpreter()

    def refuse(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("tflite/kernels/conv.cc:364 no such kernel.Node number 9 (CONV_2D) failed to prepare.")

    monkeypatch.setattr(measured, "run_offline", refuse)
    code, out, err = call("verify", model, "--chunkings", 1)
    assert code == 2 and "not compared, the installed interpreter cannot run the file: no such kernel" in out
    assert "the file itself was not asked" in " ".join(err.split())
    monkeypatch.undo()
    assert call("verify", model, "--chunkings", 1)[0] == 0


def test_names_of_a_file_are_text_and_no_commands(call: Call, model: Path, tmp_path: Path) -> None:
    """`inspect` ended in an error at `[/b]`, and the terminal obeyed what a tensor was called."""
    (graph,) = read_model(model).graphs
    evil = ("[/b]", "[red]x", "\x1b[31m\x07", "a\nb\0", "\u202ereversed")
    named = [replace(t, name=f"{t.name[:20]}{evil[k % len(evil)]}") for k, t in enumerate(graph.tensors)]
    path = tmp_path / "evil.tflite"
    path.write_bytes(write_model([replace(graph, tensors=tuple(named))]))
    code, out, err = call("inspect", path)
    assert code == 0 and "[/b]" in out and "[red]x" in out
    assert not any(c in out + err for c in "\x1b\x07\0\u202e")


@pytest.mark.parametrize("module", ["tcnstream", "firmware_bridge"])
def test_an_interrupt_while_a_command_starts_is_one_line(module: str) -> None:
    """Two thirds of a short command are imports, and their traceback was what Ctrl-C gave; now and then nothing."""
    program = f"""
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}.cli.app":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it
sys.argv = ["x", "--help"]
from {module}.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    name = module.replace("_", "-")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{name}: interrupted\n")
