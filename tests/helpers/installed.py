"""What is installed here: a test that needs more than the base install is skipped with the reason."""

from __future__ import annotations

import shutil

import pytest

from tcnstream.engines.interpreter.runtime import find_runtime
from tcnstream.errors import EngineError


def need_interpreter() -> None:
    """Skips the test where there is no TFLite interpreter (extra ``interpreter``)."""
    try:
        find_runtime()
    except EngineError as error:
        pytest.skip(str(error))


def need_program(name: str, package: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"there is no {name} here: apt-get install {package}")
    return found
