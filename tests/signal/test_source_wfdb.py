"""WFDB records against the package ``wfdb`` where that one is right, and against the specification where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.recordings import read

from tcnstream.errors import SignalError
from tcnstream.signal.sources import open_recording
from tcnstream.signal.sources.base import Gap

FRAMES = 9001  # more than two blocks, and odd


def steps(bits: int, signals: int, frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    """A random walk that stays within so many bits and takes no value that means "no sample"."""
    most = (1 << (bits - 1)) - 1
    walk = np.cumsum(np.random.default_rng(seed).integers(-20, 21, (frames, signals)), axis=0)
    return np.abs((walk + most) % (4 * most) - 2 * most) - most


def packed(numbers: np.ndarray, form: int) -> bytes:
    """Samples in file order as signal(5) describes the format, with plain integer arithmetic."""
    flat = [int(number) for number in numbers.ravel()]
    out = bytearray()
    if form == 8:
        last = np.concatenate([np.zeros((1, numbers.shape[1]), int), numbers[:-1]])
        out += (numbers - last).astype("<i1").tobytes()
    elif form in (16, 61, 24, 32):
        size, order = {16: (2, "little"), 61: (2, "big"), 24: (3, "little"), 32: (4, "little")}[form]
        out += b"".join(n.to_bytes(size, order, signed=True) for n in flat)  # type: ignore[arg-type]
    elif form in (80, 160):
        out += b"".join((n + (128 if form == 80 else 32768)).to_bytes(form // 80, "little") for n in flat)
    elif form == 212:
        for a, b in zip(flat[::2], [*flat[1::2], 0], strict=False):
            a, b = a & 0xFFF, b & 0xFFF
            out += bytes([a & 0xFF, a >> 8 | b >> 8 << 4, b & 0xFF])
    elif form in (310, 311):
        padded = [*flat, *[0] * (-len(flat) % 3)]
        for a, b, c in zip(padded[::3], padded[1::3], padded[2::3], strict=True):
            a, b, c = a & 0x3FF, b & 0x3FF, c & 0x3FF
            word = a | b << 10 | c << 20
            if form == 310:
                word = (a << 1 | (c & 0x1F) << 11) | (b << 1 | c >> 5 << 11) << 16
            out += word.to_bytes(4, "little")
    return bytes(out)


BITS = {8: 7, 16: 16, 24: 24, 32: 30, 61: 16, 80: 8, 160: 16, 212: 12, 310: 10, 311: 10}


def write(folder: Path, header: str, **files: bytes) -> Path:
    for name, content in files.items():
        (folder / f"{name}.dat").write_bytes(content)
    name = header.split()[0].partition("/")[0]
    (folder / f"{name}.hea").write_text(header, encoding="utf-8")
    return folder / f"{name}.hea"


@pytest.mark.parametrize("signals", [1, 3])
@pytest.mark.parametrize("form", BITS)
def test_every_format_gives_what_was_packed(tmp_path: Path, form: int, signals: int) -> None:
    numbers = steps(BITS[form], signals)
    lines = "".join(f"r.dat {form} 50(3)/mV 16 0 0 0 0 s{k}\n" for k in range(signals))
    path = write(tmp_path, f"r {signals} 360 {FRAMES}\n{lines}", r=packed(numbers, form))
    got = open_recording(path, channels=[f"s{k}" for k in range(signals)])
    expected = ((numbers - 3) / 50).astype(np.float32)
    assert got.frames == FRAMES and got.remark == ""
    np.testing.assert_array_equal(read(got), expected)
    wfdb = pytest.importorskip("wfdb")
    np.testing.assert_allclose(wfdb.rdrecord(str(path.with_suffix(""))).p_signal, expected, rtol=1e-6)


@pytest.mark.parametrize("form", ["508", "516", "524"])
def test_compressed_formats_of_the_package_itself(tmp_path: Path, form: str) -> None:
    wfdb = pytest.importorskip("wfdb")
    numbers = steps({"508": 8, "516": 16, "524": 24}[form], 2)
    wfdb.wrsamp(
        "r", 360, ["uV", "uV"], ["a", "b"], d_signal=numbers, fmt=[form] * 2, adc_gain=[10.0] * 2, baseline=[0, 7],
        write_dir=str(tmp_path),
    )  # fmt: skip
    got = open_recording(tmp_path / "r.hea", channels=["b", "a"])
    np.testing.assert_allclose(read(got), np.stack([(numbers[:, 1] - 7) / 10, numbers[:, 0] / 10], axis=1), rtol=1e-6)
    assert got.units == "uV" and got.frames == FRAMES


@pytest.mark.parametrize("form", [16, 212, 8, 311])
def test_signals_of_several_rates_are_read_each_at_its_own(tmp_path: Path, form: int) -> None:
    """They were averaged to the record's rate: 128 Hz became 1 Hz."""
    fast, slow = steps(BITS[form], 1, 60 * 128), steps(BITS[form], 1, 60 * 8, seed=1)
    first = np.diff(fast, axis=0, prepend=0) if form == 8 else fast
    second = np.diff(slow, axis=0, prepend=0) if form == 8 else slow
    frames = np.concatenate([first.reshape(60, 128), second.reshape(60, 8)], axis=1)
    content = frames.astype("<i1").tobytes() if form == 8 else packed(frames, form)
    lines = f"p.dat {form}x128 200/mV 16 0 0 0 0 ECG\np.dat {form}x8 100/L 16 0 0 0 0 Resp\n"
    path = write(tmp_path, f"p 2 1 60\n{lines}", p=content)
    ecg, resp = open_recording(path), open_recording(path, channels=["resp"])
    assert (ecg.rate_hz, ecg.units, ecg.frames) == (128, "mV", 7680)
    assert (resp.rate_hz, resp.units, resp.frames) == (8, "L", 480)
    np.testing.assert_allclose(read(ecg), fast / 200, rtol=1e-6)
    np.testing.assert_allclose(read(resp), slow / 100, rtol=1e-6)
    with pytest.raises(SignalError, match=r"differ in rate \(ECG at 128 Hz, Resp at 8 Hz\).*channels="):
        open_recording(path, channels=2)


@pytest.mark.parametrize(
    ("written", "encoding", "unit"),
    [
        *((unit, "utf-8", unit) for unit in ("µV", "μV", "uV", "mV", "V", "mmHg")),
        ("µV", "latin-1", "µV"),
        ("", "utf-8", "mV"),
    ],
)
def test_a_unit_is_what_the_header_says(tmp_path: Path, written: str, encoding: str, unit: str) -> None:
    """A micro sign was dropped, so that microvolts became volts."""
    (tmp_path / "u.dat").write_bytes(bytes(20))
    gain = f"0.2/{written}" if written else "200"
    (tmp_path / "u.hea").write_bytes(f"u 1 360 10\nu.dat 16 {gain} 16 0 0 0 0 II\n".encode(encoding))
    assert open_recording(tmp_path / "u.hea").units == unit


def test_headers_that_leave_things_out(tmp_path: Path) -> None:
    numbers = steps(12, 1)
    content = packed(numbers, 16)
    no_length = open_recording(write(tmp_path, "a 1 360\na.dat 16 200(0)/mV 16 0 0 0 0 MLII\n", a=content))
    assert no_length.frames == FRAMES and no_length.channels == ("MLII",)
    no_names = open_recording(write(tmp_path, "b 1 360 9001\nb.dat 16\n", b=content))
    assert no_names.channels == ("0",) and "200 steps a mV" in no_names.remark
    no_rate = open_recording(write(tmp_path, "c 1\n# a comment\n\nc.dat 16 100\n", c=content))
    assert no_rate.rate_hz == 250 and "says no rate" in no_rate.remark
    for recording, gain in ((no_length, 200), (no_names, 200), (no_rate, 100)):
        np.testing.assert_allclose(read(recording), numbers / gain, rtol=1e-6)
    with pytest.raises(SignalError, match="says 2 signals and describes 1"):
        open_recording(write(tmp_path, "d 2 360\nd.dat 16\n"))
    with pytest.raises(SignalError, match=r"cannot be read without .*none\.dat, which is not there"):
        open_recording(write(tmp_path, "e 1 360 10\nnone.dat 16\n"))
    with pytest.raises(SignalError, match="format 7, which is none of WFDB's"):
        open_recording(write(tmp_path, "f 1 360 10\na.dat 7\n"))
    with pytest.raises(SignalError, match="line 2, is no signal"):
        open_recording(write(tmp_path, "g 1 360 10\na.dat sixteen\n"))


def test_lengths_that_do_not_agree_are_said(tmp_path: Path) -> None:
    content = packed(steps(12, 1), 16)
    short = open_recording(write(tmp_path, "a 1 360 12000\na.dat 16 200\n", a=content))
    assert short.frames == FRAMES and short.remark == "cut short: it says 12,000 frames and 9,001 are there"
    long = open_recording(write(tmp_path, "b 1 360 8000\nb.dat 16 200\n", b=content))
    assert len(read(long)) == 8000 and "hold 1,001 frames more than its header says" in long.remark


def test_an_offset_and_a_skew_are_taken_out(tmp_path: Path) -> None:
    numbers = steps(12, 2)
    lines = "s.dat 16:0+11 200/mV 16 0 0 0 0 I\ns.dat 16:5 200/mV 16 0 0 0 0 II\n"
    path = write(tmp_path, f"s 2 360 {FRAMES}\n{lines}", s=b"a prologue!" + packed(numbers, 16))
    both = read(open_recording(path, channels=2))
    assert both.shape == (FRAMES - 5, 2)
    np.testing.assert_allclose(both[:, 0], numbers[:-5, 0] / 200, rtol=1e-6)
    np.testing.assert_allclose(both[:, 1], numbers[5:, 1] / 200, rtol=1e-6)
    wfdb = pytest.importorskip("wfdb")
    (tmp_path / "s.hea").write_text(f"s 2 360 {FRAMES}\n{lines.replace('+11', '')}")
    (tmp_path / "s.dat").write_bytes(packed(numbers, 16))
    np.testing.assert_allclose(wfdb.rdrecord(str(tmp_path / "s")).p_signal[:-5], both, rtol=1e-6)


def test_a_value_that_means_none_is_missing(tmp_path: Path) -> None:
    for form in (16, 24, 32, 61, 80, 160, 212, 310, 311):
        numbers = np.full((12, 1), 5)
        numbers[7] = -(1 << (max(BITS[form], 32 if form == 32 else 0) - 1))
        path = write(tmp_path, "m 1 360 12\nm.dat " + f"{form} 1/mV\n", m=packed(numbers, form))
        with pytest.raises(SignalError, match="no value at frame 7"):
            read(open_recording(path))
        assert read(open_recording(path, hold_gaps=True))[:, 0].tolist() == [5.0] * 12


@pytest.fixture
def segments(tmp_path: Path) -> np.ndarray:
    numbers = steps(12, 2, 9000)
    for name, part in (("a", numbers[:3600]), ("b", numbers[3600:])):
        lines = f"{name}.dat 16 200/mV 16 0 0 0 0 I\n{name}.dat 16 0.2(1)/uV 16 0 0 0 0 II\n"
        write(tmp_path, f"{name} 2 360 {len(part)}\n{lines}", **{name: packed(part, 16)})
    expected: np.ndarray = (numbers / 200).astype(np.float32)
    return expected


def test_segments_follow_each_other(tmp_path: Path, segments: np.ndarray) -> None:
    whole = open_recording(write(tmp_path, "w/2 2 360 9000\na 3600\nb 5400\n"))
    assert (whole.rate_hz, whole.units, whole.frames, whole.available) == (360, "mV", 9000, ("I", "II"))
    np.testing.assert_array_equal(read(whole)[:, 0], segments[:, 0])
    with pytest.raises(SignalError, match=r"differ in unit \(I in mV, II in uV\)"):
        open_recording(tmp_path / "w.hea", channels=2)


def test_a_length_that_its_segments_do_not_have_is_said(tmp_path: Path, segments: np.ndarray) -> None:
    recording = open_recording(write(tmp_path, "w/2 2 360 99000\na 3600\nb 5400\n"))
    assert "it says 99,000 frames and its segments have 9,000, which are all read" in recording.remark
    assert recording.frames == len(read(recording)) == 9000


def test_what_lies_between_segments_is_a_gap(tmp_path: Path, segments: np.ndarray) -> None:
    path = write(tmp_path, "g/4 2 360 10500\na 3600\n~ 1000\nb 5400\n~ 500\n")
    recording = open_recording(path)
    got = read(recording)
    assert recording.frames == len(got) == 10500
    np.testing.assert_array_equal(got[:3600, 0], segments[:3600, 0])
    assert np.isnan(got[3600:4600]).all() and np.isnan(got[10000:]).all()
    np.testing.assert_array_equal(got[4600:10000, 0], segments[3600:, 0])
    held = open_recording(path, hold_gaps=True)
    filled = read(held)
    assert not np.isnan(filled).any() and (filled[3600:4600] == filled[3599]).all()


def test_a_layout_names_signals_that_segments_may_lack(tmp_path: Path, segments: np.ndarray) -> None:
    write(tmp_path, "only 1 360 100\nonly.dat 16 200/mV 16 0 0 0 0 V\n", only=bytes(200))
    layout = "~ 0 200/mV 16 0 0 0 0 V\n~ 0 200/mV 16 0 0 0 0 I\n~ 0 200/mV 16 0 0 0 0 II\n"
    write(tmp_path, f"l 3 360 0\n{layout}")
    path = write(tmp_path, "v/4 3 360 9100\nl 0\na 3600\nonly 100\nb 5400\n")
    assert open_recording(path).available == ("V", "I", "II")
    got = read(open_recording(path, channels=["I"]))
    assert np.isnan(got[3600:3700]).all() and len(got) == 9100
    np.testing.assert_array_equal(np.delete(got[:, 0], range(3600, 3700)), segments[:, 0])
    microvolts = read(open_recording(path, channels=["II"]))  # the layout says mV, the segments uV
    np.testing.assert_allclose(microvolts[0, 0], (segments[0, 1] * 200 - 1) / 200, rtol=1e-5)
    pieces = list(open_recording(path, channels=["V"]).chunks)
    assert [piece.frames if isinstance(piece, Gap) else len(piece) for piece in pieces] == [3600, 100, 5400]


def test_segments_that_are_cut_or_missing(tmp_path: Path, segments: np.ndarray) -> None:
    path = write(tmp_path, "w/2 2 360 9000\na 3600\nb 5400\n")
    (tmp_path / "a.dat").write_bytes((tmp_path / "a.dat").read_bytes()[:4000])
    recording = open_recording(path)
    assert "cut short: a.hea says 3,600 frames and 1,000 are there" in recording.remark
    got = read(recording)
    assert np.isnan(got[1000:3600]).all() and len(got) == 9000
    np.testing.assert_array_equal(got[3600:, 0], segments[3600:, 0])
    (tmp_path / "b.hea").unlink()
    with pytest.raises(SignalError, match=r"there is no file .*b\.hea"):
        open_recording(path)
