"""A process that answers questions and may end at any of them: pickles go in and come out."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


class ChildEndedError(Exception):
    """The process ended instead of answering, with ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the process ended with {code}")
        self.code = code


class Child:
    """Runs ``serve()`` of ``module``; one that ended, or took ``limit_s``, is replaced at the next question."""

    def __init__(self, module: str, limit_s: float) -> None:
        self._module, self._limit_s = module, limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: Any) -> Any:
        """The answer to one question; raises ChildEndedError."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        alarm = threading.Timer(self._limit_s, process.kill)
        alarm.start()
        try:
            pickle.dump(question, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = process.wait()
            self._process = None
            raise ChildEndedError(code) from None
        finally:
            alarm.cancel()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join((str(Path(__file__).parents[1]), str(Path(__file__).parents[2])))
        return subprocess.Popen(
            [sys.executable, "-c", f"from {self._module} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )


def replies_alone() -> BinaryIO:
    """Where a child's answers go; what anything else prints no longer gets among them."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def answer_all(replies: BinaryIO, answer: Callable[[Any], Any]) -> None:
    """Questions from standard input, until there are no more."""
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(answer(question), replies)
        replies.flush()
