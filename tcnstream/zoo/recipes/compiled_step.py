"""The step in C, on one processor, five times as fast as through a framework.

Keras on JAX or PyTorch takes 8 to 36 thousand frames per second and core for the gradients of a network of thin,
dilated depthwise convolutions; ``separable.c``, compiled here with the system's C compiler, takes 180 thousand
(``tcnstream/docs/models.md``).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tcnstream.errors import MissingExtraError
from tcnstream.zoo.recipes.architecture import Architecture, Floats

TRAIN, INFER, STATISTICS = 0, 1, 2


class _CUnit(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("taps", "dilation", "past", "skip")]


@cache
def _library(channels: int, inputs: int, classes: int, marks: int) -> Any:
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("clang", "cc", "gcc")), None)
    if compiler is None:
        raise MissingExtraError(
            "tcnstream.zoo.recipes.compiled_step compiles separable.c: install a C compiler, or name it in CC."
        )
    source = Path(__file__).with_name("separable.c")
    sizes = [f"-DCHANNELS={channels}", f"-DINPUTS={inputs}", f"-DCLASSES={classes}", f"-DMARKS={marks}"]
    command = [*compiler.split(), "-O3", "-march=native", "-ffast-math", "-funroll-loops", *sizes, "-fPIC", "-c"]
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / f"separable-{hashlib.sha256(repr(command).encode()).hexdigest()[:8]}.o"
        file = part.with_suffix(".so")
        _run(compiler, [*command, str(source), "-o", str(part)])
        # Linked apart: with -ffast-math compilers add code that takes tiny numbers for zero in all of the process.
        _run(compiler, [*compiler.split(), "-shared", str(part), "-lm", "-o", str(file)])
        library = ctypes.CDLL(str(file))
    library.separable_step.restype = ctypes.c_double
    library.separable_memory.restype = ctypes.c_long
    return library


def _run(compiler: str, command: list[str]) -> None:
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise MissingExtraError(f"{compiler} could not compile separable.c: {made.stderr.strip()[-500:]}")


class CompiledStep:
    """``separable.c`` for one architecture, and the memory that it works in."""

    name = "processor, separable.c"

    def __init__(self, architecture: Architecture) -> None:
        a = self._architecture = architecture
        self._library = _library(a.channels, a.inputs, a.classes, a.marks)
        self._units = (_CUnit * len(a.units))(*[_CUnit(u.taps, u.dilation, u.past, u.skip) for u in a.units])
        self._memory = np.zeros(0, np.float32)

    def learn(self, x: Floats, target: Floats, weight: Floats, parameters: Floats) -> tuple[float, Floats, Floats]:
        gradient, statistics = np.zeros_like(parameters), self._no_statistics()
        loss = self._call(TRAIN, x, target, weight, parameters, gradient, statistics, None)
        return loss, gradient, statistics

    def measure(self, x: Floats, parameters: Floats) -> Floats:
        statistics = self._no_statistics()
        self._call(STATISTICS, x, None, None, parameters, None, statistics, None)
        return statistics

    def predict(self, x: Floats, parameters: Floats, statistics: Floats) -> Floats:
        logits = np.zeros((*x.shape[:2], self._architecture.classes), np.float32)
        self._call(INFER, x, None, None, parameters, None, statistics, logits)
        return logits

    def _no_statistics(self) -> Floats:
        return np.zeros(len(self._architecture.norms) * 2 * self._architecture.channels, np.float32)

    def _call(
        self,
        mode: int,
        x: Floats,
        target: Floats | None,
        weight: Floats | None,
        parameters: Floats,
        gradient: Floats | None,
        statistics: Floats,
        logits: Floats | None,
    ) -> float:
        lanes, frames = x.shape[:2]
        needed = self._library.separable_memory(lanes, frames, len(self._units))
        if self._memory.size < needed:
            self._memory = np.zeros(needed, np.float32)
        read = [None if a is None else np.ascontiguousarray(a) for a in (x, target, weight, parameters)]

        def at(a: Floats | None) -> ctypes.c_void_p | None:
            return None if a is None else a.ctypes.data_as(ctypes.c_void_p)

        loss: float = self._library.separable_step(
            *map(at, read[:3]),
            lanes,
            frames,
            self._units,
            len(self._units),
            *map(at, (read[3], gradient, statistics, logits)),
            mode,
            at(self._memory),
        )
        return loss
