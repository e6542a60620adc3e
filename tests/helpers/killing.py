"""A replay that is killed again and again, and must give what it gives when nobody kills it.

    python -m helpers.killing CONFIG OUTPUT random|steps KILLS

Children are forked from one warm process, so that a kill costs the time of a daemon's start and not of its imports.
Prints a JSON object: how often it was killed, and whether the output (and what turned over) was the same each time.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tcnstream.live import journal
from tcnstream.live.config import read_config
from tcnstream.live.daemon import Daemon
from tcnstream.live.logs import Log
from tcnstream.opened import open_model

_LONGEST_RUN_S = 60.0


class _Counted:
    """Kills this process at the ``at``-th step that it sees."""

    def __init__(self, at: int) -> None:
        self._left = at

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.step()
            answer = function(*arguments, **named)
            self.step()
            return answer

        return counted


class _Connection(sqlite3.Connection):
    """Every statement of the journal is two steps: before it and after it."""

    counted = _Counted(0)

    def execute(self, *arguments: Any) -> Any:
        return self.counted.around(super().execute)(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        return self.counted.around(super().executemany)(*arguments)


def _child(config: Path, kill_at_step: int) -> None:
    if kill_at_step:
        counted = _Connection.counted = _Counted(kill_at_step)
        connect = sqlite3.connect
        journal.sqlite3.connect = lambda *a, **k: connect(*a, **k, factory=_Connection)  # type: ignore[attr-defined]
        for name in ("write", "fdatasync", "ftruncate"):
            setattr(os, name, counted.around(getattr(os, name)))
        for name in ("rename", "unlink"):
            method = getattr(Path, name)
            setattr(Path, name, lambda *a, m=method, **k: counted.around(m)(*a, **k))
    with open(os.devnull, "w") as nowhere:
        Daemon(read_config(config), Log("text", nowhere), once=True).run()


def run(config: Path, after_s: float | None = None, kill_at_step: int = 0) -> bool:
    """Whether the daemon came to its end; else it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            _child(config, kill_at_step)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    until_s = time.monotonic() + (_LONGEST_RUN_S if after_s is None else after_s)
    while time.monotonic() < until_s:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status):
                return False
            assert os.waitstatus_to_exitcode(status) == 0
            return True
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert after_s is not None, "the daemon did not come to its end"
    return False


def _written(output: Path) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(output.parent.glob(output.name + "*"))]


def main(config: Path, output: Path, how: str, kills: int) -> dict[str, Any]:
    """Runs undisturbed, then killed so often; says what differed."""
    for stream in read_config(config).streams.values():
        open_model(stream.model)
    state = read_config(config).state

    def clean() -> None:
        shutil.rmtree(state, ignore_errors=True)
        for path in output.parent.glob(output.name + "*"):
            path.unlink()

    clean()
    began_s = time.monotonic()
    assert run(config)
    took_s, wanted = time.monotonic() - began_s, _written(output)
    random.seed(1)
    killed, differed, step = 0, 0, 0
    while killed < kills:
        if how == "random" or step == 0:
            clean()
        if how == "steps":
            step += 1
            clean()
            finished = run(config, kill_at_step=step)
            if finished:
                break
            killed += 1
            assert run(config)
        else:
            while not run(config, after_s=random.uniform(0.2, 1.0) * took_s):
                killed += 1
                if killed >= kills:
                    assert run(config)
                    break
        differed += _written(output) != wanted
    return {"killed": killed, "differed": differed, "bytes": sum(len(content) for _, content in wanted)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
