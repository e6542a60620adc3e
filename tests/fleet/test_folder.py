"""A folder of recordings: the rows of one run each, whatever fails, is stopped or changes on the way."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import ECG

from tcnstream import Pipeline, SignalError
from tcnstream.signal.sources import open_recording, recordings_below

pq = pytest.importorskip("pyarrow.parquet", reason="the extra arrow is not installed")

from tcnstream.fleet.arrow import SCHEMA  # noqa: E402
from tcnstream.fleet.folder import Task, _batches, _kept, _read_part, _write_part, segment_folder  # noqa: E402
from tcnstream.signal.sources.base import ReadOptions  # noqa: E402


def command(folder: Path, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "tcnstream", "run", "ecg", str(folder), "--out", str(output), "--rate", "360", *more]


def ran(folder: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, output, *more), capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty recordings in two folders, some seconds of the shipped ECG each."""
    x = np.concatenate([chunk for chunk in open_recording(ECG).chunks if isinstance(chunk, np.ndarray)])[:, 0]
    for number in range(20):
        path = tmp_path / "archive" / f"ward {number % 2}" / f"{number:02}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, x[number * 600 : number * 600 + 3000 + number])
    return tmp_path / "archive"


def expected(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        pipeline = Pipeline("ecg", rate_hz=360.0, units="mV")
        for each in pipeline.push(np.load(folder / name)) + pipeline.flush():
            rows.append({"id": name, **asdict(each)})
    return rows


def test_all_recordings_come_out_in_order_and_bad_ones_are_named(folder: Path, tmp_path: Path) -> None:
    names = recordings_below(folder)
    assert len(names) == 20 and names == sorted(names)
    (folder / "ward 0" / "broken.npy").write_bytes(b"no array")
    np.save(folder / "ward 0" / "empty.npy", np.zeros(0, np.float32))
    (folder / "notes.txt").write_text("bed 3 was moved\n")
    (folder / ".hidden.npy").write_bytes(b"")
    output = tmp_path / "segments.parquet"
    run = ran(folder, output)
    assert run.returncode == 1 and run.stdout == "", run.stderr
    assert "3 of 23 recordings failed" in run.stderr and "Traceback" not in run.stderr
    assert pq.read_table(output).to_pylist() == expected(folder, names)
    with (tmp_path / "segments.failed.csv").open(newline="") as file:
        failed = dict(csv.reader(file))
    assert list(failed) == ["id", "notes.txt", "ward 0/broken.npy", "ward 0/empty.npy"] and all(failed.values())
    assert "holds no samples" in failed["ward 0/empty.npy"]
    assert not list(tmp_path.glob(".*"))
    (folder / "ward 0" / "broken.npy").unlink()
    (folder / "ward 0" / "empty.npy").unlink()
    (folder / "notes.txt").unlink()
    again = ran(folder, output, "--jobs", "1")
    assert again.returncode == 0 and not (tmp_path / "segments.failed.csv").exists()
    assert pq.read_table(output).to_pylist() == expected(folder, names)


def test_what_a_run_has_written_into_the_folder_is_no_recording_of_the_next(folder: Path) -> None:
    (folder / "ward 0" / "broken.npy").write_bytes(b"no array")
    (folder / "other.failed.csv").write_text("id,reason\n0.npy,it is damaged\n")
    output = folder / "segments.parquet"
    for _ in range(2):
        run = ran(folder, output)
        assert "1 of 21 recordings failed" in run.stderr
    assert {row["id"] for row in pq.read_table(output).to_pylist()} == set(recordings_below(folder)) - {
        "segments.parquet",
        "segments.failed.csv",
        "other.failed.csv",
        "ward 0/broken.npy",
    }


KILLED = """
import multiprocessing, os, runpy, signal
from tcnstream.fleet import folder

def told(done, total):
    print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

whole = folder.segment_folder
folder.segment_folder = lambda *given, **more: whole(*given, **more | {"told": told})
runpy.run_module("tcnstream", run_name="__main__")
"""
"""The command, which is killed as soon as a part is there, and names its workers."""


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_run_that_is_killed_goes_on_and_gives_the_same_file(folder: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.parquet", tmp_path / "segments.parquet"
    assert ran(folder, whole).returncode == 0
    words = [sys.executable, "-c", KILLED, *command(folder, output, "--jobs", "1")[3:]]
    killed = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    parts = tmp_path / ".segments.parquet.parts"
    workers = list(map(int, killed.stdout.split()))
    assert workers
    end = time.monotonic() + 300
    while any(map(is_alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    kept = {part: part.stat().st_mtime_ns for part in parts.glob("[!.]*")}
    assert 1 <= len(kept) <= 2 and not output.exists()
    changed = folder / "ward 1" / "19.npy"
    np.save(changed, np.load(changed)[:2000])
    run = ran(folder, output)
    assert run.returncode == 0, run.stderr
    names = recordings_below(folder)
    assert pq.read_table(output).to_pylist() == expected(folder, names)
    np.save(changed, np.load(changed))
    assert ran(folder, whole).returncode == 0
    assert whole.read_bytes() == output.read_bytes() and not parts.exists()


def test_of_a_record_in_several_files_the_header_is_taken(tmp_path: Path) -> None:
    files = {
        "one.hea": "one 1 360 100\none.dat 16 200 12 0 0 0 0 ii\n",
        "a_segment.hea": "a_segment 1 360 100\na_segment.dat 16 200 12 0 0 0 0 ii\n",
        "whole.hea": "whole/1 1 360 100\na_segment 100\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).with_suffix(".dat").write_bytes(bytes(200))
    (tmp_path / "whole.dat").unlink()
    assert recordings_below(tmp_path) == ["one.hea", "whole.hea"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--format", "csv"), "--format is for one recording"),
        (("--duration", "3"), "--duration is for one recording"),
        (("--out", "x.csv"), "give --out NAME.parquet"),
    ],
)
def test_what_is_for_one_recording_is_said(folder: Path, tmp_path: Path, more: tuple[str, str], says: str) -> None:
    run = ran(folder, tmp_path / "segments.parquet", *more)
    assert run.returncode == 2 and says in run.stderr, run.stderr


def test_an_empty_folder_and_jobs_for_a_file_are_said(tmp_path: Path) -> None:
    assert "holds no recording" in ran(tmp_path, tmp_path / "x.parquet").stderr
    assert "--jobs is for a folder" in ran(ECG, tmp_path / "x.csv", "--jobs", "2").stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_links_and_names_in_another_encoding_are_not_the_end(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "gone.csv").symlink_to("nowhere.csv")
    latin = os.fsencode(folder) + b"/M\xfcller.npy"
    try:
        (folder / "ward 0" / "00.npy").rename(os.fsdecode(latin))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    Path(os.fsdecode(os.fsencode(folder) + b"/bad \xfc.npy")).write_bytes(b"no array")
    output = tmp_path / "segments.parquet"
    run = ran(folder, output)
    assert run.returncode == 1 and "3 of 23 recordings failed" in run.stderr, run.stderr
    assert "M\\xfcller.npy" in pq.read_table(output).column("id").to_pylist()
    with (tmp_path / "segments.failed.csv").open(newline="", encoding="utf-8") as file:
        assert [name for name, _ in csv.reader(file)] == ["id", "bad \\xfc.npy", "gone.csv", "loop.csv"]


def test_no_thread_of_arrow_is_left_to_abort_the_process_at_its_end(tmp_path: Path) -> None:
    """Now and then it ended with -6, "terminate called without an active exception", behind a complete output."""
    text = f"""
import os
from pathlib import Path
from tcnstream.fleet.arrow import SCHEMA
from tcnstream.fleet.folder import _read_part, _write_part
part, before = Path({str(tmp_path / "part")!r}), len(os.listdir("/proc/self/task"))
_write_part(part, SCHEMA.empty_table())
assert _read_part(part) == SCHEMA.empty_table()
print(len(os.listdir("/proc/self/task")) - before)
"""
    if not Path("/proc/self/task").exists():
        pytest.skip("threads are counted in /proc, which this system has not")
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=600)
    assert (run.returncode, run.stdout) == (0, "0\n"), run.stderr


def flip(part: Path, at: int) -> None:
    content = bytearray(part.read_bytes())
    content[at] ^= 0x20
    part.write_bytes(content)


@pytest.mark.parametrize("spoil", [lambda part: part.write_bytes(b""), lambda part: flip(part, 100)])
def test_a_part_that_is_damaged_is_made_anew(folder: Path, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """By a power cut, which leaves a name alone, or in its pages, behind a footer that is whole."""
    whole, output = tmp_path / "whole.parquet", tmp_path / "segments.parquet"
    parts, kept = tmp_path / ".segments.parquet.parts", tmp_path / "kept"
    task = Task("ecg", None, None, None, ReadOptions(rate_hz=360.0), {})
    first = segment_folder(
        folder,
        whole,
        task,
        jobs=1,
        told=lambda *_: shutil.copytree(tmp_path / ".whole.parquet.parts", kept, dirs_exist_ok=True),
    )
    kept.rename(parts)
    batches = list(_batches(folder, recordings_below(folder), parts, task))
    assert sum(_kept(batch).segments for batch in batches) == first.segments
    for batch in batches:
        spoil(batch.part)
    assert segment_folder(folder, output, task, jobs=1) == first
    assert output.read_bytes() == whole.read_bytes()


def test_of_a_part_that_differs_in_a_byte_nothing_is_taken(tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    _write_part(part, SCHEMA.empty_table())
    content = part.read_bytes()
    assert _read_part(part) == SCHEMA.empty_table()
    for at in range(len(content)):
        flip(part, at)
        assert _read_part(part) is None
        part.write_bytes(content[:at])
        assert _read_part(part) is None
        part.write_bytes(content)


def test_a_part_that_is_damaged_while_others_are_made_is_named(folder: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.parquet", tmp_path / "segments.parquet"
    task = Task("ecg", None, None, None, ReadOptions(rate_hz=360.0), {})

    def damage(*_: object) -> None:
        for part in (tmp_path / ".segments.parquet.parts").glob("[!.]*"):
            flip(part, 100)

    segment_folder(folder, whole, task, jobs=1)
    with pytest.raises(SignalError, match="damaged since it was written: the same command makes it again"):
        segment_folder(folder, output, task, jobs=1, told=damage)
    assert not output.exists()
    segment_folder(folder, output, task, jobs=1)
    assert output.read_bytes() == whole.read_bytes()
