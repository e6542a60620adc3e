"""EDF and BDF against ``pyedflib`` where that one reads them, and against the specification where it does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.recordings import read, write_edf

from tcnstream.errors import SignalError
from tcnstream.signal.sources import open_recording
from tcnstream.signal.sources.base import Gap

SECONDS = 40


def steps(rate_hz: int, seed: int = 0, bits: int = 16) -> np.ndarray:
    most = 1 << (bits - 1)
    return np.random.default_rng(seed).integers(-most, most, SECONDS * rate_hz)


@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_signals_of_several_rates_and_units(tmp_path: Path, suffix: str) -> None:
    bits = 24 if suffix == "bdf" else 16
    ecg, resp, more = steps(360, 0, bits), steps(25, 1, bits), steps(360, 2, bits)
    path = tmp_path / f"x.{suffix}"
    write_edf(path, [ecg, resp, more], rate_hz=[360, 25, 360], units=["mV", "L", "mV"], labels=["II", "Resp", "V1"],
              per_unit=1 << (bits - 8), bits=bits)  # fmt: skip
    recording = open_recording(path, channels=["V1", "ii"])
    assert (recording.rate_hz, recording.units, recording.frames) == (360, "mV", SECONDS * 360)
    assert recording.available == ("II", "Resp", "V1") and recording.available_units == ("mV", "L", "mV")
    pyedflib = pytest.importorskip("pyedflib")
    with pyedflib.EdfReader(str(path)) as reader:
        np.testing.assert_allclose(read(recording)[:, 0], reader.readSignal(2), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(read(open_recording(path))[:, 0], reader.readSignal(0), rtol=1e-6, atol=1e-7)
        slow = open_recording(path, channels=["resp"])
        np.testing.assert_allclose(read(slow)[:, 0], reader.readSignal(1), rtol=1e-6, atol=1e-7)
    assert slow.rate_hz == 25
    with pytest.raises(SignalError, match=r"differ in unit \(II in mV, Resp in L\)"):
        open_recording(path, channels=["II", "Resp"])


def test_a_file_of_the_package_itself(tmp_path: Path) -> None:
    pyedflib = pytest.importorskip("pyedflib")
    x = np.random.default_rng(3).uniform(-1, 1, (2, 10 * 200))
    head = {"dimension": "uV", "sample_frequency": 200, "physical_min": -1.0, "physical_max": 1.0,
            "digital_min": -32768, "digital_max": 32767}  # fmt: skip
    with pyedflib.EdfWriter(str(tmp_path / "x.edf"), 2) as writer:
        writer.setSignalHeaders([{"label": label, **head} for label in ("A", "B")])
        writer.writeSamples(list(x))
        writer.writeAnnotation(1.5, -1, "an event")
    recording = open_recording(tmp_path / "x.edf", channels=["B", "A"])
    assert recording.available == ("A", "B") and recording.remark == ""  # annotations are no signal
    # A step of 16 bits, to which the package rounds towards zero.
    np.testing.assert_allclose(read(recording), x[::-1].T, atol=2.0**-15)


def test_a_refused_open_leaves_others_alone(tmp_path: Path) -> None:
    """One table of open files for the process: a second open turned the first recording to zeros."""
    x = steps(360)
    write_edf(tmp_path / "x.edf", [x], rate_hz=360, labels=["II"])
    first, second = open_recording(tmp_path / "x.edf"), open_recording(tmp_path / "x.edf")
    for _ in range(80):  # more than a table holds
        with pytest.raises(SignalError, match="has no channel 'V9': choose one of II"):
            open_recording(tmp_path / "x.edf", channels=["V9"])
    begun = next(first.chunks)
    assert isinstance(begun, np.ndarray)
    third = open_recording(tmp_path / "x.edf")
    expected = read(third)
    np.testing.assert_array_equal(read(second), expected)
    np.testing.assert_array_equal(np.concatenate([begun, read(first)]), expected)
    np.testing.assert_allclose(expected[:, 0], x / 200, atol=0.01)


def test_a_file_that_shrinks_while_it_is_read_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.edf"
    write_edf(path, [steps(360)], rate_hz=360)
    recording = open_recording(path)
    next(recording.chunks)
    os.truncate(path, 12000)
    with pytest.raises(SignalError, match="ends early: it became shorter while it was read"):
        read(recording)
    assert capfd.readouterr() == ("", "")


def test_stretches_of_a_discontinuous_file_have_gaps_between_them(tmp_path: Path) -> None:
    x = steps(100)
    onsets_s = [float(k) for k in range(10)] + [42.5 + k for k in range(SECONDS - 10)]
    write_edf(tmp_path / "d.edf", [x], rate_hz=100, onsets_s=onsets_s)
    recording = open_recording(tmp_path / "d.edf")
    got = read(recording)
    assert recording.frames == len(got) == 7250
    whole = read(open_recording(tmp_path / "d.edf", hold_gaps=True))
    assert (whole[1000:4250] == whole[999]).all()
    assert np.isnan(got[1000:4250]).all() and not np.isnan(got[:1000]).any() and not np.isnan(got[4250:]).any()
    write_edf(tmp_path / "c.edf", [x], rate_hz=100)
    np.testing.assert_allclose(np.delete(got, range(1000, 4250), axis=0), read(open_recording(tmp_path / "c.edf")))


@pytest.mark.parametrize("onset_s", [38.5, 0.0])
def test_records_that_overlap_are_refused(tmp_path: Path, onset_s: float) -> None:
    onsets_s = [*(float(k) for k in range(SECONDS - 1)), onset_s]
    write_edf(tmp_path / "d.edf", [steps(100)], rate_hz=100, onsets_s=onsets_s)
    with pytest.raises(SignalError, match="begins before the last one ends"):
        read(open_recording(tmp_path / "d.edf"))


def test_a_discontinuous_file_that_does_not_say_when(tmp_path: Path) -> None:
    write_edf(tmp_path / "d.edf", [steps(100)], rate_hz=100, onsets_s=[float(k) for k in range(SECONDS)])
    content = (tmp_path / "d.edf").read_bytes()
    (tmp_path / "d.edf").write_bytes(content.replace(b"+7\x14", b"\0\0\x14"))
    with pytest.raises(SignalError, match="does not say when its data record 7 begins"):
        open_recording(tmp_path / "d.edf")


@pytest.mark.parametrize(
    ("said", "kept", "remark", "records"),
    [
        (-1, None, "never finished: the 40 whole data records", 40),
        (-1, 30 * 720 + 5, "never finished: the 30 whole data records", 30),
        (40, 30 * 720, "cut short: it says 40 data records and 30 are there", 30),
        (10, None, "it says 10 data records and holds 40, which are all read", 40),
        (0, None, "it says 0 data records and holds 40", 40),
        (40, None, "", 40),
    ],
)
def test_a_count_of_records_that_is_not_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], said: int, kept: int | None, remark: str, records: int
) -> None:
    path = tmp_path / "x.edf"
    write_edf(path, [steps(360)], rate_hz=360, said_records=said)
    if kept is not None:
        os.truncate(path, 512 + kept)
    recording = open_recording(path)
    assert recording.remark.startswith(remark) and bool(recording.remark) == bool(remark)
    assert recording.frames == len(read(recording)) == records * 360
    assert capfd.readouterr() == ("", "")


def test_records_of_no_duration_have_no_rate(tmp_path: Path) -> None:
    write_edf(tmp_path / "x.edf", [steps(360)], rate_hz=360, said_duration="0")
    recording = open_recording(tmp_path / "x.edf")
    assert recording.rate_hz is None and len(read(recording)) == SECONDS * 360


@pytest.mark.parametrize("record_s", [0.1, 0.5, 20.0])
def test_any_length_of_a_data_record(tmp_path: Path, record_s: float) -> None:
    x = steps(360)
    write_edf(tmp_path / "x.edf", [x], rate_hz=360, record_s=record_s)
    recording = open_recording(tmp_path / "x.edf")
    assert recording.rate_hz == pytest.approx(360)
    pieces = list(recording.chunks)
    assert all(not isinstance(piece, Gap) and len(piece) <= 4096 for piece in pieces)
    np.testing.assert_allclose(read(open_recording(tmp_path / "x.edf"))[:, 0], x / 200, atol=0.01)


@pytest.mark.parametrize("written", ["µV", "uV", "UV", "microV"])
def test_microvolts_are_known_however_they_are_written(tmp_path: Path, written: str) -> None:
    write_edf(tmp_path / "x.edf", [steps(100)], rate_hz=100, units=written)
    assert open_recording(tmp_path / "x.edf").units == "uV"


def test_a_signal_without_a_scale_is_refused_where_it_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "x.edf"
    write_edf(path, [steps(100), steps(100)], rate_hz=100, labels=["good", "bad"])
    content = bytearray(path.read_bytes())
    low = 256 + 2 * (16 + 80 + 8)
    content[low + 8 : low + 16] = content[low + 24 : low + 32] = b"1       "
    path.write_bytes(content)
    assert len(read(open_recording(path))) == SECONDS * 100
    with pytest.raises(SignalError, match="no scale for bad"):
        open_recording(path, channels=["bad"])


@pytest.mark.parametrize("cut", [0, 100, 255, 256, 300, 511])
def test_a_file_that_ends_within_its_header(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.edf"
    write_edf(path, [steps(100)], rate_hz=100)
    os.truncate(path, cut)
    with pytest.raises(SignalError, match=r"does not begin as EDF|cut short within its header"):
        open_recording(path)


@pytest.mark.parametrize("seed", range(300))
def test_a_header_with_any_field_changed_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / "x.edf"
    write_edf(path, [steps(50), steps(50, 1)], rate_hz=50, onsets_s=[float(k) for k in range(SECONDS)])
    content = bytearray(path.read_bytes())
    words = [b"-1", b"0", b"99999999", b"nan", b"inf", b"1e300", b"x", b"", b"0.5", b"-32768", b"\xff\xfe", b"3"]
    for _ in range(int(rng.integers(1, 4))):
        at = 8 * int(rng.integers(0, 256 * 4 // 8))
        content[at : at + 8] = words[int(rng.integers(len(words)))].ljust(8)
    path.write_bytes(content)
    try:
        recording = open_recording(path, hold_gaps=bool(rng.integers(2)))
        frames = 0
        for piece in recording.chunks:
            frames += piece.frames if isinstance(piece, Gap) else len(piece)
            if frames > 1_000_000:
                break
    except SignalError as error:
        assert str(path) in str(error)
