"""Packages that are needed for one thing only, imported where they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from tcnstream.errors import MissingExtraError


def optional_package(name: str, why: str, extra: str) -> Any:
    """The module ``name``. Raises MissingExtraError, which says ``why`` it is needed and how ``extra`` is installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingExtraError(
            f"{why}, which takes the package {package} ({error}): pip install tcnstream[{extra}]"
        ) from error
