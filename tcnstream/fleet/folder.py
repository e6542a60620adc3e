"""A folder of recordings to one Parquet file, on the cores of one machine (extra ``arrow``).

Recordings are taken in batches. What a batch gives is kept in a part of its own until all are there, so that a run that
is stopped goes on where it was, and what comes out is the same file as if it had never been stopped.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pickle
import shutil
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from tcnstream.errors import MissingExtraError, SignalError, TcnStreamError
from tcnstream.fleet.arrow import SCHEMA, row_batch
from tcnstream.opened import OpenedModel, open_input, open_model
from tcnstream.pipeline import PipelineArguments, pipeline_for
from tcnstream.signal.outfile import new_file, write_file
from tcnstream.signal.segments import Segment
from tcnstream.signal.sources import files_of, recordings_below
from tcnstream.signal.sources.base import ReadOptions

try:
    import pyarrow as pa
    from pyarrow import parquet as pq
except ImportError as error:
    raise MissingExtraError("Parquet files need PyArrow: pip install tcnstream[arrow]") from error

_BATCH_RECORDINGS = 16
_ROW_GROUP_ROWS = 1 << 16

_AHEAD = 2
"""Batches that wait for a worker, so that none stands idle and few are in memory."""

_FORMAT = 3
"""Of the parts: those of another number are made anew."""

_CRC_BYTES = 4
"""In front of a part's Parquet file: the CRC-32 of it, little-endian."""

_FACTS = b"tcnstream"
_FAILED = ".failed.csv"
_FAILED_HEAD = ("id", "reason")


@dataclass(frozen=True)
class Task:
    """What is done with each recording: a model, how it is opened, how recordings are read, Pipeline's arguments."""

    model: str
    time_axis: int | None
    signature: str | None
    states: Mapping[str, str] | None
    read: ReadOptions
    arguments: PipelineArguments

    def opened(self) -> OpenedModel:
        return open_model(self.model, self.time_axis, self.signature, self.states)


@dataclass(frozen=True)
class Done:
    """What came of some recordings; ``failed`` are pairs of a recording and the sentence that says why."""

    recordings: int
    segments: int
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Batch:
    """Recordings by their paths below the folder. The part's name is a digest of all that its rows depend on."""

    folder: Path
    names: tuple[str, ...]
    part: Path


def segment_folder(
    folder: Path, output: Path, task: Task, *, jobs: int, told: Callable[[Done, int], None] = lambda done, total: None
) -> Done:
    """Segments all recordings below ``folder``, ``jobs`` at a time, into a Parquet file with the columns of SCHEMA.

    ``id`` is a recording's path below the folder. Rows are in the order of these, then of time, whatever ``jobs`` is.
    A recording that cannot be segmented is not the end: it is named in the answer, and in ``failed_file(output)``.
    What an earlier run has written in the folder is no recording.
    ``told`` gets what each batch gave, and the number of all recordings; what an earlier run left comes first.

    Raises SignalError where there is no recording, or where a worker process dies; then, and at Ctrl-C, the parts stay
    in a hidden folder beside ``output``, and the same call goes on from them. Else as ``open_model``.
    """
    own = {os.path.realpath(output), os.path.realpath(failed_file(output))}
    names = [
        name
        for name in recordings_below(folder)
        if os.path.realpath(folder / name) not in own and not _is_failed_file(folder / name)
    ]
    if not names:
        raise SignalError(f"{folder} holds no recording: give a folder with files that can be read one by one")
    parts = output.parent / f".{output.name}.parts"
    parts.mkdir(exist_ok=True)
    batches = list(_batches(folder, names, parts, task))
    all_done: list[Done] = []
    for done in _results(batches, task, jobs):
        all_done.append(done)
        told(done, len(names))
    segments = sum(done.segments for done in all_done)
    failed = tuple(sorted(one for done in all_done for one in done.failed))
    _join([batch.part for batch in batches], output)
    _write_failed(failed_file(output), failed)
    shutil.rmtree(parts)
    return Done(len(names), segments, failed)


def failed_file(output: Path) -> Path:
    """Where the recordings stand that could not be segmented, with the reason; there is none where all went well."""
    return output.with_suffix(_FAILED)


def _is_failed_file(path: Path) -> bool:
    """Whether a run has written it, perhaps one with another output."""
    if not path.name.endswith(_FAILED):
        return False
    with path.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().rstrip("\n") == ",".join(_FAILED_HEAD)


def _batches(folder: Path, names: Sequence[str], parts: Path, task: Task) -> Iterator[_Batch]:
    opened = task.opened()
    what = hashlib.sha256(pickle.dumps((_FORMAT, task, opened.card), 5) + opened.path.read_bytes())
    for at in range(0, len(names), _BATCH_RECORDINGS):
        some = tuple(names[at : at + _BATCH_RECORDINGS])
        digest = what.copy()
        for name in some:
            digest.update(repr((name, _look(folder / name))).encode())
        yield _Batch(folder, some, parts / f"{digest.hexdigest()[:32]}.part")


def _look(recording: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of all files that are read for a recording."""
    facts = []
    for file in files_of(str(recording)):
        with suppress(OSError):
            status = file.stat()
            facts.append((file.name, status.st_size, status.st_mtime_ns))
    return facts


def _results(batches: Sequence[_Batch], task: Task, jobs: int) -> Iterator[Done]:
    left = []
    for batch in batches:
        done = _kept(batch)
        if done is None:
            left.append(batch)
        else:
            yield done
    # Spawned, since a forked child would hold locks of threads that it does not have.
    with ProcessPoolExecutor(min(jobs, len(left)) or 1, get_context("spawn"), _begin_worker, (task,)) as pool:
        waiting = iter(left)
        running: set[Future[Done]] = set()
        try:
            while True:
                for batch in islice(waiting, jobs * _AHEAD - len(running)):
                    running.add(pool.submit(_segment_batch, batch, task))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as error:
            raise SignalError(
                "a worker process was killed, perhaps for want of memory: give fewer --jobs; the same command goes on "
                "from what is done"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_worker_models: list[OpenedModel] = []
"""In a worker: the model, which is opened once for all batches."""


def _begin_worker(task: Task) -> None:
    """Ctrl-C goes to all processes of a terminal; a worker ends its batch, which then counts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker_models[:] = [task.opened()]


def _end_with_parent() -> None:
    """Nobody else tells a worker whose parent was killed: it would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _kept(batch: _Batch) -> Done | None:
    table = _read_part(batch.part)
    if table is None:
        return None
    facts = json.loads(table.schema.metadata[_FACTS])
    return Done(facts["recordings"], facts["segments"], tuple((name, why) for name, why in facts["failed"]))


def _read_part(part: Path) -> pa.Table | None:
    """The rows of a part, whose metadata has its ``Done``; None where it is not there, or not as it was written."""
    try:
        content = part.read_bytes()
    except OSError:
        return None
    crc, rows = content[:_CRC_BYTES], content[_CRC_BYTES:]
    # A power cut may leave a name without its content, and a bad disk a footer without its pages.
    if zlib.crc32(rows).to_bytes(_CRC_BYTES, "little") != crc or not rows:
        return None
    # In this thread: those that Arrow begins otherwise end some processes with an abort when all is done and written.
    return pq.ParquetFile(pa.BufferReader(rows)).read(use_threads=False)


def _write_part(part: Path, table: pa.Table) -> None:
    rows = io.BytesIO()
    pq.write_table(table, rows)
    content = rows.getvalue()
    write_file(part, zlib.crc32(content).to_bytes(_CRC_BYTES, "little") + content)


def _segment_batch(batch: _Batch, task: Task) -> Done:
    """In a worker: the segments of a batch, written to its part."""
    (opened,) = _worker_models
    made: list[tuple[str, list[Segment]]] = []
    failed = []
    for name in batch.names:
        try:
            made.append((_as_text(name), _segments(opened, batch.folder / name, task)))
        except (TcnStreamError, OSError) as error:
            failed.append((_as_text(name), _as_text(" ".join(str(error).split()))))
    rows = row_batch(made)
    done = Done(len(batch.names), rows.num_rows, tuple(failed))
    table = pa.Table.from_batches([rows], SCHEMA.with_metadata({_FACTS: json.dumps(asdict(done))}))
    _write_part(batch.part, table)
    return done


def _as_text(name: str) -> str:
    """A path of bytes that are no UTF-8, which no column of text can hold, with those as ``\\xfc``."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _segments(opened: OpenedModel, path: Path, task: Task) -> list[Segment]:
    recording = open_input(opened, str(path), task.read)
    pipeline = pipeline_for(opened, recording, **task.arguments)
    segments = []
    for piece in recording.chunks:
        segments += pipeline.push(piece)
    return segments + pipeline.flush()


def _join(parts: Sequence[Path], output: Path) -> None:
    """The parts' rows in one file, in row groups of a size that reads well."""
    with new_file(output) as stream, pq.ParquetWriter(stream, SCHEMA) as writer:
        waiting: list[Any] = []
        rows = 0
        for part in parts:
            table = _read_part(part)
            if table is None:
                raise SignalError(f"{part} is damaged since it was written: the same command makes it again")
            waiting.append(table.cast(SCHEMA))
            rows += table.num_rows
            if rows >= _ROW_GROUP_ROWS:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting, rows = [], 0
        if rows:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())


def _write_failed(path: Path, failed: Sequence[tuple[str, str]]) -> None:
    if not failed:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text).writerows([_FAILED_HEAD, *failed])
    write_file(path, text.getvalue().encode())
