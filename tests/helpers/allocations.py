"""Counts what a push takes from the allocator: run as a program, with the counter of ``core/count_allocations.c``.

Python's own small objects are counted too, since ``count`` starts the process with PYTHONMALLOC=malloc.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from pathlib import Path

import tcnstream
from helpers.paths import TESTS
from tcnstream.measure.bench import stream_push

SOURCE = TESTS / "core" / "count_allocations.c"


def count(model: Path, pushes: int, folder: Path) -> int:
    """Calls of malloc, calloc and realloc in ``pushes`` calls of ``push_into`` at hop 1, in a process of its own."""
    counter = folder / "count_allocations.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", SOURCE, "-o", counter], check=True)
    paths = os.pathsep.join([str(Path(tcnstream.__file__).parent.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = {"LD_PRELOAD": str(counter), "PYTHONMALLOC": "malloc", "PYTHONPATH": paths}
    command = [sys.executable, __file__, str(model), str(pushes)]
    run = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True)
    return int(run.stdout)


def main(model: str, pushes: int) -> None:
    push = stream_push(tcnstream.load(model), 1, "native")
    calls = ctypes.CDLL(None).allocator_calls
    calls.restype = ctypes.c_long
    counted = []
    for again in (itertools.repeat(None, 0), itertools.repeat(None, 1000), itertools.repeat(None, pushes)):
        before = calls()
        for _ in again:
            push()
        counted.append(calls() - before)
    print(counted[-1] - counted[0])  # a count is an object too


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
