"""What the bridge's tests share: models and signals, boards that end with the test, tools that may be missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firmware_bridge
import tcnstream
from firmware_bridge.boards.build import cache_folder
from firmware_bridge.boards.program import Program
from firmware_bridge.boards.table import EMULATED
from firmware_bridge.errors import TargetError
from firmware_bridge.targets import Options, open_board
from helpers.paths import MODELS
from tcnstream.tflite.graph import Array


@cache
def program(name: str, rounding: str = "litert") -> Program:
    return Program.of(tcnstream.load(MODELS / f"{name}.tflite"), rounding=rounding)


@cache
def signal(name: str, frames: int | None = None) -> Array:
    with np.load(MODELS / f"{name}.npz") as arrays:
        x = arrays["x"].reshape(-1, *program(name).model.inputs[0].shape)
    frame: Array = np.ascontiguousarray(x[:frames])
    return frame


def missing(reason: str) -> None:
    """A skip; a failure where everything must be there."""
    if os.environ.get("TCNSTREAM_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed")
    assert path is not None
    return path


@contextmanager
def a_board(target: str, name: str | None = None, **options: Any) -> Iterator[Any]:
    """A connected board, started with a model if one is named; closed whatever happens."""
    try:
        board = open_board(target, None if name is None else program(name), Options(**options))
    except TargetError as error:
        if "not installed" in str(error) or "needs the package" in str(error):
            missing(str(error))
        raise
    try:
        yield board
    finally:
        board.close()


DOCS = Path(firmware_bridge.__file__).parent / "docs"
BUILT = str(cache_folder().parent.parent)


def with_plugin(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Arguments for a pytest inside of pytest, which changes the home folder."""
    monkeypatch.setenv("TCNSTREAM_CACHE", BUILT)
    installed = any(point.name == "firmware-bridge" for point in entry_points(group="pytest11"))
    return () if installed else ("-p", "firmware_bridge.pytest_plugin")


__all__ = ("DOCS", "EMULATED", "MODELS", "a_board", "missing", "program", "signal", "tool", "with_plugin")
