"""How much of the time a process of this machine could use: a busy machine makes an emulator late, not silent."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _Seen:
    at_s: float
    ran_s: float
    queued_s: float
    wants: bool
    """Whether a thread is there that would run, or goes on, as soon as it is let: it waits for a processor, for
    the disk, or was stopped."""


class ProcessorClock:
    """Seconds that a process had for its work, on the clock of ``time.monotonic``.

    A process that sleeps (an emulator that waits for a byte) had all of the time; one that wants a processor had what
    it ran. From Linux's ``/proc``; elsewhere, and once the process has ended, the clock on the wall.
    """

    def __init__(self, pid: int) -> None:
        self._tasks = Path("/proc", str(pid), "task")
        self._seen = self._look()
        self._now_s = time.monotonic()

    def now_s(self) -> float:
        last, seen = self._seen, self._look()
        passed = seen.at_s - last.at_s
        had = seen.ran_s - last.ran_s if seen.wants else passed - (seen.queued_s - last.queued_s)
        self._seen = seen
        self._now_s += min(max(had, 0.0), passed)
        return self._now_s

    def _look(self) -> _Seen:
        ran = queued = 0
        wants = False
        at_s = time.monotonic()
        try:
            for task in os.listdir(self._tasks):
                ran_ns, queued_ns, _ = (self._tasks / task / "schedstat").read_text().split()
                ran, queued = ran + int(ran_ns), queued + int(queued_ns)
                wants |= (self._tasks / task / "stat").read_text().rpartition(")")[2].split()[0] in "RDTt"
        except (OSError, ValueError):
            return _Seen(at_s, 0.0, 0.0, False)
        return _Seen(at_s, ran / 1e9, queued / 1e9, wants)
