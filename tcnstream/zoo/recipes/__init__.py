"""How the shipped models are trained and evaluated, as commands (extra ``train``)."""

from __future__ import annotations

import sys
from importlib import import_module

from tcnstream.errors import MissingExtraError

for _package in ("scipy", "soxr"):
    try:
        import_module(_package)
    except ImportError as error:
        _said = f"tcnstream.zoo.recipes needs the package {_package} ({error}): pip install tcnstream[train]"
        # So it is while `python -m` looks for a recipe, whose user needs no traceback.
        if sys.argv[:1] == ["-m"]:
            sys.stderr.write(f"error: {_said}\n")
            raise SystemExit(2) from None
        raise MissingExtraError(_said) from error
