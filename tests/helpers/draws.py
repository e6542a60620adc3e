"""How many cases a test draws at random, said in one place."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

_EXAMPLES = int(os.environ.get("TCNSTREAM_EXAMPLES", 0))


def drawn(examples: int, **more: Any) -> settings:
    """Every run draws the same cases; TCNSTREAM_EXAMPLES=2000 draws as many others, to look further."""
    return settings(max_examples=_EXAMPLES or examples, derandomize=not _EXAMPLES, deadline=None, **more)
