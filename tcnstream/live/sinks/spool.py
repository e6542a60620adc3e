"""What a live stream gave a network sink and nobody has acknowledged, in a file, so that a kill does not lose it.

The journal has the outbox of the last checkpoint, a minute ago at most; here is what came since. A line is a topic and
a message. When all is acknowledged the file is empty again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from tcnstream.live.sinks.base import Unsent

_ROOM_BYTES = 1 << 20


class Spool:
    """Appended to by one thread at a time. Every call may raise OSError, and can be made again later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._length = 0
        self._most_bytes = _ROOM_BYTES

    def read(self) -> list[Unsent]:
        """What is there; a line that a kill or a full disk cut off is no event."""
        content = self._path.read_bytes() if self._path.exists() else b""
        self._length = len(content)
        found = []
        for line in content.split(b"\n")[:-1]:
            topic, _, payload = line.partition(b"\t")
            try:
                fields = json.loads(payload)
                found.append(Unsent(fields["stream"], int(fields["seq"]), topic.decode(), payload))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    @property
    def is_large(self) -> bool:
        """Whether most of it is likely to be acknowledged or dropped by now."""
        return self._length > self._most_bytes

    def append(self, unsent: Iterable[Unsent]) -> None:
        lines = b"".join(_line(each) for each in unsent)
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._length = os.fstat(self._file).st_size
            # What a kill cut off ends here.
            lines = b"\n" + lines if self._length else lines
        done = 0
        while done < len(lines):
            done += os.write(self._file, lines[done:])
        self._length += done

    def replace(self, unsent: Iterable[Unsent]) -> None:
        """All that is still to be sent, and nothing else."""
        unsent = list(unsent)
        if not unsent:
            self.clear()
            return
        beside = self._path.with_name(f"{self._path.name}.new")
        beside.write_bytes(b"".join(_line(each) for each in unsent))
        os.replace(beside, self._path)
        self.close()
        self._length = self._path.stat().st_size
        self._most_bytes = 2 * self._length + _ROOM_BYTES

    def clear(self) -> None:
        """Everything is acknowledged."""
        if self._length:
            os.truncate(self._path, 0)
            self._length = 0

    def remove(self) -> None:
        """Nothing is to be kept any more: the journal has it."""
        self.close()
        self._path.unlink(missing_ok=True)
        self._length = 0

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _line(unsent: Unsent) -> bytes:
    return unsent.topic.encode() + b"\t" + unsent.payload + b"\n"
