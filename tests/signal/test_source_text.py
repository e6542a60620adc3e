"""Tables as spreadsheets, pandas and recorders write them: which column is what, at what rate, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from helpers.recordings import read

from tcnstream.errors import SignalError
from tcnstream.signal.sources import open_recording, read_raw
from tcnstream.signal.sources.base import Gap

RATE_HZ = 360
ROWS = 1200
ECG = np.round(np.cumsum(np.random.default_rng(5).normal(0, 0.03, ROWS)), 4)
OTHER = np.round(np.random.default_rng(6).normal(0, 1, ROWS), 4)
SECONDS = np.arange(ROWS) / RATE_HZ


def table(folder: Path, text: str | bytes, name: str = "x.csv") -> Path:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


def lines(*columns: object, mark: str = ",", comma: bool = False) -> str:
    """Rows of columns that are arrays or lists of text."""
    made = []
    for row in zip(*columns, strict=True):  # type: ignore[call-overload]
        cells = [cell if isinstance(cell, str) else f"{cell:.4f}" for cell in row]
        made.append(mark.join(cell.replace(".", ",") if comma else cell for cell in cells))
    return "\n".join(made) + "\n"


def whole(count: int = ROWS, first: int = 0) -> list[str]:
    return [str(first + k) for k in range(count)]


NAMED = {
    "Time (s),ECG (mV)": [f"{t:.6f}" for t in SECONDS],
    "time_ms,ecg_mV": [f"{1000 * t:.3f}" for t in SECONDS],
    "t [ms],ECG [mV]": [f"{1000 * t:.3f}" for t in SECONDS],
    "timestamp,ecg": [f"{1.7e9 + t:.6f}" for t in SECONDS],
    "Timestamp (us),ECG": [f"{1e6 * t:.0f}" for t in SECONDS],
    "datetime,ecg": [f"2024-05-01 00:00:{t:09.6f}" for t in SECONDS],
    "Date Time,ecg": [
        f"01/05/2024 23:59:{59 + t:09.6f}" if t < 1 else f"02/05/2024 0:00:{t - 1:09.6f}" for t in SECONDS
    ],
    "sample #,ecg": whole(),
    "'sample #','MLII'": whole(),
    "Unnamed: 0,ecg": whole(),
    ",ecg": whole(),
    "index,ecg": whole(first=5000),
    "n,ecg": whole(),
    "whatever,ecg": whole(first=1),
    "tick,ecg": [str(4 * k) for k in range(ROWS)],
    "packet,ecg": [str(k % 256) for k in range(ROWS)],
}
RATES = {"Time (s),ECG (mV)", "time_ms,ecg_mV", "t [ms],ECG [mV]", "timestamp,ecg", "Timestamp (us),ECG"}
RATES |= {"datetime,ecg", "Date Time,ecg"}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("header", NAMED)
def test_a_column_that_is_time_or_counts_is_no_signal(tmp_path: Path, header: str, ending: str) -> None:
    text = f"{header}\n{lines(NAMED[header], ECG)}".replace("\n", ending)
    recording = open_recording(table(tmp_path, text))
    assert recording.channels == (header.split(",")[1].strip("'"),)
    assert recording.rate_hz == (RATE_HZ if header in RATES else None)
    assert recording.units == ("mV" if "mV" in header else "")
    np.testing.assert_array_equal(read(recording)[:, 0], ECG.astype(np.float32))


@pytest.mark.parametrize("mark", [",", ";", "\t", "  "])
@pytest.mark.parametrize("first", ["seconds", "rounded", "milliseconds", "rows", "packets", "epoch"])
def test_without_a_header_a_column_that_counts_is_known_by_its_numbers(tmp_path: Path, first: str, mark: str) -> None:
    cells = {
        "seconds": [f"{t:.6f}" for t in SECONDS],
        "rounded": [f"{t:.4f}" for t in SECONDS],
        "milliseconds": [f"{1000 * t:.0f}" for t in SECONDS],
        "rows": whole(),
        "packets": [str(2 * k % 256) for k in range(ROWS)],
        "epoch": [f"{1.7e9 + t:.6f}" for t in SECONDS + np.random.default_rng(0).uniform(0, 0.001, ROWS)],
    }[first]
    recording = open_recording(table(tmp_path, lines(cells, ECG, OTHER, mark=mark), "x.txt"))
    assert recording.channels == ("1",) and "column 0 counts and is taken for no signal" in recording.remark
    np.testing.assert_array_equal(read(recording)[:, 0], ECG.astype(np.float32))
    by_name = open_recording(tmp_path / "x.txt", channels=["0"])
    np.testing.assert_allclose(read(by_name)[:, 0], np.array(cells, float), rtol=1e-6)


def test_what_only_looks_like_a_counter_is_a_signal(tmp_path: Path) -> None:
    flat, steps = ["0"] * ROWS, [str(k // 3 % 7) for k in range(ROWS)]
    for column in (flat, steps, whole()[::-1]):
        recording = open_recording(table(tmp_path, lines(column, ECG)))
        assert recording.channels == ("0",)
    alone = open_recording(table(tmp_path, lines(whole())))
    assert alone.channels == ("0",)
    np.testing.assert_array_equal(read(alone)[:, 0], np.arange(ROWS))
    sample = open_recording(table(tmp_path, "sample\n" + lines(ECG)))
    assert sample.channels == ("sample",)


def test_decimal_commas(tmp_path: Path) -> None:
    """Without a header the file was split at them."""
    seconds = [f"{t:.4f}" for t in SECONDS]
    for text, name in (
        (lines(seconds, ECG, mark=";", comma=True), "1"),
        ("t;ECG\n" + lines(seconds, ECG, mark=";", comma=True), "ECG"),
        (lines(seconds, ECG, mark="\t", comma=True), "1"),
        (lines(seconds, ECG, mark=" ", comma=True), "1"),
        (lines(ECG, comma=True), "0"),
        (
            "".join(f'"{a}","{b}"\n'.replace(".", ",").replace('",', '",') for a, b in zip(seconds, ECG, strict=True)),
            "1",
        ),
    ):
        recording = open_recording(table(tmp_path, text))
        assert recording.channels == (name,) and "commas stand before decimals" in recording.remark
        np.testing.assert_array_equal(read(recording)[:, 0], ECG.astype(np.float32))
    pairs = open_recording(table(tmp_path, "824,1024\n822,1023\n824,1024\n"), channels=2)
    assert read(pairs).tolist() == [[824, 1024], [822, 1023], [824, 1024]]


@pytest.mark.parametrize(
    "word", ["", "NA", "N/A", "nan", "NaN", "null", "NULL", "None", "-", "?", "#N/A", "#DIV/0!", '""']
)
def test_words_for_a_missing_value(tmp_path: Path, word: str) -> None:
    path = table(tmp_path, f"ecg,b\n0.5,1\n{word},2\n{word},3\n0.75,4\n")
    with pytest.raises(SignalError, match="no value at frame 1 of channel ecg: hold_gaps=True"):
        read(open_recording(path))
    assert read(open_recording(path, hold_gaps=True))[:, 0].tolist() == [0.5, 0.5, 0.5, 0.75]
    assert read(open_recording(path, channels=["b"]))[:, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0x1F;1\n0x20;2\n", "line 1, column 0 is '0x1F' is hexadecimal"),
        ("1.234,5;1\n2,5;2\n", "line 1, column 0 is '1.234,5' has a thousands separator"),
        ('"1,234.5",1\n2,3\n', "line 1, column 0 is '1,234.5' has a thousands separator"),
    ],
)
def test_numbers_in_another_form_are_no_header(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SignalError, match=why):
        read(open_recording(table(tmp_path, text)))


def test_blank_rows_are_missing_frames(tmp_path: Path) -> None:
    for text, first in ((",\n,\n0.5,1\n", 0), ("a,b\n,\n0.5,1\n", 0), (",\na,b\n0.25,1\n,\n", 1)):
        with pytest.raises(SignalError, match=f"no value at frame {first} of channel"):
            read(open_recording(table(tmp_path, text)))


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("0x1F", "is hexadecimal"),
        ('"1,234.5"', "has a thousands separator"),
        ("1'234", "has a thousands separator"),
        ("1_000", "and not a number"),
        ("five", "and not a number"),
        ("3 mV", "and not a number"),
    ],
)
def test_what_is_no_number_is_refused_in_words(tmp_path: Path, cell: str, why: str) -> None:
    path = table(tmp_path, f"ecg,b\n0.5,1\n0.25,2\n{cell},3\n")
    recording = open_recording(path)
    chunks = recording.chunks
    good = next(chunks)
    assert isinstance(good, np.ndarray) and good.tolist() == [[0.5], [0.25]]
    with pytest.raises(SignalError, match=rf"line 4, column 0 is .* {why}"):
        next(chunks)


def test_as_programs_write_them(tmp_path: Path) -> None:
    expected = ECG.astype(np.float32)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"t_s": SECONDS, "ECG (mV)": ECG, "b": OTHER})
    bare = pandas.DataFrame(np.stack([ECG, OTHER], axis=1))
    dates = pandas.to_datetime(SECONDS, unit="s", origin="2024-01-01")
    in_commas = lines(SECONDS, ECG, mark=";", comma=True)
    counter, epoch = [str(k % 256) for k in range(ROWS)], [f"{1.7e9 + t:.6f}" for t in SECONDS]
    texts = {
        "pandas": frame.to_csv(),
        "pandas without an index": frame.to_csv(index=False),
        "pandas, semicolons": frame.to_csv(sep=";", decimal=","),
        "pandas, by date": frame.set_index(dates).drop(columns="t_s").to_csv(),
        "pandas without names": bare.to_csv(),
        "pandas without names and index": bare.to_csv(index=False),
        "pandas, bare": bare.to_csv(index=False, header=False),
        "Excel": "\ufeff" + frame.to_csv(index=False, lineterminator="\r\n"),
        "Excel, Unicode text": frame.to_csv(index=False, sep="\t", lineterminator="\r\n").encode("utf-16"),
        "Excel, Western": "Zeit (s);EKG (µV)\r\n".encode("latin-1") + in_commas.encode(),
        "commas at the ends": "t_s,ECG (mV),b,\n" + lines(SECONDS, ECG, OTHER).replace("\n", ",\n"),
        "commas at the ends of rows": "t_s,ECG (mV),b\n" + lines(SECONDS, ECG, OTHER).replace("\n", ",\n"),
        "PhysioNet": "'Elapsed time','MLII','V5'\n'hh:mm:ss.mmm','mV','mV'\n"
        + lines([f"'0:{t:06.3f}'" for t in SECONDS], ECG, OTHER),
        "units below": "time;ecg;b\ns;uV;uV\n" + lines(SECONDS, ECG, OTHER, mark=";"),
        "a head of facts": "Device;X200\nSampling rate;360 Hz\n\nI;II\n" + lines(ECG, OTHER, mark=";"),
        "OpenBCI": "%OpenBCI Raw EEG Data\n%Sample Rate = 360 Hz\nSample Index, EXG Channel 0, EXG Channel 1\n"
        + lines(counter, ECG, OTHER, mark=", "),
        "OpenSignals": '# OpenSignals Text File Format\n# {"sampling rate": 360, "column": ["nSeq", "DI", "CH1"]}\n'
        + lines([str(k % 16) for k in range(ROWS)], ["0"] * ROWS, ECG, mark="\t").replace("\n", "\t\n"),
        "a separator's line": "sep=;\r\n" + in_commas,
        "R": '"ecg" "b"\n' + lines([f'"{k + 1}"' for k in range(ROWS)], ECG, OTHER, mark=" "),
        "units alone": "ms,mV\n" + lines([f"{1000 * t:.3f}" for t in SECONDS], ECG),
        "BrainFlow": lines(counter, ECG, OTHER, epoch, mark="\t"),
    }  # fmt: skip
    for name, text in texts.items():
        recording = open_recording(table(tmp_path, text))
        np.testing.assert_array_equal(read(recording)[:, 0], expected, err_msg=name)
        if name in ("a head of facts", "OpenBCI", "OpenSignals", "PhysioNet", "Excel", "pandas, by date"):
            assert recording.rate_hz == pytest.approx(RATE_HZ, rel=1e-6), name
    assert open_recording(table(tmp_path, texts["Excel, Western"])).units == "uV"
    assert open_recording(table(tmp_path, texts["units below"])).units == "uV"
    assert open_recording(table(tmp_path, texts["PhysioNet"])).units == "mV"


def test_a_time_column_says_the_rate_only_in_a_known_unit(tmp_path: Path) -> None:
    unknown = open_recording(table(tmp_path, "time,ecg\n" + lines(SECONDS, ECG)))
    assert unknown.rate_hz is None and "column time steps by 0.002778: 360 Hz, if it is in seconds" in unknown.remark
    said = open_recording(table(tmp_path, "# rate_hz = 250\nTime (s),ecg\n" + lines(SECONDS, ECG)))
    assert said.rate_hz == 250 and "250 Hz, which stands over the 360 Hz of column Time (s)" in said.remark
    for rate_hz in (128, 257, 333.25, 500, 1000, 44.1):
        times = [f"{k / rate_hz:.6f}" for k in range(ROWS)]
        assert open_recording(table(tmp_path, "time_s,ecg\n" + lines(times, ECG))).rate_hz == rate_hz
    jitter = SECONDS + np.random.default_rng(1).uniform(0, 0.02, ROWS)
    assert open_recording(table(tmp_path, "time_s,ecg\n" + lines(np.sort(jitter), ECG))).rate_hz is None


@pytest.mark.parametrize("header", ["Time (s),ecg", "sample,ecg", "datetime,ecg", ""])
def test_rows_that_are_missing_are_a_gap(tmp_path: Path, header: str) -> None:
    cells = {
        "Time (s),ecg": [f"{t:.4f}" for t in SECONDS],
        "datetime,ecg": [f"23:59:{57 + t:07.4f}" if t < 3 else f"00:00:{t - 3:07.4f}" for t in SECONDS],
    }.get(header, whole())
    kept = [*range(700), *range(750, 1100), *range(1101, ROWS)]
    text = lines([cells[k] for k in kept], ECG[kept])
    path = table(tmp_path, f"{header}\n{text}" if header else text)
    pieces = list(open_recording(path).chunks)
    assert [p.frames for p in pieces if isinstance(p, Gap)] == [50, 1]
    got = read(open_recording(path))
    assert len(got) == ROWS and np.isnan(got[700:750]).all() and np.isnan(got[1100]).all()
    np.testing.assert_array_equal(got[kept, 0], ECG[kept].astype(np.float32))
    assert not np.isnan(read(open_recording(path, hold_gaps=True))).any()


def test_a_table_that_goes_back_in_time_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "time_s,ecg\n" + 2 * lines(SECONDS, ECG))
    with pytest.raises(SignalError, match=rf"line {ROWS + 2}, goes back in time \(column time_s\)"):
        read(open_recording(path))


def test_a_cut_last_line_loses_nothing_before_it(tmp_path: Path) -> None:
    path = table(tmp_path, "time,ecg\n" + lines(SECONDS, ECG) + "0.3333")
    frames = []
    with pytest.raises(SignalError, match=f"line {ROWS + 2}, has 1 columns"):
        for piece in open_recording(path).chunks:
            assert isinstance(piece, np.ndarray)
            frames.append(piece)
    np.testing.assert_array_equal(np.concatenate(frames)[:, 0], ECG.astype(np.float32))


@pytest.mark.parametrize("text", ["time,ecg\n", "a\n", "# rate_hz = 360\n", "\n\n", "time,ecg\n\n# end\n"])
def test_a_header_alone_is_no_recording(tmp_path: Path, text: str) -> None:
    with pytest.raises(SignalError, match="holds no numbers"):
        open_recording(table(tmp_path, text))


def test_a_table_on_its_side_is_refused(tmp_path: Path) -> None:
    for rows in (1, 2, 3):
        text = "\n".join([",".join(f"{x:.4f}" for x in ECG)] * rows) + "\n"
        with pytest.raises(
            SignalError, match=f"{rows} frame\\(s\\) of 1,200 channels, so that it seems to lie on its side"
        ):
            open_recording(table(tmp_path, text))
        np.save(tmp_path / "x.npy", np.stack([ECG] * rows))
        with pytest.raises(SignalError, match="lie on its side"):
            open_recording(tmp_path / "x.npy")
    assert len(read(open_recording(table(tmp_path, text), channels=["7"]))) == 3
    np.save(tmp_path / "x.npy", np.zeros((8, 128)))
    with pytest.raises(SignalError, match="lie on its side"):
        open_recording(tmp_path / "x.npy", channels=8)
    assert read(open_recording(tmp_path / "x.npy", channels=128)).shape == (8, 128)


def test_what_is_no_text_or_no_table_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "zero.csv").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(SignalError, match=r"line 1, is no text \(it has zero bytes\)"):
        open_recording(tmp_path / "zero.csv")
    with pytest.raises(SignalError, match="line 1, has more than 1,048,576 characters"):
        open_recording(table(tmp_path, "1," * 2_000_000))
    with pytest.raises(SignalError, match=r"not a number|holds no numbers"):
        read(open_recording(table(tmp_path, np.random.default_rng(0).bytes(5000).replace(b"\0", b"1"))))


def test_a_pipe_with_a_counter_is_understood_after_some_lines() -> None:
    text = lines(whole(), ECG).encode()
    stream = io.BufferedReader(Slow(text))
    recording = read_raw(stream, "text")
    assert recording.channels == ("1",)
    pieces = list(recording.chunks)
    assert len(pieces) > 100
    np.testing.assert_array_equal(np.concatenate(pieces)[:, 0], ECG.astype(np.float32))  # type: ignore[arg-type]


class Slow(io.RawIOBase):
    """Gives its bytes line by line, and cannot be rewound."""

    def __init__(self, content: bytes) -> None:
        self._lines = content.splitlines(keepends=True)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        line = self._lines.pop(0) if self._lines else b""
        buffer[: len(line)] = line
        return len(line)


def test_dashes_for_a_missing_value_are_no_second_header(tmp_path: Path) -> None:
    """The line was taken for names, and the column whose name was a number for the signal."""
    path = tmp_path / "a.csv"
    path.write_text("ecg,b\n---,0.5\n0.25,0.5\n0.125,0.5\n")
    with pytest.raises(SignalError, match="line 2, column 0 is '---' and not a number"):
        list(open_recording(str(path)).chunks)


def test_commas_before_decimals_and_between_columns_are_refused(tmp_path: Path) -> None:
    """Two columns of one number each were read as four, and the first one as nothing but zeros."""
    path = tmp_path / "a.csv"
    path.write_text("".join(f"0,0{k},-0,{k}5,0,1{k}\n" for k in range(100, 200)))
    with pytest.raises(SignalError, match="commas before decimals and between columns"):
        open_recording(str(path))


@pytest.mark.parametrize("zone", ["", "Z", "+00:00", " +0530", "-08:00"])
def test_a_time_zone_behind_the_clock_is_no_part_of_it(zone: str, tmp_path: Path) -> None:
    """As pandas writes times that know their zone: the column was passed over, and no rate found."""
    path = tmp_path / "a.csv"
    rows = "".join(f"2024-01-01 00:00:{k / 250:06.3f}{zone},0.{k % 7}\n" for k in range(600))
    path.write_text(f"datetime,ecg\n{rows}")
    assert open_recording(str(path)).rate_hz == 250


def through_a_pipe(text: str) -> tuple[np.ndarray, str, float | None]:
    recording = read_raw(io.BufferedReader(Slow(text.encode())), "text")
    return read(recording)[:, 0], recording.channels[0], recording.rate_hz


@pytest.mark.parametrize("digits", [3, 4, 6])
def test_rounded_times_are_no_signal_of_a_pipe_either(digits: int) -> None:
    """Sixteen lines of times that are rounded count as little as a wave's slope does: they were streamed as the ECG."""
    times = [f"{t:.{digits}f}" for t in SECONDS]
    for text in (lines(times, ECG), "x,ecg\n" + lines(times, ECG), lines(times, ECG, mark=";", comma=True)):
        values, name, _ = through_a_pipe(text)
        assert name in ("1", "ecg")
        np.testing.assert_array_equal(values, ECG.astype(np.float32))
    slope = [str(k // 2) for k in range(16)] + ["3"] * 1000
    assert through_a_pipe(lines(slope, [f"{x:.4f}" for x in OTHER[: len(slope)]]))[1] == "0"


def test_a_table_on_its_side_is_refused_from_a_pipe() -> None:
    with pytest.raises(SignalError, match="lie on its side"):
        through_a_pipe(",".join(f"{x:.4f}" for x in ECG) + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "Time (s),ECG (uV),\n" + lines(SECONDS, ECG).replace("\n", ",\n"),
        "Time (s),ECG (uV),,\n" + lines(SECONDS, ECG).replace("\n", ",,\n"),
        "Time (s),ECG (uV),note\n" + lines(SECONDS, ECG).replace("\n", ",\n"),
        '"Time (s)","ECG\nlead II (uV)"\n' + lines(SECONDS, ECG),
        "Time (s)  ECG (uV)\n" + lines(SECONDS, ECG, mark="  "),
        "lead,I (uV),II (uV)\nTime (s),,\n" + lines(SECONDS, ECG, OTHER),
        "time_s,ECG (uV)\n" + lines([f"{t:.9e}" for t in SECONDS], ECG),
        "age,63\nheight,1.75\nTime (s),ECG (uV)\n" + lines(SECONDS, ECG),
        "Name,Smith\nSampling Rate (Hz),360\nUnits,uV\n\nECG,b\n" + lines(ECG, OTHER),
        'Name,J. S.\nBorn,"Jan 1, 1980"\nSample Rate,360 hertz\n\nLead,I\nUnit,\u00b5V\n\n' + lines(ECG),
        "# rate_hz = 360\nECG (uV)\n" + lines(ECG),
        "# rate_hz = 360\nECG (uV)\n" + lines(ECG, comma=True),
        "Datum;Uhrzeit;EKG (uV)\n"
        + "".join(f"01.05.2024;10:00:0{t:.4f};{x}\n".replace(".0000", ".0") for t, x in zip(SECONDS, ECG, strict=True)),
        "Time,ECG (uV)\n" + lines([f"10:00:0{t:.3f}".replace(".", ":") for t in SECONDS], ECG),
    ],
)
def test_a_header_is_understood_whatever_stands_around_it(tmp_path: Path, text: str) -> None:
    """The unit or the rate was lost, and microvolts were taken for millivolts."""
    recording = open_recording(table(tmp_path, text))
    assert (recording.units, recording.rate_hz) == ("uV", RATE_HZ)
    np.testing.assert_array_equal(read(recording)[:, 0], ECG.astype(np.float32))


@pytest.mark.parametrize(
    "text",
    [
        "n\tecg\n" + lines(whole(), [f"{4000 + k % 77:,}" for k in range(ROWS)], mark="\t"),
        "n;ecg\n" + lines(whole(), [f"{4000 + k % 77:,}" for k in range(ROWS)], mark=";"),
        "n,ecg\n" + lines(whole(), [f'"{4000 + k % 77:,}"' for k in range(ROWS)]),
        lines([f'"{4000 + k % 77:,}"' for k in range(ROWS)]),
        "n;ecg\n" + lines(whole(), [f"{950 + k % 77:,}".replace(",", ".") for k in range(ROWS)], mark=";"),
    ],
)
def test_marks_that_may_part_thousands_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SignalError, match="thousands separator"):
        open_recording(table(tmp_path, text))


def test_three_decimals_are_no_thousands(tmp_path: Path) -> None:
    for text in ("t;ecg\n0,002;1,652\n0,004;1,655\n", "n;ecg\n0;0,652\n1;1,655\n", "n;ecg\n100;1.652\n101;1.655\n"):
        assert len(read(open_recording(table(tmp_path, text)))) == 2


def test_a_counter_and_decimal_commas_are_refused(tmp_path: Path) -> None:
    """The whole part of each number was streamed."""
    text = lines(whole(), [f"{x:.3f}".replace(".", ",") for x in ECG - ECG.mean()])
    with pytest.raises(SignalError, match="commas before decimals and between columns"):
        open_recording(table(tmp_path, text))


@pytest.mark.parametrize("at", [700, 700 + 4 * ROWS])
def test_a_time_that_is_missing_is_no_gap(tmp_path: Path, at: int) -> None:
    """It cost the rate, or made the next row seem to be missing."""
    values = np.tile(ECG, 5)
    times = [f"{k / RATE_HZ:.6f}" for k in range(len(values))]
    times[at] = ""
    recording = open_recording(table(tmp_path, "Time (s),ecg\n" + lines(times, values)))
    assert recording.rate_hz == RATE_HZ
    np.testing.assert_array_equal(read(recording)[:, 0], values.astype(np.float32))


def test_a_remark_behind_a_number_is_no_name(tmp_path: Path) -> None:
    """The first row was taken for a header, and lost."""
    path = table(tmp_path, "0.25,1.5 # begins\n0.5,1.5\n0.75,1.5 # here\n")
    assert read(open_recording(path))[:, 0].tolist() == [0.25, 0.5, 0.75]
    assert read(open_recording(path, channels=["1"]))[:, 0].tolist() == [1.5, 1.5, 1.5]
    with pytest.raises(SignalError, match="line 1, column 1 is 'bad' and not a number"):
        read(open_recording(table(tmp_path, "0.25,bad\n0.5,1.5\n0.75,1.5\n"), channels=["1"]))


def test_text_in_utf_16_that_is_cut_within_a_letter_is_refused_behind_what_is_whole(tmp_path: Path) -> None:
    path = table(tmp_path, ("ecg\n" + lines(ECG)).encode("utf-16")[:-3])
    chunks = open_recording(path).chunks
    assert len(next(chunks)) == ROWS - 1
    with pytest.raises(SignalError, match=f"line {ROWS + 1}, column 0 is .* not a number"):
        next(chunks)


def test_times_in_reverse_are_refused(tmp_path: Path) -> None:
    text = "Time (s),ecg\n" + lines(SECONDS[::-1], ECG[::-1])
    with pytest.raises(SignalError, match=r"goes back in time \(column Time \(s\)\): sort its rows by time"):
        open_recording(table(tmp_path, text))


@pytest.mark.parametrize(
    ("header", "first"),
    [
        ("patient_id,ecg", ["100"] * ROWS),
        ("LocalTimestamp,ecg", [f"{1.7e9 + t:.3f}" for t in SECONDS]),
        ("label,ecg", [str(k // 100 % 2) for k in range(ROWS)]),
        ("beat,ecg", ["N"] * ROWS),
        ("flag,ecg", ["True", "False"] * (ROWS // 2)),
        ("x,ecg", [f"{1.7e9 + t:.9e}" for t in SECONDS]),
        ("x,ecg", [f"{int(t)}" for t in SECONDS]),
        ("\u6642\u9593,\u5fc3\u96fb", [f"{t:.4f}" for t in SECONDS]),
    ],
)
def test_what_else_is_no_signal(tmp_path: Path, header: str, first: list[str]) -> None:
    recording = open_recording(table(tmp_path, f"{header}\n" + lines(first, ECG)))
    assert recording.channels == (header.split(",")[1],)
    np.testing.assert_array_equal(read(recording)[:, 0], ECG.astype(np.float32))


def test_a_column_without_a_name_is_a_signal_where_there_is_no_other(tmp_path: Path) -> None:
    recording = open_recording(table(tmp_path, "Time (s),\n" + lines(SECONDS, ECG)))
    np.testing.assert_array_equal(read(recording)[:, 0], ECG.astype(np.float32))


@pytest.mark.parametrize("word", ["<NA>", "NaT", "#NV", "-1.#IND", "-nan(ind)", "-nan", r"\N"])
def test_words_of_programs_for_a_missing_value(tmp_path: Path, word: str) -> None:
    path = table(tmp_path, f"ecg\n0.5\n{word}\n0.75\n")
    assert read(open_recording(path, hold_gaps=True))[:, 0].tolist() == [0.5, 0.5, 0.75]
