"""What the tests of the daemon share: a configuration in a folder of its own, and a daemon in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ECG
from helpers.served import Served

from tcnstream.live.memory import kept_folder
from tcnstream.signal.sources import open_recording

RATE_HZ = 360.0


@pytest.fixture(scope="session")
def ecg() -> np.ndarray:
    """The demo's minute of ECG, (21600,) mV at 360 Hz."""
    return np.concatenate(list(open_recording(ECG).chunks))[:, 0]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """``serve(text, *arguments)`` writes live.toml and starts the daemon on it."""
    all_of_them: list[Served] = []

    def start(text: str | None = None, *arguments: str, env: dict[str, str] | None = None) -> Served:
        if text is not None:
            (tmp_path / "live.toml").write_text(text)
        all_of_them.append(Served(tmp_path, *arguments, env=env))
        return all_of_them[-1]

    yield start
    for each in all_of_them:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()
        assert each.process.stdout is not None
        each.process.stdout.close()
    if (kept := kept_folder(tmp_path / "state")).parent.name.startswith("tcnstream-"):
        shutil.rmtree(kept)
