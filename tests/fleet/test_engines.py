"""Spark and Dask, the real ones, on this machine alone: the lines of the page give the segments of a pipeline."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.installed import need_program
from helpers.paths import ROOT

pa = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="the extra arrow is not installed")

from fleet.test_arrow import expected, recordings  # noqa: E402

LOOPBACK = {
    "SPARK_LOCAL_IP": "127.0.0.1",
    "PYSPARK_PYTHON": sys.executable,
    "PYSPARK_SUBMIT_ARGS": "--master local[1] --conf spark.driver.host=127.0.0.1"
    " --conf spark.driver.bindAddress=127.0.0.1 --conf spark.ui.enabled=false pyspark-shell",
}
"""No other machine hears of it: Spark takes the machine's own name otherwise."""

SHOWN = """
import json
made = {rows}
print("ROWS", json.dumps(made))
"""


def lines_of_the_page(engine: str) -> str:
    page = (ROOT / "tcnstream" / "docs" / "fleet.md").read_text(encoding="utf-8")
    return next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if engine in block)


def rows_of(code: str, folder: Path) -> list[dict[str, Any]]:
    batch = recordings()
    pq.write_table(pa.Table.from_batches([batch]), folder / "archive.parquet", row_group_size=2)
    env = os.environ | LOOPBACK | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr[-3000:]
    (line,) = (line for line in run.stdout.splitlines() if line.startswith("ROWS "))
    made: list[dict[str, Any]] = json.loads(line.removeprefix("ROWS "))
    assert len(made) > 50 and sorted(made, key=_place) == sorted(expected(batch), key=_place)
    return made


def _place(row: dict[str, Any]) -> tuple[str, float]:
    return row["id"], row["start_s"]


def test_spark_takes_it_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    need_program("java", "openjdk-17-jre-headless")
    rows_of(
        lines_of_the_page("mapInArrow") + SHOWN.format(rows="[row.asDict() for row in segments.collect()]"), tmp_path
    )


def test_dask_takes_it_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("dask.dataframe", reason="dask[dataframe] is not installed")
    # pandas has NaN where a row of Arrow has nothing
    frame = 'segments.compute().astype(object).where(lambda x: x.notna(), None).to_dict("records")'
    rows_of(lines_of_the_page("map_partitions") + SHOWN.format(rows=frame), tmp_path)


def test_a_pool_of_processes_takes_it_as_it_is(tmp_path: Path) -> None:
    rows_of(lines_of_the_page("ProcessPool") + SHOWN.format(rows="rows"), tmp_path)
