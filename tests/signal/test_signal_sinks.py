"""Writers and the heart rate."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tcnstream.errors import SignalError
from tcnstream.signal.heart import HeartRate
from tcnstream.signal.plot import draw
from tcnstream.signal.segments import Segment
from tcnstream.signal.sinks.csv import CsvWriter
from tcnstream.signal.sinks.jsonl import JsonLinesWriter
from tcnstream.signal.sinks.raw import NpyWriter, RawWriter
from tcnstream.signal.sinks.wfdb import WfdbWriter, read_segments

SEGMENTS = [
    Segment(0.1, 0.2, "p", 0.75),
    Segment(0.3, 0.4, "qrs", 0.987654321),
    Segment(0.5, 0.8, 'odd, "label"', 0.5),
]


def test_json_lines() -> None:
    stream = io.StringIO()
    JsonLinesWriter(stream).write(SEGMENTS)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[1] == {"start_s": 0.3, "end_s": 0.4, "label": "qrs", "probability": 0.9877}
    assert [line["label"] for line in lines] == [segment.label for segment in SEGMENTS]


def test_csv() -> None:
    stream = io.StringIO()
    CsvWriter(stream).write(SEGMENTS)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert [row["label"] for row in rows] == [segment.label for segment in SEGMENTS]
    assert float(rows[0]["end_s"]) == 0.2


def test_wfdb_annotations(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    writer = WfdbWriter(tmp_path / "rec.tcn", 500)
    writer.write(SEGMENTS)
    writer.close()
    read = wfdb.rdann(str(tmp_path / "rec"), "tcn")
    assert read.symbol == ["(", "p", ")", "(", "N", ")", "(", '"', ")"]
    assert read.sample.tolist() == [50, 74, 99, 150, 174, 199, 250, 324, 399]
    assert read.num[:6].tolist() == [0, 0, 0, 1, 0, 1]
    assert read.aux_note[7] == 'odd, "label"' and read.fs == 500


def test_what_a_model_says_beside_the_label_is_written(tmp_path: Path) -> None:
    marked = [Segment(0.1, 0.2, "p", 0.75, None, 0.25), Segment(0.3, 0.4, "qrs", 0.9, 0.75, 0.5)]
    text, table = io.StringIO(), io.StringIO()
    JsonLinesWriter(text).write(marked)
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    assert "ventricular" not in lines[0] and (lines[1]["ventricular"], lines[1]["noise"]) == (0.75, 0.5)
    CsvWriter(table).write(marked)
    assert table.getvalue().splitlines()[0] == "start_s,end_s,label,probability,ventricular,noise"
    assert table.getvalue().splitlines()[1:] == ["0.1,0.2,p,0.75,,0.25", "0.3,0.4,qrs,0.9,0.75,0.5"]
    wfdb = pytest.importorskip("wfdb")
    writer = WfdbWriter(tmp_path / "rec.tcn", 500)
    writer.write(marked)
    writer.close()
    assert wfdb.rdann(str(tmp_path / "rec"), "tcn").symbol == ["(", "p", ")", "(", "V", ")"]


def test_what_a_model_takes_for_noise_is_no_beat_anywhere(tmp_path: Path) -> None:
    beats = [Segment(at, at + 0.1, "qrs", 0.9, 0.1, 0.0) for at in (1.0, 2.0, 3.0)]
    artefacts = [Segment(at, at + 0.1, "qrs", 0.9, 0.9, 0.9) for at in (2.4, 2.6)]
    segments = sorted([*beats, *artefacts, Segment(2.8, 2.9, "t", 0.9, None, 0.9)], key=lambda s: s.start_s)
    assert [s.name for s in segments] == ["qrs", "qrs", "noise", "noise", "noise", "qrs"]
    # From 2 s to 3 s nobody knows how many beats there were.
    heart = HeartRate()
    assert heart.push(segments) == pytest.approx(60)
    assert heart.push([Segment(4.5, 4.6, "qrs", 0.9, 0.1, 0.0)]) == pytest.approx(60 / 1.25)
    draw(tmp_path / "x.svg", np.zeros(500, np.float32), 100.0, segments, labels=["p", "qrs", "t"])
    picture = (tmp_path / "x.svg").read_text()
    assert ">noise<" in picture and "QRS V" not in picture
    draw(tmp_path / "v.svg", np.zeros(500, np.float32), 100.0, [replace(beats[0], ventricular=0.9)], labels=["qrs"])
    assert ">QRS V<" in (tmp_path / "v.svg").read_text()
    wfdb = pytest.importorskip("wfdb")
    writer = WfdbWriter(tmp_path / "rec.tcn", 500)
    writer.write(segments)
    writer.close()
    assert wfdb.rdann(str(tmp_path / "rec"), "tcn").symbol[1::3] == ["N", "N", "|", "|", "t", "N"]
    read = list(read_segments(wfdb, tmp_path / "rec", "tcn", 500))
    assert [s.label for s in read] == [s.label for s in segments]
    assert [s.is_noise for s in read] == [False, False, True, True, False, False]


def test_wfdb_names_and_emptiness_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("wfdb")
    with pytest.raises(SignalError, match="cannot name WFDB annotations"):
        WfdbWriter(tmp_path / "a record.tcn", 500)
    for part in ("rec.hea", "rec.dat"):
        with pytest.raises(SignalError, match="would be a part of the record itself"):
            WfdbWriter(tmp_path / part, 500)
    with pytest.raises(SignalError, match="no segment to annotate"):
        WfdbWriter(tmp_path / "rec.tcn", 500).close()


def test_frames(tmp_path: Path) -> None:
    frames = np.arange(6, dtype=np.float32).reshape(3, 2)
    stream = io.BytesIO()
    RawWriter(stream).write(frames)
    np.testing.assert_array_equal(np.frombuffer(stream.getvalue(), "<f4").reshape(-1, 2), frames)
    np.testing.assert_array_equal(npy([frames[:0], frames[:1], frames[1:]]), frames)
    np.testing.assert_array_equal(npy([frames[0]]), frames[0])
    assert npy([]).shape == (0,) and npy([frames[:0]]).shape == (0, 2)


def npy(pieces: list[np.ndarray]) -> np.ndarray:
    stream = io.BytesIO()
    writer = NpyWriter(stream)
    for piece in pieces:
        writer.write(piece)
    writer.close()
    stream.seek(0)
    return np.load(stream)


def test_frames_are_in_the_npy_file_as_they_come(tmp_path: Path) -> None:
    with (tmp_path / "y.npy").open("wb") as file:
        writer = NpyWriter(file)
        for _ in range(100):
            writer.write(np.ones((1000, 3), np.float32))
        assert (tmp_path / "y.npy").stat().st_size > 1_000_000
        writer.close()
    assert np.load(tmp_path / "y.npy").shape == (100_000, 3)


def beat(at_s: float) -> Segment:
    return Segment(at_s - 0.05, at_s + 0.05, "qrs", 1.0)


def test_heart_rate_is_the_median_of_recent_intervals() -> None:
    heart = HeartRate(beats=3)
    assert heart.push([beat(1.0)]) is None
    assert heart.push([Segment(1.2, 1.4, "t", 1.0)]) is None
    assert heart.push([beat(2.0), beat(3.0)]) == pytest.approx(60)
    assert heart.push([beat(3.5), beat(4.0), beat(4.5)]) == pytest.approx(120)


def test_missed_and_doubled_beats_do_not_count() -> None:
    heart = HeartRate()
    heart.push([beat(1.0), beat(2.0)])
    assert heart.push([beat(2.1), beat(9.0)]) == pytest.approx(60)
