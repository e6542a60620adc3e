"""Recordings in Arrow batches: the same segments whoever hands the batches out."""

from __future__ import annotations

import pickle
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from helpers.paths import ECG

from tcnstream import Pipeline, SignalError, TcnStreamError
from tcnstream.signal.sources import open_recording

pa = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")

from tcnstream.fleet.arrow import SCHEMA, SegmentBatches, segment_batches  # noqa: E402


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
    assert {(row["ventricular"], row["noise"]) for row in segment_batches("ecg")(batch).to_pylist()} == {(None, None)}


def test_a_pool_of_processes_takes_it_as_it_is() -> None:
    batch = recordings(4)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(segment_batches("ecg"), [batch.slice(0, 2), batch.slice(2)]))
    assert [row for part in made for row in part.to_pylist()] == expected(batch)
    assert len(pickle.dumps(segment_batches("ecg"))) < 500


def test_threads_share_one_function() -> None:
    """Those of Dask, which hand partitions to it at once: they met in one pipeline."""
    batch, segment = recordings(3), segment_batches("ecg", on_error="skip")
    rows = expected(batch)
    with ThreadPoolExecutor(4) as pool:
        for made in pool.map(segment, [batch] * 8):
            assert made.to_pylist() == rows


def test_threads_that_make_one_leave_the_warnings_of_a_program_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters of warnings belong to all threads: those that two put back across each other were gone."""
    met = threading.Barrier(2)
    new = SegmentBatches._new_pipeline

    def at_once(self: SegmentBatches, arguments: Any) -> Pipeline:
        met.wait(60)
        made = new(self, arguments)
        if threading.current_thread() is second:
            first.join()
        return made

    monkeypatch.setattr(SegmentBatches, "_new_pipeline", at_once)
    first, second = (threading.Thread(target=segment_batches, args=("ecg",)) for _ in range(2))
    before = list(warnings.filters)
    for thread in (first, second):
        thread.start()
    for thread in (first, second):
        thread.join()
    assert warnings.filters == before


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
    [
        ({"rate_hz": None}, "null"),
        ({"signal": None}, "null"),
        ({"signal": [1.0, None]}, "sample is null"),
        ({"signal": []}, "its signal holds no samples"),
    ],
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


def one(**columns: Any) -> Any:
    made = {"id": pa.array(["r"]), "signal": pa.array([[0.0] * 500], pa.list_(pa.float32())), "rate_hz": [250.0]}
    return pa.RecordBatch.from_pydict(made | columns)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    "signal", [pa.array([1.0]), pa.array(["1"]), pa.array([b"1234"]), pa.array([{"a": 1}]), pa.array([["a"]])]
)
def test_a_column_of_a_wrong_type_is_said_and_never_left_out(signal: Any, on_error: Any) -> None:
    with pytest.raises(SignalError, match=r"signal is of type|real numbers"):
        segment_batches("ecg", on_error="raise" if pa.types.is_list(signal.type) else on_error)(one(signal=signal))


def test_a_recording_may_be_null_whatever_the_type_of_its_column() -> None:
    with pytest.warns(RuntimeWarning, match="recording r is left out: its signal or its rate_hz is null"):
        assert segment_batches("ecg", on_error="skip")(one(signal=pa.nulls(1))).num_rows == 0
    frame = one(signal=pa.nulls(1)).to_pandas()
    with pytest.raises(SignalError, match="is null"):
        segment_batches("ecg")(frame)
    with pytest.raises(SignalError, match="lacks signal"):
        segment_batches("ecg")(frame[["id", "rate_hz"]])


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2000), pa.list_view(pa.float64())],
)
def test_lists_of_any_kind_give_the_same(kind: Any) -> None:
    batch = recordings(3)
    other = batch.set_column(1, "signal", pa.array(batch.column("signal").to_pylist(), kind))
    assert segment_batches("ecg")(other) == segment_batches("ecg")(batch)


@pytest.mark.parametrize(
    ("ids", "come_out"),
    [(pa.array([7]), "7"), (pa.array([None], pa.string()), None), (pa.array([b"bed 7"]), "bed 7")],
)
def test_an_id_is_text_or_null(ids: Any, come_out: str | None) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 3000).astype(np.float32)
    made = segment_batches("ecg")(one(id=ids, signal=pa.array([noise])))
    assert set(made.column("id").to_pylist()) == {come_out}


@pytest.mark.parametrize(
    "wrong", [{"rate_hz": 250.0}, {"segments": False}, {"units": "furlong"}, {"gain": 0.0}, {"card": "none.toml"}]
)
def test_what_would_be_wrong_with_every_recording_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(TcnStreamError):
        segment_batches("ecg", on_error="skip", **wrong)
    with pytest.raises(TcnStreamError):
        segment_batches("no model", on_error="skip")


def test_an_archive_with_a_rate_of_its_own_in_each_recording_takes_no_more_memory() -> None:
    segment = segment_batches("ecg", low_latency=True)
    for rate_hz in [250.0, *np.linspace(200, 300, 40), 250.0]:
        segment(one(rate_hz=[rate_hz]))
    assert len(segment._kept.pipelines) <= 16
