"""What is installed here: a test that needs more than the base install is skipped with the reason."""

from __future__ import annotations

import pytest

from tcnstream.engines.interpreter.runtime import find_runtime
from tcnstream.errors import EngineError


def need_interpreter() -> None:
    """Skips the test where there is no TFLite interpreter (extra ``interpreter``)."""
    try:
        find_runtime()
    except EngineError as error:
        pytest.skip(str(error))
