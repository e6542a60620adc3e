"""Keeps off standard error what the C++ of TensorFlow and LiteRT writes there."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

_CHATTER = re.compile(
    rb"^(?:"
    rb"[IWE]\d{4} \d\d:.*"  # a line of its log
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] .*"  # the same, of older versions
    rb"|WARNING: All log messages before absl::InitializeLog.*"
    rb"|INFO: Created TensorFlow Lite .*"
    rb"|fully_quantize: .*"
    rb"|loc\(.*"  # where an operation stands that has no such form; the exception says which
    rb"|error: failed while converting: (?:.*\n)*?"
    rb")\n",
    re.MULTILINE,
)


class _StandardError:
    """The descriptor, which a process has once: whoever comes first puts it aside, and whoever leaves last puts it
    back, with what others have said meanwhile.
    """

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._aside: tuple[int, IO[bytes]] | None = None

    def put_aside(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            with suppress(OSError):  # a process without standard error has nothing to keep quiet
                real = os.dup(2)
                try:
                    log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed where it is read
                except OSError:
                    os.close(real)
                    raise
                self._aside = real, log
                self._switch(log.fileno())

    def put_back(self) -> None:
        with self._lock:
            self._users = max(0, self._users - 1)
            if self._users or self._aside is None:
                return
            log = self._restored(self._aside)
            with log:
                log.seek(0)
                said = _CHATTER.sub(b"", log.read())
            with suppress(OSError), open(2, "wb", closefd=False) as real:
                real.write(said)

    def begin_in_child(self) -> None:
        """A process that was forked meanwhile: nobody would put it back there, and what was said is the parent's."""
        self._lock, self._users = threading.Lock(), 0
        if self._aside is not None:
            self._restored(self._aside).close()

    def _restored(self, aside: tuple[int, IO[bytes]]) -> IO[bytes]:
        real, log = aside
        self._switch(real)
        os.close(real)
        self._aside = None
        return log

    @staticmethod
    def _switch(descriptor: int) -> None:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(descriptor, 2)


_standard_error = _StandardError()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_standard_error.begin_in_child)


@contextmanager
def without_chatter() -> Iterator[None]:
    """For any number of threads at once. What else is written to standard error meanwhile, by whomever in this process,
    comes out at the end.
    """
    _standard_error.put_aside()
    try:
        yield
    finally:
        _standard_error.put_back()
