"""A daemon in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Served:
    """A daemon that runs: its files, its log, its end."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.log = folder / "log.txt"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tcnstream", "serve", str(folder / "live.toml"), *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | (env or {}),
            )

    def events(self, name: str = "segments.jsonl") -> list[dict[str, Any]]:
        path = self.folder / name
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def wait_for(self, holds: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        """Until ``holds()`` is true; the daemon must go on running meanwhile."""
        until_s = time.monotonic() + timeout_s
        while not (found := holds()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until_s, self.log.read_text()
            time.sleep(0.02)
        return found

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 20.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)
