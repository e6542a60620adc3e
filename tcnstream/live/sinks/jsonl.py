"""JSON Lines in a file that grows, turns over at a size, and goes on after a crash where the journal says it was.

When the next line would take ``segments.jsonl`` beyond its size, it becomes ``segments.jsonl.N`` and a new one begins;
N counts up for ever, and the oldest beyond ``keep`` go once the journal no longer needs them. What is written is a
function of the events alone, so that a replay that is continued gives the same files.

A line that is written alone costs a card a page of 4 KB and what the file system notes beside, as often as the system
writes them back. Who writes seldom therefore writes at once, and who writes much writes a minute's lines together; they
are kept in memory that outlives a kill meanwhile.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tcnstream.live.events import Event
from tcnstream.live.logs import Log
from tcnstream.live.needs import Needs
from tcnstream.live.sinks.base import Full, Item, Position, SinkConfig, SinkKind, SinkThread, Writer
from tcnstream.live.tables.table import Table

_FILES_OF_A_QUOTA = 10

_MOST_AT_ONCE, _FOR_WHAT_IS_RARE, _ANOTHER_S = 128, 64, 60.0
"""Writes of a line at once: how many there are at first, how many of them segments and beats leave to what is rarer,
and after how long there is one more."""
_TOGETHER_S = 90.0
"""Longer than from one checkpoint of a live stream to the next, which has them written."""
_TOGETHER_BYTES = 1 << 17
_LOOKED_AT_BYTES = 1 << 16


@dataclass(frozen=True)
class JsonlConfig(SinkConfig):
    """``rotate_bytes`` 0 never turns over; ``quota_bytes`` bounds all files of the sink together, 0 does not. Lines are
    written every ``every_s`` seconds, 0: at once; None: at once while there are few."""

    path: Path
    rotate_bytes: int
    keep: int
    quota_bytes: int
    every_s: float | None = None

    def files(self) -> list[Path]:
        return [self.path]

    def may_replace(self) -> list[Path]:
        return [self.path, *_turned_over(self.path).values()]

    def needs(self) -> Needs:
        return Needs(writes=(self.path.parent,))


class RotatedFile:
    """Lines, appended to the newest of several files."""

    def __init__(self, path: Path, rotate_bytes: int, keep: int, quota_bytes: int = 0) -> None:
        self._path, self._rotate_bytes, self._keep, self._quota_bytes = path, rotate_bytes, keep, quota_bytes
        self._descriptor: int | None = None
        self._length = 0
        self._rotations = max(self._numbers(), default=0)
        self._needed_from = self._rotations
        self._looked_from = -1
        self._is_safe = False

    def position(self) -> Position:
        """Where it ends, with everything before on the disk."""
        if self._descriptor is not None:
            if not self._is_safe:
                os.fdatasync(self._descriptor)
                self._is_safe = True
        elif self._path.exists():
            self._length = self._path.stat().st_size
        return self._rotations, self._length

    def end(self) -> Position:
        """Where it ends, whether or not that is safe."""
        self._opened()
        return self._rotations, self._length

    def needed_from(self, position: Position) -> None:
        """The journal will never go back before ``position``: older files may go."""
        self._needed_from = position[0]
        if self._looked_from != position[0]:
            self._looked_from = position[0]
            self._make_room()

    def _make_room(self) -> None:
        numbers = sorted(self._numbers())
        # The newest file may grow to its size: what is older shares the rest of the quota.
        left = self._quota_bytes - self._rotate_bytes
        for number in reversed(numbers):
            path = self._numbered(number)
            with suppress(FileNotFoundError):  # the journal's thread makes room too, and so may a person
                left -= path.stat().st_size
            too_many = number <= self._rotations - self._keep or (self._quota_bytes and left < 0)
            if too_many and number <= self._needed_from:
                path.unlink(missing_ok=True)

    def fitting(self, lines: Sequence[bytes]) -> int:
        """How many of the lines, one at least, go into one file: the newest, or where the first does not fit a new
        one."""
        if not self._rotate_bytes:
            return len(lines)
        self._opened()
        begins_anew = self._length and self._length + len(lines[0]) > self._rotate_bytes
        length, count = 0 if begins_anew else self._length, 0
        for line in lines:
            length += len(line)
            if count and length > self._rotate_bytes:
                break
            count += 1
        return count

    def append(self, lines: bytes) -> None:
        """Whole lines, all of them or, where OSError is raised, none."""
        descriptor = self._opened()
        self._is_safe = False
        if self._rotate_bytes and self._length and self._length + len(lines) > self._rotate_bytes:
            self._turn_over()
            descriptor = self._opened()
        done = 0
        try:
            while done < len(lines):
                done += os.write(descriptor, lines[done:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, self._length)
            raise
        self._length += done

    def tail(self, position: Position) -> bytes:
        """All that was written after ``position``."""
        rotations, length = position
        files = [self._numbered(number) for number in range(rotations + 1, self._rotations + 1)] + [self._path]
        content = [path.read_bytes() if path.exists() else b"" for path in files]
        return b"".join([content[0][length:], *content[1:]])

    def shortened(self, position: Position) -> tuple[Path, int] | None:
        """The file that ``position`` is in and its bytes, where it ends before: by a power cut, or by a person's hand.

        Its whole lines stay; half a line at its end goes, so that the next one begins a line.
        """
        rotations, length = position
        path = self._path if rotations >= self._rotations else self._numbered(rotations + 1)
        found = path.stat().st_size if path.exists() else 0
        if found >= length or (path.exists() and not path.is_file()):
            return None
        if found:
            self.close()
            with path.open("r+b") as file:
                file.truncate(_end_of_lines(file, found))
                os.fdatasync(file.fileno())
        return path, found

    def go_back(self, position: Position) -> None:
        """As if nothing had been written after ``position``. Can be done again if it was broken off."""
        rotations, length = position
        self.close()
        if self._rotations > rotations:
            # Newest first: a kill between two steps leaves files that another call understands.
            self._path.unlink(missing_ok=True)
            for number in range(self._rotations, rotations + 1, -1):
                self._numbered(number).unlink(missing_ok=True)
            self._numbered(rotations + 1).rename(self._path)
            self._rotations = rotations
        if self._path.exists():
            with self._path.open("r+b") as file:
                file.truncate(min(length, self._path.stat().st_size))
                os.fdatasync(file.fileno())

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            self._length = os.fstat(self._descriptor).st_size
        return self._descriptor

    def _turn_over(self) -> None:
        descriptor = self._opened()
        os.fdatasync(descriptor)
        self.close()
        self._path.rename(self._numbered(self._rotations + 1))
        self._rotations += 1
        self._length = 0
        self._make_room()

    def _numbers(self) -> list[int]:
        return list(_turned_over(self._path))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _turned_over(path: Path) -> dict[int, Path]:
    """The files that were ``path`` before, by their numbers."""
    siblings = path.parent.glob("*") if path.parent.is_dir() else ()
    found = ((re.fullmatch(re.escape(path.name) + r"\.(\d+)", each.name), each) for each in siblings)
    return {int(match[1]): each for match, each in found if match}


def _end_of_lines(file: BinaryIO, length: int) -> int:
    """Bytes up to the end of the last whole line."""
    while length:
        begin = max(0, length - _LOOKED_AT_BYTES)
        file.seek(begin)
        if newline := file.read(length - begin).rfind(b"\n") + 1:
            return begin + newline
        length = begin
    return 0


class Kept:
    """Lines that wait to be written, where a kill does not take them; behind the position that they are for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._is_empty = False

    def keep(self, lines: bytes, position: Position) -> None:
        """Without room for it a kill takes them, and nothing else is different."""
        with suppress(OSError):
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
                self._is_empty = True
            if self._is_empty:
                lines = json.dumps(position).encode() + b"\n" + lines
            self._is_empty = False
            os.write(self._file, lines)

    def clear(self) -> None:
        """All is written."""
        if self._file is not None and not self._is_empty:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
                self._is_empty = True

    def left(self, file: RotatedFile) -> bytes:
        """What an earlier daemon kept and did not write into ``file``."""
        try:
            head, _, lines = self._path.read_bytes().partition(b"\n")
            rotations, length = json.loads(head)
            written = file.tail((int(rotations), int(length)))
        except (OSError, ValueError, TypeError):
            return b""
        return lines[len(written) :] if lines.startswith(written) else b""

    def remove(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class Allowance:
    """Writes at once: some at first, and another one from time to time."""

    def __init__(self) -> None:
        self._left, self._looked_s = float(_MOST_AT_ONCE), time.monotonic()

    def takes(self, events: Sequence[Event]) -> bool:
        """Whether these may be written now, alone."""
        now_s = time.monotonic()
        self._left = min(_MOST_AT_ONCE, self._left + (now_s - self._looked_s) / _ANOTHER_S)
        self._looked_s = now_s
        is_usual = all(event.type in ("segment", "beat") for event in events)
        if self._left < 1 + (_FOR_WHAT_IS_RARE if is_usual else 0):
            return False
        self._left -= 1
        return True


class JsonlWriter(Writer):
    """One event a line."""

    def __init__(self, config: JsonlConfig) -> None:
        self.file = RotatedFile(config.path, config.rotate_bytes, config.keep, config.quota_bytes)
        self.kept: Kept | None = None
        self._every_s = config.every_s
        self._allowance = Allowance()
        self._waiting: list[tuple[Event, bytes]] = []
        self._waiting_bytes = 0
        self._due_s = math.inf
        self._written: Event | None = None

    def due_s(self) -> float:
        return self._due_s

    def write(self, items: Sequence[Item]) -> None:
        if time.monotonic() >= self._due_s:
            self._flush()
        # After an error the same events come again: those that are written are passed over.
        events = [item for item in items if isinstance(item, Event)]
        events = events[next((n + 1 for n, event in enumerate(events) if event is self._written), 0) :]
        if not events:
            return
        lines = [event.json() + b"\n" for event in events]
        self._waiting += zip(events, lines, strict=True)
        self._waiting_bytes += sum(map(len, lines))
        if not self._may_wait(events):
            try:
                self._flush()
            except OSError:
                left = self._waiting[-len(events) :]
                del self._waiting[-len(events) :]
                self._waiting_bytes -= sum(len(line) for _, line in left)
                raise
            return
        if self.kept is not None:
            self.kept.keep(b"".join(lines), self.file.end())
        if self._due_s == math.inf:
            self._due_s = time.monotonic() + (_TOGETHER_S if self._every_s is None else self._every_s)

    def position(self) -> Position:
        self._flush()
        return self.file.position()

    def close(self) -> None:
        self._flush()
        self.file.close()
        if self.kept is not None:
            self.kept.remove()

    def left(self) -> Sequence[Item]:
        return [event for event, _ in self._waiting]

    def _may_wait(self, events: Sequence[Event]) -> bool:
        if self._waiting_bytes >= _TOGETHER_BYTES or self._every_s == 0:
            return False
        return self._every_s is not None or not self._allowance.takes(events)

    def _flush(self) -> None:
        """Where a file turns over does not hang on how events came together."""
        while self._waiting:
            count = self.file.fitting([line for _, line in self._waiting])
            group = self._waiting[:count]
            self.file.append(b"".join(line for _, line in group))
            self._written = group[-1][0]
            self._waiting_bytes -= sum(len(line) for _, line in group)
            del self._waiting[:count]
        self._due_s = math.inf
        if self.kept is not None:
            self.kept.clear()


class JsonlSink(SinkThread):
    """A SinkThread whose files the journal can take back to a position."""

    def __init__(self, config: JsonlConfig, log: Log) -> None:
        self._jsonl = JsonlWriter(config)
        self.file = self._jsonl.file
        super().__init__(config, self._jsonl, log)

    def keep_at(self, path: Path) -> None:
        """Before ``start``: where lines that wait are kept."""
        self._jsonl.kept = Kept(path)

    def recover(self, position: Position, keep: Callable[[int, bytes], bool]) -> None:
        """Before ``start``: back to ``position``, with those lines after it that ``keep(offset, line)`` wants, what was
        kept and not written among them.

        ``offset`` counts bytes after ``position``. Half a line at the end was being written and goes.
        """
        kept, offset = [], 0
        tail = self.file.tail(position)
        left = b"" if self._jsonl.kept is None else self._jsonl.kept.left(self.file)
        for line in (tail + left).splitlines(keepends=True):
            if line.endswith(b"\n") and keep(offset, line):
                kept.append(line)
            offset += len(line)
        if tail and b"".join(kept) == tail:
            return
        self.file.go_back(position)
        for line in kept:
            self.file.append(line)


def rotation(table: Table) -> tuple[int, int, int]:
    """``rotate = { size = "20 MB", keep = 10 }``, ``quota = "300 MB"``: bytes of a file (0: any), files kept beside the
    newest, bytes of all. With a quota alone, ten files share it."""
    rotate, quota = table.table("rotate"), table.size_bytes("quota", 0)
    if rotate is None:
        return quota // _FILES_OF_A_QUOTA, _FILES_OF_A_QUOTA if quota else 0, quota
    size, keep = rotate.size_bytes("size", 20_000_000), rotate.whole("keep", 10, least=1)
    rotate.finish()
    if quota and quota < 2 * size:
        table.complain("quota", f"is less than two files of rotate.size ({size} bytes): give more, or smaller files")
    return size, keep, quota


def _configure(name: str, table: Table, folder: Path, full: Full, queue_events: int) -> JsonlConfig:
    given = table.text("path", needed="name the file")
    path = folder / given
    if not given:
        pass
    elif path.is_dir():
        table.complain("path", f'= "{path}" is a folder: name a file in it')
    elif not table.problems.writes_here:
        pass
    elif not path.parent.is_dir():
        table.complain("path", f'= "{path}" lies in no folder that is there: make {path.parent}, or name another')
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        table.complain("path", f'= "{path}" cannot be written: change its permissions, or name another')
    every_s = None if table.raw("every") is None else table.seconds("every", 0.0)
    return JsonlConfig(name, "jsonl", full, queue_events, path, *rotation(table), every_s)


KIND = SinkKind("jsonl", _configure, JsonlSink)
