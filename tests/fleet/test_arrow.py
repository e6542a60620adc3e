"""Recordings in Arrow batches: the same segments whoever hands the batches out."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from helpers.paths import ECG

from tcnstream import Pipeline, SignalError
from tcnstream.signal.sources import open_recording

pa = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")

from tcnstream.fleet.arrow import SCHEMA, segment_batches  # noqa: E402


def recordings(count: int = 6) -> Any:
    """Some seconds of the shipped ECG each, at two rates."""
    x = np.concatenate([chunk for chunk in open_recording(ECG).chunks if isinstance(chunk, np.ndarray)])[:, 0]
    signals = [x[k * 500 : k * 500 + 2000] for k in range(count)]
    return pa.RecordBatch.from_pydict(
        {
            "id": [f"r{k}" for k in range(count)],
            "signal": pa.array(signals, pa.list_(pa.float32())),
            "rate_hz": [360.0 if k % 3 else 250.0 for k in range(count)],
        }
    )


def expected(batch: Any, model: str = "ecg") -> list[dict[str, Any]]:
    rows = []
    for row in batch.to_pylist():
        pipeline = Pipeline(model, rate_hz=row["rate_hz"])
        for each in pipeline.push(np.array(row["signal"], np.float32)) + pipeline.flush():
            rows.append({"id": row["id"], **asdict(each)})
    return rows


def test_batches_tables_frames_and_iterators_give_the_segments_of_a_pipeline() -> None:
    batch, segment = recordings(), segment_batches("ecg")
    rows = expected(batch)
    assert len(rows) > 50
    made = segment(batch)
    assert made.schema == SCHEMA and made.to_pylist() == rows
    table = segment(pa.Table.from_batches([batch.slice(0, 2), batch.slice(2)]))
    assert table.schema == SCHEMA and table.to_pylist() == rows
    assert [row for part in segment(iter([batch.slice(0, 5), batch.slice(5)])) for row in part.to_pylist()] == rows
    assert pa.Table.from_pandas(segment(batch.to_pandas()), SCHEMA).to_pylist() == rows


def test_marks_of_a_model_are_columns_and_null_where_a_model_has_none() -> None:
    batch = recordings(2)
    rows = segment_batches("ecg_beats")(batch).to_pylist()
    assert rows == expected(batch, "ecg_beats") and all(row["noise"] is not None for row in rows)
    assert {row["ventricular"] is None for row in rows} == {True, False}
    assert {(row["ventricular"], row["noise"]) for row in segment_batches("ecg_fast")(batch).to_pylist()} == {
        (None, None)
    }


def test_a_pool_of_processes_takes_it_as_it_is() -> None:
    batch = recordings(4)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(segment_batches("ecg"), [batch.slice(0, 2), batch.slice(2)]))
    assert [row for part in made for row in part.to_pylist()] == expected(batch)
    assert len(pickle.dumps(segment_batches("ecg"))) < 500


def test_one_bad_recording_is_named_or_left_out() -> None:
    batch = recordings(3)
    rows = batch.to_pylist()
    rows[1]["signal"][7] = float("nan")
    bad = pa.RecordBatch.from_pylist(rows, batch.schema)
    with pytest.raises(SignalError, match="recording r1: there is no value at sample 7"):
        segment_batches("ecg")(bad)
    with pytest.warns(RuntimeWarning, match="recording r1 is left out"):
        kept = segment_batches("ecg", on_error="skip")(bad)
    assert kept.to_pylist() == [row for row in expected(batch) if row["id"] != "r1"]


@pytest.mark.parametrize(
    ("change", "says"),
    [({"rate_hz": None}, "null"), ({"signal": None}, "null"), ({"signal": [1.0, None]}, "sample is null")],
)
def test_what_is_missing_is_said(change: dict[str, Any], says: str) -> None:
    batch = recordings(1)
    bad = pa.RecordBatch.from_pylist([{**batch.to_pylist()[0], **change}], batch.schema)
    with pytest.raises(SignalError, match=says):
        segment_batches("ecg")(bad)
    with pytest.raises(SignalError, match="lacks rate_hz"):
        segment_batches("ecg")(bad.drop_columns(["rate_hz"]))


def test_no_recordings_give_no_rows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert segment_batches("ecg")(recordings(1).slice(0, 0)).num_rows == 0
