"""Recordings of all kinds through the command line: what is said of them, and streams that are closed or are pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.paths import AUDIO, ECG
from helpers.recordings import write_edf

import tcnstream

Call = Callable[..., tuple[int, str, str]]
RATE_HZ = 360


@pytest.fixture(scope="module")
def ecg() -> np.ndarray:
    """Twenty seconds, in mV."""
    x: np.ndarray = np.loadtxt(ECG, comments="#", skiprows=4)[: 20 * RATE_HZ]
    return x


def found(out: str) -> list[tuple[str, float]]:
    return [(segment["label"], segment["start_s"]) for segment in map(json.loads, out.splitlines())]


def test_one_signal_in_every_kind_of_file_gives_the_same_segments(
    call: Call, model: Path, tmp_path: Path, ecg: np.ndarray
) -> None:
    steps = np.round(ecg * 200).astype("<i2")
    exact = steps / 200
    seconds = np.arange(len(ecg)) / RATE_HZ
    np.save(tmp_path / "x.npy", exact)
    (tmp_path / "plain.csv").write_text("# rate_hz = 360\n# units = mV\n" + "".join(f"{x:.4f}\n" for x in exact))
    (tmp_path / "timed.csv").write_text(
        "Time (s);ECG (µV)\n" + "".join(f"{t:.6f};{1000 * x:.1f}\n" for t, x in zip(seconds, exact, strict=True))
    )
    (tmp_path / "bare.csv").write_text("".join(f"{t:.4f},{x:.4f}\n" for t, x in zip(seconds, exact, strict=True)))
    (tmp_path / "r.hea").write_text("r 1 360 7200\nr.dat 16 0.2/µV 16 0 0 0 0 II\n", encoding="utf-8")
    (tmp_path / "r.dat").write_bytes(steps.tobytes())
    write_edf(tmp_path / "x.edf", [steps], rate_hz=RATE_HZ, units="mV", labels=["ECG II"], per_unit=200)
    soundfile.write(tmp_path / "x.wav", exact / 2, RATE_HZ, subtype="DOUBLE")
    # Steps of 5 uV: what rounding to float32 in another order makes of them moves no boundary here.
    expected = found(call("run", model, tmp_path / "plain.csv", "--quiet")[1])
    assert len(expected) > 30
    for name, options in {
        "timed.csv": (),
        "r.hea": (),
        "x.edf": (),
        "x.npy": ("--rate", 360, "--units", "mV"),
        "bare.csv": ("--rate", 360),
        "x.wav": ("--gain", 2, "--units", "mV"),
    }.items():
        code, out, err = call("run", model, tmp_path / name, *options)
        assert code == 0 and found(out) == expected, (name, err)


def test_what_was_done_with_gaps_is_said(call: Call, model: Path, tmp_path: Path, ecg: np.ndarray) -> None:
    steps = np.round(ecg * 200).astype("<i2")
    onsets_s = [*(float(k) for k in range(10)), *(float(k) for k in range(40, 50))]
    write_edf(tmp_path / "d.edf", [steps], rate_hz=RATE_HZ, onsets_s=onsets_s)
    code, out, err = call("run", model, tmp_path / "d.edf")
    labels = found(out)
    assert code == 0 and [start_s for label, start_s in labels if label == "gap"] == [10.0]
    assert "1 gap(s), 30 s in all: the signal ends before each and begins anew behind it" in err
    assert sum(start_s > 40 for _, start_s in labels) > 10 and not any(10 < start_s < 40 for _, start_s in labels)
    code, out, err = call("run", model, tmp_path / "d.edf", "--hold-gaps")
    assert code == 0 and "gap" not in dict(found(out)) and "in 10,800 frame(s) a value was missing" in err
    code, _, err = call("verify", model, "--input", tmp_path / "d.edf")
    assert code == 2 and "has a gap of 10,800 frames, and one signal is wanted: --hold-gaps" in err


def test_a_signal_that_is_odd_is_told(call: Call, model: Path, tmp_path: Path, ecg: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", np.round(ecg * 200 + 1024).astype(np.int16))
    _, _, err = call("run", model, tmp_path / "x.npy", "--rate", RATE_HZ)
    assert "does not say its unit: taken for mV (else give --units)" in err
    assert "more than any body gives in the unit that they were taken for: give --units" in err
    for said in (("--units", "uV"), ("--units", "mV"), ("--quiet",)):
        assert "any body" not in call("run", model, tmp_path / "x.npy", "--rate", RATE_HZ, *said)[2]
    np.save(tmp_path / "x.npy", ecg)
    assert "any body" not in call("run", model, tmp_path / "x.npy", "--rate", RATE_HZ)[2]
    np.save(tmp_path / "x.npy", np.full(1000, 3.5))
    assert "the signal never changed: it was 3.5 throughout" in call("run", model, tmp_path / "x.npy", "--rate", 360)[2]


def test_a_channel_in_a_unit_that_will_not_do_is_answered_with_those_that_will(
    call: Call, model: Path, tmp_path: Path, ecg: np.ndarray
) -> None:
    steps = np.round(ecg * 200).astype("<i2")
    write_edf(tmp_path / "x.edf", [steps] * 3, rate_hz=RATE_HZ, units=["L", "uV", "mV"], labels=["Resp", "EEG", "ECG"])
    (tmp_path / "r.hea").write_text("r 2 360 7200\nr.dat 16 9/L 16 0 0 0 0 Resp\nr.dat 16 200/mV 16 0 0 0 0 ECG\n")
    (tmp_path / "r.dat").write_bytes(np.stack([steps, steps], axis=1).tobytes())
    for name, others in (("x.edf", "(EEG in uV, ECG in mV)"), ("r.hea", "(ECG in mV)")):
        for command in (("run", model), ("verify", model, "--input")):
            code, _, err = call(*command, tmp_path / name)
            assert code == 2 and f"choose a channel that is in such a unit with --channel {others}" in err, err
        assert call("run", model, tmp_path / name, "--channel", "ECG", "--quiet")[0] == 0


def test_what_a_person_says_stands_over_what_a_file_says_and_that_is_said(call: Call, model: Path) -> None:
    _, _, err = call("run", model, ECG, "--rate", 250, "--units", "uV")
    assert "--rate 250 stands over its own 360 Hz" in err and "--units uV stands over its own mV" in err
    _, _, err = call("run", model, ECG, "--rate", 360, "--units", "mV")
    assert "stands over" not in err


@pytest.mark.parametrize("rate", ["1e15", "1e300", "nan"])
def test_a_rate_beyond_all_sources_is_refused(call: Call, model: Path, rate: str) -> None:
    for name in (model, model.with_suffix(".toml")):
        code, _, err = call("run", name, ECG, "--rate", rate)
        assert code == 2 and "samples a second: give one above 0 and up to 1e+09 (--rate)" in err


def test_integers_are_scaled_where_sound_is_wanted(call: Call, tmp_path: Path) -> None:
    samples = soundfile.read(AUDIO, dtype="int16")[0][: 6 * 16000]
    (tmp_path / "x.s16").write_bytes(samples.astype("<i2").tobytes())
    np.save(tmp_path / "x.npy", samples)
    np.save(tmp_path / "big.npy", samples.astype(">i2"))
    soundfile.write(tmp_path / "x.wav", samples, 16000)
    soundfile.write(tmp_path / "loud.wav", samples.astype(np.float32), 16000, subtype="FLOAT")
    (tmp_path / "x.txt").write_text("".join(f"{x}\n" for x in samples))
    code, expected, _ = call("run", "speech", tmp_path / "x.wav", "--quiet")
    assert code == 0 and '"label": "speech"' in expected
    for name, options in {
        "x.s16": ("--rate", 16000, "--raw-format", "s16le"),
        "x.npy": ("--rate", 16000),
        "big.npy": ("--rate", 16000),
    }.items():
        code, out, err = call("run", "speech", tmp_path / name, *options)
        assert code == 0 and out == expected and "holds integers: as int16 they are scaled to full scale" in err
    for name in ("loud.wav", "x.txt"):
        code, _, err = call("run", "speech", tmp_path / name, "--rate", 16000)
        assert code == 2 and "times full scale: say what its numbers are (units int16" in err
        assert call("run", "speech", tmp_path / name, "--rate", 16000, "--units", "int16", "--quiet")[1] == expected


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of sh in which ``$T`` is the command line."""
    path = str(Path(tcnstream.__file__).parents[1])
    known = os.environ | {"PYTHONPATH": path, "T": f"{sys.executable} -P -m tcnstream"} | environment
    return subprocess.run(["sh", "-c", line], cwd=folder, env=known, capture_output=True, check=False)


pytestmark = pytest.mark.skipif(os.name == "nt", reason="sh and named pipes of POSIX")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("$T run MODEL ECG >&-", "standard output is closed"),
        ("$T inspect MODEL >&-", "standard output is closed"),
        ("$T run MODEL - --rate 360 <&-", "standard input is closed"),
        ("$T run MODEL ECG >/dev/full", "tcnstream: standard output: No space left on device"),
        ("$T run MODEL ECG -o y.jsonl <&- 2>&-", ""),
        ("$T run MODEL ECG -o y.jsonl 2>/dev/full", ""),
    ],
)
def test_streams_that_are_closed_or_full(model: Path, tmp_path: Path, line: str, says: str) -> None:
    before = ECG.read_bytes()
    done = shell(line.replace("MODEL", str(model)).replace("ECG", str(ECG)), tmp_path)
    assert done.returncode == (2 if says else 0) and says in done.stderr.decode()
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr and done.stdout == b""
    assert says or len((tmp_path / "y.jsonl").read_text().splitlines()) > 10
    assert ECG.read_bytes() == before


def test_names_that_are_not_plain(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ein Ordner mit Ümläuten"
    folder.mkdir()
    names = (" x.csv", "日本.csv", b"\xff\xfe.csv".decode(errors="surrogateescape"))
    for name, environment in zip(names, ({}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}), strict=True):
        (folder / name).write_bytes(b"\n".join(ECG.read_bytes().splitlines()[:4000]))
        done = shell(f"$T run '{model}' '{folder / name}'", tmp_path, **environment)
        assert done.returncode == 0 and len(done.stdout.splitlines()) > 10, done.stderr


def test_a_named_pipe_is_read_as_a_file(call: Call, model: Path, tmp_path: Path) -> None:
    expected = call("run", model, ECG, "--quiet")[1]
    os.mkfifo(tmp_path / "x.csv")
    writer = threading.Thread(target=lambda: (tmp_path / "x.csv").write_bytes(ECG.read_bytes()))
    writer.start()
    code, out, _ = call("run", model, tmp_path / "x.csv", "--quiet")
    writer.join()
    assert code == 0 and out == expected
    os.mkfifo(tmp_path / "x.wav")
    code, _, err = call("run", model, tmp_path / "x.wav")
    assert code == 2 and "x.wav is a pipe or a device, and its kind must be a file: copy it into one" in err
