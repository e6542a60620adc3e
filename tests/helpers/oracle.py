"""What TFLite's reference kernels answer, for whole files."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tcnstream.tflite.graph import Array


def reference_kernels(content: bytes, inputs: Sequence[Array]) -> list[Array]:
    """The outputs of a .tflite file, batch axis and all, by LiteRT's reference kernels; skips where it is missing.

    tflite-runtime is no oracle: its reference resolver is wrong for some int8 dense layers.
    """
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the reference kernels come from ai-edge-litert")
    interpreter = litert.Interpreter(
        model_content=content, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()]


class OracleError(Exception):
    """What the reference kernels do not run, in their own words; "aborted" where they end their process."""


class OracleProcess:
    """The reference kernels in a process of their own, since a file that is not sound may end it.

    ``answer`` takes at most ``limit_s`` seconds; a process that died is replaced at the next question.
    """

    def __init__(self, limit_s: float = 20.0) -> None:
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def answer(self, content: bytes, inputs: Sequence[Array]) -> list[Array]:
        """As ``reference_kernels``; raises OracleError where that is refused or ends the process."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        alarm = threading.Timer(self._limit_s, process.kill)
        alarm.start()
        try:
            pickle.dump((content, list(inputs)), process.stdin)
            process.stdin.flush()
            made = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = process.wait()
            self._process = None
            raise OracleError(f"aborted with {code}") from None
        finally:
            alarm.cancel()
        if isinstance(made, str):
            raise OracleError(made)
        return list(made)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join((str(Path(__file__).parents[1]), str(Path(__file__).parents[2])))
        return subprocess.Popen(
            [sys.executable, "-c", "from helpers.oracle import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )


def serve() -> None:
    """What ``OracleProcess`` runs: questions from standard input, answers to what was standard output."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the interpreter prints must not get among the answers
    while True:
        try:
            content, inputs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            made: list[Array] | str = reference_kernels(content, inputs)
        except Exception as e:
            made = f"{type(e).__name__}: {e}"
        pickle.dump(made, replies)
        replies.flush()
