"""Flink, the real one, embedded: the rows of the keyed operator, whatever is lost, comes twice or is no message."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from helpers.installed import need_program
from helpers.paths import ROOT
from helpers.patients import RATE_HZ, expected, identity, messages

from tcnstream import StreamError
from tcnstream.fleet import Keyed

pytest.importorskip("pyflink", reason="the extra flink is not installed")

from pyflink.common import Configuration

from tcnstream.fleet.flink import TcnProcess, configure
from tcnstream.fleet.flink.job import Read, main, read_job

JOB = """
model = "ecg"
rate_hz = 360
units = "mV"
parallelism = 2
idle_s = 600
[source]
kind = "files"
path = "{folder}/in"
[sink]
kind = "files"
path = "{folder}/out"
[checkpoints]
path = "file://{folder}/checkpoints"
interval_s = 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for file in range(2):
        lines = [json.dumps({"key": k, "seq": n, "samples": s.tolist()}) for k, n, s in messages(file)]
        lines[50:50] = ["no message", '{"key": "bed 9", "seq": 0, "samples": [[1, 2], [3]]}', '{"key": 3}']
        lines[60:60] = ['{"key": "bed 0.0", "seq": 500, "samples": [[1, 2], [3, 4]]}']
        (tmp_path / "in" / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "job.toml").write_text(JOB.format(folder=tmp_path))
    return tmp_path


def test_a_job_of_files_gives_the_rows_of_the_keyed_operator(folder: Path) -> None:
    need_program("java", "openjdk-17-jre-headless")
    assert main([str(folder / "job.toml")]) == 0
    files = [file for file in (folder / "out").rglob("*.jsonl") if not file.name.startswith(".")]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert sorted(rows, key=identity) == expected()


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("idle_s", "idle", "contains unknown field `idle`"),
        ('kind = "files"', 'kind = "pigeons"', "Invalid value 'pigeons' - at `$.source.kind`"),
        ('"ecg"', '"nobody"', "there is no model"),
        ("600", "-1", "seconds above 0"),
        ("rate_hz = 360", "rate_hz = ", "job.toml: "),
        ("/in", "/inn", "and there is no such file or folder"),
        ("/out", "/job.toml", "sink.path names"),
        ("/checkpoints", "/job.toml/checkpoints", "which cannot be written to: Not a directory"),
    ],
)
def test_what_is_wrong_with_a_job_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], was: str, becomes: str, says: str
) -> None:
    path = folder / "job.toml"
    path.write_text(path.read_text().replace(was, becomes, 1))
    assert main([str(path)]) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said
    assert main([str(folder / "jop.toml")]) == 2
    assert "jop.toml cannot be read: No such file" in capsys.readouterr().err


def test_a_job_with_kafka_is_built_up_to_the_connector_that_is_not_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_program("java", "openjdk-17-jre-headless")
    path = folder / "job.toml"
    files = f'kind = "files"\npath = "{folder}/in"'
    path.write_text(path.read_text().replace(files, 'kind = "kafka"\nservers = "127.0.0.1:9"\ntopic = "ecg"'))
    assert main([str(path)]) == 2
    said = capsys.readouterr().err
    assert "without its Kafka connector; download flink-sql-connector-kafka-5.0.0-2.2.jar" in said
    text = path.read_text()
    path.write_text('jars = ["nowhere.jar"]\n' + text)
    assert main([str(path)]) == 2
    assert "jars names nowhere.jar, and there is no such file" in capsys.readouterr().err
    path.write_text(text.partition("[checkpoints]")[0])
    assert main([str(path)]) == 2
    assert "add [checkpoints] with path" in capsys.readouterr().err


def test_the_lines_and_the_job_of_the_page_run(tmp_path: Path) -> None:
    page = (ROOT / "tcnstream" / "docs" / "fleet.md").read_text(encoding="utf-8")
    path = tmp_path / "job.toml"
    path.write_text(page.partition("```toml\n")[2].partition("```")[0])
    assert read_job(path).model == "ecg"
    lines = "from pyflink" + page.partition("```python\nfrom pyflink")[2].partition("```")[0]
    names = dict[str, Any]()
    exec(compile(lines, "fleet.md", "exec"), names)
    keyed = Keyed("ecg", rate_hz=250, units="mV")
    state, begin = keyed.step("bed 7", None, [(0, [0.01] * 250), (1, [0.02] * 250)])
    wanted = [tuple(asdict(row).values()) for row in begin + keyed.end("bed 7", state)[1]]
    assert [tuple(row) for row in names["rows"].execute_and_collect()] == wanted


def test_options_are_put_into_the_configuration() -> None:
    made = configure(Configuration(), checkpoints="file:///c", interval_s=2.5)
    assert made.get_string("python.execution-mode", "") == "thread"
    assert made.get_string("execution.checkpointing.interval", "") == "2500 ms"
    assert str(Path(np.__file__).parents[1]) in made.get_string("python.pythonpath", "")
    for arguments, says in (({"on_error": "ignore"}, "on_error"), ({"idle_s": 0}, "idle_s"), ({"emit": "x"}, "emit")):
        with pytest.raises(StreamError, match=says):
            TcnProcess("ecg", rate_hz=RATE_HZ, units="mV", **arguments)  # type: ignore[arg-type]


def test_a_killed_worker_and_two_new_ones_change_no_row(tmp_path: Path) -> None:
    need_program("java", "openjdk-17-jre-headless")
    from benchmarks.fleet_kills import trial
    from helpers.flink_cluster import cluster

    for name in ("cluster", "job"):
        (tmp_path / name).mkdir()
    with cluster(tmp_path / "cluster") as on:
        outcome = trial(on, tmp_path / "job")
    assert outcome.is_exact and outcome.rows > 3000, outcome


@pytest.mark.parametrize("seq", [1 << 63, -(1 << 63) - 1, 10**30, "1", 1.5])
def test_a_number_that_java_cannot_hold_is_counted_and_left_out(seq: Any) -> None:
    """It would fail the job, and after its restart again."""
    refused = Mock()
    context = Mock(**{"get_metrics_group.return_value.add_group.return_value.counter.return_value": refused})
    read = Read()
    read.open(context)
    assert not list(read.flat_map(json.dumps({"key": "bed", "seq": seq, "samples": [0.5]})))
    refused.inc.assert_called_once()
    assert list(read.flat_map(json.dumps({"key": "bed", "seq": (1 << 63) - 1, "samples": [0.5]})))
