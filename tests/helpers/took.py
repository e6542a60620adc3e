"""How long something takes that must end in time, on a machine that does other work as well."""

from __future__ import annotations

import time
from collections.abc import Callable


def least_s(call: Callable[[], object], enough_s: float, tries: int = 4) -> float:
    """Seconds of the quickest of some calls, the last of them the first that took less than ``enough_s``: what else the
    machine does can only add to them.
    """
    best_s = float("inf")
    for _ in range(tries):
        began_s = time.monotonic()
        call()
        best_s = min(best_s, time.monotonic() - began_s)
        if best_s < enough_s:
            break
    return best_s
