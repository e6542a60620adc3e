"""The daemon's log on standard error: a line an entry, JSON or text, and a flood is a count.

An entry is an event name and fields. The same event of the same stream or sink is written at most once in ten seconds;
how many were left out stands in the next one.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any, TextIO

from tcnstream.live.clock import iso

_QUIET_S = 10.0


class Log:
    """Thread-safe; never raises because of a reader that has gone."""

    def __init__(self, format: str = "text", stream: TextIO | None = None) -> None:
        self._json = format == "json"
        self._stream = sys.stderr if stream is None else stream
        self._lock = threading.Lock()
        self._last: dict[tuple[str, object, object], tuple[float, int]] = {}

    def info(self, event: str, **fields: Any) -> None:
        self._write("info", event, fields)

    def warn(self, event: str, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        now_s = time.monotonic()
        key = (event, fields.get("stream"), fields.get("sink"))
        with self._lock:
            before_s, left_out = self._last.get(key, (-_QUIET_S, 0))
            if now_s - before_s < _QUIET_S and level != "info":
                self._last[key] = before_s, left_out + 1
                return
            self._last[key] = now_s, 0
            if left_out:
                fields = {**fields, "left_out": left_out}
            self._print(level, event, fields)

    def _print(self, level: str, event: str, fields: dict[str, Any]) -> None:
        at = iso(time.time())
        if self._json:
            line = json.dumps({"time": at, "level": level, "event": event, **fields}, default=str)
        else:
            said = " ".join(f"{name}={_shown(value)}" for name, value in fields.items())
            line = f"{at} {level:7} {event} {said}".rstrip()
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more; the work goes on


def _shown(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text) if " " in text or not text else text
