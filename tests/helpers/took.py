"""What must end in time, or must be told within one, on a machine that does other work as well."""

from __future__ import annotations

import re
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


def told_in_time(ask: Callable[[float], str], told: str, limit_s: float) -> str:
    """What ``ask`` says when it has ``limit_s``; ten or a hundred times as long where that does not match ``told``,
    since the other end came to nothing on a busy machine.
    """
    said = ""
    for times in (1, 10, 100):
        said = ask(times * limit_s)
        if re.search(told, said):
            break
    return said
