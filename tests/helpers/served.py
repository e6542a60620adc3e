"""A daemon in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
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

    def health(self) -> dict[str, Any]:
        """What the page's server says, whether or not all is well."""
        port = int(self.log.read_text().partition("web.started port=")[2].split()[0])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))

    def has_written_all_of(self, stream: str) -> bool:
        """Whether it has ended and every event of it is in the file: what a page shows is not yet written."""
        state = self.health()["streams"][stream]
        written = sum(event["stream"] == stream for event in self.events())
        return bool(state["state"] == "ended" and written == state["next_seq"])

    def wait_for(self, holds: Callable[[], Any], timeout_s: float = 90.0) -> Any:
        """Until ``holds()`` is true; the daemon must go on running meanwhile."""
        until_s = time.monotonic() + timeout_s
        while not (found := holds()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until_s, self.log.read_text()
            time.sleep(0.02)
        return found

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)
