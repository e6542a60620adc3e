"""The journal: what the daemon knows for sure, in one SQLite file that one thread writes.

A checkpoint is one transaction: for each stream what its chain remembers, the next frame and sequence number, how long
each output file was at that moment, and what a network sink has not been told was taken. A crash goes back to it: files
are cut to that length, chains restored, replays sought to that frame; what they then give is what they gave before.

Sequence numbers of live streams are reserved in blocks: after a crash they go on behind the block, so that none is ever
used twice for different events.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tcnstream.errors import SignalError
from tcnstream.live.sinks.base import Position, Unsent

_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream (
  name TEXT PRIMARY KEY,
  identity TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  next_frame INTEGER NOT NULL,
  next_seq INTEGER NOT NULL,
  reserved_seq INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  clean INTEGER NOT NULL,
  monotonic_s REAL NOT NULL,
  unix_s REAL NOT NULL,
  files TEXT NOT NULL,
  state BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
  sink TEXT NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (sink, stream, seq)
) WITHOUT ROWID;
"""
_SAY_BOOT = """
INSERT OR REPLACE INTO fact SELECT 'boot', ? WHERE NOT EXISTS (SELECT 1 FROM fact WHERE name = 'boot' AND value = ?)
"""
"""Nothing is written while the machine has not started anew."""


@dataclass(frozen=True)
class Checkpoint:
    """Where one stream was.

    ``identity`` is that of its configuration and recording. ``clean`` says that the daemon ended there on purpose.
    ``files`` has a position for each file sink; the times are those of the newest sample's arrival.
    """

    name: str
    identity: str
    epoch: int
    next_frame: int
    next_seq: int
    reserved_seq: int
    ended: bool
    clean: bool
    monotonic_s: float
    unix_s: float
    files: Mapping[str, Position]
    state: bytes


class Journal:
    """``commit`` is for the thread that checkpoints; a stream that begins reads, in another one. It never grows beyond
    ``quota_bytes`` (0: what it needs): a checkpoint that does not fit is as one on a full disk."""

    def __init__(self, folder: Path, quota_bytes: int = 0) -> None:
        self.path = journal_files(folder)[0]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA page_size = 4096")  # of a card, which writes no less
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")
            self._base.execute("PRAGMA wal_autocheckpoint = 100")
            if quota_bytes:
                (page_bytes,) = self._base.execute("PRAGMA page_size").fetchone()
                self._base.execute(f"PRAGMA max_page_count = {max(1, quota_bytes // page_bytes)}")
            self._base.executescript(_SCHEMA)
            self._base.execute("INSERT OR IGNORE INTO fact VALUES ('format', ?)", (str(_FORMAT),))
            (found,) = self._base.execute("SELECT value FROM fact WHERE name = 'format'").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise SignalError(f"{self.path} is in use: another daemon runs with this state; stop it") from error
            raise SignalError(f"{self.path} cannot be opened: {error}; check the folder `state`") from error
        except OSError as error:
            raise SignalError(f"{folder} cannot be made: {error.strerror}; name another folder as `state`") from error
        except sqlite3.DatabaseError as error:
            raise SignalError(f"{self.path} is no journal ({error}): move it away to begin anew") from error
        if found != str(_FORMAT):
            raise SignalError(f"{self.path} has format {found}, this version writes {_FORMAT}: move it away")
        self._kept: dict[str, set[tuple[str, int]]] = {}
        self._lock = threading.Lock()

    def streams(self) -> dict[str, Checkpoint]:
        """The last checkpoint of every stream."""
        with self._lock:
            rows = self._base.execute(
                "SELECT name, identity, epoch, next_frame, next_seq, reserved_seq, ended, clean, monotonic_s, unix_s,"
                " files, state FROM stream"
            )
            return {row[0]: _checkpoint(row) for row in rows}

    def boot(self) -> str:
        """Which start of the machine the monotonic times of the checkpoints belong to."""
        with self._lock:
            row = self._base.execute("SELECT value FROM fact WHERE name = 'boot'").fetchone()
        return "" if row is None else str(row[0])

    def outbox(self, sink: str) -> list[Unsent]:
        """What a sink had not sent."""
        with self._lock:
            rows = self._base.execute(
                "SELECT stream, seq, topic, payload FROM outbox WHERE sink = ? ORDER BY stream, seq", (sink,)
            )
            found = [Unsent(*row) for row in rows]
            self._kept[sink] = {(each.stream, each.seq) for each in found}
        return found

    def commit(self, checkpoints: Iterable[Checkpoint], outboxes: Mapping[str, Sequence[Unsent]], boot: str) -> None:
        """All of it or nothing. Raises sqlite3.Error where the disk is full or gone; the journal can go on later."""
        with self._lock:
            kept = dict(self._kept)
            self._base.execute("BEGIN IMMEDIATE")
            try:
                self._base.execute(_SAY_BOOT, (boot, boot))
                self._base.executemany(
                    "INSERT OR REPLACE INTO stream VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [_row(checkpoint) for checkpoint in checkpoints],
                )
                for sink, unsent in outboxes.items():
                    kept[sink] = self._replace(sink, unsent, kept.get(sink, set()))
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise
            self._kept = kept

    def _replace(self, sink: str, unsent: Sequence[Unsent], before: set[tuple[str, int]]) -> set[tuple[str, int]]:
        now = {(each.stream, each.seq) for each in unsent}
        gone = [(sink, *key) for key in before - now]
        new = [(sink, e.stream, e.seq, e.topic, e.payload) for e in unsent if (e.stream, e.seq) not in before]
        self._base.executemany("DELETE FROM outbox WHERE sink = ? AND stream = ? AND seq = ?", gone)
        self._base.executemany("INSERT OR REPLACE INTO outbox VALUES (?, ?, ?, ?, ?)", new)
        return now

    def close(self) -> None:
        self._base.close()


def journal_files(folder: Path) -> tuple[Path, ...]:
    """The journal of a state, and what SQLite keeps beside it."""
    return tuple(folder / f"journal.db{suffix}" for suffix in ("", "-wal", "-shm"))


def boot_id() -> str:
    """Changes when the machine starts anew, and CLOCK_MONOTONIC with it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _row(checkpoint: Checkpoint) -> tuple[object, ...]:
    c = checkpoint
    files = json.dumps(dict(c.files))
    counts = (c.epoch, c.next_frame, c.next_seq, c.reserved_seq, int(c.ended), int(c.clean))
    return (c.name, c.identity, *counts, c.monotonic_s, c.unix_s, files, c.state)


def _checkpoint(row: tuple[object, ...]) -> Checkpoint:
    name, identity, epoch, frame, seq, reserved, ended, clean, monotonic_s, unix_s, files, state = row
    positions = {sink: (int(p[0]), int(p[1])) for sink, p in json.loads(str(files)).items()}
    assert isinstance(state, bytes) and isinstance(monotonic_s, float) and isinstance(unix_s, float)
    counts = [int(str(number)) for number in (epoch, frame, seq, reserved)]
    return Checkpoint(
        str(name),
        str(identity),
        epoch=counts[0],
        next_frame=counts[1],
        next_seq=counts[2],
        reserved_seq=counts[3],
        ended=bool(ended),
        clean=bool(clean),
        monotonic_s=monotonic_s,
        unix_s=unix_s,
        files=positions,
        state=state,
    )
