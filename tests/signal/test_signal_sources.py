"""Every kind of recording gives back what was written, in chunks; everything bad is one kind of error."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.recordings import write_edf

from tcnstream.errors import MissingExtraError, SignalError
from tcnstream.signal import sources
from tcnstream.signal.extras import optional_package
from tcnstream.signal.sources import open_recording, read_raw
from tcnstream.signal.sources.base import Channels, FileKind, Recording, choose_channels
from tcnstream.signal.units import unit_factor

X = np.round(np.random.default_rng(0).uniform(-1, 1, (9001, 2)), 3).astype(np.float32)


def read(recording: Recording) -> np.ndarray:
    chunks = list(recording.chunks)
    assert all(chunk.dtype == np.float32 and chunk.ndim == 2 for chunk in chunks)
    return np.concatenate(chunks)


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("wav", "FLOAT"), ("wav", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS")]
)
def test_audio(tmp_path: Path, suffix: str, subtype: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / f"x.{suffix}", X, 8000, subtype=subtype)
    recording = open_recording(tmp_path / f"x.{suffix}", channels=["1"])
    assert (recording.rate_hz, recording.channels, recording.frames) == (8000.0, ("1",), 9001)
    error = np.abs(read(recording) - X[:, 1:]).max() if suffix != "ogg" else 0.0
    assert error <= {"FLOAT": 0.0, "PCM_16": 1 / 32768, "VORBIS": 0.0}[subtype]


def test_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    recording = open_recording(tmp_path / "x.npy", channels=2)
    assert (recording.rate_hz, recording.channels) == (None, ("0", "1"))
    np.testing.assert_array_equal(read(recording), X)
    np.save(tmp_path / "i.npy", np.arange(5, dtype=np.int16))
    np.testing.assert_array_equal(read(open_recording(tmp_path / "i.npy"))[:, 0], np.arange(5))


def test_csv_with_facts_header_and_time_column(tmp_path: Path) -> None:
    rows = "\n".join(f"{at / 100:.2f};{a:g};{b:g}" for at, (a, b) in enumerate(X))
    (tmp_path / "x.csv").write_text(f"# rate_hz = 100\n# units = mV\ntime;II;V1\n{rows}\n")
    recording = open_recording(tmp_path / "x.csv")
    assert (recording.rate_hz, recording.units, recording.channels) == (100.0, "mV", ("II",))
    np.testing.assert_array_equal(read(recording), X[:, :1])
    np.testing.assert_array_equal(read(open_recording(tmp_path / "x.csv", channels=["v1", "ii"])), X[:, ::-1])


@pytest.mark.parametrize("mark", [",", "\t", " ", ";"])
def test_columns_without_a_header(tmp_path: Path, mark: str) -> None:
    (tmp_path / "x.txt").write_text("".join(f"{a:g}{mark}{b:g}\n" for a, b in X))
    recording = open_recording(tmp_path / "x.txt", channels=2)
    assert (recording.rate_hz, recording.available) == (None, ("0", "1"))
    np.testing.assert_array_equal(read(recording), X)


def test_wfdb(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    wfdb.wrsamp("r", 500, ["mV", "mV"], ["i", "ii"], X.astype(float), fmt=["16", "16"], write_dir=str(tmp_path))
    for name in ("r", "r.hea", "r.dat"):
        recording = open_recording(tmp_path / name, channels=["ii", "i"])
        assert (recording.rate_hz, recording.units, recording.channels) == (500.0, "mV", ("ii", "i"))
        np.testing.assert_allclose(read(recording), X[:, ::-1], atol=1e-4)


def test_edf(tmp_path: Path) -> None:
    pyedflib = pytest.importorskip("pyedflib")
    frames = 9000  # whole seconds: EDF stores records of one second
    with pyedflib.EdfWriter(str(tmp_path / "x.edf"), 2) as writer:
        writer.setSignalHeaders(
            [
                {
                    "label": label,
                    "dimension": "mV",
                    "sample_frequency": 250,
                    "physical_min": -1.0,
                    "physical_max": 1.0,
                    "digital_min": -32768,
                    "digital_max": 32767,
                }
                for label in ("I", "II")
            ]
        )
        writer.writeSamples([X[:frames, 0].astype(float), X[:frames, 1].astype(float)])
    recording = open_recording(tmp_path / "x.edf", channels=["II"])
    assert (recording.rate_hz, recording.units, recording.frames) == (250.0, "mV", frames)
    np.testing.assert_allclose(read(recording), X[:frames, 1:], atol=1e-4)


class Pipe(io.RawIOBase):
    """Gives its bytes a few at a time, as a pipe does."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = data, step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        piece, self._data = self._data[: self._step], self._data[self._step :]
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_raw_samples_from_a_pipe_in_odd_pieces(step: int) -> None:
    few = X[:100]
    floats = read_raw(io.BufferedReader(Pipe(few.tobytes(), step)), "f32le", 2, raw_channels=2)
    np.testing.assert_array_equal(read(floats), few)
    whole = (few * 1000).astype("<i2")
    shorts = read_raw(io.BufferedReader(Pipe(whole.tobytes(), step)), "s16le", ["1"], raw_channels=2)
    np.testing.assert_array_equal(read(shorts)[:, 0], whole[:, 1])


def test_text_lines_from_a_pipe_come_one_by_one() -> None:
    recording = read_raw(io.BufferedReader(Pipe(b"1\n2.5\n-3\n", 4)), "text")
    assert [chunk.tolist() for chunk in recording.chunks] == [[[1.0]], [[2.5]], [[-3.0]]]


def test_a_torn_last_sample_is_named() -> None:
    chunks = read_raw(io.BytesIO(b"\0" * 10), "f32le").chunks
    assert len(next(chunks)) == 2
    with pytest.raises(SignalError, match="ends 2 bytes into a frame of 4"):
        next(chunks)


def test_missing_values_are_refused_or_held(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,5\n,6\nnan,7\n4,8\n")
    with pytest.raises(SignalError, match="no value at frame 1 of channel 0: hold_gaps=True"):
        read(open_recording(tmp_path / "x.csv"))
    held = read(open_recording(tmp_path / "x.csv", channels=2, hold_gaps=True))
    np.testing.assert_array_equal(held, [[1, 5], [1, 6], [1, 7], [4, 8]])


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_a_file_that_was_cut_short(ending: str, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 48000), 16000)
    assert open_recording(path).remark == ""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if ending == "flac":
        with pytest.raises(SignalError, match=r"x\.flac is damaged or cut short [01]\.\d\d s after its beginning: "):
            read(open_recording(path))
    else:
        recording = open_recording(path)
        assert recording.remark.startswith("cut short") and 8000 < len(read(recording)) < 40000


def test_a_pipe_s_wav_is_whole(tmp_path: Path) -> None:
    """A program that writes to a pipe does not know how long it will be, and says 4 GB."""
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(100), 16000)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 4 + content[8:40] + b"\xff" * 4 + content[44:])
    recording = open_recording(path)
    assert recording.remark == "" and len(read(recording)) == 100


BAD = {
    "text.mp3": (b"x", "not audio that can be read: Format not recognised"),
    "empty.csv": (b"", "holds no numbers"),
    "word.csv": (b"a\n1\nx\n", "line 3, column 0 is 'x' and not a number"),
    "ragged.csv": (b"1,2\n3\n", "line 2, has 1 columns, the first has 2"),
    "bad.wav": (b"RIFFnonsense", "not audio that can be read"),
    "bad.npy": (b"\x93NUMPY\x01\x00zz", "not an array that can be read"),
    "bad.hea": (b"nonsense header", "cannot be read"),
    "bad.edf": (b"0" * 300, "cannot be read"),
    "what.xyz": (b"1", "of no kind that can be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_signal_errors(tmp_path: Path, name: str) -> None:
    for package in {"bad.hea": ["wfdb"], "bad.edf": ["pyedflib"], "bad.wav": ["soundfile"]}.get(name, []):
        pytest.importorskip(package)
    content, text = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SignalError, match=re.escape(text)):
        read(open_recording(tmp_path / name))


@pytest.mark.parametrize("name", ["x.wav", "x.aiff", "x.npy", "x.csv", "x.hea", "x.edf", "x.f32"])
def test_a_recording_without_a_frame_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in ("x.wav", "x.aiff"):
        pytest.importorskip("soundfile").write(path, np.zeros((0, 1)), 360)
    elif name == "x.edf":
        write_edf(path, [np.zeros(0)], rate_hz=360)
    elif name == "x.hea":
        path.write_text("x 1 360 0\nx.dat 16 200 16 0 0 0 0 ii\n")
        (tmp_path / "x.dat").touch()
    elif name == "x.npy":
        np.save(path, np.zeros((0, 1), np.float32))
    else:
        path.touch()
    with pytest.raises(SignalError, match=r"x(\.\w+)? holds no (samples|numbers): give a recording with at least one"):
        read(open_recording(path, raw_format="f32le" if name == "x.f32" else None))


def test_arrays_that_are_no_signal_are_refused(tmp_path: Path) -> None:
    for number, array in enumerate([np.zeros((2, 2, 2)), np.array(["a"]), np.array(1.0), np.zeros(2, complex)]):
        np.save(tmp_path / f"{number}.npy", array)
        with pytest.raises(SignalError, match="must hold numbers"):
            open_recording(tmp_path / f"{number}.npy")


@pytest.mark.parametrize("name", ["none.wav", "none.csv", "none.npy", "none.edf", "none.hea", "none"])
def test_a_missing_file_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(SignalError, match="there is no file"):
        open_recording(tmp_path / name)


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="is a folder"):
        open_recording(tmp_path)


def test_a_wrong_channel_lists_the_right_ones() -> None:
    with pytest.raises(SignalError, match="x has no channel 'V9': choose one of i, ii or a number from 0 to 1"):
        choose_channels(("i", "ii"), ["V9"], "x")
    with pytest.raises(SignalError, match="takes 3 channels and x has 2"):
        choose_channels(("i", "ii"), 3, "x")


def test_a_name_wins_over_a_number() -> None:
    assert choose_channels(("1", "0"), ["0"], "x") == [1]


def test_a_missing_package_is_named_with_its_command() -> None:
    with pytest.raises(
        MissingExtraError, match=r"this is a record.* no_such_package .*: pip install tcnstream\[files\]$"
    ):
        optional_package("no_such_package", "this is a record", "files")


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [("mV", "mV", 1.0), ("µV", "mV", 1e-3), ("V", "mV", 1e3), ("", "mV", 1.0), ("mV", "", 1.0), ("g", "mV", None)],
)
def test_units(source: str, target: str, factor: float | None) -> None:
    assert unit_factor(source, target) == (None if factor is None else pytest.approx(factor))


def test_help_refusals_and_the_readme_list_what_the_registry_has(tmp_path: Path) -> None:
    names = sources.names_of_files()
    assert names == ("WAV", "FLAC", "Ogg", "CSV", "TSV", "NPY", "WFDB", "EDF")
    (tmp_path / "x.xyz").write_bytes(b"1")
    with pytest.raises(SignalError, match=re.escape(f"can be read ({', '.join(names)})")):
        open_recording(tmp_path / "x.xyz")
    assert sources.described() == (
        "WAV, FLAC, Ogg, CSV, TSV, NPY, WFDB or EDF file, a folder of them (--jobs), - for standard input, "
        "mic: or mic:NAME for a microphone."
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in names if name not in readme] == []


def test_a_new_kind_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_ten(path: Path, channels: Channels) -> Recording:
        return Recording(str(path), 10.0, "", ("0",), ("0",), 10, iter([np.zeros((10, 1), np.float32)]))

    monkeypatch.setattr(sources, "FILE_KINDS", (*sources.FILE_KINDS, FileKind(("TEN",), (".ten",), read_ten)))
    (tmp_path / "x.ten").write_bytes(b"")
    assert open_recording(tmp_path / "x.ten").rate_hz == 10
    assert "EDF or TEN file" in sources.described() and sources.files_of("x.ten") == [Path("x.ten")]
