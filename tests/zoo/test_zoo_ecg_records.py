"""Records of LUDB, MIT-BIH and QTDB as they are read, and whose they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.drawn_hearts import QRS, P, T, beats, record_of, typed_record, wfdb, write_record

from tcnstream.errors import SignalError
from tcnstream.zoo.recipes import mitdb, qtdb
from tcnstream.zoo.recipes.ludb import Wave, read_record, record_names, waves_of
from tcnstream.zoo.recipes.mitdb import Rhythm
from tcnstream.zoo.recipes.persons import fold_of, of_persons, person_of, record_list
from tcnstream.zoo.recipes.targets import UNKNOWN, ludb_example


def test_a_record_comes_back_as_it_was_written(ludb: Path) -> None:
    assert record_names(ludb) == ["1", "7"]
    record, written = read_record(ludb, "7"), record_of(beats(10))
    assert (record.rate_hz, record.leads) == (500.0, ("i", "ii"))
    np.testing.assert_allclose(record.signal, written.signal, atol=1e-3)
    assert [w.label for w in record.waves[1]] == [w.label for w in written.waves[1]]
    for read, wave in zip(record.waves[0], written.waves[0], strict=True):
        assert (read.onset_s, read.offset_s) == (
            pytest.approx(wave.onset_s, abs=0.002),
            pytest.approx(wave.offset_s, abs=0.002),
        )


@pytest.mark.parametrize(
    ("diagnosis", "expected"),
    [
        ("Rhythm: Sinus rhythm.", 0),
        ("Complete left bundle branch block.", 0),
        ("Left ventricular hypertrophy.", 0),
        ("UNIpolar ventricular pacing.", 0),
        ("Atrial extrasystole, type: single PAC.", 0),
        ("Ventricular extrasystole, type: couplet.", UNKNOWN),
        ("III degree AV-block.", UNKNOWN),
    ],
)
def test_a_diagnosis_tells_which_beats_are_not_of_ventricular_origin(
    tmp_path: Path, diagnosis: str, expected: int
) -> None:
    write_record(tmp_path, replace(record_of(beats(9)), diagnoses=("<age>: 51", "<diagnoses>:", diagnosis)))
    assert diagnosis in read_record(tmp_path, "1").diagnoses
    example = ludb_example(read_record(tmp_path, "1"))
    assert set(np.unique(example.ventricular[example.label == QRS])) == {expected}
    assert set(np.unique(example.ventricular[example.label != QRS])) == {UNKNOWN} and not example.is_ectopic


def test_the_list_of_records_names_what_is_there(ludb: Path) -> None:
    (ludb / "RECORDS").write_text("data/7\ndata/8\n")
    assert record_names(ludb) == ["7"]


def test_a_folder_without_records_is_said(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="holds no LUDB records"):
        record_names(tmp_path)
    with pytest.raises(SignalError, match="cannot be read"):
        read_record(tmp_path, "3")


def test_marks_without_brackets_have_no_border() -> None:
    waves = waves_of(["(", "p", "N", ")", "t"], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert waves == (Wave(P, 0.1, 0.2, None), Wave(QRS, None, 0.3, 0.4), Wave(T, None, 0.5, None))
    assert (waves[2].start_s, waves[2].end_s) == (0.5, 0.5)


def test_records_of_mitdb_and_qtdb_come_back_as_they_were_written(tmp_path: Path) -> None:
    record = typed_record("NNVN")
    frames = np.array([round(beat.time_s * 250) for beat in record.beats])
    samples = record.signal.astype(np.float64)
    wfdb.wrsamp("sel1", 250, ["mV", "mV"], ["MLII", "V1"], samples, fmt=["16", "16"], write_dir=str(tmp_path))
    wfdb.wrann(
        "sel1", "atr", np.insert(frames, 0, 5), symbol=["+", *"NNVN"], aux_note=["(AFIB", *[""] * 4], fs=250,
        write_dir=str(tmp_path),
    )  # fmt: skip
    marks = np.sort(np.concatenate([frames - 10, frames, frames + 10]))
    wfdb.wrann("sel1", "qc", marks, symbol=["(", "N", ")"] * 4, fs=250, write_dir=str(tmp_path))
    (tmp_path / "sel1.qc").rename(tmp_path / "sel1.q1c")
    assert mitdb.record_names(tmp_path) == qtdb.record_names(tmp_path) == ["sel1"]
    read = qtdb.read_record(tmp_path, "sel1")
    assert [beat.symbol for beat in read.beats.beats] == list("NNVN") and read.beats.beats[2].ventricular
    assert read.beats.rhythms == (Rhythm(0.02, len(samples) / 250, "AFIB"),) and read.automatic == ((), ())
    assert len(read.manual) == 4 and read.manual[1].onset_s == pytest.approx(frames[1] / 250 - 0.04)
    assert mitdb.rhythms_of(wfdb.rdann(str(tmp_path / "sel1"), "q1c"), 9.0) == ()
    part = read.part(1.0, 2.5)
    assert len(part.manual) == len(part.beats.beats) == 2 and part.beats.rhythms[0].start_s == 0
    with pytest.raises(SignalError, match="holds no records"):
        mitdb.record_names(tmp_path / "sel1.dat")
    with pytest.raises(SignalError, match="cannot be read"):
        mitdb.read_record(tmp_path, "sel2")


def test_no_person_is_on_both_sides() -> None:
    records = {
        "ludb": ["1", "2", "3"],
        "mitdb": ["116", "201", "202", "223"],
        "qtdb": ["sel116", "sel223", "sel30", "sel310"],
    }
    assert of_persons(records, ["mitdb/116"]) == of_persons(records, ["qtdb/sel116"]) == {"mitdb/116", "qtdb/sel116"}
    assert of_persons(records, ["mitdb/202", "ludb/2"]) == {"mitdb/201", "mitdb/202", "ludb/2"}
    folds = [fold_of(records, f"{number}/3") for number in (1, 2, 3)]
    everything = {f"{database}/{name}" for database, names in records.items() for name in names}
    assert set.union(*map(set, folds)) == everything and sum(map(len, folds)) == len(everything)
    persons = [{person_of(*record.split("/")) for record in fold} for fold in folds]
    assert all(persons) and not persons[0] & persons[1] and not persons[1] & persons[2] and not persons[0] & persons[2]
    # Whoever is in a database that is not learned from may be in another one.
    assert of_persons({"qtdb": records["qtdb"]}, ["mitdb/116", "ludb/999"]) == {"qtdb/sel116"}
    with pytest.raises(SignalError, match="no record of a database: say it as mitdb/119"):
        of_persons(records, ["119"])
    # A slip of the pen must not let a person who is to be kept aside into the training.
    with pytest.raises(SignalError, match="there is no record 117 in the folder given: mitdb has 116, 201, 202, 223"):
        of_persons(records, ["mitdb/117"])
    for wrong in ("2", "0/5", "6/5", "1/1", "a/b"):
        with pytest.raises(SignalError, match="the second of five as 2/5"):
            fold_of(records, wrong)


def test_a_list_of_records_is_written_out_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("ludb/7\nmitdb/119, sel30\n\nludb/7\n")
    assert record_list(f"@{tmp_path / 'names'}") == ["ludb/7", "mitdb/119", "sel30"]
    assert record_list("") == record_list(" , ") == [] and record_list("4,4") == ["4"]
    with pytest.raises(SignalError, match=r"there is no database 'mitbd': say 'mitbd/119' with ludb, mitdb, qtdb"):
        record_list("ludb/4,mitbd/119")
    (tmp_path / "names").write_bytes(b"\x89HDF\xff")
    with pytest.raises(SignalError, match="is no text, so no list of records"):
        record_list(f"@{tmp_path / 'names'}")
